"""The factory of one listener's sessions: it accepts connections, or refuses them.

A peer over a limit gets 421 and is disconnected; it may try again later (RFC 5321 s3.8).
"""

from typing import Any, cast

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.protocol import ServerFactory as TwistedServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from postroom.envelope import SessionFacts
from postroom.server.authentication import LoginParts
from postroom.server.commands import COMMANDS
from postroom.server.connections import Connections, unmapped
from postroom.server.limits import ListenerSettings
from postroom.server.listener import ALONE, Environment, Listener, ServerTLS
from postroom.server.protocol import LINGER_SECONDS, SMTPServerProtocol
from postroom.wire.replies import Reply


class RefusedConnection(Protocol):
    """A connection that gets a 421 and is closed."""

    _cut_off: IDelayedCall | None = None

    def __init__(self, farewell: Reply, clock: IReactorTime) -> None:
        """Store the 421 that is sent."""
        self._farewell = farewell
        self._clock = clock

    def connectionMade(self) -> None:
        """Send 421 and close, even if the peer reads nothing or never ends its TLS handshake."""
        transport = cast(ITCPTransport, self.transport)
        self._cut_off = self._clock.callLater(LINGER_SECONDS, transport.abortConnection)
        transport.write(self._farewell.wire)
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the timer: the connection is closed."""
        if self._cut_off is not None and self._cut_off.active():
            self._cut_off.cancel()


class ServerFactory(TwistedServerFactory):
    """Creates the sessions of one listener.

    Attributes:
        listener: what its sessions share.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        portal: Portal,
        settings: ListenerSettings,
        connections: Connections,
        tls: ServerTLS | None = None,
        logins: LoginParts | None = None,
        environment: Environment = ALONE,
    ) -> None:
        """Create what sessions share; nothing listens yet.

        Raises:
            UserError: the settings name a SASL mechanism that does not exist.
        """
        self.listener = Listener(*(clock, portal, settings, connections), tls, logins, environment)
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return the protocol of a new connection, or one that refuses it."""
        client, port = _peer(addr)
        listener = self.listener
        refusal = listener.refusal(client)
        if refusal is not None:
            return RefusedConnection(listener.farewell(refusal), self._clock)
        facts = SessionFacts(listener.settings.role, client, port)
        destination = getattr(addr, "destination", None)  # known from a PROXY header
        return SMTPServerProtocol(listener, COMMANDS, facts, destination)


class ImplicitTLSFactory(TLSMemoryBIOFactory):
    """Starts TLS before the sessions of a listener begin."""

    def __init__(self, tls: ServerTLS, sessions: ServerFactory, clock: IReactorTime) -> None:
        """Wrap the factory of sessions.

        Args:
            tls: makes TLS connections.
            sessions: creates the sessions within them.
            clock: the reactor's.
        """
        super().__init__(tls, False, sessions, clock)
        self._listener = sessions.listener

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]  # it is never None
        """Return the protocol of a connection; None, which closes it, after too many handshakes."""
        client, _ = _peer(addr)
        return super().buildProtocol(addr) if self._listener.takes_handshake(client) else None


def _peer(address: Any) -> tuple[str, int]:
    """Return a peer's address as text and its port; IPv4 within IPv6 is IPv4."""
    host = getattr(address, "host", None)
    if host is None:
        return "unix", 0
    return unmapped(host), address.port
