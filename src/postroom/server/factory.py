"""One listener: who is let in, and what each session is offered.

Over a limit a peer hears 421 and is gone; it comes again later (RFC 5321 s3.8).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from twisted.cred.portal import Portal
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLContextFactory,
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
from postroom.interfaces import IExtension, IQueueFlush
from postroom.server.authentication import Authentication, LoginParts
from postroom.server.capabilities import Situation, check_extension, make_capabilities
from postroom.server.connections import Connections, in_networks, unmapped
from postroom.server.limits import ListenerSettings
from postroom.server.protocol import LINGER_SECONDS, SHUTTING_DOWN, SMTPServerProtocol
from postroom.server.sasl.available import mechanisms_named
from postroom.wire.data import TextRules
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Capabilities
from postroom.wire.tolerance import Tolerance

ServerTLS = IOpenSSLServerConnectionCreator | IOpenSSLContextFactory
"""What serves TLS: ours, or Twisted's `CertificateOptions`."""

_log = Logger()
_TOO_BUSY: Final = reply(421, "4.3.2", "Too many connections, try again later")
_TOO_MANY: Final = reply(421, "4.7.0", "Too many connections from your address")


def _has_room(_: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sessions ask beside their delivery.

    Attributes:
        has_room: says whether a message of so many octets has room on the disk now. Called for
            each MAIL that declares a size; must not block.
        flush: answers ETRN; None offers none.
        now: gives POSIX time, in seconds.
    """

    has_room: Callable[[int], bool] = _has_room
    flush: IQueueFlush | None = None
    now: Callable[[], float] = time.time


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
        farewell: gives a 421 with our name in front.
        around: what else sessions ask; may be replaced before anybody connects.
        unwanted_solicitations: see `ListenerSettings`, in lower case.
        text_rules: what is a flaw of content, and what is mended.
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
        protocol = "LMTP" if settings.role == "lmtp" else "ESMTP"
        self.greeting = reply(220, None, f"{settings.hostname} {protocol} Postroom")
        self.farewell = lru_cache(maxsize=64)(self._make_farewell)
        self.around = Surroundings()
        self.unwanted_solicitations = frozenset(
            word.lower() for word in settings.unwanted_solicitations
        )
        self.text_rules = TextRules(
            settings.limits.text_line_octets,
            settings.bare_newline == "refuse",
            Tolerance.NUL_IN_TEXT not in settings.tolerate,
        )
        self._extensions: list[IExtension] = []
        self.seconds: Callable[[], float] = clock.seconds
        self._clock = clock
        self._connections = connections
        self._capabilities = lru_cache(maxsize=64)(self._make_capabilities)
        self._bare_newlines = tuple(settings.bare_newline_networks)
        self._origin = tuple(settings.origin_networks)
        self._own_addresses = frozenset(settings.own_addresses)
        self._unlimited = tuple(settings.unlimited_networks)
        self._unsynchronised = tuple(settings.unsynchronised_networks)
        self._etrn = tuple(settings.etrn_networks)
        self._xclient = tuple(settings.xclient_networks)
        self._xforward = tuple(settings.xforward_networks)
        self._clear_text = tuple(settings.clear_text_auth_networks)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Make the session of a new connection, or turn it away."""
        client, port = _peer(addr)
        refusal = self._refusal(client)
        if refusal is not None:
            return TurnedAway(self.farewell(refusal), self._clock)
        session = SMTPServerProtocol(self, client, port)
        session.destination = getattr(addr, "destination", None)  # which a PROXY header tells
        return session

    def _refusal(self, client: str) -> Reply | None:
        connections = self._connections
        if connections.draining:
            return SHUTTING_DOWN
        if connections.full:
            return _TOO_BUSY
        return _TOO_MANY if self._has_too_many(client) else None

    def _has_too_many(self, client: str) -> bool:
        most = self.settings.limits.connections_per_address
        has_most = self._connections.count_from(client) >= most
        return has_most and not in_networks(client, self._unlimited)

    def must_wait(self, client: str) -> bool:
        """Tell whether this peer has to keep to the order of the protocol, or is let go.

        RFC 2920 s3.1
        """
        strict = self.settings.synchronised and self.settings.role == "mx"
        return strict and not in_networks(client, self._unsynchronised)

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

    @property
    def under_stress(self) -> bool:
        """True while the server is short of connections."""
        return self._connections.crowded

    def takes_bare_newlines(self, client: str) -> bool:
        """Tell whether any LF ends a line of this client's."""
        return in_networks(client, self._bare_newlines)

    def completes_sender(self, facts: SessionFacts) -> bool:
        """Tell whether MAIL may leave out the sender's domain in this session."""
        return facts.identity is not None or in_networks(facts.client, self._origin)

    def is_own_address(self, address: str) -> bool:
        """Tell whether the settings list an IP address as one of this host."""
        return address in self._own_addresses

    def add_extension(self, extension: IExtension) -> None:
        """Offer an extension of somebody else's; before anybody connects.

        Raises:
            ValueError: it takes a name that is taken.
        """
        check_extension(extension, self.settings.role, self._extensions)
        self._extensions.append(extension)
        self._capabilities.cache_clear()

    def change_client(self, session: SMTPServerProtocol, client: str) -> Reply | None:
        """Count a session for another client, as XCLIENT says, or refuse to."""
        before = session.facts.client
        if client != before:
            if self._has_too_many(client):
                return _TOO_MANY
            self._connections.move(session, before, client)
        return None

    def capabilities(self, facts: SessionFacts, tls: bool, peer: str) -> Capabilities:
        """Give what a session offers and asks for in this state."""
        may_log_in = tls or in_networks(facts.client, self._clear_text)
        mechanisms = self.authentication.offered(facts, tls) if may_log_in else ()
        holds = self.settings.role == "submission"
        situation = Situation(
            tls,
            self.tls is not None and not tls,
            facts.identity is not None,
            mechanisms,
            may_log_in,
            self.around.flush is not None and in_networks(facts.client, self._etrn),
            in_networks(peer, self._xclient),
            in_networks(peer, self._xforward),
            int(self.around.now() // 3600) if holds else 0,
        )
        return self._capabilities(situation)

    def _make_capabilities(self, situation: Situation) -> Capabilities:
        return make_capabilities(self.settings, situation, self._extensions)

    def _make_farewell(self, farewell: Reply) -> Reply:
        first, *more = farewell.text
        text = (f"{self.settings.hostname} {first}", *more)
        return Reply(farewell.code, text, farewell.enhanced)


class ImplicitTLSFactory(TLSMemoryBIOFactory):
    """Speaks TLS before the sessions of a listener begin."""

    def __init__(self, tls: ServerTLS, sessions: ServerFactory, clock: IReactorTime) -> None:
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
    return unmapped(host), address.port
