"""The usage and the quota of a Maildir: the file ``maildirsize``.

    maildirsize = definition *change
    definition  = [ octets "S" ] [ "," ] [ messages "C" ] LF       a limit that is not there is none
    change      = octets SP messages LF                            either may be negative

This is the quota of Maildir++, which Dovecot's quota backend ``maildir`` uses too. The sum of the
changes is the usage of all folders together; a program that adds or removes messages appends a
change. All messages count, including those in Trash and those marked as deleted, as in Dovecot. The
size of a message is that in its name (``,S=``), else that of its file.

The file is written again, after counting, if it is missing or not of this form; if its definition
is not the account's, since another program or the administrator has changed one of the two; and if
it has `FILE_OCTETS` or more. If the Maildir is over its quota by the file, it is also counted again
when the file has changes since the last count or is older than `STALE_SECONDS`, so that no mail is
refused because of a wrong figure. Counting lists directories; it does not open messages.

A lost change does no lasting harm, so the file is never synced. A Maildir that changes while it is
counted is counted again, a few times. Threads of one process use locks (`held`), so that none
counts a Maildir while another stores messages and notes them. Changes that another process makes
between the last look and the renaming of the new file are missing until the next count.

Who controls the input: whoever may write into the Maildir; a file of any content makes a count.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from postroom.envelope import AccountLimits
from postroom.maildirs.directories import create_file, make_parts, open_below, open_file, open_root
from postroom.maildirs.folders import folder_of
from postroom.maildirs.names import size_in

FILE: Final = "maildirsize"
FILE_OCTETS: Final = 5120
STALE_SECONDS: Final = 15 * 60

_COUNTS: Final = 3
_LOCKS: Final = tuple(threading.RLock() for _ in range(64))
_LIMIT: Final = re.compile(rb"([0-9]{1,18})([SC])")
_CHANGE: Final = re.compile(rb" *(-?[0-9]{1,18}) +(-?[0-9]{1,18}) *")


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a Maildir, all folders together."""

    octets: int = 0
    messages: int = 0

    def plus(self, octets: int, messages: int) -> "Usage":
        """Return the usage after a change."""
        return Usage(self.octets + octets, self.messages + messages)


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota of a Maildir; None is no limit."""

    octets: int | None = None
    messages: int | None = None

    @classmethod
    def of(cls, limits: AccountLimits) -> "Quota":
        """Return the quota among an account's limits."""
        return cls(limits.quota_octets, limits.quota_messages)

    def holds(self, usage: Usage) -> bool:
        """Return whether a usage is within the quota."""
        return (self.octets is None or usage.octets <= self.octets) and (
            self.messages is None or usage.messages <= self.messages
        )

    def definition(self) -> bytes:
        """Return the first line, without its end."""
        limits = ((self.octets, "S"), (self.messages, "C"))
        text = ",".join(f"{limit}{letter}" for limit, letter in limits if limit is not None)
        return text.encode("ascii")


NO_QUOTA: Final = Quota()


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The content of a ``maildirsize``.

    Attributes:
        quota: by its definition.
        usage: the sum of its changes.
        changes: how many there are; 1 right after a count.
        changed_at: POSIX time of the last one.
    """

    quota: Quota
    usage: Usage
    changes: int
    changed_at: float

    def is_certain(self, quota: Quota, more: Usage, now: float) -> bool:
        """Return whether the record alone answers if there is room for more.

        Args:
            quota: the account's.
            more: what is to be added.
            now: POSIX time.
        """
        if self.quota != quota:
            return False
        if quota.holds(self.usage.plus(more.octets, more.messages)):
            return True
        return self.changes == 1 and now - self.changed_at <= STALE_SECONDS


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Yield the descriptor of a Maildir's directory.

    Raises:
        OSError: it does not exist, or is not a directory.
    """
    root = open_root(path)
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def held(directories: Iterable[os.stat_result]) -> Iterator[None]:
    """Lock some Maildirs, so that no other thread counts them before their changes are noted.

    A thread may hold a Maildir twice. Several locks are always taken in the same order.

    Args:
        directories: of the Maildirs.
    """
    places = {hash((each.st_dev, each.st_ino)) % len(_LOCKS) for each in directories}
    with ExitStack() as stack:
        for place in sorted(places):
            stack.enter_context(_LOCKS[place])
        yield


def read(root: int) -> UsageRecord | None:
    """Return a Maildir's record; None if it is missing or invalid.

    Args:
        root: descriptor of the Maildir.
    """
    try:
        descriptor = open_file(FILE, root)
    except OSError:
        return None
    try:
        octets = os.read(descriptor, FILE_OCTETS)
        changed_at = os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
    if len(octets) == FILE_OCTETS or not octets.endswith(b"\n"):
        return None
    return _parse(octets, changed_at)


def _parse(octets: bytes, changed_at: float) -> UsageRecord | None:
    definition, *lines = octets[:-1].split(b"\n")
    quota = _parse_definition(definition)
    changes = [_CHANGE.fullmatch(line) for line in lines]
    if quota is None or not changes or None in changes:
        return None
    pairs = [(int(found[1]), int(found[2])) for found in changes if found is not None]
    usage = Usage(sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs))
    if usage.octets < 0 or usage.messages < 0:
        return None
    return UsageRecord(quota, usage, len(pairs), changed_at)


def _parse_definition(line: bytes) -> Quota | None:
    limits: dict[bytes, int] = {}
    for part in line.split(b",") if line else ():
        found = _LIMIT.fullmatch(part)
        if found is None:
            return None
        limits[found[2]] = int(found[1])
    # Nought is no limit for Dovecot.
    return Quota(limits.get(b"S") or None, limits.get(b"C") or None)


def append(root: int, octets: int, messages: int) -> None:
    """Note a change in a Maildir that has a record; errors of the disk are ignored."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        descriptor = os.open(FILE, flags, dir_fd=root)
        try:
            os.write(descriptor, b"%d %d\n" % (octets, messages))
        finally:
            os.close(descriptor)


def current(root: int, quota: Quota, more: Usage, now: float) -> Usage:
    """Return the usage of a Maildir, counted if the record is not certain enough.

    Args:
        root: descriptor of the Maildir.
        quota: the account's.
        more: what is to be added.
        now: POSIX time.

    Raises:
        OSError: it cannot be counted.
    """
    record = read(root)
    if record is not None and record.is_certain(quota, more, now):
        return record.usage
    with held((os.fstat(root),)):
        record = read(root)
        if record is not None and record.is_certain(quota, more, now):
            return record.usage  # another thread was faster
        return recount(root, quota)


def recount(root: int, quota: Quota) -> Usage:
    """Count a Maildir and write its record again; without a quota it gets none.

    Raises:
        OSError: it cannot be counted. Errors of writing are ignored.
    """
    with held((os.fstat(root),)):
        return _recount(root, quota)


def _recount(root: int, quota: Quota) -> Usage:
    before = _changes(root)
    for _ in range(_COUNTS):
        usage = count(root)
        after = _changes(root)
        if after == before:
            break
        before = after
    with suppress(OSError):
        if quota == NO_QUOTA:
            os.unlink(FILE, dir_fd=root)
        else:
            _write(root, b"%b\n%d %d\n" % (quota.definition(), usage.octets, usage.messages))
    return usage


def count(root: int) -> Usage:
    """Count what is in a Maildir, all folders together; by names, and by sizes if need be.

    Raises:
        OSError: the Maildir cannot be read.
    """
    octets = messages = 0
    for part in _message_directories(root):
        try:
            for size in _sizes(part):
                octets += size
                messages += 1
        finally:
            os.close(part)
    return Usage(octets, messages)


def _sizes(part: int) -> Iterator[int]:
    with os.scandir(part) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            size = size_in(entry.name)
            if size is None:
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
            yield size


def _message_directories(root: int) -> Iterator[int]:
    """Yield descriptors of the ``new`` and ``cur`` of the inbox and of each folder."""
    folders = (name for name in sorted(os.listdir(root)) if folder_of(name) is not None)
    for folder in (".", *folders):
        for part in ("new", "cur"):
            try:
                above = open_below(folder, root)
            except OSError:
                continue
            try:
                descriptor = open_below(part, above)
            except OSError:
                continue
            finally:
                os.close(above)
            yield descriptor


def _changes(root: int) -> list[tuple[int, int]]:
    """Return values that differ after a message came or went."""
    found = []
    for part in _message_directories(root):
        status = os.fstat(part)
        os.close(part)
        found.append((status.st_ino, status.st_mtime_ns))
    return found


def _write(root: int, octets: bytes) -> None:
    """Replace the record."""
    make_parts(root)
    tmp = open_below("tmp", root)
    try:
        name = f"{int(time.time())}.{FILE}.{secrets.token_hex(8)}"
        descriptor = create_file(name, tmp)
        try:
            os.write(descriptor, octets)
        finally:
            os.close(descriptor)
        os.rename(name, FILE, src_dir_fd=tmp, dst_dir_fd=root)
    finally:
        os.close(tmp)
