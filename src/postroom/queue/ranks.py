"""The ranks of the queue: which there are, and how far ahead an attempt of each may lie.

A rank is a message's priority, or `tables.HELD`. The index of the recipients begins with it, so
that to find the highest rank, and the first that is due of a rank, is one look-up each; nothing is
ever sorted, however long the queue is.

RFC 6710 s4.1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from postroom.queue.tables import HELD, recipient

_HIGHEST: Final = select(func.max(recipient.c.rank))
_NEXT: Final = _HIGHEST.where(recipient.c.rank < bindparam("above"))
_EARLIEST: Final = select(func.min(recipient.c.due_at)).where(recipient.c.rank == bindparam("rank"))
_LATEST: Final = select(func.max(recipient.c.due_at)).where(recipient.c.rank == bindparam("rank"))


@dataclass(frozen=True, slots=True)
class Horizons:
    """How far ahead an attempt may be scheduled: further ahead means that the clock was set back.

    Attributes:
        waiting_seconds: of what waits for its next attempt, or is claimed.
        held_seconds: of messages that their senders want held.
    """

    waiting_seconds: float
    held_seconds: float

    def of_rank(self, rank: int) -> float:
        """Return the horizon of a rank, in seconds from now."""
        return self.held_seconds if rank == HELD else self.waiting_seconds


def ranks_of(connection: Connection) -> Sequence[int]:
    """Return the ranks that there are, the highest first; what was held goes before priority 0."""
    ranks = []
    rank = connection.scalar(_HIGHEST)
    while rank is not None:
        ranks.append(rank)
        rank = connection.scalar(_NEXT, {"above": rank})
    if HELD in ranks:
        ranks.sort(key=lambda each: 0.5 if each == HELD else each, reverse=True)
    return ranks


def next_due_at(connection: Connection, now: float, horizons: Horizons) -> float | None:
    """Return when the first recipient is due; now if a time is too far ahead to be true.

    Returns:
        POSIX time; None if the queue is empty.
    """
    earliest: float | None = None
    for rank in ranks_of(connection):
        # Two statements: SQLite looks one end of an index up, but scans for both at once.
        of_rank = {"rank": rank}
        latest = connection.scalar(_LATEST, of_rank)
        if latest is not None and latest > now + horizons.of_rank(rank):
            return now
        first = connection.scalar(_EARLIEST, of_rank)
        if first is not None and (earliest is None or first < earliest):
            earliest = first
    return earliest
