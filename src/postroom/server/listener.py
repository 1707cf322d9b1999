"""One listener: all that its sessions share, and all that a session may ask of it.

A session reads its settings, its clock and its authentication here, asks what it may offer now, and
has connections and handshakes counted. It never sees the factory that made it, nor other sessions.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from twisted.cred.portal import Portal
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
)
from twisted.logger import Logger

from postroom.envelope import SessionFacts
from postroom.interfaces import IExtension, IQueueFlush
from postroom.networks import in_networks
from postroom.server.authentication import Authentication, LoginParts
from postroom.server.capabilities import OfferContext, check_extension, make_capabilities
from postroom.server.connections import Connections, OpenSession
from postroom.server.limits import ListenerSettings
from postroom.server.sasl.available import mechanisms_named
from postroom.wire.data import TextRules
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Capabilities
from postroom.wire.tolerance import Tolerance

ServerTLS = IOpenSSLServerConnectionCreator | IOpenSSLContextFactory
"""What serves TLS: ours, or Twisted's `CertificateOptions`."""

SHUTTING_DOWN: Final = reply(421, "4.3.2", "Service shutting down, closing connection")
_TOO_BUSY: Final = reply(421, "4.3.2", "Too many connections, try again later")
_TOO_MANY: Final = reply(421, "4.7.0", "Too many connections from your address")
_log = Logger()


def _always_has_room(_: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Environment:
    """What sessions ask of the rest of the process, besides their delivery.

    Attributes:
        has_room: returns whether a message of so many octets has room on the disk now. Called for
            each MAIL that declares a size; must not block.
        flush: starts deliveries for ETRN; None if ETRN is not offered.
        now: returns POSIX time, in seconds.
    """

    has_room: Callable[[int], bool] = _always_has_room
    flush: IQueueFlush | None = None
    now: Callable[[], float] = time.time


ALONE: Final = Environment()
"""The environment of sessions in a program that has neither a queue nor a disk to watch."""


class Listener:
    """What the sessions of one listener share.

    Attributes:
        settings: of this listener.
        authentication: logs clients in.
        tls: makes the TLS of STARTTLS; None if STARTTLS is not offered.
        greeting: the 220.
        farewell: returns a 421 with our name in front (RFC 5321 s4.2.3).
        environment: the rest of the process.
        seconds: returns the time of the reactor's clock.
        unwanted_solicitations: see `ListenerSettings`, in lower case.
        text_rules: which flaws of content are refused, and which are mended.
    """

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
        self.authentication = Authentication(
            clock, portal, mechanisms_named(settings.mechanisms), settings.hostname, logins
        )
        self.settings = settings
        self.tls = tls
        protocol = "LMTP" if settings.role == "lmtp" else "ESMTP"
        self.greeting = reply(220, None, f"{settings.hostname} {protocol} Postroom")
        self.farewell = lru_cache(maxsize=64)(self._make_farewell)
        self.environment = environment
        self.seconds: Callable[[], float] = clock.seconds
        self.unwanted_solicitations = frozenset(
            word.lower() for word in settings.unwanted_solicitations
        )
        self.text_rules = TextRules(
            settings.limits.text_line_octets,
            settings.bare_newline == "refuse",
            Tolerance.NUL_IN_TEXT not in settings.tolerate,
        )
        self._clock = clock
        self._connections = connections
        self._extensions: list[IExtension] = []
        # Sessions in the same context share one object, and with it one reply to EHLO.
        self._capabilities = lru_cache(maxsize=64)(self._make_capabilities)
        self._networks = _Networks(settings)

    # Connections

    def refusal(self, client: str) -> Reply | None:
        """Return the 421 for a client that cannot be served now; None if it can.

        RFC 5321 s3.8
        """
        connections = self._connections
        if connections.draining:
            return SHUTTING_DOWN
        if connections.full:
            return _TOO_BUSY
        return _TOO_MANY if self._has_too_many(client) else None

    def _has_too_many(self, client: str) -> bool:
        most = self.settings.limits.connections_per_address
        has_most = self._connections.count_from(client) >= most
        return has_most and not in_networks(client, self._networks.unlimited)

    def opened(self, session: OpenSession, client: str) -> None:
        """Count a session that was opened."""
        self._connections.add(session, client)

    def closed(self, session: OpenSession, client: str) -> None:
        """Count a session no longer."""
        self._connections.remove(session, client)

    def change_client(self, before: str, after: str) -> Reply | None:
        """Count a session for the client that XCLIENT names; return a refusal, or None."""
        if after != before:
            if self._has_too_many(after):
                return _TOO_MANY
            self._connections.move(before, after)
        return None

    def takes_handshake(self, client: str) -> bool:
        """Count a TLS handshake with a peer; return whether it may begin."""
        most = self.settings.limits.handshakes_per_minute
        count = self._connections.count_handshake(client)
        if count <= most or in_networks(client, self._networks.unlimited):
            return True
        if count == most + 1:
            _log.warn("too many TLS handshakes client={client}", client=client)
        return False

    @property
    def draining(self) -> bool:
        """True while the service shuts down."""
        return self._connections.draining

    @property
    def under_stress(self) -> bool:
        """True while the server is short of connections."""
        return self._connections.crowded

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        """Schedule a call on the reactor's clock."""
        return self._clock.callLater(delay, call, *args)

    # Clients

    def must_wait(self, client: str) -> bool:
        """Return whether a client has to wait for replies where the protocol asks for it.

        RFC 2920 s3.1
        """
        strict = self.settings.synchronised and self.settings.role == "mx"
        return strict and not in_networks(client, self._networks.unsynchronised)

    def takes_bare_newlines(self, client: str) -> bool:
        """Return whether any LF ends a line of this client's."""
        return in_networks(client, self._networks.bare_newline)

    def completes_sender(self, facts: SessionFacts) -> bool:
        """Return whether MAIL may leave out the sender's domain in this session."""
        return facts.identity is not None or in_networks(facts.client, self._networks.origin)

    # Extensions

    def add_extension(self, extension: IExtension) -> None:
        """Offer the extension of a plugin; call it before anybody connects.

        Raises:
            ValueError: a name of the extension is taken.
        """
        check_extension(extension, self.settings.role, self._extensions)
        self._extensions.append(extension)
        self._capabilities.cache_clear()

    def capabilities(self, facts: SessionFacts, tls: bool, peer: str) -> Capabilities:
        """Return what a session offers and asks for in this state."""
        networks = self._networks
        may_log_in = tls or in_networks(facts.client, networks.clear_text)
        mechanisms = self.authentication.offered(facts, tls) if may_log_in else ()
        holds = self.settings.role == "submission"
        context = OfferContext(
            tls,
            self.tls is not None and not tls,
            facts.identity is not None,
            mechanisms,
            may_log_in,
            self.environment.flush is not None and in_networks(facts.client, networks.etrn),
            in_networks(peer, networks.xclient),
            in_networks(peer, networks.xforward),
            int(self.environment.now() // 3600) if holds else 0,
        )
        return self._capabilities(context)

    def _make_capabilities(self, context: OfferContext) -> Capabilities:
        return make_capabilities(self.settings, context, self._extensions)

    def _make_farewell(self, farewell: Reply) -> Reply:
        first, *more = farewell.text
        text = (f"{self.settings.hostname} {first}", *more)
        return Reply(farewell.code, text, farewell.enhanced)


class _Networks:
    """The networks of the settings, as tuples: a look-up in them is cached by both arguments."""

    __slots__ = (
        *("bare_newline", "clear_text", "etrn", "origin", "unlimited", "unsynchronised"),
        *("xclient", "xforward"),
    )

    def __init__(self, settings: ListenerSettings) -> None:
        self.bare_newline = tuple(settings.bare_newline_networks)
        self.clear_text = tuple(settings.clear_text_auth_networks)
        self.etrn = tuple(settings.etrn_networks)
        self.origin = tuple(settings.origin_networks)
        self.unlimited = tuple(settings.unlimited_networks)
        self.unsynchronised = tuple(settings.unsynchronised_networks)
        self.xclient = tuple(settings.xclient_networks)
        self.xforward = tuple(settings.xforward_networks)
