"""``postroom lockout``."""

import time

import click

from postroom.cli.output import document, table
from postroom.cli.site import Site, json_option, pass_site


@click.group("lockout")
def commands() -> None:
    """List and clear lock-outs after too many failed logins."""


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List the accounts and addresses that are locked out now."""
    from postroom.logins.lockouts import list_lockouts

    rows = list_lockouts(site.engine, time.time())
    split = [(*row.subject.partition(":")[::2], row) for row in rows]
    if as_json:
        document(
            [
                {
                    "kind": kind,
                    "name": name,
                    "failures": row.failures,
                    "since": row.since,
                    "until": row.until,
                }
                for kind, name, row in split
            ]
        )
    else:
        table(
            ("kind", "name", "failures", "since", "until"),
            [
                (kind, name, row.failures, _moment(row.since), _moment(row.until))
                for kind, name, row in split
            ],
            right=("failures",),
        )


@commands.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="Clear all lock-outs.")
@json_option
@pass_site
def clear(site: Site, names: tuple[str, ...], everybody: bool, as_json: bool) -> None:
    """Clear the lock-outs of accounts and IP addresses, named as in the list."""
    from postroom.logins.lockouts import clear_lockouts

    if bool(names) == everybody:
        raise click.UsageError("give the names to clear, or --all")
    cleared = clear_lockouts(site.engine, None if everybody else names)
    if as_json:
        document(list(cleared))
    else:
        click.echo(f"Cleared {', '.join(cleared)}" if cleared else "There was no lock-out")


def _moment(posix_time: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(posix_time))
