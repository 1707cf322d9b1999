"""Targets for the packet view, the builder, and what puts captured traffic together."""

from collections.abc import Callable
from typing import Final

from postroom.wire import encode
from postroom.wire.builder import SmtpBuilder
from postroom.wire.data import DotDecoder
from postroom.wire.errors import LocalViolation
from postroom.wire.layer import (
    SMTP_FIELD_NAMES,
    SmtpLayer,
    is_smtp_payload,
    printable,
    smtp_show_fields,
)
from postroom.wire.replies import Reply
from postroom.wire.stream import (
    IN_AUTH,
    IN_COMMANDS,
    IN_DATA,
    IN_HANDSHAKE,
    IN_REPLIES,
    Mode,
    StreamState,
    cut,
    in_chunk,
)
from tests.fuzz.alphabet import fold, line_of

STATES: Final = (IN_COMMANDS, IN_REPLIES, IN_DATA, IN_AUTH, IN_HANDSHAKE, in_chunk(9))
_CONTENT: Final = frozenset({Mode.CONTENT, Mode.CHUNK, Mode.TLS})


def _cut(octets: bytes) -> None:
    segments = fold(octets)
    for state in STATES:
        assert _pieces(segments, state) == _pieces([b"".join(segments)], state)


def _pieces(segments: list[bytes], state: StreamState) -> tuple[list[tuple[Mode, bytes]], object]:
    """Cut a stream of segments; runs of content are joined again."""
    found: list[tuple[Mode, bytes]] = []
    rest = b""
    going_on = False
    for segment in segments:
        octets, at = rest + segment, 0
        rest = b""
        while at < len(octets):
            piece = cut(memoryview(octets), at, state)
            assert at < piece.end <= len(octets)
            if not piece.complete and piece.mode not in _CONTENT:
                rest = octets[at:]
                break
            said = octets[at : piece.end]
            if going_on or (piece.mode is Mode.TLS and found and found[-1][0] is Mode.TLS):
                said = found.pop()[1] + said
            found.append((piece.mode, said))
            going_on = piece.mode in _CONTENT and not piece.complete
            at, state = piece.end, piece.after
    return found, (rest, state)


def _smtp_layer(octets: bytes) -> None:
    payload = b"".join(fold(octets))
    for state in (None, *STATES):
        layers = list(SmtpLayer(payload, state=state))
        assert b"".join(bytes(each.raw) for each in layers) == payload
        for each in layers[:20]:
            assert tuple(each.fields()) == SMTP_FIELD_NAMES
            assert each.malformed == bool(each.errors)
            assert smtp_show_fields(each).replace("\n", " ").isprintable()
            assert each.summary().isprintable()
            if each.is_complete and isinstance(each.parsed, Reply):
                assert each.reply_code == each.parsed.code
                assert each.enhanced_code == each.parsed.enhanced
                text = [str(line, "ascii", "replace") for line in each.reply_text or ()]
                assert tuple(text) == each.parsed.text
    assert is_smtp_payload(payload) in (True, False)
    assert printable(payload).isprintable()


def _smtp_builder(octets: bytes) -> None:
    text = line_of(octets).decode("utf-8", "replace")
    builds: tuple[Callable[[SmtpBuilder], SmtpBuilder], ...] = (
        lambda builder: builder.ehlo(text),
        lambda builder: builder.command("FOO", text),
        lambda builder: builder.mail_from(text),
        lambda builder: builder.mail_from("", SMTPUTF8=None, ENVID=text),
        lambda builder: builder.rcpt_to(text),
        lambda builder: builder.vrfy(text),
        lambda builder: builder.xclient(NAME=text),
        lambda builder: builder.auth("PLAIN", octets),
        lambda builder: builder.bdat(octets, last=True),
    )
    for build in builds:
        try:
            built = build(SmtpBuilder()).build()
        except LocalViolation:
            continue
        layers = list(SmtpLayer(built, is_response=False))
        assert [each.command is not None for each in layers] in ([True], [True, False])
    for add in (SmtpBuilder.ok, SmtpBuilder.ehlo_response):
        try:
            built = add(SmtpBuilder(), text).build()
        except LocalViolation:
            continue
        parsed = SmtpLayer(built, is_response=True).parsed
        assert isinstance(parsed, Reply)
        assert " ".join(parsed.text) == text or parsed.enhanced


def _command_line(octets: bytes) -> None:
    line = line_of(octets)
    for verb, argument in (("NOOP", line), (line.decode("latin-1"), b"")):
        try:
            written = encode.command_line(verb, argument, utf8=True)
        except LocalViolation:
            continue
        assert written.endswith(b"\r\n")
        assert not set(written[:-2]) & set(b"\r\n\0")


def _content(octets: bytes) -> None:
    """The view finds the end of content where the decoder does."""
    segments, decoder, state = fold(octets), DotDecoder(), IN_DATA
    for segment in segments:
        if not segment:
            continue
        decoder.feed(segment)
        piece = cut(memoryview(segment), 0, state)
        assert piece.complete == decoder.ended
        if decoder.ended:
            assert segment[piece.end :] == decoder.rest
            return
        state = piece.after


PACKET_TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "stream.cut": _cut,
    "stream.verb_at": _cut,
    "stream.in_chunk": _cut,
    "stream.line_end": _cut,
    "stream.next_line": _smtp_layer,
    "stream.lone_dots": _smtp_layer,
    "stream content": _content,
    "layer.SmtpLayer": _smtp_layer,
    "layer.is_smtp_payload": _smtp_layer,
    "layer.smtp_show_fields": _smtp_layer,
    "layer.printable": _smtp_layer,
    "layer.dot_violation": _smtp_layer,
    "builder.SmtpBuilder": _smtp_builder,
    "encode.command_line": _command_line,
}
