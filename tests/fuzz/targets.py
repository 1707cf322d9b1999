"""One fuzz target for every public entry of `postroom.wire`, and one for the server over it.

A target takes octets from a fuzzer, makes segments of the protocol of them (`alphabet`), and runs
its entry on the result. It returns if the entry behaved, and raises if it did not: the only
exceptions that an entry may raise are those of its contract; an entry that is fed gives the same
however its input is cut; what was written is read again as it was. Any fuzzer can drive it:
hypothesis does in `test_targets`, atheris in `atheris_run`.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

from postroom.server.limits import Limits
from postroom.wire import encode, values
from postroom.wire.client_session import (
    ClientSession,
    State,
    Transaction,
)
from postroom.wire.codes import reply_code_description
from postroom.wire.commands import (
    Auth,
    Command,
    Hello,
    Noop,
    Xclient,
    Xforward,
)
from postroom.wire.data import (
    MEND_ALL,
    BareNewlineDecoder,
    ChunkDecoder,
    DotDecoder,
    Flaw,
    TextRules,
)
from postroom.wire.errors import LocalViolation, ReplyViolation, SyntaxViolation
from postroom.wire.fields import FIELD_BEGUN, field_pattern
from postroom.wire.grammar import Syntax, parse_command
from postroom.wire.line_ends import only_crlf
from postroom.wire.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS, parse_parameters
from postroom.wire.paths import (
    DOMAIN_OCTETS,
    PATH_OCTETS,
    Mailbox,
    PathError,
    check_literal,
    check_utf8,
    is_domain,
    is_host_name,
    mailbox,
    parse_mailbox,
    parse_path,
)
from postroom.wire.replies import Reply, reply
from postroom.wire.reply_reader import ReplyReader
from postroom.wire.session import Capabilities, Chunk, ServerSession
from postroom.wire.state import Phase
from postroom.wire.tolerance import NONE
from postroom.wire.xtext import decode_xtext, encode_xtext
from tests.fuzz.alphabet import fold, line_of
from tests.fuzz.capture_targets import CAPTURE_TARGETS
from tests.fuzz.packet_targets import PACKET_TARGETS
from tests.fuzz.peer_targets import PEER_TARGETS
from tests.server.scene import Scene, settings

Target = Callable[[bytes], None]

_FIELDS: Final = field_pattern("from", "mail")

OFFER: Final = Capabilities(
    "mx.example", dict.fromkeys(("SIZE", "8BITMIME", "AUTH", "STARTTLS", "CHUNKING", "DSN"), "")
)
EXTENSIONS: Final = dict.fromkeys(
    {each.extension for table in (MAIL_PARAMETERS, RCPT_PARAMETERS) for each in table.values()},
    "",
)
SYNTAXES: Final = (
    Syntax(OFFER.extensions),
    Syntax(OFFER.extensions, NONE),
    Syntax(EXTENSIONS, utf8=True),
    Syntax(EXTENSIONS, NONE, utf8=True),
)
REFUSE_ALL: Final = TextRules(998, refuse_bare_newline=True, refuse_nul=True)
READERS: Final = tuple(
    read
    for name, read in inspect.getmembers(values, inspect.isfunction)
    if name.startswith("read_")
)


def _parse_mailbox(octets: bytes) -> None:
    try:
        read = parse_mailbox(line_of(octets))
    except PathError:
        return
    assert parse_mailbox(bytes(read)) == read
    assert str(read).isprintable()
    assert read.domain_key == read.domain_key.lower()


def _parse_path(octets: bytes) -> None:
    for path in (line_of(octets), b"<" + line_of(octets) + b">"):
        try:
            read = parse_path(path)
        except PathError:
            continue
        written = b"<" + (b"" if read is None else bytes(read)) + b">"
        assert len(written) > PATH_OCTETS or parse_path(written) == read  # quotes may be new


def _is_host_name(octets: bytes) -> None:
    for name in (line_of(octets), b"[" + line_of(octets) + b"]"):
        assert not is_host_name(name) or (name.isascii() and len(name) <= DOMAIN_OCTETS)


def _check_literal(octets: bytes) -> None:
    try:
        check_literal(b"[" + line_of(octets).decode("ascii", "ignore").encode() + b"]")
    except PathError:
        return


def _mailbox(octets: bytes) -> None:
    try:
        assert isinstance(mailbox(line_of(octets).decode("utf-8", "replace")), Mailbox)
    except LocalViolation:
        return


def _is_domain(octets: bytes) -> None:
    name = line_of(octets).decode("utf-8", "replace")
    if is_domain(name):
        assert name.isascii()
        assert not name.startswith(".")
        assert ".." not in name


def _field_pattern(octets: bytes) -> None:
    for found in _FIELDS.finditer(octets):
        assert found[1].lower() in (b"from", b"mail")
        assert octets[: found.start()][-1:] in (b"", b"\n")
        assert FIELD_BEGUN.match(found[0]) is not None


def _parse_parameters(octets: bytes) -> None:
    for known in (MAIL_PARAMETERS, RCPT_PARAMETERS):
        try:
            line = line_of(octets).decode("utf-8", "replace").encode()
            read = parse_parameters(line, known, EXTENSIONS)
        except SyntaxViolation as violation:
            assert violation.reply.code in (501, 555)
            continue
        assert set(read) <= set(known)


def _xtext(octets: bytes) -> None:
    assert decode_xtext(encode_xtext(octets)) == octets
    try:
        decode_xtext(line_of(octets).decode("ascii", "ignore"))
    except ValueError:
        return


def _read_value(octets: bytes) -> None:
    value = line_of(octets).decode("utf-8", "replace")
    for read in READERS:
        try:
            meaning = read(value)
        except ValueError:
            continue
        encoded = getattr(meaning, "encoded", None)
        assert encoded is None or read(encoded) == meaning


def _check_utf8(octets: bytes) -> None:
    try:
        text = check_utf8(line_of(octets))
    except PathError:
        return
    assert text.encode() == line_of(octets)


def _parse_command(octets: bytes) -> None:
    for syntax in SYNTAXES:
        command = _parsed(line_of(octets), syntax)
        if command is None or isinstance(command, Noop):
            continue
        try:
            written = encode.encode(command, syntax.utf8)
        except LocalViolation:  # what others may call themselves, we may not
            assert isinstance(command, Hello | Xclient | Xforward)
            continue
        assert len(written) > PATH_OCTETS or _parsed(written[:-2], syntax) == command


def _parsed(line: bytes, syntax: Syntax) -> Command | None:
    try:
        return parse_command(line, syntax)
    except SyntaxViolation as violation:
        assert violation.reply.code in (421, 500, 501, 502, 553, 555)
        assert violation.reply.enhanced is not None
        assert len(violation.reply.wire) <= 512
        return None


def _reply(octets: bytes) -> None:
    words = [word.decode("latin-1") for word in fold(octets)]
    written = reply(250, "2.0.0", *words).wire
    reader = ReplyReader(10_000, 10_000_000)
    *lines, rest = written.split(b"\r\n")
    assert rest == b""
    replies = [each for line in lines if (each := reader.feed(line)) is not None]
    assert len(replies) == 1
    assert all(len(line) <= 510 for line in lines)


def _reply_reader(octets: bytes) -> None:
    reader = ReplyReader()
    for line in b"".join(fold(octets)).split(b"\r\n"):
        try:
            read = reader.feed(line)
        except ReplyViolation:
            return
        assert read is None or 200 <= read.code <= 599


def _dot_decoder(octets: bytes) -> None:
    words = fold(octets)
    for kind, rules in (
        (DotDecoder, MEND_ALL),
        (DotDecoder, REFUSE_ALL),
        (BareNewlineDecoder, MEND_ALL),
    ):
        content, flawed, ended, rest = _decoded(words, kind(rules))
        whole = _decoded([b"".join(words)], kind(rules))
        assert (flawed, ended, rest) == whole[1:]
        if flawed or not ended:
            continue
        assert content == whole[0]
        assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")


def _decoded(segments: list[bytes], decoder: DotDecoder) -> tuple[bytes, Flaw | None, bool, bytes]:
    content = b""
    for at, segment in enumerate(segments):
        content += decoder.feed(segment)
        if decoder.ended:
            rest = decoder.rest + b"".join(segments[at + 1 :])
            return content, decoder.flaw, True, rest
    return content, None, False, b""


def _chunk_decoder(octets: bytes) -> None:
    words = fold(octets)
    content = b"".join(words)
    for binary in (False, True):
        whole = _unchunked([content], binary)
        assert _unchunked(words, binary)[1:] == whole[1:]
        if whole[1] is None:
            assert whole[0] == content


def _unchunked(chunks: list[bytes], binary: bool) -> tuple[bytes, Flaw | None]:
    decoder = ChunkDecoder(REFUSE_ALL, binary)
    content = b""
    for at, chunk in enumerate(chunks):
        decoder.begin(len(chunk))
        for piece in (chunk[:1], chunk[1:] + b"NOOP"[: at % 5]) if chunk else ():
            assert decoder.rest == b""
            content += decoder.feed(piece)
        assert decoder.ended
        assert decoder.rest == b"NOOP"[: at % 5] if len(chunk) > 1 else True
    content += decoder.finish()
    return content, decoder.flaw


def _server_session(octets: bytes) -> None:
    session = ServerSession(OFFER)
    session.greet(reply(220, None, "welcome"))
    verdicts = (reply(250, "2.0.0"), reply(550, "5.0.0"), reply(451, "4.0.0"), reply(235, "2.7.0"))
    for at, line in enumerate(b"".join(fold(octets)).split(b"\r\n")):
        if session.phase in (Phase.HANDSHAKE, Phase.CLOSED, Phase.RESTART):
            return
        if session.phase is Phase.CONTENT:
            session.end_of_content()
            session.answer(verdicts[at % 3])
            continue
        received = session.receive(line)
        if isinstance(received, Chunk) and received.refusal is not None:
            received = received.refusal
        assert session.waiting
        challenge = isinstance(received, Auth) and at % 2
        verdict = reply(334, None) if challenge else verdicts[(at + len(line)) % 4]
        session.answer(received if isinstance(received, Reply) else verdict)
        assert not session.waiting


def _encode(octets: bytes) -> None:
    line = line_of(octets)
    mechanism = line[:12].decode("latin-1").upper()
    parameters: dict[str, str | None] = {line[:9].decode("latin-1"): line[9:].decode("latin-1")}
    name = Mailbox(line[:30], b"there.example")
    for write in (
        lambda: encode.ehlo(line),
        lambda: encode.helo(line),
        lambda: encode.lhlo(line),
        lambda: encode.bdat(len(line) - 100),
        lambda: encode.rcpt(name, utf8=True),
        lambda: encode.mail(name, parameters),
        lambda: encode.rcpt(name, parameters),
        lambda: encode.auth(mechanism, line),
        lambda: encode.auth_response(line),
    ):
        try:
            written = write()
        except LocalViolation:
            continue
        assert written.endswith(b"\r\n")
        assert not set(written[:-2]) & set(b"\r\n\0")


def _dot_encoder(octets: bytes) -> None:
    encoder, decoder = encode.DotEncoder(), DotDecoder()
    sent = b""
    try:
        for segment in fold(octets):
            sent += encoder.feed(segment)
        sent += encoder.finish()
    except LocalViolation:
        assert b"\0" not in sent
        return
    content = decoder.feed(sent)
    assert decoder.ended
    assert decoder.flaw is None
    assert decoder.rest == b""
    assert content.removesuffix(b"\r\n") == b"".join(fold(octets)).removesuffix(b"\r\n")


def _client_session(octets: bytes) -> None:
    words = fold(octets)
    assert _answers(words) == _answers([b"".join(words)])


def _answers(segments: list[bytes]) -> list[object]:
    session = ClientSession(State.READY)
    session.begin(Transaction(b"MAIL FROM:<>\r\n", [b"RCPT TO:<a@b>\r\n"] * 3))
    found: list[object] = []
    try:
        for segment in segments:
            session.receive(segment)
            while (answer := session.next_answer()) is not None:
                found.append(answer)
                if not session.awaiting:
                    session.proceed()
    except ReplyViolation:
        found.append("a violation")
    return found


def _only_crlf(octets: bytes) -> None:
    for content in (octets, b"".join(fold(octets))):
        without = content.replace(b"\r\n", b"")
        assert only_crlf(content) == (b"\r" not in without and b"\n" not in without)


def _reply_code_description(octets: bytes) -> None:
    assert reply_code_description(int.from_bytes(octets[:3], "big", signed=True))


def _server(octets: bytes) -> None:
    """The server itself: any octets, cut in any way, are answered alike."""
    heard = []
    for segments in (fold(octets), [b"".join(fold(octets))]):
        scene = Scene(settings(limits=Limits(errors_before_delay=1000)))
        peer = scene.connect()
        for segment in (b"EHLO client.example\r\n", *segments):
            peer.send(segment)
        peer.settle()
        heard.append((peer.hear_all(), peer.closed, _without_ids(scene)))
        peer.lose()
        assert len(scene.connections) == 0
        assert not scene.clock.getDelayedCalls()
    if (
        peer.transport.tls is None
    ):  # what comes along with STARTTLS is dropped, what comes later not
        assert heard[0] == heard[1], heard


def _without_ids(scene: Scene) -> list[Any]:
    return [(each.sender, each.recipients, each.content) for each in scene.world.stored]


TARGETS: Final[dict[str, Target]] = {
    "line_ends.only_crlf": _only_crlf,
    "paths.parse_mailbox": _parse_mailbox,
    "paths.parse_path": _parse_path,
    "paths.check_literal": _check_literal,
    "paths.is_host_name": _is_host_name,
    "paths.is_domain": _is_domain,
    "fields.field_pattern": _field_pattern,
    "paths.mailbox": _mailbox,
    "parameters.parse_parameters": _parse_parameters,
    "paths.check_utf8": _check_utf8,
    "xtext.decode_xtext": _xtext,
    "xtext.encode_xtext": _xtext,
    **dict.fromkeys((f"values.{read.__name__}" for read in READERS), _read_value),
    "grammar.parse_command": _parse_command,
    "replies.reply": _reply,
    "reply_reader.ReplyReader": _reply_reader,
    "data.DotDecoder": _dot_decoder,
    "data.BareNewlineDecoder": _dot_decoder,
    "data.ChunkDecoder": _chunk_decoder,
    "session.ServerSession": _server_session,
    "encode.encode": _parse_command,
    "encode.ehlo": _encode,
    "encode.helo": _encode,
    "encode.lhlo": _encode,
    "encode.bdat": _encode,
    "encode.mail": _encode,
    "encode.rcpt": _encode,
    "encode.auth": _encode,
    "encode.auth_response": _encode,
    "encode.DotEncoder": _dot_encoder,
    "client_session.ClientSession": _client_session,
    "codes.reply_code_description": _reply_code_description,
    **PACKET_TARGETS,
    **CAPTURE_TARGETS,
    **PEER_TARGETS,
    "the server": _server,
}


def distinct() -> Iterator[tuple[str, Target]]:
    """Give each target once, under the first name that it has."""
    seen: set[Target] = set()
    for name, target in TARGETS.items():
        if target not in seen:
            seen.add(target)
            yield name, target
