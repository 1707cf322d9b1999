"""The messages of a mailbox: listing, flagging, moving, copying and expunging them.

Theory: a message is one file. Its name up to the colon, the base name, identifies it; the rest are
its flags. Other programs change the same files at the same time: Dovecot moves files from ``new/``
to ``cur/``, and renames a file when a flag changes. So a file that is not where it was listed is
searched by its base name. A message that has gone is an error of that message alone.

    operation   order                                     after a crash in the middle
    ---------   ---------------------------------------   ------------------------------------------
    flag        rename, within or into cur/; sync         the old flags or the new ones
    move        link into the other folder, sync that;    the message is in both; repeating the
                then unlink here, sync                    command finishes it
    copy        sync the file, link or write it under a   the copy is there or not
                new base name, sync
    expunge     unlink, sync                              it is there or not

A message that is moved keeps its base name, by which other programs recognise it; Dovecot gives it
a UID of its new folder, as IMAP requires. Keywords (Dovecot's small letters) have a different
meaning in each folder, and are dropped when a message is moved or copied into another.

Who controls the input: senders, the content; whoever may write into the Maildir, names and kinds of
files. Only regular files are opened; others are only listed.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from postroom.errors import UserError
from postroom.maildirs import usage
from postroom.maildirs.directories import create_file, is_missing, make_parts, open_below, open_file
from postroom.maildirs.folders import parse_folder
from postroom.maildirs.line_ends import LineEndRewriter, LineEnds, Sizes
from postroom.maildirs.mailboxes import (
    known_name,
    mailboxes_in,
    make_folder,
    opened,
    opened_existing,
)
from postroom.maildirs.names import FileName, crlf_size_in, new_base, size_fields, size_in

PARTS: Final = ("new", "cur")
_TRIES: Final = 5
_NO_LINK: Final = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP))
_T = TypeVar("_T")


class Gone(UserError):
    """A message that was listed and has gone since."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it was found.

    Attributes:
        number: its position in the listing, from 1.
        part: ``new`` or ``cur``.
        file_name: its whole name there.
        received_at: POSIX time of its arrival: when the file was written.
        size_octets: its length.
    """

    number: int
    part: str
    file_name: str
    received_at: float
    size_octets: int

    @property
    def base(self) -> str:
        """The base name, which identifies the message."""
        return FileName.parse(self.file_name).base

    @property
    def flags(self) -> str:
        """Its flags, as letters."""
        return FileName.parse(self.file_name).flags


class OpenMailbox:
    """An open mailbox: the inbox or a folder of a Maildir.

    Attributes:
        name: the mailbox's.
        root: descriptor of the Maildir.
    """

    def __init__(self, root: int, name: str, directory: str) -> None:
        """Open it.

        Raises:
            OSError: it cannot be opened.
        """
        self.name = name
        self.root = root
        self._folder = open_below(directory, root)
        self._parts: dict[str, int] = {}

    def close(self) -> None:
        """Close the descriptors, but for the Maildir's own."""
        os.close(self._folder)
        while self._parts:
            os.close(self._parts.popitem()[1])

    def part(self, name: str) -> int:
        """Return the descriptor of ``tmp``, ``new`` or ``cur``; creates all of them if need be.

        Raises:
            OSError: it cannot be created, or is not a directory.
        """
        if name not in self._parts:
            if is_missing(name, self._folder):
                make_parts(self._folder)
            self._parts[name] = open_below(name, self._folder)
        return self._parts[name]

    def entries(self) -> list[StoredMessage]:
        """Return the messages, in order of arrival."""
        found = [(part, *each) for part in PARTS for each in self._files(part)]
        found.sort(key=lambda each: (each[2], FileName.parse(each[1]).base))
        return [
            StoredMessage(number, part, name, received_at, size)
            for number, (part, name, received_at, size) in enumerate(found, 1)
        ]

    def _files(self, part: str) -> Iterator[tuple[str, float, int]]:
        if is_missing(part, self._folder):  # and not made because somebody looks
            return
        with os.scandir(self.part(part)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield entry.name, status.st_mtime, status.st_size

    def find(self, names: Sequence[str]) -> list[StoredMessage]:
        """Find messages by base name, or by their number in the listing of now.

        Raises:
            UserError: there is no such message.
        """
        entries = self.entries()
        by_name = {entry.base: entry for entry in entries}
        return list(
            {each.base: each for each in (self._one(entries, by_name, n) for n in names)}.values()
        )

    def _one(
        self, entries: list[StoredMessage], by_name: dict[str, StoredMessage], name: str
    ) -> StoredMessage:
        found = by_name.get(FileName.parse(name).base)
        if found is not None:
            return found
        if not name.isascii() or not name.isdecimal():
            raise UserError(
                f"there is no message {name!r} in {self.name}; 'postroom mailbox show' lists them"
            )
        if not 1 <= int(name[:18]) <= len(entries):
            count = f"has {len(entries)}" if entries else "is empty"
            raise UserError(f"there is no message {name}: the mailbox {self.name} {count}")
        return entries[int(name) - 1]

    @contextmanager
    def reading(self, entry: StoredMessage) -> Iterator[BinaryIO]:
        """Yield a message's file, open to read.

        Raises:
            Gone: it has gone.
            UserError: it is not a file that can be read.
        """
        try:
            descriptor = self._now(entry, lambda now: open_file(now.file_name, self.part(now.part)))
        except OSError as error:
            raise UserError(f"{entry.base} cannot be read: {error.strerror}") from error
        with open(descriptor, "rb") as file:
            yield file

    def flag(self, entries: Sequence[StoredMessage], add: str, remove: str) -> None:
        """Add flags to messages and remove others; moves them to ``cur``, as seen by a program.

        Raises:
            Gone: some have gone; the others have their flags.
            OSError: the disk.
        """
        _, gone = self._each(entries, lambda now: self._flag_one(now, add, remove))
        self.sync()
        _raise_for(gone)

    def _flag_one(self, entry: StoredMessage, add: str, remove: str) -> None:
        name = str(FileName.parse(entry.file_name).flagged(add, remove))
        if (entry.part, entry.file_name) != ("cur", name):
            cur = self.part("cur")
            os.rename(entry.file_name, name, src_dir_fd=self.part(entry.part), dst_dir_fd=cur)

    def move(self, entries: Sequence[StoredMessage], target: "OpenMailbox") -> None:
        """Move messages into another mailbox of the same Maildir.

        Raises:
            UserError: both are the same mailbox.
            Gone: some have gone; the others are moved.
            OSError: the disk.
        """
        if target.name == self.name:
            raise UserError(f"the messages are in {self.name} already")
        there = {entry.base: entry for entry in target.entries()}

        def put(now: StoredMessage) -> None:
            found = there.get(now.base)
            if found is None:
                self._put(now, target, now.base)
            elif not self._is_same(now, target, found):
                self._put(now, target, _copy_base(now))

        moved, gone = self._each(entries, put)
        target.sync()
        self._each(moved, self._unlink)
        self.sync()
        _raise_for(gone)

    def _is_same(self, entry: StoredMessage, target: "OpenMailbox", other: StoredMessage) -> bool:
        """Return whether a file has two names already, because a move was interrupted."""
        with suppress(FileNotFoundError):
            return os.path.samestat(
                os.stat(entry.file_name, dir_fd=self.part(entry.part)),
                os.stat(other.file_name, dir_fd=target.part(other.part)),
            )
        return False

    def copy(self, entries: Sequence[StoredMessage], target: "OpenMailbox") -> None:
        """Copy messages into a mailbox of the same Maildir, also into this one.

        Raises:
            Gone: some have gone; the others are copied.
            OSError: the disk.
        """
        copied, gone = self._each(entries, lambda now: self._put(now, target, _copy_base(now)))
        target.sync()
        usage.append(self.root, sum(each.size_octets for each in copied), len(copied))
        _raise_for(gone)

    def _put(self, entry: StoredMessage, target: "OpenMailbox", base: str) -> None:
        """Link or copy a message to another place, under a base name."""
        source = FileName.parse(entry.file_name)
        flags = source.flags if target.name == self.name else source.standard_flags
        name = base if entry.part == "new" else str(FileName(base, flags))
        descriptor = open_file(entry.file_name, self.part(entry.part))
        try:
            os.fsync(descriptor)
            os.link(
                entry.file_name,
                name,
                src_dir_fd=self.part(entry.part),
                dst_dir_fd=target.part(entry.part),
                follow_symlinks=False,
            )
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            _write_copy(descriptor, name, target, entry.part)
        finally:
            os.close(descriptor)

    def expunge(self, entries: Sequence[StoredMessage]) -> None:
        """Delete messages permanently; those that have gone already are ignored.

        Raises:
            OSError: the disk.
        """
        gone, _ = self._each(entries, self._unlink)
        self.sync()
        usage.append(self.root, -sum(_counted(each) for each in gone), -len(gone))

    def _unlink(self, entry: StoredMessage) -> None:
        os.unlink(entry.file_name, dir_fd=self.part(entry.part))

    def sync(self) -> None:
        """Make the current names durable.

        Raises:
            OSError: the disk.
        """
        for part in PARTS:
            os.fsync(self.part(part))

    def _each(
        self, entries: Sequence[StoredMessage], action: Callable[[StoredMessage], None]
    ) -> tuple[list[StoredMessage], list[StoredMessage]]:
        """Call a function with each message; return those that existed, and those that had gone."""
        done, gone = [], []
        for entry in entries:
            try:
                self._now(entry, action)
            except Gone:
                gone.append(entry)
            else:
                done.append(entry)
        return done, gone

    def _now(self, entry: StoredMessage, action: Callable[[StoredMessage], _T]) -> _T:
        """Call a function with a message, wherever it is by now."""
        for _ in range(_TRIES):
            try:
                return action(entry)
            except FileNotFoundError:
                entry = self._again(entry)
        raise UserError(f"{entry.base} is being moved by another program; try again")

    def _again(self, entry: StoredMessage) -> StoredMessage:
        for part in (*PARTS, "new"):
            for name in os.listdir(self.part(part)):
                if FileName.parse(name).base == entry.base:
                    return StoredMessage(
                        entry.number, part, name, entry.received_at, entry.size_octets
                    )
        raise Gone(f"{entry.base} has gone")


@contextmanager
def opened_mailbox(maildir: Path, name: str, *, make: bool = False) -> Iterator[OpenMailbox]:
    """Open one of an account's mailboxes.

    Args:
        maildir: the account's.
        name: as somebody typed it.
        make: True to create it, and the Maildir, if they do not exist.

    Raises:
        UserError: there is no such mailbox.
        OSError: it cannot be opened.
    """
    whole = opened(maildir, make=True) if make else opened_existing(maildir)
    with whole as root, opened_below(root, name, make=make) as mailbox:
        yield mailbox


@contextmanager
def opened_below(root: int, name: str, *, make: bool = False) -> Iterator[OpenMailbox]:
    """Open a mailbox of a Maildir that is open; see `opened_mailbox`."""
    known = mailboxes_in(root)
    if make and name not in known and parse_folder(name) not in known:
        make_folder(root, parse_folder(name))
        known = mailboxes_in(root)
    found = known_name(known, name)
    mailbox = OpenMailbox(root, found, known[found])
    try:
        yield mailbox
    finally:
        mailbox.close()


def store_message(descriptor: int, chunks: Iterable[bytes], line_ends: LineEnds) -> Sizes:
    """Write a message into a new file, with the line ends of the site's Maildirs.

    Args:
        descriptor: the file's, empty; it is not synced.
        chunks: the message, with line ends of either kind.
        line_ends: those of the setting, or `LineEnds.KEPT` to change nothing.

    Returns:
        The sizes for the file's name (`postroom.maildirs.names.size_fields`).

    Raises:
        OSError: the disk; or what ``chunks`` raises.
    """
    rewriting = LineEndRewriter(line_ends)
    with open(os.dup(descriptor), "wb") as file:
        file.writelines(rewriting.all(chunks))
    return rewriting.sizes


def _raise_for(gone: Sequence[StoredMessage]) -> None:
    if gone:
        names = ", ".join(entry.base for entry in gone)
        raise Gone(f"removed by another program meanwhile: {names}")


def _counted(entry: StoredMessage) -> int:
    """Return the size with which a message counts for the quota."""
    size = size_in(entry.file_name)
    return entry.size_octets if size is None else size


def _copy_base(entry: StoredMessage) -> str:
    """Return a base name for a copy, with the CRLF size if the message's own name has it."""
    crlf_octets = crlf_size_in(entry.file_name)
    if crlf_octets is None:
        return new_base(f",S={entry.size_octets}")
    return new_base(size_fields(Sizes(entry.size_octets, crlf_octets)))


def _write_copy(source: int, name: str, target: OpenMailbox, part: str) -> None:
    """Copy a file durably, with its time, where no link can be made."""
    temporary = new_base()
    tmp = target.part("tmp")
    with open(create_file(temporary, tmp), "wb") as file, open(os.dup(source), "rb") as octets:
        shutil.copyfileobj(octets, file)
        file.flush()
        status = os.fstat(source)
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(file.fileno())
    os.rename(temporary, name, src_dir_fd=tmp, dst_dir_fd=target.part(part))
