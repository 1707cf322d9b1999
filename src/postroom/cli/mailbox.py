"""``postroom mailbox``: looks at Maildirs and changes nothing in them."""

from datetime import datetime

import click

from postroom.cli.output import document, octets, table
from postroom.cli.site import Site, json_option, pass_site


@click.group("mailbox")
def commands() -> None:
    """See what is in the mailboxes, without changing anything in them."""


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List the accounts with the number and the size of their messages."""
    from postroom.accounts import administration
    from postroom.accounts.mailboxes import measure

    rows = administration.list_accounts(site.engine)
    paths = [site.maildir(row.maildir) for row in rows]
    found = [(row.address, measure(path), path) for row, path in zip(rows, paths, strict=True)]
    if as_json:
        document(
            [
                {
                    "address": address,
                    "messages": contents.messages,
                    "size_octets": contents.size_octets,
                    "maildir": str(path),
                }
                for address, contents, path in found
            ]
        )
    else:
        table(
            ("address", "messages", "size"),
            [(address, each.messages, octets(each.size_octets)) for address, each, _ in found],
            right=("messages", "size"),
        )


@commands.command()
@click.argument("address")
@json_option
@pass_site
def show(site: Site, address: str, as_json: bool) -> None:
    """List the messages of the account ADDRESS."""
    from postroom.accounts import administration
    from postroom.accounts.mailboxes import list_messages

    row = administration.find_account(site.engine, address)
    messages = list_messages(site.maildir(row.maildir))
    if as_json:
        listed = [
            {
                "key": each.key,
                "from": each.sender,
                "subject": each.subject,
                "date": each.date.isoformat() if each.date else None,
                "size_octets": each.size_octets,
            }
            for each in messages
        ]
        maildir = str(site.maildir(row.maildir))
        document({"address": row.address, "maildir": maildir, "messages": listed})
    else:
        table(
            ("date", "size", "from", "subject"),
            [
                (_local(each.date), octets(each.size_octets), each.sender, each.subject)
                for each in messages
            ],
            right=("size",),
        )


@commands.command()
@click.argument("address")
@json_option
@pass_site
def path(site: Site, address: str, as_json: bool) -> None:
    """Print the Maildir of the account ADDRESS."""
    from postroom.accounts import administration

    row = administration.find_account(site.engine, address)
    maildir = str(site.maildir(row.maildir))
    if as_json:
        document({"address": row.address, "maildir": maildir})
    else:
        click.echo(maildir)


def _local(date: datetime | None) -> str:
    """Write a message's date in the reader's time zone."""
    if date is None:
        return "-"
    try:
        return f"{date.astimezone():%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):  # the year 1 or 9999, at the other end of the day
        return f"{date:%Y-%m-%d %H:%M}"
