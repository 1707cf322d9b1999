"""``postroom domain``."""

from typing import TYPE_CHECKING

import click

from postroom.cli.output import document, note, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.directory.domains import DomainRow
    from postroom.envelope import Domain


@click.group("domain")
def commands() -> None:
    """Add, list, change and remove the domains whose mail is accepted."""


@commands.command()
@click.argument("name")
@click.option(
    "--catch-all", metavar="ADDRESS", help="The address that gets mail for unknown recipients."
)
@click.option(
    "--alias-of",
    metavar="DOMAIN",
    help="Make it an alias: each address stands for the same one in DOMAIN.",
)
@click.option(
    "--relay",
    type=click.Choice(["listed", "any"]),
    help="Relay its mail to its own host: for listed recipients, or for any.",
)
@json_option
@pass_site
def add(
    site: Site,
    name: str,
    catch_all: str | None,
    alias_of: str | None,
    relay: str | None,
    as_json: bool,
) -> None:
    """Add the domain NAME: local, an alias of another domain, or relay-only."""
    from postroom.directory import domains

    if (catch_all, alias_of, relay).count(None) < 2:
        raise click.UsageError("give only one of --catch-all, --alias-of and --relay")
    if alias_of is not None:
        added = domains.add_alias_domain(site.engine, name, alias_of)
    elif relay is not None:
        added = domains.add_relay_domain(site.engine, name, any_recipient=relay == "any")
    else:
        added = domains.add_domain(site.engine, name, catch_all)
    _tell(site, "Added", added, as_json)


@commands.command("relay")
@click.argument("name")
@click.argument("whom", type=click.Choice(["listed", "any"]))
@json_option
@pass_site
def relay(site: Site, name: str, whom: str, as_json: bool) -> None:
    """Set whether the relay-only domain NAME accepts listed recipients only, or any."""
    from postroom.directory import domains

    changed = domains.set_any_recipient(site.engine, name, whom == "any")
    _tell(site, "Changed", changed, as_json)


@commands.group("recipient")
def recipients() -> None:
    """Add, list and remove recipients of relay-only domains."""


@recipients.command("add")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@json_option
@pass_site
def add_recipients(site: Site, addresses: tuple[str, ...], as_json: bool) -> None:
    """List each ADDRESS as a recipient of its relay-only domain."""
    from postroom.directory import domains

    added = domains.add_recipients(site.engine, addresses)
    if as_json:
        document(list(added))
    else:
        click.echo(f"Added {', '.join(added) or 'nothing: all were listed already'}")


@recipients.command("list")
@click.argument("name")
@json_option
@pass_site
def list_recipients(site: Site, name: str, as_json: bool) -> None:
    """List the recipients of the relay-only domain NAME."""
    from postroom.directory import domains

    found = domains.list_recipients(site.engine, name)
    if as_json:
        document(list(found))
    else:
        table(("recipient",), [(address,) for address in found])


@recipients.command("remove")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@json_option
@pass_site
def remove_recipients(site: Site, addresses: tuple[str, ...], as_json: bool) -> None:
    """Remove each ADDRESS from the recipients of its relay-only domain."""
    from postroom.directory import domains

    removed = domains.remove_recipients(site.engine, addresses)
    if as_json:
        document(list(removed))
    else:
        click.echo(f"Removed {', '.join(removed)}")


@commands.command("catch-all")
@click.argument("name")
@click.argument("address", required=False)
@click.option("--none", "nobody", is_flag=True, help="Refuse mail for unknown recipients.")
@json_option
@pass_site
def catch_all(site: Site, name: str, address: str | None, nobody: bool, as_json: bool) -> None:
    """Deliver mail for unknown recipients of the domain NAME to ADDRESS."""
    from postroom.directory import domains

    if (address is None) != nobody:
        raise click.UsageError("give an ADDRESS or --none")
    _tell(site, "Changed", domains.set_catch_all(site.engine, name, address), as_json)


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List all domains."""
    from dataclasses import asdict

    from postroom.directory import domains

    rows = domains.list_domains(site.engine)
    if as_json:
        document([asdict(row) | {"kind": row.kind.value} for row in rows])
    else:
        table(
            ("domain", "accounts", "aliases", "catch-all", "kind"),
            [
                (row.name, row.accounts, row.aliases, row.catch_all or "-", _kind(row))
                for row in rows
            ],
            right=("accounts", "aliases"),
        )


def _kind(row: "DomainRow") -> str:
    if row.kind.value == "alias":
        return f"alias of {row.target}"
    if row.kind.value == "relay":
        return "relay, any recipient" if row.any_recipient else f"relay, {row.recipients} listed"
    return row.kind.value


@commands.command()
@click.argument("name")
@json_option
@pass_site
def remove(site: Site, name: str, as_json: bool) -> None:
    """Remove the domain NAME; it must have no accounts and aliases."""
    from postroom.directory import domains

    removed = domains.remove_domain(site.engine, name)
    if as_json:
        document(_fields(removed))
    else:
        click.echo(f"Removed {removed.name}")
    if removed.name in site.places.domains:
        note(f"{removed.name} is in the settings: the next start adds it again")


def _tell(site: Site, done: str, changed: "Domain", as_json: bool) -> None:
    from postroom.directory import changes

    if as_json:
        document(_fields(changed))
    else:
        click.echo(f"{done} {changed.name}; {_what_becomes_of_mail(changed)}")
    if changed.catch_all is not None:
        for address in changes.unknown_targets(site.engine, [changed.catch_all]):
            note(f"there is no {address} yet; 'postroom account add {address}' adds it")
    if changed.kind.value == "relay":
        if not changed.any_recipient:
            note("add its recipients with 'postroom domain recipient add ADDRESS...'")
        note(f"its mail goes to the hosts of its MX records, unless [routes] names {changed.name}")


def _what_becomes_of_mail(changed: "Domain") -> str:
    if changed.kind.value == "alias":
        return f"its addresses stand for those of {changed.target}"
    if changed.kind.value == "relay":
        whom = "all recipients" if changed.any_recipient else "listed recipients"
        return f"mail for {whom} is relayed"
    if changed.catch_all is None:
        return "mail for unknown addresses is refused"
    return f"mail for unknown addresses goes to {changed.catch_all}"


def _fields(changed: "Domain") -> dict[str, object]:
    return {
        "name": changed.name,
        "catch_all": changed.catch_all,
        "kind": changed.kind.value,
        "target": changed.target,
        "any_recipient": changed.any_recipient,
    }
