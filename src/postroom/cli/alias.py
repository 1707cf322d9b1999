"""``postroom alias``."""

from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, note, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.envelope import Alias


_WRITERS = click.Choice(["anyone", "users", "members"])


@click.group("alias")
def commands() -> None:
    """Add, list, change and remove aliases; an alias with several targets is a group."""


@commands.command()
@click.argument("address")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option(
    "--writers",
    type=_WRITERS,
    default="anyone",
    help="Who may send mail to it: anyone, users who logged in, or those users among its targets.",
)
@click.option(
    "--tags/--no-tags",
    "passes_tags",
    default=True,
    help="Whether the tag of alias+tag is added to the targets. By default it is.",
)
@json_option
@pass_site
def add(
    site: Site,
    address: str,
    targets: tuple[str, ...],
    writers: str,
    passes_tags: bool,
    as_json: bool,
) -> None:
    """Add the alias ADDRESS for each TARGET: an address, or discard: to drop the mail."""
    from postroom.directory import aliases
    from postroom.envelope import Writers

    added = aliases.add_alias(
        site.engine, address, targets, Writers(writers), passes_tags=passes_tags
    )
    _tell(site, "Added", added, as_json)


@commands.command("add-target")
@click.argument("address")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@json_option
@pass_site
def add_target(site: Site, address: str, targets: tuple[str, ...], as_json: bool) -> None:
    """Add each TARGET to the alias ADDRESS."""
    from postroom.directory import aliases

    _tell(site, "Changed", aliases.add_targets(site.engine, address, targets), as_json)


@commands.command("remove-target")
@click.argument("address")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@json_option
@pass_site
def remove_target(site: Site, address: str, targets: tuple[str, ...], as_json: bool) -> None:
    """Remove each TARGET from the alias ADDRESS."""
    from postroom.directory import aliases

    _tell(site, "Changed", aliases.remove_targets(site.engine, address, targets), as_json)


@commands.command("writers")
@click.argument("address")
@click.argument("writers", metavar="WHO", type=_WRITERS)
@json_option
@pass_site
def set_writers(site: Site, address: str, writers: str, as_json: bool) -> None:
    """Set who may send mail to the alias ADDRESS: anyone, users who logged in, or its members."""
    from postroom.directory import aliases
    from postroom.envelope import Writers

    _tell(site, "Changed", aliases.set_writers(site.engine, address, Writers(writers)), as_json)


@commands.command("tags")
@click.argument("address")
@click.argument("whether", metavar="yes|no", type=click.Choice(["yes", "no"]))
@json_option
@pass_site
def set_tags(site: Site, address: str, whether: str, as_json: bool) -> None:
    """Set whether the tag of alias+tag is added to the targets of the alias ADDRESS."""
    from postroom.directory import aliases

    changed = aliases.set_passes_tags(site.engine, address, whether == "yes")
    _tell(site, "Changed", changed, as_json)


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List all aliases."""
    from postroom.directory import aliases

    found = aliases.list_aliases(site.engine)
    if as_json:
        document([_fields(each) for each in found])
    else:
        table(
            ("alias", "writers", "tags", "targets"),
            [
                (
                    each.address,
                    each.writers.value,
                    "yes" if each.passes_tags else "no",
                    ", ".join(each.targets),
                )
                for each in found
            ],
        )


@commands.command()
@click.argument("address")
@json_option
@pass_site
def remove(site: Site, address: str, as_json: bool) -> None:
    """Remove the alias ADDRESS."""
    from postroom.directory import aliases

    removed = aliases.remove_alias(site.engine, address)
    if as_json:
        document(_fields(removed))
    else:
        click.echo(f"Removed {removed.address}")


def _tell(site: Site, done: str, changed: "Alias", as_json: bool) -> None:
    from postroom.directory import changes

    if as_json:
        document(_fields(changed))
    else:
        click.echo(f"{done} {changed.address} -> {', '.join(changed.targets)}")
    for target in changes.unknown_targets(site.engine, changed.targets):
        note(f"there is no {target} yet; 'postroom account add {target}' adds it")


def _fields(alias: "Alias") -> dict[str, Any]:
    return {
        "address": alias.address,
        "targets": list(alias.targets),
        "writers": alias.writers.value,
        "passes_tags": alias.passes_tags,
    }
