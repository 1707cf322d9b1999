"""The log: one event is one line, as text or as a JSON object.

Theory: `LineObserver` is called once for each event, on the thread that logs. It formats the line
at once (the event's objects may change later), appends it to a list, and sees to it that the list
is written within `FLUSH_SECONDS`: one `write` carries the lines of a fifth of a second. Warnings
and worse are written at once. Nothing is ever synced: a power cut costs log lines, never mail.

Invariants: a line holds no control character and no line separator, whatever a peer put into an
address or a reply, and is never longer than `LINE_CHARACTERS`. What cannot be formatted is told in
place of the event; the observer never raises.

The file can be reopened (`LineObserver.reopen`) after a rotation; if that fails, the old one is
kept and the failure is logged.

Known limit: `SIGKILL` loses the lines of the last fifth of a second.
"""

import atexit
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock
from typing import Final, Literal, Protocol, TextIO

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from postroom.errors import UserError
from postroom.service.state import Owner

FLUSH_SECONDS: Final = 0.2
LINE_CHARACTERS: Final = 8192
_URGENT: Final = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})
_PENDING_LINES: Final = 1000
# C0, DEL, C1, and what some viewers take for an end of line.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class ILogReactor(IReactorTime, IReactorFromThreads):
    """What the observer needs of a reactor."""


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    r"""Make text safe for one line of a log: control characters become ``\n``, ``\x1b`` …; cut."""
    if len(text) > LINE_CHARACTERS:
        text = text[:LINE_CHARACTERS] + "…"
    # The question costs a tenth of the search, and the answer is nearly always yes.
    return text if text.isprintable() else _CONTROL.sub(_escape, text)


class _Clock:
    """Writes times as ``2026-11-22T01:02:03.123Z``, the second's part once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, posix: float) -> str:
        second = int(posix)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._text}.{int((posix - second) * 1000):03d}Z"


def _message(event: LogEvent) -> str:
    """Format an event's message; the quick way serves all but formats that call things."""
    template = event.get("log_format")
    if isinstance(template, str) and "()" not in template:
        try:
            text = template.format_map(event)
        except Exception:  # objects of others format themselves; Twisted's way survives that
            text = formatEvent(event)
    else:
        text = formatEvent(event)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        text = f"{text}\n{failure.getTraceback()}" if text else failure.getTraceback()
    return text


def _namespace(event: LogEvent) -> str:
    """Return the name of the logger; Twisted's oldest messages have only a "system"."""
    namespace: str = event.get("log_namespace", "-")
    return str(event.get("system", "-")) if namespace == "log_legacy" else namespace


class TextFormat:
    """Lines to read: time, level, namespace, message."""

    def __init__(self) -> None:
        """Create a formatter with an empty cache of times."""
        self._clock = _Clock()

    def __call__(self, event: LogEvent) -> str:
        """Format an event."""
        level = event.get("log_level")
        name = level.name if level is not None else "-"
        namespace = _namespace(event)
        return one_line(
            f"{self._clock(event.get('log_time', 0.0))} {name} [{namespace}] {_message(event)}"
        )


def _plain(value: object) -> object:
    """Make a value into what JSON knows."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


class JSONFormat:
    """A JSON object a line: time, level, namespace, message, and the event's own fields.

    Fields whose value is an object of the program (``log_source`` and its like) are left out.
    """

    def __init__(self) -> None:
        """Create a formatter with an empty cache of times."""
        self._clock = _Clock()

    def __call__(self, event: LogEvent) -> str:
        """Format an event."""
        level = event.get("log_level")
        record: dict[str, object] = {
            "time": self._clock(event.get("log_time", 0.0)),
            "level": level.name if level is not None else None,
            "namespace": _namespace(event),
            "message": _message(event)[:LINE_CHARACTERS],
        }
        for key, value in event.items():
            if not key.startswith("log_") and key not in _LEGACY_KEYS:
                record[key] = _plain(value)
        line = _ENCODER.encode(record)
        return line if line.isprintable() else _CONTROL.sub(_escape_json, line)


_LEGACY_KEYS: Final = frozenset(
    {"format", "message", "time", "system", "isError", "failure", "why", "eventSource"}
)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


def _escape_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class Sink(Protocol):
    """Where lines go."""

    def write(self, text: str) -> None:
        """Write whole lines, through to the operating system."""

    def reopen(self) -> None:
        """Reopen the file after a rotation."""


class StreamSink:
    """Lines into a stream that is there already, such as standard output."""

    def __init__(self, stream: TextIO) -> None:
        """Store the stream; `one_line` escapes what it cannot encode, or it is replaced."""
        self._stream = stream

    def write(self, text: str) -> None:
        """Write and push through."""
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()

    def reopen(self) -> None:
        """Do nothing: a stream has no name."""


class FileSink:
    """Lines appended to a file of mode 0640."""

    def __init__(self, path: Path, owner: Owner) -> None:
        """Open the file.

        Raises:
            UserError: it cannot be opened.
        """
        self._path = path
        self._owner = owner
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise UserError(f"the log {path} cannot be opened: {error.strerror}") from error

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            descriptor = os.open(self._path, flags | os.O_CREAT, 0o640)
            # So that the daemon can reopen it once it has dropped its privileges.
            self._owner.take(descriptor)
            return descriptor

    def write(self, text: str) -> None:
        """Append, in as many writes as the disk wants."""
        octets = memoryview(text.encode("utf-8", "backslashreplace"))
        while octets:
            octets = octets[os.write(self._descriptor, octets) :]

    def reopen(self) -> None:
        """Open the name again; it names another file now.

        Raises:
            OSError: it cannot be opened; the old file stays open.
        """
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line, gathered for a moment; see the module's text."""

    def __init__(self, sink: Sink, line: Callable[[LogEvent], str]) -> None:
        """Store the stream and the format of the lines; after `run_on` lines are collected."""
        self._sink = sink
        self._line = line
        self._lines: list[str] = []
        # Signal handlers log, too, and may come while a line is being written.
        self._lock = RLock()
        self._reactor: ILogReactor | None = None
        self._is_due = False
        atexit.register(self.flush)

    def run_on(self, reactor: ILogReactor) -> None:
        """Gather lines from now on, and have this reactor write them."""
        self._reactor = reactor

    def write_through(self) -> None:
        """Write each line at once from now on: the process may end by a signal, without warning."""
        self._reactor = None
        self.flush()

    def __call__(self, event: LogEvent) -> None:
        """Accept an event, on any thread."""
        reactor = self._reactor
        try:
            line = self._line(event)
        except Exception as error:  # an event that breaks must not break who logs it
            line = one_line(f"an event could not be formatted: {type(error).__name__}: {error}")
        self._lines.append(line)
        if (
            reactor is None
            or event.get("log_level") in _URGENT
            or len(self._lines) >= _PENDING_LINES
        ):
            self.flush()
        elif not self._is_due:
            self._is_due = True
            if isInIOThread():
                reactor.callLater(FLUSH_SECONDS, self.flush)
            else:
                reactor.callFromThread(reactor.callLater, FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what has gathered. A log that cannot be written is no reason to stop mail."""
        with self._lock:
            self._is_due = False
            lines, self._lines = self._lines, []
            if lines:
                try:
                    self._sink.write("\n".join(lines) + "\n")
                except OSError:
                    # There is nowhere left to tell it; the next write may succeed (disk full).
                    return

    def reopen(self) -> None:
        """Reopen the file after a rotation; keep the old one if that fails."""
        self.flush()
        try:
            with self._lock:
                self._sink.reopen()
        except OSError as error:
            _log.error("The log could not be reopened: {error}", error=error.strerror)

    @property
    def has_file(self) -> bool:
        """True if there is a file that can be rotated."""
        return isinstance(self._sink, FileSink)


_log = Logger(namespace="postroom.log")


def make_observer(
    form: Literal["text", "json"], path: Path | None, owner: Owner, stdout: TextIO | None = None
) -> LineObserver:
    """Make the observer.

    Args:
        form: how a line is written.
        path: the file; None for standard output.
        owner: who the file is to belong to if it is made.
        stdout: for ``path=None``; default the process's own.

    Raises:
        UserError: the file cannot be opened.
    """
    sink: Sink = FileSink(path, owner) if path is not None else StreamSink(stdout or sys.stdout)
    return LineObserver(sink, JSONFormat() if form == "json" else TextFormat())
