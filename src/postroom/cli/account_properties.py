"""``postroom account``: the properties of an account besides its password."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.account import commands
from postroom.cli.output import document, note, octets, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.envelope import Account


@commands.command()
@click.argument("address")
@json_option
@pass_site
def show(site: Site, address: str, as_json: bool) -> None:
    """Show the account ADDRESS with all its properties."""
    from postroom.directory import properties

    _show(site, properties.show_account(site.engine, address), as_json)


@commands.group("address")
def addresses() -> None:
    """Add and remove further addresses of accounts."""


@addresses.command("add")
@click.argument("address")
@click.argument("further", metavar="FURTHER...", nargs=-1, required=True)
@json_option
@pass_site
def add_address(site: Site, address: str, further: tuple[str, ...], as_json: bool) -> None:
    """Add each FURTHER address to the account ADDRESS."""
    from postroom.directory import properties

    changed = properties.add_addresses(site.engine, address, further)
    if as_json:
        document(_fields(site, changed))
    else:
        click.echo(f"{changed.address} has the further addresses {', '.join(changed.addresses)}")


@addresses.command("remove")
@click.argument("further", metavar="FURTHER...", nargs=-1, required=True)
@json_option
@pass_site
def remove_address(site: Site, further: tuple[str, ...], as_json: bool) -> None:
    """Remove each FURTHER address from the account that has it."""
    from postroom.directory import properties

    changed = properties.remove_addresses(site.engine, further)
    if as_json:
        document([_fields(site, each) for each in changed])
    else:
        for each in changed:
            rest = ", ".join(each.addresses)
            has = f"the further addresses {rest}" if rest else "no further address"
            click.echo(f"{each.address} has {has}")


@commands.command()
@click.argument("address")
@click.argument("targets", metavar="[TARGET...]", nargs=-1)
@click.option("--no-copy", is_flag=True, help="Keep no copy in the account's own Maildir.")
@click.option("--none", "nobody", is_flag=True, help="Stop forwarding.")
@json_option
@pass_site
def forward(
    site: Site,
    address: str,
    targets: tuple[str, ...],
    no_copy: bool,
    nobody: bool,
    as_json: bool,
) -> None:
    """Forward mail for the account ADDRESS to each TARGET, replacing earlier targets."""
    from postroom.directory import changes, properties

    if bool(targets) == nobody or (nobody and no_copy):
        raise click.UsageError("give at least one TARGET, or --none without --no-copy")
    changed = properties.set_forwards(site.engine, address, targets, keeps_copy=not no_copy)
    if as_json:
        document(_fields(site, changed))
    elif not changed.forwards:
        click.echo(f"Mail for {changed.address} is not forwarded")
    else:
        copy = "a copy" if changed.keeps_copy else "no copy"
        goes_to = ", ".join(changed.forwards)
        click.echo(f"Mail for {changed.address} is forwarded to {goes_to}; {copy} is kept")
    for target in changes.unknown_targets(site.engine, changed.forwards):
        note(f"there is no {target} yet; 'postroom account add {target}' adds it")


@commands.command("send-as")
@click.argument("address")
@click.argument("senders", metavar="[SENDER...]", nargs=-1)
@click.option("--none", "nobody", is_flag=True, help="Allow its own addresses only.")
@json_option
@pass_site
def send_as(
    site: Site, address: str, senders: tuple[str, ...], nobody: bool, as_json: bool
) -> None:
    """Allow the account ADDRESS to send as each SENDER: an address, or a whole @domain."""
    from postroom.directory import properties

    if bool(senders) == nobody:
        raise click.UsageError("give at least one SENDER, or --none")
    changed = properties.set_senders(site.engine, address, senders)
    if as_json:
        document(_fields(site, changed))
    else:
        click.echo(f"{changed.address} may send as {', '.join(_may_send_as(changed))}")


class _CountOrNone(click.ParamType[int | str]):
    """A number above 0, or ``none``."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        if value == "none":
            return "none"
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a number above 0 nor none", param, ctx)
        return number


@commands.command()
@click.argument("address")
@click.option(
    "--messages-per-day", type=_CountOrNone(), help="Most messages sent in a day (UTC), or none."
)
@click.option(
    "--recipients-per-day",
    type=_CountOrNone(),
    help="Most recipients of all messages sent in a day, or none.",
)
@click.option(
    "--message-octets",
    type=_CountOrNone(),
    help="Size of the largest message that may be sent, or none.",
)
@json_option
@pass_site
def limit(site: Site, /, address: str, *, as_json: bool, **limits: int | str | None) -> None:
    """Limit what the account ADDRESS may send; limits that are not given stay as they are."""
    from postroom.directory import properties

    given = {name: value for name, value in limits.items() if value is not None}
    if not given:
        raise click.UsageError("give at least one limit")
    before = properties.show_account(site.engine, address)
    after = {name: None if value == "none" else value for name, value in given.items()}
    wanted = replace(before.limits, **after)  # type: ignore[arg-type]  # options are named so
    _show(site, properties.set_limits(site.engine, before.address, wanted), as_json)


def _show(site: Site, account: "Account", as_json: bool) -> None:
    if as_json:
        document(_fields(site, account))
        return
    limits = account.limits
    per_day = (limits.messages_per_day, limits.recipients_per_day)
    table(
        ("property", "value"),
        [
            ("address", account.address),
            ("further addresses", ", ".join(account.addresses) or "-"),
            ("enabled", "yes" if account.enabled else "no"),
            ("maildir", site.maildir(account.maildir)),
            ("forwards to", ", ".join(account.forwards) or "-"),
            ("keeps a copy", "yes" if account.keeps_copy else "no"),
            ("may send as", ", ".join(_may_send_as(account))),
            ("quota", _size(limits.quota_octets)),
            ("messages in quota", limits.quota_messages or "-"),
            ("messages a day", per_day[0] or "-"),
            ("recipients a day", per_day[1] or "-"),
            ("largest message", _size(limits.message_octets)),
        ],
    )


def _size(limit: int | None) -> str:
    return "-" if limit is None else octets(limit)


def _may_send_as(account: "Account") -> list[str]:
    return [account.address, *account.addresses, *account.senders]


def _fields(site: Site, account: "Account") -> dict[str, Any]:
    return {
        "address": account.address,
        "addresses": list(account.addresses),
        "enabled": account.enabled,
        "maildir": str(site.maildir(account.maildir)),
        "forwards": list(account.forwards),
        "keeps_copy": account.keeps_copy,
        "senders": list(account.senders),
        "limits": asdict(account.limits),
        "created_at": account.created_at,
    }
