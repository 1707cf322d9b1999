"""``postroom mailbox import`` and ``export``.

An mbox holds one mailbox, a Maildir all of them. A directory of files ``NAME.mbox`` is what an
export of all mailboxes makes, and an import of it reads.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final

import click

from postroom.cli.mailbox import INBOX, commands, maildir_of
from postroom.cli.output import counted, document, note, printable
from postroom.cli.site import Site, json_option, pass_site
from postroom.errors import UserError

if TYPE_CHECKING:
    from postroom.accounts.mailbox.messages import Mailbox
    from postroom.accounts.mailbox.transfer import Report
    from postroom.maildirs.usage import Quota

_SUFFIX: Final = ".mbox"


@commands.command("import")
@click.argument("address")
@click.argument("source")
@click.option(
    "--mailbox",
    "-m",
    default=INBOX,
    metavar="NAME",
    help="Where to: an mbox goes into it, folders of a Maildir below it. By default the inbox.",
)
@click.option("--over-quota", is_flag=True, help="Take what the quota has no room for, too.")
@json_option
@pass_site
def import_(
    site: Site, address: str, source: str, mailbox: str, over_quota: bool, as_json: bool
) -> None:
    """Take the messages of SOURCE into the account ADDRESS.

    SOURCE is an mbox file, a Maildir, a directory of files NAME.mbox, or - for an mbox on standard
    input. What is there already is not taken twice: if it was interrupted, give the same command
    again. The exit status is 1 if something was left out.
    """
    known, maildir = maildir_of(site, address)
    quota = None if over_quota else _quota(site, known)
    path = Path(source)
    if source == "-":
        reports = [_import_mbox(maildir, mailbox, sys.stdin.buffer, 0, quota)]
    elif not path.exists():
        raise UserError(f"{source}: there is no such file or directory")
    elif not path.is_dir():
        with path.open("rb") as file:
            reports = [_import_mbox(maildir, mailbox, file, path.stat().st_size, quota, source)]
    elif (path / "cur").is_dir():
        reports = list(_import_maildir(maildir, mailbox, path, quota))
    else:
        reports = list(_import_directory(maildir, mailbox, path, quota))
    _print_reports(reports, "imported", as_json)


@commands.command("export")
@click.argument("address")
@click.argument("target")
@click.option("--mailbox", "-m", metavar="NAME", help="This mailbox alone; by default all of them.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["mbox", "maildir"]),
    default="mbox",
    show_default=True,
    help="What to make.",
)
@click.option(
    "--line-ends",
    type=click.Choice(["lf", "kept"]),
    default="lf",
    show_default=True,
    help="In an mbox: LF, as most programs expect, or octet by octet as it came.",
)
@json_option
@pass_site
def export(
    site: Site, /, address: str, target: str, mailbox: str | None, *, as_json: bool, **how: str
) -> None:
    """Write the messages of the account ADDRESS to TARGET; they stay where they are.

    With --mailbox an mbox is the file TARGET, or - for standard output; without, a directory of
    files NAME.mbox. Nothing is overwritten; a Maildir that is there is added to. The exit status is
    1 if something was left out.
    """
    from postroom.accounts.mailbox.folders import mailboxes_in, opened_existing
    from postroom.accounts.mailbox.messages import opened_below

    form, as_lf = how["form"], how["line_ends"] == "lf"
    if target == "-" and (mailbox is None or form != "mbox" or as_json):
        raise click.UsageError("to standard output goes an mbox of one --mailbox, without --json")
    if mailbox is None and form == "mbox" and Path(target).is_file():
        raise UserError(
            f"{target} is a file: all mailboxes go into a directory, one --mailbox into a file"
        )
    reports = []
    with opened_existing(maildir_of(site, address)[1]) as root:
        names = list(mailboxes_in(root)) if mailbox is None else [mailbox]
        for name in names:
            with opened_below(root, name) as opened:
                if form == "maildir":
                    reports.append(_export_maildir(opened, Path(target)))
                else:
                    file = Path(target) / f"{opened.name}{_SUFFIX}" if mailbox is None else target
                    reports.append(_export_mbox(opened, str(file), as_lf=as_lf))
    _print_reports(reports, "exported", as_json, beside=target == "-")


_Named = tuple[str, "Report"]


def _quota(site: Site, address: str) -> "Quota | None":
    from postroom.accounts import properties
    from postroom.maildirs.usage import NO_QUOTA, Quota

    quota = Quota.of(properties.show_account(site.engine, address).limits)
    return None if quota == NO_QUOTA else quota


def _import_mbox(
    maildir: Path,
    mailbox: str,
    file: IO[bytes],
    size_octets: int,
    quota: "Quota | None",
    source: str = "standard input",
) -> _Named:
    from postroom.accounts.mailbox.messages import opened_mailbox
    from postroom.accounts.mailbox.transfer import Intake, from_mbox

    counting = _Counting(file)
    with opened_mailbox(maildir, mailbox, make=True) as opened:
        intake = Intake(opened, quota)
        try:
            with _progress(f"into {opened.name}", size_octets) as advance:
                for incoming in from_mbox(counting):  # type: ignore[arg-type]  # it reads lines
                    intake.take(incoming)
                    advance(counting.taken())
            intake.finish()
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        except OSError as error:
            raise _interrupted(intake.report, error) from error
        return opened.name, intake.report


def _import_maildir(
    maildir: Path, mailbox: str, source: Path, quota: "Quota | None"
) -> Iterator[_Named]:
    from postroom.accounts.mailbox.folders import mailboxes_in, opened
    from postroom.accounts.mailbox.messages import opened_below, opened_mailbox
    from postroom.accounts.mailbox.transfer import Report
    from postroom.maildirs.folders import parse_folder

    if source.resolve() == maildir.resolve():
        raise UserError(f"{source} is the Maildir of this very account")
    with opened(source) as root:
        for name in mailboxes_in(root):
            target = _below(mailbox, name)
            with opened_below(root, name) as origin:
                try:
                    parse_folder(target)
                except UserError as error:
                    every = [(entry.number, str(error)) for entry in origin.entries()]
                    yield target, Report(failed=every)
                    continue
                with opened_mailbox(maildir, target, make=True) as opened_target:
                    yield opened_target.name, _transfer(origin, opened_target, quota, "into")


def _import_directory(
    maildir: Path, mailbox: str, source: Path, quota: "Quota | None"
) -> Iterator[_Named]:
    files = sorted(source.glob(f"*{_SUFFIX}"))
    if not files:
        raise UserError(f"{source} is no Maildir, for it has no cur, and holds no file NAME.mbox")
    for path in files:
        with path.open("rb") as file:
            target = _below(mailbox, path.name.removesuffix(_SUFFIX))
            yield _import_mbox(maildir, target, file, path.stat().st_size, quota, str(path))


def _below(mailbox: str, name: str) -> str:
    """Give the mailbox for a folder when all goes below another."""
    if name == INBOX:
        return mailbox
    return name if mailbox.upper() == INBOX else f"{mailbox}.{name}"


def _export_maildir(mailbox: "Mailbox", target: Path) -> _Named:
    from postroom.accounts.mailbox.messages import opened_mailbox

    if target.exists() and not (target / "cur").is_dir() and any(target.iterdir()):
        raise UserError(f"{target} is there already and no Maildir: give another name")
    with opened_mailbox(target, mailbox.name, make=True) as opened:
        return mailbox.name, _transfer(mailbox, opened, None, "from")


def _transfer(
    origin: "Mailbox", target: "Mailbox", quota: "Quota | None", preposition: str
) -> "Report":
    from postroom.accounts.mailbox.transfer import Intake, from_mailbox

    intake = Intake(target, quota)
    try:
        with _progress(f"{preposition} {target.name}", len(origin.entries())) as advance:
            for incoming in from_mailbox(origin):
                intake.take(incoming)
                advance(1)
        intake.finish()
    except OSError as error:
        raise _interrupted(intake.report, error) from error
    return intake.report


def _export_mbox(mailbox: "Mailbox", target: str, *, as_lf: bool) -> _Named:
    from postroom.accounts.mailbox.transfer import to_mbox

    total = len(mailbox.entries())
    with _progress(f"from {mailbox.name}", total) as advance, _new_file(target) as file:
        return mailbox.name, to_mbox(mailbox, file, as_lf=as_lf, step=lambda: advance(1))


@contextmanager
def _new_file(target: str) -> Iterator[BinaryIO]:
    """Give a file that appears, durable, when all is in it; standard output for ``-``."""
    import os

    if target == "-":
        yield sys.stdout.buffer
        return
    path = Path(target)
    if path.exists():
        raise UserError(f"{target} is there already: remove it or give another name")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}") from error


class _Counting:
    """A file that counts the octets read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._octets = 0

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self._octets += len(line)
        return line

    def taken(self) -> int:
        """Give how many were read since this was asked last."""
        octets, self._octets = self._octets, 0
        return octets


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty() or not total:
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(Text(printable(title)).markup, total=total)
        yield lambda step: progress.advance(task, step)


def _interrupted(report: "Report", error: OSError) -> UserError:
    done = counted(report.done, "message")
    return UserError(
        f"{error.strerror} after {done}; mend that and give the same command again to go on"
    )


def _print_reports(
    reports: list[_Named], verb: str, as_json: bool, *, beside: bool = False
) -> None:
    """Say what became of all; ``beside`` the result if that is on standard output."""
    from postroom.accounts.mailbox.transfer import OVER_QUOTA

    if as_json:
        document([_fields(name, report, verb) for name, report in reports])
    for name, report in reports:
        if not as_json:
            present = f", {report.present} there already" if report.present else ""
            line = f"{name}: {counted(report.done, 'message')} {verb}{present}"
            click.echo(printable(line), err=beside)
        for number, why in report.failed:
            note(f"{name}: message {number} was left out: {why}")
    failed = [why for _, report in reports for _, why in report.failed]
    if OVER_QUOTA in failed:
        note("'postroom quota set' raises the quota, --over-quota disregards it")
    if failed:
        raise click.exceptions.Exit(1)


def _fields(name: str, report: "Report", verb: str) -> dict[str, Any]:
    return {
        "mailbox": name,
        verb: report.done,
        "present": report.present,
        "failed": [{"message": number, "why": why} for number, why in report.failed],
    }
