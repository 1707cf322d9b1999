"""What a session knows of its TLS: real handshakes, in memory."""

import contextlib
import datetime
import hashlib

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.ssl import PrivateCertificate
from twisted.trial.unittest import SynchronousTestCase

from postroom.tls import EXPORTER, SERVER_END_POINT, channel_binding, tls_facts

AUTHORITY = trustme.CA()
SERVER = AUTHORITY.issue_cert("mx.example.org")


class Vouching(SSL.Connection):
    """A connection that says that the client's certificate was verified."""

    client_verified = True


def client_certificate(
    common_name: str | None, *names: x509.GeneralName
) -> tuple[crypto.X509, crypto.PKey]:
    """Sign a certificate with just these names."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(key, hashes.SHA256())
    return crypto.X509.from_cryptography(made), crypto.PKey.from_cryptography_key(key)


def shake_hands(
    kind: type[SSL.Connection] = Vouching,
    client: tuple[crypto.X509, crypto.PKey] | None = None,
    version: int = SSL.TLS1_3_VERSION,
) -> tuple[SSL.Connection, SSL.Connection]:
    """Shake hands in memory; return the server's and the client's end."""
    ours = PrivateCertificate.loadPEM(SERVER.private_key_and_cert_chain_pem.bytes())
    server_context = ours.options().getContext()
    server_context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client_context.set_max_proto_version(version)
    if client is not None:
        client_context.use_certificate(client[0])
        client_context.use_privatekey(client[1])
    ends = [kind(server_context, None), SSL.Connection(client_context, None)]
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(10):
        for here, there in (ends, ends[::-1]):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65_536))
    return ends[0], ends[1]


class FactsTests(SynchronousTestCase):
    """Tests for `tls_facts`."""

    def test_version_and_cipher(self) -> None:
        for version, name, family in (
            (SSL.TLS1_3_VERSION, "TLSv1.3", "TLS_"),
            (SSL.TLS1_2_VERSION, "TLSv1.2", "ECDHE-"),
        ):
            facts = tls_facts(shake_hands(version=version)[0])
            self.assertEqual(facts.version, name)
            self.assertTrue(facts.cipher.startswith(family), facts)
            self.assertIn(facts.bits, (128, 256))

    def test_the_mail_address_goes_before_the_common_name_and_that_before_a_host(self) -> None:
        mail, host = x509.RFC822Name("ann@example.org"), x509.DNSName("host.example.org")
        for common, names, expected in (
            ("Ann", (host, mail), "ann@example.org"),
            ("Ann", (host,), "Ann"),
            (None, (host,), "host.example.org"),
            ("a\r\nBcc: b", (host,), "host.example.org"),
            (None, (), None),
        ):
            server, _ = shake_hands(client=client_certificate(common, *names))
            facts = tls_facts(server)
            self.assertEqual((facts.client_verified, facts.client_name), (True, expected))

    def test_a_certificate_that_nobody_vouches_for_names_nobody(self) -> None:
        server, _ = shake_hands(SSL.Connection, client_certificate("Ann"))
        assert server.get_peer_certificate() is not None
        facts = tls_facts(server)
        self.assertEqual((facts.client_verified, facts.client_name), (False, None))


class BindingTests(SynchronousTestCase):
    """Tests for `channel_binding`."""

    def test_the_exporter_gives_both_ends_the_same_32_octets(self) -> None:
        server, client = shake_hands()
        data = channel_binding(server, EXPORTER)
        self.assertEqual(data, channel_binding(client, EXPORTER))
        assert data is not None
        self.assertEqual(len(data), 32)
        self.assertNotEqual(data, channel_binding(shake_hands()[0], EXPORTER))

    def test_the_exporter_is_for_tls_1_3(self) -> None:
        self.assertIsNone(channel_binding(shake_hands(version=SSL.TLS1_2_VERSION)[0], EXPORTER))

    def test_the_end_point_is_the_hash_of_the_servers_certificate(self) -> None:
        served = x509.load_pem_x509_certificate(SERVER.cert_chain_pems[0].bytes())
        expected = hashlib.sha256(served.public_bytes(serialization.Encoding.DER)).digest()
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            server, _ = shake_hands(version=version)
            self.assertEqual(channel_binding(server, SERVER_END_POINT), expected)

    def test_other_kinds_are_not_known(self) -> None:
        for kind in ("tls-unique", "tls-unique-for-telnet", "", "x"):
            self.assertIsNone(channel_binding(shake_hands()[0], kind))
