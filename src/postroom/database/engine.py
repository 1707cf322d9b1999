"""Opening the database: SQLite in a file of ours, or a PostgreSQL server.

Theory: everything that makes a commit durable is set here, once, for the connections of all rooms.

SQLite runs with a write-ahead log and ``synchronous=FULL``: COMMIT returns after the log was
synced. A commit that was not finished is not in the log's checksummed chain, so opening the file
again is the only repair needed. A new database is created under another name, synced, and then
linked to its own name. So a second opener, in another process too, finds it complete.

A transaction that will write declares that at its start (`transaction`, ``BEGIN IMMEDIATE``). One
that reads first and writes later would be refused at once whenever another process wrote between,
and no waiting helps against that. Connections used for reading alone (``engine.connect()``) never
wait for a writer, nor does a writer wait for them.

On PostgreSQL ``synchronous_commit`` is raised from ``off``, which would promise too much.

Who controls the input: the operator, by the URL. Its password is never shown. Errors never show the
values of a statement, since they are people's mail.

Known limit: the file must be on a local file system, for the log's index is shared memory.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from postroom.errors import UserError

PAGE_OCTETS: Final = 8192
BUSY_SECONDS: Final = 15
"""How long a statement waits for another process to end its transaction."""
_CHECKPOINT_PAGES: Final = 4096
_LOG_OCTETS: Final = 64 * 1024 * 1024
"""What the write-ahead log is cut back to after it grew for a large message."""

_SQLITE_VERSION: Final = (3, 35)  # RETURNING

_WRITES: Final = "postroom_writes"


def open_database(url: str) -> Engine:
    """Open a database, creating the SQLite file if there is none; no table is touched.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql://user:password@host/name``.

    Raises:
        UserError: it cannot be opened; says which and why.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError(
            f"database: {url!r} is not a database URL; write sqlite:////path or postgresql://host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = _open_sqlite(parsed)
    elif backend in {"postgresql", "postgres"}:
        engine = _open_postgresql(parsed)
    else:
        raise UserError(f"database: {backend!r} is not supported; use sqlite or postgresql")
    with user_errors(engine), engine.connect():
        pass
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that writes; commits at the end, rolls back on error.

    On SQLite it holds the write lock from the beginning. Blocks; call it from a worker thread.

    Raises:
        sqlalchemy.exc.DBAPIError: as the statements or the commit do; see `storage_error`.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(**{_WRITES: True})
        with connection.begin():
            yield connection


def write_log_back(connection: PoolProxiedConnection, wait: bool) -> None:
    """Write SQLite's log back into the database, so that the log starts again.

    Args:
        connection: of ``engine.raw_connection()``, not in a transaction.
        wait: wait for those who still read from the log; else only what no reader needs is written.

    Raises:
        sqlite3.Error: the disk failed; the log is as it was.
    """
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if wait else 'PASSIVE'})")
    cursor.close()


def storage_error(error: DBAPIError) -> OSError | None:
    """Return the error to raise if a statement failed because of the disk or the server.

    Returns:
        An `OSError` that `postroom.errors.reply_for` makes 452 (full) or 451; None if the fault is
        the statement's: a constraint, a value.
    """
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        full = code == sqlite3.SQLITE_FULL
        ours = code in _STATEMENT_CODES
    else:
        state = getattr(cause, "sqlstate", None) or ""
        full = state in _FULL_STATES
        ours = state[:2] in _STATEMENT_CLASSES
    if ours:
        return None
    return OSError(errno.ENOSPC if full else errno.EIO, f"database: {_one_line(error)}")


_STATEMENT_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_RANGE,
    }
)
# 53100 disk_full, 53200 out_of_memory is not "full". Classes: data exception, integrity constraint,
# transaction rollback (deadlock), syntax or access rule.
_FULL_STATES: Final = frozenset({"53100"})
_STATEMENT_CLASSES: Final = frozenset({"22", "23", "40", "42"})


@contextmanager
def user_errors(engine: Engine) -> Iterator[None]:
    """Convert errors at the start into one line for the person who started the program."""
    try:
        yield
    except SQLAlchemyError as error:
        shown = engine.url.render_as_string(hide_password=True)
        raise UserError(f"cannot use the database {shown}: {_one_line(error)}") from error


def _one_line(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _open_postgresql(url: URL) -> Engine:
    """Create an engine that notices by itself when the server was restarted."""
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"connect_timeout": 10, "application_name": "postroom"},
        )
    except ModuleNotFoundError:
        raise UserError(
            "database: PostgreSQL needs the extra 'postgres': pip install 'postroom[postgres]'"
        ) from None

    @event.listens_for(engine, "connect")
    def be_durable(connection: Any, _: ConnectionPoolEntry) -> None:
        row = connection.execute("SHOW synchronous_commit").fetchone()
        if row[0] == "off":
            connection.execute("SET synchronous_commit = on")
        connection.commit()

    return engine


def _open_sqlite(url: URL) -> Engine:
    """Create an engine on a file, and the file if it is missing."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise UserError("database: sqlite needs the path of a file: sqlite:////path/postroom.db")
    if sqlite3.sqlite_version_info < _SQLITE_VERSION:
        raise UserError(f"database: SQLite {sqlite3.sqlite_version} is too old; 3.35 is needed")
    path = Path(url.database).absolute()
    try:
        _make_file(path)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot create the database {path}: {reason}") from error
    # Python's sqlite3 must not start transactions itself. Its plain BEGIN takes the write lock only
    # at the first write, where a busy database refuses at once.
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite", database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        _configure(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _configure(connection: sqlite3.Connection) -> None:
    """Set the options that SQLite keeps per connection; page size and log mode are in the file."""
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
        connection.execute("PRAGMA journal_mode = WAL")
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = OFF",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"journal_size_limit = {_LOG_OCTETS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _make_file(path: Path) -> None:
    """Create an empty database of mode 0600, unless there is a file already.

    The mode does not depend on the umask, since the file holds mail and password hashes. The log
    files follow its mode.
    """
    if path.exists():
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.fchmod(descriptor, 0o600)
        with closing(sqlite3.connect(name)) as connection:
            _configure(connection)
        os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.close(descriptor)
        os.unlink(name)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
