"""The queue's writer: one thread that commits all that has gathered, in one transaction.

Theory: group commit, as `postroom.batching` does it. A batch is one transaction; when the commit
has returned, one call in the reactor fires all the Deferreds of the batch.

What fails:

- The disk or the database server (`postroom.database.storage_error`): final for the whole batch.
  It is rolled back, every job fails, and the connections are closed, so that the next batch begins
  with a new one. Nothing is tried again, for after a failed sync nobody knows what the disk holds.
  One idle connection, the anchor, stays open: see below.
- Anything else, such as content that cannot be read or a row that breaks a constraint: the batch is
  rolled back and done again in halves, down to the one job whose fault it is, which alone fails.

The anchor: when a sync fails, the rolled back frames still stand at the end of SQLite's log, whole
to whoever reads the file and perhaps never on the disk. While any connection is open, the shared
index says where the log truly ends, and the next commit writes over them. Were the last connection
closed, the next one would treat them as a commit, and every later commit would depend on a part of
the log that a power cut may destroy. For the same reason, in case an earlier process died at that
point, the log is written back into the database before the first batch.

Invariant: a job's Deferred fires exactly once, after the commit or the rollback of what it did.
"""

import errno
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from postroom.batching import BatchLimits, BatchThread
from postroom.database import storage_error, transaction
from postroom.database.engine import write_log_back

T = TypeVar("T")
_log = Logger()

_LIMITS: Final = BatchLimits(count=1000, octets=32 * 1024 * 1024)


class Job(Generic[T]):
    """Something to be done in a transaction.

    Attributes:
        count: each job counts as one.
        deferred: fires with ``result`` after the commit, or fails.
        result: what applying the job returned.
        octets: how much it makes the transaction grow; only large content counts.
    """

    count: Final = 1

    def __init__(self, octets: int = 0) -> None:
        """Create a job that is not done yet."""
        self.deferred: Deferred[T] = Deferred()
        self.result: T
        self.octets = octets
        self._failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Note that the job failed; for the writer alone."""
        self._failure = error

    def fire(self) -> None:
        """Fire the Deferred; for the writer alone, in the reactor's thread."""
        if self._failure is not None:
            self.deferred.errback(self._failure)
        else:
            self.deferred.callback(self.result)


class Writer:
    """The thread.

    `apply` is called in it, with a connection in a transaction and the jobs of the batch; it must
    set each job's ``result``, and may be called again with the same jobs after a rollback.
    """

    def __init__(
        self,
        engine: Engine,
        reactor: IReactorFromThreads,
        apply: Callable[[Connection, Sequence[Job[Any]]], None],
    ) -> None:
        """Prepare the thread; `start` starts it."""
        self._engine = engine
        self._apply = apply
        self._anchor: PoolProxiedConnection | None = None
        self._thread: BatchThread[Job[Any]] = BatchThread(
            reactor, "queue-writer", _LIMITS, self._attempt, _fire, self._raise_anchor
        )

    def start(self) -> None:
        """Start to work on jobs; they may be submitted before."""
        self._thread.start()

    def stop(self) -> "Deferred[None]":
        """Accept no more jobs; fires when all that were submitted are done.

        Call it after `start`.
        """
        return self._thread.stop()

    def submit(self, job: Job[T]) -> "Deferred[T]":
        """Add a job to the next transaction; call it in the reactor's thread.

        Raises:
            OSError: through the Deferred, which the peer sees as 451 or 452; also after `stop`.
        """
        if self._thread.stopping:
            return fail(OSError(errno.ESHUTDOWN, "the queue is closed"))
        self._thread.submit(job)
        return job.deferred

    def _drop_anchor(self) -> PoolProxiedConnection | None:
        if self._engine.dialect.name == "sqlite":
            with suppress(SQLAlchemyError, sqlite3.Error):
                anchor = self._engine.raw_connection()
                write_log_back(anchor, wait=True)
                return anchor
        return None

    def _raise_anchor(self) -> None:
        if self._anchor is not None:
            self._anchor.close()

    def _attempt(self, batch: Sequence[Job[Any]]) -> None:
        """Commit; an unexpected exception fails the batch and not the thread."""
        try:
            if self._anchor is None:
                self._anchor = self._drop_anchor()
            self._commit(batch)
        except Exception as error:
            _log.failure("a batch of {count} jobs failed", count=len(batch))
            for job in batch:
                job.fail(error)

    def _commit(self, batch: Sequence[Job[Any]]) -> None:
        try:
            with transaction(self._engine) as connection:
                self._apply(connection, batch)
        except Exception as error:
            lost = storage_error(error) if isinstance(error, DBAPIError) else None
            if lost is not None:
                self._give_up(batch, lost)
            elif len(batch) == 1:
                batch[0].fail(error)
            else:
                middle = len(batch) // 2
                self._commit(batch[:middle])
                self._commit(batch[middle:])

    def _give_up(self, batch: Sequence[Job[Any]], error: OSError) -> None:
        for job in batch:
            job.fail(error)
        self._engine.dispose()
        if self._engine.dialect.name == "sqlite":
            self._make_room()

    def _make_room(self) -> None:
        """Write the log back: a full disk may be full of it, and its space can be used again."""
        with suppress(SQLAlchemyError, sqlite3.Error), closing(self._engine.raw_connection()) as it:
            write_log_back(it, wait=False)


def _fire(batch: Sequence[Job[Any]]) -> None:
    for job in batch:
        job.fire()
