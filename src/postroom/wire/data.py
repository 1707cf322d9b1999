"""The content of a message as it arrives, after DATA or in chunks.

Theory: the order of the steps is fixed, and no step can undo what the one before has decided.

1. *The end.* After DATA content ends at CRLF "." CRLF in the octets as they came, and at nothing
   else, whatever a client takes for a line end (RFC 5321 s4.1.1.4, s2.3.8).
2. *Transparency.* A dot right behind a CRLF, as it came, is taken off (RFC 5321 s4.5.2). A dot
   behind a bare LF is content.
3. *NULs* are taken out of text.
4. *Line ends* are mended. All CRs directly before an LF belong to that line end, which becomes one
   CRLF; a bare LF becomes a CRLF; any other CR becomes a blank, so that nobody takes it for a line
   end further on.
5. *Counting*: lines and octets, as they came and as they are now.

A fault that `TextRules` refuses is a flaw. A message with a flaw is still read to its true end and
refused there. So its sender gives it up, and nothing inside it is ever read as a command.

The content of BDAT ends where its chunks have said, whatever octets are in it. It is mended in the
same way, unless the sender has declared it to be binary (RFC 3030 s3).

The result does not depend on how the input is cut. Each piece is searched as a whole, by operations
that run in C; a piece that needs no mending is scanned once. At most four octets are held back from
one piece to the next, and a run of CRs as its length. Of a run of more than `LONGEST_RUN` only the
last so many can belong to a line end; those before them become blanks as they come, so that no run
makes a piece of many megabytes.

Who controls the input: the peer, every octet, every border between pieces, every chunk's length.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from postroom.wire.line_ends import only_crlf

END: Final = b"\r\n.\r\n"
STARTS_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
LONGEST_RUN: Final = 1 << 20
"""How many CRs can belong to one line end."""

# CRs directly before an LF. Looked behind for, and possessive, so that a run is passed once.
_CRS_BEFORE_LF: Final = re.compile(rb"(?<!\r)\r++\n")


class Flaw(Enum):
    """A reason to refuse content, in the words of the reply; the gravest comes first."""

    BARE_CR_OR_LF = "bare CR or LF in the content"
    NUL = "NUL in the content"
    LONG_LINE = "line too long in the content"


class TextRules(NamedTuple):
    """Which faults of text are refused; every other fault is mended.

    Attributes:
        longest_line: octets of a line without its CRLF; 0 for any.
        refuse_bare_newline: True if a bare CR or LF is a flaw. It is looked for in the octets as
            they came, NULs included.
        refuse_nul: True if a NUL is a flaw.
    """

    longest_line: int = 0
    refuse_bare_newline: bool = False
    refuse_nul: bool = False


MEND_ALL: Final = TextRules()
"""Nothing is a flaw: what can be mended is mended, and lines may have any length."""


class _Text:
    """Mends text piece by piece, and looks for flaws.

    Of several flaws the gravest counts, not the first: that one depends on how the pieces are cut.
    """

    __slots__ = ("_crs", "_line", "_rules", "flaw")

    def __init__(self, rules: TextRules) -> None:
        self.flaw: Flaw | None = None
        self._rules = rules
        self._crs = 0  # that ended the last piece; what follows them decides what they are
        self._line = 0

    def feed(self, data: bytes) -> bytes:
        """Return a piece after mending, or nothing once there is a flaw."""
        if self._crs or not only_crlf(data) or b"\0" in data:
            data = self._mend(data)
        longest = self._rules.longest_line
        if longest and self._has_long_line(data, longest):
            self._note(Flaw.LONG_LINE)
        return data if self.flaw is None else b""

    def finish(self) -> bytes:
        """Finish the text; return what was held back of it."""
        crs, self._crs = self._crs, 0
        if crs and self._rules.refuse_bare_newline:
            self._note(Flaw.BARE_CR_OR_LF)
        longest = self._rules.longest_line
        if longest and self._line + crs > longest:  # the last line, which has no end
            self._note(Flaw.LONG_LINE)
        return b" " * crs if self.flaw is None else b""

    def _mend(self, data: bytes) -> bytes:
        if self._rules.refuse_bare_newline:
            data = self._judge_line_ends(data)
        if b"\0" in data:
            if self._rules.refuse_nul:
                self._note(Flaw.NUL)
            data = data.replace(b"\0", b"")
        if not self._rules.refuse_bare_newline:
            data = self._mend_line_ends(data)
        return data

    def _judge_line_ends(self, data: bytes) -> bytes:
        """Record a bare CR or LF; hold back a CR at the end, since its LF may follow."""
        if self._crs:
            data = b"\r" + data
        self._crs = int(data.endswith(b"\r"))
        if self._crs:
            data = data[:-1]
        if not only_crlf(data):
            self._note(Flaw.BARE_CR_OR_LF)
        return data

    def _mend_line_ends(self, data: bytes) -> bytes:
        if len(data) > LONGEST_RUN:
            starts = range(0, len(data), LONGEST_RUN)
            return b"".join(self._mend_line_ends(data[at : at + LONGEST_RUN]) for at in starts)
        rest, blanks = data.lstrip(b"\r"), b""
        if self._crs:
            self._crs += len(data) - len(rest)
            blanks = b" " * (self._crs - LONGEST_RUN)
            self._crs -= len(blanks)
            if not rest:
                return blanks
            data = (b"\r" if rest.startswith(b"\n") else b" " * self._crs) + rest
        kept = data.rstrip(b"\r")
        self._crs = len(data) - len(kept)
        kept = _CRS_BEFORE_LF.sub(b"\n", kept)
        return blanks + kept.replace(b"\r", b" ").replace(b"\n", b"\r\n")

    def _note(self, flaw: Flaw) -> None:
        if self.flaw is None or _GRAVITY[flaw] < _GRAVITY[self.flaw]:
            self.flaw = flaw

    def _has_long_line(self, data: bytes, longest: int) -> bool:
        """Return whether a line is too long; each search skips as far as the longest line goes."""
        reach = longest + 2
        start = -self._line
        while True:
            newline = data.rfind(b"\n", max(start, 0), start + reach)
            if newline < 0:
                self._line = len(data) - start
                return self._line >= reach
            start = newline + 1


_GRAVITY: Final = {flaw: place for place, flaw in enumerate(Flaw)}


class DotDecoder:
    """Decodes the content of one message, sent with DATA.

    Attributes:
        flaw: the gravest thing found unfit so far, or None.
        rest: once the end was seen, what the peer sent after it.
        ended: True once the end was seen.
        raw_octets: of content so far, as they came, without transparency dots.

    RFC 5321 s4.5.2, s2.3.8, s4.5.3.1.6
    """

    __slots__ = ("_held", "_skip", "_text", "ended", "flaw", "raw_octets", "rest")

    _DOT_AT_BEGIN = b"\r\n."

    def __init__(self, rules: TextRules = MEND_ALL) -> None:
        """Create a decoder for the octets that follow 354."""
        # The 354 stands for the CRLF that a "." at the very beginning must follow.
        self._held = b"\r\n"
        self._skip = 2
        self._text = _Text(rules)
        self.flaw: Flaw | None = None
        self.rest = b""
        self.ended = False
        self.raw_octets = 0

    def feed(self, data: bytes) -> bytes:
        """Return the content in the next octets of the stream, which may be none.

        Once there is a flaw nothing more is returned.
        """
        data = self._held + data
        if b"." in data:
            data = self._cut_at_end(data)
        if not self.ended:
            data = self._hold_back(data)
        return self._decode(data)

    def _cut_at_end(self, data: bytes) -> bytes:
        end = data.find(END)
        if end < 0:
            return data
        self.ended = True
        self.rest = data[end + 5 :]
        return data[: end + 2]

    def _hold_back(self, data: bytes) -> bytes:
        """Hold back what may be the start of the end mark; return what stands before it."""
        if data[-1:] in b"\r\n.":
            for start in STARTS_OF_END:
                if data.endswith(start):
                    self._held = start
                    return data[: -len(start)]
        self._held = b""
        return data

    def _decode(self, data: bytes) -> bytes:
        # A CR is always held back with what follows it, so neither a CRLF nor a CRLF "." is ever
        # cut in two, and each piece can be judged alone.
        if b"." in data:
            data = data.replace(self._DOT_AT_BEGIN, self._DOT_AT_BEGIN[:-1])
        if self._skip and data:
            data, self._skip = data[self._skip :], 0
        self.raw_octets += len(data)
        data = self._text.feed(data)
        self.flaw = self._text.flaw
        return data


class BareNewlineDecoder(DotDecoder):
    """Decodes the content of a peer for which any LF ends a line.

    For old programs of the site's own, which never send CRLF. A line with nothing but a dot ends
    the content, whichever way the lines end, so a message of theirs must never hold such a line.
    """

    __slots__ = ()

    _DOT_AT_BEGIN = b"\n."
    _END: Final = re.compile(rb"\n\.\r?\n")
    _STARTS_OF_END: Final = (b"\n.\r", b"\n.", b"\n")

    def __init__(self, rules: TextRules = MEND_ALL) -> None:
        """Create a decoder for the octets after 354; it mends bare CRs and LFs under any rules."""
        super().__init__(rules._replace(refuse_bare_newline=False))
        self._held = b"\n"
        self._skip = 1

    def _cut_at_end(self, data: bytes) -> bytes:
        found = self._END.search(data)
        if found is None:
            return data
        self.ended = True
        self.rest = data[found.end() :]
        return data[: found.start() + 1]

    def _hold_back(self, data: bytes) -> bytes:
        for start in self._STARTS_OF_END:
            if data.endswith(start):
                self._held = start
                return data[: -len(start)]
        self._held = b""
        return data


class ChunkDecoder:
    """Decodes the content of one message, sent chunk by chunk with BDAT.

    For each chunk call `begin`, then `feed` until `ended`; after the last one call `finish`.

    Attributes:
        flaw: the gravest thing found unfit so far, or None.
        rest: once a chunk has ended, what the peer sent after it.
        ended: True once all octets of the chunk were taken.
        raw_octets: of content so far, as they came.

    RFC 3030 s2, s3
    """

    __slots__ = ("_left", "_text", "ended", "flaw", "raw_octets", "rest")

    def __init__(self, rules: TextRules = MEND_ALL, binary: bool = False) -> None:
        """Create a decoder for the first chunk and all that follow.

        Args:
            rules: for text.
            binary: keep any octets as they are (``BODY=BINARYMIME``).
        """
        self._text = None if binary else _Text(rules)
        self._left = 0
        self.flaw: Flaw | None = None
        self.rest = b""
        self.ended = True
        self.raw_octets = 0

    def begin(self, octets: int) -> None:
        """Start a chunk of this many octets, which may be 0."""
        self._left = octets
        self.ended = octets == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the content in octets of the chunk; what follows the chunk goes to `rest`.

        Once there is a flaw nothing more is returned.
        """
        if len(data) > self._left:
            data, self.rest = data[: self._left], data[self._left :]
        self._left -= len(data)
        self.ended = self._left == 0
        self.raw_octets += len(data)
        if self._text is None:
            return data
        data = self._text.feed(data)
        self.flaw = self._text.flaw
        return data

    def finish(self) -> bytes:
        """Finish the message; return what was held back of it."""
        if self._text is None:
            return b""
        data = self._text.finish()
        self.flaw = self._text.flaw
        return data
