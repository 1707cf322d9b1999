"""What the tests of the accounts share: a database of their own, and threads that they command."""

import queue
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from postroom.database import migrate, open_database
from postroom.logins.hashing import Hashing, HashParameters

CHEAP = Hashing(HashParameters(passes=1, memory_kib=8))


@cache
def _migrated() -> Path:
    """Make one migrated database, to copy: Alembic takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="postroom-tests-")) / "template.db"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


def fresh_database(case: SynchronousTestCase) -> Engine:
    """Give a migrated database without a domain, on disk for as long as the test runs."""
    directory = Path(case.mktemp())
    directory.mkdir()
    path = (directory / "postroom.db").absolute()
    shutil.copy(_migrated(), path)
    engine = open_database(f"sqlite:///{path}")
    case.addCleanup(engine.dispose)
    return engine


class InlinePool:
    """A thread pool whose work is done at once by the caller, or when the test says so."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] | None = None

    def hold(self) -> None:
        """Keep what comes from now on."""
        self.held = []

    def release(self) -> None:
        """Do what was kept."""
        kept, self.held = self.held or [], None
        for work in kept:
            work()

    def callInThreadWithCallback(
        self,
        on_result: Callable[[bool, Any], None],
        function: Callable[..., Any],
        *a: Any,
        **k: Any,
    ) -> None:
        def work() -> None:
            try:
                result = function(*a, **k)
            except Exception:
                on_result(False, Failure())
            else:
                on_result(True, result)

        work() if self.held is None else self.held.append(work)


class InlineReactor(Clock):
    """A clock that may also be called from threads, if they are the caller's own."""

    def callFromThread(self, function: Callable[..., Any], *a: Any, **k: Any) -> None:
        function(*a, **k)


class QueueReactor:
    """Takes calls from real threads, and makes them when the test waits."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], Any]] = queue.Queue()

    def callFromThread(self, function: Callable[..., Any], *a: Any, **k: Any) -> None:
        self._calls.put(lambda: function(*a, **k))

    def wait_for(self, deferred: Deferred[Any]) -> None:
        """Make calls until a Deferred has fired; 10 seconds at most for each."""
        while not deferred.called:
            self._calls.get(timeout=10)()
