"""Long content: back-pressure, sources that fail, content that must not leave."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.encode import DotEncoder
from tests.client.parts import CONTENT, MemorySource, World, outgoing

PIECE = b".line\r\n" * 10_000


def wire(*pieces: bytes) -> bytes:
    encoder = DotEncoder()
    return b"".join([*(encoder.feed(piece) for piece in pieces), encoder.finish()])


class StreamTests(SynchronousTestCase):
    def test_pieces_arrive_whole_and_in_order_wherever_they_are_cut(self) -> None:
        whole = b"a\r\n.b\r\n..c\r\n" * 3
        for at in range(1, len(whole)):
            for later in (False, True):
                source = MemorySource(whole[:at], whole[at:], later=later)
                world = World()
                sending = world.send(message=outgoing(source=source))
                while source.asked:
                    source.give()
                    world.pump()
                self.assertEqual(self.successResultOf(sending).replies[0].code, 250)
                self.assertEqual(world.peers[0].contents, [wire(whole)])

    def test_no_piece_is_fetched_while_the_peer_takes_nothing(self) -> None:
        source = MemorySource(*[PIECE] * 5, later=True)
        world = World()
        sending = world.send(message=outgoing(source=source))
        source.give()
        (peer,) = world.peers
        peer.pump()
        producer = peer.transport.producer
        for index in range(1, 6):
            self.assertEqual([each for each, _ in source.asked], [index])
            producer.pauseProducing()
            source.give()
            self.assertEqual(source.asked, [])
            producer.resumeProducing()
        world.pump()
        self.assertEqual(self.successResultOf(sending).replies[0].code, 250)
        self.assertEqual(peer.contents, [wire(*[PIECE] * 5)])
        self.assertIsNone(peer.transport.producer)

    def test_a_source_that_gives_nothing_times_out_and_nothing_was_said(self) -> None:
        world = World()
        sending = world.send(message=outgoing(source=MemorySource(PIECE, later=True)))
        world.advance(200)
        self.assertIn("timed out", str(self.successResultOf(sending).replies[0]))
        self.assertEqual(world.peers[0].commands, ["EHLO us.example"])

    def test_progress_extends_the_deadline(self) -> None:
        source = MemorySource(*[PIECE] * 5, later=True)
        world = World()
        sending = world.send(message=outgoing(source=source))
        source.give()
        world.peers[0].pump()
        producer = world.peers[0].transport.producer
        for _ in range(3):
            producer.pauseProducing()
            source.give()
            world.advance(170)
            self.assertNoResult(sending)
            producer.resumeProducing()
        producer.pauseProducing()
        source.give()
        world.advance(185)
        self.assertIn("timed out", str(self.successResultOf(sending).replies[0]))
        self.assertEqual(world.peers[0].contents, [])


class TroubleTests(SynchronousTestCase):
    def ends_badly(self, source, code: int, enhanced: str) -> World:  # type: ignore[no-untyped-def]
        world = World()
        (reply,) = self.successResultOf(world.send(message=outgoing(source=source))).replies
        self.assertEqual((reply.code, reply.enhanced), (code, enhanced))
        self.assertTrue(all(not peer.contents for peer in world.peers))
        return world

    def test_content_that_could_smuggle_is_refused_before_anything_is_said(self) -> None:
        for bad in (b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\r"):
            world = self.ends_badly(MemorySource(bad), 554, "5.6.0")
            self.assertEqual(world.peers[0].commands, ["EHLO us.example"])
            self.assertFalse(world.peers[0].transport.closed)

    def test_such_content_in_a_later_piece_cuts_the_connection(self) -> None:
        for bad in (b"a\nb\r\n", b"a\r", b"\n.\r\n"):
            world = self.ends_badly(MemorySource(CONTENT, bad), 554, "5.6.0")
            self.assertTrue(world.peers[0].transport.closed)

    def test_a_source_that_ends_early_never_makes_a_whole_message(self) -> None:
        source = MemorySource(CONTENT, CONTENT)
        source.size_octets += 1
        self.assertTrue(self.ends_badly(source, 451, "4.3.0").peers[0].transport.closed)

    def test_a_source_that_fails_is_our_fault(self) -> None:
        for index in (0, 1):
            for later in (False, True):

                class Failing(MemorySource):
                    def chunk(self, number: int):  # type: ignore[no-untyped-def]
                        if number < index:  # noqa: B023
                            return super().chunk(number)
                        if later:  # noqa: B023
                            failed: Deferred[bytes] = Deferred()
                            failed.errback(OSError("disk"))
                            return failed
                        raise OSError("disk")

                self.ends_badly(Failing(CONTENT, CONTENT), 451, "4.3.0")
                self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_connection_lost_while_a_piece_is_fetched_asks_for_no_more(self) -> None:
        source = MemorySource(CONTENT, CONTENT, CONTENT, later=True)
        world = World()
        sending = world.send(message=outgoing(source=source))
        source.give()
        world.peers[0].pump()
        world.peers[0].transport.close()
        source.give()
        (reply,) = self.successResultOf(sending).replies
        self.assertIn("while sending the content", str(reply))
        self.assertEqual(source.asked, [])

    def test_a_connection_lost_before_the_first_piece_came_forgets_the_message(self) -> None:
        source = MemorySource(CONTENT, later=True)
        world = World()
        sending = world.send(message=outgoing(source=source))
        world.peers[0].transport.close()
        self.assertEqual(self.successResultOf(sending).replies[0].code, 451)
        source.give()
        self.assertEqual(world.peers[0].commands, ["EHLO us.example"])

    def test_a_refusal_in_the_middle_is_the_answer_and_stops_the_content(self) -> None:
        source = MemorySource(CONTENT, CONTENT, later=True)
        world = World()
        sending = world.send(message=outgoing(source=source))
        source.give()
        world.peers[0].pump()
        world.peers[0].hear(b"552 5.3.4 enough\r\n")
        self.assertEqual(self.successResultOf(sending).replies[0].code, 552)
        self.assertTrue(world.peers[0].transport.closed)
