"""``postroom mailbox import`` and ``export``.

An mbox holds one mailbox, a Maildir all of them. An export of all mailboxes writes a directory of
files ``NAME.mbox``, which an import reads.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import click

from postroom.cli.mailbox import INBOX, commands, maildir_of
from postroom.cli.output import counted, document, note, printable
from postroom.cli.site import Site, json_option, pass_site
from postroom.errors import UserError

if TYPE_CHECKING:
    from postroom.maildirs.archives import Part
    from postroom.maildirs.line_ends import LineEnds
    from postroom.maildirs.mbox_files import MboxFile
    from postroom.maildirs.messages import OpenMailbox
    from postroom.maildirs.transfer import TransferReport
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
    help="Import an mbox into it, folders of a Maildir below it. By default the inbox.",
)
@click.option("--over-quota", is_flag=True, help="Import messages even if they exceed the quota.")
@json_option
@pass_site
def import_(
    site: Site, address: str, source: str, mailbox: str, over_quota: bool, as_json: bool
) -> None:
    """Import the messages of SOURCE into the account ADDRESS.

    SOURCE is an mbox file, a Maildir, a directory of files NAME.mbox, or - for an mbox on standard
    input. Files may be compressed by gzip, bzip2 or xz, or be in a zip. Messages that were imported
    before are skipped: after an interruption, repeat the same command. The exit status is 1 if a
    message was left out.
    """
    from postroom.maildirs.line_ends import LineEnds
    from postroom.maildirs.mbox_files import MboxFile, files_in

    known, maildir = maildir_of(site, address)
    quota = None if over_quota else _quota(site, known)
    target = _Target(maildir, mailbox, quota, LineEnds(site.settings.delivery.line_ends))
    path = Path(source)
    if source == "-":
        reports = _take_file(target, cast("io.BufferedIOBase", sys.stdin.buffer), 0, _STDIN)
    elif not path.exists():
        raise UserError(f"{source}: there is no such file or directory")
    elif not path.is_dir():
        reports = _import_files(target, [MboxFile(path, mailbox)])
    elif (path / "cur").is_dir():
        reports = _import_maildir(target, path)
    else:
        files = list(files_in(path, mailbox))
        if not files:
            raise UserError(
                f"{source} is neither a Maildir (it has no cur) nor a directory of files NAME.mbox"
            )
        reports = _import_files(target, files)
    _print_reports(list(reports), "imported", as_json)


@commands.command("export")
@click.argument("address")
@click.argument("target")
@click.option(
    "--mailbox", "-m", metavar="NAME", help="Export this mailbox only; by default all of them."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["mbox", "maildir"]),
    default="mbox",
    show_default=True,
    help="The format of TARGET.",
)
@click.option(
    "--line-ends",
    type=click.Choice(["lf", "kept"]),
    default="lf",
    show_default=True,
    help="Line ends in an mbox: LF, as most programs expect, or as they are in the message.",
)
@json_option
@pass_site
def export(
    site: Site, /, address: str, target: str, mailbox: str | None, *, as_json: bool, **how: str
) -> None:
    """Copy the messages of the account ADDRESS to TARGET.

    With --mailbox, an mbox is written to the file TARGET, or to standard output if it is -. Without
    --mailbox, TARGET is a directory of files NAME.mbox. No file is overwritten; messages are added
    to a Maildir that exists. The exit status is 1 if a message was left out.
    """
    from postroom.maildirs.mailboxes import mailboxes_in, opened_existing
    from postroom.maildirs.messages import opened_below

    form, as_lf = how["form"], how["line_ends"] == "lf"
    if target == "-" and (mailbox is None or form != "mbox" or as_json):
        raise click.UsageError(
            "standard output needs --mailbox and the format mbox, and excludes --json"
        )
    if mailbox is None and form == "mbox" and Path(target).is_file():
        raise UserError(
            f"{target} is a file: give a directory, or one --mailbox to write to a file"
        )
    reports = []
    with opened_existing(maildir_of(site, address)[1]) as root:
        names = list(mailboxes_in(root)) if mailbox is None else [mailbox]
        for name in names:
            with opened_below(root, name) as opened:
                if form == "maildir":
                    reports.append(_MailboxResult(*_export_maildir(opened, Path(target))))
                else:
                    file = Path(target) / f"{opened.name}{_SUFFIX}" if mailbox is None else target
                    reports.append(_MailboxResult(*_export_mbox(opened, str(file), as_lf=as_lf)))
    _print_reports(reports, "exported", as_json, beside=target == "-")


_STDIN: Final = "standard input"


@dataclass(frozen=True, slots=True)
class _Target:
    """The account and mailbox that messages are imported into."""

    maildir: Path
    mailbox: str
    quota: "Quota | None"
    line_ends: "LineEnds"


@dataclass(frozen=True, slots=True)
class _MailboxResult:
    """The result for one mailbox, and the mbox file that it came from, if any."""

    mailbox: str
    report: "TransferReport"
    source: str = ""


def _quota(site: Site, address: str) -> "Quota | None":
    from postroom.directory import properties
    from postroom.maildirs.usage import NO_QUOTA, Quota

    quota = Quota.of(properties.show_account(site.engine, address).limits)
    return None if quota == NO_QUOTA else quota


def _import_files(target: _Target, files: "Iterable[MboxFile]") -> Iterator[_MailboxResult]:
    """Import files that may be mboxes; a faulty one does not stop the others."""
    for each in files:
        if each.fault:
            yield _faulty(each.mailbox, each.fault, str(each.path))
            continue
        try:
            file = each.path.open("rb")
        except OSError as error:
            yield _faulty(each.mailbox, str(error.strerror), str(each.path))
            continue
        into = replace(target, mailbox=each.mailbox)
        with file:
            size = each.path.stat().st_size
            yield from _take_file(into, file, size, str(each.path), target.mailbox)


def _take_file(
    target: _Target, file: io.BufferedIOBase, size_octets: int, source: str, above: str = ""
) -> Iterator[_MailboxResult]:
    """Import a file, which is an mbox or a zip of them.

    Args:
        target: where an mbox goes.
        file: at its start.
        size_octets: how long it is, if that is known.
        source: its name.
        above: the mailbox below which the files of a zip go, if there are several.
    """
    from postroom.maildirs.archives import opened_parts
    from postroom.maildirs.mbox_files import below, mailbox_of
    from postroom.maildirs.transfer import Interrupted

    counting = _Counting(file)
    try:
        with opened_parts(counting) as parts:
            if not parts:
                raise UserError("the zip holds no files")
            for part in parts:
                into, name = target, source
                if part.name is not None:
                    name = f"{source}: {part.name}"
                if part.name is not None and len(parts) > 1:
                    mailbox = below(above or target.mailbox, mailbox_of(part.name))
                    into = replace(target, mailbox=mailbox)
                with _progress(f"into {into.mailbox}", size_octets) as advance:
                    yield _take_part(into, part, name, lambda: advance(counting.taken()))
    except Interrupted:  # the disk's fault, not the file's: nothing more can be imported
        raise
    except UserError as error:
        yield _faulty(target.mailbox, str(error), source)


def _take_part(
    target: _Target, part: "Part", source: str, step: Callable[[], None]
) -> _MailboxResult:
    from postroom.maildirs.transfer import Interrupted, import_mbox

    try:
        mailbox, report = import_mbox(
            target.maildir, target.mailbox, part.content(), target.quota, step, target.line_ends
        )
    except Interrupted:
        raise
    except UserError as error:
        return _faulty(target.mailbox, str(error), source)
    return _MailboxResult(mailbox, report, source)


def _faulty(mailbox: str, fault: str, source: str) -> _MailboxResult:
    """Report a file of which nothing was imported."""
    from postroom.maildirs.transfer import TransferReport

    return _MailboxResult(mailbox, TransferReport(fault=fault), source)


def _import_maildir(target: _Target, source: Path) -> Iterator[_MailboxResult]:
    from postroom.maildirs.folders import parse_folder
    from postroom.maildirs.mailboxes import mailboxes_in, opened
    from postroom.maildirs.mbox_files import below
    from postroom.maildirs.messages import opened_below, opened_mailbox
    from postroom.maildirs.transfer import TransferReport

    if source.resolve() == target.maildir.resolve():
        raise UserError(f"{source} is the Maildir of the account itself")
    with opened(source) as root:
        for name in mailboxes_in(root):
            mailbox = below(target.mailbox, name)
            with opened_below(root, name) as origin:
                # One impossible name must not stop the import of the other mailboxes.
                try:
                    parse_folder(mailbox)
                except UserError as error:
                    every = [(entry.number, str(error)) for entry in origin.entries()]
                    yield _MailboxResult(mailbox, TransferReport(failed=every))
                    continue
                with opened_mailbox(target.maildir, mailbox, make=True) as opened_target:
                    report = _transfer(origin, opened_target, target.quota, "into")
                    yield _MailboxResult(opened_target.name, report)


def _export_maildir(mailbox: "OpenMailbox", target: Path) -> "tuple[str, TransferReport]":
    from postroom.maildirs.messages import opened_mailbox

    if target.exists() and not (target / "cur").is_dir() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not a Maildir: give another name")
    with opened_mailbox(target, mailbox.name, make=True) as opened:
        return mailbox.name, _transfer(mailbox, opened, None, "from")


def _transfer(
    origin: "OpenMailbox", target: "OpenMailbox", quota: "Quota | None", preposition: str
) -> "TransferReport":
    from postroom.maildirs.transfer import MessageImport, from_mailbox, import_all

    importing = MessageImport(target, quota)
    with _progress(f"{preposition} {target.name}", len(origin.entries())) as advance:
        import_all(importing, from_mailbox(origin), lambda: advance(1))
    return importing.report


def _export_mbox(
    mailbox: "OpenMailbox", target: str, *, as_lf: bool
) -> "tuple[str, TransferReport]":
    from postroom.maildirs.transfer import to_mbox

    total = len(mailbox.entries())
    with _progress(f"from {mailbox.name}", total) as advance, _new_file(target) as file:
        return mailbox.name, to_mbox(mailbox, file, as_lf=as_lf, step=lambda: advance(1))


@contextmanager
def _new_file(target: str) -> Iterator[BinaryIO]:
    """Yield a file that appears, durable, when it is complete; standard output for ``-``."""
    import os

    if target == "-":
        yield sys.stdout.buffer
        return
    path = Path(target)
    if path.exists():
        raise UserError(f"{target} exists already: remove it or give another name")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Others never see an incomplete file, and a crash leaves only the .part behind.
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


class _Counting(io.BufferedIOBase):
    """A file that counts the octets read."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._octets = 0

    def read(self, size: int | None = -1) -> bytes:
        return self._counted(self._file.read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(self._file.read1(size))

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _counted(self, octets: bytes) -> bytes:
        self._octets += len(octets)
        return octets

    def taken(self) -> int:
        """Return how many were read since this was asked last."""
        octets, self._octets = self._octets, 0
        return octets


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty() or not total:
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(Text(printable(title)).markup, total=total)
        yield lambda step: progress.advance(task, step)


def _print_reports(
    reports: list[_MailboxResult], verb: str, as_json: bool, *, beside: bool = False
) -> None:
    """Print the result for each mailbox, and exit with status 1 if something was left out.

    Args:
        reports: one for each mailbox.
        verb: what was done to the messages.
        as_json: print a JSON document.
        beside: print on standard error, since standard output has the messages.

    Raises:
        UserError: there was only one file, and nothing of it was imported.
    """
    from postroom.maildirs.transfer import OVER_QUOTA

    faulty = [each for each in reports if each.report.fault]
    if faulty and len(reports) == 1 and faulty[0].report.is_empty:
        raise UserError(f"{faulty[0].source}: {faulty[0].report.fault}")
    if as_json:
        document([_fields(each, verb) for each in reports])
    for each in reports:
        if not as_json and not each.report.is_fault_alone:
            click.echo(printable(_line(each, verb)), err=beside)
        _print_notes(each)
    failed = [why for each in reports for _, why in each.report.failed]
    if OVER_QUOTA in failed:
        note("raise the quota with 'postroom quota set', or ignore it with --over-quota")
    if failed or faulty:
        raise click.exceptions.Exit(1)


def _line(result: _MailboxResult, verb: str) -> str:
    report = result.report
    present = f", {report.present} there already" if report.present else ""
    return f"{result.mailbox}: {counted(report.done, 'message')} {verb}{present}"


def _print_notes(result: _MailboxResult) -> None:
    """Print what is not as it should be."""
    report = result.report
    for number, why in report.failed:
        note(f"{result.mailbox}: message {number} was left out: {why}")
    if report.doubts.count:
        lines = counted(report.doubts.count, "line")
        was = "was" if report.doubts.count == 1 else "were"
        note(
            f"{result.source}: {lines} like the beginning of a message {was} kept as text of the"
            f" message before; the first is line {report.doubts.first_line}"
        )
    if report.fault:
        rest = "" if report.is_empty else "; the messages before that were imported"
        note(f"{result.source}: {report.fault}{rest}")


def _fields(result: _MailboxResult, verb: str) -> dict[str, Any]:
    report = result.report
    fields: dict[str, Any] = {
        "mailbox": result.mailbox,
        verb: report.done,
        "present": report.present,
        "failed": [{"message": number, "why": why} for number, why in report.failed],
    }
    if result.source:
        fields |= {
            "source": result.source,
            "doubtful_lines": report.doubts.count,
            "fault": report.fault or None,
        }
    return fields
