"""Statements that work on many rows at once.

Each execution releases the interpreter's lock and acquires it again only when the reactor releases
it, which under load takes longer than the statement itself. So a batch is not executed row by row:
its rows are cut into blocks whose lengths are powers of two, and a few statements, one for each
length, which SQLite parses once and keeps, serve batches of any size.

The texts are common to SQLite and PostgreSQL; ``{rows}`` stands for the block, as in
``(?, ?), (?, ?)``. Both databases name the columns of VALUES ``column1`` and so on. SQLite would
scan the whole table for ``(message_id, number) IN (VALUES …)``; by way of a SELECT or FROM it looks
each key up.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

BLOCK_ROWS: Final = 256
"""The longest block; a power of two."""

FINISH: Final = (
    "DELETE FROM recipient WHERE lease_owner = ? AND (message_id, number) IN"
    " (SELECT column1, column2 FROM (VALUES {rows}) AS outcome)"
)
RETRY: Final = (
    "UPDATE recipient SET due_at = outcome.column3, attempts = attempts + outcome.column4,"
    " last_reply = outcome.column5, delay_told = delay_told + outcome.column6, lease_owner = NULL"
    " FROM (VALUES {rows}) AS outcome"
    " WHERE message_id = outcome.column1 AND number = outcome.column2 AND lease_owner = ?"
)
RENEW: Final = (
    "UPDATE recipient SET due_at = ? FROM (VALUES {rows}) AS claim"
    " WHERE message_id = claim.column1 AND number = claim.column2 AND lease_owner = ?"
    " RETURNING message_id, number"
)
TAKE: Final = (
    "UPDATE recipient SET due_at = ?, lease_owner = ?, rank = claim.column3"
    " FROM (VALUES {rows}) AS claim WHERE message_id = claim.column1 AND number = claim.column2"
)
LOCK_MESSAGES: Final = "SELECT id FROM message WHERE id IN (VALUES {rows}) ORDER BY id FOR UPDATE"
DELETE_MESSAGES: Final = (
    "DELETE FROM message WHERE id IN (VALUES {rows})"
    " AND NOT EXISTS (SELECT 1 FROM recipient WHERE message_id = message.id)"
)


def insert(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows, whose values are in the order of the table's columns."""
    for block in blocks(rows):
        execute(connection, _insertion(table), block)


def execute(
    connection: Connection,
    statement: str,
    block: Sequence[Sequence[Any]],
    before: Sequence[Any] = (),
    after: Sequence[Any] = (),
) -> DBAPICursor:
    """Execute a statement for a block of rows.

    Args:
        connection: in a transaction.
        statement: one of the above.
        block: what ``{rows}`` stands for.
        before: the values of the parameters ahead of ``{rows}``.
        after: those behind.

    Returns:
        The cursor, for its rows or their number.

    Raises:
        DBAPIError: as SQLAlchemy raises it.
    """
    dialect = connection.dialect
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    text = _expand(statement, len(block), len(block[0]), mark)
    # The driver's own cursor: a batch of one message is a handful of statements, and SQLAlchemy's
    # account of each takes several times as long as SQLite's execution of it.
    cursor = connection.connection.cursor()
    driver_error = dialect.loaded_dbapi.Error
    try:
        cursor.execute(text, (*before, *chain.from_iterable(block), *after))
    except driver_error as error:
        raise DBAPIError.instance(text, None, error, driver_error, hide_parameters=True) from error
    return cursor


def blocks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut rows into blocks whose lengths are powers of two, the longest first."""
    start = 0
    length = BLOCK_ROWS
    while rest := len(rows) - start:
        while length > rest:
            length //= 2
        yield rows[start : start + length]
        start += length


@cache
def _insertion(table: Table) -> str:
    columns = ", ".join(column.name for column in table.columns)
    return f"INSERT INTO {table.name} ({columns}) VALUES {{rows}}"


@cache
def _expand(statement: str, length: int, width: int, mark: str) -> str:
    row = "(" + ", ".join([mark] * width) + ")"
    return statement.replace("?", mark).replace("{rows}", ", ".join([row] * length))
