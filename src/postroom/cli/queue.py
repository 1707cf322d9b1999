"""``postroom queue``."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, octets, printable, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postroom.queue.model import MessageRow, RecipientRow


@click.group("queue")
def commands() -> None:
    """Show, retry and remove messages that wait for delivery."""


@commands.command("list")
@json_option
@pass_site
def list_(site: Site, as_json: bool) -> None:
    """List the messages in the queue, the oldest first."""
    from postroom.queue import admin

    now = time.time()
    messages = admin.list_messages(site.engine, now)
    if as_json:
        document([_fields(each) for each in messages])
    else:
        table(
            ("id", "received", "size", "sender", "recipients", "next attempt", "last reply"),
            [_line(each, now) for each in messages],
            right=("size",),
        )


@commands.command()
@click.argument("queue_id", metavar="ID")
@click.option("--content", is_flag=True, help="Print the message instead of its envelope.")
@json_option
@pass_site
def show(site: Site, queue_id: str, content: bool, as_json: bool) -> None:
    """Show the envelope of the message ID, and the state of each recipient."""
    from postroom.queue import admin

    if content and as_json:
        raise click.UsageError("--content and --json exclude each other")
    if content:
        for piece in admin.read_content(site.engine, queue_id):
            click.echo(piece, nl=False)
        return
    now = time.time()
    message = admin.show_message(site.engine, queue_id, now)
    if as_json:
        document(_fields(message))
    else:
        _describe(message, now)


@commands.command()
@click.argument("queue_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All messages.")
@json_option
@pass_site
def retry(site: Site, queue_ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Try to deliver the messages with these IDs now, ahead of their schedule."""
    from postroom.queue import admin

    if bool(queue_ids) == everything:
        raise click.UsageError("give at least one ID, or --all")
    changed = admin.retry(site.engine, None if everything else queue_ids, time.time())
    if as_json:
        document({"recipients": changed})
    else:
        click.echo(f"{changed} {'recipient is' if changed == 1 else 'recipients are'} due now")


@commands.command()
@click.argument("queue_id", metavar="ID")
@json_option
@pass_site
def remove(site: Site, queue_id: str, as_json: bool) -> None:
    """Remove the message ID from the queue, without a report to its sender."""
    from postroom.queue import admin

    admin.remove(site.engine, queue_id)
    if as_json:
        document({"id": queue_id})
    else:
        click.echo(f"Removed {queue_id}; its sender gets no report")


def _fields(message: "MessageRow") -> dict[str, Any]:
    return {**asdict(message), "traits": [trait.name for trait in message.traits]}


def _line(message: "MessageRow", now: float) -> tuple[object, ...]:
    """Return a message's row; of several recipients it shows the one that is tried next."""
    ordered = sorted(message.recipients, key=lambda each: (not each.claimed, each.next_attempt_at))
    first = ordered[0]
    more = f" (+{len(ordered) - 1})" if len(ordered) > 1 else ""
    return (
        message.id,
        _moment(message.received_at),
        octets(message.size_octets),
        message.sender or "<>",
        first.address + more,
        _next_attempt(first, now),
        first.last_reply or "-",
    )


def _describe(message: "MessageRow", now: float) -> None:
    for name, value in (
        ("id", message.id),
        ("received", _moment(message.received_at)),
        ("size", octets(message.size_octets)),
        ("sender", message.sender or "<>"),
        ("parameters", _parameters(message.parameters) or "-"),
        ("priority", str(message.priority)),
    ):
        click.echo(f"{name + ':':<12}{printable(value)}")
    click.echo()
    table(
        ("recipient", "attempts", "next attempt", "last reply", "parameters"),
        [
            (
                each.address,
                each.attempts,
                _next_attempt(each, now),
                each.last_reply or "-",
                _parameters(each.parameters) or "-",
            )
            for each in message.recipients
        ],
        right=("attempts",),
    )


def _next_attempt(recipient: "RecipientRow", now: float) -> str:
    if recipient.claimed:
        return "in progress"
    if recipient.held and recipient.next_attempt_at > now:
        return f"held until {_moment(recipient.next_attempt_at)}"
    return "due" if recipient.next_attempt_at <= now else _moment(recipient.next_attempt_at)


def _parameters(parameters: "Mapping[str, str | None]") -> str:
    return " ".join(
        keyword if value is None else f"{keyword}={value}" for keyword, value in parameters.items()
    )


def _moment(posix_time: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(posix_time))
