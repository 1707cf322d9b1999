"""A number that is read once a second, to notice the changes of other processes.

Reads that fail change nothing. The first failure is logged, and so is the first success after it.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.errors import Unavailable

POLL_SECONDS: Final = 1.0
_FORESEEN: Final = (Unavailable, OSError, DeferredTimeout)


class RevisionPoll:
    """Calls a function when a number differs from the last time that it was read."""

    _log = Logger()

    def __init__(
        self,
        what: str,
        clock: IReactorTime,
        read: Callable[[], Deferred[object]],
        changed: Callable[[], object],
        known: object = None,
    ) -> None:
        """Make a poll, which begins with `start`.

        Args:
            what: the name of the number in the log, such as "the directory's changes".
            clock: the clock of the reads.
            read: reads the number; it may be any value that can be compared.
            changed: called when the number has changed. It may return a Deferred; if that fails,
                it is called again with the next read.
            known: the number as the caller has seen it. The first that is read is a change if it
                differs.
        """
        self._what = what
        self._read = read
        self._changed = changed
        self._known = known
        self._failing = False
        self._calls = LoopingCall(self._poll)
        self._calls.clock = clock

    def start(self, *, now: bool = True) -> None:
        """Read the number once a second.

        Args:
            now: False to read it for the first time in a second.
        """
        self._calls.start(POLL_SECONDS, now=now)

    def stop(self) -> None:
        """Stop reading."""
        if self._calls.running:
            self._calls.stop()

    def _poll(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._compare()).addErrback(self._failed)

    async def _compare(self) -> None:
        found = await self._read()
        if found != self._known:
            await maybeDeferred(self._changed)
            self._known = found
        if self._failing:
            self._failing = False
            self._log.info("Reading {what} works again", what=self._what)

    def _failed(self, failure: Failure) -> None:
        if self._failing:
            return
        self._failing = True
        if failure.check(*_FORESEEN):
            reason = failure.getErrorMessage() or failure.type
            self._log.warn("Cannot read {what}: {reason}", what=self._what, reason=reason)
        else:
            self._log.failure("Cannot read {what}", failure, what=self._what)
