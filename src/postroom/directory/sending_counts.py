"""Counts of what accounts have sent today, for those with daily limits.

The counts are in the database, so that they outlive a restart and all nodes count together. A count
belongs to an address, whatever the source of its account. Days are those of UTC; the counts of
older days are deleted with the first message of a new day.

Who controls the input: the peer, how many recipients; the limits are the administrator's.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine, delete, insert, select, update
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.database.engine import transaction
from postroom.directory.tables import account_use
from postroom.envelope import AccountLimits
from postroom.interfaces import ISendingCounts

DAY_SECONDS: Final = 86_400


@implementer(ISendingCounts)
class SQLSendingCounts:
    """Counts in the database what accounts send."""

    def __init__(
        self,
        engine: Engine,
        reactor: IReactorFromThreads,
        pool: ThreadPool,
        now: Callable[[], float],
    ) -> None:
        """Store the database, and the threads that ask it.

        Args:
            engine: the database, migrated.
            reactor: where answers are given.
            pool: the threads that ask; the caller starts and stops it.
            now: returns the POSIX time, in seconds.
        """
        self._engine = engine
        self._reactor = reactor
        self._pool = pool
        self._now = now

    def spend(self, address: str, limits: AccountLimits, recipients: int) -> Deferred[bool]:
        """See `ISendingCounts.spend`."""
        day = int(self._now() // DAY_SECONDS)
        return deferToThreadPool(
            self._reactor, self._pool, _spend, self._engine, address, limits, recipients, day
        )


def _spend(engine: Engine, address: str, limits: AccountLimits, recipients: int, day: int) -> bool:
    """Count a message if it is within the limits; called in a thread."""
    table = account_use.c
    today = (table.account == address) & (table.day == day)
    with transaction(engine) as connection:
        row = connection.execute(
            select(table.messages, table.recipients).where(today).with_for_update()
        ).first()
        messages = 1 + (row.messages if row is not None else 0)
        recipients += row.recipients if row is not None else 0
        if _exceeds(messages, limits.messages_per_day):
            return False
        if _exceeds(recipients, limits.recipients_per_day):
            return False
        counts = {"messages": messages, "recipients": recipients}
        if row is None:
            connection.execute(delete(account_use).where(table.account == address))
            connection.execute(insert(account_use).values(account=address, day=day, **counts))
        else:
            connection.execute(update(account_use).where(today).values(**counts))
    return True


def _exceeds(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit
