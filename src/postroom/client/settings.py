"""The settings of all that is sent: the client, its time limits, and DNS."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

from postroom.client.model import TLSMode
from postroom.settings.declaring import setting, table
from postroom.settings.values import (
    Address,
    Addresses,
    DomainName,
    FilePath,
    Networks,
    Parsed,
    parse_address,
)
from postroom.wire.folding import SHORTEST_LIMIT
from postroom.wire.ports import SMTP_PORT

_DNS_SERVER: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?")


def parse_dns_server(text: str) -> tuple[str, int]:
    """Parse the address of a DNS server, with its port if that is not 53.

    Raises:
        ValueError: not an IP address, or not a port.
    """
    match = _DNS_SERVER.fullmatch(text)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    number = 53 if port is None else int(port)
    if not 0 < number < 65_536:
        raise ValueError("not a port")
    return parse_address(host), number


def check_line_limit(octets: int) -> int:
    """Check a limit of the length of lines; returns it.

    Raises:
        ValueError: it is not 0, and shorter than any line should have to be.

    RFC 5322 s2.1.1
    """
    if octets != 0 and octets < SHORTEST_LIMIT:
        raise ValueError(f"lines of less than {SHORTEST_LIMIT} octets cannot be asked for")
    return octets


Server = Annotated[
    tuple[str, int],
    Parsed(
        parse_dns_server, 'an IP address such as "192.0.2.53", "192.0.2.53:5353" or "[::1]:5353"'
    ),
]
LineOctets = Annotated[
    int, Parsed(check_line_limit, f"0, or a whole number from {SHORTEST_LIMIT}", int)
]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a remote server may take. RFC 5321 asks for no less than the defaults."""

    connect_seconds: float = setting(30, "Until the TCP connection stands.", above=0, most=86_400)
    greeting_seconds: float = setting(
        300, "Until 220.", above=0, most=86_400, rfc="RFC 5321 s4.5.3.2.1"
    )
    handshake_seconds: float = setting(60, "For the TLS handshake.", above=0, most=86_400)
    command_seconds: float = setting(
        300,
        "For every command but DATA.",
        above=0,
        most=86_400,
        rfc="RFC 5321 s4.5.3.2.2, s4.5.3.2.3",
    )
    data_seconds: float = setting(
        120, "From DATA to 354.", above=0, most=86_400, rfc="RFC 5321 s4.5.3.2.4"
    )
    content_seconds: float = setting(
        180,
        "For each piece of content, of at most 256 KiB, to be sent.",
        above=0,
        most=86_400,
        rfc="RFC 5321 s4.5.3.2.5",
    )
    final_dot_seconds: float = setting(
        600,
        "From the end of the content to its reply. Less than 600 makes duplicates.",
        above=0,
        most=86_400,
        rfc="RFC 5321 s4.5.3.2.6",
    )
    idle_seconds: float = setting(
        5, "How long a connection without work is kept for the next message.", above=0, most=86_400
    )


@dataclass(frozen=True, slots=True)
class ForeignExtension:
    """An extension that a plugin has brought (`postroom.interfaces.IExtension`).

    Attributes:
        keyword: that a host must offer to be told its parameters.
        needed: says whether a message with these parameters must not go to another host.
    """

    keyword: str
    needed: Callable[[Mapping[str, str | None]], bool]


class Chunking(Enum):
    """When content goes by BDAT. Binary content always does, for it cannot go otherwise."""

    BINARY = "binary"
    LARGE = "large"
    """When it comes in several pieces, of 256 KiB each: each is answered, and no dot is stuffed."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How mail is sent to other servers.

    Attributes:
        hostname: our name in EHLO, a domain name or an address literal in brackets. An MX of this
            name is ourselves.
        extensions: parameters of MAIL and RCPT that plugins have brought, keyword to extension.
    """

    hostname: str
    own_names: frozenset[DomainName] = setting(
        frozenset(),
        """Other names of this server. MX records that name one of them are left out, and so
        are those less preferred, or mail would loop.""",
        example=["mail.example.org"],
        rfc="RFC 5321 s5.1",
    )
    own_addresses: frozenset[Address] = setting(
        frozenset(),
        "Public IP addresses by which an MX record may mean this server.",
        example=["192.0.2.25"],
    )
    tls: TLSMode = setting(
        TLSMode.OPPORTUNISTIC,
        """For hosts found by MX records: "opportunistic" uses STARTTLS where it is offered and
        accepts any certificate, "required" wants a valid one, "never" sends in clear text.""",
        rfc="RFC 3207 s4",
    )
    ca_file: FilePath | None = setting(
        None,
        "Certificates (PEM) that are trusted instead of the system's.",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    timeouts: Timeouts = table(Timeouts)
    allowed_networks: Networks = setting(
        (),
        """Loopback, private and other special networks that MX records may point into. Others of
        that kind are passed over, for a stranger's DNS must not reach servers inside.""",
        example=["10.0.0.0/8"],
    )
    source_addresses: Addresses = setting(
        (),
        """At most one IPv4 and one IPv6 address to send from. The system chooses for a family that
        has none here.""",
        example=["192.0.2.25"],
    )
    port: int = setting(SMTP_PORT, "The port of hosts found by MX records.", within=(1, 65_535))
    connections: int = setting(500, "Outgoing connections in all.", within=(1, 100_000))
    connections_per_destination: int = setting(
        20, "Connections to one destination: a domain, or a relay host.", within=(1, 10_000)
    )
    messages_per_connection: int = setting(
        100, "Messages after which a connection ends.", within=(1, 1_000_000)
    )
    recipients_per_transaction: int = setting(
        100,
        "Recipients sent at once. More follow in further transactions of the same connection.",
        within=(1, 100_000),
        rfc="RFC 5321 s4.5.3.1.8",
    )
    hosts_per_domain: int = setting(
        10, "How many hosts of a domain's MX records are looked at.", within=(1, 1000)
    )
    addresses_per_host: int = setting(
        5, "How many addresses of each host are tried.", within=(1, 1000)
    )
    tries: int = setting(
        10, "Addresses tried in all before a message waits for its next attempt.", within=(1, 1000)
    )
    dead_host_seconds: float = setting(
        60, "How long a host that did not answer is passed over.", within=(0, 86_400)
    )
    chunking: Chunking = setting(
        Chunking.LARGE,
        """When content goes by BDAT to hosts that offer it: "binary" only where it cannot go
        otherwise, "large" also when it is longer than 256 KiB, "always" whenever it can.""",
        rfc="RFC 3030 s2",
    )
    prdr: bool = setting(
        True,
        """Ask hosts that offer PRDR for a reply for each recipient after the content, so that one
        of them can refuse it alone.""",
    )
    eight_bit_anyway: bool = setting(
        True,
        """Send 8-bit content as it is to hosts that do not offer 8BITMIME: nearly all take it. RFC
        6152 forbids that; with false such a message is returned to its sender. It is never
        converted, since that breaks signatures.""",
        rfc="RFC 6152 s3",
    )
    text_line_octets: LineOctets = setting(
        0,
        """The longest line of text that is sent, its CRLF not counted. 0 sends lines of any length
        as they are, which nearly all hosts take. For hosts that refuse them, set 998: what is
        longer then goes on in a line that begins with a blank, never within a character of UTF-8,
        and signatures of such a message break. Binary content is never changed.""",
        most=1_000_000,
        rfc="RFC 5321 s4.5.3.1.6",
    )
    extensions: Mapping[str, ForeignExtension] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what would make every message fail."""
        check_line_limit(self.text_line_octets)


@dataclass(frozen=True, slots=True)
class DNSSettings:
    """How names are looked up for sending."""

    servers: Sequence[Server] = setting(
        (),
        "Recursive DNS servers. Without one those of /etc/resolv.conf are asked.",
        example=["192.0.2.53", "[2001:db8::53]:5353"],
        shown_default="those of the system",
    )
    timeout_seconds: float = setting(
        3, "How long a server may take for each answer.", above=0, most=60
    )
    rounds: int = setting(
        2, "How often all servers are asked in turn before a look-up fails.", within=(1, 100)
    )
    cache_entries: int = setting(10_000, "How many answers are kept.", within=(0, 10_000_000))
    longest_ttl_seconds: float = setting(
        3600, "How long an answer is kept at most.", within=(0, 604_800)
    )
    longest_negative_ttl_seconds: float = setting(
        300, 'How long "there is none" is kept at most.', within=(0, 604_800), rfc="RFC 2308 s5"
    )
    hosts_file: FilePath | None = setting(
        Path("/etc/hosts"), "Addresses that are known without DNS, in the form of /etc/hosts."
    )
