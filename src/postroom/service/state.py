"""The state directory, whom it belongs to, and the lock that keeps a second daemon out.

A start happens in two identities. ``twistd --uid`` sheds privileges only after `makeService`, for
ports below 1024 and root's key files need them; but what is written before must belong to the
unprivileged user, or the daemon could not open it a moment later. So everything in the state
directory is touched as its owner (`Owner.acting`), and only the directory itself is made as root
and given away.

The lock is a ``flock`` on a file that is never removed: the kernel lets it go when the last
process that holds it ends, however it ends, and a fork (daemonising) keeps it.

Known limit: ``flock`` does not reach over NFS mounts of different machines.
"""

import fcntl
import hashlib
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from postroom.errors import UserError


@dataclass(frozen=True, slots=True)
class Owner:
    """The user that the daemon becomes.

    Attributes:
        uid: None to stay who we are.
        gid: None for the user's own group.
    """

    uid: int | None = None
    gid: int | None = None

    @property
    def changes(self) -> bool:
        """True if there is another identity to act as, and we are allowed to."""
        return (self.uid is not None or self.gid is not None) and os.geteuid() == 0

    def _ids(self) -> tuple[int, int]:
        uid = os.geteuid() if self.uid is None else self.uid
        if self.gid is not None:
            return uid, self.gid
        try:
            return uid, pwd.getpwuid(uid).pw_gid
        except KeyError:
            raise UserError(f"--uid {uid}: there is no such user; give --gid as well") from None

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Act as this user for a while: files made meanwhile are theirs, refusals too."""
        if not self.changes:
            yield
            return
        uid, gid = self._ids()
        groups, own_gid = os.getgroups(), os.getegid()
        with suppress(KeyError):
            os.initgroups(pwd.getpwuid(uid).pw_name, gid)
        os.setegid(gid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(own_gid)
            os.setgroups(groups)

    def take(self, path: Path | int) -> None:
        """Make this user the owner of a path or of an open file."""
        if self.changes:
            os.chown(path, *self._ids())

    def __str__(self) -> str:
        """Return the user's name for messages."""
        uid = os.geteuid() if self.uid is None else self.uid
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"


class StateDirectory:
    """An open, locked state directory.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, lock: int) -> None:
        """Store the path and the descriptor that holds the lock."""
        self.path = path
        self._lock = lock

    def sign(self) -> None:
        """Write this process's id into the lock, for whoever finds it taken."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def node_name(self) -> str:
        """Return the unique name of this daemon, which is created once and stored.

        The machine's name is in it: a directory that was copied to another machine is another node.

        Raises:
            UserError: it cannot be read or written.
        """
        path = self.path / "node"
        try:
            try:
                seed = path.read_bytes()
            except FileNotFoundError:
                seed = os.urandom(16).hex().encode("ascii")
                _write_once(path, seed)
        except OSError as error:
            raise UserError(f"{path}: cannot be used: {error.strerror}") from error
        machine = socket.gethostname().encode("utf-8", "surrogateescape")
        return hashlib.sha256(seed + b"@" + machine).hexdigest()[:32]

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def _write_once(path: Path, octets: bytes) -> None:
    """Write a small file whole: a crash leaves it or none."""
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def open_state_directory(path: Path, owner: Owner) -> StateDirectory:
    """Make the directory if it is missing (mode 0700), and lock it.

    Raises:
        UserError: it cannot be made or written, or another process uses it.
    """
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            owner.take(path)
        with owner.acting():
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"the state directory {path} cannot be used by {owner}: {error.strerror}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        who = f" (process {holder})" if holder.isdigit() else ""
        raise UserError(f"the state directory {path} is in use by another process{who}") from None
    return StateDirectory(path, lock)
