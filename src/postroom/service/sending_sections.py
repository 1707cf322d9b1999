"""The tables of the settings that say how mail goes out: client, DNS, queue, retries."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from postroom.client.model import TLSMode
from postroom.client.settings import (
    Chunking,
    ClientSettings,
    DNSSettings,
    Timeouts,
    check_line_limit,
)
from postroom.queue.schedule import Schedule
from postroom.queue.settings import RelaySettings
from postroom.service.declarations import (
    AbsolutePath,
    Addresses,
    Allowed,
    DNSServers,
    DomainNames,
    Extra,
    Networks,
    Section,
    setting,
)
from postroom.service.sections import default_of
from postroom.wire.folding import SHORTEST_LIMIT

_LINE_WORDS: Final = Allowed(f"0, or a whole number from {SHORTEST_LIMIT}")
LineOctets = Annotated[int, AfterValidator(check_line_limit), _LINE_WORDS]


def _client(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(default_of(ClientSettings, name), paragraph, extra=extra, **constraints)


def _timeout(name: str, paragraph: str, section: str | None = None) -> Any:
    extra = Extra(rfc=f"RFC 5321 {section}") if section else None
    return setting(default_of(Timeouts, name), paragraph, extra=extra, gt=0, le=86_400)


def _dns(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(default_of(DNSSettings, name), paragraph, extra=extra, **constraints)


def _queue(name: str, paragraph: str, **constraints: Any) -> Any:
    return setting(default_of(RelaySettings, name), paragraph, **constraints)


def _retry(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(default_of(Schedule, name), paragraph, extra=extra, **constraints)


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
    chunking: Chunking = _client(
        "chunking",
        """When content goes by BDAT to hosts that offer it: "binary" only where it cannot go
        otherwise, "large" also when it is longer than 256 KiB, "always" whenever it can.""",
        extra=Extra(rfc="RFC 3030 s2"),
    )
    prdr: bool = _client(
        "prdr",
        """Ask hosts that offer PRDR for a reply for each recipient after the content, so that one
        of them can refuse it alone.""",
    )
    eight_bit_anyway: bool = _client(
        "eight_bit_anyway",
        """Send 8-bit content as it is to hosts that do not offer 8BITMIME: nearly all take it. RFC
        6152 forbids that; with false such a message goes back to its sender. It is never
        converted, since that breaks signatures.""",
        extra=Extra(rfc="RFC 6152 s3"),
    )
    text_line_octets: LineOctets = _client(
        "text_line_octets",
        """The longest line of text that is sent, its CRLF not counted; 0 sends lines of any length
        as they are, which nearly all hosts take. For hosts that refuse them, set 998: what is
        longer then goes on in a line that begins with a blank, never within a character of UTF-8,
        and signatures of such a message break. Binary content is never changed.""",
        le=1_000_000,
        extra=Extra(rfc="RFC 5321 s4.5.3.1.6"),
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
    delay_report_seconds: float = _queue(
        "delay_report_seconds",
        """The age at which the sender of a message is told, once for each recipient, that it is
        delayed, unless NOTIFY forbids it; 0 for never.""",
        ge=0,
        le=31_536_000,
    )
    reports_per_sender_hour: int = _queue(
        "reports_per_sender_hour",
        """How many reports one address gets in an hour. Reports of failure beyond them come later,
        all others never.""",
        ge=1,
        le=1_000_000,
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
