"""The content of a message as it arrives, after DATA or in chunks.

Theory: after DATA content ends at CRLF "." CRLF and at nothing else, whatever else a client takes
for a line end. So the decoder looks for that one sequence, hands out what lies before it with the
transparency dots taken off, and remembers whether any of it was unfit: a bare CR, a bare LF, a NUL,
an over-long line. An unfit message is still read to its true end, and only then refused, so that
its sender drops it and nothing inside it is ever taken for a command (RFC 5321 s4.1.1.4, s2.3.8).

The content of BDAT ends where its chunks have said, whatever octets are in it; but what is unfit is
unfit there too, unless the sender has declared it to be binary (RFC 3030 s3).

Each piece is searched as a whole, by operations that run in C. At most four octets are held back
from one piece to the next: the longest beginning of the end that is not the end. Nothing is kept of
a chunk once it is over.

Who controls the input: the peer, every octet, every border between pieces, every chunk's length.
"""

import re
from enum import Enum
from typing import Final

from postroom.wire.line_ends import only_crlf

END: Final = b"\r\n.\r\n"
STARTS_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_ANY_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class Flaw(Enum):
    """What makes content unfit, in words for the reply; the gravest first."""

    BARE_CR_OR_LF = "bare CR or LF in the content"
    NUL = "NUL in the content"
    LONG_LINE = "line too long in the content"


class _Inspector:
    """Looks for what is unfit, piece by piece; no piece ends between a CR and what follows it.

    Of several flaws the gravest counts, not the first: that one depends on how the pieces are cut.
    """

    __slots__ = ("_line", "_longest", "flaw")

    def __init__(self, longest_line: int) -> None:
        self.flaw: Flaw | None = None
        self._line = 0
        self._longest = longest_line

    def passed(self, data: bytes) -> bytes:
        """Give a piece back, or nothing once there is a flaw."""
        if self.flaw is not Flaw.BARE_CR_OR_LF:
            found = self._flaw_in(data)
            if found is not None and (self.flaw is None or found is not Flaw.LONG_LINE):
                self.flaw = found
        return data if self.flaw is None else b""

    def _flaw_in(self, data: bytes) -> Flaw | None:
        if not only_crlf(data):
            return Flaw.BARE_CR_OR_LF
        if b"\0" in data:
            return Flaw.NUL
        if self._longest and self._has_long_line(data):
            return Flaw.LONG_LINE
        return None

    def _has_long_line(self, data: bytes) -> bool:
        """Leap from line end to line end, each time by as many lines as one longest line holds."""
        reach = self._longest + 2
        start = -self._line
        while True:
            newline = data.rfind(b"\n", max(start, 0), start + reach)
            if newline < 0:
                self._line = len(data) - start
                return self._line >= reach
            start = newline + 1


class DotDecoder:
    """Takes the content of one message off the stream.

    Attributes:
        flaw: the gravest thing found unfit so far, or None.
        rest: once the end was seen, what the peer sent after it.
        ended: True once the end was seen.

    RFC 5321 s4.5.2, s2.3.8, s4.5.3.1.6
    """

    __slots__ = ("_held", "_inspector", "_normalise", "_skip", "ended", "flaw", "rest")

    def __init__(self, longest_line: int = 998, normalise: bool = False) -> None:
        """Begin right after 354.

        Args:
            longest_line: octets of a line without its CRLF; 0 for any.
            normalise: make a CRLF of each bare CR and bare LF instead of calling it a flaw.
        """
        # The 354 stands for the CRLF that a "." at the very beginning must follow.
        self._held = b"\r\n"
        self._skip = 2
        self._inspector = _Inspector(longest_line)
        self._normalise = normalise
        self.flaw: Flaw | None = None
        self.rest = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Take a chunk; give the content in it, which may be empty.

        Once there is a flaw nothing more is given out.
        """
        data = self._held + data
        if b"." in data:
            end = data.find(END)
            if end >= 0:
                self.ended = True
                self.rest = data[end + 5 :]
                data = data[: end + 2]
        if not self.ended:
            data = self._hold_back(data)
        return self._decode(data)

    def _hold_back(self, data: bytes) -> bytes:
        """Keep what may be the beginning of the end; give the rest."""
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
            data = data.replace(b"\r\n.", b"\r\n")
        if self._skip and data:
            data, self._skip = data[2:], 0
        if self._normalise:
            data = _ANY_LINE_END.sub(b"\r\n", data)
        data = self._inspector.passed(data)
        self.flaw = self._inspector.flaw
        return data


class ChunkDecoder:
    """Takes the content of one message off the stream, chunk by chunk.

    For each chunk call `begin`, then `feed` until `ended`; after the last one call `finish`.

    Attributes:
        flaw: the gravest thing found unfit so far, or None.
        rest: once a chunk has ended, what the peer sent after it.
        ended: True once all octets of the chunk were taken.

    RFC 3030 s2, s3
    """

    __slots__ = ("_held", "_inspector", "_left", "_normalise", "ended", "flaw", "rest")

    def __init__(
        self, longest_line: int = 998, normalise: bool = False, binary: bool = False
    ) -> None:
        """Begin before the first chunk.

        Args:
            longest_line: octets of a line without its CRLF; 0 for any.
            normalise: make a CRLF of each bare CR and bare LF instead of calling it a flaw.
            binary: take any octets as they are (``BODY=BINARYMIME``).
        """
        self._inspector = None if binary else _Inspector(longest_line)
        self._normalise = normalise
        self._held = b""  # a CR, which may have its LF in the next piece, or in the next chunk
        self._left = 0
        self.flaw: Flaw | None = None
        self.rest = b""
        self.ended = True

    def begin(self, octets: int) -> None:
        """Begin a chunk of so many octets, from 0 on."""
        self._left = octets
        self.ended = octets == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take octets of the chunk, and what may follow it; give the content in them.

        Once there is a flaw nothing more is given out.
        """
        if len(data) > self._left:
            data, self.rest = data[: self._left], data[self._left :]
        self._left -= len(data)
        self.ended = self._left == 0
        if self._inspector is None:
            return data
        if self._held:
            data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        return self._inspected(data[:-1] if self._held else data)

    def finish(self) -> bytes:
        """End the message; give what was held back of it."""
        data, self._held = self._held, b""
        return self._inspected(data) if data else data

    def _inspected(self, data: bytes) -> bytes:
        if self._inspector is None:
            return data
        if self._normalise:
            data = _ANY_LINE_END.sub(b"\r\n", data)
        data = self._inspector.passed(data)
        self.flaw = self._inspector.flaw
        return data
