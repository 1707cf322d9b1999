"""Log lines."""

import io
import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.service import logs
from postroom.service.logs import (
    FLUSH_SECONDS,
    LINE_CHARACTERS,
    JSONFormat,
    LineObserver,
    StreamSink,
    TextFormat,
    make_observer,
)
from postroom.service.state import Owner

AT = 1_795_305_723.125  # 2026-11-22 00:02:03.125 UTC


def event(text: str = "hello", level: LogLevel = LogLevel.info, **more: Any) -> LogEvent:
    return {
        "log_time": AT,
        "log_level": level,
        "log_namespace": "postroom.test",
        "log_format": text,
        **more,
    }


class Reactor(Clock):
    """A clock that takes calls from threads."""

    def callFromThread(self, call: Any, *args: Any) -> None:
        self.callLater(0, call, *args)


class TextTests(SynchronousTestCase):
    """Lines to read."""

    def line(self, *args: Any, **more: Any) -> str:
        return TextFormat()(event(*args, **more))

    def test_a_line_has_time_level_and_namespace(self) -> None:
        self.assertEqual(
            self.line("sent {id} in {delay:.2f} s", id="ab", delay=0.125),
            "2026-11-22T00:02:03.125Z info [postroom.test] sent ab in 0.12 s",
        )

    def test_what_a_peer_sends_cannot_end_the_line_or_reach_the_terminal(self) -> None:
        line = self.line("{a}", a="x\r\n2026 forged\x1b[2J\u2028\x85\ud800\0")
        self.assertTrue(line.endswith(r"x\r\n2026 forged\x1b[2J\u2028\x85\ud800\x00"), ascii(line))

    def test_a_long_line_is_cut(self) -> None:
        self.assertEqual(len(self.line("x" * 100_000)), LINE_CHARACTERS + 1)

    def test_a_failure_is_one_line_with_its_traceback(self) -> None:
        try:
            raise ValueError("broken\nhere")
        except ValueError:
            line = self.line("no", LogLevel.critical, log_failure=Failure())
        self.assertNotIn("\n", line)
        self.assertIn(r"ValueError: broken\nhere", line)
        self.assertIn("test_logs.py", line)

    def test_an_event_that_cannot_be_formatted_is_still_told(self) -> None:
        self.assertIn("missing", self.line("{missing}"))

    def test_functions_in_a_format_are_called(self) -> None:
        self.assertTrue(self.line("{a()}", a=lambda: 7).endswith(" 7"))


class JSONTests(SynchronousTestCase):
    """Lines for programs."""

    def record(self, *args: Any, **more: Any) -> dict[str, Any]:
        line = JSONFormat()(event(*args, **more))
        self.assertNotIn("\n", line)
        self.assertNotIn("\u2028", line)
        found: dict[str, Any] = json.loads(line)
        return found

    def test_a_record_has_the_events_own_fields(self) -> None:
        record = self.record(
            "{id} {size}",
            id="ab",
            size=3,
            tls=None,
            to=[b"a@b\xff"],
            at=Path("/x"),
            log_source=self,
        )
        self.assertEqual(
            record,
            {
                "time": "2026-11-22T00:02:03.125Z",
                "level": "info",
                "namespace": "postroom.test",
                "message": "ab 3",
                "id": "ab",
                "size": 3,
                "tls": None,
                "to": ["a@b\\xff"],
                "at": "/x",
            },
        )

    def test_odd_characters_survive(self) -> None:
        self.assertEqual(
            self.record(a="é\r\n\u2028\x1b\x85\ud800")["a"], "é\r\n\u2028\x1b\x85\ud800"
        )


class ObserverTests(SynchronousTestCase):
    """When lines are written."""

    def setUp(self) -> None:
        self.stream = io.StringIO()
        self.writes: list[str] = []
        self.reactor = Reactor()
        self.observer = LineObserver(self, TextFormat())
        self.observer.run_on(self.reactor)

    def write(self, text: str) -> None:
        self.writes.append(text)

    def reopen(self) -> None:
        raise OSError(13, "Permission denied")

    def test_lines_of_a_moment_are_one_write(self) -> None:
        for text in ("a", "b", "c"):
            self.observer(event(text))
        self.assertEqual(self.writes, [])
        self.reactor.pump([0, FLUSH_SECONDS])
        (written,) = self.writes
        self.assertEqual([line[-1] for line in written.splitlines()], ["a", "b", "c"])
        self.observer(event("d"))
        self.reactor.pump([0, FLUSH_SECONDS])
        self.assertEqual(len(self.writes), 2)

    def test_warnings_are_written_at_once(self) -> None:
        self.observer(event("a"))
        self.observer(event("b", LogLevel.warn))
        self.assertEqual(len(self.writes), 1)
        self.reactor.pump([0, FLUSH_SECONDS])
        self.assertEqual(len(self.writes), 1)

    def test_a_flood_is_written_before_it_fills_the_memory(self) -> None:
        for _ in range(1000):
            self.observer(event())
        self.assertEqual(len(self.writes), 1)

    def test_before_the_reactor_is_known_lines_are_written_at_once(self) -> None:
        observer = LineObserver(self, TextFormat())
        observer(event())
        self.assertEqual(len(self.writes), 1)

    def test_an_event_that_breaks_does_not_break_who_logs_it(self) -> None:
        self.observer(event(log_level="nonsense"))
        self.observer.flush()
        self.assertIn("could not be formatted: AttributeError", self.writes[0])

    def test_a_full_disk_stops_nothing(self) -> None:
        def full(text: str) -> None:
            raise OSError(28, "No space left on device")

        self.patch(self, "write", full)
        self.observer(event("a", LogLevel.error))
        self.patch(self, "write", self.writes.append)
        self.observer(event("b", LogLevel.error))
        self.assertTrue(self.writes[0].endswith(" b\n"))

    def test_a_file_that_cannot_be_opened_anew_is_told(self) -> None:
        told: list[Any] = []
        self.patch(logs._log, "observer", told.append)
        self.observer.reopen()
        self.assertIn("Permission denied", told[0]["error"])


class FileTests(SynchronousTestCase):
    """Log files."""

    def test_after_a_rotation_lines_go_into_the_new_file(self) -> None:
        path = Path(self.mktemp())
        observer = make_observer("text", path, Owner())
        observer(event("one"))
        path.rename(path.with_suffix(".1"))
        observer(event("two"))
        observer.reopen()
        observer(event("three"))
        self.assertEqual(path.with_suffix(".1").read_text().count("\n"), 2)
        self.assertTrue(path.read_text().endswith("three\n"))
        self.assertEqual(path.stat().st_mode & 0o777, 0o640 & ~self.umask())

    def umask(self) -> int:
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_lines_are_added_to_what_is_there(self) -> None:
        path = Path(self.mktemp())
        for _ in range(2):
            make_observer("json", path, Owner())(event())
        self.assertEqual(len(path.read_text().splitlines()), 2)

    def test_a_file_that_cannot_be_opened_is_an_error(self) -> None:
        path = Path(self.mktemp()) / "missing" / "log"
        error = self.assertRaises(UserError, make_observer, "text", path, Owner())
        self.assertEqual(str(error), f"the log {path} cannot be opened: No such file or directory")

    def test_a_terminal_that_knows_only_ascii_gets_ascii(self) -> None:
        raw = io.BytesIO()
        sink = StreamSink(io.TextIOWrapper(raw, "ascii"))
        sink.write("é…\n")
        self.assertEqual(raw.getvalue(), b"\\xe9\\u2026\n")
