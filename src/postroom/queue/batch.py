"""What a batch of jobs does to the tables, within one transaction.

Jobs of a kind are done together, by few statements of many rows each (`postroom.queue.statements`).

Fencing: every change to a recipient names the owner of its lease. If the lease expired and another
process claimed the recipient, the row names that process, and the change does nothing.
"""

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Row, or_, select, update

from postroom.envelope import NewMessage, Trait
from postroom.errors import PostroomError
from postroom.interfaces import IContent
from postroom.queue.model import ClaimedMessage, ClaimedRecipient, Done, Report, Retry
from postroom.queue.ranks import Horizons, ranks_of
from postroom.queue.statements import (
    BLOCK_ROWS,
    DELETE_MESSAGES,
    FINISH,
    LOCK_MESSAGES,
    RENEW,
    RETRY,
    TAKE,
    blocks,
    execute,
    insert,
)
from postroom.queue.tables import HELD, content, message, read_mailbox, recipient
from postroom.queue.writer import Job
from postroom.wire.commands import Rcpt

CHUNK_OCTETS: Final = 256 * 1024
"""The longest row of content."""

_RUN_OCTETS: Final = 1024 * 1024

Key = tuple[str, int]
ContentRow = tuple[str, int, bytes]


class TornContent(PostroomError):
    """A content that had more or fewer octets than it announced; the peer gets 451."""


class Put(Job[ClaimedMessage | None]):
    """Store a message; claimed until ``lease_until``, or waiting if that is None.

    It waits until ``now``, or for as long as it is to be held.
    """

    def __init__(
        self,
        new: NewMessage,
        body: IContent,
        now: float,
        lease_until: float | None,
        filed_octets: int = 0,
    ) -> None:
        """Create the job; ``filed_octets`` of the content come after ``body``, from a file."""
        super().__init__(body.size_octets)
        self.new = new
        self.body = body
        self.size_octets = size_octets = body.size_octets + filed_octets
        self.rank = new.priority
        self.due_at = now if lease_until is None else lease_until
        self.claimed = lease_until is not None
        self.result = claimed_message(new, size_octets, lease_until) if lease_until else None
        if lease_until is None and new.held_until is not None and new.held_until > now:
            self.rank, self.due_at = HELD, new.held_until


class Record(Job[Sequence[ClaimedMessage]]):
    """Record outcomes, and put the reports that tell of them."""

    def __init__(
        self, outcomes: Sequence[Done | Retry], reports: Sequence[Report], lease_until: float
    ) -> None:
        """Create the job; the reports are claimed until ``lease_until``."""
        super().__init__(sum(report.content.size_octets for report in reports))
        self.outcomes = outcomes
        self.puts = [Put(r.message, r.content, lease_until, lease_until) for r in reports]
        self.result = ()


class Renew(Job[Sequence[ClaimedMessage]]):
    """Make leases longer."""

    def __init__(self, claims: Sequence[ClaimedMessage], lease_until: float) -> None:
        """Create the job for some claims."""
        super().__init__()
        self.claims = claims
        self.lease_until = lease_until


class Claim(Job[Sequence[ClaimedMessage]]):
    """Claim recipients due at ``now``."""

    def __init__(self, now: float, horizons: Horizons, limit: int, lease_until: float) -> None:
        """Create the job with its limits."""
        super().__init__()
        self.now = now
        self.horizons = horizons
        self.limit = limit
        self.lease_until = lease_until


class Release(Job[int]):
    """Make claimed recipients wait again, due now; those of one owner, or all."""

    def __init__(self, now: float, owner: str | None) -> None:
        """Create the job for an owner; None for all."""
        super().__init__()
        self.now = now
        self.owner = owner


class Flush(Job[int]):
    """Make what waits for a domain due now."""

    def __init__(self, now: float, domain: str, subdomains: bool) -> None:
        """Create the job for a domain, in lower case."""
        super().__init__()
        self.now = now
        self.domain = domain
        self.subdomains = subdomains


class Batch:
    """Applies jobs for one owner of leases."""

    def __init__(self, owner: str) -> None:
        """Create it for an owner's id."""
        self._owner = owner

    def apply(self, connection: Connection, jobs: Sequence[Job[Any]]) -> None:
        """Apply the jobs, those of a kind together; their order within a batch means nothing."""
        puts: list[Put] = []
        plain: list[Done | Retry] = []
        others: list[Job[Any]] = []
        for job in jobs:
            if isinstance(job, Put):
                puts.append(job)
            elif isinstance(job, Record) and not job.puts:
                plain.extend(job.outcomes)
            else:
                others.append(job)
        # A report is stored with its outcomes and no others, so those with reports come one by one.
        self._put(connection, puts)
        self._record(connection, plain)
        for job in others:
            if isinstance(job, Record):
                self._report(connection, job)
            elif isinstance(job, Renew):
                self._renew(connection, job)
            elif isinstance(job, Claim):
                self._claim(connection, job)
            elif isinstance(job, Release):
                self._release(connection, job)
            elif isinstance(job, Flush):
                self._flush(connection, job)

    def _put(self, connection: Connection, puts: Sequence[Put]) -> None:
        insert(connection, message, [_message_row(put) for put in puts])
        insert(connection, recipient, [row for put in puts for row in self._recipient_rows(put)])
        for run in _by_octets(_content_rows(puts)):
            insert(connection, content, run)

    def _recipient_rows(self, put: Put) -> Iterator[tuple[Any, ...]]:
        owner = self._owner if put.claimed else None
        new, due_at, rank = put.new, put.due_at, put.rank
        for number, rcpt in enumerate(new.recipients):
            address = rcpt.forward_path
            domain = address.domain_key
            parameters = json.dumps(dict(rcpt.parameters)) if rcpt.parameters else None
            yield (
                *(new.id, number, bytes(address), domain, 0, due_at, owner, ""),
                *(parameters, rank, 0),
            )

    def _record(self, connection: Connection, outcomes: Iterable[Done | Retry]) -> int:
        """Record outcomes; return how many were still ours to record."""
        done: list[Key] = []
        retries: list[tuple[Any, ...]] = []
        for outcome in outcomes:
            who = outcome.recipient
            if isinstance(outcome, Done):
                done.append((who.message_id, who.number))
            else:
                due, counts, delay_told = (
                    outcome.next_attempt_at,
                    int(outcome.counts),
                    int(outcome.tells_delay),
                )
                retries.append(
                    (who.message_id, who.number, due, counts, str(outcome.reply), delay_told)
                )
        recorded = self._finish(connection, sorted(done)) if done else 0
        for block in blocks(retries):
            recorded += execute(connection, RETRY, block, after=[self._owner]).rowcount
        return recorded

    def _finish(self, connection: Connection, keys: Sequence[Key]) -> int:
        """Delete recipients, and the messages whose last recipients these were."""
        finished = 0
        for block in blocks(keys):
            ids = [(message_id,) for message_id, _ in groupby(block, key=itemgetter(0))]
            if connection.dialect.name == "postgresql":
                # Two processes that finish the last two recipients of a message at once would
                # each see the other's and leave the message behind: one waits for the other.
                for id_block in blocks(ids):
                    execute(connection, LOCK_MESSAGES, id_block).fetchall()
            finished += execute(connection, FINISH, block, before=[self._owner]).rowcount
            for id_block in blocks(ids):
                execute(connection, DELETE_MESSAGES, id_block)
        return finished

    def _report(self, connection: Connection, job: Record) -> None:
        """Record outcomes with reports; store none if another process owns all outcomes now."""
        job.result = ()
        if self._record(connection, job.outcomes) or not job.outcomes:
            self._put(connection, job.puts)
            job.result = tuple(put.result for put in job.puts if put.result is not None)

    def _renew(self, connection: Connection, job: Renew) -> None:
        keys = sorted((r.message_id, r.number) for claim in job.claims for r in claim.recipients)
        ours: set[tuple[Any, ...]] = set()
        for block in blocks(keys):
            rows = execute(connection, RENEW, block, [job.lease_until], [self._owner]).fetchall()
            ours.update(tuple(row) for row in rows)
        renewed = (_still_ours(claim, ours, job.lease_until) for claim in job.claims)
        job.result = [claim for claim in renewed if claim is not None]

    def _claim(self, connection: Connection, job: Claim) -> None:
        """Claim by rank in two rounds; the first leaves room for the ranks that follow."""
        rows: list[Row[Any]] = []
        ranks = ranks_of(connection)
        for place, rank in enumerate([*ranks, *ranks[:-1]]):
            room = job.limit - len(rows)
            if place < len(ranks) - 1 and room > 1:
                room -= max(room // 4, 1)
            rows += self._claim_of_rank(connection, job, rank, room)
        job.result = _group(rows, job.lease_until)

    def _claim_of_rank(
        self, connection: Connection, job: Claim, rank: int, limit: int
    ) -> Sequence[Row[Any]]:
        rows: list[Row[Any]] = []
        beyond = job.now + job.horizons.of_rank(rank)
        for due in (recipient.c.due_at <= job.now, recipient.c.due_at > beyond):
            if len(rows) < limit:
                statement = (
                    select(recipient, message)
                    .join(message, message.c.id == recipient.c.message_id)
                    .where(recipient.c.rank == rank, due)
                    .order_by(recipient.c.due_at)
                    .limit(limit - len(rows))
                    .with_for_update(skip_locked=True, of=recipient)
                )
                rows.extend(connection.execute(statement))
        taken = sorted((row.message_id, row.number, row.priority) for row in rows)
        for block in blocks(taken):
            execute(connection, TAKE, block, [job.lease_until, self._owner])
        return rows

    def _release(self, connection: Connection, job: Release) -> None:
        claimed = recipient.c.lease_owner.is_not(None)
        mine = claimed if job.owner is None else recipient.c.lease_owner == job.owner
        statement = update(recipient).where(mine).values(lease_owner=None, due_at=job.now)
        job.result = connection.execute(statement).rowcount

    def _flush(self, connection: Connection, job: Flush) -> None:
        domain = recipient.c.domain
        meant = domain == job.domain
        if job.subdomains:
            meant = or_(meant, domain.endswith("." + job.domain, autoescape=True))
        idle = or_(recipient.c.lease_owner.is_(None), recipient.c.due_at <= job.now)
        statement = (
            update(recipient)
            .where(meant, idle, recipient.c.rank != HELD)
            .values(due_at=job.now, lease_owner=None)
        )
        job.result = connection.execute(statement).rowcount


def claimed_message(new: NewMessage, size_octets: int, lease_until: float) -> ClaimedMessage:
    """Return a message just stored, as one whose every recipient is claimed."""
    recipients = tuple(
        ClaimedRecipient(new.id, number, rcpt, 0) for number, rcpt in enumerate(new.recipients)
    )
    return ClaimedMessage(new, recipients, size_octets, lease_until)


def _group(rows: Sequence[Row[Any]], lease_until: float) -> list[ClaimedMessage]:
    """Gather claimed rows into their messages, the one due longest first."""
    by_message: dict[str, list[Row[Any]]] = {}
    for row in rows:
        by_message.setdefault(row.message_id, []).append(row)
    return [_claimed_rows(group, lease_until) for group in by_message.values()]


def _claimed_rows(rows: list[Row[Any]], lease_until: float) -> ClaimedMessage:
    rows.sort(key=lambda row: row.number)
    recipients = tuple(
        ClaimedRecipient(
            row.message_id,
            row.number,
            Rcpt(read_mailbox(row.address), row.rcpt_parameters or {}),
            row.attempts,
            bool(row.delay_told),
        )
        for row in rows
    )
    first = rows[0]  # the columns of the message are the same in every row
    new = NewMessage(
        id=first.id,
        sender=None if first.sender is None else read_mailbox(first.sender),
        recipients=tuple(claimed.rcpt for claimed in recipients),
        received_at=first.received_at,
        parameters=first.parameters,
        identity=first.identity,
        priority=first.priority,
        traits=Trait(first.traits),
    )
    return ClaimedMessage(new, recipients, first.size_octets, lease_until)


def _still_ours(
    claim: ClaimedMessage, ours: Container[tuple[Any, ...]], lease_until: float
) -> ClaimedMessage | None:
    kept = tuple(r for r in claim.recipients if (r.message_id, r.number) in ours)
    if not kept:
        return None
    new = replace(claim.message, recipients=tuple(r.rcpt for r in kept))
    return ClaimedMessage(new, kept, claim.size_octets, lease_until)


def _message_row(put: Put) -> tuple[Any, ...]:
    new = put.new
    sender = None if new.sender is None else bytes(new.sender)
    parameters = json.dumps(dict(new.parameters)) if new.parameters else "{}"
    return (
        *(new.id, sender, parameters, new.identity, new.received_at, put.size_octets),
        *(new.priority, int(new.traits)),
    )


def _content_rows(puts: Iterable[Put]) -> Iterator[ContentRow]:
    """Yield the rows of the contents as they are read, few octets at a time."""
    for put in puts:
        octets = 0
        for number, piece in enumerate(_pieces(put.body)):
            octets += len(piece)
            yield put.new.id, number, piece
        if octets != put.body.size_octets:
            raise TornContent(
                f"{put.new.id}: the content has {octets} octets instead of {put.body.size_octets}"
            )


def _pieces(body: IContent) -> Iterator[bytes]:
    """Yield a content's pieces, small ones joined."""
    pending: list[bytes] = []
    octets = 0
    for chunk in body.chunks():
        if octets + len(chunk) > CHUNK_OCTETS and pending:
            yield b"".join(pending)
            pending, octets = [], 0
        pending.append(chunk)
        octets += len(chunk)
    if pending:
        yield b"".join(pending)


def _by_octets(rows: Iterable[ContentRow]) -> Iterator[list[ContentRow]]:
    """Cut rows of content into runs that are small enough for memory."""
    run: list[ContentRow] = []
    octets = 0
    for row in rows:
        run.append(row)
        octets += len(row[2])
        if octets >= _RUN_OCTETS or len(run) == BLOCK_ROWS:
            yield run
            run, octets = [], 0
    if run:
        yield run
