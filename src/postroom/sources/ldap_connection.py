"""Connections to an LDAP server, opened on demand: in clear text, with STARTTLS or with TLS.

ldaptor's client speaks the protocol. This module chooses the connection for a request, and converts
the answers. ldaptor's own ``startTLS`` accepts any certificate, so the handshake is started here.

Who controls the input: the server.

RFC 4511 s4.14; RFC 4513 s3
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ldaptor import ldapfilter
from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap import ldaperrors
from ldaptor.protocols.ldap.ldapclient import LDAPClient, LDAPClientConnectionLostException
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure

from postroom.errors import UserError
from postroom.sources.profile import SourceDown, SourceError
from postroom.sources.settings import LDAPServer

PORTS: Final = {"ldap": 389, "ldaps": 636}
CONNECT_SECONDS: Final = 5.0
_DONE: Final = Failure(ConnectionDone())
_LOST = (ConnectionDone, ConnectionLost, LDAPClientConnectionLostException)
_ENTRIES: Final = 2
"""One entry is wanted; a second shows that there are too many."""
_END = b"-----END CERTIFICATE-----\n"


class ILDAPReactor(IReactorTCP, IReactorTime, IReactorUNIX, IReactorPluggableNameResolver):
    """The parts of a reactor that connections need."""


@dataclass(frozen=True, slots=True)
class LDAPEntry:
    """An entry found by a search.

    Attributes:
        dn: its distinguished name.
        values: attribute, in lower case, to values.
    """

    dn: str
    values: dict[str, tuple[bytes, ...]]

    def texts(self, attribute: str) -> tuple[str, ...]:
        """Return the values of an attribute as text."""
        found = self.values.get(attribute.lower(), ())
        return tuple(value.decode("utf-8", "replace") for value in found)


class _Client(LDAPClient):  # type: ignore[misc]  # it has no types
    """A connection that reports when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = _DONE) -> None:
        super().connectionLost(reason)
        self.closed.callback(None)


class LDAPConnections:
    """The connections to one server."""

    def __init__(self, server: LDAPServer, reactor: ILDAPReactor) -> None:
        """Store the server; nothing is connected yet.

        Raises:
            UserError: its URL is not valid, or the certificates cannot be read.
        """
        self._server = server
        self._reactor = reactor
        try:
            parts = urlsplit(server.url)
            port = parts.port
        except ValueError as error:
            raise UserError(f"accounts.ldap.url: {server.url!r}: {error}") from None
        if parts.scheme != "ldapi" and parts.scheme not in PORTS:
            raise UserError(f"accounts.ldap.url: {server.url!r} is not ldap:, ldaps: or ldapi:")
        self._scheme = parts.scheme
        self._host = parts.hostname or "localhost"
        self._port = port or PORTS.get(parts.scheme, 0)
        self._socket = unquote(parts.netloc)
        in_clear = parts.scheme == "ldapi" or (parts.scheme == "ldap" and server.tls == "none")
        self._tls = None if in_clear else self._tls_options()
        self._client: LDAPClient | None = None
        self._connecting: list[Deferred[LDAPClient]] | None = None
        self._open: set[_Client] = set()
        self._closed = False

    async def search(self, base: str, text: str, attributes: Sequence[str]) -> list[LDAPEntry]:
        """Search below an entry; at most two entries are returned.

        Raises:
            Exception: the server cannot be asked now.
        """
        try:
            wanted = ldapfilter.parseFilter(text)
        except ldapfilter.InvalidLDAPFilter as error:
            raise SourceError(f"LDAP filter {text!r}: {error}") from None

        def ask(client: LDAPClient) -> Deferred[list[LDAPEntry]]:
            return _search(client, base, wanted, attributes)

        found: list[LDAPEntry] = await self._over_shared(ask)
        return found

    async def compare(self, dn: str, attribute: str, value: bytes) -> bool:
        """Compare a value with an entry's, on the server.

        Raises:
            LDAPException: the server refused.
        """

        def ask(client: LDAPClient) -> Deferred[Any]:
            assertion = pureldap.LDAPAttributeValueAssertion(
                attributeDesc=pureldap.LDAPAttributeDescription(attribute),
                assertionValue=pureldap.LDAPAssertionValue(value),
            )
            answer: Deferred[Any] = client.send(
                pureldap.LDAPCompareRequest(entry=dn, ava=assertion)
            )
            return answer

        answer = await self._over_shared(ask)
        if answer.resultCode not in (_COMPARE_FALSE, _COMPARE_TRUE):
            raise ldaperrors.get(answer.resultCode, answer.errorMessage)
        return bool(answer.resultCode == _COMPARE_TRUE)

    async def bind_once(self, dn: str, password: bytes) -> None:
        """Bind on a connection of its own, and close it.

        Raises:
            LDAPInvalidCredentials: the password is wrong.
        """
        client = await self._connect(dn, password)
        client.unbind()

    def close(self) -> Deferred[Any]:
        """Close all connections, and open no more; fires when they are closed."""
        self._closed = True
        self._client = None
        for client in self._open:
            if client.connected:
                client.unbind()
        gone = gatherResults([client.closed for client in self._open])
        return gone.addTimeout(CONNECT_SECONDS, self._reactor).addErrback(self._abort)

    def _abort(self, _: Failure) -> None:
        for client in self._open:
            client.transport.abortConnection()

    async def _over_shared(self, ask: Callable[[LDAPClient], Deferred[Any]]) -> Any:
        """Send a request over the shared connection; if that was lost, once more over a new one."""
        client, is_new = await self._shared()
        try:
            return await ask(client)
        except _LOST:
            if is_new:
                raise
        client, _ = await self._shared()
        return await ask(client)

    async def _shared(self) -> tuple[LDAPClient, bool]:
        """Return the shared connection, and whether it was made for this."""
        if self._closed:
            raise SourceDown("the LDAP source is stopped")
        if self._client is not None and self._client.connected:
            return self._client, False
        waiting: Deferred[LDAPClient] = Deferred()
        if self._connecting is None:
            self._connecting = [waiting]
            server = self._server
            making = self._connect(server.bind_dn, server.bind_password.encode("utf-8"))
            Deferred.fromCoroutine(making).addBoth(self._connected)
        else:
            self._connecting.append(waiting)
        return await waiting, True

    def _connected(self, result: "LDAPClient | Failure") -> None:
        waiting, self._connecting = self._connecting or [], None
        if isinstance(result, LDAPClient):
            self._client = result
        for each in waiting:
            if not each.called:
                each.callback(result)

    async def _connect(self, dn: str, password: bytes) -> LDAPClient:
        connecting = connectProtocol(self._endpoint(), _Client())
        client = await connecting.addTimeout(CONNECT_SECONDS, self._reactor)
        self._open.add(client)
        client.closed.addCallback(lambda _: self._open.discard(client))
        try:
            if self._tls is not None and self._scheme == "ldap":
                await self._start_tls(client).addTimeout(CONNECT_SECONDS, self._reactor)
            if dn:
                await client.bind(dn, password).addTimeout(CONNECT_SECONDS, self._reactor)
        except BaseException:
            client.transport.abortConnection()
            raise
        return client

    def _start_tls(self, client: LDAPClient) -> Deferred[None]:
        def started(answer: Any) -> None:
            if answer.resultCode != ldaperrors.Success.resultCode:
                raise ldaperrors.get(answer.resultCode, answer.errorMessage)
            client.transport.startTLS(self._tls)

        asking: Deferred[Any] = client.send(pureldap.LDAPStartTLSRequest())
        return asking.addCallback(started)

    def _endpoint(self) -> IStreamClientEndpoint:
        if self._scheme == "ldapi":
            return UNIXClientEndpoint(self._reactor, self._socket)
        plain = HostnameEndpoint(self._reactor, self._host, self._port)
        if self._scheme == "ldaps" and self._tls is not None:
            return wrapClientTLS(self._tls, plain)
        return plain

    def _tls_options(self) -> Any:  # Twisted does not name the type
        path = self._server.ca_file
        if path is None:
            return optionsForClientTLS(self._host)
        try:
            parts = path.read_bytes().split(_END)[:-1]
            trusted = [Certificate.loadPEM(part + _END) for part in parts]
            if not trusted:
                raise ValueError("no certificate in it")
        except Exception as error:
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise UserError(f"accounts.ldap.ca_file: {path}: {reason}") from None
        return optionsForClientTLS(self._host, trustRoot=trustRootFromCertificates(trusted))


_COMPARE_FALSE: Final = 5
_COMPARE_TRUE: Final = 6


def _search(
    client: LDAPClient, base: str, wanted: object, attributes: Sequence[str]
) -> Deferred[list[LDAPEntry]]:
    """Search for entries; fires when the server has sent the last one."""
    found: list[LDAPEntry] = []
    result: Deferred[list[LDAPEntry]] = Deferred()
    size_limit = ldaperrors.LDAPSizeLimitExceeded.resultCode

    def answered(message: Any) -> bool:
        if isinstance(message, pureldap.LDAPSearchResultEntry):
            found.append(_entry(message))
            return False
        if not isinstance(message, pureldap.LDAPSearchResultDone):
            return False  # a reference to another server is not followed
        if result.called:
            return True
        if message.resultCode in (ldaperrors.Success.resultCode, size_limit):
            result.callback(found)
        else:
            result.errback(ldaperrors.get(message.resultCode, message.errorMessage))
        return True

    request = pureldap.LDAPSearchRequest(
        baseObject=base,
        scope=pureldap.LDAP_SCOPE_wholeSubtree,
        sizeLimit=_ENTRIES,
        filter=wanted,
        attributes=list(attributes),
    )
    # Its Deferred fires only if the connection is lost.
    client.send_multiResponse(request, answered).addErrback(result.errback)
    return result


def _entry(message: Any) -> LDAPEntry:
    values: dict[str, tuple[bytes, ...]] = {}
    for name, found in message.attributes:
        values[_octets(name).decode("ascii", "replace").lower()] = tuple(map(_octets, found))
    return LDAPEntry(_octets(message.objectName).decode("utf-8", "replace"), values)


def _octets(value: Any) -> bytes:
    inner = getattr(value, "value", value)
    return inner if isinstance(inner, bytes) else str(inner).encode("utf-8")
