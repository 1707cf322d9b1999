"""The ``postroom`` command: its options, its subcommands, and how errors are shown.

An error is one line on standard error and exit status 1; a wrong command line is status 2, as usual
with click. Only ``--debug`` shows a traceback.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from postroom.cli import (
    account_properties,
    alias,
    config,
    dissect,
    domain,
    lockout,
    mailbox_messages,
    mailbox_transfer,
    queue,
    quota,
    tls,
)
from postroom.cli.output import printable
from postroom.cli.site import Site
from postroom.errors import UserError


class _Commands(click.Group):
    """A group whose errors end as one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except UserError as error:
            _fail(str(error) + _hint(ctx.find_object(Site), str(error)))
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            _fail(_explain(error))


def _hint(site: Site | None, text: str) -> str:
    """Return where an account may be that the database does not have."""
    if site is None or not text.startswith("there is no account") or not site.read_only_sources:
        return ""
    names = " and ".join(site.read_only_sources)
    return f"; accounts from {names} can only be changed there"


def _fail(text: str) -> NoReturn:
    for line in text.splitlines() or [""]:
        click.echo(f"postroom: {printable(line)}", err=True)
    raise click.exceptions.Exit(1)


def _explain(error: Exception) -> str:
    """Return one line about an unexpected error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    cause = getattr(error, "orig", None) or error  # the driver's error, without SQLAlchemy's lines
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory of database and mail; by default from the settings, else postroom-state.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="The settings file (TOML)."
)
@click.option(
    "--debug",
    is_flag=True,
    envvar="POSTROOM_DEBUG",
    help="Show a traceback of an unexpected error.",
)
@click.version_option(package_name="postroom", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, state_dir: Path | None, config: Path | None, debug: bool) -> None:
    """Manage a Postroom mail server: its domains, accounts, aliases, mailboxes and queue.

    The server may be running or not. A running server notices changes within a second.
    """
    ctx.obj = Site(state_dir, config)


# Several modules may add to one group.
for group in (
    *(account_properties, domain, alias, mailbox_messages, mailbox_transfer),
    *(quota, queue, lockout, tls, config),
):
    cli.add_command(group.commands)
cli.add_command(dissect.command)


def main() -> None:
    """Run the command, and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # always files
    cli(prog_name="postroom")
