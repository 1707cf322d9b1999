"""Files that may be compressed, read as a stream: gzip, bzip2, xz, and zip with files in it.

The format of a file is recognised by its first octets, whatever its name. A file is unpacked while
it is read, in pieces of bounded size, so that one that unpacks to a thousand times its length takes
no more memory than any other. An xz stream may need no more than `XZ_MEMORY` for unpacking.

A file that is damaged or truncated is read as far as possible, since the part before the damage is
worth having. `Content.damage` then describes the damage.

Known limits: files in a zip have to be stored or deflated, as nearly all are; the standard library
unpacks the other methods without a bound. A zip that is read from a pipe is copied to a temporary
file, because its table of contents is at its end.

Who controls the input: whoever made the file.
"""

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol, cast

from postroom.errors import UserError

READ_OCTETS: Final = 64 * 1024
XZ_MEMORY: Final = 128 * 1024 * 1024
"""Twice of what ``xz -9`` asks for."""

_MAGIC_OCTETS: Final = 8
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_UNKNOWN: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress",
    b"!BDN": "Outlook PST",
}
_DAMAGES: Final = (
    *(OSError, EOFError, ValueError, RuntimeError),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)


class _EndsAtFault(io.RawIOBase):
    """A file that ends where a fault is found."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self.damage = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.damage:
            return 0
        try:
            octets = self._source.read1(len(buffer))
        except _DAMAGES as error:
            self.damage = _words_of(error)
            return 0
        buffer[: len(octets)] = octets
        return len(octets)


class Content(io.BufferedReader):
    """The unpacked content of a file."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        """Wrap a file that decompresses itself as it is read."""
        self._faulty = _EndsAtFault(source)
        super().__init__(self._faulty, READ_OCTETS)

    @property
    def damage(self) -> str:
        """The damage that ended the file; empty if there is none."""
        return self._faulty.damage


@dataclass(frozen=True, slots=True)
class Part:
    """A file, or one of those in a zip.

    Attributes:
        name: its name in the zip; None if it is not in a zip.
        content: opens it; may be called once, and raises UserError if it cannot be read.
    """

    name: str | None
    content: Callable[[], Content]


@contextmanager
def opened_parts(file: io.BufferedIOBase) -> Iterator[list[Part]]:
    """Yield the parts of a file: one, or those of a zip.

    Args:
        file: open, at its start. It may be a pipe.

    Raises:
        UserError: it is a zip that cannot be read.
    """
    peeked = _Peeked(file)
    if not peeked.head.startswith(_ZIP):
        yield [Part(None, lambda: _unpacked(peeked))]
        return
    with tempfile.TemporaryFile() as copy, _opened_zip(file, peeked, copy) as archive:
        yield [Part(each.filename, _opener(archive, each)) for each in _files_in(archive)]


def _opened_zip(file: io.BufferedIOBase, peeked: "_Peeked", copy: IO[bytes]) -> zipfile.ZipFile:
    try:
        if file.seekable():
            return zipfile.ZipFile(cast("IO[bytes]", file))
        shutil.copyfileobj(peeked, copy)
        return zipfile.ZipFile(copy)
    except _DAMAGES as error:
        raise UserError(f"it is a damaged or incomplete zip: {_words_of(error)}") from error


def _files_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of a zip, without those that operating systems add."""
    return [
        each
        for each in archive.infolist()
        if not each.is_dir()
        and not any(part == "__MACOSX" or part[:1] == "." for part in each.filename.split("/"))
    ]


def _opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], Content]:
    def open_entry() -> Content:
        if entry.flag_bits & 1:
            raise UserError("it is encrypted: unpack it first")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError("it is compressed with a method that is not supported: unpack it first")
        try:
            return _unpacked(_Peeked(cast("io.BufferedIOBase", archive.open(entry))))
        except _DAMAGES as error:
            raise UserError(f"it is damaged: {_words_of(error)}") from error

    return open_entry


def _unpacked(peeked: "_Peeked") -> Content:
    """Return the unpacked content of a file, which need not be compressed.

    Raises:
        UserError: its compression is not supported.
    """
    head = peeked.head
    if head.startswith(b"\x1f\x8b"):
        return Content(gzip.GzipFile(fileobj=peeked))
    if head.startswith(b"BZh"):
        return Content(_Streams(peeked, bz2.BZ2Decompressor))
    if head.startswith(b"\xfd7zXZ\0"):
        return Content(_Streams(peeked, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)))
    for magic, name in _UNKNOWN.items():
        if head.startswith(magic):
            raise UserError(f"not an mbox: it is a {name} file, which is not supported")
    return Content(peeked)


class _Peeked(io.BufferedIOBase):
    """A file whose first octets have been looked at.

    Attributes:
        head: those octets; they will be read again.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.head = b""
        while len(self.head) < _MAGIC_OCTETS:
            more = file.read1(_MAGIC_OCTETS - len(self.head))
            if not more:
                break
            self.head += more
        self._rest = self.head
        self._file = file

    def read1(self, size: int = READ_OCTETS) -> bytes:
        if self._rest:
            octets, self._rest = self._rest[:size], self._rest[size:]
            return octets
        return self._file.read1(size)

    def read(self, size: int | None = READ_OCTETS) -> bytes:
        """Read exactly so many octets, fewer only at the end.

        How much of a damaged file can be read depends on the size of the pieces that are unpacked.
        It must not depend on the pieces in which they arrive.
        """
        octets = bytearray()
        wanted = READ_OCTETS if size is None else size
        while len(octets) < wanted and (more := self.read1(wanted - len(octets))):
            octets += more
        return bytes(octets)


class _Decompressor(Protocol):
    """The interface of the standard library's decompressors for bzip2 and xz."""

    @property
    def eof(self) -> bool:
        """True after the end of the stream."""

    @property
    def needs_input(self) -> bool:
        """True if there is no output without more input."""

    @property
    def unused_data(self) -> bytes:
        """The octets after the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return at most so many octets."""


class _Streams(io.BufferedIOBase):
    """Consecutive compressed streams, unpacked in pieces of bounded size."""

    def __init__(self, file: "_Peeked", make: Callable[[], _Decompressor]) -> None:
        self._file = file
        self._make = make
        self._current = make()

    def read1(self, size: int = READ_OCTETS) -> bytes:
        while True:
            octets = b""
            if self._current.eof:
                octets = self._next_stream()
                if not octets:
                    return b""
            elif self._current.needs_input:
                octets = self._file.read(READ_OCTETS)
                if not octets:
                    raise EOFError("it ends too early")
            if unpacked := self._current.decompress(octets, size):
                return unpacked

    def _next_stream(self) -> bytes:
        """Start the stream that follows; returns its first octets, or none at the end."""
        octets = self._current.unused_data or self._file.read(READ_OCTETS)
        # xz fills up with zeros
        while octets and not (octets := octets.lstrip(b"\0")):
            octets = self._file.read(READ_OCTETS)
        self._current = self._make() if octets else self._current
        return octets


def _words_of(error: BaseException) -> str:
    """Return a few words that describe an error."""
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
