"""Tests for the times that `postroom.server.protocol` keeps: RFC 5321 s4.5.3.2, and our own."""

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from postroom.server.limits import Limits
from tests.server.scene import STORED, Peer, Scene, settings
from tests.server.test_protocol import PLAIN, short


class CommandTests(SynchronousTestCase):
    """Between a reply and the next whole command."""

    def timed_out(self, scene: Scene, peer: Peer, after: float) -> None:
        scene.wait(after - 1, peer)
        self.assertFalse(peer.closed)
        scene.wait(2, peer)
        self.assertEqual([short(each) for each in peer.hear_all()], [(421, "4.4.2")])
        self.assertTrue(peer.closed)

    def test_there_are_five_minutes_for_the_first_command(self) -> None:
        scene = Scene()
        self.timed_out(scene, scene.connect(), 300)

    def test_and_for_each_that_follows(self) -> None:
        scene = Scene()
        peer = scene.in_transaction()
        for _ in range(5):
            scene.wait(290, peer)
            self.assertEqual(peer.say("NOOP").code, 250)
        self.timed_out(scene, peer, 300)

    def test_octets_that_complete_no_command_gain_no_time(self) -> None:
        scene = Scene()
        peer = scene.connect()
        for _ in range(10):
            peer.send(b"NOOP ")
            scene.wait(29, peer)
        self.timed_out(scene, peer, 10)

    def test_nor_do_those_of_an_over_long_line(self) -> None:
        scene = Scene()
        peer = scene.connect()
        peer.send(b"x" * 20_000)
        self.assertEqual(peer.hear().code, 500)
        for _ in range(10):
            scene.wait(29, peer)
            peer.send(b"x")
        self.timed_out(scene, peer, 10)

    def test_a_response_within_auth_has_the_same_time(self) -> None:
        scene = Scene()
        peer = scene.connect(tls=True)
        peer.say("EHLO c")
        self.assertEqual(peer.say("AUTH PLAIN").code, 334)
        self.timed_out(scene, peer, 300)

    def test_a_transaction_that_is_left_lying_ends(self) -> None:
        scene = Scene()
        self.timed_out(scene, scene.in_transaction(), 300)

    def test_a_tls_handshake_that_does_not_come_ends(self) -> None:
        scene = Scene()
        peer = scene.connect()
        peer.say("EHLO c")
        self.assertEqual(peer.say("STARTTLS").code, 220)
        scene.wait(301, peer)
        self.assertTrue(peer.closed)

    def test_the_time_of_a_verdict_is_not_the_peers(self) -> None:
        scene = Scene()
        scene.world.hold("recipient")
        peer = scene.connect()
        peer.say("EHLO c")
        peer.say("MAIL FROM:<a@there.example>")
        scene.wait(250, peer)
        peer.send(b"RCPT TO:<user@here.example>\r\n")
        scene.wait(250, peer)
        scene.world.held.popleft().give()
        self.assertEqual(peer.hear().code, 250)
        self.timed_out(scene, peer, 300)


class LingerTests(SynchronousTestCase):
    """After the good-bye."""

    def test_a_peer_that_does_not_close_is_cut_off(self) -> None:
        for farewell in ("QUIT", "GET / HTTP/1.1"):
            scene = Scene()
            peer = scene.connect()
            peer.say(farewell)
            scene.wait(9, peer)
            self.assertFalse(peer.transport.aborted)
            scene.wait(2, peer)
            self.assertTrue(peer.transport.aborted, farewell)

    def test_so_is_one_that_was_timed_out(self) -> None:
        scene = Scene()
        peer = scene.connect()
        scene.wait(301, peer)
        self.assertFalse(peer.transport.aborted)
        scene.wait(11, peer)
        self.assertTrue(peer.transport.aborted)


class ContentTests(SynchronousTestCase):
    """Content that comes slowly."""

    def test_silence_after_354_ends_in_three_minutes(self) -> None:
        scene = Scene()
        peer = scene.in_content()
        scene.wait(179, peer)
        self.assertFalse(peer.closed)
        scene.wait(2, peer)
        self.assertEqual(short(peer.hear()), (421, "4.4.2"))
        peer.lose()
        self.assertEqual(scene.world.calls[-1], "abort")

    def test_so_does_silence_within_the_content(self) -> None:
        scene = Scene()
        peer = scene.in_content()
        scene.wait(100, peer)
        peer.send((b"x" * 70 + b"\r\n") * 9000)
        scene.wait(179, peer)
        self.assertFalse(peer.closed)
        scene.wait(2, peer)
        self.assertEqual(short(peer.hear()), (421, "4.4.2"))

    def test_a_trickle_takes_its_time_on_a_calm_server(self) -> None:
        scene = Scene()
        peer = scene.in_content()
        for _ in range(120):
            peer.send(b"x" * 1250)
            scene.wait(5, peer)  # ten minutes in all, at half the rate that is wanted under stress
        self.assertEqual(peer.say("\r\n."), STORED)

    def test_a_trickle_ends_whatever_its_rhythm_under_stress(self) -> None:
        scene = Scene(limit=1)
        peer = scene.in_content()
        for _ in range(40):
            if peer.closed:
                break
            peer.send(b"x")
            scene.wait(5, peer)
        self.assertTrue(peer.closed)
        self.assertLess(scene.clock.seconds(), 190)

    def test_content_that_keeps_up_the_rate_may_take_hours(self) -> None:
        scene = Scene(limit=1)
        peer = scene.in_content()
        for _ in range(200):
            peer.send((b"x" * 78 + b"\r\n") * 375)
            scene.wait(60, peer)
        self.assertEqual(peer.say("."), STORED)

    def test_what_is_read_away_counts_as_well(self) -> None:
        scene = Scene(settings(bare_newline="refuse"), limit=1)
        peer = scene.in_content()
        peer.send(b"a\nb")
        for _ in range(50):
            peer.send(b"x" * 30_000)
            scene.wait(60, peer)
        self.assertEqual(short(peer.say("\r\n.")), (550, "5.5.2"))

    def test_the_time_of_our_disk_is_not_the_peers(self) -> None:
        scene = Scene()
        scene.world.hold("write")
        peer = scene.in_content()
        for _ in range(10):
            peer.send(b"x" * 70 + b"\r\n")
            scene.wait(170, peer)
            scene.world.held.popleft().give()
        self.assertFalse(peer.closed)
        peer.send(b".\r\n")
        scene.world.held.popleft().give()
        self.assertEqual(peer.hear(), STORED)

    def test_a_disk_that_takes_for_ever_ends_the_session(self) -> None:
        scene = Scene()
        scene.world.hold("write")
        peer = scene.in_content()
        peer.send(b"x" * 70 + b"\r\n")
        scene.wait(299, peer)
        self.assertFalse(peer.closed)
        scene.wait(2, peer)
        self.assertEqual(peer.hear().code, 421)
        scene.world.held.popleft().give()
        self.assertEqual(peer.hear_all(), [])


class VerdictTests(SynchronousTestCase):
    """A delivery that does not answer; what comes of it is in `test_protocol.LateTests`."""

    def test_the_time_is_a_setting(self) -> None:
        scene = Scene(settings(limits=replace(Limits(), verdict_timeout_seconds=5)))
        scene.world.hold("sender")
        peer = scene.connect()
        peer.say("EHLO c")
        peer.send(b"MAIL FROM:<a@there.example>\r\n")
        scene.wait(6, peer)
        self.assertEqual(peer.hear().code, 451)

    def test_an_answer_that_will_not_be_taken_back_is_asked_again(self) -> None:
        scene = Scene()
        asked: list[object] = []

        def stubborn(cancelled: "Deferred[object]") -> None:
            asked.append(cancelled)
            if len(asked) == 1:
                raise RuntimeError("not now")

        answer: Deferred[object] = Deferred(stubborn)
        scene.world.answer = lambda point, make: answer if point == "sender" else make()
        peer = scene.connect()
        peer.say("EHLO c")
        peer.send(b"MAIL FROM:<a@there.example>\r\n")
        scene.connections.start()
        scene.wait(301, peer)
        self.assertEqual(peer.hear_all(), [])
        scene.wait(11, peer)
        self.assertEqual(peer.hear().code, 451)
        scene.connections.stop()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class CrowdTests(SynchronousTestCase):
    """More than four fifths of the connections are in use."""

    def test_whoever_keeps_it_waiting_has_ten_seconds(self) -> None:
        scene = Scene(limit=10)
        idle, begun, challenged = scene.connect(), scene.in_transaction(), scene.connect(tls=True)
        challenged.say("EHLO c")
        challenged.say("AUTH PLAIN")
        sending = scene.in_content()
        scene.world.hold("login")
        judged = scene.connect(tls=True)
        judged.say("EHLO c")
        judged.send(PLAIN.encode() + b"\r\n")
        for _ in range(3):
            scene.connect()
        scene.wait(60)
        self.assertFalse(idle.closed)
        active = scene.connect()
        for _ in range(3):
            scene.wait(8)
            active.say("NOOP")
        self.assertTrue(idle.closed and begun.closed and challenged.closed)
        self.assertFalse(sending.closed or judged.closed or active.closed)


class PenaltyTests(SynchronousTestCase):
    """The second that an error costs."""

    def test_the_reply_comes_a_second_later_and_nothing_is_read_meanwhile(self) -> None:
        limits = replace(Limits(), errors_before_delay=1, errors=4)
        scene = Scene(settings(limits=limits))
        peer = scene.connect()
        peer.send(b"WHAT\r\nWHAT\r\nNOOP\r\n")
        self.assertEqual([each.code for each in peer.hear_all()], [500])
        peer.send(b"NOOP\r\n")
        self.assertEqual(peer.transport.producerState, "paused")
        scene.clock.advance(0.9)
        self.assertEqual(peer.hear_all(), [])
        scene.clock.advance(0.1)
        self.assertEqual([each.code for each in peer.hear_all()], [500, 250, 250])

    def test_a_peer_that_leaves_meanwhile_is_forgotten(self) -> None:
        scene = Scene(settings(limits=replace(Limits(), errors_before_delay=0)))
        peer = scene.connect()
        peer.send(b"WHAT\r\n")
        peer.lose()
        self.assertEqual(scene.clock.getDelayedCalls(), [])

    def test_a_421_comes_at_once(self) -> None:
        scene = Scene(settings(limits=replace(Limits(), errors_before_delay=0)))
        peer = scene.connect()
        self.assertEqual(peer.say("GET /").code, 421)
        self.assertTrue(peer.closed)

    def test_a_late_verdict_that_is_an_error_costs_it_too(self) -> None:
        scene = Scene(settings(limits=replace(Limits(), errors_before_delay=0)))
        scene.world.hold("recipient")
        peer = scene.connect()
        peer.send(
            b"EHLO c\r\nMAIL FROM:<a@there.example>\r\nRCPT TO:<unknown@here.example>\r\nNOOP\r\n"
        )
        peer.hear_all()
        scene.world.held.popleft().give()
        self.assertEqual(peer.hear_all(), [])
        scene.clock.advance(1)
        self.assertEqual([each.code for each in peer.hear_all()], [550, 250])
