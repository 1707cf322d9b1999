"""``postroom mailbox`` on messages: show, read, find, flag, move, copy, expunge."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.mailbox import commands, mailbox_option, maildir_of, yes_option
from postroom.cli.output import confirm, counted, document, note, octets, printable, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from postroom.maildirs.messages import OpenMailbox, StoredMessage
    from postroom.maildirs.reading import Summary, Text

_FLAGS = ("seen", "answered", "flagged", "draft", "deleted", "forwarded")
_flag_choice = click.Choice(_FLAGS, case_sensitive=False)
_SHOWN_FIELDS = frozenset(("from", "to", "cc", "date", "subject", "reply-to"))


@commands.command()
@click.argument("address")
@mailbox_option
@json_option
@pass_site
def show(site: Site, address: str, mailbox: str, as_json: bool) -> None:
    """List the messages in a mailbox of the account ADDRESS, in order of arrival."""
    from postroom.maildirs.mailboxes import has_mail
    from postroom.maildirs.messages import opened_mailbox

    known, maildir = maildir_of(site, address)
    if mailbox.upper() == "INBOX" and not has_mail(maildir):
        _print_listing(known, maildir, "INBOX", [], as_json)
        return
    with opened_mailbox(maildir, mailbox) as opened:
        rows = _summaries(opened, opened.entries())
        _print_listing(known, maildir, opened.name, rows, as_json)


@commands.command()
@click.argument("address")
@click.argument("message")
@mailbox_option
@click.option("--raw", is_flag=True, help="Print the message as it is, octet by octet.")
@click.option("--headers", is_flag=True, help="Print all header fields, not only the usual ones.")
@json_option
@pass_site
def read(
    site: Site, /, address: str, message: str, mailbox: str, *, as_json: bool, **how: bool
) -> None:
    """Print a MESSAGE of the account ADDRESS, without marking it as seen."""
    from postroom.maildirs.messages import opened_mailbox
    from postroom.maildirs.reading import read_text

    raw = how["raw"]
    if raw and (as_json or how["headers"]):
        raise click.UsageError("--raw excludes --json and --headers")
    with opened_mailbox(maildir_of(site, address)[1], mailbox) as opened:
        entry = opened.find([message])[0]
        with opened.reading(entry) as file:
            if raw:
                while chunk := file.read(262_144):
                    click.echo(chunk, nl=False)
                return
            text = read_text(file)
        if as_json:
            document({**_entry_fields(entry), "mailbox": opened.name, **_text_fields(text)})
        else:
            _print_text(text, how["headers"])


@commands.command()
@click.argument("address")
@mailbox_option
@click.option("--from", "sender", metavar="TEXT", help="TEXT is in the From field.")
@click.option("--to", "recipient", metavar="TEXT", help="TEXT is in the To field.")
@click.option("--subject", metavar="TEXT", help="TEXT is in the Subject field.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:TEXT", help="TEXT is in a field NAME."
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="TEXT",
    help="TEXT is in the body or in the name of an attachment.",
)
@click.option("--flag", "flags", multiple=True, type=_flag_choice, help="The flag is set.")
@click.option(
    "--no-flag", "no_flags", multiple=True, type=_flag_choice, help="The flag is not set."
)
@click.option("--since", type=click.DateTime(), help="It arrived at this local time or later.")
@click.option("--before", type=click.DateTime(), help="It arrived before this local time.")
@json_option
@pass_site
def find(site: Site, /, address: str, mailbox: str, as_json: bool, **options: Any) -> None:
    """List the messages of the account ADDRESS that match all of the options.

    Upper and lower case are the same. Only the first 4 MiB of a message are searched.
    """
    from postroom.maildirs.messages import opened_mailbox
    from postroom.maildirs.search import find_messages

    criteria = _criteria(**options)
    known, maildir = maildir_of(site, address)
    with opened_mailbox(maildir, mailbox) as opened:
        rows = _summaries(opened, find_messages(opened, criteria, _left_out))
        _print_listing(known, maildir, opened.name, rows, as_json)


@commands.command()
@click.argument("address")
@click.argument("messages", nargs=-1, required=True, metavar="MESSAGE...")
@mailbox_option
@click.option("--set", "to_set", multiple=True, type=_flag_choice, help="Set this flag.")
@click.option("--clear", "to_clear", multiple=True, type=_flag_choice, help="Clear this flag.")
@json_option
@pass_site
def flag(
    site: Site,
    /,
    address: str,
    messages: tuple[str, ...],
    mailbox: str,
    *,
    as_json: bool,
    **flags: tuple[str, ...],
) -> None:
    """Set and clear flags of MESSAGEs of the account ADDRESS."""
    from postroom.maildirs.messages import opened_mailbox

    to_set, to_clear = flags["to_set"], flags["to_clear"]
    if not to_set and not to_clear:
        raise click.UsageError("give at least one flag to --set or to --clear")
    both = set(to_set) & set(to_clear)
    if both:
        raise click.UsageError(f"{', '.join(sorted(both))}: both set and cleared")
    with opened_mailbox(maildir_of(site, address)[1], mailbox) as opened:
        entries = opened.find(messages)
        opened.flag(entries, _letters(to_set), _letters(to_clear))
        _print_done("flagged", "Flagged", entries, opened.name, as_json)


@commands.command()
@click.argument("address")
@click.argument("messages", nargs=-1, required=True, metavar="MESSAGE...")
@mailbox_option
@click.option("--to", "target", required=True, metavar="NAME", help="The target mailbox.")
@json_option
@pass_site
def move(
    site: Site, address: str, messages: tuple[str, ...], mailbox: str, target: str, as_json: bool
) -> None:
    """Move MESSAGEs of the account ADDRESS into another of its mailboxes."""
    from postroom.maildirs.messages import opened_below, opened_mailbox

    with (
        opened_mailbox(maildir_of(site, address)[1], mailbox) as opened,
        opened_below(opened.root, target) as other,
    ):
        entries = opened.find(messages)
        opened.move(entries, other)
        _print_done("moved", "Moved", entries, f"{opened.name} to {other.name}", as_json)


@commands.command()
@click.argument("address")
@click.argument("messages", nargs=-1, required=True, metavar="MESSAGE...")
@mailbox_option
@click.option("--to", "target", required=True, metavar="NAME", help="The target mailbox.")
@json_option
@pass_site
def copy(
    site: Site, address: str, messages: tuple[str, ...], mailbox: str, target: str, as_json: bool
) -> None:
    """Copy MESSAGEs of the account ADDRESS into another of its mailboxes."""
    from postroom.maildirs.messages import opened_below, opened_mailbox

    with (
        opened_mailbox(maildir_of(site, address)[1], mailbox) as opened,
        opened_below(opened.root, target) as other,
    ):
        entries = opened.find(messages)
        opened.copy(entries, other)
        _print_done("copied", "Copied", entries, f"{opened.name} to {other.name}", as_json)


@commands.command()
@click.argument("address")
@click.argument("messages", nargs=-1, required=True, metavar="MESSAGE...")
@mailbox_option
@yes_option
@json_option
@pass_site
def expunge(
    site: Site, address: str, messages: tuple[str, ...], mailbox: str, yes: bool, as_json: bool
) -> None:
    """Delete MESSAGEs of the account ADDRESS permanently."""
    from postroom.maildirs.messages import opened_mailbox

    with opened_mailbox(maildir_of(site, address)[1], mailbox) as opened:
        entries = opened.find(messages)
        if not yes:
            for entry, summary in _summaries(opened, entries):
                note(f"{entry.number}: {summary.sender}: {summary.subject}")
        confirm(f"Delete {counted(len(entries), 'message')} of {opened.name} permanently?", yes)
        opened.expunge(entries)
        _print_done("expunged", "Deleted", entries, opened.name, as_json)


def _criteria(
    sender: str | None,
    recipient: str | None,
    subject: str | None,
    headers: tuple[str, ...],
    **more: Any,
) -> Any:
    from postroom.maildirs.search import Criteria

    named = (("From", sender), ("To", recipient), ("Subject", subject))
    fields = [(name, text) for name, text in named if text is not None]
    for each in headers:
        name, colon, text = each.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"--header {each!r}: the form is NAME:TEXT")
        fields.append((name.strip(), text))
    since, before = (
        None if more[name] is None else more[name].timestamp() for name in ("since", "before")
    )
    return Criteria(
        fields,
        more["texts"],
        _letters(more["flags"]),
        _letters(more["no_flags"]),
        since,
        before,
    )


def _letters(names: "Iterable[str]") -> str:
    from postroom.maildirs.names import FLAGS

    return "".join(FLAGS[name] for name in names)


def _flag_names(letters: str) -> list[str]:
    from postroom.maildirs.names import FLAGS

    return [name for name, letter in FLAGS.items() if letter in letters]


def _left_out(entry: "StoredMessage", why: str) -> None:
    note(f"message {entry.number} was not searched: {why}")


def _summaries(
    mailbox: "OpenMailbox", entries: "Iterable[StoredMessage]"
) -> "list[tuple[StoredMessage, Summary]]":
    from postroom.errors import UserError
    from postroom.maildirs.messages import Gone
    from postroom.maildirs.reading import UNREADABLE, summarise

    found = []
    for entry in entries:
        try:
            with mailbox.reading(entry) as file:
                found.append((entry, summarise(file)))
        except Gone:
            continue
        except UserError as error:
            note(f"message {entry.number}: {error}")
            found.append((entry, UNREADABLE))
    return found


def _print_listing(
    address: str,
    maildir: Any,
    name: str,
    rows: "list[tuple[StoredMessage, Summary]]",
    as_json: bool,
) -> None:
    if as_json:
        listed = [
            {
                **_entry_fields(entry),
                "from": each.sender,
                "to": each.recipients,
                "subject": each.subject,
                "date": each.date.isoformat() if each.date else None,
            }
            for entry, each in rows
        ]
        document({"address": address, "mailbox": name, "maildir": str(maildir), "messages": listed})
        return
    table(
        ("no", "received", "size", "flags", "from", "subject"),
        [
            (
                entry.number,
                _local(entry.received_at),
                octets(entry.size_octets),
                " ".join(_flag_names(entry.flags)) or ("new" if entry.part == "new" else "-"),
                each.sender,
                each.subject,
            )
            for entry, each in rows
        ],
        right=("no", "size"),
    )


def _entry_fields(entry: "StoredMessage") -> dict[str, Any]:
    received = datetime.fromtimestamp(max(entry.received_at, 0)).astimezone()
    return {
        "number": entry.number,
        "key": entry.base,
        "flags": _flag_names(entry.flags),
        "is_new": entry.part == "new",
        "received": received.isoformat(timespec="seconds"),
        "size_octets": entry.size_octets,
    }


def _text_fields(text: "Text") -> dict[str, Any]:
    return {
        "fields": [{"name": name, "value": value} for name, value in text.fields],
        "text": text.body,
        "attachments": [
            {
                "name": each.name,
                "content_type": each.content_type,
                "size_octets": each.size_octets,
            }
            for each in text.attachments
        ],
        "is_whole": text.is_whole,
    }


def _print_text(text: "Text", headers: bool) -> None:
    for name, value in text.fields:
        if headers or name.lower() in _SHOWN_FIELDS:
            click.echo(printable(f"{name}: {value}"))
    click.echo()
    for line in text.body.splitlines():
        click.echo(printable(line.expandtabs()))
    for each in text.attachments:
        what = f"{each.name or 'no name'}, {each.content_type}, {octets(each.size_octets)}"
        note(f"attachment: {what}")
    if not text.is_whole:
        note("the message is too large to be shown in full: --raw prints all of it")


def _print_done(
    key: str, verb: str, entries: "list[StoredMessage]", where: str, as_json: bool
) -> None:
    if as_json:
        document({key: [entry.base for entry in entries]})
    else:
        preposition = "from" if " to " in where else "in"
        click.echo(f"{verb} {counted(len(entries), 'message')} {preposition} {where}")


def _local(received_at: float) -> str:
    return f"{datetime.fromtimestamp(max(received_at, 0)):%Y-%m-%d %H:%M}"
