"""What a command works on: the settings, the state directory and the database in it.

All of it is opened when it is first asked for, and works whether or not a daemon runs or ever ran.
A command that root gives acts as the owner of the state directory from the moment it opens the
database: a file made as root beside it would keep the daemon out.

Without a settings file the places are where the settings' defaults put them. They are told here
once more, and a test compares: reading the settings takes longer than most commands do.
"""

import os
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
        """Give the places without a settings file."""
        chosen = (state_dir or Path("postroom-state")).absolute()
        return cls(chosen, f"sqlite:///{chosen / 'postroom.db'}", chosen / "mail")

    @classmethod
    def of_settings(cls, settings: "Settings") -> "Places":
        """Give the places that settings name."""
        return cls(
            settings.state_dir, settings.database_url(), settings.mail_root(), settings.domains
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
        from postroom.accounts.administration import ensure_defaults
        from postroom.database import migrate, open_database

        places = self.places
        _enter_state_dir(places.state_dir)
        engine = open_database(places.database_url)
        click.get_current_context().find_root().call_on_close(engine.dispose)
        migrate(engine)
        ensure_defaults(engine, places.domains, places.mail_root)
        return engine

    def maildir(self, relative: str) -> Path:
        """Give the absolute path of an account's Maildir."""
        return self.places.mail_root / relative


def _enter_state_dir(path: Path) -> None:
    """Make the state directory if it is missing, and act as its owner until the end."""
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
        status = path.stat()
    except FileExistsError:
        raise UserError(f"the state directory {path} is not a directory") from None
    except OSError as error:
        raise UserError(f"the state directory {path}: {error.strerror}") from error
    if os.geteuid() == 0 and status.st_uid != 0:
        from postroom.service.state import Owner

        owner = Owner(status.st_uid, status.st_gid)
        click.get_current_context().find_root().with_resource(owner.acting())


def json_option(command: Command) -> Command:
    """Give a subcommand ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


pass_site = click.make_pass_decorator(Site)
