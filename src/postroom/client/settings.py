"""How mail is sent: the client's whole configuration, as plain values.

Every figure is the default of the setting of the same name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from postroom.client.model import TLSMode
from postroom.wire.folding import SHORTEST_LIMIT
from postroom.wire.ports import SMTP_PORT

Network = IPv4Network | IPv6Network
Server = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a remote server may take. RFC 5321 s4.5.3.2 asks for no less than the defaults.

    Attributes:
        connect_seconds: until the TCP connection stands.
        greeting_seconds: until 220.
        handshake_seconds: for the TLS handshake.
        command_seconds: for any command but DATA.
        data_seconds: from DATA to 354.
        content_seconds: for each piece of content, of at most 256 KiB, to be taken.
        final_dot_seconds: from the final dot to its answer. Shorter makes duplicates.
        idle_seconds: how long a connection without work is kept for the next message.
    """

    connect_seconds: float = 30
    greeting_seconds: float = 300
    handshake_seconds: float = 60
    command_seconds: float = 300
    data_seconds: float = 120
    content_seconds: float = 180
    final_dot_seconds: float = 600
    idle_seconds: float = 5


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
    """Settings of everything that is sent.

    Attributes:
        hostname: our name in EHLO, a domain name or an address literal in brackets. An MX of this
            name is ourselves.
        own_names: other names of ours, in lower case, by which an MX may mean us.
        own_addresses: our public IP addresses, by which an MX may mean us.
        tls: for hosts found by MX; a smarthost has its own mode.
        ca_file: certificates in PEM that are trusted instead of the system's; None for the
            system's.
        timeouts: see there.
        allowed_networks: private, loopback and other special networks that an MX may point into.
        source_addresses: at most one IPv4 and one IPv6 address to connect from; the system chooses
            for a family that has none here.
        port: of hosts found by MX.
        connections: in all, over all destinations.
        connections_per_destination: how many messages go to one destination at a time.
        messages_per_connection: after which QUIT is sent.
        recipients_per_transaction: more go in several transactions of one connection
            (RFC 5321 s4.5.3.1.8: every host takes 100).
        hosts_per_domain: how many MX are looked at.
        addresses_per_host: how many addresses of each.
        tries: how many addresses in all one message is tried at before it waits for its retry.
        dead_host_seconds: how long a host that did not answer is passed over.
        chunking: when content goes by BDAT, where that is offered.
        prdr: whether hosts that offer it are asked for a reply for each recipient after the
            content.
        eight_bit_anyway: whether a host that does not offer 8BITMIME gets 8-bit content all the
            same; else such a message is returned.
        text_line_octets: the longest line of text that is sent, CRLF not counted; longer ones are
            folded. 0 sends every line as it is; else at least 78.
        extensions: parameters of MAIL and RCPT that plugins have brought, keyword to extension.
    """

    hostname: str
    own_names: frozenset[str] = frozenset()
    own_addresses: frozenset[str] = frozenset()
    tls: TLSMode = TLSMode.OPPORTUNISTIC
    ca_file: str | None = None
    timeouts: Timeouts = Timeouts()
    allowed_networks: tuple[Network, ...] = ()
    source_addresses: tuple[str, ...] = ()
    port: int = SMTP_PORT
    connections: int = 500
    connections_per_destination: int = 20
    messages_per_connection: int = 100
    recipients_per_transaction: int = 100
    hosts_per_domain: int = 10
    addresses_per_host: int = 5
    tries: int = 10
    dead_host_seconds: float = 60
    chunking: Chunking = Chunking.LARGE
    prdr: bool = True
    eight_bit_anyway: bool = True
    text_line_octets: int = 0
    extensions: Mapping[str, ForeignExtension] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what would make every message fail."""
        check_line_limit(self.text_line_octets)


def check_line_limit(octets: int) -> int:
    """Check a limit of the length of lines; returns it.

    Raises:
        ValueError: it is not 0, and shorter than any line should have to be.

    RFC 5322 s2.1.1
    """
    if octets != 0 and octets < SHORTEST_LIMIT:
        raise ValueError(f"lines of less than {SHORTEST_LIMIT} octets cannot be asked for")
    return octets


@dataclass(frozen=True, slots=True)
class DNSSettings:
    """How DNS is asked.

    Attributes:
        servers: (IP address, port) of recursive resolvers; empty for those of the system.
        timeout_seconds: for each question to each server.
        rounds: how often all servers are asked before we give up for now.
        cache_entries: how many answers are kept.
        longest_ttl_seconds: for which an answer is kept at most.
        longest_negative_ttl_seconds: for which "there is none" is kept at most.
        hosts_file: names that are known without DNS; None for none.
    """

    servers: tuple[Server, ...] = ()
    timeout_seconds: float = 3
    rounds: int = 2
    cache_entries: int = 10_000
    longest_ttl_seconds: float = 3600
    longest_negative_ttl_seconds: float = 300
    hosts_file: str | None = "/etc/hosts"
