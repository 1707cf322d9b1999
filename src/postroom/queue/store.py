"""The queue store in SQL: SQLite embedded, or a PostgreSQL server that several nodes share.

Three tables are durable (`postroom.queue.tables`). The rows that exist are the state of a message:

    state      message  content  recipient                      who may work on it
    -----      -------  -------  ---------                      ------------------
    absent     none     none     none                           nobody: not accepted, or all done
    waiting    one      whole    lease_owner NULL               anyone, from due_at on
    held       one      whole    the same, with rank HELD       the same; a claim ends it
    claimed    one      whole    lease_owner set, due_at ahead  the owner alone
    abandoned  one      whole    lease_owner set, due_at past   anyone; what the old owner records
                                                                counts until another claims it
    finished   one      whole    deleted, others remain         nobody: there is no way back

The commit instant is the return of COMMIT: the log of SQLite, or of PostgreSQL, is synced by then.
Every step between two states is one transaction:

    put      absent -> claimed, waiting or held: the whole message, or nothing
    claim    waiting, held, abandoned -> claimed
    renew    claimed, abandoned -> claimed
    record   claimed, abandoned -> waiting (Retry) or finished (Done); absent with the last one.
             The report of a failure is stored by the transaction that finishes the recipient.

What a crash can tear, and what mends it:

    before COMMIT returned     the transaction is absent or whole, as the log decides at the next
                               opening; the peer got no 250, so a whole one may come twice
    after, before 250          the peer sends it again: twice, never lost
    COMMIT failed              refused with 4yz; a power cut may make it appear nevertheless
    claimed, being sent        the lease expires, or `release_all_leases` ends it: sent twice at
                               worst, for no outcome was recorded
    sent, before `record`      the same

Content cannot be torn: its rows are in the transaction of their message, and their sum is checked
against the announced size before COMMIT. Large content lies in a file instead, which is synced
before the transaction begins and removed after the one that deletes the message
(`postroom.queue.files`).

Invariants: a message has at least one recipient row; a recipient's owner is the only one to change
it while ``due_at`` lies ahead (an operator's `postroom.queue.admin.remove` excepted).

Threads: one writes (`postroom.queue.writer`), a few read, and sync large content. Every Deferred
fires in the reactor's.

Who controls the input: peers control addresses, parameters and content, which are only ever values
of a statement, never its text.

Known limits: leases compare the clocks of the nodes, which must agree to within a few minutes.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, bindparam, select
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.database import storage_error
from postroom.envelope import NewMessage
from postroom.interfaces import IContent
from postroom.queue.batch import Batch, Claim, Flush, Put, Record, Release, Renew
from postroom.queue.files import ContentFiles
from postroom.queue.model import ClaimedMessage, Done, IQueueStore, Report, Retry
from postroom.queue.ranks import Horizons, next_due_at
from postroom.queue.statements import blocks
from postroom.queue.tables import content, message
from postroom.queue.writer import Writer

T = TypeVar("T")

LEASE_SECONDS: Final = 1800.0
"""How long a claim lasts.

One attempt may last as long as the timers of a whole transaction, of which the last alone is 10
minutes; so a claim need not be renewed while its message is being sent.

RFC 5321 s4.5.3.2.6
"""

HORIZON_SECONDS: Final = 2 * 86_400.0
"""Further ahead than this no attempt is ever scheduled: the clock was set back since."""

HELD_HORIZON_SECONDS: Final = 366 * 86_400.0
"""Further ahead than this no message is ever held (RFC 4865 s3)."""

_READERS: Final = 4

_log = Logger()

# Made once: a large message asks for it forty times.
_PIECE: Final = select(content.c.octets).where(
    content.c.message_id == bindparam("message_id"), content.c.number == bindparam("number")
)


@implementer(IQueueStore)
class SqlQueueStore:
    """The queue store in SQL."""

    def __init__(
        self,
        engine: Engine,
        reactor: IReactorFromThreads,
        now: Callable[[], float] = time.time,
        owner: str | None = None,
        horizon_seconds: float = HORIZON_SECONDS,
        files: ContentFiles | None = None,
    ) -> None:
        """Create it from its parts; nothing happens before `start`.

        Args:
            engine: of a database that was migrated.
            reactor: whose thread calls the methods below.
            now: the clock, in POSIX seconds.
            owner: the name of this process in leases, at most 32 characters; a random name by
                default. Two live processes must not have the same.
            horizon_seconds: longer than the longest step of the retry schedule.
            files: where large content is kept; only where no other process works on this database.
        """
        self.owner = owner or os.urandom(12).hex()
        self._engine = engine
        self._reactor = reactor
        self._now = now
        waiting = max(horizon_seconds, 2 * LEASE_SECONDS)
        self._horizons = Horizons(waiting, HELD_HORIZON_SECONDS)
        self._writer = Writer(engine, reactor, Batch(self.owner).apply)
        self._files = files
        self._filed: set[str] = set()  # the messages that have a file
        self._stopping = False
        self._readers = ThreadPool(0, _READERS, "queue-readers")

    def start(self) -> None:
        """Start to work."""
        self._writer.start()
        self._readers.start()
        if self._files is not None:
            self._filed.update(self._files.names())
            self._remove_files(frozenset(self._filed))

    async def stop(self) -> None:
        """Finish what was submitted; whatever comes later fails. Call it once, after `start`."""
        self._stopping = True
        await self._writer.stop()
        self._readers.stop()

    def put(
        self, message: NewMessage, content: IContent, claim: bool = True
    ) -> "Deferred[ClaimedMessage | None]":
        """See `IQueueStore.put`."""
        files = self._files
        if files is not None and files.may_keep(content):
            return Deferred.fromCoroutine(self._put_filed(files, message, content, claim))
        return self._put(message, content, claim)

    def _put(
        self, message: NewMessage, rows: IContent, claim: bool, filed_octets: int = 0
    ) -> "Deferred[ClaimedMessage | None]":
        now = self._now()
        lease_until = now + LEASE_SECONDS if claim else None
        return self._writer.submit(Put(message, rows, now, lease_until, filed_octets))

    async def _put_filed(
        self, files: ContentFiles, message: NewMessage, content: IContent, claim: bool
    ) -> ClaimedMessage | None:
        head = await self._in_thread(lambda: files.keep(message.id, content))
        if head is None:
            return await self._put(message, content, claim)
        self._filed.add(message.id)
        try:
            return await self._put(message, head, claim, content.size_octets - head.size_octets)
        except OSError:  # nobody knows what the disk holds: a row that is there keeps its file
            self._remove_files(frozenset({message.id}))
            raise
        except Exception:
            self._filed.discard(message.id)
            await self._in_thread(lambda: files.remove([message.id]))
            raise

    def claim(self, now: float, limit: int) -> "Deferred[Sequence[ClaimedMessage]]":
        """See `IQueueStore.claim`."""
        return self._writer.submit(Claim(now, self._horizons, limit, now + LEASE_SECONDS))

    def renew(
        self, claims: Sequence[ClaimedMessage], now: float
    ) -> "Deferred[Sequence[ClaimedMessage]]":
        """See `IQueueStore.renew`."""
        return self._writer.submit(Renew(claims, now + LEASE_SECONDS))

    def record(
        self, outcomes: Sequence[Done | Retry], reports: Sequence[Report] = ()
    ) -> "Deferred[Sequence[ClaimedMessage]]":
        """See `IQueueStore.record`."""
        recorded = self._writer.submit(Record(outcomes, reports, self._now() + LEASE_SECONDS))
        if self._filed:
            ended = {o.recipient.message_id for o in outcomes if isinstance(o, Done)} & self._filed
            if ended:
                recorded.addCallback(self._files_ended, frozenset(ended))
        return recorded

    def _files_ended(
        self, result: Sequence[ClaimedMessage], message_ids: frozenset[str]
    ) -> Sequence[ClaimedMessage]:
        self._remove_files(message_ids)
        return result

    def _remove_files(self, message_ids: frozenset[str]) -> None:
        """Remove the files of those messages that are not there any more; what fails is left."""
        files = self._files
        if files is None or not message_ids:
            return

        def in_thread(connection: Connection) -> frozenset[str]:
            kept: set[str] = set()
            for block in blocks(sorted(message_ids)):
                kept.update(connection.scalars(select(message.c.id).where(message.c.id.in_(block))))
            files.remove(message_ids - kept)
            return message_ids - kept

        self._read(in_thread).addCallbacks(self._filed.difference_update, _leave)

    def release_all_leases(self) -> "Deferred[int]":
        """End every lease there is: the recipients wait, due now. Return their number.

        Call it at the start, and only where no other process works on this database: where it is a
        file in a state directory that this process has locked.
        """
        return self._writer.submit(Release(self._now(), None))

    def release_own_leases(self) -> "Deferred[int]":
        """End the leases of an earlier process of the same ``owner``, which is known to be dead."""
        return self._writer.submit(Release(self._now(), self.owner))

    def flush(self, domain: str, subdomains: bool) -> "Deferred[int]":
        """See `IQueueStore.flush`."""
        return self._writer.submit(Flush(self._now(), domain, subdomains))

    def next_due_at(self, now: float) -> "Deferred[float | None]":
        """See `IQueueStore.next_due_at`."""
        return self._read(lambda connection: next_due_at(connection, now, self._horizons))

    def chunk(self, message_id: str, index: int) -> "Deferred[bytes]":
        """See `IQueueStore.chunk`."""
        files = self._files
        if index and files is not None and message_id in self._filed:
            return self._in_thread(lambda: files.piece(message_id, index - 1) or b"")
        piece = {"message_id": message_id, "number": index}
        return self._read(lambda connection: connection.scalar(_PIECE, piece) or b"")

    def _read(self, query: Callable[[Connection], T]) -> "Deferred[T]":
        def with_connection() -> T:
            try:
                with self._engine.connect() as connection:
                    return query(connection)
            except DBAPIError as error:
                raise storage_error(error) or error from error

        return self._in_thread(with_connection)

    def _in_thread(self, call: Callable[[], T]) -> "Deferred[T]":
        if self._stopping:
            return fail(OSError(errno.ESHUTDOWN, "the queue is closed"))
        return deferToThreadPool(self._reactor, self._readers, call)


def _leave(failure: Failure) -> None:
    """A file that could not be removed now is an orphan that the next start removes."""
    _log.warn("files of queued content could not be removed: {why}", why=failure.getErrorMessage())
