"""Certificates in files, and the one that we sign ourselves."""

import datetime
from pathlib import Path

import trustme
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.identity import Identity, read_identity
from postroom.certificates.model import Profile
from postroom.certificates.self_signed import SELF_SIGNED_DAYS, self_signed_identity
from postroom.errors import UserError
from tests.certificates.handshakes import client_context, serve, shake_hands
from tests.filesystem import RecordingDisk

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


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

    def test_what_is_wrong_with_a_file_is_said_with_its_name(self) -> None:
        missing = self.folder / "missing.pem"
        empty = self.write("empty.pem", b"")
        pem = self.certificate.read_bytes()
        half = self.write("half.pem", pem[:-200])
        damaged = self.write("damaged.pem", pem.replace(pem[100:140], b"A" * 40))
        folder = self.folder
        other = self.write("o.pem", trustme.CA().issue_cert("a").private_key_pem.bytes())
        for certificate, key, text in (
            (missing, self.key, f"tls.certificate {missing}: cannot be read: No such file or dire"),
            (self.certificate, missing, f"tls.key {missing}: cannot be read: No such file or dire"),
            (empty, self.key, f"tls.certificate {empty}: no PEM certificate in it"),
            (self.key, self.key, f"tls.certificate {self.key}: no PEM certificate in it"),
            (half, self.key, f"tls.certificate {half}: a certificate in it is cut off"),
            (damaged, self.key, f"tls.certificate {damaged}: a certificate in it is damaged"),
            (folder, self.key, f"tls.certificate {folder}: cannot be read: Is a directory"),
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
        _, client = shake_hands(serve(identity))
        self.assertEqual(client.get_peer_certificate(as_cryptography=True), identity.chain[0])
        self.assertEqual(identity.names, ("mx.example.org",))

    def test_a_host_that_knows_nothing_but_rsa_can_use_it(self) -> None:
        context = client_context(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"AES128-SHA")
        _, client = shake_hands(serve(self.make(), profile=Profile.COMPATIBLE), context)
        self.assertEqual(client.get_cipher_name(), "AES128-SHA")

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

    def test_a_power_cut_leaves_the_old_file_or_the_new_one_whole(self) -> None:
        self.make()
        disk = RecordingDisk(self, self.path.parent)
        self.make("b.example.org")
        self.assertEqual((disk.events[-1], disk.torn), (f"replace {self.path.name}", []))

    def test_a_host_name_may_be_longer_than_a_common_name(self) -> None:
        name = "a" * 63 + ".example.org"
        self.assertEqual(self.make(name).chain, self.make(name).chain)

    def test_a_folder_that_cannot_be_written_is_an_error(self) -> None:
        path = self.path.parent / "missing" / "self-signed.pem"
        error = self.assertRaises(UserError, self_signed_identity, path, "a", NOW)
        self.assertIn(f"{path}: cannot be written: No such file", str(error))
