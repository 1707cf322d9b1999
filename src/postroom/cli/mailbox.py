"""``postroom mailbox``: the mailboxes of accounts, while the server and Dovecot run or not.

Commands on messages are in `postroom.cli.mailbox_messages`, importing and exporting in
`postroom.cli.mailbox_transfer`: they add their commands to this group.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from postroom.cli.output import confirm, counted, document, octets, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.maildirs.mailboxes import MailboxRow

Command = TypeVar("Command", bound=Callable[..., Any])
INBOX: Final = "INBOX"


def mailbox_option(command: Command) -> Command:
    """Add ``--mailbox`` to a subcommand."""
    return click.option(
        "--mailbox",
        "-m",
        default=INBOX,
        metavar="NAME",
        help="The mailbox, such as Lists.Python; by default the inbox.",
    )(command)


def yes_option(command: Command) -> Command:
    """Add ``--yes`` to a subcommand."""
    return click.option("--yes", is_flag=True, help="Do not ask for confirmation.")(command)


def maildir_of(site: Site, address: str) -> tuple[str, Path]:
    """Return an account's first address and its Maildir."""
    from postroom.directory import accounts

    row = accounts.find_account(site.engine, address)
    return row.address, site.maildir(row.maildir)


@click.group("mailbox")
def commands() -> None:
    """List and change the mailboxes of accounts and their messages.

    The server and Dovecot may be running. A MESSAGE is a key, as 'show --json' and 'find --json'
    print it, or a number in the listing of 'show'. Numbers change when messages come and go.
    """


@commands.command("list")
@click.argument("address", required=False)
@json_option
@pass_site
def list_(site: Site, address: str | None, as_json: bool) -> None:
    """List the mailboxes of the account ADDRESS; without ADDRESS, the usage of all accounts."""
    if address is None:
        _list_accounts(site, as_json)
        return
    from postroom.maildirs.mailboxes import list_mailboxes

    rows = list_mailboxes(maildir_of(site, address)[1])
    if as_json:
        document([_fields(row) for row in rows])
    else:
        table(
            ("mailbox", "messages", "unseen", "size"),
            [(row.name, row.messages, row.unseen, octets(row.size_octets)) for row in rows],
            right=("messages", "unseen", "size"),
        )


def _list_accounts(site: Site, as_json: bool) -> None:
    from postroom.directory import accounts
    from postroom.maildirs.mailboxes import measure

    rows = accounts.list_accounts(site.engine)
    paths = [site.maildir(row.maildir) for row in rows]
    found = [(row.address, measure(path), path) for row, path in zip(rows, paths, strict=True)]
    if as_json:
        document(
            [
                {
                    "address": address,
                    "messages": usage.messages,
                    "size_octets": usage.octets,
                    "maildir": str(path),
                }
                for address, usage, path in found
            ]
        )
    else:
        table(
            ("address", "messages", "size"),
            [(address, each.messages, octets(each.octets)) for address, each, _ in found],
            right=("messages", "size"),
        )


@commands.command()
@click.argument("address")
@json_option
@pass_site
def path(site: Site, address: str, as_json: bool) -> None:
    """Print the path of the Maildir of the account ADDRESS."""
    known, maildir = maildir_of(site, address)
    if as_json:
        document({"address": known, "maildir": str(maildir)})
    else:
        click.echo(str(maildir))


@commands.command()
@click.argument("address")
@click.argument("name")
@json_option
@pass_site
def create(site: Site, address: str, name: str, as_json: bool) -> None:
    """Create the mailbox NAME, such as Lists.Python, in the account ADDRESS.

    Mail for user+lists is delivered to the mailbox "lists" if there is one. Most mail programs show
    a mailbox only once it is subscribed to there.
    """
    from postroom.maildirs.mailboxes import create_mailbox

    known, maildir = maildir_of(site, address)
    made = create_mailbox(maildir, name)
    if as_json:
        document({"address": known, "mailbox": made})
    else:
        click.echo(f"Created the mailbox {made} of {known}")


@commands.command()
@click.argument("address")
@click.argument("name")
@click.argument("new_name")
@json_option
@pass_site
def rename(site: Site, address: str, name: str, new_name: str, as_json: bool) -> None:
    """Rename the mailbox NAME of the account ADDRESS to NEW_NAME, and those below it."""
    from postroom.maildirs.mailboxes import rename_mailbox

    known, maildir = maildir_of(site, address)
    pairs = rename_mailbox(maildir, name, new_name)
    if as_json:
        document({"address": known, "renamed": [{"from": a, "to": b} for a, b in pairs]})
    else:
        for old, new in pairs:
            click.echo(f"Renamed {old} to {new}")


@commands.command()
@click.argument("address")
@click.argument("name")
@yes_option
@json_option
@pass_site
def delete(site: Site, address: str, name: str, yes: bool, as_json: bool) -> None:
    """Delete the mailbox NAME of the account ADDRESS with all its messages.

    Mailboxes below it stay.
    """
    from postroom.maildirs.mailboxes import delete_mailbox, find_mailbox

    known, maildir = maildir_of(site, address)
    row = find_mailbox(maildir, name)
    confirm(f"Delete {row.name} of {known} with {counted(row.messages, 'message')}?", yes)
    gone = delete_mailbox(maildir, row.name)
    if as_json:
        document({"address": known, "deleted": _fields(gone)})
    else:
        click.echo(f"Deleted {gone.name} of {known}, {counted(gone.messages, 'message')}")


def _fields(row: "MailboxRow") -> dict[str, Any]:
    return {
        "mailbox": row.name,
        "messages": row.messages,
        "unseen": row.unseen,
        "size_octets": row.size_octets,
    }
