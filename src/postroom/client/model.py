"""What the relay passes to the client, and what the client returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from postroom.envelope import NewMessage, TLSFacts
from postroom.wire.ports import SMTP_PORT
from postroom.wire.replies import Reply

if TYPE_CHECKING:  # the settings use this module, and the admin command them: it needs no Twisted
    from postroom.interfaces import IChunkSource


class TLSMode(Enum):
    """When TLS is used with a next hop."""

    NEVER = "never"
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS where it is offered, any certificate; clear text where it is not or fails."""
    REQUIRED = "required"
    """STARTTLS or nothing, the certificate checked against the host's name."""
    IMPLICIT = "implicit"
    """TLS from the first octet (``smtps://``), the certificate checked."""


@dataclass(frozen=True, slots=True)
class SmartHost:
    """A fixed next hop: the relay host, or a route of a domain.

    Attributes:
        host: a name or an IP address, without MX look-up. It may be a loopback or private address.
            Empty for a UNIX socket.
        port: 1 to 65535; 0 for a UNIX socket.
        tls: when TLS is used with it.
        user: the name to log in with; None for no AUTH.
        password: with the user.
        lmtp: True if it speaks LMTP (RFC 2033).
        path: of the UNIX socket that it listens on; None for TCP.
    """

    host: str
    port: int = SMTP_PORT
    tls: TLSMode = TLSMode.OPPORTUNISTIC
    user: str | None = None
    password: str | None = None
    lmtp: bool = False
    path: str | None = None

    def __str__(self) -> str:
        """Return its name for the log."""
        return self.path or f"{self.host}:{self.port}"


class TLSRequirement(Enum):
    """What a message requires of the TLS that it is sent with."""

    NONE = "as the settings ask"
    REQUIRED = "only with TLS, to servers that promise the same"
    """REQUIRETLS. RFC 8689 s4.2.1."""
    OPTIONAL = "with TLS if that works, else without"
    """``TLS-Required: No``. RFC 8689 s4.2.2."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The next hop of a message; messages to the same one share connections.

    Attributes:
        domain: the recipients' domain, lower case, for MX look-up; empty if a smarthost is set, so
            that all its domains share connections.
        smarthost: a fixed next hop instead of MX.
        tls_requirement: of the messages. Those that require something have connections of their
            own.
    """

    domain: str
    smarthost: SmartHost | None = None
    tls_requirement: TLSRequirement = TLSRequirement.NONE

    def __str__(self) -> str:
        """Return its name for the log."""
        return str(self.smarthost) if self.smarthost is not None else self.domain


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of sending one message to one destination.

    Attributes:
        replies: one for each recipient of the message, in order: 2yz, delivered; 4yz, try later;
            5yz, give up. For a lost connection, a time-out or a DNS failure we make a 4yz reply.
        remote: ``host[address]:port`` of the host that answered last, empty if none did.
        tls: TLS facts of that connection, None in clear text.
        unaware: the indices of recipients with DSN parameters that a host without DSN has accepted:
            it will not report what happens to them (RFC 3461 s5.2.2).
    """

    replies: Sequence[Reply]
    remote: str = ""
    tls: TLSFacts | None = None
    unaware: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one destination.

    Attributes:
        message: sender, parameters and the recipients for this destination.
        source: its content.
    """

    message: NewMessage
    source: "IChunkSource"
