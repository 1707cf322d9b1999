"""``postroom account app-password``."""

import time
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.logins.secrets import AppPasswordRow


@click.group("app-password")
def commands() -> None:
    """Add, list and revoke app passwords, one for each mail program."""


@commands.command()
@click.argument("address")
@click.argument("name")
@json_option
@pass_site
def add(site: Site, address: str, name: str, as_json: bool) -> None:
    """Add an app password NAME to the account ADDRESS, and show it once."""
    from postroom.logins import secrets
    from postroom.logins.hashing import Hashing

    password = secrets.new_app_password()
    letters = secrets.app_password_letters(password.encode("ascii"))
    assert letters is not None  # just made
    stored = Hashing().hash(letters)
    row = secrets.add_app_password(site.engine, address, name, letters, stored)
    if as_json:
        document({**_fields(row), "password": password})
    else:
        click.echo(f"{password}")
        click.echo("The password is not shown again. Hyphens may be left out.", err=True)


@commands.command("list")
@click.argument("address")
@json_option
@pass_site
def list_(site: Site, address: str, as_json: bool) -> None:
    """List the app passwords of the account ADDRESS, and when each was last used."""
    from postroom.logins import secrets

    rows = secrets.list_app_passwords(site.engine, address)
    if as_json:
        document([_fields(row) for row in rows])
    else:
        table(
            ("name", "created", "last used"),
            [(row.name, _moment(row.created_at), _moment(row.last_used_at)) for row in rows],
        )


@commands.command()
@click.argument("address")
@click.argument("name")
@json_option
@pass_site
def revoke(site: Site, address: str, name: str, as_json: bool) -> None:
    """Revoke the app password NAME of the account ADDRESS."""
    from postroom.logins import secrets

    secrets.revoke_app_password(site.engine, address, name)
    if as_json:
        document({"address": address, "name": name})
    else:
        click.echo(f"Revoked the app password {name} of {address}")


def _fields(row: "AppPasswordRow") -> dict[str, Any]:
    return {"name": row.name, "created_at": row.created_at, "last_used_at": row.last_used_at}


def _moment(posix_time: int | None) -> str:
    if posix_time is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(posix_time))
