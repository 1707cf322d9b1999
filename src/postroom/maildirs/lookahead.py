"""Lines of a stream, with a look at what comes later.

Lines are returned in pieces of at most `LINE_OCTETS`, so that no line is ever held whole. What was
looked at early is kept in memory, and beyond `MEMORY_OCTETS` on disk. Each octet is written there
at most once, so that looking ahead repeatedly takes no longer than reading.

Who controls the input: whoever made the file.
"""

import io
import os
import tempfile
from typing import Any, BinaryIO, Final

from postroom.maildirs.archives import READ_OCTETS

LINE_OCTETS: Final = 64 * 1024
MEMORY_OCTETS: Final = 256 * 1024

_SAMPLE_OCTETS: Final = 4096


class Lookahead:
    """A file that is read line by line, and allows a look at what comes later.

    Lines that end in CR alone, as on old Macintoshes, are returned with LF.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Start at the beginning of a file.

        Args:
            file: at its start.
        """
        self._file = file
        self._waiting = tempfile.SpooledTemporaryFile(MEMORY_OCTETS)  # noqa: SIM115
        self._read_from = self._length = 0
        sample = file.read(_SAMPLE_OCTETS)
        if b"\r" in sample and b"\n" not in sample:
            self._file = io.BufferedReader(_LinesOfCr(file), READ_OCTETS)
            sample = sample.replace(b"\r", b"\n")
        self._keep(sample)

    def close(self) -> None:
        """Remove what is kept."""
        self._waiting.close()

    def readline(self) -> bytes:
        """Return a line, or the next piece of a long one; empty at the end.

        No piece ends between CR and LF.
        """
        piece = self._readline(LINE_OCTETS)
        return piece + self._readline(2) if piece.endswith(b"\r") else piece

    def _readline(self, limit: int) -> bytes:
        if not self._length:
            return self._file.readline(limit)
        self._waiting.seek(self._read_from)
        line = self._waiting.readline(limit)
        self._read_from += len(line)
        if self._read_from == self._length:
            self._waiting.seek(0)
            self._waiting.truncate()
            self._read_from = self._length = 0
        return line if line.endswith(b"\n") else line + self._file.readline(limit - len(line))

    def peek(self, distance: int, size: int) -> bytes:
        """Return octets that come later; fewer, or none, if the file ends before."""
        while self._length - self._read_from < distance + size:
            octets = self._file.read(READ_OCTETS)
            if not octets:
                break
            self._keep(octets)
        self._waiting.seek(self._read_from + distance)
        return self._waiting.read(size)

    def _keep(self, octets: bytes) -> None:
        self._waiting.seek(0, os.SEEK_END)
        self._waiting.write(octets)
        self._length += len(octets)


class _LinesOfCr(io.RawIOBase):
    """A file with LF in place of CR."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        octets = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(octets)] = octets
        return len(octets)
