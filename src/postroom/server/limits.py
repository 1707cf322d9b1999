"""What a session may use up, and how a listener is set: the server's whole configuration.

Every figure is the default of the setting of the same name. Times run on the reactor's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

from postroom.wire.tolerance import ALL, Tolerances

Network = IPv4Network | IPv6Network

LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of sessions and of the server as a whole.

    Attributes:
        command_timeout_seconds: from a reply until the next *whole* command (RFC 5321 s4.5.3.2.7:
            at least 5 minutes). Octets that complete no command do not extend it.
        handshake_timeout_seconds: for a TLS handshake, from its first octet to its end.
        data_timeout_seconds: silence during content.
        data_minimum_rate: octets a second that content must keep up on average after the first
            `data_timeout_seconds`, while more than four fifths of `connections` are in use; 0 for
            none.
        verdict_timeout_seconds: how long a delivery may take to answer before the peer gets 451.
        stress_timeout_seconds: replaces `command_timeout_seconds` while more than four fifths of
            `connections` are in use.
        message_octets: the largest content; offered as SIZE.
        text_line_octets: the longest line of content, CRLF not counted; 0 for any.
        recipients: in one transaction (RFC 5321 s4.5.3.1.8: at least 100). As many again hear 452
            without its counting as an error.
        errors_before_delay: failed commands since the last message that was taken after which each
            further one costs a second.
        errors: such failed commands after which the session ends with 421.
        idle_commands: commands between two messages that move no mail (NOOP, RSET, VRFY, EHLO …)
            after which the session ends with 421.
        connections: in all, over all listeners.
        handshakes_per_minute: TLS handshakes with one IPv4 address or one IPv6 /64 in a minute.
        connections_per_address: from one IPv4 address or one IPv6 /64.
    """

    command_timeout_seconds: float = 300
    handshake_timeout_seconds: float = 30
    data_timeout_seconds: float = 180
    data_minimum_rate: int = 500
    verdict_timeout_seconds: float = 300
    stress_timeout_seconds: float = 10
    message_octets: int = 52_428_800
    text_line_octets: int = 0
    recipients: int = 1000
    errors_before_delay: int = 10
    errors: int = 20
    idle_commands: int = 100
    connections: int = 10_000
    handshakes_per_minute: int = 600
    connections_per_address: int = 50


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listener.

    Attributes:
        role: ``"mx"``, ``"submission"``, which wants TLS and AUTH before MAIL, or ``"lmtp"``, which
            speaks LMTP.
        hostname: our name in the greeting, in EHLO's reply and in trace headers.
        limits: what sessions may use.
        mechanisms: SASL mechanisms in the order in which EHLO lists them, as far as they can work.
        clear_text_auth_networks: where AUTH is offered without TLS.
        tolerate: what commands and content may deviate in.
        bare_newline: what becomes of a bare CR or LF in content: ``"normalise"`` mends it,
            ``"refuse"`` refuses the message.
        bare_newline_networks: for whom any LF ends a line, of commands and of content.
        origin: the domain of addresses that have none; None refuses them.
        origin_networks: who may leave it out in MAIL, besides those who have logged in.
        own_addresses: IP addresses by which mail may name this host in an address literal, besides
            the one that a connection came in on.
        unlimited_networks: not counted against `Limits.connections_per_address` and
            `Limits.handshakes_per_minute`; this host by default, whose programs all share one
            address.
        binarymime: offer BINARYMIME, whose content few next hops take.
        extensions_off: EHLO keywords that are not offered, in upper case.
        prdr: offer PRDR, which is no registered extension.
        vrfy: let VRFY tell whether a mailbox exists.
        expn: offer EXPN.
        etrn_networks: who may ask for waiting mail with ETRN.
        xclient_networks: proxies that may say who their client is.
        xforward_networks: filters that may say where a message comes from.
        unwanted_solicitations: keywords of RFC 3865 that are offered with NO-SOLICITING; mail that
            declares one is refused.
        hold_seconds: how long a submitted message may ask to be held; 0 offers no FUTURERELEASE.
        synchronised: end the session of a stranger who talks before the greeting, or does not wait
            for a reply where he has to (RFC 2920 s3.1); only for the role ``"mx"``.
        greeting_delay_seconds: how long such a peer has to wait for the greeting.
        unsynchronised_networks: whose hurry is let pass.
    """

    role: str
    hostname: str
    limits: Limits = Limits()
    mechanisms: Sequence[str] = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
    clear_text_auth_networks: Sequence[Network] = ()
    tolerate: Tolerances = ALL
    bare_newline: Literal["normalise", "refuse"] = "normalise"
    bare_newline_networks: Sequence[Network] = ()
    origin: str | None = None
    origin_networks: Sequence[Network] = ()
    own_addresses: Sequence[str] = ()
    unlimited_networks: Sequence[Network] = LOOPBACK
    binarymime: bool = False
    extensions_off: Sequence[str] = ()
    prdr: bool = False
    vrfy: bool = False
    expn: bool = False
    etrn_networks: Sequence[Network] = ()
    xclient_networks: Sequence[Network] = ()
    xforward_networks: Sequence[Network] = ()
    unwanted_solicitations: Sequence[str] = ()
    hold_seconds: int = 2_592_000
    synchronised: bool = True
    greeting_delay_seconds: float = 0
    unsynchronised_networks: Sequence[Network] = ()
