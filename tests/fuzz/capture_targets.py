"""Targets for captured traffic: files, streams, conversations."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from postroom.capture.conversation import Conversation
from postroom.capture.files import CaptureError, CaptureFile, Endpoint, Segment
from postroom.capture.sessions import Sessions
from postroom.capture.tcp import TcpConnection
from postroom.capture.transcript import document, text_lines
from tests.capture.wire import Line, shown, write_pcap, write_pcapng
from tests.fuzz.alphabet import fold

CLIENT: Final = Endpoint("192.0.2.1", 40_000)
SERVER: Final = Endpoint("192.0.2.2", 25)


def _conversation(octets: bytes) -> None:
    """Both sides say a word in turn, or one of them a run of words."""
    runs = [(at // 3 % 2 == 0, word) for at, word in enumerate(fold(octets))]
    whole, cut = Conversation(), Conversation()
    for from_client, said in runs:
        whole.receive(0, from_client, said)
        for at in range(len(said)):
            cut.receive(0, from_client, said[at : at + 1])
    for talk in (whole, cut):
        talk.end(0, reset=False)
    assert shown(whole) == shown(cut), (shown(whole), shown(cut))
    assert all(line.isprintable() for line in shown(whole))


def _connection(octets: bytes) -> None:
    """Segments anywhere, repeated and overlapping, are of one text: so is what is delivered."""
    text = bytes(range(256)) * 2
    connection = TcpConnection(CLIENT, SERVER, True)
    list(connection.take(_segment(-1, b"", syn=True)))
    place = 0
    for start, length in zip(octets[::2], octets[1::2], strict=False):
        acknowledged = length if start % 7 == 0 else None
        segments = [_segment(start, text[start : start + length])]
        if acknowledged is not None:
            segments.append(_segment(0, b"", ack=acknowledged))
        for segment in segments:
            for delivery in connection.take(segment):
                assert delivery.from_client
                assert delivery.octets == text[place : place + len(delivery.octets)]
                place += len(delivery.octets) + delivery.lost
    for delivery in connection.finish():
        if delivery.from_client:
            assert delivery.octets == text[place : place + len(delivery.octets)]
            place += len(delivery.octets) + delivery.lost


def _segment(at: int, octets: bytes, ack: int | None = None, syn: bool = False) -> Segment:
    ends = (CLIENT, SERVER) if ack is None else (SERVER, CLIENT)
    number = None if ack is None else (2**32 - 99 + ack) % 2**32
    sequence = (2**32 - 99 + at) % 2**32
    return Segment(0.0, *ends, sequence, number, syn, False, False, octets)


def _file(octets: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(fold(octets)))
        file.flush()
        sessions = Sessions()
        try:
            capture = CaptureFile(Path(file.name))
        except CaptureError:
            return
        try:
            for segment in capture.segments():
                sessions.take(segment)
        except CaptureError as error:
            assert str(error).isprintable()
        finally:
            capture.close()
        sessions.finish()
        for session in sessions.found:
            assert document(session)["transcript"] is not None
            assert all(line.isprintable() for line in text_lines(session))
        assert all(str(each).isprintable() for each in sessions.foreign)


@cache
def capture_files() -> tuple[bytes, ...]:
    """Give a few whole files to begin with."""
    line = Line().open().server(b"220 a\r\n").client(b"EHLO c\r\n").server(b"250 a\r\n").close()
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        return tuple(write(path, line.frames).read_bytes() for write in (write_pcap, write_pcapng))


CAPTURE_TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "capture.Conversation": _conversation,
    "capture.TcpConnection": _connection,
    "capture.CaptureFile": _file,
}
