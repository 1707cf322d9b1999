"""Tests for `postroom.server.factory`: who is let in, and what each is offered."""

from dataclasses import replace
from ipaddress import ip_network

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from postroom.envelope import SessionFacts
from postroom.server.factory import RefusedConnection
from postroom.server.protocol import LINGER_SECONDS, SMTPServerProtocol
from tests.server.scene import PATIENT, Peer, Scene, settings


class AdmissionTests(SynchronousTestCase):
    """Who is let in."""

    def turned_away(self, scene: Scene, host: str = "192.0.2.1") -> Peer:
        peer = scene.connect(host, greeted=False)
        self.assertIsInstance(peer.protocol, RefusedConnection)
        self.assertTrue(peer.closed)
        return peer

    def test_so_many_from_one_address(self) -> None:
        limits = replace(PATIENT, connections_per_address=2)
        scene = Scene(settings(limits=limits, unlimited_networks=[ip_network("198.51.100.0/24")]))
        first = scene.connect("192.0.2.1")
        scene.connect("192.0.2.1")
        refusal = self.turned_away(scene, "192.0.2.1").hear()
        self.assertEqual((refusal.code, refusal.enhanced), (421, "4.7.0"))
        scene.connect("192.0.2.2")
        for _ in range(5):
            scene.connect("198.51.100.1")
        first.lose()
        scene.connect("192.0.2.1")

    def test_this_host_is_not_counted_unless_one_wants_it(self) -> None:
        limits = replace(PATIENT, connections_per_address=1)
        scene = Scene(settings(limits=limits))
        for host in ("127.0.0.1", "127.0.0.1", "::1", "::1"):
            scene.connect(host)
        strict = Scene(settings(limits=limits, unlimited_networks=()))
        strict.connect("127.0.0.1")
        self.turned_away(strict, "127.0.0.1")

    def test_an_ipv6_network_is_one_address(self) -> None:
        scene = Scene(settings(limits=replace(PATIENT, connections_per_address=1)))
        scene.connect("2001:db8::1")
        self.turned_away(scene, "2001:db8::2")
        scene.connect("2001:db8:0:1::1")

    def test_so_many_in_all(self) -> None:
        scene = Scene(limit=2)
        scene.connect("192.0.2.1")
        scene.connect("192.0.2.2")
        refusal = self.turned_away(scene, "192.0.2.3").hear()
        self.assertEqual((refusal.code, refusal.enhanced), (421, "4.3.2"))

    def test_nobody_while_it_shuts_down(self) -> None:
        scene = Scene()
        scene.connections.drain()
        refusal = self.turned_away(scene).hear()
        self.assertEqual((refusal.code, refusal.enhanced), (421, "4.3.2"))

    def test_whoever_is_turned_away_is_not_counted(self) -> None:
        scene = Scene(limit=1)
        scene.connect()
        self.turned_away(scene).lose()
        self.assertEqual(len(scene.connections), 1)

    def test_whoever_is_turned_away_does_not_stay(self) -> None:
        # A peer that takes nothing, or never ends its TLS handshake, holds a descriptor.
        scene = Scene(limit=0)
        slow, quick = self.turned_away(scene), self.turned_away(scene)
        quick.lose()
        scene.clock.advance(LINGER_SECONDS - 1)
        self.assertFalse(slow.transport.aborted)
        scene.clock.advance(1)
        self.assertTrue(slow.transport.aborted)
        self.assertFalse(quick.transport.aborted)
        self.assertEqual(scene.clock.getDelayedCalls(), [])

    def test_the_peers_address(self) -> None:
        for address, client, port in (
            (IPv4Address("TCP", "192.0.2.1", 5), "192.0.2.1", 5),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 5), "192.0.2.1", 5),
            (IPv6Address("TCP", "2001:db8::1", 5), "2001:db8::1", 5),
            (UNIXAddress("/x"), "unix", 0),
            (None, "unix", 0),
        ):
            protocol = Scene().factory.buildProtocol(address)
            assert isinstance(protocol, SMTPServerProtocol)
            facts = protocol.first_facts
            self.assertEqual((facts.client, facts.client_port), (client, port))


class OfferTests(SynchronousTestCase):
    """What EHLO offers."""

    def offered(
        self, scene: Scene, *, tls: bool = False, host: str = "192.0.2.1"
    ) -> dict[str, str]:
        peer = scene.connect(host, tls=tls)
        lines = peer.say("EHLO client.example").text[1:]
        return {word: rest for word, _, rest in (line.partition(" ") for line in lines)}

    def test_tls_is_offered_where_there_is_a_certificate_and_no_tls_yet(self) -> None:
        self.assertIn("STARTTLS", self.offered(Scene()))
        self.assertNotIn("STARTTLS", self.offered(Scene(), tls=True))
        self.assertNotIn("STARTTLS", self.offered(Scene(tls=None)))

    def test_auth_is_offered_where_it_may_be_used(self) -> None:
        self.assertNotIn("AUTH", self.offered(Scene()))
        self.assertEqual(self.offered(Scene(), tls=True)["AUTH"], "PLAIN LOGIN")
        self.assertEqual(
            self.offered(Scene(settings(mechanisms=["LOGIN"])), tls=True)["AUTH"], "LOGIN"
        )
        self.assertNotIn("AUTH", self.offered(Scene(settings(mechanisms=[])), tls=True))
        scene = Scene(settings(clear_text_auth_networks=[ip_network("198.51.100.0/24")]))
        self.assertIn("AUTH", self.offered(scene, host="198.51.100.1"))
        self.assertNotIn("AUTH", self.offered(scene, host="192.0.2.1"))

    def test_a_mechanism_that_is_not_offered_is_not_there(self) -> None:
        peer = Scene(settings(mechanisms=["LOGIN"])).connect(tls=True)
        peer.say("EHLO client.example")
        self.assertEqual(peer.say("AUTH PLAIN AAAA").code, 504)
        peer = Scene(settings(mechanisms=[])).connect(tls=True)
        peer.say("EHLO client.example")
        self.assertEqual(peer.say("AUTH PLAIN AAAA").code, 502)

    def test_starttls_without_a_certificate_is_not_implemented(self) -> None:
        peer = Scene(tls=None).connect()
        peer.say("EHLO client.example")
        self.assertEqual(peer.say("STARTTLS").code, 502)

    def test_the_limit_is_offered(self) -> None:
        scene = Scene(settings(limits=replace(PATIENT, message_octets=12345)))
        self.assertEqual(self.offered(scene)["SIZE"], "12345")

    def test_replies_are_made_once(self) -> None:
        factory, facts = Scene().factory, SessionFacts("mx", "192.0.2.1", 1)
        offers = [factory.listener.capabilities(facts, False, facts.client) for _ in range(2)]
        self.assertIs(offers[0], offers[1])
