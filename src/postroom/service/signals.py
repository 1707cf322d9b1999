"""What signals do to the daemon.

SIGTERM and SIGINT stop it, as Twisted has it; but a second one while it stops is ignored, where
Twisted would log a failure. SIGHUP and SIGUSR1 open the log file anew.
"""

import signal
from types import FrameType

from twisted.logger import Logger

from postroom.service.logs import ILogReactor, LineObserver

_log = Logger(namespace="postroom")


def stop_once() -> None:
    """Have only the first SIGTERM or SIGINT stop the reactor; call it when that runs."""
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


def reopen_log(reactor: ILogReactor, observer: LineObserver) -> None:
    """Have SIGHUP and SIGUSR1 open the log file anew.

    Without a file they keep their meaning: a daemon in the foreground ends with its terminal.
    """
    if not observer.has_file:
        return

    def reopen(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(observer.reopen)

    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, reopen)
