"""The server's settings: the limits of sessions, and what a listener offers.

Times run on the reactor's clock.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from postroom.settings.declaring import setting
from postroom.settings.values import LOOPBACK, Addresses, DomainName, Networks, Parsed
from postroom.wire.tolerance import ALL, Tolerances
from postroom.wire.values import read_solicitations

_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*")
_MECHANISM: Final = re.compile(r"[A-Z0-9_-]{1,20}")


def parse_keyword(text: str) -> str:
    """Parse an EHLO keyword; returns it in upper case.

    Raises:
        ValueError: it is none.

    RFC 5321 s4.1.1.1
    """
    if _KEYWORD.fullmatch(text) is None:
        raise ValueError("not an EHLO keyword")
    return text.upper()


def parse_mechanism(text: str) -> str:
    """Parse the name of a SASL mechanism; returns it in upper case.

    Raises:
        ValueError: it is no such name.

    RFC 4422 s3.1
    """
    if _MECHANISM.fullmatch(text.upper()) is None:
        raise ValueError("not a SASL mechanism")
    return text.upper()


def parse_solicitation(text: str) -> str:
    """Parse one solicitation keyword.

    Raises:
        ValueError: it is none.

    RFC 3865 s2
    """
    words = read_solicitations(text)
    if len(words) > 1:
        raise ValueError("more than one keyword")
    return words[0]


Keyword = Annotated[str, Parsed(parse_keyword, 'an EHLO keyword such as "CHUNKING"')]
MechanismName = Annotated[
    str, Parsed(parse_mechanism, 'the name of a SASL mechanism such as "PLAIN" or "SCRAM-SHA-256"')
]
Solicitation = Annotated[str, Parsed(parse_solicitation, 'a keyword such as "net.example:ADV"')]


@dataclass(frozen=True, slots=True)
class Limits:
    """What sessions may use up."""

    command_timeout_seconds: float = setting(
        300,
        """How long a client may take from a reply to its next whole command. Octets that complete
        no command do not extend it. RFC 5321 asks for at least 300.""",
        within=(1, 86_400),
        rfc="RFC 5321 s4.5.3.2.7",
    )
    handshake_timeout_seconds: float = setting(
        30,
        "How long a TLS handshake may take. A client that has not completed it by then is cut off.",
        within=(1, 3600),
    )
    data_timeout_seconds: float = setting(
        180,
        "How long a client may be silent while it sends content.",
        within=(1, 86_400),
        rfc="RFC 5321 s4.5.3.2.5",
    )
    data_minimum_rate: int = setting(
        500,
        """Octets a second that content has to keep up on average, once data_timeout_seconds have
        passed and while more than four fifths of limits.connections are in use. It ends the
        sessions of clients that hold a connection with a trickle. On a calm server a slow line
        may take its time. 0 never ends a session for its rate.""",
        within=(0, 1_000_000_000),
    )
    verdict_timeout_seconds: float = setting(
        300,
        "How long a look-up or a delivery may take before the client gets 451.",
        within=(1, 86_400),
    )
    stress_timeout_seconds: float = setting(
        10,
        """Replaces command_timeout_seconds while more than four fifths of limits.connections are in
        use.""",
        within=(1, 86_400),
    )
    message_octets: int = setting(
        52_428_800,
        "The largest message that is accepted. EHLO offers it as SIZE.",
        within=(65_536, 4_294_967_296),
        option="max-message-size",
        rfc="RFC 1870 s4; RFC 5321 s4.5.3.1.7",
    )
    text_line_octets: int = setting(
        0,
        """The longest line of content, CRLF not counted. 0 accepts lines of any length, as long as
        the message is within message_octets. client.text_line_octets folds them on the way out.""",
        within=(0, 1_000_000_000),
        rfc="RFC 5321 s4.5.3.1.6",
    )
    recipients: int = setting(
        1000,
        """How many recipients a transaction may have; further ones get 452. As many again do so
        without counting as failed commands.""",
        within=(100, 1_000_000),
        rfc="RFC 5321 s4.5.3.1.8",
    )
    errors_before_delay: int = setting(
        10,
        """How many commands may fail since the last accepted message before each further failure
        costs the client a second.""",
        within=(0, 1_000_000),
    )
    errors: int = setting(
        20,
        "Failed commands since the last accepted message after which the session ends with 421.",
        within=(1, 1_000_000),
    )
    idle_commands: int = setting(
        100,
        """Commands between two messages that move no mail (NOOP, RSET, VRFY, EHLO) after which the
        session ends with 421.""",
        within=(1, 1_000_000),
    )
    connections: int = setting(
        10_000,
        """Connections in all, over all listeners; further ones get 421. At start it is lowered to
        what the limit on open files allows.""",
        within=(1, 1_000_000),
    )
    handshakes_per_minute: int = setting(
        600,
        """TLS handshakes with one IPv4 address or one IPv6 /64 in a minute. Beyond them STARTTLS
        gets 454, and a connection that would begin with TLS is closed.""",
        within=(1, 1_000_000),
    )
    connections_per_address: int = setting(
        50,
        "Connections from one IPv4 address or one IPv6 /64; further ones get 421.",
        within=(1, 1_000_000),
    )

    def capped(self, connections: int | None) -> "Limits":
        """Return these limits with at most so many connections; None for no cap."""
        if connections is None or connections >= self.connections:
            return self
        return replace(self, connections=connections)


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What listeners offer, to whom, and how strict they are.

    Attributes:
        role: ``"mx"``, ``"submission"``, which wants TLS and AUTH before MAIL, or ``"lmtp"``, which
            speaks LMTP.
        hostname: our name in the greeting, in EHLO's reply and in trace headers.
        limits: what sessions may use.
        origin_networks: who may leave out the domain in MAIL, besides those who have logged in.
    """

    role: str
    hostname: str
    limits: Limits = Limits()
    mechanisms: Sequence[MechanismName] = setting(
        ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"),
        """SASL mechanisms in the order in which EHLO lists them; an empty list switches logins off.
        There are also OAUTHBEARER, XOAUTH2, EXTERNAL and CRAM-MD5, and those of plugins. One that
        cannot work is not listed: SCRAM-SHA-256 without auth.scram_keys, EXTERNAL without a
        verified certificate of the client, CRAM-MD5 without auth.clear_text_passwords.""",
        key="auth.mechanisms",
        rfc="RFC 4954 s3; RFC 4422 s3.1",
    )
    clear_text_auth_networks: Networks = setting(
        (),
        "Networks that are offered AUTH without TLS: passwords then cross them in clear text.",
        key="auth.clear_text_networks",
        example=["127.0.0.0/8"],
        rfc="RFC 4954 s4",
    )
    tolerate: Tolerances = setting(
        ALL,
        """Deviations from the grammar that are tolerated, by default all. docs/tolerance.rst says
        what each is, who sends it and why it is harmless. An empty list holds every client to the
        letter of the RFCs.""",
        example=["blanks", "missing_brackets"],
        shown_default="all of them",
        rfc="RFC 5321 s4.1.2",
    )
    bare_newline: Literal["normalise", "refuse"] = setting(
        "normalise",
        """What becomes of content in which a CR or an LF stands alone. "normalise" makes CRLF of a
        bare LF and a blank of a bare CR. "refuse" answers 550 after the end of the message. In
        either case only CRLF.CRLF ends a message, so that none can smuggle in a second one.""",
        rfc="RFC 5321 s2.3.8",
    )
    bare_newline_networks: Networks = setting(
        (),
        """Networks of old programs that end their lines with LF alone. From there any LF ends a
        command, and a line with a dot alone ends a message, whichever way it ends. From anywhere
        else a command that ends with a bare LF is refused, and the connection closed.""",
        example=["192.0.2.7"],
        rfc="RFC 5321 s2.3.8",
    )
    origin: DomainName | None = setting(
        None,
        """The domain of addresses that come without one: "RCPT TO:<ann>" means ann in this domain,
        and so does MAIL from those who have logged in and from relay networks.""",
        key="delivery.origin",
        example="example.org",
        shown_default="the first local domain; localhost only if there is no other",
    )
    origin_networks: Networks = ()
    own_addresses: Addresses = setting(
        (),
        """IP addresses of this host by which mail may name it, as in postmaster@[192.0.2.25],
        besides the address that a connection came in on. Such mail goes to delivery.origin. Mail
        for any other address literal is refused, and never relayed.""",
        key="delivery.literal_addresses",
        example=["192.0.2.25"],
        rfc="RFC 5321 s4.1.3",
    )
    unlimited_networks: Networks = setting(
        LOOPBACK,
        """Networks that limits.connections_per_address and limits.handshakes_per_minute do not
        count. All programs of this host come from one address.""",
    )
    binarymime: bool = setting(
        False,
        """Offer BINARYMIME, by which content may hold any octets. Few servers offer it: where the
        next hop does not, such a message is returned to its sender.""",
        rfc="RFC 3030 s3",
    )
    extensions_off: Sequence[Keyword] = setting(
        (),
        """Extensions that EHLO does not offer, and whose commands and parameters are then unknown.
        VRFY and HELP are answered all the same, as RFC 5321 wants it.""",
        example=["CHUNKING", "BINARYMIME"],
        rfc="RFC 5321 s4.1.1.1",
    )
    prdr: bool = setting(
        False,
        """Offer PRDR, by which a client that asks for it gets a reply for each recipient after the
        content. Exim knows it. No RFC does, and RFC 5321 wants keywords to be registered.""",
        rfc="RFC 5321 s2.2.2",
    )
    vrfy: bool = setting(
        False,
        "Let VRFY tell anybody whether a local mailbox exists. Without it VRFY always gets 252.",
        rfc="RFC 5321 s3.5.3, s7.3",
    )
    expn: bool = setting(
        False,
        "Offer EXPN, which tells anybody the addresses behind an alias or a group.",
        rfc="RFC 5321 s3.5.2, s7.3",
    )
    etrn_networks: Networks = setting(
        (),
        "Networks whose hosts may ask with ETRN for the mail that waits for them.",
        example=["192.0.2.25"],
        rfc="RFC 1985 s5",
    )
    xclient_networks: Networks = setting(
        (),
        """Proxies that may say with XCLIENT whose session it is. They can pass for any client, and
        so have the right to relay.""",
        example=["192.0.2.80"],
    )
    xforward_networks: Networks = setting(
        (),
        "Filters that may say with XFORWARD where a message comes from; it goes to the log.",
        example=["192.0.2.81"],
    )
    unwanted_solicitations: Sequence[Solicitation] = setting(
        (),
        """Keywords that EHLO lists after NO-SOLICITING. Mail that declares itself as one of these
        is refused.""",
        example=["net.example:ADV"],
        rfc="RFC 3865 s2",
    )
    hold_seconds: int = setting(
        2_592_000,
        """How long a submitted message may ask to be held before it is sent. 0 offers no
        FUTURERELEASE.""",
        within=(0, 31_557_600),
        rfc="RFC 4865 s3",
    )
    synchronised: bool = setting(
        True,
        """On listeners with the role mx: end the session of a client without a login that talks
        before the greeting, or goes on where the protocol makes it wait for a reply. Mail software
        never does so, and much of what sends spam does.""",
        rfc="RFC 2920 s3.1",
    )
    greeting_delay_seconds: float = setting(
        0,
        """How long a client that session.synchronised concerns has to wait for the greeting. A few
        seconds catch more of those that talk first. What it has sent before its connection was
        accepted counts in any case.""",
        within=(0, 60),
    )
    unsynchronised_networks: Networks = setting(
        (),
        """Networks that neither session.synchronised nor session.greeting_delay_seconds concerns,
        for programs of one's own that do not wait.""",
        example=["192.0.2.0/24"],
    )
