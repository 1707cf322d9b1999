"""``postroom dissect``: the SMTP sessions of a capture."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, note, printable
from postroom.cli.site import json_option
from postroom.errors import UserError

# Imported late, since other commands do not need them.
if TYPE_CHECKING:
    from postroom.capture.files import CaptureFile
    from postroom.capture.replay import ReplayStep
    from postroom.capture.sessions import CapturedSession, Sessions

LARGE_OCTETS = 4 << 20
"""A larger file gets a progress bar."""

PROGRESS_PACKETS = 2000
"""The number of packets after which the bar is drawn again."""


@click.command("dissect")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--session", "number", type=click.IntRange(1), metavar="N", help="Show only session N."
)
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65535),
    multiple=True,
    metavar="PORT",
    help="Treat this port as one of SMTP too; may be repeated.",
)
@click.option(
    "--replay",
    "target",
    metavar="HOST:PORT",
    help="Send the client's side of the session to a server, and show where its replies differ.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0.1, 600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The time that a replay waits for each reply.",
)
@json_option
def command(
    path: Path,
    number: int | None,
    ports: tuple[int, ...],
    target: str | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Show the SMTP sessions in FILE, a capture in pcap or pcapng format, gzipped or not.

    Each session is a transcript of client (C) and server (S), with times in seconds. Violations of
    the protocol are marked by !!. Of content and secrets only the length is shown.

    A connection to port 25, 465, 587 or 2525 is a session if it begins like SMTP or TLS, one to any
    other port if it begins like SMTP. Other connections to a port of SMTP are noted in one line.

    The exit status is 1 if FILE is damaged or truncated, or if a replay was not completed; the part
    that could be read or replayed is shown all the same.
    """
    server = _address(target) if target is not None else None
    sessions, damage = _read(path, ports, keep_octets=server is not None)
    chosen = _chosen(sessions.found, number)
    if server is not None:
        if damage is not None:
            raise damage
        if len(chosen) != 1:
            raise click.UsageError(f"choose one of {len(chosen)} sessions with --session")
        _replay(chosen[0], server, timeout_seconds, as_json)
        return
    _show(chosen, as_json)
    if number is None:
        for foreign in sessions.foreign:
            note(printable(str(foreign)))
    if damage is not None:  # what could be read has been shown
        raise damage


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--replay")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read(
    path: Path, ports: tuple[int, ...], keep_octets: bool
) -> tuple["Sessions", UserError | None]:
    """Read a capture; returns its sessions, and the error that ended it, if any."""
    from postroom.capture.files import CaptureError, CaptureFile
    from postroom.capture.sessions import Sessions

    sessions = Sessions(ports, keep_octets)
    damage = None
    file = CaptureFile(path)
    try:
        with _progress(file) as draw:
            for segment in file.segments():
                sessions.take(segment)
                if file.packets % PROGRESS_PACKETS == 0:
                    draw()
    except CaptureError as error:
        damage = error
    finally:
        file.close()
    sessions.finish()
    if file.unreadable:
        note(f"{file.unreadable} of {file.packets} packets cannot be read")
    return sessions, damage


@contextmanager
def _progress(file: "CaptureFile") -> Iterator[Any]:
    """Yield a function that draws the progress in a large file, on a terminal."""
    if file.size_octets < LARGE_OCTETS or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=file.size_octets)
        yield lambda: progress.update(task, completed=file.place_octets)


def _chosen(sessions: list["CapturedSession"], number: int | None) -> list["CapturedSession"]:
    if number is None:
        return sessions
    if number > len(sessions):
        raise UserError(f"there is no session {number}, the capture has {len(sessions)}")
    return [sessions[number - 1]]


def _show(sessions: list["CapturedSession"], as_json: bool) -> None:
    from postroom.capture import transcript

    if as_json:
        document([transcript.document(each) for each in sessions])
        return
    if not sessions:
        note("no SMTP in the capture")
    for position, session in enumerate(sessions):
        if position:
            click.echo()
        for line in transcript.text_lines(session):
            click.echo(printable(line))


def _replay(
    session: "CapturedSession", server: tuple[str, int], timeout_seconds: float, as_json: bool
) -> None:
    from postroom.capture.replay import replay

    steps: list[ReplayStep] = []
    failure = None
    try:
        for step in replay(session, *server, timeout_seconds):
            steps.append(step)
            if not as_json:
                _show_step(step)
    except UserError as error:
        failure = error
    if steps and steps[-1].cut_short:
        failure = UserError(f"{server[0]}:{server[1]}: the replay was not completed")
    if not steps and failure is not None:
        raise failure
    if as_json:
        document([_step_fields(each) for each in steps])
    else:
        differ = sum(each.differs for each in steps)
        replies = sum(each.speaker == "S" for each in steps)
        click.echo(f"{replies} replies, {differ} of them differ")
    if failure is not None:  # what could be replayed has been shown
        raise failure


def _show_step(step: "ReplayStep") -> None:
    for line in step.lines:
        click.echo(printable(f"   {step.speaker}: {line}"))
    if step.differs:
        click.echo(printable(f"!= S: {step.heard if step.heard else '[closed]'}"))


def _step_fields(step: "ReplayStep") -> dict[str, Any]:
    return {
        "from": {"C": "client", "S": "server"}.get(step.speaker),
        "lines": list(step.lines),
        "heard": str(step.heard) if step.heard is not None else None,
        "differs": step.differs,
    }
