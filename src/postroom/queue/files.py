"""Large content beside an embedded database: one synced file a message, written once.

A row of SQLite is written twice, to the log and from there to the database, and read back through
the driver. So content of `FILE_OCTETS` and more that lies in a file already, the spool's, is not
copied into rows: that file is linked under a name, the queue id, in a directory of ours. The few
octets that come before it (trace fields) are the message's only row of content. The content of a
message is its rows, then the octets of the file of its name, if there is one.

The states of a file, the commit being that of the message's rows (`postroom.queue.store`):

    state     name   message row   what a crash leaves, and what mends it
    -----     ----   -----------   --------------------------------------
    unnamed   no     none          nothing: the kernel frees it
    orphan    yes    none          a file that no message needs; the store's next start removes it
    kept      yes    one           what was promised: file and directory were synced before COMMIT
    done      yes    deleted       as orphan; else `remove` deletes it right after the commit

Invariants: a file is linked before its row is committed and unlinked after the row is deleted,
never the other way round, so no row is ever without its file. A failed sync is final: the file is
unlinked and the message refused.

Used only where one process owns the database, which therefore lies in the state directory, with
the spool on the same file system. Everything here blocks: call it from a worker thread.

Known limit: a backup of the database alone lacks this content; the files are to be copied after it,
so that one that is missing belongs to a message that was sent meanwhile.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from zope.interface import implementer

from postroom.interfaces import IContent, IFileContent

FILE_OCTETS: Final = 1024 * 1024
"""Content from this size on is kept as a file."""

PIECE_OCTETS: Final = 256 * 1024

# Errors for a file that cannot be linked here, rather than for a failing disk: rows are used then.
_CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.ENOENT, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EMLINK}
)


@implementer(IContent)
class Head:
    """The octets of a message that come before its file."""

    def __init__(self, octets: bytes) -> None:
        """Create it from at most `PIECE_OCTETS`."""
        self._octets = octets
        self.size_octets = len(octets)

    def chunks(self) -> Iterator[bytes]:
        """See `IContent`."""
        yield self._octets

    def in_memory(self) -> Sequence[bytes]:
        """See `IContent`."""
        return (self._octets,)


class ContentFiles:
    """The directory of contents."""

    def __init__(self, directory: Path) -> None:
        """Create it for a directory, which need not exist before `open`."""
        self._directory = directory

    def open(self) -> None:
        """Make the directory if it is missing.

        Raises:
            OSError: it cannot be made.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(self._directory.parent)

    def may_keep(self, content: IContent) -> bool:
        """Return whether a content may be one for `keep`; never blocks."""
        return content.size_octets >= FILE_OCTETS and IFileContent.providedBy(content)

    def keep(self, message_id: str, content: IContent) -> "Head | None":
        """Link the file of a content under the id of its message; durable on return.

        Returns:
            The octets before the file, for a row; None if there are none (readers find the file
            after a row) or if this file cannot be linked here: then all of it goes into rows.

        Raises:
            OSError: the disk failed; the name is taken back.
        """
        run = IFileContent(content).in_file()
        head = b"".join(run[0]) if run is not None else b""
        if run is None or not head:
            return None
        descriptor = run[1]
        os.fsync(descriptor)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Only with a directory descriptor does Python call linkat, which follows the link.
            os.link(f"/proc/self/fd/{descriptor}", message_id, dst_dir_fd=directory)
            os.fsync(directory)
        except FileExistsError:  # another message's; ids do not come twice
            raise
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return None
            self.remove([message_id])
            raise
        finally:
            os.close(directory)
        return Head(head)

    def piece(self, message_id: str, index: int) -> "bytes | None":
        """Read one piece of a file, counted from 0.

        Returns:
            At most `PIECE_OCTETS`, none past the end; None if the message has no file.

        Raises:
            OSError: the disk failed.
        """
        try:
            descriptor = os.open(self._directory / message_id, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return os.pread(descriptor, PIECE_OCTETS, index * PIECE_OCTETS)
        finally:
            os.close(descriptor)

    def names(self) -> "frozenset[str]":
        """Return the ids of the messages that have a file."""
        try:
            return frozenset(os.listdir(self._directory))
        except FileNotFoundError:
            return frozenset()

    def remove(self, message_ids: Iterable[str]) -> None:
        """Remove files that are not needed any more; one that stays is left to the next start."""
        for message_id in message_ids:
            with suppress(OSError):
                os.unlink(self._directory / message_id)


def files_of(engine: Engine) -> "ContentFiles | None":
    """Return the content directory of an embedded database; None for a server."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return ContentFiles(Path(engine.url.database).absolute().with_name("content"))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
