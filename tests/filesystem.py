"""A file system beneath the real one that knows what a power cut would take away.

Every call is done for real. Beside that the disk remembers what was synced: the content of files
and the names in directories, each as it was at its last ``fsync``. Nothing else is sure to be there
after a power cut. Two questions can then be asked of any code that promises durability:

- `RecordingDisk.torn`: which names were given to files whose content was not synced? A power cut
  may leave such a name with a file that is empty or half written.
- `RecordingDisk.unsynced`: which names or contents could still be lost, or come back?

What C code such as SQLite writes is seen as well, for contents are compared and not calls; what it
syncs is not seen.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

Inode = tuple[int, int]
State = bytes | dict[str, Inode]
"""The content of a file, or the names in a directory."""

_SYNC: Final = ("fsync", "fdatasync")
_GIVE_NAME: Final = ("link", "rename", "replace")
_TAKE_NAME: Final = ("unlink", "rmdir")


class RecordingDisk:
    """Records what is done below a directory, from now to the end of a test.

    Attributes:
        events: what was synced or got or lost a name, in order, as verb and path: ``sync new``,
            ``link cur/1``, ``rename new/1`` (the new name), ``unlink tmp/1``.
        torn: the names that were given to files whose content was not synced, in order.
    """

    def __init__(self, case: SynchronousTestCase, root: "str | Path") -> None:
        """Take what lies below a directory as durable, and watch the calls of `os`."""
        self.events: list[str] = []
        self.torn: list[str] = []
        self._root = str(Path(root).absolute())
        self._durable: dict[Inode, State] = {}
        for path in self._paths():
            self._remember(path)
        for name in _SYNC:
            case.patch(os, name, self._syncing(getattr(os, name)))
        for name in _GIVE_NAME:
            case.patch(os, name, self._naming(name, getattr(os, name)))
        for name in _TAKE_NAME:
            case.patch(os, name, self._unnaming(name, getattr(os, name)))

    def unsynced(self) -> list[str]:
        """Return the paths that a power cut could take away, bring back or leave torn; sorted."""
        found = set()
        for path in self._paths():
            now, durable = _state(path), self._durable.get(_inode(path))
            if isinstance(now, bytes):
                # A file without content needs no sync of its own: its name is all there is to lose.
                if now and now != durable:
                    found.add(path)
            else:
                before = durable if isinstance(durable, dict) else {}
                found.update(f"{path}/{name}" for name, _ in now.items() ^ before.items())
        return sorted(map(self._relative, found))

    def _paths(self) -> list[str]:
        """List the directories and regular files, the root first."""
        found = [self._root]
        for folder, folders, files in os.walk(self._root):
            paths = [f"{folder}/{name}" for name in (*folders, *files)]
            found += [path for path in paths if _is_kept(path)]
        return found

    def _remember(self, path: str) -> None:
        if _is_kept(path, follow_symlinks=True):
            self._durable[_inode(path)] = _state(path)

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self._root)

    def _syncing(self, true: Callable[..., Any]) -> Callable[..., Any]:
        def sync(descriptor: int) -> None:
            path = f"/proc/self/fd/{descriptor}"
            self.events.append(f"sync {self._relative(os.readlink(path))}")
            true(descriptor)
            self._remember(path)

        return sync

    def _naming(self, verb: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def give(source: Any, target: Any, **where: Any) -> None:
            old = _absolute(source, where.get("src_dir_fd"))
            new = _absolute(target, where.get("dst_dir_fd"))
            self.events.append(f"{verb} {self._relative(new)}")
            if _is_kept(old, follow_symlinks=True):
                now = _state(old)
                if isinstance(now, bytes) and now and now != self._durable.get(_inode(old)):
                    self.torn.append(self._relative(new))
            replaced = _last_name(new) if verb != "link" else None
            true(source, target, **where)
            self._forget(replaced)

        return give

    def _unnaming(self, verb: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def take(path: Any, *, dir_fd: int | None = None) -> None:
            old = _absolute(path, dir_fd)
            self.events.append(f"{verb} {self._relative(old)}")
            gone = _last_name(old)
            true(path, dir_fd=dir_fd)
            self._forget(gone)

        return take

    def _forget(self, inode: Inode | None) -> None:
        """Forget a file that is gone: the next one may get its number."""
        if inode is not None:
            self._durable.pop(inode, None)


def fail_calls(
    case: SynchronousTestCase, function: str, error: int, first: int = 1, times: int = 1
) -> Callable[[], None]:
    """Make some calls of a function of `os` fail; the others are done for real.

    Args:
        case: the test at whose end all is as before.
        function: its name.
        error: the number, from `errno`.
        first: the first call that fails, counted from 1.
        times: how many fail.

    Returns:
        What ends it before the end of the test.
    """
    true, calls = getattr(os, function), [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if first <= calls[0] < first + times:
            raise OSError(error, os.strerror(error))
        return true(*args, **kwargs)

    restore: Callable[[], None] = case.patch(os, function, failing).restore
    return restore


def open_descriptors() -> set[str]:
    """Return the descriptors of this process, each as its number and what it leads to."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue
    return found


def forbid_leaks(case: SynchronousTestCase, root: "str | Path") -> None:
    """Fail a test that leaves something below a directory open; call it before other clean-ups."""

    def check() -> None:
        left = [each for each in open_descriptors() if each.partition(" ")[2].startswith(below)]
        case.assertEqual(left, [], "these were left open")

    below = str(Path(root).absolute())
    case.addCleanup(check)


def _is_kept(path: str, *, follow_symlinks: bool = False) -> bool:
    """Tell whether something is a directory or a regular file, and no link to one."""
    try:
        mode = os.stat(path, follow_symlinks=follow_symlinks).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def _state(path: str) -> State:
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            return {entry.name: _inode(entry.path, follow_symlinks=False) for entry in entries}
    with open(path, "rb") as file:
        return file.read()


def _inode(path: str, *, follow_symlinks: bool = True) -> Inode:
    status = os.stat(path, follow_symlinks=follow_symlinks)
    return status.st_dev, status.st_ino


def _last_name(path: str) -> Inode | None:
    """Return the file that is gone when a name is taken; None if it has other names, or is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        return None
    return status.st_dev, status.st_ino


def _absolute(path: Any, directory: int | None) -> str:
    if directory is None:
        return os.path.abspath(path)
    return os.path.join(os.readlink(f"/proc/self/fd/{directory}"), os.fspath(path))
