"""``postroom quota``: the usage and the quotas of Maildirs."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from postroom.cli.output import document, octets, table
from postroom.cli.site import Site, json_option, pass_site
from postroom.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from postroom.envelope import Account
    from postroom.maildirs.usage import Usage

_SIZE: Final = re.compile(r"([0-9]{1,15})(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class _LimitOrNone(click.ParamType[int | str]):
    """A number above 0, with a unit if it is a size; or ``none``."""

    def __init__(self, *, size: bool) -> None:
        self._is_size = size
        self.name = "size" if size else "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        if value == "none":
            return "none"
        found = _SIZE.fullmatch(value)
        if found is None or (not self._is_size and not value.isdecimal()) or not int(found[1]):
            form = "a size such as 500M or 2G" if self._is_size else "a number above 0"
            self.fail(f"{value!r} is neither {form} nor none", param, ctx)
        return int(found[1]) * _UNITS[(found[2] or "").lower()]


@click.group("quota")
def commands() -> None:
    """Show and set the quotas of accounts.

    Dovecot uses the same quotas and figures with its quota backend maildir.
    """


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List the usage and the quotas of all accounts."""
    from postroom.directory import accounts, properties

    rows = accounts.list_accounts(site.engine)
    _show(site, [properties.show_account(site.engine, row.address) for row in rows], as_json)


@commands.command()
@click.argument("address")
@json_option
@pass_site
def show(site: Site, address: str, as_json: bool) -> None:
    """Show the usage and the quota of the account ADDRESS."""
    from postroom.directory import properties

    account = properties.show_account(site.engine, address)
    if as_json:
        document(_fields(account, _usage(site, account)))
    else:
        _show(site, [account], as_json)


@commands.command("set")
@click.argument("address")
@click.option(
    "--size",
    type=_LimitOrNone(size=True),
    help="A size such as 500M or 2G (in units of 1024), or none.",
)
@click.option("--messages", type=_LimitOrNone(size=False), help="A number of messages, or none.")
@json_option
@pass_site
def set_(
    site: Site,
    address: str,
    size: int | str | None,
    messages: int | str | None,
    as_json: bool,
) -> None:
    """Set the quota of the account ADDRESS; a limit that is not given stays as it is."""
    if size is None and messages is None:
        raise click.UsageError("give --size, --messages or both")
    changed = _change(site, address, {"quota_octets": size, "quota_messages": messages})
    _show(site, [changed], as_json)


@commands.command()
@click.argument("address")
@json_option
@pass_site
def unset(site: Site, address: str, as_json: bool) -> None:
    """Remove the quota of the account ADDRESS."""
    changed = _change(site, address, {"quota_octets": "none", "quota_messages": "none"})
    _show(site, [changed], as_json)


@commands.command()
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
@json_option
@pass_site
def recount(site: Site, addresses: tuple[str, ...], everybody: bool, as_json: bool) -> None:
    """Count the mail of accounts again, after files were changed by hand.

    This is not needed after changes by the server, by Dovecot or by other postroom commands.
    """
    from postroom.directory import accounts, properties

    if bool(addresses) == everybody:
        raise click.UsageError("give at least one ADDRESS, or --all")
    if everybody:
        addresses = tuple(row.address for row in accounts.list_accounts(site.engine))
    counted = [properties.show_account(site.engine, address) for address in addresses]
    for account in counted:
        _recount(site, account)
    _show(site, counted, as_json)


def _change(site: Site, address: str, limits: dict[str, int | str | None]) -> "Account":
    from postroom.directory import properties

    before = properties.show_account(site.engine, address)
    after: dict[str, Any] = {
        name: None if value == "none" else value
        for name, value in limits.items()
        if value is not None
    }
    changed = properties.set_limits(site.engine, before.address, replace(before.limits, **after))
    _recount(site, changed)
    return changed


def _recount(site: Site, account: "Account") -> None:
    from postroom.maildirs import usage
    from postroom.maildirs.mailboxes import opened

    try:
        with opened(site.maildir(account.maildir)) as root:
            usage.recount(root, usage.Quota.of(account.limits))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{site.maildir(account.maildir)}: {error.strerror}") from error


def _usage(site: Site, account: "Account") -> "Usage":
    """Return what an account holds: by the record if it has a quota, since that is what counts."""
    from postroom.maildirs import usage
    from postroom.maildirs.mailboxes import measure, opened

    maildir = site.maildir(account.maildir)
    try:
        with opened(maildir) as root:
            record = usage.read(root)
    except FileNotFoundError:
        return usage.Usage()
    if record is not None and record.quota == usage.Quota.of(account.limits):
        return record.usage
    return measure(maildir)


def _show(site: Site, accounts: "Sequence[Account]", as_json: bool) -> None:
    found = [(account, _usage(site, account)) for account in accounts]
    if as_json:
        document([_fields(account, usage) for account, usage in found])
        return
    table(
        ("address", "size", "of", "messages", "of", "full"),
        [
            (
                account.address,
                octets(usage.octets),
                "-" if (most := account.limits.quota_octets) is None else octets(most),
                usage.messages,
                account.limits.quota_messages or "-",
                _percent(account, usage),
            )
            for account, usage in found
        ],
        right=("size", "of", "messages", "full"),
    )


def _percent(account: "Account", usage: "Usage") -> str:
    pairs = (
        (usage.octets, account.limits.quota_octets),
        (usage.messages, account.limits.quota_messages),
    )
    parts = [100 * used // most for used, most in pairs if most]
    return f"{max(parts)} %" if parts else "-"


def _fields(account: "Account", usage: "Usage") -> dict[str, Any]:
    return {
        "address": account.address,
        "size_octets": usage.octets,
        "quota_octets": account.limits.quota_octets,
        "messages": usage.messages,
        "quota_messages": account.limits.quota_messages,
    }
