"""Work grows with the input, and not faster.

Work is counted, not timed: calls of Python and of C, which are the same in each run. What one call
of C does is not seen by that; so long inputs are timed as well, by the CPU, and so far apart that
no noise can make a square of a line: sixteen times the input may take 48 times as long, where work
that grows with the square takes 256.
"""

import contextlib
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from postroom.capture.conversation import Conversation
from postroom.wire.client_session import ClientSession, State
from postroom.wire.data import DotDecoder
from postroom.wire.encode import DotEncoder
from postroom.wire.errors import LocalViolation, ReplyViolation
from postroom.wire.layer import SmtpLayer
from postroom.wire.line_ends import only_crlf
from postroom.wire.stream import IN_DATA
from tests.fuzz.alphabet import WORDS, raw
from tests.fuzz.targets import Target, distinct

# What a target or its library does with files or a whole server is not the parser's work.
_NOT_COUNTED: Final = ("the server", "capture.CaptureFile")
_SLACK: Final = 100
_PUMPED: Final = (
    *(b"RSET\r\n", b"250-a\r\n", b"\r\n.", b"\n.\n", b".\r\n", b"\r", b"x", b"\0"),
    *(b"BDAT 9\r\n", b"EHLO c\r\n", b'MAIL FROM:<"\\', b" A=1", b"AUTH X YQ==\r\n"),
)


def repeated(word: bytes, octets: int) -> bytes:
    """Repeat a word, as often as a length has room for it."""
    return word * (octets // len(word) or 1)


def calls(target: Target, octets: bytes) -> int:
    """Count the calls that a target makes."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # what it would finalize now is somebody else's work
    sys.setprofile(note)
    try:
        target(octets)
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def seconds(work: Callable[[bytes], object], octets: bytes) -> float:
    """Give the CPU time of the better of two runs."""
    best = 1e9
    for _ in range(2):
        begun = time.process_time()
        work(octets)
        best = min(best, time.process_time() - begun)
    return best


def segments(octets: bytes, length: int = 50) -> list[bytes]:
    return [octets[at : at + length] for at in range(0, len(octets), length)]


def decode(octets: bytes) -> None:
    decoder = DotDecoder()
    for segment in segments(octets):
        decoder.feed(segment)


def encode(octets: bytes) -> None:
    with contextlib.suppress(LocalViolation):
        DotEncoder().feed(octets)


def read_replies(octets: bytes) -> None:
    session = ClientSession(State.READY)
    with contextlib.suppress(ReplyViolation):
        for segment in segments(octets):
            session.receive(segment)
            while session.next_answer() is not None:
                pass


def view(octets: bytes) -> None:
    for is_response in (True, False):
        for each in SmtpLayer(octets, is_response=is_response):
            assert each.errors is not None


def view_content(octets: bytes) -> None:
    assert SmtpLayer(octets, state=IN_DATA).errors is not None


def listen(octets: bytes) -> None:
    talk = Conversation()
    for at, segment in enumerate(segments(octets)):
        talk.receive(0, at % 2 == 0, segment)


class LinearTests(SynchronousTestCase):
    """Twice the input makes at most 2.2 times the calls."""

    def test_calls(self) -> None:
        for name, target in distinct():
            if name in _NOT_COUNTED:
                continue
            for word in dict.fromkeys(WORDS):
                text = repeated(word, 1200)
                single, double = calls(target, raw(text)), calls(target, raw(text * 2))
                self.assertLessEqual(double, 2.2 * single + _SLACK, (name, word, single))

    def test_time(self) -> None:
        for work in (only_crlf, decode, encode, read_replies, view, view_content, listen):
            for word in _PUMPED:
                short = seconds(work, repeated(word, 4_096))
                long = seconds(work, repeated(word, 65_536))
                self.assertLessEqual(long, 48 * short + 0.02, (work, word, short))


class DetectionTests(SynchronousTestCase):
    """The tests see what they are for."""

    def test_too_many_calls_are_seen(self) -> None:
        def square(octets: bytes) -> None:
            for at in range(len(octets)):
                for _ in range(at // 100):
                    len(octets)

        self.assertGreater(calls(square, bytes(3000)), 2.2 * calls(square, bytes(1500)) + _SLACK)

    def test_too_much_work_in_one_call_is_seen(self) -> None:
        def square(octets: bytes) -> None:
            while octets:
                octets = octets[2:]

        short = seconds(square, bytes(16_384))
        self.assertGreater(seconds(square, bytes(262_144)), 48 * short + 0.02)
