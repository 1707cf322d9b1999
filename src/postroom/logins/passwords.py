"""A bounded pool of threads for password hashes, off the reactor's thread.

A hash takes tens of milliseconds. It is made by few threads, and the number of hashes that wait for
them is limited: a flood of logins is refused with 454 and cannot delay mail. A hash counts until a
thread has finished it, even if its caller has given up; one that was given up before a thread
started it is skipped.

The threads share the cores of the machine with the reactor. They run at a lower priority if the
system has priorities for threads (Linux).
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from postroom.errors import Refusal
from postroom.logins.hashing import Hashing, PasswordVerdict
from postroom.wire.replies import reply

BUSY: Final = reply(454, "4.7.0", "Too many logins at once, try again later")

_NICENESS: Final = 10
_this_thread = threading.local()

_T = TypeVar("_T")


class PasswordPool:
    """Verifies passwords and makes hashes in threads of its own."""

    def __init__(
        self,
        hashing: Hashing,
        reactor: IReactorFromThreads,
        threads: int = 2,
        waiting: int = 64,
    ) -> None:
        """Store the parameters; nothing runs before `start`.

        Args:
            hashing: how hashes are made.
            reactor: where results are given.
            threads: how many hashes are made at once, at least 1.
            waiting: how many more may wait, before further ones are refused.
        """
        self._hashing = hashing
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, name="passwords")
        self._free_places = threads + waiting
        self._stopping = False

    def start(self) -> None:
        """Start the threads, and prepare the hash for unknown users in one of them."""
        self._pool.start()
        self._pool.callInThread(self._hashing.prepare)

    def stop(self) -> None:
        """Finish running hashes, drop waiting ones, and stop the threads; blocks for that."""
        if not self._stopping:
            self._stopping = True
            self._pool.stop()

    @property
    def full(self) -> bool:
        """True if no hash is accepted now, so that a caller can avoid work before it."""
        return self._free_places <= 0

    def verify(self, stored: Sequence[str], offered: bytes) -> Deferred[PasswordVerdict]:
        """Check whether a password is right; see `Hashing.verify`.

        Raises:
            postroom.errors.Refusal: 454 4.7.0, too many wait already.

        RFC 4954 s6
        """
        return self._run(lambda: self._hashing.verify(stored, offered))

    def hash(self, password: bytes) -> Deferred[str]:
        """Return a hash to store; see `Hashing.hash`.

        Raises:
            postroom.errors.Refusal: 454 4.7.0, too many wait already.

        RFC 4954 s6
        """
        return self._run(lambda: self._hashing.hash(password))

    def _run(self, work: Callable[[], _T]) -> Deferred[_T]:
        if self.full:
            return fail(Refusal(BUSY))
        self._free_places -= 1
        result: Deferred[_T] = Deferred()

        def job() -> _T | None:
            _lower_priority()
            if self._stopping:
                raise Refusal(BUSY)
            return None if result.called else work()

        def done(outcome: _T | Failure | None) -> None:
            self._free_places += 1
            if not result.called:
                result.callback(outcome)  # type: ignore[arg-type]  # a Failure errs back

        deferToThreadPool(self._reactor, self._pool, job).addBoth(done)
        return result


def _lower_priority() -> None:
    """Lower the priority of the current thread, once."""
    if getattr(_this_thread, "stands_back", False):
        return
    _this_thread.stands_back = True
    if sys.platform == "linux":  # elsewhere it would be the process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
