"""The state directory and the database, opened and checked before anything runs.

This is done as the user that the daemon will run as. So new files belong to that user, and missing
permissions are found now. The database is opened, upgraded to the newest schema, and closed again:
`twistd` may fork after this, and a connection must not be used in two processes. The engine opens
new connections on its next use.
"""

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from postroom.database import migrate, open_database
from postroom.directory.accounts import ensure_defaults
from postroom.directory.domains import list_domains
from postroom.directory.srs_secrets import read_secrets
from postroom.envelope import DomainKind
from postroom.errors import UserError
from postroom.logins.secrets import site_octets
from postroom.queue.files import files_of
from postroom.service.settings import Settings
from postroom.service.state import Owner, StateDirectory, open_state_directory


@dataclass(frozen=True, slots=True)
class Storage:
    """The state directory and the database, ready for use.

    Attributes:
        state: the locked state directory.
        engine: the database, migrated; holds no connection.
        domains: the local domains, the oldest first.
        srs_secrets: sign rewritten senders.
        login_secret: makes the salts of unknown users.
        owns_database: True if no other process can be working on the queue, because the database
            lies in the locked directory.
        node: the name of this daemon in the queue, the same after a restart.
    """

    state: StateDirectory
    engine: Engine
    domains: tuple[str, ...]
    srs_secrets: tuple[bytes, ...]
    login_secret: bytes
    owns_database: bool
    node: str

    def close(self) -> None:
        """Close the database, then the directory."""
        self.engine.dispose()
        self.state.close()


def open_storage(settings: Settings, owner: Owner) -> Storage:
    """Open the state directory and the database; creates what is missing.

    Raises:
        UserError: the directory or the database cannot be used, or another process uses them.
    """
    state = open_state_directory(settings.state_dir, owner)
    if owner.changes:
        _import_as_ourselves()
    try:
        with owner.acting():
            engine = _open_database(settings)
            rows = list_domains(engine)
            domains = tuple(row.name for row in rows if row.kind is DomainKind.LOCAL)
            srs_secrets = read_secrets(engine, settings.srs.rotation, time.time())
            login_secret = site_octets(engine, "logins")
            node = state.node_name()
            engine.dispose()
    except BaseException:
        state.close()
        raise
    return Storage(
        *(state, engine, domains, srs_secrets, login_secret),
        owns_database=not settings.database,
        node=node,
    )


def _import_as_ourselves() -> None:
    """Import the modules of a migration now: the user may not be able to read root's Python."""
    import alembic.command
    import alembic.config  # noqa: F401


def _open_database(settings: Settings) -> Engine:
    mail_root = settings.mail_root()
    try:
        mail_root.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"{mail_root}: cannot be created: {error.strerror}") from error
    engine = open_database(settings.database_url())
    files = None if settings.database else files_of(engine)
    try:
        if files is not None:
            files.open()
        migrate(engine)
        ensure_defaults(engine, settings.domains, mail_root)
    except OSError as error:
        engine.dispose()
        raise UserError(f"{error.filename}: cannot be used: {error.strerror}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine
