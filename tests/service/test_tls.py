"""The server's certificate."""

import contextlib
import datetime
from pathlib import Path

import trustme
from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.service.tls import SELF_SIGNED_DAYS, Identity, read_identity, self_signed_identity

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def handshake(options: CertificateOptions, client: SSL.Context) -> SSL.Connection:
    """Shake hands in memory; give the client's end."""
    ends = []
    for context, start in (
        (options.getContext(), SSL.Connection.set_accept_state),
        (client, SSL.Connection.set_connect_state),
    ):
        end = SSL.Connection(context, None)
        start(end)
        ends.append(end)
    for _ in range(10):
        for here, there in (ends, ends[::-1]):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65_536))
    return ends[1]


def client_context(version: int | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_max_proto_version(version)
    return context


class FileTests(SynchronousTestCase):
    """A certificate from files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        authority = trustme.CA().create_child_ca()
        issued = authority.issue_cert("mx.example.org", key_type=trustme.KeyType.ECDSA)
        self.certificate = self.write("c.pem", b"".join(b.bytes() for b in issued.cert_chain_pems))
        self.key = self.write("k.pem", issued.private_key_pem.bytes())

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def error(self, certificate: Path, key: Path) -> str:
        error = self.assertRaises(UserError, read_identity, certificate, key)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_the_whole_chain_is_served(self) -> None:
        identity = read_identity(self.certificate, self.key)
        client = handshake(identity.options(), client_context())
        chain = client.get_peer_cert_chain()
        assert chain is not None
        self.assertEqual(
            [item.to_cryptography() for item in chain],
            identity.chain,
        )
        self.assertEqual(len(chain), 2)
        self.assertEqual(client.get_protocol_version_name(), "TLSv1.3")

    def test_tls_1_2_is_spoken_with_forward_secrecy(self) -> None:
        identity = read_identity(self.certificate, self.key)
        client = handshake(identity.options(), client_context(SSL.TLS1_2_VERSION))
        self.assertEqual(client.get_protocol_version_name(), "TLSv1.2")
        self.assertIn("ECDHE", client.get_cipher_name() or "")

    def test_older_versions_and_ciphers_are_not(self) -> None:
        options = read_identity(self.certificate, self.key).options()
        old = client_context(SSL.TLS1_1_VERSION)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        self.assertRaises(SSL.Error, handshake, options, old)
        weak = client_context(SSL.TLS1_2_VERSION)
        weak.set_cipher_list(b"AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        self.assertRaises(SSL.Error, handshake, options, weak)

    def test_what_is_wrong_with_a_file_is_said_with_its_name(self) -> None:
        missing = self.folder / "missing.pem"
        empty = self.write("empty.pem", b"")
        other = self.write("o.pem", trustme.CA().issue_cert("a").private_key_pem.bytes())
        for certificate, key, text in (
            (missing, self.key, f"tls.certificate {missing}: cannot be read: No such file or dire"),
            (self.certificate, missing, f"tls.key {missing}: cannot be read: No such file or dire"),
            (empty, self.key, f"tls.certificate {empty}: no PEM certificate in it"),
            (self.key, self.key, f"tls.certificate {self.key}: no PEM certificate in it"),
            (self.certificate, empty, f"tls.key {empty}: no PEM private key in it"),
            (self.certificate, self.certificate, f"tls.key {self.certificate}: no PEM private key"),
            (self.certificate, other, f"tls.key {other}: not the key of the first certificate in "),
        ):
            self.assertIn(text, self.error(certificate, key))

    def test_an_encrypted_key_is_refused(self) -> None:
        from cryptography.hazmat.primitives import serialization as s

        key = s.load_pem_private_key(self.key.read_bytes(), None)
        pem = key.private_bytes(
            s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"pw")
        )
        self.assertIn(
            "the key is encrypted", self.error(self.certificate, self.write("e.pem", pem))
        )


class SelfSignedTests(SynchronousTestCase):
    """The certificate that we make ourselves."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "self-signed.pem"

    def make(self, hostname: str = "mx.example.org", days: float = 0) -> Identity:
        return self_signed_identity(self.path, hostname, NOW + datetime.timedelta(days=days))

    def test_it_names_the_host_and_serves_at_once(self) -> None:
        identity = self.make()
        client = handshake(identity.options(), client_context())
        certificate = client.get_peer_certificate()
        assert certificate is not None
        self.assertEqual(certificate.get_subject().CN, "mx.example.org")

    def test_nobody_else_can_read_the_key(self) -> None:
        self.make()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_it_stays_the_same(self) -> None:
        self.assertEqual(self.make().chain, self.make(days=SELF_SIGNED_DAYS - 1).chain)

    def test_it_is_made_anew_when_it_has_run_out(self) -> None:
        self.assertNotEqual(self.make().chain, self.make(days=SELF_SIGNED_DAYS + 1).chain)

    def test_it_is_made_anew_for_another_name(self) -> None:
        self.assertNotEqual(self.make().chain, self.make("b.example.org").chain)

    def test_it_is_made_anew_when_it_is_damaged(self) -> None:
        first = self.make().chain
        for damage in (b"", self.path.read_bytes()[:-100], b"\xff" * 10):
            self.path.write_bytes(damage)
            self.assertNotEqual(self.make().chain, first)

    def test_a_host_name_may_be_longer_than_a_common_name(self) -> None:
        name = "a" * 63 + ".example.org"
        self.assertEqual(self.make(name).chain, self.make(name).chain)

    def test_a_folder_that_cannot_be_written_is_an_error(self) -> None:
        path = self.path.parent / "missing" / "self-signed.pem"
        error = self.assertRaises(UserError, self_signed_identity, path, "a", NOW)
        self.assertIn(f"{path}: cannot be written: No such file", str(error))
