"""Maildirs that are delivered to: keys of messages, and the directories, opened once, found again.

The directories' names come from the account's own record, the files' names from us; nothing of a
name is under a peer's control but the digest of the address that it wrote to, and which folder of
those that are there already (`postroom.maildirs.folders.sub_address_folder`). Directories are
opened as `postroom.maildirs.directories` does it.
"""

import errno
import hashlib
import os
from collections import OrderedDict

from postroom.maildirs.directories import make_parts, open_below, open_or_make, open_root, sweep

# Not there, or a link, or no directory: then there is no such folder.
_NO_FOLDER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def message_key(seconds: int, queue_id: str, address: str) -> str:
    """Return the part of a file's name that identifies a message and its account.

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


class Maildir:
    """An open Maildir, or a folder of one.

    Attributes:
        folder: the folder's directory; empty for the Maildir itself.
        tmp: descriptor of ``tmp/``.
        new: descriptor of ``new/``.
    """

    __slots__ = ("_identity", "_path", "folder", "new", "tmp")

    def __init__(self, path: str, folder: str = "") -> None:
        """Open a Maildir; make what is missing, mode 0700, and sync the parents of what was made.

        A folder is not made, only what is missing in it.

        Args:
            path: absolute.
            folder: the folder's directory, relative to the Maildir.

        Raises:
            OSError: it cannot be opened or made, or ``tmp``, ``new``, ``cur`` or the folder is no
                directory but a link.
        """
        self._path = f"{path}/{folder}" if folder else path
        self.folder = folder
        root = _open_folder(path, folder) if folder else open_or_make(path)
        try:
            make_parts(root)
            self.tmp = open_below("tmp", root)
            try:
                self.new = open_below("new", root)
            except OSError:
                os.close(self.tmp)
                raise
        finally:
            os.close(root)
        self._identity = os.fstat(self.new)[1:3]  # st_ino, st_dev
        sweep(self.tmp)

    def is_current(self) -> bool:
        """Return whether the path still leads here: somebody may have moved the mail away."""
        try:
            return os.stat(self._path + "/new", follow_symlinks=False)[1:3] == self._identity
        except OSError:
            return False

    def sync_if_present(self, key: str) -> bool:
        """Return whether a message is there already, read or not; if so, make sure that it stays.

        ``new/`` is listed before ``cur/``, for files only go that way. The directory is synced,
        because whoever put the file there may have crashed before doing so; the file's content was
        synced before it got its name.

        Raises:
            OSError: the answer is not known.
        """
        if _find(self.new, key) is not None:
            os.fsync(self.new)
            return True
        cur = open_below("../cur", self.new)
        try:
            if _find(cur, key) is None:
                return False
            os.fsync(cur)
            return True
        finally:
            os.close(cur)

    def unlink_new(self, key: str) -> str:
        """Remove a message that no reader has moved yet; return its file's name.

        Raises:
            OSError: it is not there.
        """
        name = _find(self.new, key)
        if name is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        os.unlink(name, dir_fd=self.new)
        return name

    def close(self) -> None:
        """Close the descriptors; once."""
        os.close(self.tmp)
        os.close(self.new)


class OpenMaildirs:
    """A bounded number of Maildirs kept open, the least recently used closed first.

    Not for more than one thread.
    """

    def __init__(self, capacity: int) -> None:
        """Create it with no Maildir open."""
        self._capacity = capacity
        self._open: OrderedDict[tuple[str, str], Maildir] = OrderedDict()
        self._checked: set[tuple[str, str]] = set()

    def get(self, path: str, folder: str = "") -> Maildir:
        """Return a Maildir, or an existing folder of it, open until the next `trim`.

        Raises:
            OSError: as for `Maildir`.
        """
        key = path, folder
        maildir = self._open.get(key)
        if maildir is not None:
            if key in self._checked or maildir.is_current():
                self._checked.add(key)
                self._open.move_to_end(key)
                return maildir
            del self._open[key]
            maildir.close()
        maildir = self._open[key] = Maildir(path, folder)
        self._checked.add(key)
        return maildir

    def get_for(self, path: str, folder: str) -> Maildir:
        """Return a folder if there is one, else the Maildir itself.

        Raises:
            OSError: as for `Maildir`.
        """
        if folder:
            try:
                return self.get(path, folder)
            except OSError as error:
                if error.errno not in _NO_FOLDER:
                    raise
        return self.get(path)

    def trim(self) -> None:
        """Close what is over the capacity, and check again that the rest is where it was."""
        self._checked.clear()
        while len(self._open) > self._capacity:
            self._open.popitem(last=False)[1].close()

    def close(self) -> None:
        """Close them all."""
        while self._open:
            self._open.popitem()[1].close()


def _find(directory: int, key: str) -> str | None:
    """Return the name of a message's file, with any sizes and flags; None if it is not there."""
    return next((name for name in os.listdir(directory) if name.startswith(key)), None)


def _open_folder(path: str, folder: str) -> int:
    root = open_root(path)
    try:
        return open_below(folder, root)
    finally:
        os.close(root)
