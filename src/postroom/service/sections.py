"""The tables of the settings: each a group that one room, or one part of the service, is set by.

A default that another room declares (`postroom.server.limits` and its like) is taken from there, so
that a program which embeds that room and one that reads a file run alike.
"""

from dataclasses import fields
from typing import Any, Literal, TypeVar

from pydantic import Field

from postroom.client.model import TLSMode
from postroom.client.settings import ClientSettings, DNSSettings, Timeouts
from postroom.delivery.settings import DeliverySettings
from postroom.queue.schedule import Schedule
from postroom.queue.settings import RelaySettings
from postroom.server.limits import Limits, ListenerSettings
from postroom.service.declarations import (
    AbsolutePath,
    Addresses,
    DNSServers,
    DomainNames,
    Extra,
    Networks,
    Section,
    setting,
)

Values = TypeVar("Values")


def values_of(section: Section, kind: type[Values], **more: object) -> Values:
    """Make another room's settings from a section: the fields that both have, and ``more``."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    shared = {name: getattr(section, name) for name in type(section).model_fields if name in names}
    return kind(**shared, **more)


def _default(kind: Any, name: str) -> Any:
    """Give the default of a field of another room's settings."""
    found = next(item for item in fields(kind) if item.name == name)
    return found.default


def _delivery(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(DeliverySettings, name), paragraph, extra=extra, **constraints)


def _client(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(ClientSettings, name), paragraph, extra=extra, **constraints)


def _timeout(name: str, paragraph: str, section: str | None = None) -> Any:
    extra = Extra(rfc=f"RFC 5321 {section}") if section else None
    return setting(_default(Timeouts, name), paragraph, extra=extra, gt=0, le=86_400)


def _dns(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(DNSSettings, name), paragraph, extra=extra, **constraints)


def _queue(name: str, paragraph: str, **constraints: Any) -> Any:
    return setting(_default(RelaySettings, name), paragraph, **constraints)


def _retry(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(Schedule, name), paragraph, extra=extra, **constraints)


def _limit(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(Limits, name), paragraph, extra=extra, **constraints)


def _listener(name: str, paragraph: str, *, extra: Extra | None = None) -> Any:
    return setting(_default(ListenerSettings, name), paragraph, extra=extra)


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
        passed. It ends senders that keep a connection by dripping.""",
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
        "The longest line of content, CRLF not counted; 0 takes any length.",
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


class SessionSection(Section):
    """How listeners treat peculiar peers."""

    normalise_networks: Networks = _listener(
        "normalise_networks",
        """Networks whose bare CR and LF in content are made CRLF. From anywhere else such a message
        is refused, because it can smuggle a second one past other servers.""",
        extra=Extra(example=["192.0.2.7"], rfc="RFC 5321 s2.3.8"),
    )
    unlimited_networks: Networks = _listener(
        "unlimited_networks",
        """Networks that limits.connections_per_address does not count. All programs of this host
        come from one address.""",
    )
    space_after_colon: bool = _listener(
        "space_after_colon",
        'Take "MAIL FROM: <a@example.org>", which the grammar forbids and some devices send.',
        extra=Extra(rfc="RFC 5321 s3.3"),
    )


class DeliverySection(Section):
    """Deliveries to accounts and into the queue."""

    sub_address_separator: str = _delivery(
        "sub_address_separator",
        """What divides user from tag in user+tag@example.org, which is delivered to user; empty
        switches sub-addresses off.""",
        max_length=1,
        extra=Extra(rfc="RFC 5233 s1"),
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


class ClientTimeoutsSection(Section):
    """How long a remote server may take."""

    connect_seconds: float = _timeout("connect_seconds", "Until a connection stands.")
    greeting_seconds: float = _timeout("greeting_seconds", "Until 220.", "s4.5.3.2.1")
    handshake_seconds: float = _timeout("handshake_seconds", "For the TLS handshake.")
    command_seconds: float = _timeout(
        "command_seconds", "For every command but DATA.", "s4.5.3.2.2, s4.5.3.2.3"
    )
    data_seconds: float = _timeout("data_seconds", "From DATA to 354.", "s4.5.3.2.4")
    content_seconds: float = _timeout(
        "content_seconds", "For each piece of content to be taken.", "s4.5.3.2.5"
    )
    final_dot_seconds: float = _timeout(
        "final_dot_seconds",
        "From the end of the content to its answer; less than 600 makes duplicates.",
        "s4.5.3.2.6",
    )
    idle_seconds: float = _timeout(
        "idle_seconds", "How long a connection without work is kept for the next message."
    )


class ClientSection(Section):
    """How mail is sent to other servers."""

    own_names: DomainNames = setting(
        (),
        """Other names of this server. Hosts of MX records from the one with such a name on are
        left out, or mail would go in circles.""",
        extra=Extra(example=["mail.example.org"], rfc="RFC 5321 s5.1"),
    )
    own_addresses: Addresses = setting(
        (),
        "Public IP addresses by which an MX record may mean this server.",
        extra=Extra(example=["192.0.2.25"]),
    )
    tls: TLSMode = _client(
        "tls",
        """For hosts found by MX records: "opportunistic" uses STARTTLS where it is offered and
        takes any certificate, "required" wants a valid one, "never" sends in clear text.""",
        extra=Extra(rfc="RFC 3207 s4"),
    )
    ca_file: AbsolutePath | None = _client(
        "ca_file",
        "Certificates (PEM) that are trusted instead of the system's.",
        extra=Extra(example="/etc/ssl/certs/ca-certificates.crt"),
    )
    allowed_networks: Networks = _client(
        "allowed_networks",
        """Loopback, private and other special networks that MX records may point into. Others of
        that kind are passed over, for a stranger's DNS must not reach servers inside.""",
        extra=Extra(example=["10.0.0.0/8"]),
    )
    source_addresses: Addresses = _client(
        "source_addresses",
        "At most one IPv4 and one IPv6 address to send from; without one the system chooses.",
        extra=Extra(example=["192.0.2.25"]),
    )
    port: int = _client("port", "The port of hosts found by MX records.", ge=1, le=65_535)
    connections: int = _client("connections", "Outgoing connections in all.", ge=1, le=100_000)
    connections_per_destination: int = _client(
        "connections_per_destination",
        "Connections to one destination: a domain, or a relay host.",
        ge=1,
        le=10_000,
    )
    messages_per_connection: int = _client(
        "messages_per_connection", "Messages after which a connection ends.", ge=1, le=1_000_000
    )
    recipients_per_transaction: int = _client(
        "recipients_per_transaction",
        "Recipients sent at once; more follow in further transactions.",
        ge=1,
        le=100_000,
        extra=Extra(rfc="RFC 5321 s4.5.3.1.8"),
    )
    hosts_per_domain: int = _client(
        "hosts_per_domain", "How many hosts of a domain's MX records are looked at.", ge=1, le=1000
    )
    addresses_per_host: int = _client(
        "addresses_per_host", "How many addresses of each host are tried.", ge=1, le=1000
    )
    tries: int = _client(
        "tries",
        "Addresses tried in all before a message waits for its next attempt.",
        ge=1,
        le=1000,
    )
    dead_host_seconds: float = _client(
        "dead_host_seconds", "How long a host that did not answer is passed over.", ge=0, le=86_400
    )
    timeouts: ClientTimeoutsSection = Field(default_factory=ClientTimeoutsSection)


class DNSSection(Section):
    """How names are looked up for sending."""

    servers: DNSServers = _dns(
        "servers",
        "Recursive DNS servers. Without one those of /etc/resolv.conf are asked.",
        extra=Extra(
            example=["192.0.2.53", "[2001:db8::53]:5353"], shown_default="those of the system"
        ),
    )
    timeout_seconds: float = _dns(
        "timeout_seconds", "How long a server may take for an answer.", gt=0, le=60
    )
    rounds: int = _dns("rounds", "How often all servers are asked in turn.", ge=1, le=100)
    cache_entries: int = _dns("cache_entries", "How many answers are kept.", ge=0, le=10_000_000)
    longest_ttl_seconds: float = _dns(
        "longest_ttl_seconds", "How long an answer is kept at most.", ge=0, le=604_800
    )
    longest_negative_ttl_seconds: float = _dns(
        "longest_negative_ttl_seconds",
        'How long "there is none" is kept at most.',
        ge=0,
        le=604_800,
        extra=Extra(rfc="RFC 2308 s5"),
    )
    hosts_file: AbsolutePath | None = _dns(
        "hosts_file", "Addresses that are known without DNS, in the form of /etc/hosts."
    )


class QueueSection(Section):
    """The queue of mail on its way out."""

    in_all: int = _queue("in_all", "Messages that are being sent at once.", ge=1, le=100_000)
    fetched: int = _queue(
        "fetched",
        "Recipients taken from the store at once; what waits beyond them costs no memory.",
        ge=1,
        le=1_000_000,
    )
    memory_octets: int = _queue(
        "memory_octets",
        "Content of messages just accepted that is kept in memory until it is sent.",
        ge=0,
        le=68_719_476_736,
    )
    memory_messages: int = _queue(
        "memory_messages", "How many such messages there may be.", ge=0, le=10_000_000
    )


class RetrySection(Section):
    """When mail that could not be sent is tried again, and when it is given up."""

    first_seconds: float = _retry(
        "first_seconds", "From the first attempt to the second.", ge=1, le=86_400
    )
    factor: float = _retry(
        "factor", "How much longer each step is than the one before.", ge=1, le=100
    )
    longest_seconds: float = _retry(
        "longest_seconds", "No step is longer than this; it repeats.", ge=1, le=604_800
    )
    lifetime_seconds: float = _retry(
        "lifetime_seconds",
        "The age at which a message goes back to its sender, after a fair number of attempts.",
        ge=0,
        le=31_536_000,
        extra=Extra(rfc="RFC 5321 s4.5.4.1"),
    )
    jitter: float = _retry(
        "jitter",
        """Each step is longer or shorter by up to this share of it, so that messages that failed
        together do not come back together.""",
        ge=0,
        le=0.9,
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
