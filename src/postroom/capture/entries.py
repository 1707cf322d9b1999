"""The parts of a conversation: entries, each side's unfinished octets, content, secrets.

Who controls the input: both peers, every octet. What is kept of a line is bounded.
"""

import base64
import binascii
import string
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from postroom.capture.tls_records import TLSRecords
from postroom.wire.data import Flaw
from postroom.wire.layer import dot_violation, printable
from postroom.wire.line_ends import only_crlf
from postroom.wire.stream import (
    IN_COMMANDS,
    IN_DATA,
    IN_HANDSHAKE,
    IN_REPLIES,
    IN_TLS,
    TLS_HANDSHAKE,
    Mode,
    Piece,
    StreamState,
    cut,
    lone_dots,
)

RESPONSE: Final = "a response"
END: Final = "the end of the content"
NOTHING: Final = "nothing"

UNFINISHED_OCTETS: Final = 16_384
"""Longer lines are taken as they come; AUTH's, the longest there are, have 12,288."""

_LONGEST_LINE: Final = 999
"""With its CR, without a dot that was stuffed. RFC 5321 s4.5.3.1.6."""

_TAIL_OCTETS: Final = 16
"""Longer than a dot with all that belongs to it: what is found in it again was found before."""

_LETTERS: Final = string.ascii_letters.encode("ascii")
_FIRST_DIGITS: Final = b"2345"

_LINES: Final = frozenset({Mode.COMMANDS, Mode.RESPONSE, Mode.HANDSHAKE, Mode.REPLIES})


@dataclass(slots=True)
class ConversationEntry:
    """One command, reply, response or run of content, or an event.

    Attributes:
        time: when it was complete, in seconds since 1970.
        speaker: "C" or "S", or "-" for an event.
        mode: what it is; None for an event.
        lines: as they may be shown.
        violations: the rules that it broke, in words.
        size_octets: of content as it was sent, None for anything else.
        answers: of a reply, what it answers: a verb, `RESPONSE`, `END` or `NOTHING`; None if that
            is not known.
        said: what was sent, piece by piece, if that is kept; it includes secrets.
    """

    time: float
    speaker: str
    mode: Mode | None
    lines: list[str]
    violations: list[str] = field(default_factory=list)
    size_octets: int | None = None
    answers: str | None = None
    said: list[bytes] = field(default_factory=list)

    @property
    def octets(self) -> bytes:
        """The octets of `said`, joined."""
        return b"".join(self.said)

    def add_violation(self, violation: str) -> None:
        """Record a violation, once."""
        if violation not in self.violations:
            self.violations.append(violation)


class Side:
    """One side's octets that are not yet entries.

    Attributes:
        state: what comes next; a caller that sees the other side too may set it between two pieces.
        heard: True once this side has sent anything.
    """

    def __init__(self, from_client: bool) -> None:
        """Create a side that starts with commands or with replies."""
        self.state = self._in_clear = IN_COMMANDS if from_client else IN_REPLIES
        self.heard = False
        self._records = TLSRecords(_LETTERS if from_client else _FIRST_DIGITS)
        self._rest: list[bytes] = []
        self._rest_octets = 0

    @property
    def rest(self) -> bytes:
        """The beginning of a line that is not whole yet."""
        return b"".join(self._rest)

    def forget_rest(self) -> None:
        """Drop the incomplete octets."""
        self._rest.clear()
        self._rest_octets = 0

    def _keep(self, octets: bytes) -> None:
        self._rest.append(octets)
        self._rest_octets += len(octets)

    def _is_more_of_a_line(self, octets: bytes) -> bool:
        if not self._rest or self._rest[0][0] == TLS_HANDSHAKE[0] or b"\n" in octets:
            return False
        return self._rest_octets + len(octets) <= UNFINISHED_OCTETS

    def pieces(self, octets: bytes) -> Iterator[tuple[memoryview, Piece, StreamState]]:
        """Cut off the complete pieces and yield them.

        A line longer than `UNFINISHED_OCTETS` comes in several pieces, of which only the last may
        be complete.
        """
        if self._is_more_of_a_line(octets):
            self._keep(octets)  # and do not join and search it all for each octet that comes
            return
        octets = self.rest + octets
        self.forget_rest()
        self.heard = True
        view, at = memoryview(octets), 0
        while at < len(view):
            state = self.state
            if state.mode is Mode.HANDSHAKE and view[at:] == TLS_HANDSHAKE[:1]:
                self._keep(octets[at:])
                return
            piece = self._cut(view, at, state)
            if piece.mode in _LINES:
                if piece.end - at > UNFINISHED_OCTETS:
                    piece = piece._replace(end=at + UNFINISHED_OCTETS, complete=False, after=state)
                elif not piece.complete:
                    self._keep(octets[at:])
                    return
            at, self.state = piece.end, piece.after
            if piece.end > piece.start:
                yield view, piece, state

    def _cut(self, view: memoryview, at: int, state: StreamState) -> Piece:
        """Cut one piece; clear text where TLS was due is read as a command or a reply."""
        is_clear = state.mode is Mode.HANDSHAKE and bytes(view[at : at + 2]) != TLS_HANDSHAKE
        piece = cut(view, at, self._in_clear if is_clear else state)
        if piece.mode is not Mode.TLS:
            return piece
        end = at + self._records.take(view[at:])
        return piece._replace(end=end, after=IN_TLS if end == len(view) else IN_HANDSHAKE)

    def lose(self, octets: int) -> None:
        """Skip a gap in the capture."""
        self.forget_rest()
        state = self.state
        if state.mode is Mode.CHUNK:
            left = max(state.octets_left - octets, 0)
            self.state = state._replace(octets_left=left) if left else IN_COMMANDS
        elif state.mode is Mode.CONTENT:
            self.state = state._replace(held=b"")
        elif state.mode is Mode.TLS:
            self._records.lose(octets)
        else:
            self.state = self._in_clear

    def begin_within_tls(self) -> None:
        """Read everything as TLS, of which the beginning is missing."""
        self.state = IN_TLS
        self._records.lose(1)


class ContentRun:
    """Content that is being received, with its violations.

    The violations and their order do not depend on how the content was cut.
    """

    def __init__(self, entry: ConversationEntry) -> None:
        """Start right after 354, with an entry that may have violations already."""
        self.entry = entry
        self._blamed = list(entry.violations)
        self._tail = IN_DATA.held
        self._line_octets = 0
        self._line_limit = _LONGEST_LINE
        self._flaws: set[Flaw] = set()
        self._dots: dict[bytes, None] = {}

    def take(self, octets: bytes, complete: bool) -> None:
        """Accept a run of content, the final dot included."""
        size = (self.entry.size_octets or 0) + len(octets)
        self.entry.size_octets = max(size - len(b".\r\n"), 0) if complete else size
        self._check_octets(octets, complete)
        self._check_lines(octets)
        heard = self._tail + octets
        # What a dot means is known two octets later: they may go on with the line end behind it.
        known = len(heard) if complete else len(heard) - 2
        # The first octet of a tail may be half of a line end.
        for dot in lone_dots(heard, known, int(len(self._tail) == _TAIL_OCTETS)):
            self._dots[dot] = None
        self._tail = heard[-_TAIL_OCTETS:]
        texts = [flaw.value for flaw in Flaw if flaw in self._flaws]
        self.entry.violations = [*self._blamed, *texts, *map(dot_violation, self._dots)]

    def _check_octets(self, octets: bytes, complete: bool) -> None:
        cut_in_crlf = octets.endswith(b"\r") and not complete
        before = b"\r" if self._tail.endswith(b"\r") else b""
        if not only_crlf(before + (octets[:-1] if cut_in_crlf else octets)):
            self._flaws.add(Flaw.BARE_CR_OR_LF)
        if b"\0" in octets:
            self._flaws.add(Flaw.NUL)

    def _check_lines(self, octets: bytes) -> None:
        for position, part in enumerate(octets.split(b"\n")):
            if position:
                self._line_octets = 0
            if not self._line_octets:
                self._line_limit = _LONGEST_LINE + part.startswith(b".")
            self._line_octets += len(part)
            if self._line_octets > self._line_limit:
                self._flaws.add(Flaw.LONG_LINE)


# What follows AUTH is shown if it is one of these, or offered; else it may be anything.
_MECHANISMS: Final = frozenset(
    {
        *("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "GS2-KRB5", "EXTERNAL"),
        *("ANONYMOUS", "OAUTHBEARER", "XOAUTH2", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"),
        *("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS"),
    }
)


def mechanism_name(said: bytes, offered: Collection[str]) -> str:
    """Return the name of a SASL mechanism, or only its length if it may be a secret."""
    name = said.decode("ascii", "replace").upper()
    return name if name in _MECHANISMS or name in offered else f"[{len(said)} octets]"


class Secrets:
    """What a client sent within AUTH; it is removed from replies that repeat it."""

    def __init__(self) -> None:
        """Create the set, with no secret in it."""
        self._known: dict[str, None] = {}

    def remember(self, said: bytes) -> None:
        """Keep a response, and what it is in base64."""
        shown = [said]
        with suppress(binascii.Error):
            shown += base64.b64decode(said, validate=True).split(b"\0")
        # What is shorter would be found in any text, and is told by that.
        self._known.update({printable(each): None for each in shown if len(each) > 3})

    def taken_out_of(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._known:
            text = text.replace(secret, "[...]")
        return text
