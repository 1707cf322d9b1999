"""The parts of a conversation: entries, each side's unfinished octets, content, secrets.

Who controls the input: both peers, every octet. What is kept of a line is bounded.
"""

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from postroom.wire.data import DotDecoder
from postroom.wire.layer import printable
from postroom.wire.stream import IN_DATA, Mode, Piece, StreamState, cut, lone_dots

UNFINISHED_OCTETS: Final = 16_384
"""Longer lines are taken as they come; AUTH's, the longest there are, have 12,288."""

_LINES: Final = frozenset({Mode.COMMANDS, Mode.RESPONSE, Mode.HANDSHAKE, Mode.REPLIES})


@dataclass(slots=True)
class Entry:
    """One command, reply, response, or run of content; or something that happened.

    Attributes:
        time: when it was whole, in seconds since 1970.
        speaker: "C" or "S", or "-" for what nobody said.
        mode: what it is; None for what nobody said.
        lines: as they may be shown.
        violations: what was wrong with it, in words.
        size_octets: of content as it was sent, None for anything else.
        octets: what was said, where that is kept; secrets and all.
    """

    time: float
    speaker: str
    mode: Mode | None
    lines: list[str]
    violations: list[str] = field(default_factory=list)
    size_octets: int | None = None
    octets: bytes = b""

    def blame(self, violation: str) -> None:
        """Note a violation, once."""
        if violation not in self.violations:
            self.violations.append(violation)


class Side:
    """What one side says, as far as it is not told yet.

    Attributes:
        state: what comes next; whoever hears the other side too may set it between two pieces.
    """

    def __init__(self, state: StreamState) -> None:
        """Begin in a state."""
        self.state = state
        self._rest: list[bytes] = []
        self._rest_octets = 0

    @property
    def rest(self) -> bytes:
        """The beginning of a line that is not whole yet."""
        return b"".join(self._rest)

    def forget_rest(self) -> None:
        """Throw it away."""
        self._rest.clear()
        self._rest_octets = 0

    def _keep(self, octets: bytes) -> None:
        self._rest.append(octets)
        self._rest_octets += len(octets)

    def pieces(self, octets: bytes) -> Iterator[tuple[memoryview, Piece, StreamState]]:
        """Cut what is there.

        A line longer than `UNFINISHED_OCTETS` comes in several pieces, of which only the last may
        be complete.
        """
        within = self._rest_octets + len(octets) <= UNFINISHED_OCTETS
        if self._rest and within and b"\n" not in octets:
            self._keep(octets)  # and do not join and search it all for each octet that comes
            return
        octets = self.rest + octets
        self.forget_rest()
        view, at = memoryview(octets), 0
        while at < len(view):
            state = self.state
            piece = cut(view, at, state)
            if piece.mode in _LINES:
                if piece.end - at > UNFINISHED_OCTETS:
                    piece = piece._replace(end=at + UNFINISHED_OCTETS, complete=False, after=state)
                elif not piece.complete:
                    self._keep(octets[at:])
                    return
            at, self.state = piece.end, piece.after
            yield view, piece, state


class ContentRun:
    """Content that is under way."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.tail = IN_DATA.held
        self._decoder = DotDecoder()

    def take(self, octets: bytes, complete: bool) -> None:
        """Take a run of it, the final dot included."""
        self.entry.size_octets = (self.entry.size_octets or 0) + len(octets)
        self._decoder.feed(octets)
        if self._decoder.flaw is not None:
            self.entry.blame(self._decoder.flaw.value)
        heard = self.tail + octets
        # What ends in a dot and half a line end may still be the real end.
        for dot in lone_dots(heard[:-5] if complete else heard[:-2]):
            self.entry.blame(f"{dot!r} in the content, which some servers take for its end")
        self.tail = heard[-8:]
        if complete:
            self.entry.size_octets = max(self.entry.size_octets - len(b".\r\n"), 0)


class Secrets:
    """What a client said within AUTH, so that no reply that repeats it is shown with it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[str, None] = {}

    def remember(self, said: bytes) -> None:
        """Keep a response, and what it is in base64."""
        shown = [said]
        with suppress(binascii.Error):
            shown += base64.b64decode(said, validate=True).split(b"\0")
        # What is shorter would be found in any text, and is told by that.
        self._known.update({printable(each): None for each in shown if len(each) > 3})

    def taken_out_of(self, text: str) -> str:
        """Give a text without them."""
        for secret in self._known:
            text = text.replace(secret, "[...]")
        return text
