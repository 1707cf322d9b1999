"""Line ends of messages in Maildirs, and the two sizes in a file's name.

Messages are sent with CRLF; programs that read Maildirs expect LF, as in text files of the host.

    form    in the file                               used by
    ----    ---------------------------------------   ------------------------------------------
    LF      LF for CRLF, unless a CR is before it      all: Dovecot, Postfix, mutt, notmuch
    CRLF    CRLF for LF, unless a CR is before it      ``delivery.line_ends = "crlf"``
    KEPT    the line ends of the message              binary messages, under either setting

An IMAP server sends CRLF for each LF that has no CR before it. That restores every message of
either form: ``CR CR LF`` keeps its octets because ``CR LF`` would be read as one line end.

    S=      octets of the file; what quotas count
    W=      octets as IMAP sends them: those of the file, and one for each LF without CR

Invariants: the result does not depend on how the input is cut. Each piece is searched in C; only a
CR at the end of a piece is held back until the next.

Who controls the input: the sender, every octet.
"""

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from postroom.wire.line_ends import only_crlf

_LINE_END: Final = re.compile(rb"(?<!\r)\r\n")


class LineEnds(Enum):
    """The line ends of a file; the values are those of the setting."""

    LF = "lf"
    CRLF = "crlf"
    KEPT = "kept"


class Sizes(NamedTuple):
    """The size of a message.

    Attributes:
        octets: of the file.
        crlf_octets: as IMAP sends it, each line end a CRLF.
    """

    octets: int
    crlf_octets: int


class LineEndRewriter:
    """Rewrites the line ends of one message, piece by piece, and counts its sizes.

    Attributes:
        octets: how many have been returned.
        bare_lfs: how many LFs among them have no CR before them.
    """

    __slots__ = ("_after_cr", "_form", "_held", "bare_lfs", "octets")

    def __init__(self, form: LineEnds) -> None:
        """Start before the first octet."""
        self._form = form
        self._held = False
        self._after_cr = False
        self.octets = 0
        self.bare_lfs = 0

    @property
    def sizes(self) -> Sizes:
        """The sizes of what has been returned so far."""
        return Sizes(self.octets, self.octets + self.bare_lfs)

    def feed(self, piece: bytes) -> bytes:
        """Return a piece as it is to be written; a CR at its end is held back for the next."""
        if self._held:
            piece = b"\r" + piece
        self._held = piece.endswith(b"\r")
        return self._counted(piece[:-1] if self._held else piece)

    def end(self) -> bytes:
        """Return what was held back, at the end of the message."""
        held, self._held = self._held, False
        return self._counted(b"\r") if held else b""

    def all(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces of a whole message as they are to be written; none is empty."""
        for piece in pieces:
            if written := self.feed(piece):
                yield written
        if written := self.end():
            yield written

    def _counted(self, piece: bytes) -> bytes:
        if self._form is LineEnds.LF and not self._after_cr and only_crlf(piece):
            # So is nearly all mail. Deleting the CRs takes a tenth of the time of replacing CRLFs.
            written = piece.replace(b"\r", b"")
            self.bare_lfs += len(piece) - len(written)
        else:
            written = self._written(piece)
            self.bare_lfs += written.count(b"\n") - written.count(b"\r\n")
        self.octets += len(written)
        return written

    def _written(self, piece: bytes) -> bytes:
        """Replace line ends; no piece begins with the LF of a CRLF, for its CR was held back."""
        if self._form is LineEnds.KEPT or not piece:
            return piece
        if self._form is LineEnds.CRLF:
            return piece.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        after_cr, self._after_cr = self._after_cr, piece.endswith(b"\r")
        if after_cr:
            return _LINE_END.sub(b"\n", b"\r" + piece)[1:]
        return _LINE_END.sub(b"\n", piece) if b"\r" in piece else piece
