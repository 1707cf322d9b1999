"""Group commit: one thread that commits all that has gathered, in one transaction.

Theory: jobs are handed over in the reactor's thread. While one transaction is being synced, new
jobs gather; the next transaction takes them all. An idle queue thus commits a lone job at once, a
busy one shares each sync among hundreds, and no delay is ever waited for. When the commit has
returned, one call in the reactor fires all the Deferreds of the batch.

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
closed, the next one would take them for a commit, and every later commit would hang on a part of
the log that a power cut may take away. For the same reason, in case an earlier process died at that
point, the log is written back into the database before the first batch.

Invariant: a job's Deferred fires exactly once, after the commit or the rollback of what it did.
"""

import errno
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from postroom.database import storage_error, transaction
from postroom.database.engine import write_log_back
from postroom.threads import call_in_reactor

T = TypeVar("T")
_log = Logger()

_BATCH_JOBS: Final = 1000
_BATCH_OCTETS: Final = 32 * 1024 * 1024


class Job(Generic[T]):
    """Something to be done in a transaction.

    Attributes:
        deferred: fires with ``result`` after the commit, or fails.
        result: what applying the job gave.
        octets: how much it makes the transaction grow; only large content counts.
    """

    def __init__(self, octets: int = 0) -> None:
        """Begin as not done."""
        self.deferred: Deferred[T] = Deferred()
        self.result: T
        self.octets = octets
        self._failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Give up the job; for the writer alone."""
        self._failure = error

    def fire(self) -> None:
        """Tell the caller; for the writer alone, in the reactor's thread."""
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
        """Take the parts; `start` begins."""
        self._engine = engine
        self._reactor = reactor
        self._apply = apply
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        # A daemon thread: a reactor that ends without `stop` must not be held up by it.
        self._thread = threading.Thread(target=self._run, name="queue-writer", daemon=True)
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to work on jobs; they may be handed over before."""
        self._thread.start()

    def stop(self) -> "Deferred[None]":
        """Take no more jobs; fires when all that were handed over are done.

        Call it once, after `start`.
        """
        self._stopped = Deferred()
        self._jobs.put(None)
        return self._stopped

    def submit(self, job: Job[T]) -> "Deferred[T]":
        """Hand a job over; call it in the reactor's thread.

        Raises:
            OSError: through the Deferred, which the peer sees as 451 or 452; also after `stop`.
        """
        if self._stopped is not None:
            return fail(OSError(errno.ESHUTDOWN, "the queue is closed"))
        self._jobs.put(job)
        return job.deferred

    def _run(self) -> None:
        anchor = None
        more = True
        while more:
            batch, more = self._gather()
            if anchor is None:
                anchor = self._drop_anchor()
            self._attempt(batch)
            call_in_reactor(self._reactor, _fire, batch)
        if anchor is not None:
            anchor.close()
        call_in_reactor(self._reactor, self._end)

    def _end(self) -> None:
        if self._stopped is not None:
            self._stopped.callback(None)

    def _drop_anchor(self) -> PoolProxiedConnection | None:
        if self._engine.dialect.name == "sqlite":
            with suppress(SQLAlchemyError, sqlite3.Error):
                anchor = self._engine.raw_connection()
                write_log_back(anchor, wait=True)
                return anchor
        return None

    def _gather(self) -> tuple[list[Job[Any]], bool]:
        """Wait for a job, then take what else is there, up to the limits of a batch."""
        batch: list[Job[Any]] = []
        octets = 0
        job = self._jobs.get()
        with suppress(Empty):
            while job is not None:
                batch.append(job)
                octets += job.octets
                if len(batch) == _BATCH_JOBS or octets >= _BATCH_OCTETS:
                    return batch, True
                job = self._jobs.get_nowait()
        return batch, job is not None

    def _attempt(self, batch: Sequence[Job[Any]]) -> None:
        """Commit; a fault of ours fails the batch and not the thread."""
        try:
            self._commit(batch)
        except Exception as error:
            _log.failure("a batch of {count} jobs failed", count=len(batch))
            for job in batch:
                job.fail(error)

    def _commit(self, batch: Sequence[Job[Any]]) -> None:
        if not batch:
            return
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
        """A full disk may be full of our own log: written back, its space can be used again."""
        with suppress(SQLAlchemyError, sqlite3.Error), closing(self._engine.raw_connection()) as it:
            write_log_back(it, wait=False)


def _fire(batch: Sequence[Job[Any]]) -> None:
    for job in batch:
        job.fire()
