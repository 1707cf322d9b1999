"""Sessions behind a proxy, in memory."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from postroom.server.connections import peer_key
from postroom.server.protocol import SMTPServerProtocol
from postroom.server.proxy import ProxyFactory, ProxyProtocol
from tests.server.scene import PATIENT, Scene, Transport, settings
from tests.wire.test_proxy import IPV4, v2

PROXIES = (ip_network("192.0.2.80/32"), ip_network("2001:db8::/64"))
HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.25 4000 25\r\n"


class ProxyCase(SynchronousTestCase):
    """A listener that proxies speak to."""

    def setUp(self) -> None:
        self.scene = Scene(settings(limits=replace(PATIENT, connections_per_address=2)))
        self.factory = ProxyFactory(self.scene.factory, self.scene.clock, PROXIES)

    def connect(self, address: Any) -> Transport:
        protocol = self.factory.buildProtocol(address)
        transport = Transport(address)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def proxied(self, *segments: bytes) -> Transport:
        """Connect as the proxy, and send segments to whoever is the transport's protocol."""
        transport = self.connect(IPv4Address("TCP", "192.0.2.80", 5000))
        for segment in segments:
            if not transport.disconnecting:
                transport.protocol.dataReceived(segment)
        return transport

    def client(self, transport: Transport) -> tuple[str, int]:
        session = transport.protocol
        assert isinstance(session, SMTPServerProtocol), session
        facts = session.session.facts
        return facts.client, facts.client_port


class HeaderTests(ProxyCase):
    """What a header does."""

    def test_the_session_is_the_clients(self) -> None:
        for header in (HEADER, v2(IPV4).replace(IPV4, b"\xc6\x33\x64\x07" + IPV4[4:])):
            transport = self.proxied(header)
            self.assertEqual(self.client(transport), ("198.51.100.7", 4000))
            self.assertTrue(transport.value().startswith(b"220 "))

    def test_it_may_come_octet_by_octet_and_with_commands_behind_it(self) -> None:
        octets = HEADER + b"NOOP\r\nQUIT\r\n"
        for segments in ([octets], [bytes([octet]) for octet in octets]):
            transport = self.proxied(*segments)
            codes = [line[:3] for line in transport.value().split(b"\r\n") if line]
            self.assertEqual(codes, [b"220", b"250", b"221"])

    def test_nothing_is_said_before_it(self) -> None:
        transport = self.proxied(*(bytes([octet]) for octet in HEADER[:-1]))
        self.assertEqual(transport.value(), b"")
        self.assertIsInstance(transport.protocol, ProxyProtocol)
        self.assertEqual(len(self.scene.connections), 0)

    def test_a_proxy_that_speaks_for_itself_is_the_client(self) -> None:
        for header in (b"PROXY UNKNOWN\r\n", v2(b"", command=0x20, family=0)):
            self.assertEqual(self.client(self.proxied(header)), ("192.0.2.80", 5000))

    def test_one_on_ipv6_and_one_on_a_unix_socket(self) -> None:
        for address in (IPv6Address("TCP", "2001:db8::80", 5000), UNIXAddress(b"/run/smtp")):
            transport = self.connect(address)
            transport.protocol.dataReceived(HEADER)
            self.assertEqual(self.client(transport), ("198.51.100.7", 4000))

    def test_ipv4_within_ipv6_is_ipv4_on_both_ends(self) -> None:
        transport = self.connect(IPv6Address("TCP", "::ffff:192.0.2.80", 5000))
        transport.protocol.dataReceived(b"PROXY TCP6 ::ffff:198.51.100.7 ::1 4000 25\r\n")
        self.assertEqual(self.client(transport), ("198.51.100.7", 4000))

    def test_limits_count_the_client(self) -> None:
        for _ in range(2):
            self.proxied(HEADER)
        self.assertTrue(self.proxied(HEADER).value().startswith(b"421 4.7.0 "))
        other = self.proxied(HEADER.replace(b"100.7", b"100.8"))
        self.assertTrue(other.value().startswith(b"220 "))
        self.assertEqual(self.scene.connections.count_from("192.0.2.80"), 0)
        self.assertEqual(peer_key("198.51.100.7"), "198.51.100.7")

    def test_the_end_of_the_connection_reaches_the_session(self) -> None:
        transport = self.proxied(HEADER)
        self.assertEqual(len(self.scene.connections), 1)
        transport.protocol.connectionLost(None)
        self.assertEqual(len(self.scene.connections), 0)
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])


class RefusalTests(ProxyCase):
    """What ends a connection, without a word."""

    def test_a_wrong_header(self) -> None:
        for octets in (
            b"EHLO x\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.25 4000\r\n",
            b"PROXY UNKNOWN " + b"x" * 100,
            v2(IPV4[:-1]),
            b"\x16\x03\x01\x00",
        ):
            with capturedLogs() as events:
                transport = self.proxied(octets, b"EHLO x\r\n")
            self.assertTrue(transport.aborted)
            self.assertEqual(transport.value(), b"")
            (event,) = events
            self.assertIn("PROXY header refused client=192.0.2.80 reason=", formatEvent(event))
            self.assertEqual(self.scene.clock.getDelayedCalls(), [])

    def test_none_in_time(self) -> None:
        for begun in (b"", b"P", HEADER[:-1], v2(IPV4)[:-1]):
            transport = self.proxied(*([begun] if begun else []))
            self.scene.clock.advance(9)
            self.assertFalse(transport.aborted)
            self.scene.clock.advance(2)
            self.assertTrue(transport.aborted)

    def test_a_proxy_that_looks_and_goes_is_no_matter(self) -> None:
        transport = self.proxied()
        transport.protocol.connectionLost(None)
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])


class OthersTests(ProxyCase):
    """Whoever is not listed."""

    def test_they_are_served_as_what_they_are(self) -> None:
        for host in ("192.0.2.81", "198.51.100.7"):
            transport = self.connect(IPv4Address("TCP", host, 5000))
            self.assertEqual(self.client(transport), (host, 5000))
            self.assertTrue(transport.value().startswith(b"220 "))

    def test_their_header_is_no_command_and_changes_nothing(self) -> None:
        for header in (HEADER, v2(IPV4)):
            transport = self.connect(IPv4Address("TCP", "192.0.2.81", 5000))
            transport.clear()
            transport.protocol.dataReceived(header + b"\r\n")
            self.assertRegex(transport.value(), rb"^(5\d\d|421) ")
            self.assertEqual(self.client(transport), ("192.0.2.81", 5000))

    def test_a_second_header_is_no_command_either(self) -> None:
        transport = self.proxied(HEADER)
        transport.clear()
        transport.protocol.dataReceived(HEADER.replace(b"100.7", b"100.8"))
        self.assertRegex(transport.value(), rb"^(5\d\d|421) ")
        self.assertEqual(self.client(transport), ("198.51.100.7", 4000))
