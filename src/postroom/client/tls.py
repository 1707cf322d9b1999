"""The client's TLS: two contexts, and the check of a server's name.

With an *opportunistic* context any certificate will do, because the alternative is clear text. With
a *verified* one OpenSSL checks the chain during the handshake, and `check_name` the name after it,
before anything is sent inside. Contexts are built once: reading the system's certificates takes
longer than a whole session.

Who controls the input: the remote server, its certificate and the handshake.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.exceptions import CertificateError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from postroom.errors import UserError

_PEM_END = b"-----END CERTIFICATE-----"


@implementer(IOpenSSLClientConnectionCreator)
class _ServerName:
    """Creates TLS connections that send the name of one server (SNI)."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: N803  # Twisted calls it so
    ) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


class ClientContexts:
    """The TLS contexts of one sender."""

    def __init__(self, ca_file: Path | None = None) -> None:
        """Create the contexts.

        Args:
            ca_file: certificates in PEM to trust instead of the system's.

        Raises:
            UserError: the file cannot be read or holds no certificate.
        """
        trust = platformTrust() if ca_file is None else _trust_in(ca_file)
        self._any = CertificateOptions().getContext()
        self._verified = CertificateOptions(trustRoot=trust).getContext()

    def creator(self, name: str, verified: bool) -> IOpenSSLClientConnectionCreator:
        """Return the argument of `startTLS` for a server of this name."""
        context = self._verified if verified else self._any
        return cast(IOpenSSLClientConnectionCreator, _ServerName(context, name))


def check_name(connection: SSL.Connection, name: str) -> str | None:
    """Check that the server's certificate is for a name or an IP address.

    Returns:
        None if it is, else what is wrong.

    RFC 6125 s6.4; RFC 8314 s5
    """
    try:
        if _is_address(name):
            verify_ip_address(connection, name)
        else:
            verify_hostname(connection, name)
    except VerificationError:
        return f"the certificate is not for {name}"
    except (CertificateError, ValueError) as error:  # for a name that no certificate can have
        return f"the certificate cannot be checked: {error}"
    return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _trust_in(ca_file: Path) -> Any:  # Twisted does not publish the interface
    try:
        blocks = ca_file.read_bytes().split(_PEM_END)[:-1]
        found = [Certificate.loadPEM(block + _PEM_END) for block in blocks]
    except OSError as error:
        raise UserError(f"cannot read CA file {ca_file}: {error.strerror}") from None
    except (crypto.Error, ValueError):
        raise UserError(f"CA file {ca_file}: a certificate in it cannot be read") from None
    if not found:
        raise UserError(f"CA file {ca_file} holds no certificate in PEM")
    return trustRootFromCertificates(found)
