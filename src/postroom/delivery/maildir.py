"""Maildirs: names of messages, and the directories, opened once and found again.

The directories' names come from the account's own record, the files' names from us; nothing of a
name is under a peer's control but the digest of the address that it wrote to. ``tmp``, ``new`` and
``cur`` are opened below the Maildir without following symbolic links, and every file by the
descriptor of its directory, so that whoever may write into a Maildir cannot lead us out of it.
The path to the Maildir itself is the administrator's and may go over links.

Known limit: a directory that exists is taken to be durable, also when another process has made it
a moment ago and not synced its parent yet.
"""

import hashlib
import os
import time
from collections import OrderedDict
from itertools import islice
from typing import Final

STALE_SECONDS: Final = 36 * 3600
"""Files in ``tmp/`` that are older belong to nobody: the age that maildir(5) names."""

_SWEPT_ENTRIES: Final = 1000
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SUBDIRECTORY: Final = _DIRECTORY | os.O_NOFOLLOW


def message_key(seconds: int, queue_id: str, address: str) -> str:
    """Make the part of a file's name that says which message it is, and for whom.

    It begins with the time, so names sort by age, and ends where the host's name begins. The same
    message for the same account always gets the same key; two accounts never share one, even if
    their Maildir is the same.

    Args:
        seconds: POSIX time of acceptance.
        queue_id: ASCII letters and digits.
        address: the account's.

    Raises:
        ValueError: the queue id is not one.
    """
    if not (queue_id.isalnum() and queue_id.isascii()):
        raise ValueError(f"{queue_id!r} is not a queue id")
    digest = hashlib.blake2b(address.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{seconds}.{queue_id}_{digest}."


def host_part(hostname: str) -> str:
    """Write a host name as it may stand in a file's name.

    The two octets that mean something there are written as maildir(5) says; a comma would end the
    base name for Dovecot.
    """
    return hostname.replace("/", r"\057").replace(":", r"\072").replace(",", r"\054")


class Maildir:
    """An open Maildir.

    Attributes:
        tmp: descriptor of ``tmp/``.
        new: descriptor of ``new/``.
    """

    __slots__ = ("_identity", "_path", "new", "tmp")

    def __init__(self, path: str) -> None:
        """Open a Maildir; make what is missing, mode 0700, and sync the parents of what was made.

        Args:
            path: absolute.

        Raises:
            OSError: it cannot be opened or made, or ``tmp``, ``new`` or ``cur`` is no directory
                but a link.
        """
        self._path = path
        root = _open_or_make(path)
        try:
            _make_subdirectories(root)
            self.tmp = os.open("tmp", _SUBDIRECTORY, dir_fd=root)
            try:
                self.new = os.open("new", _SUBDIRECTORY, dir_fd=root)
            except OSError:
                os.close(self.tmp)
                raise
        finally:
            os.close(root)
        self._identity = os.fstat(self.new)[1:3]  # st_ino, st_dev
        _sweep(self.tmp)

    def is_current(self) -> bool:
        """Say whether the path still leads here: an administrator may have moved the mail away."""
        try:
            return os.stat(self._path + "/new", follow_symlinks=False)[1:3] == self._identity
        except OSError:
            return False

    def sync_if_present(self, key: str) -> bool:
        """Say whether a message is there already, read or not; if so, make sure that it stays.

        ``new/`` is listed before ``cur/``, for files only go that way. The directory is synced,
        because whoever put the file there may have crashed before doing so; the file's content was
        synced before it got its name.

        Raises:
            OSError: the answer is not known.
        """
        if _holds(self.new, key):
            os.fsync(self.new)
            return True
        cur = os.open("../cur", _SUBDIRECTORY, dir_fd=self.new)
        try:
            if not _holds(cur, key):
                return False
            os.fsync(cur)
            return True
        finally:
            os.close(cur)

    def close(self) -> None:
        """Close the descriptors; once."""
        os.close(self.tmp)
        os.close(self.new)


class OpenMaildirs:
    """A bounded number of Maildirs kept open, the least recently used closed first.

    Not for more than one thread.
    """

    def __init__(self, capacity: int) -> None:
        """Begin with none open."""
        self._capacity = capacity
        self._open: OrderedDict[str, Maildir] = OrderedDict()
        self._checked: set[str] = set()

    def get(self, path: str) -> Maildir:
        """Give a Maildir, open until the next `trim`.

        Raises:
            OSError: as for `Maildir`.
        """
        maildir = self._open.get(path)
        if maildir is not None:
            if path in self._checked or maildir.is_current():
                self._checked.add(path)
                self._open.move_to_end(path)
                return maildir
            del self._open[path]
            maildir.close()
        maildir = self._open[path] = Maildir(path)
        self._checked.add(path)
        return maildir

    def trim(self) -> None:
        """Close what is over the capacity, and check again that the rest is where it was."""
        self._checked.clear()
        while len(self._open) > self._capacity:
            self._open.popitem(last=False)[1].close()

    def close(self) -> None:
        """Close them all."""
        while self._open:
            self._open.popitem()[1].close()


def _holds(directory: int, key: str) -> bool:
    return any(name.startswith(key) for name in os.listdir(directory))


def _open_or_make(path: str) -> int:
    """Open a directory; make it, and those above it, durably, if need be."""
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        above, name = os.path.split(path.rstrip("/"))
        if not name:
            raise
    parent = _open_or_make(above or ".")
    try:
        _make_directory(name, parent)
        os.fsync(parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)
    finally:
        os.close(parent)


def _make_subdirectories(root: int) -> None:
    missing = [name for name in ("tmp", "cur", "new") if _is_missing(name, root)]
    for name in missing:
        _make_directory(name, root)
    if missing:
        os.fsync(root)


def _is_missing(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        # Another process was faster; whether it is a directory shows when it is opened.
        return


def _sweep(tmp: int) -> None:
    """Remove what crashes have left in ``tmp/``; failing to is no reason not to deliver."""
    oldest = time.time() - STALE_SECONDS
    try:
        with os.scandir(tmp) as entries:
            stale = [
                entry.name
                for entry in islice(entries, _SWEPT_ENTRIES)
                if entry.stat(follow_symlinks=False).st_mtime < oldest
            ]
        for name in stale:
            os.unlink(name, dir_fd=tmp)
    except OSError:
        return
