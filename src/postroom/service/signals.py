"""What signals do to the daemon.

SIGTERM and SIGINT stop it, as Twisted has it; but a second one while it stops is ignored, where
Twisted would log a failure. SIGHUP and SIGUSR1 reopen the log file, and SIGHUP has the certificates
looked at.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from twisted.logger import Logger

from postroom.service.logs import ILogReactor, LineObserver

_log = Logger(namespace="postroom")


def stop_once() -> None:
    """Make only the first SIGTERM or SIGINT stop the reactor; call this once the reactor runs."""
    heeded: list[int] = []

    def wrap(number: signal.Signals) -> None:
        original = signal.getsignal(number)
        if not callable(original):
            return

        def first_only(received: int, frame: FrameType | None) -> None:
            if heeded:
                _log.info("{name}: already stopping", name=signal.Signals(received).name)
                return
            heeded.append(received)
            original(received, frame)

        signal.signal(number, first_only)

    for number in (signal.SIGTERM, signal.SIGINT):
        wrap(number)


def heed_hangup(
    reactor: ILogReactor, observer: LineObserver | None, reload: Callable[[], object]
) -> None:
    """Make SIGHUP and SIGUSR1 reopen the log file, and SIGHUP call ``reload``.

    In the foreground of a terminal, without a log file, SIGHUP keeps its meaning: the daemon ends
    with its terminal.
    """
    has_file = observer is not None and observer.has_file

    def heed(number: int, frame: FrameType | None) -> None:
        if observer is not None and has_file:
            reactor.callFromThread(observer.reopen)
        if number == signal.SIGHUP:
            reactor.callFromThread(reload)

    if has_file:
        signal.signal(signal.SIGUSR1, heed)
    if has_file or not _is_on_a_terminal():
        signal.signal(signal.SIGHUP, heed)


def _is_on_a_terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
