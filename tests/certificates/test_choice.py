"""Certificates of several kinds side by side: which of them a client gets, in real handshakes."""

import datetime
from pathlib import Path

import trustme
from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.choice import choose_by_name, choose_for_unknown
from postroom.certificates.contexts import ListenerTLS
from postroom.certificates.identity import Identity
from postroom.certificates.model import ListenerPolicy, Profile
from postroom.certificates.store import CertificateStore, FileSource, StoreSettings
from postroom.tls import SERVER_END_POINT, channel_binding
from tests.certificates.handshakes import client_context, identity_of, serve, shake_hands

NAME = b"mx.example.org"
ECDSA, RSA = trustme.KeyType.ECDSA, trustme.KeyType.RSA
ONLY_RSA = b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
ONLY_ECDSA = b"ECDHE-ECDSA-AES256-GCM-SHA384"
AUTHORITIES = {kind: trustme.CA().create_child_ca() for kind in (ECDSA, RSA)}


def issue(kind: trustme.KeyType, *names: str) -> Identity:
    leaf = AUTHORITIES[kind].issue_cert(*names, key_type=kind)
    return identity_of(leaf, f"{kind.name} {names[0]}")


def old(suites: bytes) -> SSL.Context:
    """Make the context of a client of TLS 1.2 that has these suites alone."""
    context = client_context(SSL.TLS1_2_VERSION)
    context.set_cipher_list(suites)
    return context


def shown(
    server: ListenerTLS, context: SSL.Context | None = None, name: bytes | None = NAME
) -> list[x509.Certificate]:
    """Shake hands; give the chain that the client was shown."""
    _, client = shake_hands(server, context, name=name)
    return list(client.get_peer_cert_chain(as_cryptography=True) or [])


class KindTests(SynchronousTestCase):
    """One name, an ECDSA certificate and one of RSA."""

    ecdsa, rsa = issue(ECDSA, "mx.example.org"), issue(RSA, "mx.example.org")

    def test_each_client_gets_the_one_that_it_can_verify_with_its_own_chain(self) -> None:
        self.assertNotEqual(self.ecdsa.chain[1], self.rsa.chain[1])
        for pair in ((self.ecdsa, self.rsa), (self.rsa, self.ecdsa)):
            for profile in (Profile.INTERMEDIATE, Profile.COMPATIBLE):
                server = serve(*pair, profile=profile)
                for name in (NAME, None, b"unknown.example"):
                    self.assertEqual(shown(server, old(ONLY_RSA), name), self.rsa.chain)
                    self.assertEqual(shown(server, old(ONLY_ECDSA), name), self.ecdsa.chain)

    def test_who_can_verify_both_gets_ecdsa(self) -> None:
        for pair in ((self.ecdsa, self.rsa), (self.rsa, self.ecdsa)):
            server = serve(*pair)
            for context in (
                client_context(),
                client_context(SSL.TLS1_2_VERSION),
                old(ONLY_RSA + b":" + ONLY_ECDSA),
            ):
                self.assertEqual(shown(server, context), self.ecdsa.chain)

    def test_a_client_of_tls_1_3_says_so_by_its_signatures(self) -> None:
        for signatures, identity in (
            (b"RSA-PSS+SHA256", self.rsa),
            (b"ECDSA+SHA256", self.ecdsa),
            (b"RSA-PSS+SHA256:ECDSA+SHA256", self.ecdsa),
        ):
            context = client_context()
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
            assert lib.SSL_CTX_set1_sigalgs_list(context._context, signatures)
            self.assertEqual(shown(serve(self.rsa, self.ecdsa), context), identity.chain)

    def test_a_host_without_ecdhe_gets_rsa_where_old_hosts_are_welcome(self) -> None:
        server = serve(self.ecdsa, self.rsa, profile=Profile.COMPATIBLE)
        self.assertEqual(shown(server, old(b"AES256-GCM-SHA384:AES128-SHA")), self.rsa.chain)

    def test_a_login_is_bound_to_the_certificate_that_was_shown(self) -> None:
        for pair in ((self.ecdsa, self.rsa), (self.rsa, self.ecdsa)):
            for suites, identity in ((ONLY_RSA, self.rsa), (ONLY_ECDSA, self.ecdsa)):
                ours, _ = shake_hands(serve(*pair), old(suites), name=NAME)
                expected = identity.chain[0].fingerprint(
                    identity.chain[0].signature_hash_algorithm  # type: ignore[arg-type]
                )
                self.assertEqual(channel_binding(ours, SERVER_END_POINT), expected)

    def test_of_two_of_a_kind_the_first_is_shown(self) -> None:
        server = serve(self.rsa, issue(RSA, "mx.example.org"), self.ecdsa)
        self.assertEqual(shown(server, old(ONLY_RSA)), self.rsa.chain)


class NameTests(SynchronousTestCase):
    """Which certificates stand side by side."""

    def names(self, *chosen: Identity) -> list[str]:
        return [each.source for each in chosen]

    def test_a_name_gets_those_that_name_it_and_then_those_of_its_wildcard(self) -> None:
        exact, wild = issue(ECDSA, "mx.example.org"), issue(RSA, "*.example.org")
        other = issue(RSA, "mail.example.org", "mail.example.net")
        chosen = choose_by_name([exact, wild, other])
        self.assertEqual(
            {name: self.names(*choice) for name, choice in chosen.items()},
            {
                "mx.example.org": ["ECDSA mx.example.org", "RSA *.example.org"],
                "*.example.org": ["RSA *.example.org"],
                "mail.example.org": ["RSA mail.example.org"],
                "mail.example.net": ["RSA mail.example.org"],
            },
        )

    def test_who_asks_for_no_name_gets_the_first_and_what_shares_a_name_with_it(self) -> None:
        first, stranger = issue(ECDSA, "mx.example.org"), issue(RSA, "mail.example.net")
        for beside in (
            issue(RSA, "mail.example.org", "mx.example.org"),
            issue(RSA, "*.example.org"),
        ):
            chosen = choose_for_unknown([first, stranger, beside])
            self.assertEqual(self.names(*chosen), [first.source, beside.source])
            chosen = choose_for_unknown([beside, stranger, first])
            self.assertEqual(self.names(*chosen), [beside.source, first.source])
        self.assertEqual(self.names(*choose_for_unknown([first, stranger])), [first.source])


class ReloadTests(SynchronousTestCase):
    """One certificate of a pair is renewed."""

    def write(self, identity: Identity) -> Path:
        path = self.folder / f"{identity.kind}.pem"
        path.write_bytes(identity.pem())
        return path

    def test_the_other_stays(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        now = datetime.datetime.now(datetime.UTC)
        ecdsa, rsa = issue(ECDSA, "mx.example.org"), issue(RSA, "mx.example.org")
        paths = [self.write(each) for each in (ecdsa, rsa)]
        sources = [FileSource(path, path) for path in paths]
        store = CertificateStore(StoreSettings(sources), lambda _: None)
        store.load(now, lambda _: True)
        server = store.listener(ListenerPolicy("mx=tcp:25"))
        fresh = issue(RSA, "mx.example.org")
        self.write(fresh)
        store.check(now)
        self.assertEqual(shown(server, old(ONLY_RSA)), fresh.chain)
        self.assertEqual(shown(server, old(ONLY_ECDSA)), ecdsa.chain)
        paths[1].write_text("junk")
        store.check(now)
        self.assertEqual(shown(server, old(ONLY_RSA)), fresh.chain)
