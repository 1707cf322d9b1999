"""Claims about the spool."""

import errno
import os
import resource

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from postroom.delivery import spool as module
from postroom.delivery.spool import (
    UNSAVED_OCTETS,
    FileContent,
    MemoryContent,
    PrefixedContent,
    Spool,
    SpoolArea,
    write_all,
)
from postroom.interfaces import IContent
from tests.delivery.support import Threads, settings
from tests.filesystem import open_descriptors

KIB = 1024


class WithSpool(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.before = open_descriptors()
        self.spool = self.new_spool()
        self.addCleanup(self.spool.close)

    def new_spool(self) -> Spool:
        made = settings(spool_directory=self.directory)
        return SpoolArea(self.threads, self.threads, made).new_spool()  # type: ignore[arg-type]

    def finished(self) -> IContent:
        content = self.spool.finish()
        self.threads.run()
        if isinstance(content, Deferred):
            content = self.successResultOf(content)
        verifyObject(IContent, content)
        return content

    def left_open(self) -> set[str]:
        return open_descriptors() - self.before


class SmallContent(WithSpool):
    def test_stays_in_memory_as_it_came(self) -> None:
        chunks = [b"a" * 100, b"b" * 200]
        for chunk in chunks:
            self.assertIsNone(self.spool.write(chunk))
        content = self.finished()
        self.assertIs(content.in_memory()[0], chunks[0])  # type: ignore[index]
        self.assertEqual(b"".join(content.chunks()), b"".join(chunks))
        self.assertEqual((content.size_octets, self.threads.hops), (300, 0))
        self.assertEqual(self.left_open(), set())

    def test_may_be_empty(self) -> None:
        self.assertEqual(b"".join(self.finished().chunks()), b"")

    def test_just_fits(self) -> None:
        self.spool.write(b"x" * 256 * KIB)
        self.assertIsNotNone(self.finished().in_memory())


class LargeContent(WithSpool):
    def test_is_whole_on_disk_without_a_name(self) -> None:
        pieces = [bytes([n % 256]) * 50_000 for n in range(40)]
        for piece in pieces:
            self.spool.write(piece)
            self.threads.run()
        content = self.finished()
        self.assertIsNone(content.in_memory())
        self.assertEqual(b"".join(content.chunks()), b"".join(pieces))
        self.assertEqual(b"".join(content.chunks()), b"".join(pieces), "a second reading differs")
        self.assertLessEqual(max(map(len, content.chunks())), 256 * KIB)
        self.assertEqual(os.listdir(self.directory), [])
        self.spool.close()
        self.assertEqual(self.left_open(), set())

    def test_is_written_in_large_pieces(self) -> None:
        for _ in range(160):
            self.spool.write(b"x" * 64 * KIB)
            self.threads.run()
        self.finished()
        self.assertLessEqual(self.threads.hops, 40 + 1)

    def test_what_is_too_little_for_a_write_waits_for_more(self) -> None:
        self.spool.write(b"a" * 300 * KIB)
        self.spool.write(b"b")
        self.threads.run()
        self.assertEqual(self.threads.hops, 1)

    def test_holds_the_peer_while_a_mebibyte_is_unsaved(self) -> None:
        held = None
        unsaved = 0
        while held is None:
            unsaved += 64 * KIB
            self.assertLessEqual(unsaved, UNSAVED_OCTETS + 64 * KIB)
            held = self.spool.write(b"x" * 64 * KIB)
        self.assertGreater(unsaved, UNSAVED_OCTETS)
        self.assertNoResult(held)
        self.threads.run()
        self.successResultOf(held)
        self.assertEqual(self.finished().size_octets, unsaved)

    def test_one_large_chunk_is_written_when_it_is_over(self) -> None:
        chunk = os.urandom(700 * KIB)
        self.spool.write(chunk)
        self.assertEqual(b"".join(self.finished().chunks()), chunk)

    def test_may_end_while_a_write_runs(self) -> None:
        self.spool.write(b"a" * 300 * KIB)
        self.spool.write(b"b" * 10)
        self.assertEqual(b"".join(self.finished().chunks()), b"a" * 300 * KIB + b"b" * 10)

    def test_closing_under_a_running_write_closes_after_it(self) -> None:
        self.spool.write(b"x" * 300 * KIB)
        self.spool.close()
        self.threads.run()
        self.assertEqual(self.left_open(), set())

    def test_is_taken_where_unnamed_files_are_unknown(self) -> None:
        true_open = os.open

        def without_tmpfile(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE")
            return true_open(path, flags, mode)

        self.patch(module.os, "open", without_tmpfile)
        self.spool.write(b"x" * 300 * KIB)
        self.assertEqual(self.finished().size_octets, 300 * KIB)
        self.assertEqual(os.listdir(self.directory), [])


class FailingDisk(WithSpool):
    def limit_file_size(self, octets: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))

    def test_fails_the_next_write_and_lets_go_of_the_file(self) -> None:
        self.limit_file_size(100 * KIB)
        self.spool.write(b"x" * 300 * KIB)
        self.threads.run()
        error = self.assertRaises(OSError, self.spool.write, b"x")
        self.assertEqual(error.errno, errno.EFBIG)
        self.assertRaises(OSError, self.spool.finish)
        self.spool.close()
        self.assertEqual(self.left_open(), set())

    def test_fails_the_peer_that_is_held(self) -> None:
        self.limit_file_size(100 * KIB)
        self.spool.write(b"x" * 300 * KIB)
        held = self.spool.write(b"x" * 900 * KIB)
        assert held is not None
        self.threads.run()
        self.failureResultOf(held, OSError)

    def test_fails_the_end(self) -> None:
        self.limit_file_size(400 * KIB)
        self.spool.write(b"x" * 300 * KIB)
        self.threads.run()
        self.spool.write(b"x" * 200 * KIB)
        finished = self.spool.finish()
        assert isinstance(finished, Deferred)
        self.threads.run()
        self.failureResultOf(finished, OSError)

    def test_a_missing_directory_is_an_error(self) -> None:
        os.rmdir(self.directory)
        self.spool.write(b"x" * 300 * KIB)
        self.threads.run()
        self.assertRaises(OSError, self.spool.write, b"x")


class Contents(SynchronousTestCase):
    def test_memory_gives_no_piece_over_256_kib(self) -> None:
        content = MemoryContent([b"x" * 600 * KIB])
        self.assertEqual([len(c) for c in content.chunks()], [256 * KIB, 256 * KIB, 88 * KIB])

    def test_a_prefix_stands_before_it_in_memory_and_on_disk(self) -> None:
        path = self.mktemp()
        with open(path, "w+b") as file:
            file.write(b"body")
            file.flush()
            for inner in (MemoryContent([b"bo", b"dy"]), FileContent(file.fileno(), 4)):
                content = PrefixedContent(b"head", inner)
                verifyObject(IContent, content)
                self.assertEqual(b"".join(content.chunks()), b"headbody")
                self.assertEqual(content.size_octets, 8)
                pieces = content.in_memory()
                self.assertEqual(pieces and b"".join(pieces), inner.in_memory() and b"headbody")

    def test_a_file_that_became_shorter_is_an_error(self) -> None:
        with open(self.mktemp(), "w+b") as file:
            file.write(b"abc")
            file.flush()
            self.assertRaises(OSError, list, FileContent(file.fileno(), 4).chunks())

    def test_short_writes_are_gone_on_with(self) -> None:
        true_write = os.pwritev
        self.patch(
            module.os, "pwritev", lambda fd, group, at: true_write(fd, [bytes(group[0])[:3]], at)
        )
        with open(self.mktemp(), "w+b") as file:
            self.assertEqual(write_all(file.fileno(), [b"abcdefg", b"hi", b"jklm"], 2), 13)
            self.assertEqual(os.pread(file.fileno(), 100, 0), b"\0\0abcdefghijklm")

    def test_more_pieces_than_one_write_takes(self) -> None:
        pieces = [b"%04d" % n for n in range(3000)]
        with open(self.mktemp(), "w+b") as file:
            write_all(file.fileno(), pieces)
            self.assertEqual(os.pread(file.fileno(), 20_000, 0), b"".join(pieces))


class RealThreads(TestCase):
    async def test_ten_megabytes_arrive_whole(self) -> None:
        pool = ThreadPool(0, 2)
        pool.start()
        self.addCleanup(pool.stop)
        directory = self.mktemp()
        os.mkdir(directory)
        area = SpoolArea(reactor, pool, settings(spool_directory=directory))  # type: ignore[arg-type]
        spool = area.new_spool()
        chunk = os.urandom(64 * KIB)
        for _ in range(160):
            held = spool.write(chunk)
            if held is not None:
                await held
        content = await maybeDeferred(spool.finish)
        self.assertEqual(b"".join(content.chunks()), chunk * 160)
        spool.close()

    async def test_a_failure_comes_back_from_the_thread(self) -> None:
        pool = ThreadPool(0, 1)
        pool.start()
        self.addCleanup(pool.stop)
        area = SpoolArea(reactor, pool, settings(spool_directory="/nonexistent"))  # type: ignore[arg-type]
        spool = area.new_spool()
        spool.write(b"x" * 300 * KIB)
        try:
            await maybeDeferred(spool.finish)
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOENT)
        else:
            self.fail(Failure)
        spool.close()
