"""``postroom alias``."""

from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, note, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.envelope import Alias


@click.group("alias")
def commands() -> None:
    """Add, list and remove aliases."""


@commands.command()
@click.argument("address")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@json_option
@pass_site
def add(site: Site, address: str, targets: tuple[str, ...], as_json: bool) -> None:
    """Send mail for ADDRESS to each TARGET: an address, or discard: to drop it."""
    from postroom.accounts import administration

    added = administration.add_alias(site.engine, address, targets)
    if as_json:
        document(_fields(added))
    else:
        click.echo(f"Added {added.address} -> {', '.join(added.targets)}")
    for target in administration.untaken(site.engine, added.targets):
        note(f"there is no {target} yet; 'postroom account add {target}' adds it")


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List all aliases."""
    from postroom.accounts import administration

    aliases = administration.list_aliases(site.engine)
    if as_json:
        document([_fields(each) for each in aliases])
    else:
        table(("alias", "targets"), [(each.address, ", ".join(each.targets)) for each in aliases])


@commands.command()
@click.argument("address")
@json_option
@pass_site
def remove(site: Site, address: str, as_json: bool) -> None:
    """Remove the alias ADDRESS."""
    from postroom.accounts import administration

    removed = administration.remove_alias(site.engine, address)
    if as_json:
        document(_fields(removed))
    else:
        click.echo(f"Removed {removed.address}")


def _fields(alias: "Alias") -> dict[str, Any]:
    return {"address": alias.address, "targets": list(alias.targets)}
