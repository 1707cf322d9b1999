"""A certificate with its chain and its key, read from PEM files and written to one.

What we write ourselves (self-signed, or from an ACME server) is certificate and key in one file of
mode 0600, replaced whole, so that no crash leaves a key without its certificate. Other programs may
write two files at two moments, so certificate and key may not match for a while.

Who controls the input: the administrator, and the program that renews certificates.
"""

import datetime
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto

from postroom.errors import UserError


@dataclass(frozen=True)
class Identity:
    """A certificate with its chain and its key.

    Attributes:
        chain: the server's own certificate first.
        key: belongs to the first.
        source: the file that it came from, for messages.
    """

    chain: list[x509.Certificate]
    key: PrivateKeyTypes
    source: str

    @property
    def begins_at(self) -> datetime.datetime:
        """The time from which the server's certificate is valid."""
        return self.chain[0].not_valid_before_utc

    @property
    def expires_at(self) -> datetime.datetime:
        """The time when the server's certificate expires."""
        return self.chain[0].not_valid_after_utc

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The host names that the certificate is for, in lower case; ``*.`` may begin one."""
        return host_names(self.chain[0])

    @cached_property
    def kind(self) -> str:
        """The kind of its key, such as ``RSA``; a context can show one of each kind."""
        return key_kind(self.chain[0])

    def put_into(self, context: SSL.Context, *, alone: bool = True) -> None:
        """Add this certificate to a context.

        Args:
            context: a server's, or a client's.
            alone: it is the only one of the context.

        Raises:
            UserError: OpenSSL will not have the certificate or the key (too weak, say).
        """
        try:
            if alone:
                self._put_chain(context)
            else:
                self._put_chain_of_its_own(context)
            context.use_privatekey(
                crypto.PKey.from_cryptography_key(self.key)  # type: ignore[arg-type]  # it checks
            )
        except (SSL.Error, TypeError) as error:
            reason = error.args[0][-1][-1] if isinstance(error, SSL.Error) else error
            raise UserError(f"{self.source}: OpenSSL refuses the certificate: {reason}") from error

    def _put_chain(self, context: SSL.Context) -> None:
        """Add the certificate, with a chain that OpenSSL sends with any other one too."""
        own, *others = [crypto.X509.from_cryptography(item) for item in self.chain]
        context.use_certificate(own)
        for other in others:
            context.add_extra_chain_cert(other)

    def _put_chain_of_its_own(self, context: SSL.Context) -> None:
        """Add the certificate with its own chain; pyOpenSSL reads that from files only."""
        try:
            with NamedTemporaryFile(suffix=".pem") as file:
                file.write(self._chain_pem())
                file.flush()
                context.use_certificate_chain_file(file.name)
        except OSError as error:
            raise UserError(
                f"{self.source}: no temporary file can be written for OpenSSL: {error.strerror}"
            ) from error

    def _chain_pem(self) -> bytes:
        return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in self.chain)

    def pem(self) -> bytes:
        """Write key and chain as PEM, in that order."""
        private = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return private + self._chain_pem()


def key_kind(certificate: x509.Certificate) -> str:
    """Return what kind of key a certificate has: ``RSA``, ``ECDSA``, or a name of OpenSSL's."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ECDSA"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of a certificate, in lower case."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(name.lower() for name in found.value.get_values_for_type(x509.DNSName))


def read_identity(certificate: Path, key: Path, setting: str = "tls") -> Identity:
    """Read a certificate with its chain, and its key.

    Args:
        certificate: a PEM file.
        key: a PEM file, which may be the same.
        setting: the table of the settings that names both, for messages.

    Raises:
        UserError: a file cannot be read or holds something else, or the two do not match.
    """
    name = f"{setting}.certificate {certificate}"
    chain = parse_chain(read(certificate, name), name)
    name = f"{setting}.key {key}"
    private = parse_key(read(key, name), name)
    if private.public_key() != chain[0].public_key():
        raise UserError(f"{name}: not the key of the first certificate in {certificate}")
    return Identity(chain, private, str(certificate))


def read(path: Path, name: str) -> bytes:
    """Read a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from error


def parse_chain(pem: bytes, name: str) -> list[x509.Certificate]:
    """Read certificates from PEM.

    Raises:
        UserError: there is none, or one is damaged or cut off.
    """
    begun = pem.count(b"-----BEGIN CERTIFICATE-----")
    if begun > pem.count(b"-----END CERTIFICATE-----"):
        raise UserError(f"{name}: a certificate in it is cut off")
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for certificate in chain:
            certificate.public_key()
    except ValueError:
        what = "a certificate in it is damaged" if begun else "no PEM certificate in it"
        raise UserError(f"{name}: {what}") from None
    return chain


def parse_key(pem: bytes, name: str) -> PrivateKeyTypes:
    """Read a private key from PEM.

    Raises:
        UserError: there is none, or it is encrypted.
    """
    try:
        return serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise UserError(f"{name}: the key is encrypted; store it without a passphrase") from None
    except ValueError:
        raise UserError(f"{name}: no PEM private key in it") from None


def read_kept(path: Path) -> Identity | None:
    """Read a file that `write_private` wrote; None if it is not there or will not do."""
    try:
        pem = path.read_bytes()
        chain = x509.load_pem_x509_certificates(pem)
        key = serialization.load_pem_private_key(pem, None)
        if key.public_key() != chain[0].public_key():
            return None
    except (OSError, ValueError, TypeError):
        return None
    return Identity(chain, key, str(path))


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
