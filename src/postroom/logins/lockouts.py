"""Lock-outs in the database: shared by processes, kept across restarts, cleared by the command.

A lock-out is written when it begins; those that have ended are removed at the same time. Each
change increments ``lockout_revision``. A daemon reads that number once a second, and reads the
table again when it has changed. So a lock-out that is cleared ends within a second.

The first functions block; `SharedLockouts` calls them in threads.
"""

import time
from collections.abc import Sequence

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from postroom.database.engine import transaction
from postroom.directory.revision_poll import RevisionPoll
from postroom.directory.sql_directory import IDirectoryReactor
from postroom.errors import UserError
from postroom.logins.guard import Lockout, LoginGuard
from postroom.logins.tables import lockout, lockout_revision

_log = Logger()


def add_lockout(engine: Engine, added: Lockout) -> None:
    """Store a lock-out, and remove those that have ended."""
    with transaction(engine) as connection:
        over = or_(lockout.c.until <= int(added.since), lockout.c.subject == added.subject)
        connection.execute(delete(lockout).where(over))
        connection.execute(
            insert(lockout).values(
                subject=added.subject,
                failures=added.failures,
                since=int(added.since),
                until=int(added.until),
            )
        )
        _count_up(connection)


def list_lockouts(engine: Engine, now: float) -> tuple[Lockout, ...]:
    """Return the lock-outs that still last, the one that ends last first."""
    columns = lockout.c
    query = select(columns.subject, columns.failures, columns.since, columns.until)
    ordered = query.where(columns.until > int(now)).order_by(columns.until.desc(), columns.subject)
    with engine.connect() as connection:
        return tuple(Lockout(*row) for row in connection.execute(ordered))


def clear_lockouts(engine: Engine, names: Sequence[str] | None) -> tuple[str, ...]:
    """Remove lock-outs before their time.

    Args:
        engine: the database.
        names: accounts and addresses; None for all.

    Returns:
        The subjects that were cleared.

    Raises:
        UserError: one of them is not locked out; then none is cleared.
    """
    with transaction(engine) as connection:
        locked = connection.scalars(
            select(lockout.c.subject).where(lockout.c.until > int(time.time()))
        ).all()
        chosen = list(locked)
        if names is not None:
            wanted = [f"{kind}:{name.lower()}" for name in names for kind in ("account", "address")]
            chosen = [subject for subject in locked if subject in wanted]
            for name in names:
                if not any(subject.partition(":")[2] == name.lower() for subject in chosen):
                    raise UserError(f"{name} is not locked out; see 'postroom lockout list'")
        connection.execute(delete(lockout).where(lockout.c.subject.in_(chosen)))
        _count_up(connection)
    return tuple(chosen)


def _count_up(connection: Connection) -> None:
    revision = lockout_revision.c.revision
    connection.execute(update(lockout_revision).values(revision=revision + 1))


def _read_revision(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(select(lockout_revision.c.revision)).scalar_one()
    return found


class SharedLockouts:
    """Synchronises the lock-outs of a guard with the database."""

    def __init__(
        self, guard: LoginGuard, engine: Engine, reactor: IDirectoryReactor, pool: ThreadPool
    ) -> None:
        """Connect a guard to the database; nothing is read before `start`."""
        self._guard = guard
        self._engine = engine
        self._reactor = reactor
        self._pool = pool
        self._poll = RevisionPoll("lock-outs", reactor, self._read_revision, self._read)
        guard.store = self._store

    def start(self) -> None:
        """Read who is locked out, and notice changes from now on."""
        self._poll.start()

    def stop(self) -> None:
        """Stop noticing changes."""
        self._poll.stop()

    def _store(self, added: Lockout) -> None:
        stored = deferToThreadPool(self._reactor, self._pool, add_lockout, self._engine, added)
        stored.addErrback(
            lambda failure: _log.failure(
                "The lock-out of {subject} could not be stored", failure, subject=added.subject
            )
        )

    def _read_revision(self) -> Deferred[object]:
        return deferToThreadPool(self._reactor, self._pool, _read_revision, self._engine)

    def _read(self) -> Deferred[None]:
        reading = deferToThreadPool(
            self._reactor, self._pool, list_lockouts, self._engine, time.time()
        )
        return reading.addCallback(self._replace)

    def _replace(self, found: Sequence[Lockout]) -> None:
        self._guard.replace_lockouts({each.subject: each.until for each in found})
