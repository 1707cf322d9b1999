"""What is agreed on in a handshake, and with whom there is none: both ends are real, in memory."""

import contextlib
import ssl
from collections.abc import Iterator

import trustme
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.contexts import ListenerTLS, Material
from postroom.certificates.identity import Identity
from postroom.certificates.model import ClientCertificates, Profile
from postroom.errors import UserError
from tests.certificates.handshakes import (
    client_context,
    exchange,
    identity_of,
    serve,
    shake_hands,
)
from tests.certificates.weak import weak_identity

AUTHORITY = trustme.CA().create_child_ca()
STRANGER = trustme.CA()


def issue(*names: str, **options: object) -> Identity:
    leaf = AUTHORITY.issue_cert(*names, key_type=trustme.KeyType.ECDSA, **options)  # type: ignore[arg-type]
    return identity_of(leaf, names[0])


def authorities(*of: trustme.CA) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(each.cert_pem.bytes()) for each in of]


FIRST = issue("mx.example.org")
SECOND = issue("mail.example.net", "*.example.net")
THIRD = issue("deep.example.net", "MX.EXAMPLE.ORG")


class ProfileTests(SynchronousTestCase):
    """Versions, suites and groups."""

    def agreed(self, server: ListenerTLS, context: SSL.Context) -> str:
        _, client = shake_hands(server, context)
        return f"{client.get_protocol_version_name()} {client.get_cipher_name()}"

    def refuse(self, server: ListenerTLS, context: SSL.Context) -> None:
        self.assertRaises(SSL.Error, shake_hands, server, context)

    def test_intermediate_is_tls_1_2_and_1_3_with_forward_secrecy(self) -> None:
        server = serve(FIRST)
        self.assertTrue(self.agreed(server, client_context()).startswith("TLSv1.3 TLS_"))
        old = self.agreed(server, client_context(SSL.TLS1_2_VERSION))
        self.assertTrue(old.startswith("TLSv1.2 ECDHE-ECDSA-"), old)

    def test_modern_is_tls_1_3_alone(self) -> None:
        server = serve(FIRST, profile=Profile.MODERN)
        self.assertTrue(self.agreed(server, client_context()).startswith("TLSv1.3 "))
        self.refuse(server, client_context(SSL.TLS1_2_VERSION))

    def test_older_versions_are_refused(self) -> None:
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            for profile in Profile:
                context = client_context(version)
                context.set_cipher_list(b"ALL:@SECLEVEL=0")
                self.refuse(serve(FIRST, profile=profile), context)

    def test_compatible_takes_old_suites_and_prefers_new_ones(self) -> None:
        rsa = identity_of(AUTHORITY.issue_cert("mx.example.org", key_type=trustme.KeyType.RSA))
        for identity, suites in (
            (FIRST, ("ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA256")),
            (FIRST, ("ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA")),
            (rsa, ("ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES128-SHA256")),
            (rsa, ("ECDHE-RSA-AES256-SHA", "ECDHE-RSA-AES128-SHA")),
            (rsa, ("AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-SHA256", "AES128-SHA256")),
            (rsa, ("AES256-SHA", "AES128-SHA")),
        ):
            server = serve(identity, profile=Profile.COMPATIBLE)
            for suite in suites:
                context = client_context(SSL.TLS1_2_VERSION)
                context.set_cipher_list(suite.encode())
                self.assertEqual(self.agreed(server, context), f"TLSv1.2 {suite}")
                self.refuse(serve(identity), context)
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(":".join([*suites, "ECDHE+AESGCM"]).encode())
            self.assertRegex(self.agreed(server, context), "TLSv1.2 ECDHE-.*-AES128-GCM-SHA256")

    def test_compatible_has_nothing_that_protects_nothing(self) -> None:
        rsa = identity_of(AUTHORITY.issue_cert("mx.example.org", key_type=trustme.KeyType.RSA))
        server = serve(FIRST, rsa, profile=Profile.COMPATIBLE)
        for suites in (b"eNULL", b"aNULL", b"DES-CBC3-SHA", b"RC4", b"3DES", b"PSK", b"MD5"):
            context = client_context(SSL.TLS1_2_VERSION)
            try:
                context.set_cipher_list(suites + b":@SECLEVEL=0")
            except SSL.Error:
                continue  # not even OpenSSL has it any more
            self.refuse(server, context)

    def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(self) -> None:
        for suites in (
            b"AES128-SHA",
            b"AES128-GCM-SHA256",
            b"ECDHE-ECDSA-AES128-SHA",
            b"ECDHE-ECDSA-AES256-SHA384",
            b"NULL",
            b"aNULL",
        ):
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(suites + b":@SECLEVEL=0")
            self.refuse(serve(FIRST), context)

    def test_our_order_of_suites_counts_but_for_a_client_that_wants_chacha_first(self) -> None:
        chacha, large, small = (
            f"ECDHE-ECDSA-{name}"
            for name in ("CHACHA20-POLY1305", "AES256-GCM-SHA384", "AES128-GCM-SHA256")
        )
        for wanted, got in (
            ((large, small, chacha), small),
            ((large, chacha), large),
            ((chacha, large, small), chacha),
        ):
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(":".join(wanted).encode())
            self.assertEqual(self.agreed(serve(FIRST), context), f"TLSv1.2 {got}")

    def test_groups_are_those_of_the_profile(self) -> None:
        from OpenSSL._util import lib

        for group, good in ((b"X25519", True), (b"secp384r1", True), (b"secp521r1", False)):
            context = client_context()
            assert lib.SSL_CTX_set1_curves_list(context._context, group)
            if good:
                _, client = shake_hands(serve(FIRST), context)
                name = client.get_group_name() or ""
                self.assertEqual(name.lower(), group.decode().lower())
            else:
                self.refuse(serve(FIRST), context)

    def test_a_client_cannot_renegotiate(self) -> None:
        ours, client = shake_hands(serve(FIRST), client_context(SSL.TLS1_2_VERSION))
        client.renegotiate()
        try:
            exchange(client, ours)
        except SSL.Error as error:
            self.assertIn("renegotiation", str(error))
        self.assertEqual(ours.total_renegotiations(), 0)

    def test_a_key_that_is_too_weak_is_told_with_its_file(self) -> None:
        error = self.assertRaises(UserError, serve, weak_identity("/weak.pem"))
        self.assertEqual(str(error), "/weak.pem: OpenSSL refuses the certificate: ee key too small")


class NameTests(SynchronousTestCase):
    """The certificate that a client gets for the name that it asks for."""

    def shown(self, name: bytes | None) -> x509.Certificate | None:
        server = serve(FIRST, SECOND, THIRD)
        _, client = shake_hands(server, name=name)
        return client.get_peer_certificate(as_cryptography=True)

    def test_by_name_then_by_wildcard_then_the_first(self) -> None:
        for name, identity in (
            (b"mx.example.org", FIRST),  # two have it: the earlier one serves it
            (b"mail.example.net", SECOND),
            (b"any.example.net", SECOND),
            (b"deep.example.net", THIRD),
            (b"a.deep.example.net", FIRST),
            (b"example.net", FIRST),
            (b"unknown.example", FIRST),
            (None, FIRST),
        ):
            self.assertEqual(self.shown(name), identity.chain[0], name)

    def test_odd_names_are_harmless(self) -> None:
        for name, identity in (
            (b"MAIL.Example.NET", SECOND),
            (b"mail.example.net.", SECOND),
            (b"192.0.2.1", FIRST),
            (b"[2001:db8::1]", FIRST),
            (b"*.example.net", SECOND),
            (b"\xff\xfe", FIRST),
            (b".", FIRST),
            (b"a" * 255, FIRST),
            (b"%s'; DROP TABLE\r\n", FIRST),
        ):
            self.assertEqual(self.shown(name), identity.chain[0], name)

    def test_the_whole_chain_is_shown(self) -> None:
        _, client = shake_hands(serve(FIRST, SECOND), name=b"mail.example.net")
        chain = client.get_peer_cert_chain(as_cryptography=True)
        self.assertEqual(chain, SECOND.chain)
        self.assertEqual(len(SECOND.chain), 2)


class TicketTests(SynchronousTestCase):
    """Session tickets; the client is Python's, which tells whether it has resumed."""

    def connect(
        self,
        server: ListenerTLS,
        context: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Shake hands, and read on, for TLS 1.3 gives tickets after that."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, session=session)
        self.ours = server.serverConnectionForTLS(None)  # type: ignore[arg-type]
        self.ours.set_accept_state()
        for _ in range(6):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                client.read(1)
            if outgoing.pending:
                self.ours.bio_write(outgoing.read())
            with contextlib.suppress(SSL.WantReadError):
                self.ours.do_handshake()
                self.ours.recv(1)
            with contextlib.suppress(SSL.WantReadError):
                incoming.write(self.ours.bio_read(65_536))
        return client

    def contexts(self) -> Iterator[ssl.SSLContext]:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl._create_unverified_context()
            context.maximum_version = version
            yield context

    def is_resumed(self, first: ListenerTLS, second: ListenerTLS, context: ssl.SSLContext) -> bool:
        """Take a ticket of one listener to another; tell whether it is taken there."""
        session = self.connect(first, context).session
        return bool(self.connect(second, context, session).session_reused)

    def test_a_listener_takes_its_own_tickets(self) -> None:
        server = serve(FIRST, SECOND)
        for context in self.contexts():
            self.assertTrue(self.is_resumed(server, server, context))

    def test_a_listener_does_not_take_those_of_another(self) -> None:
        for context in self.contexts():
            first, second = serve(FIRST), serve(FIRST, name="submission=ssl:465")
            self.assertFalse(self.is_resumed(first, second, context))

    def test_new_certificates_make_old_tickets_void(self) -> None:
        server = serve(FIRST)
        for context in self.contexts():
            session = self.connect(server, context).session
            server.use(server.prepare(Material([SECOND])))
            self.assertFalse(self.connect(server, context, session).session_reused)

    def test_where_one_name_has_several_certificates_nothing_is_resumed(self) -> None:
        """OpenSSL would not know any more which of them a login is bound to."""
        beside = identity_of(AUTHORITY.issue_cert("mail.example.net", key_type=trustme.KeyType.RSA))
        for identities in ((SECOND, beside), (FIRST, SECOND, beside)):
            server = serve(*identities)
            for context in self.contexts():
                self.assertFalse(self.is_resumed(server, server, context))

    def test_where_clients_show_certificates_nothing_is_resumed(self) -> None:
        leaf = AUTHORITY.issue_cert("ann@example.org")
        for wish in (ClientCertificates.ASK, ClientCertificates.NEED):
            server = serve(FIRST, wish=wish, authorities=authorities(AUTHORITY))
            for context in self.contexts():
                leaf.configure_cert(context)
                self.assertFalse(self.is_resumed(server, server, context))
                self.assertTrue(self.ours.client_verified)


class ClientCertificateTests(SynchronousTestCase):
    """Certificates of clients."""

    def verified(
        self, wish: ClientCertificates, leaf: trustme.LeafCert | None, name: bytes | None = None
    ) -> bool:
        server = serve(FIRST, SECOND, wish=wish, authorities=authorities(AUTHORITY))
        context = client_context()
        if leaf is not None:
            identity_of(leaf).put_into(context)
        ours, _ = shake_hands(server, context, name=name)
        return bool(ours.client_verified)

    def test_one_of_a_trusted_authority_is_verified(self) -> None:
        leaf = AUTHORITY.issue_cert("ann@example.org")
        for wish in (ClientCertificates.ASK, ClientCertificates.NEED):
            self.assertTrue(self.verified(wish, leaf))
            self.assertTrue(self.verified(wish, leaf, b"mail.example.net"))

    def test_where_it_is_asked_for_none_and_a_bad_one_will_do_unverified(self) -> None:
        for leaf in (None, STRANGER.issue_cert("ann@example.org")):
            for name in (None, b"mail.example.net"):
                self.assertFalse(self.verified(ClientCertificates.ASK, leaf, name))

    def test_where_it_is_needed_they_will_not(self) -> None:
        for leaf in (None, STRANGER.issue_cert("ann@example.org")):
            for name in (None, b"mail.example.net"):
                with self.assertRaises(SSL.Error):
                    self.verified(ClientCertificates.NEED, leaf, name)

    def test_where_it_is_not_asked_for_none_is_shown(self) -> None:
        leaf = AUTHORITY.issue_cert("ann@example.org")
        self.assertFalse(self.verified(ClientCertificates.NONE, leaf))

    def test_clients_are_told_whose_certificates_will_do(self) -> None:
        both = authorities(AUTHORITY, STRANGER)
        server = serve(FIRST, wish=ClientCertificates.ASK, authorities=both)
        _, client = shake_hands(server, client_context(SSL.TLS1_2_VERSION))
        names = [name.get_components() for name in client.get_client_ca_list()]
        expected = [crypto.X509.from_cryptography(each).get_subject() for each in both]
        self.assertEqual(names, [name.get_components() for name in expected])


class ProtocolTests(SynchronousTestCase):
    """ALPN."""

    def agreed(self, *offered: bytes, name: bytes | None = None) -> bytes:
        context = client_context()
        context.set_alpn_protos(list(offered))
        _, client = shake_hands(serve(FIRST, SECOND), context, name=name)
        return client.get_alpn_proto_negotiated()

    def test_smtp_is_agreed_on(self) -> None:
        for name in (None, b"mail.example.net"):
            self.assertEqual(self.agreed(b"smtp", name=name), b"smtp")
            self.assertEqual(self.agreed(b"h2", b"esmtp", name=name), b"esmtp")

    def test_a_client_that_speaks_other_protocols_is_refused(self) -> None:
        for offered in ([b"h2"], [b"h2", b"http/1.1"], [b"imap"], [b"acme-tls/1"], [b"SMTP"]):
            for name in (None, b"mail.example.net"):
                with self.assertRaises(SSL.Error) as caught:
                    self.agreed(*offered, name=name)
                self.assertIn("no application protocol", str(caught.exception))

    def test_a_client_that_names_none_is_served(self) -> None:
        _, client = shake_hands(serve(FIRST))
        self.assertEqual(client.get_alpn_proto_negotiated(), b"")

    def test_a_challenge_is_answered_with_its_own_certificate(self) -> None:
        challenge = issue("mx.example.org")
        server = serve(
            FIRST, SECOND, find=lambda name: challenge if name == "mx.example.org" else None
        )
        context = client_context()
        context.set_alpn_protos([b"acme-tls/1"])
        _, client = shake_hands(server, context, name=b"mx.example.org")
        shown = client.get_peer_certificate(as_cryptography=True)
        self.assertEqual(shown, challenge.chain[0])
        self.assertEqual(client.get_alpn_proto_negotiated(), b"acme-tls/1")
        beside = identity_of(AUTHORITY.issue_cert("mx.example.org", key_type=trustme.KeyType.RSA))
        both = serve(FIRST, beside, find=lambda _: challenge)
        _, client = shake_hands(both, context, name=b"mx.example.org")
        shown = client.get_peer_certificate(as_cryptography=True)
        self.assertEqual(shown, challenge.chain[0])
        # Nobody else sees it.
        _, client = shake_hands(server, name=b"mx.example.org")
        self.assertEqual(client.get_peer_certificate(as_cryptography=True), FIRST.chain[0])
        with self.assertRaises(SSL.Error):
            shake_hands(server, context, name=b"mail.example.net")
