"""Tests for STARTTLS: RFC 3207 s4.2, and the injections of its kin (CVE-2011-0411 and others).

Real handshakes are in `test_sockets`; the transport here only writes down that TLS was begun.
"""

from dataclasses import replace
from ipaddress import ip_network

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.ssl import CertificateOptions
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from postroom.server.factory import ImplicitTLSFactory
from tests.server.scene import PATIENT, Peer, Scene, settings
from tests.server.test_protocol import MAIL, PLAIN, RCPT

CONTEXT = "a context"


class HandshakeTests(SynchronousTestCase):
    """Tests for the time and the end of a handshake."""

    limits = replace(PATIENT, handshake_timeout_seconds=30, command_timeout_seconds=300)

    def begun(self) -> tuple[Scene, Peer, Peer]:
        """Give a scene, and a peer each that began with STARTTLS and with TLS at once."""
        scene = Scene(settings(limits=self.limits))
        starttls = scene.connect()
        starttls.say("EHLO c")
        starttls.say("STARTTLS")
        return scene, starttls, scene.connect(tls=True)

    def test_half_a_hello_and_silence_is_cut_off_without_a_word(self) -> None:
        scene, *peers = self.begun()
        scene.wait(29, *peers)
        self.assertEqual([peer.transport.aborted for peer in peers], [False, False])
        scene.wait(2, *peers)
        for peer in peers:
            self.assertTrue(peer.transport.aborted)
            self.assertEqual(peer.hear_all(), [])

    def test_after_it_commands_have_their_own_time(self) -> None:
        scene, *peers = self.begun()
        for peer in peers:
            peer.transport.shake_hands()
        scene.wait(299, *peers)
        for peer in peers:
            self.assertEqual(peer.hear_all(), [])
        scene.wait(2, *peers)
        for peer in peers:
            self.assertEqual(peer.hear().code, 421)

    def test_it_is_not_waited_for_when_the_service_shuts_down(self) -> None:
        scene, *peers = self.begun()
        scene.connections.drain()
        for peer in peers:
            self.assertTrue(peer.transport.aborted)
            self.assertEqual(peer.hear_all(), [])

    def test_one_that_fails_is_logged_with_its_reason(self) -> None:
        error = SSL.Error([("SSL routines", "", "no shared cipher")])
        for failure, text in (
            (Failure(error), "no shared cipher"),
            (Failure(ConnectionDone()), "the connection ended"),
            (Failure(ConnectionLost()), "Connection to the other side was lost"),
        ):
            _, *peers = self.begun()
            for peer in peers:
                with capturedLogs() as events:
                    peer.protocol.connectionLost(failure)
                (event,) = events
                told = formatEvent(event)
                self.assertIn("TLS handshake failed client=192.0.2.1", told)
                self.assertIn(text, told)

    def test_a_connection_that_ends_after_it_is_no_failure(self) -> None:
        _, *peers = self.begun()
        for peer in peers:
            peer.transport.shake_hands()
            with capturedLogs() as events:
                peer.lose()
            self.assertEqual(events, [])


class FloodTests(SynchronousTestCase):
    """Tests for handshakes that come too often."""

    def setUp(self) -> None:
        limits = replace(PATIENT, handshakes_per_minute=3)
        near = [ip_network("127.0.0.0/8")]
        self.scene = Scene(settings(limits=limits, unlimited_networks=near))

    def starttls(self, host: str) -> int:
        peer = self.scene.connect(host)
        peer.say("EHLO c")
        return peer.say("STARTTLS").code

    def at_once(self, host: str) -> bool:
        """Begin with TLS; tell whether the connection stands."""
        contexts = CertificateOptions()
        factory = ImplicitTLSFactory(contexts, self.scene.factory, self.scene.clock)
        return factory.buildProtocol(IPv4Address("TCP", host, 4000)) is not None

    def test_starttls_is_refused_for_the_rest_of_the_minute(self) -> None:
        codes = [self.starttls("192.0.2.1") for _ in range(5)]
        self.assertEqual(codes, [220, 220, 220, 454, 454])
        self.assertEqual(self.starttls("192.0.2.2"), 220)
        self.scene.clock.advance(60)
        self.assertEqual(self.starttls("192.0.2.1"), 220)

    def test_a_connection_that_begins_with_tls_is_closed(self) -> None:
        taken = [self.at_once("192.0.2.1") for _ in range(5)]
        self.assertEqual(taken, [True, True, True, False, False])
        self.assertTrue(self.at_once("192.0.2.2"))

    def test_both_count_together_and_one_line_is_logged(self) -> None:
        self.starttls("192.0.2.1")
        self.at_once("192.0.2.1")
        self.at_once("192.0.2.1")
        with capturedLogs() as events:
            self.assertEqual(self.starttls("192.0.2.1"), 454)
            self.assertFalse(self.at_once("192.0.2.1"))
        told = [formatEvent(event) for event in events]
        self.assertEqual(told.count("too many TLS handshakes client=192.0.2.1"), 1, told)

    def test_an_ipv6_network_is_one_peer(self) -> None:
        codes = [self.starttls(f"2001:db8::{number}") for number in range(1, 6)]
        self.assertEqual(codes, [220, 220, 220, 454, 454])

    def test_programs_of_this_host_are_not_held_to_it(self) -> None:
        self.assertEqual({self.starttls("127.0.0.1") for _ in range(10)}, {220})


class StarttlsTests(SynchronousTestCase):
    """Tests for the change from clear text to TLS."""

    def upgraded(self, scene: Scene, *before: str) -> Peer:
        peer = scene.connect()
        for line in ("EHLO in-clear.example", *before):
            peer.say(line)
        self.assertEqual(peer.say("STARTTLS").code, 220)
        self.assertEqual(peer.transport.tls, CONTEXT)
        return peer

    def test_nothing_that_came_along_is_a_command(self) -> None:
        for injected in (
            "EHLO x\r\n",
            "NOOP\r\n",
            "NOOP\r\nNOOP\r\n",
            f"EHLO x\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
            "AUT",
            "NOOP",
            "\r\n",
        ):
            scene = Scene()
            peer = scene.connect()
            peer.say("EHLO c")
            peer.send(b"STARTTLS\r\n" + injected.encode())
            self.assertEqual([each.code for each in peer.hear_all()], [220])
            # What now comes is from within TLS. Half a command left over would spoil the first.
            self.assertEqual(peer.say("EHLO c").code, 250, injected)
            self.assertEqual(peer.hear_all(), [])
            self.assertEqual(scene.world.calls, [])

    def test_half_a_command_before_is_no_part_of_one_within(self) -> None:
        peer = Scene().connect()
        peer.say("EHLO c")
        peer.send(b"STARTTLS\r\nAUT")
        peer.hear()
        peer.say("EHLO c")
        self.assertEqual(peer.say("H " + PLAIN[5:]).code, 500)

    def test_the_220_is_written_before_tls_begins_and_nothing_after_it_in_clear(self) -> None:
        peer = Scene().connect()
        peer.say("EHLO c")
        before: list[bytes] = []
        start = peer.transport.startTLS

        def record(context: object, normal: bool = True) -> None:
            before.extend(peer.transport.writes)
            start(context)

        peer.transport.startTLS = record  # type: ignore[method-assign]
        peer.send(b"NOOP\r\nSTARTTLS\r\nNOOP\r\n")
        self.assertEqual(before[-1], b"250 2.0.0 Ok\r\n220 2.0.0 Ready to start TLS\r\n")
        self.assertEqual(before, peer.transport.writes)

    def test_what_was_said_in_clear_is_forgotten(self) -> None:
        peer = self.upgraded(Scene(), MAIL, RCPT)
        for line in (RCPT, "DATA", "STARTTLS", PLAIN):
            self.assertEqual(peer.say(line).code, 503, line)
        self.assertEqual(peer.protocol.session.facts.helo, b"")
        self.assertEqual(peer.say("EHLO within.example").code, 250)
        self.assertEqual(peer.say("DATA").code, 503)
        facts = peer.protocol.session.facts
        self.assertEqual((facts.helo, facts.tls.version), (b"within.example", "TLSv1.3"))

    def test_a_login_in_clear_is_forgotten_too(self) -> None:
        scene = Scene(settings(clear_text_auth_networks=[ip_network("192.0.2.0/24")]))
        peer = self.upgraded(scene, PLAIN)
        self.assertEqual(scene.world.logouts, 1)
        peer.say("EHLO c")
        self.assertIsNone(peer.protocol.session.facts.identity)
        self.assertEqual(peer.say(MAIL).code, 250)
        self.assertEqual(peer.say("RCPT TO:<b@there.example>").code, 550)
        self.assertEqual(peer.say("RSET").code, 250)
        self.assertEqual(peer.say(PLAIN).code, 235)

    def test_within_tls_it_is_neither_offered_nor_taken(self) -> None:
        peer = self.upgraded(Scene())
        self.assertNotIn("STARTTLS", peer.say("EHLO c").text)
        self.assertEqual(peer.say("STARTTLS").code, 503)

    def test_authentication_is_offered_within(self) -> None:
        peer = self.upgraded(Scene(settings(role="submission")))
        self.assertIn("AUTH PLAIN LOGIN", peer.say("EHLO c").text)
        self.assertEqual(peer.say(PLAIN).code, 235)
        self.assertEqual(peer.say(MAIL).code, 250)

    def test_a_transport_between_us_and_the_socket_need_not_know_of_tls(self) -> None:
        scene = Scene(settings(role="submission"))
        peer = scene.connect()
        peer.transport.startTLS = lambda context, normal=True: None  # type: ignore[method-assign]
        peer.say("EHLO c")
        peer.say("STARTTLS")
        self.assertIn("AUTH PLAIN LOGIN", peer.say("EHLO c").text)

    def test_errors_before_count_within(self) -> None:
        scene = Scene(settings(limits=replace(PATIENT, errors=3)))
        peer = self.upgraded(scene, "WHAT", "WHAT")
        self.assertEqual(peer.say("WHAT").code, 500)
        self.assertEqual(peer.hear().code, 421)

    def test_a_transport_that_cannot_begin_tls_is_not_gone_on_with(self) -> None:
        scene = Scene()
        peer = scene.connect()
        peer.say("EHLO c")

        def broken(context: object, normal: bool = True) -> None:
            raise RuntimeError("no key")

        peer.transport.startTLS = broken  # type: ignore[method-assign]
        # The reactor closes a connection whose protocol raises.
        self.assertRaises(RuntimeError, peer.send, b"STARTTLS\r\n" + MAIL.encode())
        self.assertEqual(scene.world.calls, [])
