"""One listener: who is let in, and what each session is offered.

Over a limit a peer hears 421 and is gone; it comes again later (RFC 5321 s3.8).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, cast

from twisted.cred.portal import Portal
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.protocol import ServerFactory as TwistedServerFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from postroom.envelope import SessionFacts
from postroom.server.authentication import Authentication, LoginParts
from postroom.server.connections import Connections, in_networks
from postroom.server.limits import ListenerSettings
from postroom.server.protocol import LINGER_SECONDS, SHUTTING_DOWN, SMTPServerProtocol
from postroom.server.sasl.available import mechanisms_named
from postroom.wire.replies import Reply, reply
from postroom.wire.session import (
    AUTH_DONE,
    AUTH_FIRST,
    AUTH_NEEDS_TLS,
    NOT_OFFERED,
    TLS_ACTIVE,
    TLS_FIRST,
    Capabilities,
)

_NOT_YET: Final = ("BDAT", "LHLO", "EXPN", "ETRN", "XCLIENT", "XFORWARD")
_TOO_BUSY: Final = reply(421, "4.3.2", "Too many connections, try again later")
_log = Logger()

_TOO_MANY: Final = reply(421, "4.7.0", "Too many connections from your address")


class TurnedAway(Protocol):
    """A connection that is told why it cannot stay."""

    _cut_off: IDelayedCall | None = None

    def __init__(self, farewell: Reply, clock: IReactorTime) -> None:
        """Take the 421."""
        self._farewell = farewell
        self._clock = clock

    def connectionMade(self) -> None:
        """Say it and hang up, even on a peer that takes nothing or never ends its handshake."""
        transport = cast(ITCPTransport, self.transport)
        self._cut_off = self._clock.callLater(LINGER_SECONDS, transport.abortConnection)
        transport.write(self._farewell.wire)
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        if self._cut_off is not None and self._cut_off.active():
            self._cut_off.cancel()


class ServerFactory(TwistedServerFactory):
    """Makes the sessions of one listener.

    Attributes:
        settings: how the listener is set.
        authentication: where credentials and anonymous sessions go.
        tls: what STARTTLS upgrades with; None offers no STARTTLS.
        greeting: the 220.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        portal: Portal,
        settings: ListenerSettings,
        connections: Connections,
        tls: IOpenSSLServerConnectionCreator | None = None,
        logins: LoginParts | None = None,
    ) -> None:
        """Take what sessions need; nothing listens yet.

        Raises:
            UserError: the settings name a SASL mechanism that does not exist.
        """
        self.authentication = Authentication(
            clock, portal, mechanisms_named(settings.mechanisms), settings.hostname, logins
        )
        self.settings = settings
        self.tls = tls
        self.greeting = reply(220, None, f"{settings.hostname} ESMTP Postroom")
        self.seconds: Callable[[], float] = clock.seconds
        self._clock = clock
        self._connections = connections
        self._capabilities = cache(self._make_capabilities)
        self._normalised = tuple(settings.normalise_networks)
        self._unlimited = tuple(settings.unlimited_networks)
        self._clear_text = tuple(settings.clear_text_auth_networks)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Make the session of a new connection, or turn it away."""
        client, port = _peer(addr)
        refusal = self._refusal(client)
        if refusal is not None:
            return TurnedAway(refusal, self._clock)
        return SMTPServerProtocol(self, client, port)

    def _refusal(self, client: str) -> Reply | None:
        connections = self._connections
        if connections.draining:
            return SHUTTING_DOWN
        if connections.full:
            return _TOO_BUSY
        most = self.settings.limits.connections_per_address
        if connections.count_from(client) >= most and not in_networks(client, self._unlimited):
            return _TOO_MANY
        return None

    def takes_handshake(self, client: str) -> bool:
        """Count a TLS handshake with a peer; tell whether it may begin."""
        most = self.settings.limits.handshakes_per_minute
        count = self._connections.count_handshake(client)
        if count <= most or in_networks(client, self._unlimited):
            return True
        if count == most + 1:
            _log.warn("too many TLS handshakes client={client}", client=client)
        return False

    def opened(self, session: SMTPServerProtocol) -> None:
        """Count a session that has begun."""
        self._connections.add(session, session.facts.client)

    def closed(self, session: SMTPServerProtocol) -> None:
        """Stop counting a session."""
        self._connections.remove(session, session.facts.client)

    @property
    def draining(self) -> bool:
        """True while the service shuts down."""
        return self._connections.draining

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call something later, on the reactor's clock."""
        return self._clock.callLater(delay, call, *args)

    def normalises(self, client: str) -> bool:
        """Tell whether this peer's bare CR and LF are mended instead of refused."""
        return in_networks(client, self._normalised)

    def capabilities(self, facts: SessionFacts, tls: bool) -> Capabilities:
        """Give what a session offers and asks for in this state."""
        may_log_in = tls or in_networks(facts.client, self._clear_text)
        mechanisms = self.authentication.offered(facts, tls) if may_log_in else ()
        return self._capabilities(tls, facts.identity is not None, may_log_in, mechanisms)

    def _make_capabilities(
        self, tls: bool, authenticated: bool, may_log_in: bool, mechanisms: tuple[str, ...]
    ) -> Capabilities:
        settings = self.settings
        starttls = self.tls is not None and not tls
        extensions = {
            "PIPELINING": "",
            "SIZE": str(settings.limits.message_octets),
            "8BITMIME": "",
            "ENHANCEDSTATUSCODES": "",
        }
        if starttls:
            extensions["STARTTLS"] = ""
        if mechanisms:
            extensions["AUTH"] = " ".join(mechanisms)
        extensions["HELP"] = ""
        barred = dict.fromkeys(_NOT_YET, NOT_OFFERED)
        if tls:
            barred["STARTTLS"] = TLS_ACTIVE
        if authenticated:
            barred["AUTH"] = AUTH_DONE
        elif not may_log_in and settings.mechanisms:
            barred["AUTH"] = AUTH_NEEDS_TLS
        if settings.role == "submission" and not authenticated:
            if may_log_in:
                barred["MAIL"] = AUTH_FIRST
            else:  # everything but NOOP, EHLO, STARTTLS and QUIT should be: RFC 3207 s4
                barred.update(dict.fromkeys(("MAIL", "RCPT", "DATA", "RSET", "VRFY"), TLS_FIRST))
        return Capabilities(settings.hostname, extensions, barred, settings.space_after_colon)


class ImplicitTLSFactory(TLSMemoryBIOFactory):
    """Speaks TLS before the sessions of a listener begin."""

    def __init__(
        self, tls: IOpenSSLServerConnectionCreator, sessions: ServerFactory, clock: IReactorTime
    ) -> None:
        """Take what serves TLS, and what makes sessions."""
        super().__init__(tls, False, sessions, clock)
        self._sessions = sessions

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]  # it is never None
        """Make a connection; None, which closes it, where there were too many handshakes."""
        client, _ = _peer(addr)
        return super().buildProtocol(addr) if self._sessions.takes_handshake(client) else None


def _peer(address: Any) -> tuple[str, int]:
    """Give a peer's address as text and its port; IPv4 within IPv6 is IPv4."""
    host = getattr(address, "host", None)
    if host is None:
        return "unix", 0
    return host.removeprefix("::ffff:") if "." in host else host, address.port
