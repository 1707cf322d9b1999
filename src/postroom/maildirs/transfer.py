"""Importing messages from an mbox or another Maildir into a mailbox, and exporting them.

Theory: a message is read once, in pieces. It is written to a file in ``tmp/`` while its digest is
computed, and gets its name afterwards. Files are synced and renamed in batches, as in deliveries,
so that a directory is synced once for many. No file is ever replaced.

A message is not imported twice, since its name identifies it. From a Maildir it keeps its own base
name. From an mbox, the name contains the digest of its content, and a number that distinguishes it
from others with the same content in that file. Before them is its position in the file, by which
Postroom and Dovecot order messages that arrived in the same second. So repeating the command
continues an import that was interrupted, and adds nothing to one that was complete. A message that
was moved into another mailbox since is imported again.

    state                                  after a crash     repair
    -------------------------------------  ----------------  -------------------------------------
    1 in tmp/                              not imported      removed when it is 36 hours old
    2 named, directory not synced          there, or as 1    repeating the command
    3 named, directory synced: counted     there             none

Known limit: the names of all messages of the mailbox, and the digests of all of the file, are kept
in memory: some 200 octets a message.

Who controls the input: whoever made the file or wrote the mail; the content is not looked at.
"""

import errno
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from postroom.errors import UserError
from postroom.maildirs import usage
from postroom.maildirs.directories import create_file
from postroom.maildirs.folders import directory_of, parse_folder
from postroom.maildirs.line_ends import LineEnds, Sizes
from postroom.maildirs.mailboxes import mailboxes_in, opened
from postroom.maildirs.mbox import Damaged, DoubtfulLines, read_mbox, write_message
from postroom.maildirs.messages import OpenMailbox, StoredMessage, opened_mailbox, store_message
from postroom.maildirs.names import FLAGS, FileName, host_part, new_base, size_fields
from postroom.maildirs.usage import Quota, Usage

BATCH_FILES: Final = 64
BATCH_OCTETS: Final = 8 * 1024 * 1024
CHUNK_OCTETS: Final = 256 * 1024
OVER_QUOTA: Final = "it does not fit into the quota"

# Names of other makers that are kept: no colon, slash or leading dot, nothing that needs quoting.
_STEM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=%@\\-]{4,149}")
_UNIQUE: Final = re.compile(r"[^.]*\.(?:M[0-9]+)?(I[0-9a-f]{16}N[0-9]+)\.")


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be imported.

    Attributes:
        number: its position in its source, from 1.
        received_at: POSIX time of its arrival; None if it is unknown.
        flags: letters.
        is_new: True if no program has shown it yet.
        base: the base name that it had; None if it had none.
        chunks: yields its content; may be called once, and may raise OSError or UserError.
    """

    number: int
    received_at: float | None
    flags: str
    is_new: bool
    base: str | None
    chunks: Callable[[], Iterator[bytes]]


@dataclass(slots=True)
class TransferReport:
    """The results of an import or export.

    Attributes:
        done: how many messages were imported or exported.
        present: how many were there already.
        failed: the number of each of the others, and why it was left out.
        doubts: lines of the mbox that only look like the beginning of a message.
        fault: what is wrong with the mbox as a whole; empty if nothing.
    """

    done: int = 0
    present: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)
    doubts: DoubtfulLines = field(default_factory=DoubtfulLines)
    fault: str = ""

    @property
    def is_empty(self) -> bool:
        """True if no message was imported, and none was there already."""
        return not self.done and not self.present

    @property
    def is_fault_alone(self) -> bool:
        """True if there is a fault of the whole and no result of a single message."""
        return bool(self.fault) and self.is_empty and not self.failed


class Interrupted(UserError):
    """The disk failed; the messages imported before stay."""


class _Unreadable(Exception):
    """A message that cannot be read completely."""


@dataclass(slots=True)
class _Unnamed:
    """A file in ``tmp/``, open, and where it will be."""

    descriptor: int
    temporary: str
    part: str
    name: str
    size_octets: int


class MessageImport:
    """Stores messages in one mailbox.

    Attributes:
        report: the results so far.
    """

    def __init__(
        self,
        mailbox: OpenMailbox,
        quota: Quota | None = None,
        report: TransferReport | None = None,
        line_ends: LineEnds = LineEnds.KEPT,
    ) -> None:
        """Start with the messages that are in the mailbox.

        Args:
            mailbox: open.
            quota: leave out messages that exceed it; None to import all.
            report: to be filled in; None for a new one.
            line_ends: those of the files; messages of a Maildir, which may be binary, keep theirs.
        """
        self._line_ends = line_ends
        self.report = TransferReport() if report is None else report
        self._mailbox = mailbox
        self._quota = quota
        self._usage = Usage()
        if quota is not None:
            self._usage = usage.current(mailbox.root, quota, Usage(1, 1), time.time())
        self._known = {key for entry in mailbox.entries() for key in _keys(entry.base)}
        self._digests: Counter[bytes] = Counter()
        self._unnamed: list[_Unnamed] = []
        self._octets = 0

    def add(self, incoming: NewMessage) -> None:
        """Store a message, or note in the report why not. It is durable after `finish`.

        Raises:
            OSError: the disk; the messages stored before stay.
        """
        stem = None if incoming.base is None else incoming.base.partition(",")[0]
        if stem is not None and not _STEM.fullmatch(stem):
            stem = None
        if stem in self._known:
            self.report.present += 1
            return
        temporary = new_base()
        tmp = self._mailbox.part("tmp")
        descriptor = create_file(temporary, tmp)
        try:
            sizes, digest = _write(descriptor, incoming, self._line_ends)
            stem, size = stem or self._stem_of(incoming, digest), sizes.octets
            waiting = _Unnamed(descriptor, temporary, *_place(incoming, stem, sizes), size)
            if not self._admit(incoming, stem, size):
                raise _Unreadable
        except BaseException as error:
            # Nothing refers to the file yet: it has to go now, whatever went wrong.
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(temporary, dir_fd=tmp)
            if not isinstance(error, _Unreadable):
                raise
            if error.args:
                self.report.failed.append((incoming.number, str(error)))
            return
        self._known.update(_keys(stem))
        self._unnamed.append(waiting)
        self._octets += size
        if len(self._unnamed) >= BATCH_FILES or self._octets >= BATCH_OCTETS:
            self.finish()

    def finish(self) -> None:
        """Make the stored messages durable.

        Raises:
            OSError: the disk; some of it may be there.
        """
        batch, self._unnamed = self._unnamed, []
        octets, self._octets = self._octets, 0
        try:
            with suppress(OSError):
                for each in batch:
                    os.posix_fadvise(each.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            for each in batch:
                os.fsync(each.descriptor)
        finally:
            for each in batch:
                os.close(each.descriptor)
        tmp = self._mailbox.part("tmp")
        for each in batch:
            into = self._mailbox.part(each.part)
            os.rename(each.temporary, each.name, src_dir_fd=tmp, dst_dir_fd=into)
        if batch:
            self._mailbox.sync()
            usage.append(self._mailbox.root, octets, len(batch))
            self.report.done += len(batch)

    def _stem_of(self, incoming: NewMessage, digest: bytes) -> str:
        self._digests[digest] += 1
        unique = f"M{incoming.number:07}I{digest.hex()}N{self._digests[digest]}"
        received_at = time.time() if incoming.received_at is None else incoming.received_at
        return f"{int(received_at)}.{unique}.{host_part(os.uname().nodename)}"

    def _admit(self, incoming: NewMessage, stem: str, size: int) -> bool:
        """Count a message, unless it is there already or over the quota."""
        if not self._known.isdisjoint(_keys(stem)):
            self.report.present += 1
            return False
        after = self._usage.plus(size, 1)
        if self._quota is not None and not self._quota.holds(after):
            self.report.failed.append((incoming.number, OVER_QUOTA))
            return False
        self._usage = after
        return True


def import_mbox(
    maildir: Path,
    name: str,
    file: BinaryIO,
    quota: Quota | None = None,
    step: Callable[[], None] = lambda: None,
    line_ends: LineEnds = LineEnds.LF,
) -> tuple[str, TransferReport]:
    """Import the messages of an mbox into a mailbox, which is created unless it exists.

    A mailbox that was created is removed again if no message could be imported.

    Args:
        maildir: the account's.
        name: the mailbox, as somebody typed it.
        file: the mbox, at its start.
        quota: leave out messages that exceed it; None to import all.
        step: called after each message.
        line_ends: those of the messages in the Maildir.

    Returns:
        The name of the mailbox, and the results.

    Raises:
        UserError: it is not an mbox; nothing has been created.
        Interrupted: the disk failed; the messages imported before stay.
    """
    report = TransferReport()
    messages = from_mbox(file, report.doubts)
    first = next(messages, None)
    made = _missing(maildir, name)
    try:
        with opened_mailbox(maildir, name, make=True) as mailbox:
            if first is not None:
                importing = MessageImport(mailbox, quota, report, line_ends)
                import_all(importing, chain((first,), messages), step)
            return mailbox.name, report
    finally:
        if first is not None and report.is_empty:
            _discard(maildir, made)


def import_all(
    importing: MessageImport, messages: Iterable[NewMessage], step: Callable[[], None]
) -> None:
    """Import messages, one after the other; the report has the results.

    Raises:
        Interrupted: the disk failed; the messages imported before stay.
    """
    try:
        try:
            for incoming in messages:
                importing.add(incoming)
                step()
        except Damaged as error:
            importing.report.fault = f"it is damaged: {error}"
        importing.finish()
    except OSError as error:
        done = importing.report.done
        raise Interrupted(
            f"{error.strerror} after {done} message{'' if done == 1 else 's'};"
            " correct that and repeat the command to continue"
        ) from error


def _missing(maildir: Path, name: str) -> list[str]:
    """Return the directories that have to be created for a mailbox: its own, and the Maildir's."""
    folder = parse_folder(name)
    try:
        with opened(maildir) as root:
            known = mailboxes_in(root)
    except FileNotFoundError:
        return [directory_of(folder), "."]
    return [] if name in known or folder in known else [directory_of(folder)]


def _discard(maildir: Path, made: list[str]) -> None:
    """Remove directories that were created needlessly, unless mail has arrived meanwhile."""
    for directory in made:
        path = maildir / directory
        with suppress(OSError):
            for part in ("tmp", "new", "cur"):
                (path / part).rmdir()
            for file in ("maildirfolder", usage.FILE):
                (path / file).unlink(missing_ok=True)
            path.rmdir()


def from_mbox(file: BinaryIO, doubts: DoubtfulLines | None = None) -> Iterator[NewMessage]:
    """Yield the messages of an mbox, each to be read before the next.

    Args:
        file: at its start.
        doubts: counts the lines that only look like a beginning.

    Raises:
        UserError: it is not an mbox.
        Damaged: the file is damaged; the messages yielded before are complete.
    """
    for message in read_mbox(file, doubts):
        yield NewMessage(
            message.number,
            message.received_at,
            message.flags,
            message.is_new,
            None,
            message.chunks,
        )


def from_mailbox(mailbox: OpenMailbox) -> Iterator[NewMessage]:
    """Yield the messages of a mailbox."""

    def chunks_of(entry: StoredMessage) -> Callable[[], Iterator[bytes]]:
        def chunks() -> Iterator[bytes]:
            with mailbox.reading(entry) as file:
                while chunk := file.read(CHUNK_OCTETS):
                    yield chunk

        return chunks

    for entry in mailbox.entries():
        flags = FileName.parse(entry.file_name).standard_flags
        is_new = entry.part == "new"
        yield NewMessage(
            entry.number, entry.received_at, flags, is_new, entry.base, chunks_of(entry)
        )


def to_mbox(
    mailbox: OpenMailbox, file: BinaryIO, *, as_lf: bool, step: Callable[[], None]
) -> TransferReport:
    """Write the messages of a mailbox into an mbox.

    Args:
        mailbox: open.
        file: the mbox.
        as_lf: True to write line ends as LF; False to keep those that messages have.
        step: called after each.

    Raises:
        OSError: the file cannot be written.
    """
    report = TransferReport()
    for entry in mailbox.entries():
        try:
            with mailbox.reading(entry) as content:
                write_message(
                    file,
                    content,
                    entry.received_at,
                    entry.flags,
                    is_new=entry.part == "new",
                    as_lf=as_lf,
                )
        except UserError as error:
            report.failed.append((entry.number, str(error)))
        else:
            report.done += 1
        step()
    return report


def _write(descriptor: int, incoming: NewMessage, line_ends: LineEnds) -> tuple[Sizes, bytes]:
    """Write a message into its file; return its sizes, and the digest of its content."""
    digest = hashlib.blake2b(digest_size=8)
    chunks = incoming.chunks()

    def digested() -> Iterator[bytes]:
        while chunk := _next(chunks):
            digest.update(chunk)
            yield chunk

    sizes = store_message(descriptor, digested(), line_ends)
    if not sizes.octets:
        raise _Unreadable("it is empty")
    if incoming.received_at is not None:
        with suppress(OverflowError, OSError):
            os.utime(descriptor, (incoming.received_at, incoming.received_at))
    return sizes, digest.digest()


def _next(chunks: Iterator[bytes]) -> bytes:
    try:
        return next(chunks, b"")
    except Damaged:
        raise
    except OSError as error:
        raise _Unreadable(error.strerror or os.strerror(error.errno or errno.EIO)) from error
    except UserError as error:
        raise _Unreadable(str(error)) from error


def _place(incoming: NewMessage, stem: str, sizes: Sizes) -> tuple[str, str]:
    """Return the directory and the name of a message."""
    base = stem + size_fields(sizes)
    flags = "".join(sorted(set(incoming.flags) & set(FLAGS.values())))
    if incoming.is_new and not flags:
        return "new", base
    return "cur", str(FileName(base, flags))


def _keys(base: str) -> tuple[str, ...]:
    """Return the keys of a stored message: its stem, and the digest in it."""
    stem = base.partition(",")[0]
    found = _UNIQUE.match(stem)
    return (stem, found[1]) if found else (stem,)
