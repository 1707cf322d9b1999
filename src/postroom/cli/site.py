"""What a command works on: the settings, the state directory and the database in it.

Everything is opened on first use, and works whether or not a daemon is running or ever was.
If root runs the first command in the state directory of a daemon with another user, the database
is created as that user; else the daemon could not open it. The log files beside it need no care:
SQLite changes the owner of files that it creates as root to that of the database.

Without a settings file the places are the defaults of the settings. They are repeated here, since
reading the settings takes longer than most commands do; a test compares both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from postroom.errors import UserError

# The imports of these cost more than most commands: each is made where it is needed.
if TYPE_CHECKING:
    from sqlalchemy import Engine

    from postroom.service.settings import Settings
    from postroom.service.state import Owner

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Places:
    """Where an installation keeps what the commands work on.

    Attributes:
        state_dir: the state directory, absolute.
        database_url: the database.
        mail_root: the directory below which Maildirs are.
        domains: the domains that the settings name.
    """

    state_dir: Path
    database_url: str
    mail_root: Path
    domains: tuple[str, ...] = ()

    @classmethod
    def by_default(cls, state_dir: Path | None) -> "Places":
        """Return the places without a settings file."""
        chosen = (state_dir or Path("postroom-state")).absolute()
        return cls(chosen, f"sqlite:///{chosen / 'postroom.db'}", chosen / "mail")

    @classmethod
    def of_settings(cls, settings: "Settings") -> "Places":
        """Return the places that settings name."""
        return cls(
            settings.state_dir,
            settings.database_url(),
            settings.mail_root(),
            tuple(settings.domains),
        )


@dataclass
class Site:
    """One installation, as the options before the subcommand name it.

    Attributes:
        state_dir: ``--state-dir``, if given.
        config: ``--config``, if given.
    """

    state_dir: Path | None
    config: Path | None

    @cached_property
    def settings(self) -> "Settings":
        """The settings: the file's, and the command line's over them."""
        from postroom.service.settings import load_settings

        overrides = {} if self.state_dir is None else {"state_dir": str(self.state_dir)}
        return load_settings(self.config, overrides)

    @cached_property
    def places(self) -> Places:
        """Where everything is."""
        if self.config is None:
            return Places.by_default(self.state_dir)
        return Places.of_settings(self.settings)

    @cached_property
    def engine(self) -> "Engine":
        """The database, made if it is missing, with its newest schema and its default domain."""
        from postroom.database import migrate, open_database
        from postroom.directory.accounts import ensure_defaults

        places = self.places
        with owner_of(state_directory(places.state_dir)).acting():
            engine = open_database(places.database_url)
        click.get_current_context().find_root().call_on_close(engine.dispose)
        migrate(engine)
        ensure_defaults(engine, places.domains, places.mail_root)
        return engine

    @cached_property
    def read_only_sources(self) -> tuple[str, ...]:
        """The sources of accounts beside the database, which no command changes."""
        if self.config is None:
            return ()
        return tuple(name for name in self.settings.accounts.sources if name != "database")

    @property
    def uses_database(self) -> bool:
        """False if a daemon with these settings does not look into the database for accounts."""
        return self.config is None or "database" in self.settings.accounts.sources

    def maildir(self, relative: str) -> Path:
        """Return the absolute path of an account's Maildir."""
        return self.places.mail_root / relative


def state_directory(path: Path) -> Path:
    """Create the state directory if it is missing, and return it."""
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UserError(f"the state directory {path} is not a directory") from None
    except OSError as error:
        raise UserError(f"the state directory {path}: {error.strerror}") from error
    return path


def owner_of(path: Path) -> "Owner":
    """Return the user to act as where a file is made in a directory: its owner, if we are root."""
    # Loaded while we are who we are: the owner may not be allowed to read root's libraries.
    import sqlalchemy.dialects.sqlite  # noqa: F401

    from postroom.service.state import Owner

    status = path.stat()
    return Owner() if status.st_uid == 0 else Owner(status.st_uid, status.st_gid)


def json_option(command: Command) -> Command:
    """Add ``--json`` to a subcommand."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


pass_site = click.make_pass_decorator(Site)
