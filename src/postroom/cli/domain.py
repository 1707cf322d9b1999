"""``postroom domain``."""

from typing import TYPE_CHECKING

import click

from postroom.cli.output import document, note, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.envelope import Domain


@click.group("domain")
def commands() -> None:
    """Add, list and remove the domains whose mail is delivered here."""


@commands.command()
@click.argument("name")
@click.option(
    "--catch-all", metavar="ADDRESS", help="Who gets what no account or alias of it takes."
)
@json_option
@pass_site
def add(site: Site, name: str, catch_all: str | None, as_json: bool) -> None:
    """Add the domain NAME."""
    from postroom.accounts import administration

    _tell(site, "Added", administration.add_domain(site.engine, name, catch_all), as_json)


@commands.command("catch-all")
@click.argument("name")
@click.argument("address", required=False)
@click.option("--none", "nobody", is_flag=True, help="Refuse what no account or alias takes.")
@json_option
@pass_site
def catch_all(site: Site, name: str, address: str | None, nobody: bool, as_json: bool) -> None:
    """Let ADDRESS have what no account or alias of the domain NAME takes."""
    from postroom.accounts import administration

    if (address is None) != nobody:
        raise click.UsageError("give an ADDRESS or --none")
    _tell(site, "Changed", administration.set_catch_all(site.engine, name, address), as_json)


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List all domains."""
    from dataclasses import asdict

    from postroom.accounts import administration

    rows = administration.list_domains(site.engine)
    if as_json:
        document([asdict(row) for row in rows])
    else:
        table(
            ("domain", "accounts", "aliases", "catch-all"),
            [(row.name, row.accounts, row.aliases, row.catch_all or "-") for row in rows],
            right=("accounts", "aliases"),
        )


@commands.command()
@click.argument("name")
@json_option
@pass_site
def remove(site: Site, name: str, as_json: bool) -> None:
    """Remove the domain NAME, which has no accounts and aliases any more."""
    from postroom.accounts import administration

    removed = administration.remove_domain(site.engine, name)
    if as_json:
        document(_fields(removed))
    else:
        click.echo(f"Removed {removed.name}")
    if removed.name in site.places.domains:
        note(f"the settings name {removed.name}: the next start adds it again")


def _tell(site: Site, done: str, changed: "Domain", as_json: bool) -> None:
    from postroom.accounts import administration

    if as_json:
        document(_fields(changed))
    elif changed.catch_all is None:
        click.echo(f"{done} {changed.name}; mail for unknown addresses is refused")
    else:
        click.echo(f"{done} {changed.name}; mail for unknown addresses goes to {changed.catch_all}")
    if changed.catch_all is not None:
        for address in administration.untaken(site.engine, [changed.catch_all]):
            note(f"there is no {address} yet; 'postroom account add {address}' adds it")


def _fields(changed: "Domain") -> dict[str, str | None]:
    return {"name": changed.name, "catch_all": changed.catch_all}
