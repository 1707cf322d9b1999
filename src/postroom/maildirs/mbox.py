r"""The mbox format: written as mboxrd, which loses nothing, and read in all its variants.

    mbox    = *message
    message = "From " sender SP date LF *line LF
    line    = a line of the message; one that matches ``^>*From `` has one ``>`` put before it

Which lines begin a message (`from_lines` parses them):

    the line is                         after an empty line        elsewhere
    ---------------------------------   ------------------------   ------------------------
    a sender and a date                 always                     before a header field
    ``From -`` or ``From`` alone        before a header field      before a header field
    an address without a date           before a header field      never

Other lines that begin with ``From`` after an empty line, and those with a date elsewhere, remain
part of their message. They are counted in `DoubtfulLines`.

Programs that write ``Content-Length`` (mboxcl2) need not quote lines. The field is used if it is
right: if the file ends after so many octets, or a message begins there. Then no line within them
begins a message, and if one of them begins with ``From``, no ``>`` is removed.

One ``>`` is removed from quoted lines. That is right for mboxrd, and for mboxo except for lines
that were quoted before. LF and CRLF are line ends; a message keeps those that it has. CR CR LF,
which a file has everywhere or nowhere, becomes CRLF. An empty line may contain blanks. A byte order
mark and empty lines may precede the first message.

Flags are in the fields ``Status`` (R seen, O old) and ``X-Status`` (A answered, F flagged, T draft,
D deleted). Writing puts them at the top of the header. If they are there, reading uses and removes
only these, so that a message is read back octet by octet as it was. In files of other programs they
may be anywhere in the header, and are removed. Thunderbird's flags are in ``X-Mozilla-Status``,
which is not removed; its deleted messages are read too, if they are still in the file.

Known limits: a message that does not end in a line end gets one. "Forwarded" has no letter and is
lost.

Who controls the input: whoever made the file, or sent the mail in it. Lines may be of any length:
they are handled in pieces of `LINE_OCTETS`.
"""

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import BinaryIO, Final

from postroom.errors import UserError
from postroom.maildirs.archives import Content
from postroom.maildirs.from_lines import FromLineKind, is_field, parse_from_line
from postroom.maildirs.lookahead import LINE_OCTETS, Lookahead

HEADER_OCTETS: Final = 256 * 1024

_AHEAD_OCTETS: Final = 4096
_MARK: Final = b"\xef\xbb\xbf"
_BLANKS: Final = frozenset((b" ", b"\t", b"\r", b"\n"))
_EMPTY: Final = re.compile(rb"[ \t]*\r*\n")
_EMPTY_LINES: Final = re.compile(rb"(?:[ \t]*\r*\n){0,2}")
_QUOTED: Final = re.compile(rb">+From ")
_NEEDS_QUOTE: Final = re.compile(rb">*From ")
_STATUS: Final = re.compile(rb"((?:X-)?Status):[ \t]*([A-Za-z]*)[ \t]*\r*\n", re.IGNORECASE)
_STATUS_FLAGS: Final = {"R": "S"}
_X_STATUS_FLAGS: Final = {"A": "R", "F": "F", "T": "D", "D": "T"}
_MOZILLA: Final = re.compile(rb"X-Mozilla-Status:[ \t]*([0-9A-F]{4})[ \t]*\r*\n", re.IGNORECASE)
_MOZILLA_FLAGS: Final = {0x0001: "S", 0x0002: "R", 0x0004: "F", 0x0008: "T", 0x1000: "P"}
_LENGTH: Final = re.compile(rb"Content-Length:[ \t]*([0-9]{1,18})[ \t]*\r*\n", re.IGNORECASE)
_DATED: Final = re.compile(
    rb"^(?:Received|Date):([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE
)
_DATE_OCTETS: Final = 100
_RETURN_PATH: Final = re.compile(rb"Return-Path:[ \t]*<([^\s<>]+)>", re.IGNORECASE)


class Damaged(UserError):
    """The file is damaged, and the rest cannot be read."""


@dataclass(slots=True)
class DoubtfulLines:
    """Lines that begin with ``From`` and remain part of their message.

    Attributes:
        count: how many there are.
        first_line: the number of the first of them in the file, from 1; 0 if there is none.
    """

    count: int = 0
    first_line: int = 0

    def note(self, line: int) -> None:
        """Count the line of that number."""
        self.count += 1
        self.first_line = self.first_line or line


class MboxMessage:
    """A message of an mbox that is being read.

    Attributes:
        number: its position in the file, from 1.
        received_at: POSIX time in its ``From`` line, else in its ``Received`` or ``Date`` field;
            None if there is no date.
        flags: letters, as in Maildirs.
        is_new: True if no program has shown it yet.
    """

    def __init__(self, number: int, first_line: bytes, lines: "_Lines") -> None:
        """Read the header."""
        self.number = number
        self.flags = ""
        self.is_new = True
        self._lines = lines
        self._header = self._read_header()
        self.received_at = parse_from_line(first_line).received_at
        if self.received_at is None:
            self.received_at = _header_date(self._header)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content; once, and before the next message is asked for.

        Raises:
            Damaged: the file ends in the middle of the message.
        """
        pieces, self._header = self._header, []
        octets = 0
        while line := self._lines.next_of_message():
            pieces.append(line)
            octets += len(line)
            if octets >= LINE_OCTETS:
                yield b"".join(pieces)
                pieces, octets = [], 0
        if self._lines.is_cut:
            raise Damaged(self._lines.damage)
        if pieces:
            yield b"".join(pieces)

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
            if ours or not self._take_field(line):
                kept.append(line)
            octets += len(line)
            if octets >= HEADER_OCTETS or _is_empty(line):
                break
            line = self._lines.next_of_message()
        return kept

    def _take_field(self, line: bytes) -> bool:
        """Read a field with another program's flags; return whether it is to be removed."""
        if found := _LENGTH.fullmatch(line):
            self._lines.announce(int(found[1]))
        elif found := _MOZILLA.fullmatch(line):
            status = int(found[1], 16)
            self._add_flags(flag for bit, flag in _MOZILLA_FLAGS.items() if status & bit)
        return self._take_flags(line, b"Status") or self._take_flags(line, b"X-Status")

    def _take_flags(self, line: bytes, field: bytes) -> bool:
        """Read flags from a line if it is the field of that name."""
        found = _STATUS.fullmatch(line)
        if found is None or found[1].lower() != field.lower():
            return False
        letters = found[2].decode("ascii").upper()
        known = _STATUS_FLAGS if field == b"Status" else _X_STATUS_FLAGS
        self.is_new = self.is_new and "O" not in letters
        self._add_flags(known[each] for each in letters if each in known)
        return True

    def _add_flags(self, flags: Iterable[str]) -> None:
        self.flags = "".join(sorted({*self.flags, *flags}))
        self.is_new = self.is_new and not self.flags


class _Lines:
    """The lines of an mbox, and where its messages begin and end."""

    def __init__(self, file: BinaryIO, doubts: DoubtfulLines) -> None:
        self._file = file
        self._doubts = doubts
        self._ahead = Lookahead(file)
        self._pieces: deque[bytes] = deque()  # read, but not handed out
        self._number = 1
        self._starts = True  # the first of the pieces begins a line
        self._after_empty = True
        self._ended = True
        self._mends = False
        self.is_cut = False
        self._announced: int | None = None
        self._body = _Body(None)

    def close(self) -> None:
        """Remove what was kept on disk."""
        self._ahead.close()

    @property
    def damage(self) -> str:
        """The damage that ended the file; empty if there is none."""
        return self._file.damage if isinstance(self._file, Content) else ""

    def skip_to_first(self) -> bool:
        """Skip what may come before the first message; return whether one or nothing follows."""
        if (first := self._peek(0)).startswith(_MARK):
            self._pieces[0] = first[len(_MARK) :]
        while _is_empty(self._peek(0)):
            self._take()
        self._after_empty = True
        first = self._peek(0)
        return not first or (first.startswith(b"From ") and self._is_beginning(0))

    def describe_first(self) -> str:
        """Return a description of what the file begins with instead of a message."""
        first = self._peek(0)
        if first.startswith(b"From "):
            return "a 'From ' line without a date"
        return "a header field, as a single message does" if is_field(first) else "no 'From ' line"

    @property
    def at_end(self) -> bool:
        """True if there is no more."""
        return not self._peek(0)

    def begin_message(self) -> bytes:
        """Return the From line that is next."""
        self._ended = False
        self._announced = None
        self._body = _Body(None)
        self._mends = self._peek(0).endswith(b"\r\r\n")
        return self._take()

    def announce(self, length: int) -> None:
        """Expect a body of so many octets after the next empty line."""
        self._announced = length

    def next_of_message(self) -> bytes:
        """Return the next line, or piece of one; empty at the message's end."""
        piece = self._peek(0)
        if self._ended or not piece:
            self.is_cut = not self._ended and bool(self.damage)
            return b""
        if self._starts:
            if piece.startswith(b"From "):
                if self._is_beginning(0):
                    self._ended = True
                    return b""
            elif _is_empty(piece):
                if self._announced is not None:
                    self._body = _Body(len(piece) + self._announced)
                    self._announced = None
                if self._is_last():
                    self._take()
                    self._ended = True
                    return b""
            elif _QUOTED.match(piece) and not self._is_unquoted():
                return self._take()[1:]
        return self._take()

    def _is_last(self) -> bool:
        """Check whether an empty line stands between this message and the next, or the end."""
        following = self._peek(1)
        if following and not (following.startswith(b"From ") and self._is_beginning(1)):
            return False
        return self._body.left(len(self._peek(0))) < 0 or not self._length_fits()

    def _is_beginning(self, index: int) -> bool:
        """Check whether a line to come begins a message; doubts are noted.

        Args:
            index: 0 for the next line; 1 for the one after it, which then is empty.
        """
        found = parse_from_line(self._peek(index))
        after_empty = index > 0 or self._after_empty or self._ends_here()
        begins = found.begins(after_empty=after_empty, before_field=is_field(self._peek(index + 1)))
        if begins and self._body.left(index and len(self._peek(0))) > 0 and self._length_fits():
            begins = False
        if not begins and index == 0 and found.kind is not FromLineKind.FIELD:
            self._body.has_from = True
            if after_empty or found.kind is FromLineKind.DATED:
                self._doubts.note(self._number)
        return begins

    def _ends_here(self) -> bool:
        return self._body.left() == 0 and self._length_fits()

    def _length_fits(self) -> bool:
        """Check whether the body has the length stated in the header."""
        if self._body.fits is None:
            left = self._body.left()
            # Seen from the last octet of the body, which has been handed out if none is left.
            octets = self._look(max(left - 1, 0), _AHEAD_OCTETS)
            self._body.fits = _ends_after_first(octets if left else b"\n" + octets)
        return self._body.fits

    def _is_unquoted(self) -> bool:
        """Check whether the body was written by a program that does not quote."""
        if self._body.left() <= 0 or not self._length_fits():
            return False
        if self._body.has_from is None:
            left = self._body.left()
            self._body.has_from = any(
                b"\nFrom " in self._look(distance, min(LINE_OCTETS + 5, left - distance))
                for distance in range(0, left, LINE_OCTETS)
            )
        return self._body.has_from

    def _look(self, distance: int, size: int) -> bytes:
        """Return octets at an offset from the first of the pieces."""
        held = b"".join(self._pieces)
        if distance >= len(held):
            return self._ahead.peek(distance - len(held), size)
        octets = held[distance : distance + size]
        return octets + self._ahead.peek(0, size - len(octets))

    def _peek(self, index: int) -> bytes:
        while len(self._pieces) <= index:
            self._pieces.append(self._ahead.readline())
        return self._pieces[index]

    def _take(self) -> bytes:
        piece = self._peek(0)
        self._pieces.popleft()
        self._after_empty = self._starts and _is_empty(piece)
        self._starts = piece.endswith(b"\n")
        self._number += self._starts
        self._body.octets += len(piece)
        if self._mends and piece.endswith(b"\r\r\n"):
            return piece[:-3] + b"\r\n"
        return piece


def _is_empty(line: bytes) -> bool:
    return line[:1] in _BLANKS and _EMPTY.fullmatch(line) is not None


@dataclass(slots=True)
class _Body:
    """The state of a message's body.

    Attributes:
        length: its octets by the header, with the empty line before it; None if not stated.
        octets: how many of them have been returned.
        fits: whether it has that length; None if not checked yet.
        has_from: whether a line in it begins with ``From``; None if not checked yet.
    """

    length: int | None
    octets: int = 0
    fits: bool | None = None
    has_from: bool | None = None

    def left(self, octets: int = 0) -> int:
        """Return how many octets are left when some more have been handed out; -1 if none."""
        return -1 if self.length is None else max(self.length - self.octets - octets, -1)


def _ends_after_first(octets: bytes) -> bool:
    """Check whether a body ends after the first of these octets, which is the last of it."""
    if not octets:
        return False
    following = octets[1:]
    empty = _EMPTY_LINES.match(following)
    line, _, after = following[empty.end() if empty else 0 :].partition(b"\n")
    if not line and not after:
        return True
    if not line.startswith(b"From ") or not (octets.startswith(b"\n") or (empty and empty[0])):
        return False
    return parse_from_line(line).begins(after_empty=True, before_field=is_field(after))


def read_mbox(file: BinaryIO, doubts: DoubtfulLines | None = None) -> Iterator[MboxMessage]:
    """Yield the messages of an mbox, each until the next is asked for.

    Args:
        file: at its start.
        doubts: counts the lines that only look like a beginning.

    Raises:
        UserError: it is not an mbox.
        Damaged: the file is damaged; the messages yielded before are complete.
    """
    lines = _Lines(file, DoubtfulLines() if doubts is None else doubts)
    try:
        if not lines.skip_to_first():
            raise UserError(f"not an mbox: it begins with {lines.describe_first()}")
        number = 0
        while not lines.at_end:
            number += 1
            message = MboxMessage(number, lines.begin_message(), lines)
            yield message
            for _ in message.chunks():
                pass
        if lines.damage:
            raise Damaged(lines.damage)
    finally:
        lines.close()


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
    """Return the reverse-path, which the final delivery has put at the top."""
    found = _RETURN_PATH.match(content.readline(LINE_OCTETS))
    content.seek(0)
    return found[1] if found else b"MAILER-DAEMON"


def _header_date(header: list[bytes]) -> float | None:
    """Return when a message arrived, or else when it was written, by its header."""
    for found in _DATED.finditer(b"".join(header)):
        text = found[1].rpartition(b";")[2][-_DATE_OCTETS:].decode("latin-1")
        try:
            parsed = parsedate_tz(text)
            at = None if parsed is None else mktime_tz(parsed)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        if at is not None and at >= 0:
            return float(at)
    return None
