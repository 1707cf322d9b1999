"""The revisions of the schema, and the upgrade of a database to the newest.

Each file ``NNNN_name.py`` in ``migrations/versions`` is the revision ``NNNN`` and follows the one
before it; the newest is therefore known from the file names. If the database is already at the
newest, a start reads one row and never imports Alembic.

All revisions that are missing are applied in one transaction: a crash leaves the old schema. Two
processes that start at once take turns through SQLite's write lock or a PostgreSQL advisory lock;
the second finds nothing left to do.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, column, inspect, select, table, text

from postroom.database.engine import transaction, user_errors
from postroom.errors import UserError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x706F7374726F6F6D  # "postroom"


def known_revisions() -> list[str]:
    """Return the revisions that this installation knows, oldest first."""
    files = (_MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")
    return sorted(file.name[:4] for file in files)


def stored_revision(connection: Connection) -> str | None:
    """Return the revision of a database; None if it has no schema of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(select(column("version_num")).select_from(table("alembic_version")))


def migrate(engine: Engine) -> None:
    """Upgrade a database to the newest schema, from any revision or from none.

    Raises:
        UserError: it was made by a newer Postroom, is damaged, or cannot be written.
    """
    known = known_revisions()
    with user_errors(engine):
        with engine.connect() as connection:
            stored = stored_revision(connection)
        if stored == known[-1]:
            return
        with transaction(engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
                )
            stored = stored_revision(connection)
            if stored is not None and stored not in known:
                raise UserError(
                    f"the database {engine.url.render_as_string()} has schema {stored}, newer than "
                    f"this Postroom's {known[-1]}: upgrade Postroom"
                )
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # Importing Alembic costs more than the rest of a start.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
