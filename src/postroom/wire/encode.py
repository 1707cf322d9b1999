"""Writing: commands and content as the octets that a client sends.

Every command has its function here, or its constant if it takes no argument, and nothing else in
Postroom builds a command line. Whatever is put into one must be printable ASCII, or UTF-8 without
controls where the transaction was begun with SMTPUTF8: a CR, LF, NUL or any other control octet
raises `LocalViolation` before a single octet is sent, so that no address, parameter, name or
password can ever become a second command.

`DotEncoder` and `TextEncoder` do the same for content, chunk by chunk. They never mend: what came
by SMTP was mended on arrival, and this is the last check. A bare CR, a bare LF or a NUL is refused,
because some server could read it as a line end and the rest of the message as commands (SMTP
smuggling). Dots are stuffed last, after whatever else was done to the content.

Who controls the input: addresses and parameters came from a peer and passed its parser; content is
whatever a peer sent. Both are checked here again, for the next hop trusts us, not them.

Lines of any length are sent as they are, since most hosts accept them and folding breaks
signatures; `FoldingEncoder` is for hosts that refuse them.
"""

import base64
import re
from collections.abc import Mapping
from typing import Final

from postroom.wire.commands import (
    AUTH_LINE_OCTETS,
    COMMAND_LINE_OCTETS,
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
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
from postroom.wire.errors import LocalViolation
from postroom.wire.folding import LineFolder
from postroom.wire.line_ends import only_crlf
from postroom.wire.paths import Mailbox, PathError, check_utf8
from postroom.wire.xtext import encode_xtext

DATA: Final = b"DATA\r\n"
RSET: Final = b"RSET\r\n"
NOOP: Final = b"NOOP\r\n"
QUIT: Final = b"QUIT\r\n"
STARTTLS: Final = b"STARTTLS\r\n"

END_OF_DATA: Final = b".\r\n"
"""Ends content whose last line has been ended; alone, it is a message without content."""

_printable = re.compile(rb"[\x20-\x7e]*").fullmatch
# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# esmtp-value   = 1*(%d33-60 / %d62-126)                            RFC 5321 s4.1.2
_keyword = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*").fullmatch
# esmtp-value  =/ UTF8-non-ascii                                     RFC 6531 s3.3
_value = re.compile(r"[\x21-\x3c\x3e-\x7e\x80-\U0010ffff]+").fullmatch
_attribute = re.compile(r"[A-Z]{1,32}").fullmatch
# sasl-mech = 1*20mech-char                                          RFC 4422 s3.1
_mechanism = re.compile(r"[A-Z0-9\-_]{1,20}").fullmatch

_NO_PARAMETERS: Final[Mapping[str, str | None]] = {}


def encode(command: Command, utf8: bool = False) -> bytes:
    """Write any command; the inverse of `postroom.wire.grammar.parse_command`.

    Args:
        command: what to write.
        utf8: whether RCPT may hold UTF-8, since MAIL asked for SMTPUTF8. MAIL, VRFY and EXPN say
            for themselves.

    Raises:
        LocalViolation: it holds something that no command line may hold.

    RFC 5321 s4.1.1, s2.4; RFC 6531 s3.4
    """
    match command:
        case Ehlo() | Helo() | Lhlo():
            line = _argument(command.verb, command.domain)
        case Mail():
            line = mail(command.reverse_path, command.parameters)
        case Rcpt():
            line = rcpt(command.forward_path, command.parameters, utf8)
        case Bdat():
            line = bdat(command.octets, command.last)
        case Vrfy() | Expn():
            text = command.text + b" SMTPUTF8" if command.utf8 else command.text
            line = _argument(command.verb, text, command.utf8)
        case Help():
            line = _argument(command.verb, command.topic) if command.topic else b"HELP\r\n"
        case Etrn():
            line = _argument(command.verb, command.option + command.node)
        case Auth():
            line = auth(command.mechanism, command.initial_response)
        case Xclient() | Xforward():
            line = _attributes(command.verb, command.attributes)
        case Data() | Rset() | Noop() | Quit() | Starttls():
            line = command.verb.encode("ascii") + b"\r\n"
    return line


def ehlo(domain: bytes) -> bytes:
    """Write EHLO.

    Args:
        domain: our name, or our address literal with its brackets.

    Raises:
        LocalViolation: the name is empty or not printable.

    RFC 5321 s4.1.1.1
    """
    return _argument("EHLO", domain)


def helo(domain: bytes) -> bytes:
    """Write HELO, for a host that does not know EHLO.

    Raises:
        LocalViolation: the name is empty or not printable.

    RFC 5321 s4.1.1.1
    """
    return _argument("HELO", domain)


def lhlo(domain: bytes) -> bytes:
    """Write LHLO, the greeting of LMTP.

    Raises:
        LocalViolation: the name is empty or not printable.

    RFC 2033 s4.1
    """
    return _argument("LHLO", domain)


def bdat(octets: int, last: bool = False) -> bytes:
    """Write the command before a chunk; the chunk follows it as it is.

    Raises:
        LocalViolation: the length is negative or has more than 20 digits.

    RFC 3030 s2
    """
    if not 0 <= octets < 10**20:
        raise LocalViolation(f"a chunk cannot have {octets} octets")
    return b"BDAT %d LAST\r\n" % octets if last else b"BDAT %d\r\n" % octets


def mail(
    reverse_path: Mailbox | None, parameters: Mapping[str, str | None] = _NO_PARAMETERS
) -> bytes:
    """Write MAIL.

    Args:
        reverse_path: None for the null sender.
        parameters: keyword to value, None for a keyword without one. Their extensions must have
            been offered; that is the session's affair.

    Raises:
        LocalViolation: the path or a parameter cannot be written.

    RFC 5321 s4.1.1.2, s4.1.1.11; RFC 6531 s3.4
    """
    path = bytes(reverse_path) if reverse_path is not None else b""
    line = b"MAIL FROM:<" + path + b">"
    if not parameters:
        return _line(line)
    return _line(line + _parameters(parameters), utf8="SMTPUTF8" in parameters)


def rcpt(
    forward_path: Mailbox,
    parameters: Mapping[str, str | None] = _NO_PARAMETERS,
    utf8: bool = False,
) -> bytes:
    """Write RCPT.

    Args:
        forward_path: the recipient.
        parameters: as for `mail`.
        utf8: whether MAIL asked for SMTPUTF8.

    Raises:
        LocalViolation: the path or a parameter cannot be written.

    RFC 5321 s4.1.1.3, s4.1.1.11; RFC 6531 s3.4
    """
    line = b"RCPT TO:<" + bytes(forward_path) + b">"
    return _line(line + _parameters(parameters) if parameters else line, utf8=utf8)


def auth(mechanism: str, initial_response: bytes | None = None) -> bytes:
    """Write AUTH.

    Args:
        mechanism: its name in upper case.
        initial_response: already in base64; ``b"="`` for an empty one, None to send none.

    Raises:
        LocalViolation: the mechanism is no name, or the line is longer than 12,288 octets.

    RFC 4954 s4
    """
    if _mechanism(mechanism) is None:
        raise LocalViolation(f"{mechanism!r} is not the name of a SASL mechanism")
    line = b"AUTH " + mechanism.encode("ascii")
    if initial_response is not None:
        line += b" " + initial_response
    return _line(line, AUTH_LINE_OCTETS)


def auth_response(octets: bytes) -> bytes:
    """Write an answer to a 334 challenge, in base64.

    Raises:
        LocalViolation: the line would be longer than 12,288 octets.

    RFC 4954 s4
    """
    return _line(base64.b64encode(octets), AUTH_LINE_OCTETS)


def command_line(verb: str, argument: bytes = b"", utf8: bool = False) -> bytes:
    """Write any command at all, known to Postroom or not.

    Args:
        verb: of letters and digits.
        argument: all that follows the blank behind the verb; empty for a verb alone.
        utf8: whether the argument may hold UTF-8.

    Raises:
        LocalViolation: the verb is no word, or the line is unprintable or longer than 4,096 octets.

    RFC 5321 s2.4, s4.1.1
    """
    if not (verb.isascii() and verb.isalnum()):
        raise LocalViolation(f"{verb!r} is not a verb")
    line = verb.encode("ascii")
    return _line(line + b" " + argument if argument else line, utf8=utf8)


def _argument(verb: str, argument: bytes, utf8: bool = False) -> bytes:
    if not argument:
        raise LocalViolation(f"{verb} needs an argument")
    return command_line(verb, argument, utf8)


def _attributes(verb: str, attributes: Mapping[str, bytes]) -> bytes:
    words = []
    for name, value in attributes.items():
        if _attribute(name) is None or not value or _printable(value) is None:
            raise LocalViolation(f"attribute {name!r}={value!r} cannot be sent")
        words.append(f"{name}={encode_xtext(value)}")
    return _argument(verb, " ".join(words).encode("ascii"))


def _parameters(parameters: Mapping[str, str | None]) -> bytes:
    words = []
    for keyword, value in parameters.items():
        if _keyword(keyword) is None or (value is not None and _value(value) is None):
            raise LocalViolation(f"parameter {keyword!r}={value!r} cannot be sent")
        words.append(f" {keyword}" if value is None else f" {keyword}={value}")
    return "".join(words).encode("utf-8", "surrogatepass")  # which `_line` refuses


def _line(octets: bytes, limit: int = COMMAND_LINE_OCTETS, utf8: bool = False) -> bytes:
    """Check a command line and append CRLF; every command passes here. RFC 5321 s4.5.3.1.4."""
    if _printable(octets) is None and not (utf8 and _is_clean_utf8(octets)):
        raise LocalViolation(f"unprintable octet in a command: {octets[:80]!r}")
    if len(octets) > limit - 2:
        raise LocalViolation(f"command longer than {limit} octets: {octets[:80]!r}")
    return octets + b"\r\n"


def _is_clean_utf8(octets: bytes) -> bool:
    try:
        check_utf8(octets)
    except PathError:
        return False
    return True


class TextEncoder:
    """Passes content through in chunks if it is text by the rules of SMTP; for BDAT.

    One encoder serves one message: `feed` each chunk, then `finish`. Chunks may be cut anywhere,
    within a CRLF too. All work is done on whole chunks, and a chunk that needs no change is given
    back without a copy.

    RFC 5321 s2.3.8; RFC 3030 s3
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        """Create an encoder for one message."""
        self._held = False  # a CR that ended the last chunk waits for its LF

    def feed(self, chunk: bytes) -> bytes:
        """Check a chunk of any length.

        Returns:
            What to send now; a CR at the end is kept until its LF has come.

        Raises:
            LocalViolation: a bare CR, a bare LF or a NUL. Nothing of this chunk may be sent, and
                what was sent of the message must not be ended: close the connection.
        """
        if self._held:
            chunk = b"\r" + chunk
        self._held = chunk.endswith(b"\r")
        if self._held:
            chunk = chunk[:-1]
        if not only_crlf(chunk) or b"\0" in chunk:
            raise LocalViolation(f"{_what_is_unclean(chunk)} in the content")
        return chunk

    def finish(self) -> bytes:
        """Return what ends the content: nothing.

        Raises:
            LocalViolation: the content ended with a bare CR.
        """
        if self._held:
            raise LocalViolation("a bare CR in the content")
        return b""


class BinaryEncoder(TextEncoder):
    """Passes any octets through: for BINARYMIME, which only BDAT can carry. RFC 3030 s3."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunk unchanged."""
        return chunk


class DotEncoder(TextEncoder):
    r"""Encodes text for DATA: stuffs dots and adds the final dot.

    RFC 5321 s4.5.2, s4.1.1.4, s2.3.8
    """

    __slots__ = ("_line_begins",)

    def __init__(self) -> None:
        """Create an encoder for one message."""
        self._held = False
        self._line_begins = True

    def feed(self, chunk: bytes) -> bytes:
        """Encode a chunk of any length; see `TextEncoder.feed`."""
        chunk = TextEncoder.feed(self, chunk)  # super() costs a tenth of a small message
        if not chunk:
            return chunk
        begins, self._line_begins = self._line_begins, chunk.endswith(b"\r\n")
        if b"." not in chunk:  # as in all that is in base64
            return chunk
        chunk = chunk.replace(b"\r\n.", b"\r\n..")
        return b"." + chunk if begins and chunk.startswith(b".") else chunk

    def finish(self) -> bytes:
        """Return the end of the content: a CRLF if the last line had none, and the final dot.

        Raises:
            LocalViolation: the content ended with a bare CR.
        """
        TextEncoder.finish(self)
        return END_OF_DATA if self._line_begins else b"\r\n" + END_OF_DATA


class FoldingEncoder(TextEncoder):
    """Folds long lines of text before another encoder encodes them.

    Folding comes first, so that dots at the start of new lines are stuffed, and its result checked.

    RFC 5321 s4.5.3.1.6
    """

    __slots__ = ("_encoder", "_folder")

    def __init__(self, encoder: TextEncoder, longest_line: int) -> None:
        """Create an encoder for one message.

        Args:
            encoder: what gets the folded text.
            longest_line: octets of a line without its CRLF; see `LineFolder`.
        """
        self._encoder = encoder
        self._folder = LineFolder(longest_line)

    def feed(self, chunk: bytes) -> bytes:
        """Encode a chunk of any length; see `TextEncoder.feed`."""
        return self._encoder.feed(self._folder.feed(chunk))

    def finish(self) -> bytes:
        """Return what was held back, and what ends the content.

        Raises:
            LocalViolation: the content ended with something unclean.
        """
        return self._encoder.feed(self._folder.finish()) + self._encoder.finish()


def _what_is_unclean(chunk: bytes) -> str:
    if b"\0" in chunk:
        return "a NUL"
    return "a bare LF" if chunk.replace(b"\r\n", b"").count(b"\n") else "a bare CR"
