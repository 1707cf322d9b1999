"""The queue as an operator sees and changes it: for commands, which block.

These functions change the tables beside a running daemon, without its help. The daemon looks every
second for what is due, and so finds what `retry` made due.

Each raises `postroom.errors.UserError` for a queue id that is not there, and when the database
cannot be used.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    RowMapping,
    Select,
    and_,
    delete,
    or_,
    select,
    update,
)

from postroom.database import transaction, user_errors
from postroom.envelope import Trait
from postroom.errors import UserError
from postroom.queue.files import ContentFiles, files_of
from postroom.queue.model import MessageRow, RecipientRow
from postroom.queue.tables import HELD, content, message, read_mailbox, recipient


def list_messages(engine: Engine, now: float, limit: int | None = None) -> list[MessageRow]:
    """List the queue, the oldest message first.

    Args:
        engine: of the database.
        now: POSIX time, to know which leases still run.
        limit: how many messages at most; None for all.
    """
    ids = select(message.c.id).order_by(message.c.received_at, message.c.id).limit(limit)
    with user_errors(engine), engine.connect() as connection:
        return _rows(connection, ids, now)


def show_message(engine: Engine, message_id: str, now: float) -> MessageRow:
    """Return one message's envelope and the state of its recipients."""
    with user_errors(engine), engine.connect() as connection:
        found = _rows(connection, select(message.c.id).where(message.c.id == message_id), now)
    if not found:
        raise _unknown([message_id])
    return found[0]


def read_content(engine: Engine, message_id: str) -> Iterator[bytes]:
    """Yield a message's content in pieces of at most 256 KiB.

    A message that is delivered meanwhile ends the content early, by the error for an unknown id.
    """
    size = show_message(engine, message_id, 0.0).size_octets
    files = files_of(engine)
    number = 0
    while size > 0:
        octets = _filed(files, message_id, number)
        if octets is None:
            piece = select(content.c.octets).where(
                content.c.message_id == message_id, content.c.number == number
            )
            with user_errors(engine), engine.connect() as connection:
                octets = connection.scalar(piece)
        if not octets:
            raise _unknown([message_id])
        yield octets
        size -= len(octets)
        number += 1


def retry(engine: Engine, message_ids: Sequence[str] | None, now: float) -> int:
    """Make the recipients that wait due now; those that are claimed are left alone.

    Args:
        engine: of the database.
        message_ids: whose recipients; None for all but those that their senders want held.
        now: POSIX time.

    Returns:
        How many recipients were made due.

    Raises:
        UserError: one of the ids is unknown; then nothing was changed.
    """
    change = update(recipient).values(due_at=now, lease_owner=None)
    idle = or_(recipient.c.lease_owner.is_(None), recipient.c.due_at <= now)
    with user_errors(engine), transaction(engine) as connection:
        if message_ids is None:
            return connection.execute(change.where(idle, recipient.c.rank != HELD)).rowcount
        changed = 0
        for message_id in _known(connection, message_ids):
            mine = and_(recipient.c.message_id == message_id, idle)
            changed += connection.execute(change.where(mine)).rowcount
        return changed


def remove(engine: Engine, message_id: str) -> None:
    """Remove a message from the queue, without a report to anybody.

    An attempt that is under way ends by itself; no further one is made.
    """
    with user_errors(engine), transaction(engine) as connection:
        if not connection.execute(delete(message).where(message.c.id == message_id)).rowcount:
            raise _unknown([message_id])
    files = files_of(engine)
    if files is not None:
        files.remove([message_id])


def _filed(files: ContentFiles | None, message_id: str, number: int) -> bytes | None:
    """Return a piece of content that lies in a file; None if it lies in a row."""
    if files is None or number == 0:
        return None
    try:
        return files.piece(message_id, number - 1)
    except OSError as error:
        raise UserError(f"{message_id}: its content cannot be read: {error.strerror}") from error


def _known(connection: Connection, message_ids: Sequence[str]) -> Sequence[str]:
    unknown = [
        message_id
        for message_id in message_ids
        if connection.scalar(select(message.c.id).where(message.c.id == message_id)) is None
    ]
    if unknown:
        raise _unknown(unknown)
    return message_ids


def _unknown(message_ids: Sequence[str]) -> UserError:
    return UserError(f"no message {', '.join(message_ids)} in the queue")


def _rows(connection: Connection, ids: Select[tuple[str]], now: float) -> list[MessageRow]:
    chosen = ids.subquery()
    statement = (
        select(message, recipient)
        .join(chosen, chosen.c.id == message.c.id)
        .join(recipient, recipient.c.message_id == message.c.id)
        .order_by(message.c.received_at, message.c.id, recipient.c.number)
    )
    messages: dict[str, tuple[RowMapping, list[RecipientRow]]] = {}
    for row in connection.execute(statement):
        _, recipients = messages.setdefault(row.id, (row._mapping, []))
        recipients.append(_recipient_row(row, now))
    return [_message_row(row, tuple(recipients)) for row, recipients in messages.values()]


def _message_row(row: RowMapping, recipients: tuple[RecipientRow, ...]) -> MessageRow:
    return MessageRow(
        id=row["id"],
        sender="" if row["sender"] is None else str(read_mailbox(row["sender"])),
        received_at=row["received_at"],
        size_octets=row["size_octets"],
        recipients=recipients,
        parameters=row["parameters"],
        priority=row["priority"],
        traits=Trait(row["traits"]),
    )


def _recipient_row(row: Row[Any], now: float) -> RecipientRow:
    return RecipientRow(
        address=str(read_mailbox(row.address)),
        attempts=row.attempts,
        next_attempt_at=row.due_at,
        claimed=row.lease_owner is not None and row.due_at > now,
        held=row.rank == HELD,
        last_reply=row.last_reply,
        parameters=row.rcpt_parameters or {},
    )
