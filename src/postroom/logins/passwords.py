"""The pool in which password hashes are made, off the reactor's thread and bounded.

A hash costs tens of milliseconds, so it is made by few threads, and only so many may wait for
them: a flood of logins is told 454 and cannot stall the mail. The count of what is under way goes
down when a thread is done with it, not when its caller has lost patience; what was given up before
a thread took it is skipped.

The threads share the machine's cores with the reactor, and stand back for it: they run at a lower
priority where the system has one for threads (Linux).
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
        """Make the pool; nothing runs before `start`.

        Args:
            hashing: how hashes are made.
            reactor: where results are given.
            threads: how many hashes are made at once, at least 1.
            waiting: how many more may wait, before further ones are refused.
        """
        self._hashing = hashing
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, name="passwords")
        self._room = threads + waiting
        self._stopping = False

    def start(self) -> None:
        """Start the threads, and let one prepare what unknown users are verified against."""
        self._pool.start()
        self._pool.callInThread(self._hashing.prepare)

    def stop(self) -> None:
        """Finish the hashes under way, give up what waits, and end the threads; blocks for that."""
        if not self._stopping:
            self._stopping = True
            self._pool.stop()

    @property
    def full(self) -> bool:
        """True while nothing more is taken: so a caller can save the work that comes before."""
        return self._room <= 0

    def verify(self, stored: Sequence[str], offered: bytes) -> Deferred[PasswordVerdict]:
        """Check whether a password is right; see `Hashing.verify`.

        Raises:
            postroom.errors.Refusal: 454 4.7.0, too many wait already.

        RFC 4954 s6
        """
        return self._run(lambda: self._hashing.verify(stored, offered))

    def hash(self, password: bytes) -> Deferred[str]:
        """Make a hash to store; see `Hashing.hash`.

        Raises:
            postroom.errors.Refusal: 454 4.7.0, too many wait already.

        RFC 4954 s6
        """
        return self._run(lambda: self._hashing.hash(password))

    def _run(self, work: Callable[[], _T]) -> Deferred[_T]:
        if self.full:
            return fail(Refusal(BUSY))
        self._room -= 1
        result: Deferred[_T] = Deferred()

        def job() -> _T | None:
            _stand_back()
            if self._stopping:
                raise Refusal(BUSY)
            return None if result.called else work()

        def done(outcome: _T | Failure | None) -> None:
            self._room += 1
            if not result.called:
                result.callback(outcome)  # type: ignore[arg-type]  # a Failure errs back

        deferToThreadPool(self._reactor, self._pool, job).addBoth(done)
        return result


def _stand_back() -> None:
    """Lower the priority of the thread that this is, once."""
    if getattr(_this_thread, "stands_back", False):
        return
    _this_thread.stands_back = True
    if sys.platform == "linux":  # elsewhere it would be the process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
