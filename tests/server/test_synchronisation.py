"""Peers that do not wait: before the greeting, for a reply, or for their own replies to be read."""

import socket
from ipaddress import ip_network

from twisted.internet.interfaces import ISystemHandle
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.server.limits import ListenerSettings
from tests.server.scene import PATIENT, Peer, Scene, Transport, settings

STRICT = settings(synchronised=True)
MAIL = "MAIL FROM:<a@there.example>\r\n"
RCPT = "RCPT TO:<user@here.example>\r\n"


def codes(peer: Peer) -> list[tuple[int, str | None]]:
    peer.settle()
    return [(each.code, each.enhanced) for each in peer.hear_all()]


class GroupTests(SynchronousTestCase):
    """What follows a command that ends a group."""

    def refused(self, peer: Peer, octets: str) -> None:
        peer.send(octets.encode())
        self.assertEqual(codes(peer)[-1], (554, "5.5.0"), octets)
        self.assertTrue(peer.closed, octets)

    def test_nothing_follows_a_command_that_ends_a_group(self) -> None:
        for late in (False, True):
            for command in (
                *("EHLO a", "HELO a", "NOOP", "VRFY user", "EXPN list", "STARTTLS", "ETRN a.b"),
                *("AUTH PLAIN", "DATA", "EHLO", "VRFY"),
            ):
                scene = Scene(STRICT)
                if late:
                    scene.answer_late()
                peer = scene.connect()
                peer.say("EHLO client.example")
                self.refused(peer, f"{command}\r\nRSET\r\n")
                self.assertEqual(scene.world.stored, [])

    def test_content_does_not_come_before_354(self) -> None:
        for late in (False, True):
            scene = Scene(STRICT)
            if late:
                scene.answer_late()
            peer = scene.in_transaction()
            peer.send(b"DATA\r\nQUIT\r\n")
            self.assertEqual(codes(peer), [(554, "5.5.0")])
            self.assertTrue(peer.closed)
            peer.lose()
            self.assertEqual(scene.world.calls[-1], "abort")

    def test_what_comes_while_an_answer_is_awaited_has_not_waited(self) -> None:
        scene = Scene(STRICT)
        scene.world.hold("begin")
        peer = scene.in_transaction()
        peer.send(b"DATA\r\n")
        peer.send(b"content")
        scene.world.held.popleft().give()
        self.assertEqual(codes(peer), [(554, "5.5.0")])

    def test_without_ehlo_there_are_no_groups(self) -> None:
        for command in ("RSET\r\n", MAIL):
            peer = Scene(STRICT).connect()
            peer.say("HELO client.example")
            self.refused(peer, command + "NOOP\r\n")
        peer = Scene(STRICT).connect()
        self.refused(peer, "RSET\r\nEHLO client.example\r\n")

    def test_after_the_content_of_helo_a_command_may_follow_at_once(self) -> None:
        peer = Scene(STRICT).connect()
        for line in ("HELO client.example", MAIL.rstrip(), RCPT.rstrip(), "DATA"):
            peer.say(line)
        peer.send(b"x\r\n.\r\nQUIT\r\n")
        self.assertEqual(codes(peer), [(250, "2.0.0"), (221, "2.0.0")])

    def test_content_that_comes_after_data_was_refused_is_not_read_as_commands(self) -> None:
        for first_line in ("Subject: x", "", "Received: from a", "<html>"):
            scene = Scene(STRICT)
            peer = scene.connect()
            peer.say("EHLO client.example")
            peer.say(MAIL.rstrip())
            self.assertEqual(peer.say("DATA").code, 554)
            peer.send(f"{first_line}\r\nMAIL FROM:<evil@there.example>\r\n".encode())
            self.assertEqual(codes(peer), [(554, "5.5.0")], first_line)
            self.assertTrue(peer.closed)
            self.assertNotIn("sender evil@there.example", scene.world.calls)

    def test_a_command_after_data_was_refused_is_one(self) -> None:
        peer = Scene(STRICT).connect()
        peer.say("EHLO client.example")
        self.assertEqual(peer.say("DATA").code, 503)
        self.assertEqual(peer.say("NOOP").code, 250)
        self.assertEqual(peer.say("what").code, 500)
        self.assertFalse(peer.closed)

    def test_who_has_logged_in_submits_or_is_listed_may_hurry(self) -> None:
        listed = settings(synchronised=True, unsynchronised_networks=[ip_network("192.0.2.0/24")])
        for listener in (
            listed,
            settings(synchronised=True, role="submission"),
            settings(synchronised=False),
        ):
            peer = Scene(listener).connect()
            peer.send(b"NOOP\r\nNOOP\r\n")
            self.assertEqual(codes(peer), [(250, "2.0.0")] * 2)
        peer = Scene(STRICT).connect(tls=True)
        peer.say("EHLO client.example")
        peer.say("AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAGNvcnJlY3QgaG9yc2U=")
        peer.send(b"NOOP\r\nNOOP\r\n")
        self.assertEqual(codes(peer), [(250, "2.0.0")] * 2)

    def test_it_is_so_unless_a_setting_says_otherwise(self) -> None:
        shipped = ListenerSettings("mx", "mx.here.example")
        self.assertTrue(shipped.synchronised)
        self.assertEqual(tuple(shipped.unsynchronised_networks), ())  # nor is this host let off


@implementer(ISystemHandle)
class SocketTransport(Transport):
    """A transport with one end of a pair of sockets below it."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__(None)
        self.handle = handle

    def getHandle(self) -> socket.socket:  # type: ignore[override]
        return self.handle


class GreetingTests(SynchronousTestCase):
    """Peers that talk before they are greeted."""

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(10)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    def greeting(self, listener: ListenerSettings, said: bytes) -> bytes:
        ours, theirs = self.sockets()
        if said:
            theirs.sendall(said)
        protocol = Scene(listener).factory.buildProtocol(None)
        protocol.makeConnection(SocketTransport(ours))
        return theirs.recv(100)

    def test_what_was_sent_before_the_connection_was_taken_counts(self) -> None:
        self.assertTrue(self.greeting(STRICT, b"EHLO a\r\n").startswith(b"554 5.5.0 "))
        self.assertTrue(self.greeting(STRICT, b"").startswith(b"220 "))

    def test_where_nobody_has_to_wait_it_does_not(self) -> None:
        self.assertTrue(self.greeting(settings(), b"EHLO a\r\n").startswith(b"220 "))

    def test_the_greeting_may_be_late(self) -> None:
        scene = Scene(settings(synchronised=True, greeting_delay_seconds=5))
        peer = scene.connect(greeted=False)
        scene.wait(4, peer)
        self.assertEqual(peer.hear_all(), [])
        scene.wait(2, peer)
        self.assertEqual(peer.hear().code, 220)
        self.assertEqual(peer.say("EHLO client.example").code, 250)
        scene.wait(299, peer)
        self.assertFalse(peer.closed)

    def test_who_talks_meanwhile_is_turned_away(self) -> None:
        scene = Scene(settings(synchronised=True, greeting_delay_seconds=5))
        peer = scene.connect(greeted=False)
        peer.send(b"EHLO client.example\r\n")
        self.assertEqual(peer.hear_all(), [])
        scene.wait(6, peer)
        self.assertEqual(codes(peer), [(554, "5.5.0")])
        self.assertTrue(peer.closed)

    def test_who_goes_away_meanwhile_is_forgotten(self) -> None:
        scene = Scene(settings(synchronised=True, greeting_delay_seconds=5))
        peer = scene.connect(greeted=False)
        peer.lose()
        self.assertEqual(scene.clock.getDelayedCalls(), [])
        self.assertEqual(len(scene.connections), 0)

    def test_only_strangers_wait(self) -> None:
        listener = settings(greeting_delay_seconds=5)
        self.assertEqual(Scene(listener).connect(greeted=False).hear().code, 220)


class OutflowTests(SynchronousTestCase):
    """Peers that take no replies."""

    def test_what_the_transport_cannot_write_stops_the_reading(self) -> None:
        peer = Scene(settings(limits=PATIENT)).connect()
        producer = peer.transport.producer
        assert producer is not None
        producer.pauseProducing()
        peer.send(b"NOOP\r\n" * 3)
        peer.send(b"NOOP\r\n")
        self.assertEqual(codes(peer), [])
        self.assertEqual(peer.transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(codes(peer), [(250, "2.0.0")] * 4)
        self.assertEqual(peer.transport.producerState, "producing")

    def test_an_answer_that_is_late_does_not_start_it_again(self) -> None:
        scene = Scene()
        scene.world.hold("sender")
        peer = scene.connect()
        peer.say("EHLO client.example")
        peer.send(MAIL.encode())
        peer.transport.producer.pauseProducing()
        peer.send(b"NOOP\r\n")
        scene.world.held.popleft().give()
        self.assertEqual(codes(peer), [(250, "2.1.0")])
        peer.transport.producer.resumeProducing()
        self.assertEqual(codes(peer), [(250, "2.0.0")])

    def test_a_transport_is_asked_for_nothing_more_when_the_session_ends(self) -> None:
        peer = Scene().connect()
        peer.say("QUIT")
        self.assertIsNone(peer.transport.producer)
