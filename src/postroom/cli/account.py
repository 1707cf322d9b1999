"""``postroom account``."""

import sys
from typing import TYPE_CHECKING, Any

import click

from postroom.cli import app_password
from postroom.cli.output import document, note, table
from postroom.cli.site import Site, json_option, pass_site
from postroom.errors import UserError

if TYPE_CHECKING:
    from postroom.directory.accounts import AccountRow

_password_stdin = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input instead of asking for it.",
)


@click.group("account")
def commands() -> None:
    """Add, list, change and remove accounts."""


commands.add_command(app_password.commands)


@commands.command()
@click.argument("address")
@_password_stdin
@json_option
@pass_site
def add(site: Site, address: str, password_stdin: bool, as_json: bool) -> None:
    """Add the account ADDRESS, in a domain that exists."""
    from postroom.directory import accounts

    # A wrong address is reported before anybody types a password twice.
    wanted = accounts.check_new_account(site.engine, address)
    first, *further = _new_stored(site, wanted, password_stdin)
    row = accounts.add_account(site.engine, wanted, first, further)
    if as_json:
        document(_fields(site, row))
    else:
        click.echo(f"Added {row.address}; its mail goes to {site.maildir(row.maildir)}")
    if not site.uses_database:
        note("accounts.sources does not list database: the server does not use this account")
    if site.maildir(row.maildir).exists():
        note(f"there is mail of an earlier account in {site.maildir(row.maildir)}")


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List all accounts."""
    from postroom.directory import accounts

    rows = accounts.list_accounts(site.engine)
    note_other_sources(site)
    if as_json:
        document([_fields(site, row) for row in rows])
    else:
        table(
            ("address", "login", "maildir"),
            [(row.address, _login(row), site.maildir(row.maildir)) for row in rows],
        )


@commands.command()
@click.argument("address")
@_password_stdin
@json_option
@pass_site
def password(site: Site, address: str, password_stdin: bool, as_json: bool) -> None:
    """Change the password of the account ADDRESS."""
    from postroom.directory import accounts

    known = accounts.find_account(site.engine, address).address
    first, *further = _new_stored(site, known, password_stdin)
    row = accounts.set_password(site.engine, known, first, further)
    if as_json:
        document(_fields(site, row))
    else:
        click.echo(f"Changed the password of {row.address}")


@commands.command()
@click.argument("address")
@json_option
@pass_site
def enable(site: Site, address: str, as_json: bool) -> None:
    """Accept logins and mail of the account ADDRESS again."""
    _switch(site, address, as_json, enabled=True)


@commands.command()
@click.argument("address")
@json_option
@pass_site
def disable(site: Site, address: str, as_json: bool) -> None:
    """Refuse logins of the account ADDRESS, and its mail temporarily (450)."""
    _switch(site, address, as_json, enabled=False)


@commands.command()
@click.argument("address")
@json_option
@pass_site
def remove(site: Site, address: str, as_json: bool) -> None:
    """Remove the account ADDRESS, but keep its Maildir."""
    from postroom.directory import accounts
    from postroom.directory.changes import kind_of

    removed = accounts.remove_account(site.engine, address)
    maildir = site.maildir(removed.maildir)
    if as_json:
        fields = {"address": removed.address, "maildir": str(maildir)}
        document({**fields, "maildir_kept": maildir.exists(), "referrers": removed.referrers})
    elif maildir.exists():
        click.echo(f"Removed {removed.address}; its mail is kept in {maildir}")
    else:
        click.echo(f"Removed {removed.address}; it had no mail yet (no {maildir})")
    for referrer in removed.referrers:
        is_domain = referrer.startswith("@")
        what = "catch-all of" if is_domain else kind_of(site.engine, referrer)
        note(f"the {what} {referrer.removeprefix('@')} still refers to {removed.address}")


def note_other_sources(site: Site) -> None:
    """Note that there are accounts which no command shows or changes."""
    if site.read_only_sources:
        names = " and ".join(site.read_only_sources)
        note(f"accounts from {names} are not listed here and can only be changed there")


def _switch(site: Site, address: str, as_json: bool, *, enabled: bool) -> None:
    from postroom.directory import accounts

    row = accounts.set_enabled(site.engine, address, enabled)
    if as_json:
        document(_fields(site, row))
    else:
        click.echo(f"{'Enabled' if enabled else 'Disabled'} {row.address}")


def _fields(site: Site, row: "AccountRow") -> dict[str, Any]:
    return {
        "address": row.address,
        "enabled": row.enabled,
        "has_password": row.has_password,
        "maildir": str(site.maildir(row.maildir)),
    }


def _login(row: "AccountRow") -> str:
    if not row.enabled:
        return "disabled"
    return "password" if row.has_password else "none"


def _new_stored(site: Site, address: str, from_stdin: bool) -> tuple[str, ...]:
    """Ask for a new password, and return the forms in which it is stored."""
    from postroom.logins.hashing import SHORT_CHARACTERS, Hashing, new_password

    text = _read_password() if from_stdin else _ask_password(address)
    octets = new_password(text)
    if len(text) < SHORT_CHARACTERS:
        note(f"the password is shorter than {SHORT_CHARACTERS} characters")
    forms = None if site.config is None else site.settings.auth.forms
    return Hashing(forms=forms).store(octets)


def _read_password() -> str:
    octets = sys.stdin.buffer.read()
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError("the password on standard input is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _ask_password(address: str) -> str:
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for the password: use --password-stdin")
    answer: str = click.prompt(
        f"Password of {address}",
        hide_input=True,
        confirmation_prompt="Repeat the password",
        err=True,
    )
    return answer
