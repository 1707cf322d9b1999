"""The server's TLS: a certificate from files, or a self-signed one in the state directory.

The profile is Mozilla's "intermediate": TLS 1.2 and 1.3, forward secrecy and authenticated
encryption only. Its DHE suites are left out: they want parameters, and no client that knows TLS 1.2
lacks ECDHE.

The self-signed certificate and its key are one file of mode 0600, replaced whole, so that no crash
leaves a key without its certificate. It is made anew when it has run out, names another host, or
cannot be read. It protects against those who only listen, which is what STARTTLS between mail
servers promises; clients that log in need a real one.

Known limit: certificates are read at start only.
"""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PrivateKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion

from postroom.errors import UserError

SELF_SIGNED_DAYS: Final = 3650
_COMMON_NAME_CHARACTERS: Final = 64  # RFC 5280 sA.1, ub-common-name
CIPHERS: Final = AcceptableCiphers.fromOpenSSLCipherString(
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its chain and its key.

    Attributes:
        chain: the server's own certificate first.
        key: belongs to the first.
        source: where it came from, for messages.
    """

    chain: list[x509.Certificate]
    key: PrivateKeyTypes
    source: str

    @property
    def expires_at(self) -> datetime.datetime:
        """When the server's certificate runs out."""
        return self.chain[0].not_valid_after_utc

    def options(self) -> CertificateOptions:
        """Make what Twisted serves TLS with.

        Raises:
            UserError: OpenSSL will not have the certificate or the key (too weak, say).

        RFC 9325 s3.1.1, s4.2
        """
        own, *others = [crypto.X509.from_cryptography(item) for item in self.chain]
        key = crypto.PKey.from_cryptography_key(self.key)  # type: ignore[arg-type]  # it checks
        options = CertificateOptions(
            privateKey=key,
            certificate=own,
            extraCertChain=others,
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableCiphers=CIPHERS,
        )
        try:
            options.getContext()
        except SSL.Error as error:
            reason = error.args[0][0][-1] if error.args and error.args[0] else error
            raise UserError(f"{self.source}: OpenSSL refuses the certificate: {reason}") from error
        return options


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{what} {path}: cannot be read: {error.strerror}") from error


def _parse_key(pem: bytes, name: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise UserError(f"{name}: the key is encrypted; store it without a passphrase") from None
    except ValueError:
        raise UserError(f"{name}: no PEM private key in it") from None


def read_identity(certificate: Path, key: Path) -> Identity:
    """Read a certificate with its chain, and its key.

    Raises:
        UserError: a file cannot be read or holds something else, or the two do not match.
    """
    try:
        pem = _read(certificate, "tls.certificate")
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise UserError(f"tls.certificate {certificate}: no PEM certificate in it") from None
    private = _parse_key(_read(key, "tls.key"), f"tls.key {key}")
    if private.public_key() != chain[0].public_key():
        raise UserError(
            f"tls.key {key}: not the key of the first certificate in {certificate}"
        ) from None
    return Identity(chain, private, str(certificate))


def self_signed_identity(path: Path, hostname: str, now: datetime.datetime) -> Identity:
    """Read the self-signed certificate, making a new one if it will not do.

    Args:
        path: the file of both certificate and key.
        hostname: whom it has to name.
        now: with a time zone.

    Raises:
        UserError: the file cannot be written.
    """
    identity = _read_self_signed(path, hostname, now)
    if identity is None:
        key = ec.generate_private_key(ec.SECP256R1())
        identity = Identity([_sign(key, hostname, now)], key, str(path))
        try:
            _write(path, identity)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    return identity


def _read_self_signed(path: Path, hostname: str, now: datetime.datetime) -> Identity | None:
    try:
        pem = path.read_bytes()
        chain = x509.load_pem_x509_certificates(pem)
        key = serialization.load_pem_private_key(pem, None)
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return None
    fits = (
        hostname in names.get_values_for_type(x509.DNSName)
        and now < chain[0].not_valid_after_utc
        and key.public_key() == chain[0].public_key()
    )
    return Identity(chain, key, str(path)) if fits else None


def _sign(
    key: CertificateIssuerPrivateKeyTypes, hostname: str, now: datetime.datetime
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:_COMMON_NAME_CHARACTERS])])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A peer's clock may be behind ours.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _write(path: Path, identity: Identity) -> None:
    pem = identity.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for certificate in identity.chain:
        pem += certificate.public_bytes(serialization.Encoding.PEM)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)
