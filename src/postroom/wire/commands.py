"""Commands: what a line of the client means, before anyone asks whether it is legal now.

`parse_command` turns a line into one frozen value per verb, or raises `SyntaxViolation` with the
reply that names what was wrong. Verbs are looked up in a table; nothing that a peer sends ever
becomes an attribute name.

Who controls the input: the peer, every octet. The line comes without its CRLF and its length is
already bounded by the framing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from postroom.wire.errors import SyntaxViolation
from postroom.wire.parameters import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    Parameter,
    parse_parameters,
)
from postroom.wire.paths import (
    DOMAIN_OCTETS,
    Mailbox,
    PathError,
    check_literal,
    parse_mailbox,
    parse_path,
)
from postroom.wire.replies import Reply, reply

COMMAND_LINE_OCTETS: Final = 4096
"""The longest command line, CRLF included: 512 and room for extensions (RFC 5321 s4.5.3.1.4)."""

AUTH_LINE_OCTETS: Final = 12_288
"""The longest line of an AUTH command or response (RFC 4954 s4)."""


@dataclass(frozen=True, slots=True)
class Ehlo:
    """EHLO: extended hello. RFC 5321 s4.1.1.1."""

    verb: ClassVar[str] = "EHLO"
    domain: bytes


@dataclass(frozen=True, slots=True)
class Helo:
    """HELO: hello without extensions. RFC 5321 s4.1.1.1."""

    verb: ClassVar[str] = "HELO"
    domain: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL: begin a transaction.

    Attributes:
        reverse_path: where failures are reported; None for the null sender ``<>``.
        parameters: keyword in upper case to value as sent.

    RFC 5321 s4.1.1.2; RFC 1870 s6
    """

    verb: ClassVar[str] = "MAIL"
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
        forward_path: the mailbox, any source route taken off.
        parameters: keyword in upper case to value as sent.

    RFC 5321 s4.1.1.3
    """

    verb: ClassVar[str] = "RCPT"
    forward_path: Mailbox
    parameters: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: the content follows. RFC 5321 s4.1.1.4."""

    verb: ClassVar[str] = "DATA"


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET: forget the transaction. RFC 5321 s4.1.1.5."""

    verb: ClassVar[str] = "RSET"


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP: nothing; an argument is ignored. RFC 5321 s4.1.1.9."""

    verb: ClassVar[str] = "NOOP"


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT: reply 221 and close. RFC 5321 s4.1.1.10."""

    verb: ClassVar[str] = "QUIT"


@dataclass(frozen=True, slots=True)
class Vrfy:
    """VRFY: is there such a user? RFC 5321 s4.1.1.6."""

    verb: ClassVar[str] = "VRFY"
    text: bytes


@dataclass(frozen=True, slots=True)
class Help:
    """HELP, with a topic or without. RFC 5321 s4.1.1.8."""

    verb: ClassVar[str] = "HELP"
    topic: bytes


@dataclass(frozen=True, slots=True)
class Starttls:
    """STARTTLS: negotiate TLS now. RFC 3207 s4."""

    verb: ClassVar[str] = "STARTTLS"


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH: begin a SASL exchange.

    Attributes:
        mechanism: its name in upper case.
        initial_response: still in base64; None if there was none, ``b"="`` for an empty one.

    RFC 4954 s4
    """

    verb: ClassVar[str] = "AUTH"
    mechanism: str
    initial_response: bytes | None


Command = Ehlo | Helo | Mail | Rcpt | Data | Rset | Noop | Quit | Vrfy | Help | Starttls | Auth

UNKNOWN_VERB: Final = reply(500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED: Final = reply(502, "5.5.1", "Command not implemented")
NOT_PRINTABLE: Final = reply(500, "5.5.2", "Control or 8-bit character in the command")
_ARGUMENT_NOT_PRINTABLE: Final = reply(501, "5.5.2", "Control or 8-bit character in the argument")
_NEEDS_SMTPUTF8: Final = reply(553, "5.6.7", "Only ASCII addresses are accepted here")

# Known to RFC 5321 s4.2.4 and its relatives, not to this server.
_UNIMPLEMENTED: Final = frozenset(
    "ATRN BDAT BURL ETRN EXPN LHLO SAML SEND SOML TURN XCLIENT XFORWARD".split()
)

# A browser that was lured here: whatever follows is not meant as SMTP, whoever wrote it.
_HTTP_METHODS: Final = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())
NOT_HTTP: Final = reply(421, "4.7.0", "This is SMTP, not HTTP, closing connection")

# Keyword = Ldh-str;  sasl-mech = 1*20mech-char                     RFC 4422 s3.1
_MECHANISM = re.compile(rb"[A-Za-z0-9\-_]{1,20}")
# The greeting's domain tolerates underscores, which hosts do send; nothing is decided by it.
_GREETING_DOMAIN = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_\-.]*[A-Za-z0-9_])?\.?")
# "FROM:" and "TO:" are matched without regard to case; a path holds no ">" but in quotes.
_FROM = re.compile(rb"FROM:( *)(<(?:[^\">]|\"(?:[^\"\\]|\\.)*\")*>)(?: +(.*))?", re.I | re.S)
_TO = re.compile(rb"TO:( *)(<(?:[^\">]|\"(?:[^\"\\]|\\.)*\")*>)(?: +(.*))?", re.I | re.S)
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Syntax:
    """What a session lets pass, where the standard and the world differ.

    Attributes:
        offered: the extensions that EHLO offered to this peer, keyword to arguments.
        space_after_colon: take ``MAIL FROM: <a@b>``, which RFC 5321 s3.3 forbids by name.
    """

    offered: Mapping[str, str]
    space_after_colon: bool = False


def parse_command(line: bytes, syntax: Syntax) -> Command:
    """Read one command line.

    Args:
        line: the line without CRLF.
        syntax: what this session offers and tolerates.

    Raises:
        SyntaxViolation: with 500, 501, 502, 553 or 555, and an enhanced code.

    RFC 5321 s2.4, s4.1.1, s4.2.4
    """
    word, _, argument = line.partition(b" ")
    verb = word.decode("ascii", "replace").upper()
    parser = _PARSERS.get(verb)
    if parser is None:
        if verb in _HTTP_METHODS:
            raise SyntaxViolation(NOT_HTTP)
        if _PRINTABLE.fullmatch(line) is None:
            raise SyntaxViolation(NOT_PRINTABLE)
        raise SyntaxViolation(NOT_IMPLEMENTED if verb in _UNIMPLEMENTED else UNKNOWN_VERB)
    if _PRINTABLE.fullmatch(argument) is None:
        raise SyntaxViolation(_unprintable(verb, argument))
    return parser(argument.rstrip(b" "), syntax)


def _unprintable(verb: str, argument: bytes) -> Reply:
    """An 8-bit address is one thing, a control character or an 8-bit parameter another."""
    if verb in ("MAIL", "RCPT") and not any(octet < 0x20 or octet == 0x7F for octet in argument):
        path = argument[: argument.rfind(b">") + 1]
        if not path.isascii():
            return _NEEDS_SMTPUTF8
    return _ARGUMENT_NOT_PRINTABLE


def _bad(code: int, enhanced: str, text: str) -> SyntaxViolation:
    return SyntaxViolation(reply(code, enhanced, text))


def _greeting_domain(argument: bytes, verb: str) -> bytes:
    """Ehlo = "EHLO" SP ( Domain / address-literal ) CRLF. RFC 5321 s4.1.1.1."""
    if not argument:
        raise _bad(501, "5.5.4", f"{verb} needs a domain or an address literal")
    if len(argument) > DOMAIN_OCTETS:
        raise _bad(501, "5.5.4", f"{verb} argument longer than {DOMAIN_OCTETS} octets")
    if argument[:1] == b"[" and argument[-1:] == b"]":
        try:
            check_literal(argument)
        except PathError as error:
            raise _bad(501, "5.5.4", str(error)) from None
    elif _GREETING_DOMAIN.fullmatch(argument) is None or b".." in argument:
        raise _bad(501, "5.5.4", f"{verb} argument is neither a domain nor an address literal")
    return argument


def _ehlo(argument: bytes, _: Syntax) -> Ehlo:
    return Ehlo(_greeting_domain(argument, "EHLO"))


def _helo(argument: bytes, _: Syntax) -> Helo:
    return Helo(_greeting_domain(argument, "HELO"))


def _mail(argument: bytes, syntax: Syntax) -> Mail:
    """Mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF. RFC 5321 s4.1.1.2."""
    path, rest = _path_and_rest(_FROM, argument, "MAIL FROM:<reverse-path>", syntax)
    try:
        reverse_path = parse_path(path)
    except PathError as error:
        raise _bad(501, "5.1.7", f"Bad sender address: {error}") from None
    return Mail(reverse_path, _parameters(rest, MAIL_PARAMETERS, syntax))


def _rcpt(argument: bytes, syntax: Syntax) -> Rcpt:
    """Rcpt = "RCPT TO:" ( "<Postmaster>" / Forward-path ) [SP parameters]. RFC 5321 s4.1.1.3."""
    path, rest = _path_and_rest(_TO, argument, "RCPT TO:<forward-path>", syntax)
    if path.lower() == b"<postmaster>":  # without a domain, in any case: RFC 5321 s4.5.1
        forward_path: Mailbox | None = Mailbox(b"postmaster", b"")
    else:
        try:
            forward_path = parse_path(path)
        except PathError as error:
            raise _bad(501, "5.1.3", f"Bad recipient address: {error}") from None
    if forward_path is None:
        raise _bad(501, "5.1.3", "Bad recipient address: the null path is only for MAIL")
    return Rcpt(forward_path, _parameters(rest, RCPT_PARAMETERS, syntax))


def _path_and_rest(
    pattern: re.Pattern[bytes], argument: bytes, form: str, syntax: Syntax
) -> tuple[bytes, bytes | None]:
    match = pattern.fullmatch(argument)
    if match is None:
        raise _bad(501, "5.5.4", f"Syntax: {form}")
    if match[1] and not syntax.space_after_colon:
        raise _bad(501, "5.5.4", f"Syntax: {form}, without a space after the colon")
    return match[2], match[3]


def _parameters(
    rest: bytes | None, known: Mapping[str, Parameter], syntax: Syntax
) -> Mapping[str, str | None]:
    return parse_parameters(rest, known, syntax.offered) if rest else _NO_PARAMETERS


_NO_PARAMETERS: Final[Mapping[str, str | None]] = {}


def _bare(
    command: type[Data] | type[Rset] | type[Quit] | type[Starttls],
) -> Callable[[bytes, Syntax], Command]:
    """A verb that takes no argument: 501 if it has one (RFC 5321 s4.3.2)."""
    value = command()
    refusal = reply(501, "5.5.4", f"{command.verb} takes no argument")

    def parse(argument: bytes, _: Syntax) -> Command:
        if argument:
            raise SyntaxViolation(refusal)
        return value

    return parse


def _noop(_argument: bytes, _: Syntax) -> Noop:
    return Noop()


def _help(argument: bytes, _: Syntax) -> Help:
    return Help(argument)


def _vrfy(argument: bytes, _: Syntax) -> Vrfy:
    if not argument:
        raise _bad(501, "5.5.4", "VRFY needs a user name or a mailbox")
    return Vrfy(argument)


def _auth(argument: bytes, _: Syntax) -> Auth:
    """AUTH mechanism [initial-response]. RFC 4954 s4."""
    words = argument.split(b" ")
    if not words[0]:
        raise _bad(501, "5.5.4", "AUTH needs a mechanism")
    if len(words) > 2:
        raise _bad(501, "5.5.4", "AUTH takes a mechanism and one initial response")
    if _MECHANISM.fullmatch(words[0]) is None:
        raise _bad(501, "5.5.4", "Malformed AUTH mechanism name")
    initial = words[1] if len(words) == 2 else None
    return Auth(words[0].decode("ascii").upper(), initial)


_PARSERS: Final[dict[str, Callable[[bytes, Syntax], Command]]] = {
    "EHLO": _ehlo,
    "HELO": _helo,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _bare(Data),
    "RSET": _bare(Rset),
    "NOOP": _noop,
    "QUIT": _bare(Quit),
    "VRFY": _vrfy,
    "HELP": _help,
    "AUTH": _auth,
    "STARTTLS": _bare(Starttls),
}

VERBS: Final = tuple(_PARSERS)
"""Every verb that the server understands, as HELP lists them."""


def parse_vrfy_mailbox(text: bytes) -> Mailbox | None:
    """Read VRFY's argument as a mailbox, with or without brackets; None if it is a bare name.

    RFC 5321 s3.5.1
    """
    inner = text[1:-1] if text[:1] == b"<" and text[-1:] == b">" else text
    try:
        return parse_mailbox(inner)
    except PathError:
        return None
