"""How much room the disk has, for those who must not ask it themselves.

A worker thread asks every few seconds; in between the last answer holds. A disk that cannot be
asked counts as one with room, for the write that fails is told then (452).
"""

import os
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

_SECONDS: Final = 5.0
_log = Logger()


class ISpaceReactor(IReactorTime, IReactorFromThreads):
    """What is needed of a reactor."""


class FreeSpace:
    """Watches the file system of a directory.

    Attributes:
        free_octets: what was free when it was last asked; None before.
    """

    def __init__(
        self, reactor: ISpaceReactor, pool: ThreadPool, directory: Path, least_octets: int
    ) -> None:
        """Store the directory and the limit; `start` starts the checks.

        Args:
            reactor: the clock.
            pool: its threads ask.
            directory: any one of the file system.
            least_octets: with less than this free there is no room for anything.
        """
        self.free_octets: int | None = None
        self._least_octets = least_octets
        self._directory = directory
        self._reactor = reactor
        self._pool = pool
        self._calls = LoopingCall(self._ask)
        self._calls.clock = reactor

    def start(self) -> None:
        """Measure the free space now and every few seconds."""
        self._calls.start(_SECONDS)

    def stop(self) -> None:
        """Stop measuring."""
        if self._calls.running:
            self._calls.stop()

    def has_room(self, octets: int) -> bool:
        """Return whether the disk has room for a message of so many octets. Never blocks.

        RFC 1870 s6.1
        """
        free = self.free_octets
        return free is None or free >= max(self._least_octets, octets)

    def _ask(self) -> object:
        asked = deferToThreadPool(self._reactor, self._pool, self._look)
        return asked.addCallbacks(self._note, self._note_failure)

    def _look(self) -> int:
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def _note(self, free: int) -> None:
        if free < self._least_octets:
            _log.warn("only {free} octets are free on the disk, mail is refused", free=free)
        self.free_octets = free

    def _note_failure(self, failure: Failure) -> None:
        self.free_octets = None
        _log.warn("free space unknown: {error}", error=failure.getErrorMessage())
