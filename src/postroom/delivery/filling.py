"""What is written into a Maildir file: trace fields and content, with the site's line ends.

Theory: content comes with CRLF, and is rewritten piece by piece on its way into the file
(`postroom.maildirs.line_ends`). The copies of a message are written one after the other, so the
last content is remembered as it was written: the next copy is the same pieces, or, if the
content was too large for memory, has the kernel copy it from the file before. With the setting
``crlf`` nothing is rewritten, and the kernel copies even the first from the spool file.

Known limit: what is not declared as binary is treated as text with CRLF throughout, as `IContent`
promises; with ``crlf`` it is not looked at.

Who controls the input: the sender, the content.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from postroom.delivery.spool import FileContent, write_all
from postroom.interfaces import IContent
from postroom.maildirs.line_ends import LineEndRewriter, LineEnds, Sizes

_NO_COPY_RANGE: Final = frozenset((errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))
_COPY_OCTETS: Final = 1 << 30
_WRITE_BACK_OCTETS: Final = 1 << 20

Cuts = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """What follows the trace fields.

    Attributes:
        content: at rest.
        cuts: ``(start, end)`` of what is left out of it, in order.
        binary: True to keep its octets, whatever the line ends.
    """

    content: IContent
    cuts: Cuts = ()
    binary: bool = False


@dataclass(frozen=True, slots=True)
class _Written:
    """A body as the file before has it: the pieces, or where it lies in that file."""

    body: Body
    sizes: Sizes
    pieces: Sequence[bytes] | None
    descriptor: int
    start: int


class Filler:
    """Fills files, one after the other. For one thread only."""

    def __init__(self, line_ends: LineEnds) -> None:
        """Create it for the site's line ends."""
        self._line_ends = line_ends
        self._last: _Written | None = None

    def fill(self, descriptor: int, head: bytes, body: Body) -> Sizes:
        """Write a new file.

        Args:
            descriptor: open for writing and reading, until `forget`.
            head: trace fields, with CRLF.
            body: what follows.

        Returns:
            The sizes for the file's name.

        Raises:
            OSError: the disk is full or failed, or the content is shorter than it was.
        """
        if self._line_ends is LineEnds.LF and not body.binary:
            above = head.replace(b"\r\n", b"\n")
        else:
            above = head
        last = self._last
        if last is None or not _is_same(last.body, body):
            self._last = None
            last = self._last = self._first(descriptor, above, body)
        elif last.pieces is not None:
            write_all(descriptor, [above, *last.pieces])
        else:
            write_all(descriptor, [above])
            _copy(last.descriptor, last.start, last.start + last.sizes.octets, descriptor)
        octets, crlf_octets = last.sizes
        return Sizes(len(above) + octets, len(head) + crlf_octets)

    def forget(self) -> None:
        """Forget the last body: its file may be closed."""
        self._last = None

    def _first(self, descriptor: int, above: bytes, body: Body) -> _Written:
        """Write the first copy of a body."""
        content, cuts = body.content, body.cuts
        as_it_is = self._line_ends is LineEnds.CRLF and not body.binary
        rewriting = LineEndRewriter(LineEnds.KEPT if body.binary else self._line_ends)
        pieces = content.in_memory()
        if pieces is not None:
            if cuts:
                pieces = list(without(pieces, cuts))
            if as_it_is:
                size = sum(map(len, pieces))
                sizes = Sizes(size, size)
            else:
                pieces = list(rewriting.all(pieces))
                sizes = rewriting.sizes
            write_all(descriptor, [above, *pieces])
            return _Written(body, sizes, pieces, -1, 0)
        # Too large for memory: later copies are made from this file, by the kernel.
        write_all(descriptor, [above])
        if as_it_is:
            size = _copy_content(content, cuts, descriptor)
            sizes = Sizes(size, size)
        else:
            _write_large(descriptor, len(above), rewriting.all(without(content.chunks(), cuts)))
            sizes = rewriting.sizes
        return _Written(body, sizes, None, descriptor, len(above))


def _is_same(one: Body, other: Body) -> bool:
    return one.content is other.content and one.cuts == other.cuts and one.binary == other.binary


def _write_large(target: int, offset: int, pieces: Iterable[bytes]) -> None:
    """Append pieces, and have the disk write the last ones while the next are rewritten."""
    start = offset
    for piece in pieces:
        offset += write_all(target, [piece])
        if offset - start >= _WRITE_BACK_OCTETS:
            with suppress(OSError):  # a hint, whatever the kernel answers
                os.posix_fadvise(target, start, offset - start, os.POSIX_FADV_DONTNEED)
            start = offset


def _copy_content(content: IContent, cuts: Cuts, target: int) -> int:
    """Append content as it is; return its length."""
    size = 0
    if isinstance(content, FileContent):
        start = 0
        for cut_start, cut_end in (*cuts, (content.size_octets, content.size_octets)):
            _copy(content.fileno, start, cut_start, target)
            size += cut_start - start
            start = cut_end
    else:
        for piece in without(content.chunks(), cuts):
            size += write_all(target, [piece])
    return size


def without(pieces: Iterable[bytes], cuts: Cuts) -> Iterator[bytes]:
    """Yield pieces without what is cut out of them.

    Args:
        pieces: in order.
        cuts: ``(start, end)`` in octets from the start of the first piece; in order, apart.
    """
    offset = 0
    for piece in pieces:
        at = 0
        for start, end in cuts:
            if start < offset + len(piece) and end > offset:
                if start - offset > at:
                    yield piece[at : start - offset]
                at = end - offset
        if at < len(piece):
            yield piece[at:] if at else piece
        offset += len(piece)


def _copy(source: int, start: int, end: int, target: int) -> None:
    """Append ``source[start:end]`` to a file, inside the kernel.

    Raises:
        OSError: the disk is full or failed, or the source is shorter than it was.
    """
    while start < end:
        octets = min(end - start, _COPY_OCTETS)
        try:
            copied = os.copy_file_range(source, target, octets, offset_src=start)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            copied = os.sendfile(target, source, start, octets)
        if not copied:
            raise OSError(errno.EIO, f"spool file ends at octet {start} instead of {end}")
        start += copied
