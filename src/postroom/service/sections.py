"""The tables of the settings: each a group that one room, or one part of the service, is set by.

A default that another room declares (`postroom.server.limits` and its like) is taken from there, so
that a program which embeds that room and one that reads a file run alike.
"""

from dataclasses import fields
from typing import Any, Literal, TypeVar

from postroom.delivery.settings import DeliverySettings
from postroom.server.limits import Limits
from postroom.service.declarations import (
    AbsolutePath,
    Addresses,
    DomainName,
    Extra,
    RelayHost,
    Section,
    setting,
)

Values = TypeVar("Values")


def values_of(section: Section, kind: type[Values], **more: object) -> Values:
    """Make another room's settings from a section: the fields that both have, and ``more``."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    shared = {name: getattr(section, name) for name in type(section).model_fields if name in names}
    return kind(**shared, **more)


def default_of(kind: Any, name: str) -> Any:
    """Give the default of a field of another room's settings."""
    found = next(item for item in fields(kind) if item.name == name)
    return found.default


def _delivery(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(default_of(DeliverySettings, name), paragraph, extra=extra, **constraints)


def _limit(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(default_of(Limits, name), paragraph, extra=extra, **constraints)


class LimitsSection(Section):
    """What sessions may use up."""

    command_timeout_seconds: float = _limit(
        "command_timeout_seconds",
        """How long a peer may take from a reply to its next whole command; octets that complete no
        command do not extend it. RFC 5321 asks for at least 300.""",
        ge=1,
        le=86_400,
        extra=Extra(rfc="RFC 5321 s4.5.3.2.7"),
    )
    handshake_timeout_seconds: float = _limit(
        "handshake_timeout_seconds",
        "How long a TLS handshake may take; a peer that has not ended it by then is cut off.",
        ge=1,
        le=3600,
    )
    data_timeout_seconds: float = _limit(
        "data_timeout_seconds",
        "How long a peer may be silent while it sends content.",
        ge=1,
        le=86_400,
        extra=Extra(rfc="RFC 5321 s4.5.3.2.5"),
    )
    data_minimum_rate: int = _limit(
        "data_minimum_rate",
        """Octets a second that content has to keep up on average, once data_timeout_seconds have
        passed and while more than four fifths of limits.connections are in use. It ends the
        sessions of senders that occupy a connection with a trickle. On a calm server a slow line
        may take its time; 0 never ends a session for its rate.""",
        ge=0,
        le=1_000_000_000,
    )
    verdict_timeout_seconds: float = _limit(
        "verdict_timeout_seconds",
        "How long a look-up or a delivery may take before the peer gets 451.",
        ge=1,
        le=86_400,
    )
    stress_timeout_seconds: float = _limit(
        "stress_timeout_seconds",
        """Stands in for command_timeout_seconds while more than four fifths of limits.connections
        are in use.""",
        ge=1,
        le=86_400,
    )
    message_octets: int = _limit(
        "message_octets",
        "The largest message that is taken; EHLO offers it as SIZE.",
        ge=65_536,
        le=4_294_967_296,
        extra=Extra(option="max-message-size", rfc="RFC 1870 s4; RFC 5321 s4.5.3.1.7"),
    )
    text_line_octets: int = _limit(
        "text_line_octets",
        """The longest line of content, CRLF not counted; 0 takes lines of any length, as long as
        the message is within message_octets. client.text_line_octets folds them on the way out.""",
        ge=0,
        le=1_000_000_000,
        extra=Extra(rfc="RFC 5321 s4.5.3.1.6"),
    )
    recipients: int = _limit(
        "recipients",
        "How many recipients a transaction may have; the next ones get 452.",
        ge=100,
        le=1_000_000,
        extra=Extra(rfc="RFC 5321 s4.5.3.1.8"),
    )
    errors_before_delay: int = _limit(
        "errors_before_delay",
        "Failed commands after which each further one costs the peer a second.",
        ge=0,
        le=1_000_000,
    )
    errors: int = _limit(
        "errors", "Failed commands after which the session ends with 421.", ge=1, le=1_000_000
    )
    idle_commands: int = _limit(
        "idle_commands",
        """Commands that move no mail (NOOP, RSET, VRFY, EHLO) between two messages after which the
        session ends with 421.""",
        ge=1,
        le=1_000_000,
    )
    connections: int = _limit(
        "connections",
        """Connections in all, over all listeners; more get 421. It is lowered at start to what the
        limit on open files allows.""",
        ge=1,
        le=1_000_000,
    )
    handshakes_per_minute: int = _limit(
        "handshakes_per_minute",
        """TLS handshakes with one IPv4 address or one IPv6 /64 in a minute; STARTTLS then gets 454,
        and a connection that would begin with TLS is closed.""",
        ge=1,
        le=1_000_000,
    )
    connections_per_address: int = _limit(
        "connections_per_address",
        "Connections from one IPv4 address or one IPv6 /64; more get 421.",
        ge=1,
        le=1_000_000,
    )

    def as_limits(self, connections: int | None = None) -> Limits:
        """Give the server's limits, its connections cut to ``connections`` if there is a cap."""
        limits: Limits = values_of(self, Limits)
        if connections is None or connections >= self.connections:
            return limits
        return values_of(self.model_copy(update={"connections": connections}), Limits)


class DeliverySection(Section):
    """Deliveries to accounts and into the queue."""

    lmtp: RelayHost | None = setting(
        None,
        """The LMTP server that keeps the mailboxes of all accounts, instead of Maildirs here:
        "lmtp://HOST:PORT" or "lmtp+unix:/PATH". Mail for them is queued and handed over at once,
        each under its account's own address.""",
        extra=Extra(example="lmtp+unix:/run/dovecot/lmtp", rfc="RFC 2033 s4"),
    )
    site_object: str | None = setting(
        None,
        """A delivery of the site's own, "package.module:object", which gets the mail of all
        sessions in place of Maildirs and queue: an object that is, or is adapted to, an
        ITransactionDelivery, IMessageDelivery or IMessageDeliveryFactory; or a class or function
        without arguments that returns one for each session. Logins are checked as ever.""",
        extra=Extra(option="delivery", example="mysite.mail:delivery"),
    )

    sub_address_separator: str = _delivery(
        "sub_address_separator",
        """What divides user from tag in user+tag@example.org, which is delivered to user; empty
        switches sub-addresses off.""",
        max_length=1,
        extra=Extra(rfc="RFC 5233 s1"),
    )
    origin: DomainName | None = setting(
        None,
        """The domain of addresses that come without one: "RCPT TO:<ann>" means ann in this domain,
        and so does MAIL from those who have logged in and from relay networks.""",
        extra=Extra(
            example="example.org",
            shown_default="the first local domain; localhost only if there is no other",
        ),
    )
    literal_addresses: Addresses = setting(
        (),
        """IP addresses of this host by which mail may name it, as in postmaster@[192.0.2.25],
        besides the address that a connection came in on. Such mail goes to delivery.origin. Mail
        for any other address literal is refused, and never relayed.""",
        extra=Extra(example=["192.0.2.25"], rfc="RFC 5321 s4.1.3"),
    )
    memory_octets: int = _delivery(
        "memory_octets",
        """Content up to this size is kept in memory while it arrives; what is larger goes into an
        unnamed file in the state directory.""",
        ge=0,
        le=1_073_741_824,
    )
    header_octets: int = _delivery(
        "header_octets",
        "The largest header section that is taken; a message with more gets 552.",
        ge=4096,
        le=1_073_741_824,
    )
    header_lines: int = _delivery(
        "header_lines",
        "The most lines in a header section; a message with more gets 552.",
        ge=100,
        le=10_000_000,
    )
    received_fields: int = _delivery(
        "received_fields",
        "So many Received fields mean that a message goes in circles; it gets 554.",
        ge=100,
        le=10_000,
        extra=Extra(rfc="RFC 5321 s6.3"),
    )
    alias_depth: int = _delivery(
        "alias_depth", "How many aliases may lead to one another.", ge=1, le=100
    )
    alias_targets: int = _delivery(
        "alias_targets",
        "How many addresses one recipient may come to by aliases.",
        ge=1,
        le=100_000,
    )
    cached_routes: int = _delivery(
        "cached_routes",
        "How many recipients are remembered with the way their mail goes.",
        ge=0,
        le=10_000_000,
    )
    cached_maildirs: int = _delivery(
        "cached_maildirs",
        "How many Maildirs are kept open, at two open files each.",
        ge=1,
        le=100_000,
    )
    batch_files: int = _delivery(
        "batch_files",
        "How many messages are written into Maildirs before their directories are synced.",
        ge=1,
        le=10_000,
    )
    batch_octets: int = _delivery(
        "batch_octets",
        "How much content such a batch may hold before no more is added to it.",
        ge=1,
        le=1_073_741_824,
    )
    over_quota: Literal["temporary", "permanent"] = _delivery(
        "over_quota",
        """What mail for a full mailbox gets: a temporary refusal, 452, after which the sender's
        server tries again for some days, or a permanent one, 552. Quotas are the accounts'
        (postroom quota).""",
        extra=Extra(rfc="RFC 3463 s3.3"),
    )
    line_ends: Literal["lf", "crlf"] = _delivery(
        "line_ends",
        """What lines end with in Maildir files: LF, as every program that reads Maildirs expects,
        or CRLF, as in the message that came. A binary message (BODY=BINARYMIME) keeps its octets
        under both; files that are there already keep theirs.""",
    )


class LogSection(Section):
    """The log."""

    format: Literal["text", "json"] = setting(
        "text", "One line for each event: as text to read, or as a JSON object."
    )
    file: AbsolutePath | None = setting(
        None,
        """Where the log goes. Without it twistd's --logfile counts: standard output with -n, else
        twistd.log. SIGHUP and SIGUSR1 open the file anew.""",
        extra=Extra(example="/var/log/postroom.log"),
    )
