"""The secrets with which senders of forwarded mail are rewritten (`postroom.delivery.srs`).

They are in the database, because a report may come back to another node than the one that forwarded
the message. From time to time a new secret is added. Older ones are kept for as long as addresses
made with them may come back. A new secret is used for signing only after an hour, when every node
has read it; the very first is used at once.

Who controls the input: nobody; secrets are random.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, delete, insert, select
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from postroom.database.engine import transaction
from postroom.directory.sql_directory import IDirectoryReactor
from postroom.directory.tables import srs_secret
from postroom.settings.declaring import setting

DAY_SECONDS: Final = 86_400
SETTLE_SECONDS: Final = 3600
"""The age at which a new secret begins to sign."""
READ_SECONDS: Final = 600.0
"""The interval at which secrets are read again."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How long secrets last, in days."""

    rotation_days: int = setting(
        90,
        """After how many days a new secret signs rewritten addresses; the old one is known for
        lifetime_days more. 0 keeps one for ever.""",
        within=(0, 36_500),
    )
    lifetime_days: int = setting(
        21,
        "How long mail to a rewritten address is passed on to the original sender.",
        within=(1, 1000),
    )


def read_secrets(engine: Engine, rotation: Rotation, now: float) -> tuple[bytes, ...]:
    """Return the secrets, the one that signs first; adds one if it is time. Blocks."""
    table = srs_secret.c
    query = select(table.made_at, table.value).order_by(table.made_at.desc(), table.id.desc())
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    days = rotation.rotation_days
    if not rows or (days and now - rows[0].made_at > _days(days)):
        kept_days = days + rotation.lifetime_days + 1
        with transaction(engine) as connection:
            again = connection.execute(query).all()
            if [row.value for row in again] == [row.value for row in rows]:
                connection.execute(
                    insert(srs_secret).values(made_at=now, value=secrets.token_hex(32))
                )
            if days:
                old = table.made_at < now - _days(kept_days)
                connection.execute(delete(srs_secret).where(old))
            rows = connection.execute(query).all()
    settled = [row for row in rows if now - row.made_at >= SETTLE_SECONDS] or rows[-1:]
    ordered = dict.fromkeys([settled[0].value, *(row.value for row in rows)])
    return tuple(bytes.fromhex(value) for value in ordered)


def _days(number: int) -> int:
    return number * DAY_SECONDS


class SRSSecrets:
    """The secrets of a running daemon; calling it returns the current ones."""

    _log = Logger()

    def __init__(
        self,
        engine: Engine,
        rotation: Rotation,
        first: tuple[bytes, ...],
        reactor: IDirectoryReactor,
        pool: ThreadPool,
        now: Callable[[], float],
    ) -> None:
        """Start with secrets that were read already.

        Args:
            engine: the database, migrated.
            rotation: how long they last.
            first: from `read_secrets`.
            reactor: its clock tells when to read them again.
            pool: the threads in which that is done; the caller starts and stops it.
            now: returns the POSIX time, in seconds.
        """
        self._now = now
        self._engine = engine
        self._rotation = rotation
        self._secrets = first
        self._reactor = reactor
        self._pool = pool
        self._reading = LoopingCall(self._read)
        self._reading.clock = reactor

    def __call__(self) -> tuple[bytes, ...]:
        """Return the secrets, the one that signs first."""
        return self._secrets

    def start(self) -> None:
        """Read them again from time to time."""
        self._reading.start(READ_SECONDS, now=False)

    def stop(self) -> None:
        """Stop reading them."""
        if self._reading.running:
            self._reading.stop()

    def _read(self) -> Deferred[None]:
        reading = deferToThreadPool(
            self._reactor,
            self._pool,
            read_secrets,
            self._engine,
            self._rotation,
            self._now(),
        )
        return reading.addCallbacks(self._take, self._failed)

    def _take(self, found: tuple[bytes, ...]) -> None:
        self._secrets = found

    def _failed(self, failure: Failure) -> None:
        self._log.failure("The secrets for rewritten senders could not be read", failure)
