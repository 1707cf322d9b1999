"""Folding long lines of content, for hosts that refuse them.

A line that is longer than the limit is split: CRLF and one blank are inserted. A header stays a
header (RFC 5322 s2.2.3), and base64 decodes to the same octets. Other text changes a little, and
signatures break. Where to cut depends on the line alone, never on how it comes in chunks: at the
limit, or up to three octets before it, so that no character of UTF-8 is cut in two.

A line is never held. The folder knows how many octets of it have passed, and holds back at most
four: a character that may have to move to the next line, or a CR whose LF has not come.

Theory: the search for line ends advances by the length of the longest line, each time to the last
line end within that distance. So a chunk without a long line costs few searches, and is returned
without a copy.

Who controls the input: the sender of the message, every octet.
"""

from typing import Final

SHORTEST_LIMIT: Final = 78
"""The lowest limit that makes sense: what RFC 5322 s2.1.1 recommends for lines."""

_FOLD: Final = b"\r\n "
_BACK: Final = 3  # a character of UTF-8 has at most four octets: RFC 3629 s3


def most_folded_octets(size_octets: int, longest_line: int) -> int:
    """Return the largest size that content of a given size can have once it is folded.

    Args:
        size_octets: of the content before.
        longest_line: the limit; 0 if nothing is folded.
    """
    if not longest_line:
        return size_octets
    return size_octets + len(_FOLD) * (size_octets // (longest_line - 1 - _BACK))


class LineFolder:
    """Folds the lines of one message: `feed` each chunk, then `finish`.

    What it gives has no line longer than the limit if its input has no line end but CRLF.

    RFC 5321 s4.5.3.1.6; RFC 5322 s2.1.1
    """

    __slots__ = ("_column", "_held", "_longest")

    def __init__(self, longest_line: int) -> None:
        """Create a folder for one message.

        Args:
            longest_line: octets of a line without its CRLF, at least `SHORTEST_LIMIT`.
        """
        self._longest = longest_line
        self._column = 0  # octets of the current line that were given out
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Fold a chunk of any length; returns what can be sent now."""
        data = self._held + chunk if self._held else chunk
        end = len(data) - data.endswith(b"\r")
        longest = self._longest
        start = -self._column
        pieces: list[bytes] = []
        done = 0
        while True:
            newline = data.rfind(b"\n", max(start, 0), start + longest + 2)
            if newline >= 0:
                start = newline + 1
            elif end - start > longest:
                cut = _place_of_cut(data, start + longest)
                pieces += (data[done:cut], _FOLD)
                done = cut
                start = cut - 1  # the blank is the first octet of the line
            else:
                break
        ready = min(end, start + longest - _BACK)
        self._held = data[ready:]
        self._column = ready - start
        if not pieces:
            return data[:ready]
        pieces.append(data[done:ready])
        return b"".join(pieces)

    def finish(self) -> bytes:
        """Return what was held back."""
        held, self._held = self._held, b""
        return held


def _place_of_cut(data: bytes, limit: int) -> int:
    """Return where a line is cut: at the limit, or before the character of UTF-8 around it."""
    for place in range(limit, limit - _BACK - 1, -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return limit
