"""The certificate that we sign ourselves.

It is replaced when it has expired, names another host, or cannot be read. It protects against
eavesdroppers, which is all that STARTTLS between mail servers promises; clients that log in need a
certificate of an authority. Its key is RSA, which even old hosts support.
"""

import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postroom.certificates.identity import Identity, read_kept, write_private

SELF_SIGNED_DAYS: Final = 3650
RSA_BITS: Final = 2048
_COMMON_NAME_CHARACTERS: Final = 64  # RFC 5280 sA.1, ub-common-name


def self_signed_identity(path: Path, hostname: str, now: datetime.datetime) -> Identity:
    """Read the self-signed certificate, making a new one if it will not do.

    Args:
        path: the file of both certificate and key.
        hostname: whom it has to name.
        now: with a time zone.

    Raises:
        UserError: the file cannot be written.
    """
    identity = read_kept(path)
    if identity is not None and hostname in identity.names and now < identity.expires_at:
        return identity
    return make_self_signed(path, (hostname,), now)


def make_self_signed(path: Path, names: tuple[str, ...], now: datetime.datetime) -> Identity:
    """Make a self-signed certificate and keep it in a file.

    Args:
        path: the file of both certificate and key; what it holds is replaced.
        names: the host names, at least one.
        now: with a time zone.

    Raises:
        UserError: the file cannot be written.
    """
    key = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    until = now + datetime.timedelta(days=SELF_SIGNED_DAYS)
    identity = Identity([sign(key, names, now, until)], key, str(path))
    write_private(path, identity.pem())
    return identity


def sign(
    key: CertificateIssuerPrivateKeyTypes,
    names: tuple[str, ...],
    now: datetime.datetime,
    until: datetime.datetime,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    """Sign a certificate by its own key.

    Args:
        key: its key.
        names: the host names.
        now: from when on it is valid, less a day: a peer's clock may be behind ours.
        until: when it expires.
        extensions: critical ones besides the usual.

    RFC 5280 s4.2.1.6
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_COMMON_NAME_CHARACTERS])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256())
