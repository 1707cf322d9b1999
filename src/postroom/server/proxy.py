"""Connections that come through a proxy, which begin with a PROXY header.

A listed proxy must send a PROXY header first on each connection (`postroom.wire.proxy`). Until the
header is complete nothing is sent, and neither TLS nor a session starts. Then the session starts
with the client's address, which counts for every limit and network, and gets the transport for
itself. If the header is wrong, or does not come in time, the connection is closed without a reply.

The connections of all other peers are sessions at once, and a header is an unknown command. A peer
on a UNIX socket counts as listed: the permissions of the socket decide who may connect.

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

from postroom.networks import in_networks
from postroom.server.connections import unmapped
from postroom.settings.values import Network
from postroom.wire.proxy import ProxyError, ProxyHeader, ProxyReader

HEADER_SECONDS: Final = 10
_log = Logger()


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class AnnouncedAddress:
    """A client behind a proxy, as the PROXY header names it.

    Attributes:
        host: the client's IP address.
        port: the client's port.
        destination: the IP address that the client connected to.
    """

    host: str
    port: int
    destination: str | None


class ProxyProtocol(Protocol):
    """A connection of a proxy, until its header is complete."""

    transport: Any  # its protocol is replaced
    _cut_off: IDelayedCall | None = None

    def __init__(self, factory: "ProxyFactory", address: Any) -> None:
        """Store the factory and the proxy's own address."""
        self._factory = factory
        self._address = address
        self._reader = ProxyReader()

    def connectionMade(self) -> None:
        """Start the timer of the header."""
        self._cut_off = self._factory.clock.callLater(
            HEADER_SECONDS, self._refuse, "it did not come in time"
        )

    def dataReceived(self, data: bytes) -> None:
        """Parse octets of the header; pass on what follows it."""
        try:
            header = self._reader.feed(data)
        except ProxyError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._start_session(header)

    def _start_session(self, header: ProxyHeader) -> None:
        self._cancel_timer()
        transport = self.transport
        session = self._factory.wrapped.buildProtocol(_announced_address(header, self._address))
        if session is None:
            transport.abortConnection()
            return
        transport.protocol = session
        session.makeConnection(transport)
        if header.rest:
            session.dataReceived(header.rest)

    def _refuse(self, reason: str) -> None:
        self._cancel_timer()
        _log.info(
            "PROXY header refused client={client} reason={reason}",
            client=getattr(self._address, "host", "unix"),
            reason=reason,
        )
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the timer: the connection is closed."""
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        timer, self._cut_off = self._cut_off, None
        if timer is not None and timer.active():
            timer.cancel()


class ProxyFactory(Factory):
    """Creates the connections of a listener that proxies connect to.

    Attributes:
        wrapped: creates the sessions.
        clock: times the headers.
    """

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, clock: IReactorTime, networks: tuple[Network, ...]
    ) -> None:
        """Store the factory of sessions, the clock, and the networks of the proxies."""
        self.wrapped = wrapped
        self.clock = clock
        self._networks = networks

    def doStart(self) -> None:
        """Start the factory of sessions, too."""
        super().doStart()  # type: ignore[no-untyped-call]
        self.wrapped.doStart()

    def doStop(self) -> None:
        """Stop the factory of sessions, too."""
        self.wrapped.doStop()
        super().doStop()  # type: ignore[no-untyped-call]

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]  # it is never None
        """Return the protocol of a session; for a proxy, one that waits for its header."""
        host = getattr(addr, "host", None)
        if host is None or in_networks(unmapped(host), self._networks):
            return ProxyProtocol(self, addr)
        return self.wrapped.buildProtocol(addr)


def _announced_address(header: ProxyHeader, own: Any) -> Any:
    """Return the address that the session starts with."""
    if header.client is None:
        return own
    if header.client == "unix":
        return UNIXAddress(None)
    return AnnouncedAddress(header.client, header.port, header.destination)
