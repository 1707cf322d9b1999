"""Directories of Maildirs: opening, creating and sweeping them, with the right owner.

``tmp``, ``new``, ``cur`` and folders are opened below the Maildir without following symbolic links,
and every file by the descriptor of its directory. So nobody who may write into a Maildir can make
us leave it. The path of the Maildir itself is the administrator's and may contain links.

What root creates in a directory of another user gets that user as owner at once: the command is
often run as root, while the daemon and Dovecot run as other users.

Known limit: a directory that exists is taken to be durable, even if another process
has just created it and not synced its parent yet.
"""

import errno
import os
import stat
import time
from itertools import islice
from typing import Final

STALE_SECONDS: Final = 36 * 3600
"""Files in ``tmp/`` older than this are left over from crashes: the age given by maildir(5)."""

PARTS: Final = ("tmp", "cur", "new")
CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_SWEPT_ENTRIES: Final = 1000
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SUBDIRECTORY: Final = _DIRECTORY | os.O_NOFOLLOW
# A FIFO that somebody has put among the messages must not make us wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_root(path: str) -> int:
    """Open a Maildir that exists; the path may contain links.

    Raises:
        OSError: it does not exist, or is not a directory.
    """
    return os.open(path, _DIRECTORY)


def open_below(name: str, parent: int) -> int:
    """Open a directory in another, never over a symbolic link.

    Raises:
        OSError: it does not exist, or is a link or not a directory.
    """
    return os.open(name, _SUBDIRECTORY, dir_fd=parent)


def open_file(name: str, parent: int) -> int:
    """Open a file to read, never over a symbolic link.

    Raises:
        OSError: it does not exist, or is not a regular file.
    """
    descriptor = os.open(name, _READ, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def create_file(name: str, parent: int) -> int:
    """Create a file to write, mode 0600, owned by the owner of its directory.

    Raises:
        OSError: it exists already, or cannot be created.
    """
    descriptor = os.open(name, CREATE, 0o600, dir_fd=parent)
    if os.geteuid() == 0:
        _give_away(descriptor, parent)
    return descriptor


def open_or_make(path: str) -> int:
    """Open a directory; durably create it, and those above it, if need be."""
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
    """Durably create those of ``tmp``, ``cur`` and ``new`` that a Maildir lacks."""
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
    """Create a directory, mode 0700, unless another process was faster.

    If something else has that name, opening it will fail.
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
    """Remove files that crashes have left in ``tmp/``; failures are ignored."""
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
