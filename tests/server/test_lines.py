"""Tests for `postroom.server.lines`."""

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import ISystemHandle
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.server.lines import LineStream
from tests.server.scene import Transport


class Recorder(LineStream):
    """Writes down what it is given; a line ``raw`` asks for raw octets up to a ``!``."""

    MAX_LENGTH = 10
    MAX_DROPPED = 100

    def __init__(self) -> None:
        self.events: list[object] = []
        self.echo = False
        self.hold_at: bytes | None = None

    def lineReceived(self, line: bytes) -> None:
        self.events.append(line)
        if self.echo:
            self.send_reply(line + b"\r\n")
        if line == b"raw":
            self.setRawMode()
        if line == self.hold_at:
            self.pause_input()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.events.append("too long")

    def bareNewlineReceived(self) -> None:
        self.events.append("bare newline")
        super().bareNewlineReceived()

    def lineEndless(self) -> None:
        self.events.append("endless")
        super().lineEndless()

    def rawDataReceived(self, data: bytes) -> None:
        octets, end, rest = data.partition(b"!")
        last = self.events[-1] if self.events else None
        if isinstance(last, bytearray):
            last += octets
        else:
            self.events.append(bytearray(octets))
        if end:
            self.events.append("end")
            self.setLineMode(rest)


def connected() -> Recorder:
    made = Recorder()
    transport = Transport(None)
    made.makeConnection(transport)
    return made


def events(chunks: list[bytes], most_dropped: int = 100) -> list[object]:
    made = connected()
    made.MAX_DROPPED = most_dropped
    for chunk in chunks:
        made.dataReceived(chunk)
    return made.events


PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"ab", b"raw\r\n", b"raw", b"!", b"0123456789", b"x" * 30, b""]
)


class LineTests(SynchronousTestCase):
    """What is a line."""

    def test_only_crlf_ends_a_line(self) -> None:
        self.assertEqual(events([b"b\rc\r\n\r\nd\r\r\n"]), [b"b\rc", b"", b"d\r"])

    def test_a_bare_lf_ends_everything(self) -> None:
        for stream in (b"a\r\nb\nc\r\n", b"a\r\n\nc\r\n", b"a\r\nb\r \nc\r\n", b"a\r\n\n"):
            for chunks in ([stream], [bytes([octet]) for octet in stream]):
                self.assertEqual(events(chunks), [b"a", "bare newline"])

    def test_any_lf_ends_a_line_where_that_is_wanted(self) -> None:
        for size in (1, 2, 99):
            made = connected()
            made.takes_bare_newlines = True
            stream = b"a\nb\r\n\n\r\n\r\r\nc\n0123456789x\nd\n"
            for at in range(0, len(stream), size):
                made.dataReceived(stream[at : at + size])
            self.assertEqual(made.events, [b"a", b"b", b"", b"", b"\r", b"c", "too long", b"d"])

    def test_a_line_in_pieces(self) -> None:
        self.assertEqual(events([b"a", b"b\r", b"\nc\r", b"\r", b"\n"]), [b"ab", b"c\r"])

    @settings(max_examples=300)
    @given(st.lists(PIECES, max_size=20), st.lists(st.integers(1, 7)))
    def test_the_segments_make_no_difference(self, pieces: list[bytes], sizes: list[int]) -> None:
        stream = b"".join(pieces)
        chunks, at = [], 0
        for size in sizes:
            chunks.append(stream[at : at + size])
            at += size
        # But for this: whether a line is endless is only asked when a segment leaves it unfinished.
        whole, cut = events([stream], 10_000), events([*chunks, stream[at:]], 10_000)
        self.assertEqual(cut, whole)

    def test_the_longest_line(self) -> None:
        self.assertEqual(events([b"0123456789\r\n"]), [b"0123456789"])
        self.assertEqual(events([b"0123456789", b"\r", b"\n"]), [b"0123456789"])
        self.assertEqual(events([b"0123456789\r", b"\n"]), [b"0123456789"])

    def test_a_longer_line_is_told_of_once_and_its_end_is_found(self) -> None:
        for chunks in (
            [b"0123456789x\r\nNEXT\r\n"],
            [b"0123456789x", b"y" * 20, b"NEXT", b"\r", b"\nNEXT\r\n"],
            [b"0123456789xyz\r", b"\nNEXT\r\n"],
            [b"0123456789xyz\r", b"\r", b"\r\nNEXT\r\n"],
            [bytes([octet]) for octet in b"0123456789xNEXT\r\rNEXT\r\nNEXT\r\n"],
        ):
            self.assertEqual(events(chunks), ["too long", b"NEXT"])

    def test_a_line_without_end_is_hung_up_on_and_was_not_kept(self) -> None:
        made = connected()
        most = 0
        for _ in range(200):
            made.dataReceived(b"x" * 7)
            most = max(most, len(made._buffer))
        self.assertEqual(made.events, ["too long", "endless"])
        self.assertTrue(made.transport.disconnecting)
        self.assertLess(most, 20)

    def test_nothing_is_looked_at_after_the_end(self) -> None:
        made = connected()
        made.dataReceived(b"a\r\n")
        made.finish()
        made.dataReceived(b"b\r\n")
        self.assertEqual(made.events, [b"a"])


class RawTests(SynchronousTestCase):
    """Octets that are no lines."""

    def test_what_follows_in_the_segment_is_raw_and_what_is_left_is_lines(self) -> None:
        self.assertEqual(
            events([b"raw\r\nab\r\nc!d\r\ne"]), [b"raw", bytearray(b"ab\r\nc"), "end", b"d"]
        )

    def test_no_line_is_too_long_among_raw_octets(self) -> None:
        self.assertEqual(
            events([b"raw\r\n", b"x" * 500, b"!"]), [b"raw", bytearray(b"x" * 500), "end"]
        )

    def test_what_was_cleared_does_not_come_back(self) -> None:
        made = connected()
        made.hold_at = b"a"
        made.dataReceived(b"a\r\nb\r\nc")
        self.assertEqual(made.clearLineBuffer(), b"b\r\nc")
        made.resume_input()
        made.dataReceived(b"\r\n")
        self.assertEqual(made.events, [b"a", b""])


class HoldTests(SynchronousTestCase):
    """Input that waits."""

    def test_nothing_is_delivered_while_it_is_held(self) -> None:
        made = connected()
        made.hold_at = b"b"
        made.dataReceived(b"a\r\nb\r\nc\r\n")
        self.assertEqual(made.events, [b"a", b"b"])
        made.dataReceived(b"d\r\n")
        self.assertEqual(made.events, [b"a", b"b"])
        made.resume_input()
        self.assertEqual(made.events, [b"a", b"b", b"c", b"d"])

    def test_the_transport_is_paused_only_when_the_peer_goes_on(self) -> None:
        made = connected()
        made.hold_at = b"a"
        made.dataReceived(b"a\r\n")
        self.assertEqual(made.transport.producerState, "producing")
        made.dataReceived(b"b\r\n")
        self.assertEqual(made.transport.producerState, "paused")
        made.resume_input()
        self.assertEqual(made.transport.producerState, "producing")
        self.assertEqual(made.events, [b"a", b"b"])

    def test_it_may_be_held_again_at_once(self) -> None:
        made = connected()
        made.hold_at = b"a"
        made.dataReceived(b"a\r\na\r\nb\r\n")
        made.resume_input()
        self.assertEqual(made.events, [b"a", b"a"])
        made.resume_input()
        self.assertEqual(made.events, [b"a", b"a", b"b"])

    def test_raw_octets_wait_as_well(self) -> None:
        made = connected()
        made.hold_at = b"raw"
        made.dataReceived(b"raw\r\nabc!d\r\n")
        self.assertEqual(made.events, [b"raw"])
        made.resume_input()
        self.assertEqual(made.events, [b"raw", bytearray(b"abc"), "end", b"d"])


class SayTests(SynchronousTestCase):
    """What is sent."""

    def test_the_replies_to_a_segment_leave_in_one_write(self) -> None:
        made = connected()
        made.echo = True
        made.dataReceived(b"a\r\nb\r\nc\r\nd")
        self.assertEqual(made.transport.writes, [b"a\r\nb\r\nc\r\n"])
        made.dataReceived(b"\r\n")
        self.assertEqual(made.transport.writes[1:], [b"d\r\n"])

    def test_replies_do_not_wait_for_what_is_held(self) -> None:
        made = connected()
        made.echo, made.hold_at = True, b"b"
        made.dataReceived(b"a\r\nb\r\nc\r\n")
        self.assertEqual(made.transport.writes, [b"a\r\nb\r\n"])
        made.resume_input()
        self.assertEqual(made.transport.writes[1:], [b"c\r\n"])

    def test_what_is_said_out_of_the_blue_leaves_at_once(self) -> None:
        made = connected()
        made.send_reply(b"x\r\n")
        self.assertEqual(made.transport.writes, [b"x\r\n"])

    def test_the_last_words_are_sent_even_while_input_is_held(self) -> None:
        made = connected()
        made.pause_input()
        made.send_reply(b"bye\r\n")
        self.assertEqual(made.transport.writes, [])
        made.finish()
        self.assertEqual(made.transport.writes, [b"bye\r\n"])
        self.assertTrue(made.transport.disconnecting)
        made.finish()


@implementer(ISystemHandle)
class SocketTransport(Transport):
    """A transport that owns a socket."""

    def __init__(self, handle: object) -> None:
        super().__init__(None)
        self.handle = handle

    def getHandle(self) -> object:
        return self.handle


class DirectTests(SynchronousTestCase):
    """Replies that pass the transport by."""

    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        self.made = Recorder()
        self.made.makeConnection(SocketTransport(self.ours))
        self.made.send_directly()

    def test_a_reply_goes_to_the_socket(self) -> None:
        self.made.send_reply(b"x\r\n")
        self.assertEqual(self.theirs.recv(100), b"x\r\n")
        self.assertEqual(self.made.transport.writes, [])

    def test_what_a_full_socket_does_not_take_and_all_that_follows_is_the_transports(self) -> None:
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        block = bytes(range(256)) * 40
        said = b""
        while not self.made.transport.writes:
            self.made.send_reply(block)
            said += block
        self.theirs.setblocking(False)
        sent = b""
        while len(sent) + sum(map(len, self.made.transport.writes)) < len(said):
            sent += self.theirs.recv(100_000)
        self.made.send_reply(b"after")
        self.assertEqual(sent + b"".join(self.made.transport.writes), said + b"after")
        self.assertRaises(BlockingIOError, self.theirs.recv, 1)

    def test_a_broken_socket_is_left_to_the_transport(self) -> None:
        self.ours.close()
        self.made.send_reply(b"x")
        self.assertEqual(self.made.transport.writes, [b"x"])

    def test_over_tls_everything_is_the_transports(self) -> None:
        self.made.send_through_transport()
        self.made.send_reply(b"x")
        self.assertEqual(self.made.transport.writes, [b"x"])

    def test_a_handle_that_is_no_socket_is_left_alone(self) -> None:
        made = Recorder()
        made.makeConnection(SocketTransport(object()))
        made.send_directly()
        made.send_reply(b"x")
        self.assertEqual(made.transport.writes, [b"x"])


class HalfCloseTests(SynchronousTestCase):
    """Peers that close their side first."""

    def test_what_was_sent_is_answered_before_we_close(self) -> None:
        made = connected()
        made.echo, made.hold_at = True, b"a"
        made.dataReceived(b"a\r\nb\r\nc")
        made.readConnectionLost()
        self.assertFalse(made.finished)
        made.resume_input()
        self.assertEqual(made.transport.value(), b"a\r\nb\r\n")  # type: ignore[attr-defined]
        self.assertTrue(made.finished)

    def test_without_anything_under_way_we_close_at_once(self) -> None:
        for octets in (b"", b"a\r\n", b"half", b"raw\r\nhalf"):
            made = connected()
            made.dataReceived(octets)
            self.assertFalse(made.finished)
            made.readConnectionLost()
            self.assertTrue(made.finished)
            self.assertTrue(made.transport.disconnecting)  # type: ignore[attr-defined]
