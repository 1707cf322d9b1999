"""What the relay asks of the client, and what it hears back."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from postroom.envelope import NewMessage, TLSFacts
from postroom.wire.replies import Reply

if TYPE_CHECKING:  # the settings use this module, and the admin command them: it needs no Twisted
    from postroom.interfaces import IChunkSource


class TLSMode(Enum):
    """How a next hop is to be spoken to."""

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
        host: a name or an IP address; no MX look-up. It may be a loopback or private address.
        port: 1 to 65535.
        tls: how to speak to it.
        user: the name to log in with; None for no AUTH.
        password: with the user.
    """

    host: str
    port: int = 25
    tls: TLSMode = TLSMode.OPPORTUNISTIC
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes next: what connections are pooled by.

    Attributes:
        domain: the recipients' domain, lower case, for MX look-up; empty if a smarthost is set, so
            that all its domains share connections.
        smarthost: a fixed next hop instead of MX.
    """

    domain: str
    smarthost: SmartHost | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one message at one destination.

    Attributes:
        replies: one for each recipient of the message, in order: 2yz delivered; 4yz try later;
            5yz give up. A lost connection, a time-out, a DNS failure are 4yz replies made by us.
        remote: ``host[address]:port`` of the host that answered last, empty if none did.
        tls: TLS facts of that connection, None in clear text.
    """

    replies: Sequence[Reply]
    remote: str = ""
    tls: TLSFacts | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one destination.

    Attributes:
        message: sender, parameters and the recipients for this destination.
        source: its content.
    """

    message: NewMessage
    source: "IChunkSource"
