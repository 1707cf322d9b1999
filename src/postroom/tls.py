"""What is known of a connection's TLS, and why a handshake failed: for both sides.

The facts end in trace headers and logs; logins by certificate or with channel binding rest on them.

A client's certificate counts only where whoever made the connection says that it was verified: in
an attribute ``client_verified`` of the connection, which others than ours lack. Names in a
certificate that nobody vouches for are never looked at.

Who controls the input: the peer has chosen version and cipher among ours. The names were signed by
an authority that the administrator trusts.
"""

from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from postroom.envelope import TLSFacts

EXPORTER: Final = "tls-exporter"
SERVER_END_POINT: Final = "tls-server-end-point"
_NAME_CHARACTERS: Final = 254


def tls_facts(connection: SSL.Connection) -> TLSFacts:
    """Return the facts of a connection whose handshake is done, or is under way."""
    verified = bool(getattr(connection, "client_verified", False))
    return TLSFacts(
        connection.get_protocol_version_name(),
        connection.get_cipher_name() or "unknown",
        connection.get_cipher_bits() or 0,
        verified,
        _client_name(connection) if verified else None,
    )


def channel_binding(connection: SSL.Connection, kind: str) -> bytes | None:
    """Return the data that bind a login to this very connection.

    ``tls-exporter`` is for TLS 1.3, ``tls-server-end-point`` for any version. ``tls-unique`` is
    unknown here: it is safe only with an extension (RFC 7627), and pyOpenSSL does not show whether
    that is in use.

    Returns:
        None where the kind is not known, or not safe with this version of TLS.

    RFC 5929 s4.1; RFC 9266 s2, s3
    """
    if kind == EXPORTER and connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
        return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    if kind == SERVER_END_POINT:
        return _certificate_hash(connection.get_certificate(as_cryptography=True))
    return None


def handshake_error(reason: Failure | None) -> str:
    """Return in a few words why a handshake failed."""
    error: object = reason.value if reason is not None else None
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])  # the innermost of (library, function, reason)
    return "the connection ended" if isinstance(error, ConnectionDone | None) else str(error)


def _certificate_hash(certificate: x509.Certificate | None) -> bytes | None:
    """Return the hash of a certificate by the algorithm of its signature; never MD5 or SHA-1.

    RFC 5929 s4.1
    """
    if certificate is None:
        return None
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name in ("md5", "sha1"):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)


def _client_name(connection: SSL.Connection) -> str | None:
    """Return the name that a client's certificate proves: mail address, common name or host name.

    The first that there is, in this order, counts.
    """
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return None
    names: list[Any] = []
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        found = None
    if found is not None:
        names += found.get_values_for_type(x509.RFC822Name)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names += [item.value for item in common]
    if found is not None:
        names += found.get_values_for_type(x509.DNSName)
    return next((name for name in names if _is_usable_name(name)), None)


def _is_usable_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and 0 < len(name) <= _NAME_CHARACTERS
