"""Tests for the end of the service: RFC 5321 s3.8."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from postroom.server.limits import Limits
from tests.server.scene import STORED, Scene, settings
from tests.server.test_protocol import MAIL, PLAIN, RCPT, short

BYE = (421, "4.3.2")


class ShutdownTests(SynchronousTestCase):
    """Tests for `Connections.drain` and `Connections.abort` with real sessions."""

    def test_an_idle_session_hears_421_at_once(self) -> None:
        scene = Scene()
        fresh, greeted, done = scene.connect(), scene.connect(), scene.in_transaction()
        greeted.say("EHLO c")
        done.say("RSET")
        drained = scene.connections.drain()
        for peer in (fresh, greeted, done):
            self.assertEqual([short(each) for each in peer.hear_all()], [BYE])
            self.assertTrue(peer.closed)
            self.assertNoResult(drained)
            peer.lose()
        self.successResultOf(drained)

    def test_a_session_within_auth_is_idle(self) -> None:
        scene = Scene()
        peer = scene.connect(tls=True)
        peer.say("EHLO c")
        peer.say("AUTH PLAIN")
        scene.connections.drain()
        self.assertEqual(short(peer.hear()), BYE)

    def test_a_running_transaction_is_finished_first(self) -> None:
        scene = Scene()
        peer = scene.in_transaction()
        scene.connections.drain()
        self.assertFalse(peer.closed)
        self.assertEqual(peer.say(RCPT).code, 250)
        self.assertEqual(peer.say("DATA").code, 354)
        self.assertEqual(peer.say("x\r\n."), STORED)
        self.assertEqual([short(each) for each in peer.hear_all()], [BYE])
        self.assertTrue(peer.closed)
        self.assertEqual(len(scene.world.stored), 1)

    def test_chunks_that_have_begun_are_taken_to_the_last(self) -> None:
        scene = Scene()
        peer = scene.in_transaction()
        peer.send(b"BDAT 6\r\nx\r\n")
        scene.connections.drain()
        peer.send(b"y\r\n")
        self.assertEqual([each.code for each in peer.hear_all()], [250])
        peer.send(b"BDAT 0 LAST\r\n")
        self.assertEqual([each.code for each in peer.hear_all()], [250, 421])
        self.assertEqual([each.content for each in scene.world.stored], [b"x\r\ny\r\n"])

    def test_a_chunk_that_fails_ends_the_session(self) -> None:
        scene = Scene(settings(bare_newline="refuse"))
        peer = scene.in_transaction()
        scene.connections.drain()
        peer.send(b"BDAT 2\r\na\n")
        self.assertEqual([each.code for each in peer.hear_all()], [550, 421])

    def test_no_transaction_begins_after_it(self) -> None:
        scene = Scene()
        peer = scene.in_content()
        scene.connections.drain()
        peer.send(f"x\r\n.\r\n{MAIL}\r\n".encode())
        self.assertEqual([each.code for each in peer.hear_all()], [250, 421])

    def test_a_transaction_that_is_given_up_ends_the_session(self) -> None:
        scene = Scene()
        peer = scene.in_transaction()
        scene.connections.drain()
        self.assertEqual(peer.say("RSET").code, 250)
        self.assertEqual(short(peer.hear()), BYE)

    def test_a_verdict_is_given_first(self) -> None:
        scene = Scene()
        scene.world.hold("login")
        peer = scene.connect(tls=True)
        peer.say("EHLO c")
        peer.send(PLAIN.encode() + b"\r\n")
        scene.connections.drain()
        self.assertFalse(peer.closed)
        scene.world.held.popleft().give()
        self.assertEqual([each.code for each in peer.hear_all()], [235, 421])

    def test_so_is_one_that_costs_a_second(self) -> None:
        scene = Scene(settings(limits=replace(Limits(), errors_before_delay=0)))
        scene.world.hold("sender")
        peer = scene.connect()
        peer.say("EHLO c")
        peer.send(b"MAIL FROM:<unwelcome@there.example>\r\n")
        scene.connections.drain()
        scene.world.held.popleft().give()
        scene.clock.advance(1)
        self.assertEqual([each.code for each in peer.hear_all()], [550, 421])
        self.assertTrue(peer.closed)

    def test_the_second_itself_is_cut_short(self) -> None:
        scene = Scene(settings(limits=replace(Limits(), errors_before_delay=0)))
        peer = scene.connect()
        peer.send(b"WHAT\r\n")
        scene.connections.drain()
        self.assertEqual([short(each) for each in peer.hear_all()], [BYE])
        deadline = peer.protocol.deadline
        scene.clock.advance(1)
        self.assertEqual(peer.hear_all(), [])
        self.assertEqual(peer.protocol.deadline, deadline)

    def test_whoever_is_left_at_the_deadline_is_cut_off_and_hears_421(self) -> None:
        scene = Scene()
        begun, storing, judged = scene.in_transaction(), scene.in_content(), scene.in_transaction()
        sending = scene.in_content()
        scene.world.hold("recipient", "commit")
        storing.send(b"x\r\n.\r\n")
        judged.send(RCPT.encode() + b"\r\n")
        drained = scene.connections.drain()
        scene.connections.abort()
        for peer in (begun, storing, judged, sending):
            self.assertEqual([short(each) for each in peer.hear_all()], [BYE])
            self.assertTrue(peer.transport.aborted)
            peer.lose()
        self.successResultOf(drained)
        self.assertEqual(scene.world.calls[-1], "abort")

    def test_a_session_that_has_said_good_bye_says_no_more(self) -> None:
        scene = Scene()
        peer = scene.connect()
        peer.say("QUIT")
        scene.connections.drain()
        scene.connections.abort()
        self.assertEqual(peer.hear_all(), [])
        self.assertTrue(peer.transport.aborted)
