"""Content on its way from the peer to storage: kept once, however many recipients it has.

Theory: up to `DeliverySettings.memory_octets` the content is the list of the chunks as they came.
Beyond, it goes to a file without a name (``O_TMPFILE``) in the spool directory, so that no crash
can leave one behind. A thread of a bounded pool writes whatever has gathered since its last write
with one ``writev``: pieces grow by themselves under load, and a message of 10 MB costs a few tens
of thread hops. The peer is paused while more than `UNSAVED_OCTETS` of a message are only in memory.

Invariants: at most one write runs for a message; the descriptor is closed exactly once, never
under a running write; octets are never joined or copied here.

Who controls the input: the sender, length and octets; the disk, the failures. A failed write is
final for the message: every later call fails with it.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.delivery.settings import DeliverySettings
from postroom.interfaces import IContent, IFileContent
from postroom.threads import call_in_reactor

CHUNK_OCTETS: Final = 262_144
"""The largest piece that an `IContent` yields."""

UNSAVED_OCTETS: Final = 1_048_576
"""How much of one message may wait to be written."""

WRITE_OCTETS: Final = 262_144
"""A write begins when so much has gathered."""

_IOV_MAX: Final = 1024  # limits.h; os.sysconf returns the same on Linux


class IoPool(Protocol):
    """The part of a thread pool that is used; `twisted.python.threadpool.ThreadPool` has it."""

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], object], func: Callable[[], object], /
    ) -> object:
        """Call ``func`` in a thread, then ``on_result(success, result)`` in the same thread."""


@implementer(IContent)
class MemoryContent:
    """Content that is all in memory."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """Create it from pieces, which are kept as they are."""
        self._pieces = pieces
        self.size_octets = sum(map(len, pieces))

    def in_memory(self) -> Sequence[bytes]:
        """See `IContent`."""
        return self._pieces

    def chunks(self) -> Iterator[bytes]:
        """See `IContent`."""
        for piece in self._pieces:
            for start in range(0, len(piece), CHUNK_OCTETS):
                yield piece[start : start + CHUNK_OCTETS]


@implementer(IContent, IFileContent)
class FileContent:
    """Content in an open file, which belongs to the `Spool` that wrote it.

    Attributes:
        fileno: the descriptor; its file position means nothing.
    """

    def __init__(self, fileno: int, size_octets: int) -> None:
        """Create it for a descriptor, which stays the caller's."""
        self.fileno = fileno
        self.size_octets = size_octets

    def in_memory(self) -> None:
        """See `IContent`."""
        return

    def in_file(self) -> tuple[Sequence[bytes], int]:
        """See `IFileContent`."""
        return (), self.fileno

    def chunks(self) -> Iterator[bytes]:
        """See `IContent`.

        Raises:
            OSError: the disk failed, or the file is shorter than it was.
        """
        offset = 0
        while offset < self.size_octets:
            chunk = os.pread(self.fileno, min(CHUNK_OCTETS, self.size_octets - offset), offset)
            if not chunk:
                why = f"spool file ends at octet {offset} of {self.size_octets}"
                raise OSError(errno.EIO, why)
            offset += len(chunk)
            yield chunk


@implementer(IContent, IFileContent)
class PrefixedContent:
    """A few octets, such as trace fields, before other content."""

    def __init__(self, prefix: bytes, content: IContent) -> None:
        """Create content that is ``prefix``, at most 256 KiB, and then ``content``."""
        self._prefix = prefix
        self._content = content
        self.size_octets = len(prefix) + content.size_octets

    def in_memory(self) -> Sequence[bytes] | None:
        """See `IContent`."""
        pieces = self._content.in_memory()
        return None if pieces is None else (self._prefix, *pieces)

    def in_file(self) -> tuple[Sequence[bytes], int] | None:
        """See `IFileContent`."""
        if not IFileContent.providedBy(self._content):
            return None
        run = IFileContent(self._content).in_file()
        return None if run is None else ((self._prefix, *run[0]), run[1])

    def chunks(self) -> Iterator[bytes]:
        """See `IContent`."""
        yield self._prefix
        yield from self._content.chunks()


class SpoolArea:
    """Where spools are made: the spool directory, and the threads that write to it."""

    def __init__(
        self, reactor: IReactorFromThreads, pool: IoPool, settings: DeliverySettings
    ) -> None:
        """Create it; the pool is started and stopped by its owner, and bounds parallel writes."""
        self._reactor = reactor
        self._pool = pool
        self._directory = settings.spool_directory
        self.memory_octets = settings.memory_octets

    def new_spool(self) -> "Spool":
        """Return a spool for one message's content; it costs nothing until that is large."""
        return Spool(self)

    def open_unnamed(self) -> int:
        """Open a file without a name, for reading and writing. Call it from a thread.

        Raises:
            OSError: no space, no directory, no descriptor.
        """
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(self._directory, flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        descriptor, path = tempfile.mkstemp(dir=self._directory, prefix="spool-")
        os.unlink(path)
        return descriptor

    def in_thread(self, func: Callable[[], object], done: Callable[[bool, Any], None]) -> None:
        """Call ``func`` in a thread, then ``done(success, result)`` in the reactor's."""

        def on_result(success: bool, result: object) -> None:
            call_in_reactor(self._reactor, done, success, result)

        self._pool.callInThreadWithCallback(on_result, func)


# File systems that lack O_TMPFILE answer with one of several errors: open(2).
_NO_TMPFILE: Final = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT))


class Spool:
    """Stores one message's content, in memory or in a file.

    `write` it, then `finish`; `close` at any time, once the content is not needed any more.

    Attributes:
        size_octets: how much was written so far.
    """

    def __init__(self, area: SpoolArea) -> None:
        """Create an empty spool; see `SpoolArea.new_spool`."""
        self._area = area
        self._pieces: list[bytes] = []
        self._waiting_octets = 0
        self._writing_octets = 0
        self._file: int | None = None
        self._written = 0
        self._failure: Failure | None = None
        self._closed = False
        self._paused: Deferred[None] | None = None
        self._flushed: Deferred[IContent] | None = None
        self.size_octets = 0

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """Add a piece; see `IDeliveryTransaction.write`.

        Returns:
            None to go on; else a Deferred that fires when there is room again.

        Raises:
            OSError: an earlier write failed: 451, or 452 when the disk is full.
        """
        if self._failure is not None:
            self._failure.raiseException()
        self._pieces.append(chunk)
        self.size_octets += len(chunk)
        self._waiting_octets += len(chunk)
        if self.size_octets <= self._area.memory_octets:
            return None
        if not self._writing_octets and self._waiting_octets >= WRITE_OCTETS:
            self._start_write()
        if self._waiting_octets + self._writing_octets <= UNSAVED_OCTETS:
            return None
        self._paused = Deferred()
        return self._paused

    def finish(self) -> "Deferred[IContent] | IContent":
        """Finish the content: no more comes.

        Returns:
            The content, usable until `close`; fails with OSError if it could not be written.
        """
        if self.size_octets <= self._area.memory_octets:
            return MemoryContent(self._pieces)
        if self._failure is not None:
            self._failure.raiseException()
        if not self._writing_octets and not self._pieces and self._file is not None:
            return FileContent(self._file, self._written)
        flushed: Deferred[IContent] = Deferred()
        self._flushed = flushed
        if not self._writing_octets:
            self._start_write()
        return flushed

    def close(self) -> None:
        """Release everything; a write that is running finishes first.

        Deferreds that have not fired by then never do. May be called again.
        """
        self._closed = True
        self._pieces = []
        self._paused = self._flushed = None
        if not self._writing_octets:
            self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _start_write(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._writing_octets, self._waiting_octets = self._waiting_octets, 0
        descriptor, offset = self._file, self._written

        def work() -> int:
            target = self._area.open_unnamed() if descriptor is None else descriptor
            try:
                write_all(target, pieces, offset)
            except BaseException:
                if descriptor is None:
                    os.close(target)
                raise
            return target

        self._area.in_thread(work, self._write_done)

    def _write_done(self, success: bool, result: Any) -> None:
        octets, self._writing_octets = self._writing_octets, 0
        if success:
            self._file = result
            self._written += octets
        else:
            self._failure = result
        if self._closed:
            self._release()
            return
        if success and self._pieces and (self._flushed or self._waiting_octets >= WRITE_OCTETS):
            self._start_write()
        if self._flushed is not None and not self._writing_octets:
            flushed, self._flushed = self._flushed, None
            _fire(flushed, result if not success else FileContent(result, self._written))
        if self._paused is not None:
            paused, self._paused = self._paused, None
            _fire(paused, None if success else result)


def _fire(waiting: "Deferred[Any]", result: object) -> None:
    """Fire with a value, or fail with a `Failure`: `Deferred.callback` does not accept one."""
    if isinstance(result, Failure):
        waiting.errback(result)
    else:
        waiting.callback(result)


def write_all(descriptor: int, pieces: Sequence[bytes], offset: int | None = None) -> int:
    """Write pieces, whatever their number, however short single writes fall.

    Args:
        descriptor: a file.
        pieces: not empty pieces.
        offset: where to; None for the file position.

    Returns:
        The number of octets.

    Raises:
        OSError: the disk is full, or failed.
    """
    total = 0
    for start in range(0, len(pieces), _IOV_MAX):
        group: Sequence[bytes | memoryview] = pieces[start : start + _IOV_MAX]
        while group:
            if offset is None:
                count = os.writev(descriptor, group)
            else:
                count = os.pwritev(descriptor, group, offset + total)
            total += count
            group = _rest(group, count)
    return total


def _rest(group: Sequence[bytes | memoryview], count: int) -> Sequence[bytes | memoryview]:
    """What a write that took ``count`` octets has left over; usually nothing."""
    for index, piece in enumerate(group):
        if count < len(piece):
            return [memoryview(piece)[count:], *group[index + 1 :]]
        count -= len(piece)
    return ()
