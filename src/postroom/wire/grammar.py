"""Parses a line to a command; whether the command is legal now is decided elsewhere.

`parse_command` turns a line into one frozen value per verb, or raises `SyntaxViolation` with the
reply that names what was wrong. Verbs are looked up in a table; nothing that a peer sends ever
becomes an attribute name.

A command that breaks the grammar in a way that `Syntax.tolerate` lists is parsed as its sender
meant it (`postroom.wire.tolerance`). The grammar itself comes first: only a line that it does not
match is looked at again.

A line is printable ASCII. Where SMTPUTF8 is offered and asked for, the addresses and parameters of
MAIL, RCPT, VRFY and EXPN may hold UTF-8 as well (`_parse_utf8`); no other command ever does.

Who controls the input: the peer, every octet. The line comes without its CRLF and its length is
already bounded by the framing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from postroom.wire import verbs
from postroom.wire.commands import (
    XCLIENT_ATTRIBUTES,
    XFORWARD_ATTRIBUTES,
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Hello,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    Starttls,
    Vrfy,
    Xclient,
    Xforward,
)
from postroom.wire.errors import SyntaxViolation
from postroom.wire.parameters import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    Parameter,
    parse_parameters,
)
from postroom.wire.paths import (
    DOMAIN,
    DOMAIN_OCTETS,
    TOLERATED_DOMAIN,
    PathError,
    check_utf8,
    is_host_name,
    parse_path,
)
from postroom.wire.replies import Reply, reply
from postroom.wire.tolerance import ALL, Tolerance, Tolerances
from postroom.wire.xtext import decode_xtext

UNKNOWN_VERB: Final = reply(500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED: Final = reply(502, "5.5.1", "Command not implemented")
NOT_PRINTABLE: Final = reply(500, "5.5.2", "Control or 8-bit character in the command")
_ARGUMENT_NOT_PRINTABLE: Final = reply(501, "5.5.2", "Control or 8-bit character in the argument")
NEEDS_SMTPUTF8: Final = reply(553, "5.6.7", "Addresses beyond ASCII need SMTPUTF8")

# A browser that was lured here: whatever follows is not meant as SMTP, whoever wrote it.
_HTTP_METHODS: Final = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())
BAD_CHUNK: Final = reply(501, "5.5.4", "Syntax: BDAT octets [LAST]")
NOT_HTTP: Final = reply(421, "4.7.0", "This is SMTP, not HTTP, closing connection")

# Keyword = Ldh-str;  sasl-mech = 1*20mech-char                     RFC 4422 s3.1
_MECHANISM = re.compile(rb"[A-Za-z0-9\-_]{1,20}")
# "FROM:" and "TO:" are matched without regard to case; a path holds no ">" but in quotes.
_BRACKETS = rb"<(?:[^\">]|\"(?:[^\"\\]|\\.)*\")*>"
_MAIL_ARGUMENT = re.compile(rb"FROM:(" + _BRACKETS + rb")(?: +(.*))?", re.I | re.S)
_RCPT_ARGUMENT = re.compile(rb"TO:(" + _BRACKETS + rb")(?: +(.*))?", re.I | re.S)
# The same with the blanks and without the brackets that may be tolerated. A path without brackets
# ends at the first blank outside quotes; its parts cannot begin alike, so the match is linear.
_NO_BRACKETS = rb"(?:[^\"<> ]|\"(?:[^\"\\]|\\.)*\")+"
_ANY_PATH = rb" *: *(" + _BRACKETS + rb"|" + _NO_BRACKETS + rb")(?: +(.*))?"
ANY_MAIL_ARGUMENT: Final = re.compile(rb" *FROM" + _ANY_PATH, re.I | re.S)
ANY_RCPT_ARGUMENT: Final = re.compile(rb" *TO" + _ANY_PATH, re.I | re.S)
_NO_BLANKS = re.compile(rb"[A-Z]+:[^ ]", re.I)
_SECOND_PATH = re.compile(rb"(?:^|.* )[^ =]*<", re.S)
_TAB = re.compile(rb"\"(?:[^\"\\]|\\.)*\"|\t", re.S)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
_GREETINGS: Final = frozenset((verbs.CMD_EHLO, verbs.CMD_HELO, verbs.CMD_LHLO))
_BLANKS_OR_ODD: Final = (Tolerance.BLANKS, Tolerance.ODD_GREETING)
_MAY_BE_UTF8: Final = frozenset(("MAIL", "RCPT", "VRFY", "EXPN"))
# bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ]; chunk-size = 1*DIGIT; end-marker = "LAST"
#                                                                    RFC 3030 s2
BDAT_ARGUMENT: Final = re.compile(rb"([0-9]{1,20})(?: (LAST))?", re.I)
# "ETRN <option character><node name>"; option is "@", "#" or nothing  RFC 1985 s5
_QUEUE_NAME = re.compile(rb"[\x21-\x7e]{1,255}")
# attribute-name=attribute-value, the value in xtext
_ATTRIBUTE = re.compile(rb"([A-Za-z]{1,32})=([\x21-\x3c\x3e-\x7e]{1,255})")


@dataclass(frozen=True, slots=True)
class Syntax:
    """Which extensions and deviations a session accepts in commands.

    Attributes:
        offered: the extensions that EHLO offered to this peer, keyword to arguments.
        tolerate: what commands may deviate in.
        utf8: True while a transaction is open whose MAIL asked for SMTPUTF8.
        mail_parameters: the parameters of MAIL that are known here.
        rcpt_parameters: those of RCPT.
    """

    offered: Mapping[str, str]
    tolerate: Tolerances = ALL
    utf8: bool = False
    mail_parameters: Mapping[str, Parameter[Any]] = field(default_factory=lambda: MAIL_PARAMETERS)
    rcpt_parameters: Mapping[str, Parameter[Any]] = field(default_factory=lambda: RCPT_PARAMETERS)


def parse_command(line: bytes, syntax: Syntax) -> Command:
    """Parse one command line.

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
    if parser is None or _PRINTABLE.fullmatch(argument) is None:
        respaced = _without_tabs(line, syntax)
        if respaced != line:
            return parse_command(respaced, syntax)
        if parser is None:
            raise SyntaxViolation(_unknown_verb(verb, line))
        if not (verb in _GREETINGS and Tolerance.ODD_GREETING in syntax.tolerate):
            _check_utf8(verb, argument, syntax)
    return parser(argument.rstrip(b" "), syntax)


def _unknown_verb(verb: str, line: bytes) -> Reply:
    """Return the reply to a line whose first word is no verb of ours."""
    if verb in _HTTP_METHODS:
        return NOT_HTTP
    if _PRINTABLE.fullmatch(line) is None:
        return NOT_PRINTABLE
    return NOT_IMPLEMENTED if verb in _UNIMPLEMENTED else UNKNOWN_VERB


def _without_tabs(line: bytes, syntax: Syntax) -> bytes:
    """Return a line with blanks for its tabs, where they may stand for blanks.

    Tabs in quotes stay, and so do those within the argument of a greeting.
    """
    if b"\t" not in line or Tolerance.BLANKS not in syntax.tolerate:
        return line
    words = line.split(None, 1)
    if words and words[0].decode("ascii", "replace").upper() in _GREETINGS:
        return b" ".join(words).strip(b" \t") if line[:1] not in b" \t" else line
    return _TAB.sub(lambda found: b" " if found[0] == b"\t" else found[0], line)


def _check_utf8(verb: str, argument: bytes, syntax: Syntax) -> None:
    """Check that an argument beyond printable ASCII is one that SMTPUTF8 allows.

    RFC 6531 s3.4, s3.5, s3.7.4.2
    """
    if verb == "RCPT":
        asked = syntax.utf8
    elif verb == "MAIL":
        asked = b"SMTPUTF8" in argument[argument.rfind(b">") + 1 :].upper().split(b" ")
    else:
        asked = _question_in_utf8(argument.rstrip(b" "))
    if verb not in _MAY_BE_UTF8 or not asked or "SMTPUTF8" not in syntax.offered:
        raise SyntaxViolation(_unprintable(verb, argument))
    try:
        check_utf8(argument)
    except PathError as error:
        raise _bad(501, "5.5.2", f"Bad argument: {error}") from None


def _unprintable(verb: str, argument: bytes) -> Reply:
    """An 8-bit address is one thing, a control character or an 8-bit parameter another."""
    if verb in _MAY_BE_UTF8 and not any(octet < 0x20 or octet == 0x7F for octet in argument):
        has_path = verb in ("MAIL", "RCPT")
        path = argument[: argument.rfind(b">") + 1] if has_path else argument
        if not path.isascii():
            return NEEDS_SMTPUTF8
    return _ARGUMENT_NOT_PRINTABLE


def _bad(code: int, enhanced: str, text: str) -> SyntaxViolation:
    return SyntaxViolation(reply(code, enhanced, text))


def _greeting_domain(argument: bytes, verb: str, syntax: Syntax) -> bytes:
    """Ehlo = "EHLO" SP ( Domain / address-literal ) CRLF. RFC 5321 s4.1.1.1."""
    if argument[:1] == b" " and not syntax.tolerate.isdisjoint(_BLANKS_OR_ODD):
        argument = argument.lstrip(b" ")
    if not argument:
        raise _bad(501, "5.5.4", f"{verb} needs a domain or an address literal")
    if len(argument) > DOMAIN_OCTETS:
        raise _bad(501, "5.5.4", f"{verb} argument longer than {DOMAIN_OCTETS} octets")
    if not is_host_name(argument):
        if Tolerance.ODD_GREETING not in syntax.tolerate:
            text = f"{verb} argument is neither a domain nor an address literal"
            raise _bad(501, "5.5.4", text)
        if _CONTROL.search(argument) is not None:
            raise SyntaxViolation(_ARGUMENT_NOT_PRINTABLE)
    return argument


def _hello(command: type[Hello]) -> Callable[[bytes, Syntax], Hello]:
    def parse(argument: bytes, syntax: Syntax) -> Hello:
        return command(_greeting_domain(argument, command.verb, syntax))

    return parse


def _mail(argument: bytes, syntax: Syntax) -> Mail:
    """Mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF. RFC 5321 s4.1.1.2.

    Whether a sender may do without a domain depends on who it is: the session decides.
    """
    match = _MAIL_ARGUMENT.fullmatch(argument)
    if match is not None:
        path, rest = match.groups()
    else:
        path, rest = _unusual_path(ANY_MAIL_ARGUMENT, argument, "MAIL FROM:<reverse-path>", syntax)
    try:
        reverse_path = parse_path(path, syntax.tolerate)
    except PathError as error:
        raise _bad(501, "5.1.7", f"Bad sender address: {error}") from None
    parameters = _parameters(rest, syntax.mail_parameters, syntax)
    if "HOLDFOR" in parameters and "HOLDUNTIL" in parameters:  # RFC 4865 s4
        raise _bad(501, "5.5.4", "HOLDFOR and HOLDUNTIL exclude each other")
    return Mail(reverse_path, parameters)


def _rcpt(argument: bytes, syntax: Syntax) -> Rcpt:
    """Rcpt = "RCPT TO:" ( "<Postmaster>" / Forward-path ) [SP parameters]. RFC 5321 s4.1.1.3."""
    match = _RCPT_ARGUMENT.fullmatch(argument)
    if match is not None:
        path, rest = match.groups()
    else:
        path, rest = _unusual_path(ANY_RCPT_ARGUMENT, argument, "RCPT TO:<forward-path>", syntax)
    try:
        forward_path = parse_path(path, syntax.tolerate, postmaster=True)
    except PathError as error:
        raise _bad(501, "5.1.3", f"Bad recipient address: {error}") from None
    if forward_path is None:
        raise _bad(501, "5.1.3", "Bad recipient address: the null path is only for MAIL")
    return Rcpt(forward_path, _parameters(rest, syntax.rcpt_parameters, syntax))


def _unusual_path(
    pattern: re.Pattern[bytes], argument: bytes, form: str, syntax: Syntax
) -> tuple[bytes, bytes | None]:
    """Split an argument that the grammar does not match into path and parameters.

    Raises:
        SyntaxViolation: 501 it cannot be read in one way alone, or deviates in what is not
            tolerated.
    """
    match = pattern.fullmatch(argument)
    if match is None:
        raise _bad(501, "5.5.4", f"Syntax: {form}")
    path, rest = match.groups()
    if _NO_BLANKS.match(argument) is None and Tolerance.BLANKS not in syntax.tolerate:
        raise _bad(501, "5.5.4", f"Syntax: {form}, without blanks around the colon")
    if path[:1] == b"<":
        return path, rest
    if Tolerance.MISSING_BRACKETS not in syntax.tolerate:
        raise _bad(501, "5.5.4", f"Syntax: {form}, with the brackets")
    if _is_parameter(path, syntax) or (rest is not None and _SECOND_PATH.match(rest) is not None):
        raise _bad(501, "5.5.4", f"Syntax: {form}")
    return b"<" + path + b">", rest


def _is_parameter(word: bytes, syntax: Syntax) -> bool:
    """Return whether a word without brackets is a parameter behind a path that is missing."""
    keyword, equals, _ = word.partition(b"=")
    known = keyword.decode("ascii", "replace").upper()
    is_keyword = known in syntax.mail_parameters or known in syntax.rcpt_parameters
    return b"@" not in word and (bool(equals) or is_keyword)


def _parameters(
    rest: bytes | None, known: Mapping[str, Parameter[Any]], syntax: Syntax
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


def _question(command: type[Vrfy] | type[Expn]) -> Callable[[bytes, Syntax], Command]:
    """VRFY and EXPN: a string, and perhaps SMTPUTF8. RFC 5321 s4.1.1; RFC 6531 s3.7.4.2."""

    def parse(argument: bytes, syntax: Syntax) -> Command:
        utf8 = "SMTPUTF8" in syntax.offered and _question_in_utf8(argument)
        text = argument[: -len(b"SMTPUTF8")].rstrip(b" ") if utf8 else argument
        if not text:
            raise _bad(501, "5.5.4", f"{command.verb} needs a name or a mailbox")
        return command(text, utf8)

    return parse


def _question_in_utf8(argument: bytes) -> bool:
    """Return whether the last word asks for SMTPUTF8; before it stands a name of any words."""
    name, _, last = argument.rpartition(b" ")
    return bool(name) and last.upper() == b"SMTPUTF8"


def _bdat(argument: bytes, _: Syntax) -> Bdat:
    """bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ]. RFC 3030 s2."""
    match = BDAT_ARGUMENT.fullmatch(argument)
    if match is None:
        raise SyntaxViolation(BAD_CHUNK)
    return Bdat(int(match[1]), match[2] is not None)


def _etrn(argument: bytes, syntax: Syntax) -> Etrn:
    """ETRN with a domain, "@" and a domain, or "#" and a queue's name. RFC 1985 s5."""
    option = argument[:1] if argument[:1] in (b"@", b"#") else b""
    node = argument[len(option) :]
    well_formed = DOMAIN
    if option == b"#":
        well_formed = _QUEUE_NAME
    elif Tolerance.DOMAIN_CHARACTERS in syntax.tolerate:
        well_formed = TOLERATED_DOMAIN
    if option != b"#" and Tolerance.TRAILING_DOT in syntax.tolerate:
        node = node.removesuffix(b".")
    if well_formed.fullmatch(node) is None or len(node) > DOMAIN_OCTETS:
        raise _bad(501, "5.5.4", "Syntax: ETRN domain, @domain or #queue")
    return Etrn(node, option)


def _trusted(
    command: type[Xclient] | type[Xforward], known: tuple[str, ...]
) -> Callable[[bytes, Syntax], Command]:
    """XCLIENT and XFORWARD: attributes, each a name, "=", and a value in xtext."""

    def parse(argument: bytes, syntax: Syntax) -> Command:
        attributes: dict[str, bytes] = {}
        for word in argument.split(b" "):
            match = _ATTRIBUTE.fullmatch(word)
            name = match[1].decode("ascii").upper() if match is not None else ""
            if match is None or name not in known or name in attributes:
                raise _bad(501, "5.5.4", f"Bad {command.verb} attribute {_shown(word)}")
            try:
                value = decode_xtext(match[2].decode("ascii"))
            except ValueError:
                value = b"\0"
            odd = name == "HELO" and Tolerance.ODD_GREETING in syntax.tolerate
            fits = _CONTROL.search(value) is None if odd else _PRINTABLE.fullmatch(value)
            if not fits:
                raise _bad(501, "5.5.4", f"Bad {command.verb} value {_shown(word)}")
            attributes[name] = value
        return command(attributes)

    return parse


def _shown(octets: bytes) -> str:
    return octets[:60].decode("ascii", "replace") or "(none)"


def _auth(argument: bytes, syntax: Syntax) -> Auth:
    """AUTH mechanism [initial-response]. RFC 4954 s4."""
    words = argument.split() if Tolerance.BLANKS in syntax.tolerate else argument.split(b" ")
    if not words or not words[0]:
        raise _bad(501, "5.5.4", "AUTH needs a mechanism")
    if len(words) > 2:
        raise _bad(501, "5.5.4", "AUTH takes a mechanism and one initial response")
    if _MECHANISM.fullmatch(words[0]) is None:
        raise _bad(501, "5.5.4", "Malformed AUTH mechanism name")
    initial = words[1] if len(words) == 2 else None
    return Auth(words[0].decode("ascii").upper(), initial)


_PARSERS: Final[dict[str, Callable[[bytes, Syntax], Command]]] = {
    verbs.CMD_EHLO: _hello(Ehlo),
    verbs.CMD_HELO: _hello(Helo),
    verbs.CMD_LHLO: _hello(Lhlo),
    verbs.CMD_MAIL: _mail,
    verbs.CMD_RCPT: _rcpt,
    verbs.CMD_DATA: _bare(Data),
    verbs.CMD_BDAT: _bdat,
    verbs.CMD_RSET: _bare(Rset),
    verbs.CMD_NOOP: _noop,
    verbs.CMD_QUIT: _bare(Quit),
    verbs.CMD_VRFY: _question(Vrfy),
    verbs.CMD_EXPN: _question(Expn),
    verbs.CMD_HELP: _help,
    verbs.CMD_ETRN: _etrn,
    verbs.CMD_AUTH: _auth,
    verbs.CMD_STARTTLS: _bare(Starttls),
    verbs.CMD_XCLIENT: _trusted(Xclient, XCLIENT_ATTRIBUTES),
    verbs.CMD_XFORWARD: _trusted(Xforward, XFORWARD_ATTRIBUTES),
}

VERBS: Final = tuple(_PARSERS)
"""Every verb that is understood."""

_UNIMPLEMENTED: Final = frozenset(verbs.SMTP_COMMANDS).difference(VERBS)
