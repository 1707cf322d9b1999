"""Claims about files that may be compressed."""

import bz2
import gzip
import io
import lzma
import random
import zipfile
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.maildirs import archives
from postroom.maildirs.archives import opened_parts

TEXT = random.Random(1).randbytes(100_000).hex().encode()
LONG = random.Random(2).randbytes(500_000).hex().encode()
MAKERS: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda octets: bz2.compress(octets, 1),
    lambda octets: lzma.compress(octets, preset=0),
)


def zipped(method: int = zipfile.ZIP_DEFLATED, **files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, octets in files.items():
            archive.writestr(name.replace("_in_", "/"), octets)
    return file.getvalue()


class _Pipe(io.BytesIO):
    """A file that gives little at a time, and of which nothing is had twice."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(min(99 if size is None or size < 0 else size, 99))

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation


class ArchiveCase(SynchronousTestCase):
    def unpack(self, octets: bytes) -> list[tuple[str | None, bytes, str]]:
        """Give name, content and damage of all parts; the same from a file and from a pipe."""
        found = []
        for file in (io.BytesIO(octets), _Pipe(octets)):
            parts = []
            with opened_parts(file) as opened:
                for each in opened:
                    content = each.content()
                    parts.append((each.name, content.read(), content.damage))
            found.append(parts)
        self.assertEqual(found[0], found[1])
        return found[0]

    def refuse(self, why: str, octets: bytes) -> None:
        with self.assertRaisesRegex(UserError, why):
            self.unpack(octets)


class Unpacking(ArchiveCase):
    def test_what_is_not_compressed_stays_as_it_is(self) -> None:
        for octets in (b"", b"F", b"From me\n", TEXT):
            self.assertEqual(self.unpack(octets), [(None, octets, "")])

    def test_what_is_compressed_is_known_by_its_content(self) -> None:
        for make in MAKERS:
            self.assertEqual(self.unpack(make(TEXT)), [(None, TEXT, "")], make)
            self.assertEqual(self.unpack(make(b"")), [(None, b"", "")], make)

    def test_several_streams_are_one_content(self) -> None:
        for make in MAKERS:
            self.assertEqual(self.unpack(make(TEXT) + make(b"end")), [(None, TEXT + b"end", "")])
        padded = lzma.compress(TEXT) + bytes(8)
        self.assertEqual(self.unpack(padded + padded), [(None, TEXT + TEXT, "")])

    def test_a_zip_has_the_files_that_people_put_in(self) -> None:
        octets = zipped(a=TEXT, b_in_c=b"x", __MACOSX_in_a=b"y", b_in_=b"")
        self.assertEqual(self.unpack(octets), [("a", TEXT, ""), ("b/c", b"x", "")])
        self.assertEqual(self.unpack(zipped(zipfile.ZIP_STORED, a=b"x")), [("a", b"x", "")])
        self.assertEqual(self.unpack(zipped()), [])

    def test_what_is_in_a_zip_may_be_compressed(self) -> None:
        for make in MAKERS:
            self.assertEqual(self.unpack(zipped(a=make(TEXT))), [("a", TEXT, "")])


class Damage(ArchiveCase):
    def test_what_comes_before_the_end_is_read(self) -> None:
        for make in MAKERS:
            whole = make(LONG)
            for cut, least in ((len(whole) // 2, len(LONG) // 4), (-1, len(LONG) * 3 // 4)):
                ((_, found, damage),) = self.unpack(whole[:cut])
                self.assertTrue(LONG.startswith(found), make)
                self.assertGreater(len(found), least, make)
                self.assertEqual(damage, "it ends too early")

    def test_what_comes_before_a_damage_is_read(self) -> None:
        for make in MAKERS:
            whole = bytearray(make(LONG))
            middle = len(whole) // 2
            whole[middle : middle + 100] = bytes(100)
            ((_, found, damage),) = self.unpack(bytes(whole))
            self.assertEqual(found[: len(LONG) // 4], LONG[: len(LONG) // 4], make)
            self.assertNotEqual(damage, "", make)

    def test_what_follows_the_end_is_a_damage_behind_all(self) -> None:
        for make in (gzip.compress, lzma.compress):
            ((_, found, damage),) = self.unpack(make(TEXT) + b"junk")
            self.assertEqual(found, TEXT)
            self.assertNotEqual(damage, "")

    def test_a_disk_that_fails_is_a_damage(self) -> None:
        class Failing(io.BytesIO):
            def read1(self, size: int | None = -1, /) -> bytes:
                octets = super().read1(size)
                if not octets:
                    raise OSError(5, "Input/output error")
                return octets

        with opened_parts(Failing(TEXT)) as parts:
            content = parts[0].content()
            self.assertEqual((content.read(), content.damage), (TEXT, "Input/output error"))

    def test_one_file_of_a_zip_does_not_spoil_the_others(self) -> None:
        octets = bytearray(zipped(a=TEXT, b=TEXT))
        octets[50_000:50_010] = bytes(10)
        first, second = self.unpack(bytes(octets))
        self.assertNotEqual(first[2], "")
        self.assertEqual(second, ("b", TEXT, ""))

    def test_what_cannot_be_read_at_all_says_why(self) -> None:
        whole = zipped(a=TEXT)
        self.refuse("a damaged or incomplete zip", whole[:-30])
        self.refuse("a damaged or incomplete zip", b"PK\x03\x04" + bytes(100))
        self.refuse("a method that is not supported", zipped(zipfile.ZIP_BZIP2, a=TEXT))
        encrypted = bytearray(whole)
        encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
        self.refuse("it is encrypted", bytes(encrypted))
        self.refuse("a zstd file", b"\x28\xb5\x2f\xfd" + bytes(10))


class Bounds(ArchiveCase):
    def test_what_unpacks_to_much_is_unpacked_little_by_little(self) -> None:
        largest = 0
        true = archives._EndsAtFault.readinto

        def readinto(raw: archives._EndsAtFault, buffer: memoryview) -> int:
            nonlocal largest
            size = true(raw, buffer)
            largest = max(largest, size)
            return size

        self.patch(archives._EndsAtFault, "readinto", readinto)
        size = 8 * 1024 * 1024
        for make in (*MAKERS, lambda octets: zipped(a=octets)):
            with opened_parts(io.BytesIO(make(bytes(size)))) as parts:
                content = parts[0].content()
                total = 0
                while octets := content.read1(archives.READ_OCTETS):
                    total += len(octets)
            self.assertEqual(total, size)
        self.assertLessEqual(largest, archives.READ_OCTETS)

    def test_xz_gets_no_more_memory_than_it_may_have(self) -> None:
        self.patch(archives, "XZ_MEMORY", 1024 * 1024)
        ((_, found, damage),) = self.unpack(lzma.compress(TEXT, preset=9))
        self.assertEqual(found, b"")
        self.assertIn("Memory usage limit", damage)
