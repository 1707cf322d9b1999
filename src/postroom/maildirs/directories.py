"""Directories of Maildirs: opened, made, swept and given to their owner.

``tmp``, ``new``, ``cur`` and folders are opened below the Maildir without following symbolic links,
and every file by the descriptor of its directory, so that whoever may write into a Maildir cannot
lead us out of it. The path to the Maildir itself is the administrator's and may go over links.

What root makes inside somebody's directory is given to the owner of that directory at once: the
admin command is often root's, and a daemon or Dovecot that is somebody else has to work on.

Known limit: a directory that exists is taken to be durable, also when another process has made it
a moment ago and not synced its parent yet.
"""

import errno
import os
import stat
import time
from itertools import islice
from typing import Final

STALE_SECONDS: Final = 36 * 3600
"""Files in ``tmp/`` that are older belong to nobody: the age that maildir(5) names."""

PARTS: Final = ("tmp", "cur", "new")
CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_SWEPT_ENTRIES: Final = 1000
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SUBDIRECTORY: Final = _DIRECTORY | os.O_NOFOLLOW
# A FIFO that somebody has put among the messages must not make us wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_root(path: str) -> int:
    """Open a Maildir that exists; the path may go over links.

    Raises:
        OSError: it is not there, or no directory.
    """
    return os.open(path, _DIRECTORY)


def open_below(name: str, parent: int) -> int:
    """Open a directory in another, never over a symbolic link.

    Raises:
        OSError: it is not there, or it is a link or no directory.
    """
    return os.open(name, _SUBDIRECTORY, dir_fd=parent)


def open_file(name: str, parent: int) -> int:
    """Open a file to read, never over a symbolic link.

    Raises:
        OSError: it is not there, or it is no regular file.
    """
    descriptor = os.open(name, _READ, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def create_file(name: str, parent: int) -> int:
    """Make a file to write, mode 0600; the owner of the directory is its owner.

    Raises:
        OSError: it is there already, or cannot be made.
    """
    descriptor = os.open(name, CREATE, 0o600, dir_fd=parent)
    if os.geteuid() == 0:
        _give_away(descriptor, parent)
    return descriptor


def open_or_make(path: str) -> int:
    """Open a directory; make it, and those above it, durably, if need be."""
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        above, name = os.path.split(path.rstrip("/"))
        if not name:
            raise
    parent = open_or_make(above or ".")
    try:
        make_directory(name, parent)
        os.fsync(parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)
    finally:
        os.close(parent)


def make_parts(root: int) -> None:
    """Make what a Maildir is missing of ``tmp``, ``cur`` and ``new``, durably."""
    missing = [name for name in PARTS if is_missing(name, root)]
    for name in missing:
        make_directory(name, root)
    if missing:
        os.fsync(root)


def is_missing(name: str, parent: int) -> bool:
    """Return whether a directory has no entry of that name, of any kind."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def make_directory(name: str, parent: int) -> None:
    """Make a directory, mode 0700, unless another process was faster.

    Whether what is there is a directory shows when it is opened.
    """
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        descriptor = open_below(name, parent)
        try:
            _give_away(descriptor, parent)
        finally:
            os.close(descriptor)


def sweep(tmp: int) -> None:
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


def _give_away(descriptor: int, parent: int) -> None:
    owner = os.fstat(parent)
    if (owner.st_uid, owner.st_gid) != (0, 0):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
