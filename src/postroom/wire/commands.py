"""Commands: one frozen value per verb.

`grammar.parse_command` parses them from lines, `encode.encode` writes them as lines. Parameters are
kept as they came; `parameters` interprets them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from postroom.wire import verbs
from postroom.wire.paths import Mailbox

COMMAND_LINE_OCTETS: Final = 4096
"""The longest command line, CRLF included: 512 and room for extensions (RFC 5321 s4.5.3.1.4)."""

AUTH_LINE_OCTETS: Final = 12_288
"""The longest line of an AUTH command or response (RFC 4954 s4)."""


@dataclass(frozen=True, slots=True)
class Ehlo:
    """EHLO: extended hello. RFC 5321 s4.1.1.1."""

    verb: ClassVar[str] = verbs.CMD_EHLO
    domain: bytes


@dataclass(frozen=True, slots=True)
class Helo:
    """HELO: hello without extensions. RFC 5321 s4.1.1.1."""

    verb: ClassVar[str] = verbs.CMD_HELO
    domain: bytes


@dataclass(frozen=True, slots=True)
class Lhlo:
    """LHLO: the EHLO of LMTP. RFC 2033 s4.1."""

    verb: ClassVar[str] = verbs.CMD_LHLO
    domain: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL: begin a transaction.

    Attributes:
        reverse_path: where failures are reported; None for the null sender ``<>``.
        parameters: keyword in upper case to value as sent.

    RFC 5321 s4.1.1.2; RFC 1870 s6
    """

    verb: ClassVar[str] = verbs.CMD_MAIL
    reverse_path: Mailbox | None
    parameters: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def size_octets(self) -> int:
        """The declared size, 0 if none was declared."""
        return int(self.parameters.get("SIZE") or 0)


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT: one more recipient.

    Attributes:
        forward_path: the mailbox, without any source route.
        parameters: keyword in upper case to value as sent.

    RFC 5321 s4.1.1.3
    """

    verb: ClassVar[str] = verbs.CMD_RCPT
    forward_path: Mailbox
    parameters: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: the content follows. RFC 5321 s4.1.1.4."""

    verb: ClassVar[str] = verbs.CMD_DATA


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT: a chunk of content follows, without a line end of its own.

    Attributes:
        octets: how many follow the command's CRLF.
        last: True if the message ends with them.

    RFC 3030 s2
    """

    verb: ClassVar[str] = verbs.CMD_BDAT
    octets: int
    last: bool = False


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET: forget the transaction. RFC 5321 s4.1.1.5."""

    verb: ClassVar[str] = verbs.CMD_RSET


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP: nothing; an argument is ignored. RFC 5321 s4.1.1.9."""

    verb: ClassVar[str] = verbs.CMD_NOOP


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT: reply 221 and close. RFC 5321 s4.1.1.10."""

    verb: ClassVar[str] = verbs.CMD_QUIT


@dataclass(frozen=True, slots=True)
class Vrfy:
    """VRFY: is there such a user?

    Attributes:
        text: a user name or a mailbox.
        utf8: whether the reply may hold UTF-8, and the text may.

    RFC 5321 s4.1.1.6; RFC 6531 s3.7.4.2
    """

    verb: ClassVar[str] = verbs.CMD_VRFY
    text: bytes
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class Expn:
    """EXPN: who is on this list?

    Attributes:
        text: the list's name or mailbox.
        utf8: whether the reply may hold UTF-8, and the text may.

    RFC 5321 s4.1.1.7; RFC 6531 s3.7.4.2
    """

    verb: ClassVar[str] = verbs.CMD_EXPN
    text: bytes
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class Etrn:
    """ETRN: send what waits for a host that is on line again.

    Attributes:
        option: ``@`` for a domain with its subdomains, ``#`` for a queue's name, or empty.
        node: the domain or name.

    RFC 1985 s5
    """

    verb: ClassVar[str] = verbs.CMD_ETRN
    node: bytes
    option: bytes = b""


@dataclass(frozen=True, slots=True)
class Help:
    """HELP, with a topic or without. RFC 5321 s4.1.1.8."""

    verb: ClassVar[str] = verbs.CMD_HELP
    topic: bytes


@dataclass(frozen=True, slots=True)
class Starttls:
    """STARTTLS: negotiate TLS now. RFC 3207 s4."""

    verb: ClassVar[str] = verbs.CMD_STARTTLS


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH: begin a SASL exchange.

    Attributes:
        mechanism: its name in upper case.
        initial_response: still in base64; None if there was none, ``b"="`` for an empty one.

    RFC 4954 s4
    """

    verb: ClassVar[str] = verbs.CMD_AUTH
    mechanism: str
    initial_response: bytes | None


@dataclass(frozen=True, slots=True)
class Xclient:
    """XCLIENT: a proxy or filter before us tells whose session this really is.

    Attributes:
        attributes: name in upper case to value, xtext undone.
    """

    verb: ClassVar[str] = verbs.CMD_XCLIENT
    attributes: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Xforward:
    """XFORWARD: a filter before us tells where a message came from, for the log.

    Attributes:
        attributes: name in upper case to value, xtext undone.
    """

    verb: ClassVar[str] = verbs.CMD_XFORWARD
    attributes: Mapping[str, bytes]


UNAVAILABLE: Final = b"[UNAVAILABLE]"
"""The value of an attribute of XCLIENT or XFORWARD that is not known."""

TEMPORARILY_UNAVAILABLE: Final = b"[TEMPUNAVAIL]"
"""The same, where asking again later may help."""

XCLIENT_ATTRIBUTES: Final = (
    *("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"),
    *("DESTADDR", "DESTPORT"),
)
XFORWARD_ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")

Hello = Ehlo | Helo | Lhlo
Command = (
    Hello
    | Mail
    | Rcpt
    | Data
    | Bdat
    | Rset
    | Noop
    | Quit
    | Vrfy
    | Expn
    | Help
    | Etrn
    | Starttls
    | Auth
    | Xclient
    | Xforward
)
