"""BDAT in the server, beyond what the transcripts show: waiting, failing, and memory."""

import tracemalloc
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import Refusal
from postroom.server.incoming import IncomingChunks
from postroom.wire.data import ChunkDecoder
from postroom.wire.replies import reply
from postroom.wire.session import Chunk
from tests.server.scene import PATIENT, STORED, Peer, Scene, Stored, Transaction, World, settings

FULL = reply(452, "4.2.2", "Mailbox full")
GONE = reply(550, "5.1.1", "Gone")


def codes(peer: Peer) -> list[int]:
    peer.settle()
    return [each.code for each in peer.hear_all()]


class WaitTests(SynchronousTestCase):
    """Chunks, and a delivery that takes its time or fails."""

    def test_the_first_chunk_waits_for_the_delivery(self) -> None:
        scene = Scene()
        scene.world.hold("begin")
        peer = scene.in_transaction()
        peer.send(b"BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\nNOOP\r\n")
        self.assertEqual(codes(peer), [])
        scene.world.held.popleft().give()
        self.assertEqual(codes(peer), [250, 250, 250])
        self.assertEqual(scene.world.stored[0].content, b"x\r\ny\r\n")

    def test_a_delivery_that_refuses_does_so_after_the_chunk(self) -> None:
        for late in (False, True):
            scene = Scene()
            if late:
                scene.answer_late()
            scene.world.fail("begin", Refusal(FULL))
            peer = scene.in_transaction()
            peer.send(b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
            self.assertEqual(codes(peer), [452, 503, 250])

    def test_a_disk_that_fails_is_told_of_at_the_chunk(self) -> None:
        for late in (False, True):
            scene = Scene()
            if late:
                scene.world.hold("write")
            else:
                scene.world.fail("write", OSError(28, "full"))
            peer = scene.in_transaction()
            peer.send(b"BDAT 20000\r\n" + b"x\r\n\r\n" * 4000 + b"NOOP\r\n")
            if late:
                scene.world.held.popleft().deferred.errback(OSError(28, "full"))
            self.assertEqual(codes(peer), [452, 250])
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_the_peer_is_held_until_a_piece_is_taken(self) -> None:
        scene = Scene()
        scene.world.hold("write")
        peer = scene.in_transaction()
        peer.send(b"BDAT 40000\r\n" + b"x\r\n\r\n" * 4000)
        peer.send(b"x\r\n\r\n" * 4000 + b"BDAT 0 LAST\r\n")
        self.assertEqual((codes(peer), peer.transport.producerState), ([], "paused"))
        while scene.world.held:
            scene.world.held.popleft().give()
            peer.settle()
        self.assertEqual(codes(peer), [250, 250])
        self.assertEqual(len(scene.world.stored[0].content), 40_000)

    def test_a_peer_that_goes_away_within_a_chunk_leaves_nothing(self) -> None:
        for octets in (b"BDAT 10\r\nabc", b"BDAT 3\r\nx\r\n", b"BDAT 10 LAST\r\nabc"):
            scene = Scene()
            peer = scene.in_transaction()
            peer.send(octets)
            peer.lose()
            self.assertEqual((scene.world.calls[-1], scene.world.stored), ("abort", []))

    def test_what_ends_the_transaction_ends_the_delivery(self) -> None:
        for line in (b"RSET\r\n", b"EHLO client.example\r\n", b"QUIT\r\n", b"STARTTLS\r\n"):
            scene = Scene()
            peer = scene.in_transaction()
            peer.send(b"BDAT 3\r\nx\r\n")
            peer.send(line)
            self.assertEqual(scene.world.calls[-1], "abort", line)
            peer.lose()

    def test_a_message_that_is_being_stored_is_stored_though_the_peer_is_gone(self) -> None:
        scene = Scene()
        scene.world.hold("commit")
        peer = scene.in_transaction()
        peer.send(b"BDAT 3 LAST\r\nx\r\n")
        peer.lose()
        scene.world.held.popleft().give()
        self.assertEqual([each.content for each in scene.world.stored], [b"x\r\n"])

    def test_silence_within_a_chunk_and_between_chunks_has_an_end(self) -> None:
        for octets in (b"BDAT 10\r\nabc", b"BDAT 3\r\nx\r\n"):
            scene = Scene(settings(limits=replace(PATIENT, data_timeout_seconds=60)))
            peer = scene.in_transaction()
            peer.send(octets)
            codes(peer)
            scene.wait(59, peer)
            self.assertFalse(peer.closed)
            scene.wait(3, peer)
            self.assertEqual(codes(peer), [421])

    def test_a_chunk_that_drips_has_an_end_under_stress(self) -> None:
        scene = Scene(limit=1)
        peer = scene.in_transaction()
        peer.send(b"BDAT 100000\r\n")
        for _ in range(5):
            peer.send(b"x")
            scene.wait(60, peer)
        self.assertTrue(peer.closed)


class EachRecipientTests(SynchronousTestCase):
    """A result for each recipient."""

    def results(self, scene: Scene) -> None:
        def commit(_: Stored) -> list[object]:
            return [STORED, FULL, GONE]

        scene.world.commit_with = commit  # type: ignore[assignment]

    def test_lmtp_tells_them_in_order(self) -> None:
        for late in (False, True):
            scene = Scene(settings(role="lmtp"))
            self.results(scene)
            if late:
                scene.answer_late()
            peer = scene.connect()
            peer.say("LHLO client.example")
            peer.say("MAIL FROM:<a@there.example>")
            for number in range(3):
                peer.say(f"RCPT TO:<user{number}@here.example>")
            peer.say("DATA")
            peer.send(b"x\r\n.\r\nNOOP\r\n")
            self.assertEqual(codes(peer), [250, 452, 550, 250])

    def test_lmtp_tells_each_of_a_failure_of_ours(self) -> None:
        scene = Scene(settings(role="lmtp"))
        scene.world.fail("commit", OSError("broken"))
        peer = scene.connect()
        peer.say("LHLO client.example")
        peer.say("MAIL FROM:<a@there.example>")
        for number in range(2):
            peer.say(f"RCPT TO:<user{number}@here.example>")
        peer.send(b"BDAT 3 LAST\r\nx\r\nNOOP\r\n")
        self.assertEqual(codes(peer), [451, 451, 250])
        self.flushLoggedErrors()

    def test_prdr_tells_them_between_353_and_the_whole(self) -> None:
        scene = Scene(settings(prdr=True))
        self.results(scene)
        peer = scene.connect()
        peer.say("EHLO client.example")
        peer.say("MAIL FROM:<a@there.example> PRDR")
        for number in range(3):
            peer.say(f"RCPT TO:<user{number}@here.example>")
        peer.say("DATA")
        peer.send(b"x\r\n.\r\nNOOP\r\n")
        self.assertEqual(codes(peer), [353, 250, 452, 550, 250, 250])

    def test_without_it_the_sender_tries_again(self) -> None:
        scene = Scene()
        self.results(scene)
        peer = scene.in_content(rcpts=3)
        peer.send(b"x\r\n.\r\n")
        self.assertEqual(codes(peer), [451])


class SizeTests(SynchronousTestCase):
    """What counts is what is stored."""

    def test_mended_line_ends_count(self) -> None:
        limits = replace(PATIENT, message_octets=10)
        for content, code in ((b"a\n" * 3, 250), (b"a\n" * 4, 552), (b"\0" * 11, 552)):
            peer = Scene(settings(limits=limits)).in_transaction()
            peer.send(b"BDAT %d LAST\r\n" % len(content) + content)
            self.assertEqual(codes(peer), [code])


class MemoryTests(SynchronousTestCase):
    """Nothing is kept of a chunk."""

    def test_chunks_of_one_octet_make_few_pieces(self) -> None:
        session = Scene().in_transaction().protocol.session
        transaction = Transaction(World(), session.envelope)
        incoming = IncomingChunks(session, transaction, ChunkDecoder())
        for octet in b"x\r\n\r\n" * 10_000:
            incoming.begin_chunk(Chunk(1, False))
            incoming.feed(bytes([octet]))
            incoming.end()
        incoming.begin_chunk(Chunk(0, True))
        self.assertEqual(len(b"".join(transaction.chunks)), 50_000)
        self.assertLess(len(transaction.chunks), 5)

    def test_a_session_does_not_grow_with_the_number_of_chunks(self) -> None:
        scene = Scene()
        peer = scene.in_transaction()
        grown = []
        tracemalloc.start()
        try:
            for _ in range(3):
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(100):
                    peer.send(b"BDAT 0\r\n" * 100)
                    codes(peer)
                    peer.transport.writes.clear()
                grown.append(tracemalloc.get_traced_memory()[0] - before)
        finally:
            tracemalloc.stop()
        self.assertLess(min(grown), 2_000, grown)
