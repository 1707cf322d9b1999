r"""The mbox format, in the dialect that loses nothing: mboxrd.

    mbox    = *message
    message = "From " sender SP date LF *line LF
    line    = a line of the message; one that matches ``^>*From `` has one ``>`` put before it

Reading takes a ``From`` line for the next message's beginning only after an empty line and if it
ends in a date, so that prose in files of careless writers stays prose. It takes one ``>`` away
from quoted lines, which is right for mboxrd and, but for lines that were quoted twice before they
got there, for mboxo. LF and CRLF are line ends both; a message keeps those that it has.

Flags are in the fields ``Status`` (R seen, O old) and ``X-Status`` (A answered, F flagged, T draft,
D deleted). Writing puts them at the top. Reading takes flags from there, if they are there, and
leaves all else as it is, so that what was written is read back octet by octet; from other writers
it takes the fields wherever they stand in the header, and takes them out.

Known limits: a message that does not end in a line end gets one. ``Content-Length`` (mboxcl) is not
looked at. "Forwarded" has no letter and is lost.

Who controls the input: whoever made the file, or sent the mail in it. Lines may be of any length:
they are handled in pieces of `LINE_OCTETS`.
"""

import re
import time
from calendar import timegm
from collections.abc import Iterator
from email.utils import mktime_tz, parsedate_tz
from typing import BinaryIO, Final

from postroom.errors import UserError

LINE_OCTETS: Final = 64 * 1024
HEADER_OCTETS: Final = 256 * 1024

_FROM: Final = re.compile(
    rb"From (?:.*? )??"
    rb"((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .{0,40}[0-9]{1,2}:[0-9]{2}.{0,40}[0-9]{4}"
    rb"(?: [-+][0-9]{4})?) *\r?\n"
)
_QUOTED: Final = re.compile(rb">+From ")
_NEEDS_QUOTE: Final = re.compile(rb">*From ")
_STATUS: Final = re.compile(rb"((?:X-)?Status):[ \t]*([A-Za-z]*)[ \t]*\r?\n", re.IGNORECASE)
_STATUS_FLAGS: Final = {"R": "S"}
_X_STATUS_FLAGS: Final = {"A": "R", "F": "F", "T": "D", "D": "T"}
_RETURN_PATH: Final = re.compile(rb"Return-Path:[ \t]*<([^\s<>]+)>", re.IGNORECASE)


class MboxMessage:
    """A message of an mbox that is being read.

    Attributes:
        number: its place in the file, from 1.
        received_at: POSIX time in its ``From`` line; None if it is no date.
        flags: letters, as in Maildirs.
        is_new: True if no program has shown it yet.
    """

    def __init__(self, number: int, first_line: bytes, lines: "_Lines") -> None:
        """Read the header."""
        self.number = number
        self.received_at = _date(first_line)
        self.flags = ""
        self.is_new = True
        self._lines = lines
        self._header = self._read_header()

    def chunks(self) -> Iterator[bytes]:
        """Give the content; once, and before the next message is asked for."""
        yield from self._header
        self._header = []
        while line := self._lines.next_of_message():
            yield line

    def _read_header(self) -> list[bytes]:
        kept: list[bytes] = []
        octets = 0
        line = self._lines.next_of_message()
        ours = self._take_flags(line, b"Status")
        if ours:
            line = self._lines.next_of_message()
            if self._take_flags(line, b"X-Status"):
                line = self._lines.next_of_message()
        while line:
            if ours or not (
                self._take_flags(line, b"Status") or self._take_flags(line, b"X-Status")
            ):
                kept.append(line)
            octets += len(line)
            if not line.strip(b"\r\n") or octets >= HEADER_OCTETS:
                break
            line = self._lines.next_of_message()
        return kept

    def _take_flags(self, line: bytes, field: bytes) -> bool:
        """Read flags from a line if it is the field of that name."""
        found = _STATUS.fullmatch(line)
        if found is None or found[1].lower() != field.lower():
            return False
        letters = found[2].decode("ascii").upper()
        known = _STATUS_FLAGS if field == b"Status" else _X_STATUS_FLAGS
        self.flags = "".join(sorted({*self.flags, *(known[n] for n in letters if n in known)}))
        self.is_new = self.is_new and not self.flags and "O" not in letters
        return True


class _Lines:
    """The lines of an mbox, and where its messages end. It looks one line ahead."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts = True
        self._line = file.readline(LINE_OCTETS)
        self._ended = True

    @property
    def at_end(self) -> bool:
        """True if there is no more."""
        return not self._line

    def begin_message(self) -> bytes:
        """Give the From line that is next."""
        self._ended = False
        line = self._line
        self._advance()
        return line

    def next_of_message(self) -> bytes:
        """Give the next line, or piece of one; empty at the message's end."""
        starts, line = self._starts, self._line
        if self._ended or not line:
            return b""
        self._advance()
        if starts and line in (b"\n", b"\r\n") and (self.at_end or _FROM.fullmatch(self._line)):
            self._ended = True
            return b""
        return line[1:] if starts and _QUOTED.match(line) else line

    def _advance(self) -> None:
        self._starts = self._line.endswith(b"\n")
        self._line = self._file.readline(LINE_OCTETS)


def read_mbox(file: BinaryIO) -> Iterator[MboxMessage]:
    """Give the messages of an mbox, each until the next is asked for.

    Raises:
        UserError: it is no mbox.
    """
    lines = _Lines(file)
    number = 0
    while not lines.at_end:
        first = lines.begin_message()
        if not first.startswith(b"From "):
            raise UserError("not an mbox: it does not begin with 'From '")
        number += 1
        message = MboxMessage(number, first, lines)
        yield message
        for _ in message.chunks():
            pass


def write_message(
    file: BinaryIO, content: BinaryIO, received_at: float, flags: str, *, is_new: bool, as_lf: bool
) -> None:
    """Append a message to an mbox.

    Args:
        file: the mbox.
        content: the message, at its start.
        received_at: POSIX time of its arrival.
        flags: letters, as in Maildirs.
        is_new: True if no program has shown it yet.
        as_lf: True to write line ends as LF; False to keep those that the message has.
    """
    date = time.asctime(time.gmtime(received_at)).encode("ascii")
    file.write(b"From %b %b\n" % (_sender(content), date))
    status = ("R" if "S" in flags else "") + ("" if is_new else "O")
    more = "".join(letter for letter, flag in _X_STATUS_FLAGS.items() if flag in flags)
    file.write(f"Status: {status}\nX-Status: {more}\n".encode("ascii"))
    starts, held = True, b""
    while line := held + content.readline(LINE_OCTETS):
        # A piece of a long line may end between the two octets of a line end.
        held = b"\r" if as_lf and line.endswith(b"\r") and len(line) > len(held) else b""
        line = line[: len(line) - len(held)]
        if starts and _NEEDS_QUOTE.match(line):
            file.write(b">")
        starts = line.endswith(b"\n")
        file.write(line[:-2] + b"\n" if as_lf and line.endswith(b"\r\n") else line)
    file.write(b"\n" if starts else b"\n\n")


def _sender(content: BinaryIO) -> bytes:
    """Find the reverse-path where the final delivery has put it: at the top."""
    found = _RETURN_PATH.match(content.readline(LINE_OCTETS))
    content.seek(0)
    return found[1] if found else b"MAILER-DAEMON"


def _date(first_line: bytes) -> float | None:
    found = _FROM.fullmatch(first_line)
    if found is None:
        return None
    parsed = parsedate_tz(found[1].decode("ascii", "replace"))
    try:
        # Without a zone it is UTC, as we write it; many programs mean their own.
        return (
            None
            if parsed is None
            else float(timegm(parsed[:9]) if parsed[9] is None else mktime_tz(parsed))
        )
    except (ValueError, OverflowError):
        return None
