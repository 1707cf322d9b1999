"""Connections that come through a proxy: who the client is, before anything else.

A listed proxy must begin each connection with a PROXY header (`postroom.wire.proxy`). Until it is
whole nothing is said, no session begins and no TLS; then the session begins with the client's
address, which counts for every limit and network, and gets the transport as if we had never been
there. A header that is wrong, or does not come in time, ends the connection without a word.

Everybody else is what they seem: their connections are sessions at once, and a header is a command
that does not exist. A peer on a UNIX socket is listed, for its permissions say who may be there.

Who controls the input: whoever connects from a listed address.
"""

from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.server.connections import in_networks, unmapped
from postroom.settings.values import Network
from postroom.wire.proxy import ProxyError, ProxyHeader, ProxyReader

HEADER_SECONDS: Final = 10
_log = Logger()


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class AnnouncedAddress:
    """A client behind a proxy, as the proxy's header has it.

    Attributes:
        host: the client's IP address.
        port: the client's port.
        destination: the IP address that the client connected to.
    """

    host: str
    port: int
    destination: str | None


class ProxyProtocol(Protocol):
    """A connection of a proxy, until its header has come."""

    transport: Any  # whose protocol is replaced
    _cut_off: IDelayedCall | None = None

    def __init__(self, factory: "ProxyFactory", address: Any) -> None:
        """Take the factory and the proxy's own address."""
        self._factory = factory
        self._address = address
        self._reader = ProxyReader()

    def connectionMade(self) -> None:
        """Give the header its time."""
        self._cut_off = self._factory.clock.callLater(
            HEADER_SECONDS, self._refuse, "it did not come in time"
        )

    def dataReceived(self, data: bytes) -> None:
        """Take octets of the header, and what follows it."""
        try:
            header = self._reader.feed(data)
        except ProxyError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._hand_over(header)

    def _hand_over(self, header: ProxyHeader) -> None:
        self._forget_timer()
        transport = self.transport
        session = self._factory.wrapped.buildProtocol(_announced(header, self._address))
        if session is None:
            transport.abortConnection()
            return
        transport.protocol = session
        session.makeConnection(transport)
        if header.rest:
            session.dataReceived(header.rest)

    def _refuse(self, reason: str) -> None:
        self._forget_timer()
        _log.info(
            "PROXY header refused client={client} reason={reason}",
            client=getattr(self._address, "host", "unix"),
            reason=reason,
        )
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._forget_timer()

    def _forget_timer(self) -> None:
        timer, self._cut_off = self._cut_off, None
        if timer is not None and timer.active():
            timer.cancel()


class ProxyFactory(Factory):
    """Makes the connections of a listener that proxies speak to.

    Attributes:
        wrapped: makes the sessions.
        clock: times the headers.
    """

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, clock: IReactorTime, networks: tuple[Network, ...]
    ) -> None:
        """Take what makes sessions, and where the proxies are."""
        self.wrapped = wrapped
        self.clock = clock
        self._networks = networks

    def doStart(self) -> None:
        """Start the other one as well."""
        super().doStart()  # type: ignore[no-untyped-call]
        self.wrapped.doStart()

    def doStop(self) -> None:
        """Stop the other one as well."""
        self.wrapped.doStop()
        super().doStop()  # type: ignore[no-untyped-call]

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]  # it is never None
        """Make a session, or for a proxy what waits for its header."""
        host = getattr(addr, "host", None)
        if host is None or in_networks(unmapped(host), self._networks):
            return ProxyProtocol(self, addr)
        return self.wrapped.buildProtocol(addr)


def _announced(header: ProxyHeader, own: Any) -> Any:
    """Give the address that the session is to see."""
    if header.client is None:
        return own
    if header.client == "unix":
        return UNIXAddress(None)
    return AnnouncedAddress(header.client, header.port, header.destination)
