r"""A view of SMTP in a buffer: the commands, replies and content of a payload, read in place.

    >>> layer = SmtpLayer(b"MAIL FROM:<a@b.example> SIZE=100\r\nDATA\r\n")
    >>> layer.command, bytes(layer.mailfrom), layer.params
    ('MAIL', b'a@b.example', {'SIZE': 100})
    >>> [each.command for each in layer], layer.state_after.mode.value
    (['MAIL', 'DATA'], 'content after DATA')

Theory. A layer covers a payload; its accessors speak of the first command, reply or run of content
in it, and iterating gives a layer for each, in order. Every value is computed when it is first
read, and kept. The grammar is that of the server and the client: `stream` cuts, `grammar` and
`reply_reader` parse. Reading never raises, whatever the octets are; `errors` names what is
malformed.

Ownership. The buffer is the caller's and is never copied. Octets (`raw`, `args`, `mailfrom`,
`rcptto`, `reply_text`, `content`) come as slices, memoryviews that are good as long as the buffer
is; a `bytearray` cannot be resized while they live, and if it changes, what was read before stays
as it was read. Words of the protocol (`command`,
`enhanced_code`, the names in `params` and `keywords`) are str, numbers int. `parsed` copies.

A segment need not begin or end where a command does. The parameter ``state`` describes what came
before, `state_after` what follows; `is_complete` is False for the last message of a payload if it
continues in the next one. `postroom.capture` puts segments together and keeps the state of both
sides.

Who controls the input: the author of the traffic, every octet.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from postroom.wire.codes import REPLY_OK, reply_code_description
from postroom.wire.commands import COMMAND_LINE_OCTETS, Command
from postroom.wire.errors import ReplyViolation, SyntaxViolation
from postroom.wire.grammar import (
    ANY_MAIL_ARGUMENT,
    ANY_RCPT_ARGUMENT,
    NOT_IMPLEMENTED,
    Syntax,
    parse_command,
)
from postroom.wire.line_ends import only_crlf
from postroom.wire.offers import host_capabilities
from postroom.wire.once import computed_once
from postroom.wire.parameters import MAIL_PARAMETERS, PARAMETER, RCPT_PARAMETERS, Parameter
from postroom.wire.replies import ENHANCED, Reply
from postroom.wire.reply_reader import ReplyReader
from postroom.wire.stream import (
    IN_COMMANDS,
    IN_REPLIES,
    VERB,
    Mode,
    Piece,
    StreamState,
    cut,
    line_end,
    lone_dots,
    next_line,
    verb_at,
)
from postroom.wire.tolerance import ALL, NONE
from postroom.wire.verbs import CMD_AUTH, CMD_MAIL, CMD_RCPT

Buffer = bytes | bytearray | memoryview

SMTP_MIN_HEADER_LEN: Final = 4
"""Octets of the shortest verbs, and of a reply code with what follows it."""

SMTP_FIELD_NAMES: Final = (
    *("command", "args", "params", "mailfrom", "rcptto", "is_response", "is_multiline"),
    *("reply_code", "enhanced_code", "reply_text", "keywords", "content", "errors", "raw"),
)
"""What `SmtpLayer.get_field` knows, in the order of `SmtpLayer.fields`."""

_LESS_THAN: Final = ord("<")
_EVERYTHING: Final = Syntax(
    {
        extension: ""
        for known in (*MAIL_PARAMETERS.values(), *RCPT_PARAMETERS.values())
        for extension in (known.extension, *known.needs.values())
    },
    NONE,
    utf8=True,
)
_TOLERANT: Final = replace(_EVERYTHING, tolerate=ALL)
_PATH_ARGUMENTS: Final = {CMD_MAIL: ANY_MAIL_ARGUMENT, CMD_RCPT: ANY_RCPT_ARGUMENT}
_starts_like_reply = re.compile(rb"[2-5][0-9][0-9](?:[ -]|\r?\n|\Z)").match
_enhanced = re.compile(ENHANCED.encode("ascii")).match
_base64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?|[*=]")


class SmtpLayer:
    """A view of what one side sends in one payload, or of one message of it.

    The result is the same for bytes, bytearray and memoryview.

    RFC 5321 s4.1, s4.2
    """

    # What is computed is kept in a dict, which is not made before something is.
    __slots__ = ("__dict__", "_buffer", "_piece", "_state")

    def __init__(
        self,
        buffer: Buffer,
        *,
        is_response: bool | None = None,
        state: StreamState | None = None,
    ) -> None:
        """Create a view of a payload.

        Args:
            buffer: what was captured, or is about to be sent.
            is_response: True for the server's side, False for the client's, None to guess.
            state: what `state_after` said of this side's payload before; settles the side too.
        """
        self._buffer = view = _octets_of(buffer)
        self._piece: Piece | None = None
        if state is None:
            if is_response is None:
                is_response = _starts_like_reply(view) is not None
            state = IN_REPLIES if is_response else IN_COMMANDS
        self._state = state

    @classmethod
    def of_piece(cls, view: memoryview, piece: Piece, state: StreamState) -> "SmtpLayer":
        """Return a view of one piece that `stream.cut` found, in the state in which it was cut."""
        layer = cls.__new__(cls)
        layer._buffer = view
        layer._piece = piece
        layer._state = state
        return layer

    def __iter__(self) -> Iterator["SmtpLayer"]:
        """Yield each command, reply or run of content as a layer of its own."""
        if self._piece is not None:
            yield self
            return
        view, state, at = self._buffer, self._state, 0
        while at < len(view):
            piece = cut(view, at, state)
            yield SmtpLayer.of_piece(view, piece, state)
            at, state = piece.end, piece.after

    @computed_once
    def state_after(self) -> StreamState:
        """What this side sends next, as far as one side alone shows it."""
        state = self._state
        for each in self:
            state = each._first.after
        return state

    @property
    def _first(self) -> Piece:
        return self._piece or self._first_of_payload

    @computed_once
    def _first_of_payload(self) -> Piece:
        if self._buffer:
            return cut(self._buffer, 0, self._state)
        return Piece(self._state.mode, 0, 0, False, self._state)

    def _span(self) -> tuple[int, int]:
        """Return the place of the first line, without its end."""
        piece = self._first
        end = piece.end
        if piece.mode is Mode.REPLIES:
            end = next_line(self._buffer, piece.start, end)
        return piece.start, line_end(self._buffer, piece.start, end)

    @property
    def mode(self) -> Mode:
        """The kind of the first message."""
        return self._first.mode

    @property
    def is_complete(self) -> bool:
        """True if the message ends within this payload."""
        return self._first.complete

    @computed_once
    def raw(self) -> memoryview:
        """The whole payload; of a message that iteration gave, that message with its line end."""
        piece = self._piece
        return self._buffer[piece.start : piece.end] if piece is not None else self._buffer

    @property
    def is_response(self) -> bool:
        """True if the server says it."""
        return self._first.mode is Mode.REPLIES or self._state.mode is Mode.REPLIES

    @computed_once
    def is_multiline(self) -> bool:
        """True for a reply of more than one line."""
        return self._first.mode is Mode.REPLIES and len(list(self._lines())) > 1

    @property
    def command(self) -> str | None:
        """The verb in upper case, equal to one of ``CMD_*`` if it is known; None if it is none."""
        piece = self._first
        return piece.verb if piece.verb is not None else self._other_verb

    @computed_once
    def _other_verb(self) -> str | None:
        if self._first.mode is not Mode.COMMANDS:
            return None
        word = VERB.match(self._buffer, *self._span())
        return word[1].decode("ascii").upper() if word is not None else None

    @computed_once
    def args(self) -> memoryview | None:
        """The argument behind the verb, without the blank before it and without the line end."""
        piece = self._first
        if piece.mode is not Mode.COMMANDS:
            return None
        start, end = self._span()
        if piece.verb is not None:
            start += len(piece.verb)
        else:
            word = VERB.match(self._buffer, start, end)
            if word is None:
                return None
            start = word.end()
        return self._buffer[min(start + 1, end) : end]

    @computed_once
    def mailfrom(self) -> memoryview | None:
        """The reverse-path of MAIL as sent, without its brackets; empty for the null sender."""
        return self._path(CMD_MAIL)

    @computed_once
    def rcptto(self) -> memoryview | None:
        """The forward-path of RCPT as sent, without its brackets."""
        return self._path(CMD_RCPT)

    def _path(self, verb: str) -> memoryview | None:
        found = self._path_and_rest if self.command == verb else None
        if found is None:
            return None
        start, end = found.span(1)
        in_brackets = self._buffer[start] == _LESS_THAN
        return self._buffer[start + 1 : end - 1] if in_brackets else self._buffer[start:end]

    @computed_once
    def _path_and_rest(self) -> re.Match[bytes] | None:
        pattern = _PATH_ARGUMENTS.get(self.command or "")
        if pattern is None:
            return None
        start, end = self._span()
        return pattern.fullmatch(self._buffer, start + len(CMD_MAIL) + 1, end)

    @computed_once
    def params(self) -> Mapping[str, Any]:
        """The parameters of MAIL or RCPT: keyword in upper case to what its value means.

        The server's table says what that is: SIZE is an int, NOTIFY a set. A value that cannot be
        read, or that no table knows, comes as it was sent, and None stands for no value.
        """
        found = self._path_and_rest
        if found is None or found[2] is None:
            return {}
        table = MAIL_PARAMETERS if self.command == CMD_MAIL else RCPT_PARAMETERS
        words = (PARAMETER.fullmatch(word) for word in found[2].split(b" "))
        return dict(_meaning(table, word[1], word[2]) for word in words if word is not None)

    @computed_once
    def parsed(self) -> Command | Reply | None:
        """The command as the server reads it, or the reply as the client does; None if neither can.

        Every extension counts as offered, and every deviation as tolerated; `errors` names those.
        """
        found = self._read
        if not isinstance(found, str):
            return found
        if self._first.mode is not Mode.COMMANDS:
            return None
        start, end = self._span()
        try:
            return parse_command(bytes(self._buffer[start:end]), _TOLERANT)
        except SyntaxViolation:
            return None

    @computed_once
    def _read(self) -> Command | Reply | str | None:
        """Parse the first message; return the error's text if that fails."""
        piece = self._first
        if not piece.complete:
            return None
        if piece.mode is Mode.COMMANDS:
            start, end = self._span()
            try:
                return parse_command(bytes(self._buffer[start:end]), _EVERYTHING)
            except SyntaxViolation as violation:
                # A verb of somebody else's is none of this grammar, and not malformed for that.
                return None if violation.reply is NOT_IMPLEMENTED else violation.reply.text[0]
        return self._read_reply() if piece.mode is Mode.REPLIES else None

    def _read_reply(self) -> Reply | str:
        piece = self._first
        reader = ReplyReader(piece.end, piece.end)  # no limit but the payload's own
        try:
            for start, end in self._lines():
                reply = reader.feed(bytes(self._buffer[start:end]))
        except ReplyViolation as violation:
            return str(violation)
        return reply if reply is not None else "a reply that is not finished"

    def _lines(self) -> Iterator[tuple[int, int]]:
        """Yield the places of the first message's lines, without their ends."""
        piece = self._first
        at = piece.start
        while at < piece.end:
            end = next_line(self._buffer, at, piece.end)
            yield at, line_end(self._buffer, at, end)
            at = end

    @property
    def reply_code(self) -> int | None:
        """The three digits of a reply."""
        return self._first.code

    @computed_once
    def enhanced_code(self) -> str | None:
        """The enhanced status code of a reply's first line, if its class is the reply's."""
        if self.reply_code is None:
            return None
        start, end = self._span()
        match = _enhanced(self._buffer, start + 4, end)
        return match[1].decode("ascii") if match and match[1][0] == self._buffer[start] else None

    @computed_once
    def reply_text(self) -> tuple[memoryview, ...] | None:
        """The lines of a reply, without code, enhanced code and line end."""
        if self.reply_code is None:
            return None
        enhanced = self.enhanced_code
        prefix = enhanced.encode("ascii") if enhanced else b""
        lines = [self._buffer[min(start + 4, end) : end] for start, end in self._lines()]
        if not prefix:
            return tuple(lines)
        return tuple(
            line[len(prefix) + 1 :] if line[: len(prefix)] == prefix else line for line in lines
        )

    @computed_once
    def keywords(self) -> Mapping[str, str]:
        """The extensions of a positive reply to EHLO: keyword in upper case to parameters.

        One side alone does not tell which reply answers EHLO: any 250 of several lines is read so.
        """
        if self.reply_code != REPLY_OK:
            return {}
        parsed = self.parsed
        return host_capabilities(parsed).extensions if isinstance(parsed, Reply) else {}

    @computed_once
    def content(self) -> memoryview | None:
        """The content of a message as sent: dots still stuffed, the final dot left out."""
        piece = self._first
        if piece.mode is Mode.CHUNK:
            return self._buffer[piece.start : piece.end]
        if piece.mode is not Mode.CONTENT:
            return None
        # The CRLF before the dot belongs to the content, but where it stands for the 354's.
        end = max(piece.end - 3, piece.start) if piece.complete else piece.end
        return self._buffer[piece.start : end]

    @property
    def malformed(self) -> bool:
        """True if there is anything in `errors`."""
        return bool(self.errors)

    @computed_once
    def errors(self) -> tuple[str, ...]:
        """The faults of the first message, in words; empty if there are none."""
        piece = self._first
        if piece.mode is Mode.CONTENT:
            return tuple(self._wrong_in_content())
        if piece.mode in (Mode.CHUNK, Mode.TLS):
            return ()
        return tuple(self._wrong_in_lines())

    def _wrong_in_lines(self) -> Iterator[str]:
        piece = self._first
        if piece.mode is Mode.HANDSHAKE:
            yield "clear text after STARTTLS"
        if not only_crlf(_without_half_crlf(self._buffer[piece.start : piece.end], piece)):
            yield "bare CR or LF"
        if piece.mode is Mode.RESPONSE and piece.complete:
            if _base64.fullmatch(self._buffer, *self._span()) is None:
                yield "a response that is not base64"
        elif piece.end - piece.start > COMMAND_LINE_OCTETS and self.command != CMD_AUTH:
            yield "line too long"
        found = self._read
        if isinstance(found, str):
            yield found

    def _wrong_in_content(self) -> Iterator[str]:
        piece = self._first
        # What is wrong may lie across the border to the payload before.
        octets = self._state.held + bytes(self._buffer[piece.start : piece.end])
        if not only_crlf(_without_half_crlf(octets, piece)):
            yield "bare CR or LF in the content"
        if b"\0" in octets:
            yield "NUL in the content"
        # The beginning of what may be the end is no offence.
        for dot in lone_dots(octets, len(octets) - len(piece.after.held)):
            yield dot_violation(dot)

    def summary(self) -> str:
        """Return one printable line; what follows AUTH and its mechanism is left out."""
        piece = self._first
        if piece.mode in (Mode.CONTENT, Mode.CHUNK, Mode.TLS, Mode.RESPONSE):
            return f"SMTP {piece.mode.value}, {piece.end - piece.start} octets"
        if piece.mode is Mode.REPLIES:
            code = self.reply_code
            said = f" ({reply_code_description(code)})" if code is not None else ""
            more = " ..." if self.is_multiline else ""
            return f"SMTP S: {printable(self._buffer[slice(*self._span())])}{more}{said}"
        start, end = self._span()
        if self.command == CMD_AUTH:
            mechanism, _, secret = bytes(self.args or b"").partition(b" ")
            hidden = f" [{len(secret)} octets]" if secret else ""
            return f"SMTP C: AUTH {printable(mechanism)}{hidden}"
        return f"SMTP C: {printable(self._buffer[start:end])}"

    def fields(self) -> dict[str, Any]:
        """Return every field of `SMTP_FIELD_NAMES`, None or empty where the message has none."""
        return {name: getattr(self, name) for name in SMTP_FIELD_NAMES}

    def get_field(self, name: str) -> Any:
        """Return a field by its name.

        Raises:
            KeyError: `SMTP_FIELD_NAMES` has no such name.
        """
        if name not in SMTP_FIELD_NAMES:
            raise KeyError(f"no field {name!r}; there are {', '.join(SMTP_FIELD_NAMES)}")
        return getattr(self, name)

    def __bytes__(self) -> bytes:
        """Return a copy of `raw`."""
        return bytes(self.raw)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"


def _meaning(
    table: Mapping[str, Parameter[Any]], name: bytes, octets: bytes | None
) -> tuple[str, Any]:
    """Return a parameter's keyword, and the meaning of its value."""
    keyword = name.decode("ascii").upper()
    value = octets.decode("utf-8", "backslashreplace") if octets is not None else None
    try:
        return keyword, table[keyword].read(value)
    except (KeyError, ValueError):
        return keyword, value


def _octets_of(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    if not view.c_contiguous:
        return memoryview(bytes(view))
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _without_half_crlf(octets: bytes | memoryview, piece: Piece) -> bytes | memoryview:
    """Return octets without a CR at the end of the payload, whose LF may be in the next one."""
    return octets[:-1] if octets[-1:] == b"\r" and not piece.complete else octets


def is_smtp_payload(buf: Buffer) -> bool:
    """Return whether octets start like a line of SMTP: with a known verb, or as a reply.

    A beginning of either is not enough, a line end is not asked for.

    RFC 5321 s4.1, s4.2
    """
    view = _octets_of(buf)
    if len(view) < SMTP_MIN_HEADER_LEN:
        return False
    return verb_at(view, 0) is not None or _starts_like_reply(view) is not None


def smtp_show_fields(layer: SmtpLayer) -> str:
    """Return the fields that a message has, one printable line each.

    Nothing is hidden: what follows AUTH is shown as it was sent.
    """
    lines = []
    for name, value in layer.fields().items():
        if value not in (None, (), {}):
            lines.append(f"{name:<14}= {_shown(value)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, memoryview):
        return printable(value)
    if isinstance(value, tuple):
        return " | ".join(_shown(each) for each in value)
    if isinstance(value, Mapping):
        return " ".join(key if not rest else f"{key}={rest}" for key, rest in value.items())
    return str(value)


def dot_violation(dot: bytes) -> str:
    """Return what is wrong with a dot that `stream.lone_dots` found."""
    return f"{dot!r} in the content, which some servers take for its end"


def printable(octets: Buffer) -> str:
    """Return octets as printable text, with all others escaped."""
    text = bytes(octets).decode("ascii", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
