"""Cuts what one side of a session sends into commands, replies and content.

Theory. A side's octets are commands, replies, answers within AUTH, content after DATA, chunks after
BDAT, or TLS; which of these comes next follows from what came before. So a *state* goes along.
`cut` gets octets, a place in them and the state there; it returns the one *piece* that starts at
that place, with the state behind it. Nothing is copied, and nothing is ever refused: captured
traffic has no peer to whom a refusal could be sent. `layer` names the faults of a piece.

One side alone does not show everything: whether DATA was answered with 354, say, or AUTH with 334.
The state behind a command is the likely one, as after a positive answer. A caller that sees the
other side too passes the true state with the next call.

Lines end at LF here, with or without a CR before it, for what a sloppy server took for a command is
worth reading; that the CR was missing is a flaw. Content ends at CRLF "." CRLF alone.

Who controls the input: the author of the traffic, every octet and every border between segments.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from postroom.wire.data import END, STARTS_OF_END
from postroom.wire.grammar import BDAT_ARGUMENT
from postroom.wire.reply_reader import REPLY_LINE
from postroom.wire.verbs import CMD_AUTH, CMD_BDAT, CMD_DATA, CMD_STARTTLS, SMTP_COMMANDS


class Mode(Enum):
    """The kind of a piece, or of what comes next."""

    COMMANDS = "commands"
    REPLIES = "replies"
    CONTENT = "content after DATA"
    CHUNK = "a chunk of BDAT"
    RESPONSE = "a response within AUTH"
    RESPONSE_OR_COMMAND = "a response within AUTH, or a command"
    HANDSHAKE = "a TLS handshake"
    TLS = "TLS"

    __hash__ = object.__hash__


class StreamState(NamedTuple):
    """How the octets of one side are to be read from here on.

    Attributes:
        mode: what comes next.
        octets_left: of the chunk, in `Mode.CHUNK`.
        held: in `Mode.CONTENT`, the beginning of the end with which the octets before ended.
    """

    mode: Mode = Mode.COMMANDS
    octets_left: int = 0
    held: bytes = b""


IN_COMMANDS: Final = StreamState()
IN_REPLIES: Final = StreamState(Mode.REPLIES)
IN_AUTH: Final = StreamState(Mode.RESPONSE)
IN_DATA: Final = StreamState(Mode.CONTENT, held=b"\r\n")
"""Right after 354, which stands for the CRLF that a dot at the very beginning must follow."""
IN_HANDSHAKE: Final = StreamState(Mode.HANDSHAKE)
IN_TLS: Final = StreamState(Mode.TLS)
_AFTER_RESPONSE: Final = StreamState(Mode.RESPONSE_OR_COMMAND)


def in_chunk(octets_left: int) -> StreamState:
    """Return the state within a chunk of BDAT. RFC 3030 s2."""
    return StreamState(Mode.CHUNK, octets_left) if octets_left else IN_COMMANDS


class Piece(NamedTuple):
    """One command, reply, response, or run of content.

    Attributes:
        mode: what it is.
        start: where it begins.
        end: where it ends, its line end or final dot included.
        complete: False if the octets stop before it does.
        after: the state behind it.
        verb: of a command, if `SMTP_COMMANDS` has it.
        code: of a reply, if its first line is one.
    """

    mode: Mode
    start: int
    end: int
    complete: bool
    after: StreamState
    verb: str | None = None
    code: int | None = None


# The first word of a line, if it could be a verb.
VERB: Final = re.compile(rb"([A-Za-z][A-Za-z0-9]*)(?=[ \r\n]|\Z)")
reply_line = re.compile(REPLY_LINE.pattern + rb"(\r?\n|\Z)").match
"""Matches a line of a reply with its end, which is empty where the octets stop."""

_line_end = re.compile(rb"\n").search
# Looked ahead for, so that the line end behind one dot can be the line end before the next.
_lone_dot = re.compile(rb"(?=((?:\r\n|\r|(?<!\r)\n)\0?\.\0?(?:\r\0\n|\r\r\n|\r\n|\r|\n)))")
_end_of_data = re.compile(re.escape(END)).search
_takes_arguments = re.compile(rb"[^ ]* ([^\r\n]*)").match
TLS_HANDSHAKE: Final = b"\x16\x03"
"""Begins the first record of TLS, and no line of SMTP. RFC 8446 s5.1."""

_known: Final = {verb.encode("ascii"): verb for verb in SMTP_COMMANDS}


def cut(view: memoryview, at: int, state: StreamState) -> Piece:
    """Return the piece that begins at a place.

    Args:
        view: what one side said.
        at: where to begin, less than its length.
        state: the state there.

    RFC 5321 s2.3.8, s4.1.1.4, s4.2; RFC 3030 s2; RFC 4954 s4; RFC 3207 s4
    """
    return _CUTS[state.mode](view, at, state)


def verb_at(view: memoryview, at: int) -> str | None:
    """Return the verb that a line begins with; None if `SMTP_COMMANDS` does not have it."""
    match = VERB.match(view, at, at + 10)
    return _known.get(match[1].upper()) if match is not None else None


def lone_dots(octets: bytes, end: int, start: int = 0) -> list[bytes]:
    """Return the dots that stand alone on a line by any notion of line ends, with those ends.

    All but CRLF "." CRLF are content, and some servers take some of them for the end of it.

    Args:
        octets: of content.
        end: how far to look; no line end that goes on behind it is found.
        start: where to begin; what stands before it is seen, but not given.

    RFC 5321 s4.1.1.4, s2.3.8
    """
    found = (match for match in _lone_dot.finditer(octets, start) if match.end(1) <= end)
    return [match[1] for match in found if match[1] != END]


def line_end(view: memoryview, at: int, end: int) -> int:
    """Return the place of a line's CRLF or LF, or `end` if it has neither."""
    if end > at and view[end - 1] == 0x0A:
        end -= 1
        if end > at and view[end - 1] == 0x0D:
            end -= 1
    return end


def next_line(view: memoryview, at: int, until: int) -> int:
    """Return the place behind the line that begins here: behind its LF, or `until`."""
    found = _line_end(view, at, until)
    return found.end() if found is not None else until


def _line(view: memoryview, at: int) -> tuple[int, bool]:
    """Return the place behind the line that begins here, and whether it has an end."""
    found = _line_end(view, at)
    return (found.end(), True) if found is not None else (len(view), False)


def _cut_command(view: memoryview, at: int, state: StreamState) -> Piece:
    if view[at] == TLS_HANDSHAKE[0] and bytes(view[at : at + 2]) == TLS_HANDSHAKE:
        return _cut_tls(view, at, state)
    end, complete = _line(view, at)
    verb = verb_at(view, at)
    turns = complete and verb in _TURNS
    after = _after_command(verb, view, at, end) if turns else IN_COMMANDS
    return Piece(Mode.COMMANDS, at, end, complete, after, verb)


_TURNS: Final = frozenset({CMD_DATA, CMD_BDAT, CMD_AUTH, CMD_STARTTLS})


def _after_command(verb: str | None, view: memoryview, at: int, end: int) -> StreamState:
    """Return the state after a command; four verbs are followed by something else."""
    found = _takes_arguments(view, at, end)
    argument = found[1].rstrip(b" ") if found is not None else b""
    if verb == CMD_BDAT:
        chunk = BDAT_ARGUMENT.fullmatch(argument)
        return in_chunk(int(chunk[1])) if chunk is not None else IN_COMMANDS
    if verb == CMD_AUTH:
        return IN_AUTH if argument and b" " not in argument else IN_COMMANDS
    if argument:  # refused with 501
        return IN_COMMANDS
    return IN_DATA if verb == CMD_DATA else IN_HANDSHAKE


def _cut_response(view: memoryview, at: int, _state: StreamState) -> Piece:
    end, complete = _line(view, at)
    return Piece(Mode.RESPONSE, at, end, complete, _AFTER_RESPONSE)


def _cut_response_or_command(view: memoryview, at: int, state: StreamState) -> Piece:
    cut_one = _cut_response if verb_at(view, at) is None else _cut_command
    return cut_one(view, at, state)


def _cut_replies(view: memoryview, at: int, state: StreamState) -> Piece:
    """Cut all lines of one reply; a line of no reply is a piece of its own."""
    if view[at] == TLS_HANDSHAKE[0] and bytes(view[at : at + 2]) == TLS_HANDSHAKE:
        return _cut_tls(view, at, state)
    start, code = at, None
    while at < len(view):
        match = reply_line(view, at)
        if match is None:
            end, complete = _line(view, at)
            if at > start and complete:
                return Piece(Mode.REPLIES, start, at, True, IN_REPLIES, None, code)
            return Piece(Mode.REPLIES, start, end, complete, IN_REPLIES, None, code)
        at, complete = match.end(), match[4] != b""
        code = int(match[1]) if code is None else code
        if not complete or match[2] != b"-":
            return Piece(Mode.REPLIES, start, at, complete, IN_REPLIES, None, code)
    return Piece(Mode.REPLIES, start, at, False, IN_REPLIES, None, code)


def _cut_content(view: memoryview, at: int, state: StreamState) -> Piece:
    held = state.held
    border = held + bytes(view[at : at + 4])
    end = border.find(END)
    if end >= 0:
        return Piece(Mode.CONTENT, at, at + end + 5 - len(held), True, IN_COMMANDS)
    found = _end_of_data(view, at)
    if found is not None:
        return Piece(Mode.CONTENT, at, found.end(), True, IN_COMMANDS)
    tail = border if len(view) - at <= 4 else bytes(view[-4:])
    starts = (start for start in STARTS_OF_END if tail.endswith(start))
    return Piece(Mode.CONTENT, at, len(view), False, state._replace(held=next(starts, b"")))


def _cut_chunk(view: memoryview, at: int, state: StreamState) -> Piece:
    taken = min(state.octets_left, len(view) - at)
    after = in_chunk(state.octets_left - taken)
    return Piece(Mode.CHUNK, at, at + taken, after is IN_COMMANDS, after)


def _cut_handshake(view: memoryview, at: int, state: StreamState) -> Piece:
    """Cut clear text after STARTTLS; TLS is still to come."""
    if view[at] == TLS_HANDSHAKE[0]:
        return _cut_tls(view, at, state)
    end, complete = _line(view, at)
    return Piece(Mode.HANDSHAKE, at, end, complete, state)


def _cut_tls(view: memoryview, at: int, _state: StreamState) -> Piece:
    return Piece(Mode.TLS, at, len(view), True, IN_TLS)


_CUTS: Final = {
    Mode.COMMANDS: _cut_command,
    Mode.REPLIES: _cut_replies,
    Mode.CONTENT: _cut_content,
    Mode.CHUNK: _cut_chunk,
    Mode.RESPONSE: _cut_response,
    Mode.RESPONSE_OR_COMMAND: _cut_response_or_command,
    Mode.HANDSHAKE: _cut_handshake,
    Mode.TLS: _cut_tls,
}
