"""Lines of an mbox file that a program has left above a header.

    From joe@example.org Sat Nov 22 14:03:07 2025
    >From joe@example.org Sat Nov 22 14:03:07 2025

Such a line is no field: a strict reader would treat the whole header as body. Each becomes a field
here, ``X-Mailbox-Line``, before anything else looks at the content; nothing of
it is lost. Where no header follows, an empty line is put below, or the first lines of the body
would be read as one.

Theory: only the beginning of the content matters. Nearly all messages are passed through from their
first octet on. Of the others no more is kept back than is needed to know what kind of line it is,
so memory is bounded, and the result is the same however the content is cut into pieces.

Who controls the input: the sender, every octet.
"""

import re
from typing import Final

FIELD: Final = b"X-Mailbox-Line: "

# Programs that quote such lines do it again at each turn: >>From.
_LINE = re.compile(rb">{0,64}From ")
_LINE_BEGUN = re.compile(rb">{0,64}(?:F(?:r(?:om?)?)?)?")
# As `postroom.wire.fields`, but for the bounds.
_FIELD_OR_END = re.compile(rb"[!-9;-~]{1,998}[ \t]{0,998}:|\r?\n")
_FIELD_OR_END_BEGUN = re.compile(rb"[!-9;-~]{0,998}|[!-9;-~]{1,998}[ \t]{0,998}|\r")


class MailboxLines:
    """Turns the mbox lines at the beginning of one message into fields, piece by piece.

    Attributes:
        over: True once they are behind: nothing that follows will be changed.
    """

    __slots__ = ("_found", "_held", "_in_line", "over")

    def __init__(self) -> None:
        """Start before the first octet."""
        self._held = b""
        self._in_line = False
        self._found = False
        self.over = False

    def feed(self, chunk: bytes) -> bytes:
        """Convert the next piece of the content.

        Returns:
            What replaces it; empty while that is undecided.
        """
        if self.over:
            return chunk
        if not self._in_line:
            if not (self._held or self._found) and chunk[:1] not in (b"F", b">"):
                self.over = True
                return chunk
            chunk, self._held = self._held + chunk, b""
        return self._convert(chunk)

    def end(self) -> bytes:
        """Return what was kept back, once the content is over."""
        held, self._held = self._held, b""
        # No field and no empty line came of it.
        return b"\r\n" + held if self._found and held else held

    def _convert(self, octets: bytes) -> bytes:
        """Convert whole lines, and decide about the first that is of another kind."""
        converted = []
        at = 0
        while at < len(octets):
            if self._in_line:
                end = octets.find(b"\n", at) + 1
                self._in_line = not end
                converted.append(octets[at : end or None])
                at = end or len(octets)
            elif _LINE.match(octets, at):
                self._in_line = self._found = True
                converted.append(FIELD)
            elif self._is_undecided(octets, at):
                self._held = octets[at:]
                break
            else:
                # Without an empty line the first lines of a body would be read as header fields.
                self.over = True
                if self._found and not _FIELD_OR_END.match(octets, at):
                    converted.append(b"\r\n")
                converted.append(octets[at:])
                break
        return b"".join(converted)

    def _is_undecided(self, octets: bytes, at: int) -> bool:
        """Return whether more octets are needed to know what kind of line begins here."""
        if _LINE_BEGUN.fullmatch(octets, at):
            return True
        return self._found and _FIELD_OR_END_BEGUN.fullmatch(octets, at) is not None
