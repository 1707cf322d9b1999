"""The tables of the queue.

A message has its envelope in one row, its content in rows of at most 256 KiB, so that a large one
is never whole in memory, and one row for each recipient that still needs work.

``recipient.due_at`` is the POSIX time from which any process may claim the recipient: its next
attempt while it waits, the end of the lease while it is claimed. One column and one index thus
answer both questions, who is due and whose lease has expired, and a crash needs no repair.
``lease_owner`` is the process that claimed it last; NULL while it waits.

``recipient.rank`` is the order of those that are due: the message's priority, or `HELD` until the
first claim of a message that its sender wants held. There are at most twenty
ranks, nearly always one, and the index is by rank first, so that each of them is a queue of its
own, asked in turn.

``message.parameters`` are those of MAIL, ``recipient.rcpt_parameters`` those of RCPT, keyword to
value as sent; NULL for none.

Addresses are octets as `Mailbox` writes them. `read_mailbox` reads them back without judging them:
a row that an older or newer version wrote must not stop the queue.
"""

import re
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from postroom.database.metadata import metadata
from postroom.wire.paths import Mailbox

message = Table(
    "message",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sender", LargeBinary),
    Column("parameters", JSON, nullable=False),
    Column("identity", String),
    Column("received_at", Double, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("traits", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

content = Table(
    "content",
    metadata,
    Column("message_id", ForeignKey(message.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("octets", LargeBinary, nullable=False),
)

recipient = Table(
    "recipient",
    metadata,
    Column("message_id", ForeignKey(message.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("address", LargeBinary, nullable=False),
    Column("domain", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("lease_owner", String(32)),
    Column("last_reply", String, nullable=False),
    Column("rcpt_parameters", JSON),
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("delay_told", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
Index(None, recipient.c.rank, recipient.c.due_at)

HELD: Final = -100
"""The rank of what must not go yet, below every priority."""

_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"(?:@(.*))?', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)


def read_mailbox(octets: bytes) -> Mailbox:
    """Return the mailbox of octets that ``bytes(mailbox)`` wrote."""
    quoted = _QUOTED.fullmatch(octets)
    if quoted is not None:
        return Mailbox(_QUOTED_PAIR.sub(rb"\1", quoted[1]), quoted[2] or b"")
    local_part, _, domain = octets.partition(b"@")
    return Mailbox(local_part, domain)
