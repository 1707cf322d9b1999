"""XCLIENT and XFORWARD: who may be whom."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.interfaces import IProvenUser
from tests.server.scene import PATIENT, Peer, Scene, settings

PROXY = [ip_network("192.0.2.1")]
CLIENT = "XCLIENT ADDR=198.51.100.7 PORT=1025"


@implementer(ICredentialsChecker)
class Vouching:
    """Knows one user, whom somebody else has checked."""

    credentialInterfaces = (IProvenUser,)

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes]":
        if credentials.username == b"user@here.example":
            return succeed(credentials.username)
        return fail(UnauthorizedLogin())


class XclientTests(SynchronousTestCase):
    """A proxy and its clients."""

    def connect(self, **changes: Any) -> Peer:
        self.scene = Scene(settings(xclient_networks=PROXY, **changes))
        self.scene.portal.registerChecker(Vouching())  # type: ignore[no-untyped-call]
        peer = self.scene.connect("192.0.2.1")
        peer.say("EHLO proxy.example")
        return peer

    def test_the_session_is_the_clients(self) -> None:
        peer = self.connect()
        self.assertEqual(peer.say(CLIENT).code, 220)
        peer.say("EHLO client.example")
        peer.say("MAIL FROM:<a@there.example>")
        facts = peer.protocol.session.envelope.session
        self.assertEqual(
            (facts.client, facts.client_port, facts.helo, facts.identity),
            ("198.51.100.7", 1025, b"client.example", None),
        )

    def test_addresses(self) -> None:
        for sent, client in (
            ("IPV6:2001:db8::7", "2001:db8::7"),
            ("ipv6:::ffff:198.51.100.7", "198.51.100.7"),
            ("[UNAVAILABLE]", "unknown"),
            ("[TEMPUNAVAIL]", "unknown"),
        ):
            peer = self.connect()
            self.assertEqual(peer.say(f"XCLIENT ADDR={sent}").code, 220)
            self.assertEqual(peer.protocol.session.facts.client, client)

    def test_what_a_client_may_is_what_its_address_may(self) -> None:
        peer = self.connect(clear_text_auth_networks=[ip_network("198.51.100.0/24")])
        self.assertNotIn("AUTH PLAIN LOGIN", peer.say("EHLO proxy.example").text)
        peer.say(CLIENT)
        self.assertIn("AUTH PLAIN LOGIN", peer.say("EHLO client.example").text)

    def test_clients_are_counted_for_themselves(self) -> None:
        peer = self.connect(limits=replace(PATIENT, connections_per_address=1))
        other = self.scene.connect("198.51.100.7")
        refused = peer.say(CLIENT)
        self.assertEqual((refused.code, refused.enhanced), (421, "4.7.0"))
        self.assertTrue(peer.closed)
        peer.lose()
        other.lose()
        peer = self.scene.connect("192.0.2.1")
        peer.say("EHLO proxy.example")
        self.assertEqual(peer.say(CLIENT).code, 220)
        counts = [self.scene.connections.count_from(each) for each in ("192.0.2.1", "198.51.100.7")]
        self.assertEqual(counts, [0, 1])
        peer.lose()
        self.assertEqual(self.scene.connections.count_from("198.51.100.7"), 0)

    def test_the_proxy_may_change_its_client_and_a_client_is_no_proxy(self) -> None:
        peer = self.connect()
        for _ in range(2):
            self.assertEqual(peer.say(CLIENT).code, 220)
            self.assertIn("XCLIENT", " ".join(peer.say("EHLO client.example").text))
        stranger = self.scene.connect("198.51.100.7")
        self.assertNotIn("XCLIENT", " ".join(stranger.say("EHLO client.example").text))
        self.assertEqual(stranger.say("XCLIENT ADDR=192.0.2.1").code, 550)

    def test_nobody_is_logged_in_any_longer(self) -> None:
        peer = self.connect(clear_text_auth_networks=PROXY)
        peer.say("AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAGNvcnJlY3QgaG9yc2U=")
        self.assertIsNotNone(peer.protocol.session.facts.identity)
        peer.say(CLIENT)
        self.assertIsNone(peer.protocol.session.facts.identity)
        self.assertEqual(self.scene.world.logouts, 1)

    def test_a_login_at_the_proxy_is_one_here(self) -> None:
        for late in (False, True):
            peer = self.connect(role="submission")
            if late:
                self.scene.answer_late()
            self.assertEqual(peer.say(f"{CLIENT} LOGIN=user+40here.example").code, 220)
            peer.say("EHLO client.example")
            self.assertEqual(peer.say("MAIL FROM:<user@here.example>").code, 250)
            self.assertEqual(peer.say("RCPT TO:<b@there.example>").code, 250)
            self.assertEqual(peer.protocol.session.envelope.session.identity, "user@here.example")

    def test_a_user_whom_nobody_knows_is_none(self) -> None:
        peer = self.connect(role="submission")
        self.assertEqual(peer.say(f"{CLIENT} LOGIN=stranger").code, 535)
        self.assertEqual(peer.protocol.session.facts.client, "192.0.2.1")
        self.assertEqual(peer.say("MAIL FROM:<a@there.example>").code, 530)


class XforwardTests(SynchronousTestCase):
    """A filter and its messages."""

    def test_it_is_known_of_one_message(self) -> None:
        scene = Scene(settings(xforward_networks=PROXY))
        peer = scene.connect("192.0.2.1")
        peer.say("EHLO filter.example")
        peer.say("XFORWARD NAME=client.example ADDR=198.51.100.7 HELO=[UNAVAILABLE]")
        peer.say("XFORWARD PROTO=ESMTP")
        peer.say("MAIL FROM:<a@there.example>")
        facts = peer.protocol.session.envelope.session
        self.assertEqual(facts.forwarded, "name=client.example addr=198.51.100.7 proto=ESMTP")
        self.assertEqual(facts.client, "192.0.2.1")
        peer.say("RSET")
        peer.say("MAIL FROM:<a@there.example>")
        self.assertEqual(peer.protocol.session.envelope.session.forwarded, "")
