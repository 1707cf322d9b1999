"""Claims about batches of Maildir writes: what they store, how they fail, what a crash leaves."""

import errno
import mailbox
import os
import resource
import stat
from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery import batch as module
from postroom.delivery.batch import BatchStore, MaildirFile, MaildirWrite
from postroom.delivery.filling import without
from postroom.delivery.maildir import message_key
from postroom.delivery.spool import FileContent, MemoryContent
from postroom.interfaces import IContent
from tests.delivery.support import (
    MESSAGE,
    StreamedContent,
    as_lf,
    files_in,
    settings,
)
from tests.filesystem import RecordingDisk, fail_calls, forbid_leaks, open_descriptors

HEAD = b"Return-Path: <>\r\n"
QUEUE_ID = "1kD3vB0007Qwbz"
STORED = as_lf(HEAD + MESSAGE)


class BatchCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.before = open_descriptors()
        self.forbid_leaks()
        self.store = BatchStore(settings())
        self.addCleanup(self.store.close)

    def forbid_leaks(self) -> None:
        forbid_leaks(self, self.root)

    def write(
        self,
        name: str = "u",
        content: IContent | None = None,
        queue_id: str = QUEUE_ID,
        **more: Any,
    ) -> MaildirWrite:
        key = message_key(1_763_812_987, queue_id, f"{name}@here.example")
        return MaildirWrite(self.path(name), key, HEAD, content or MemoryContent([MESSAGE]), **more)

    def path(self, name: str = "u") -> str:
        return f"{self.root}/{name}"

    def stored(self, *writes: MaildirWrite) -> list[Exception | None]:
        files = [MaildirFile(write) for write in writes]
        self.store.store(files)
        return [file.outcome for file in files]

    def errors(self, *writes: MaildirWrite) -> list[int | None]:
        return [getattr(outcome, "errno", outcome) for outcome in self.stored(*writes)]

    def new(self, name: str = "u") -> list[bytes]:
        return list(files_in(f"{self.path(name)}/new").values())

    def tmp(self, name: str = "u") -> list[str]:
        return os.listdir(f"{self.path(name)}/tmp")


class Storing(BatchCase):
    def test_stores_head_and_content_for_the_owner_alone(self) -> None:
        self.assertEqual(self.stored(self.write()), [None])
        ((name, octets),) = files_in(f"{self.path()}/new").items()
        self.assertEqual(octets, STORED)
        self.assertRegex(
            name,
            rf"^1763812987\.{QUEUE_ID}_[0-9a-f]{{16}}\.mx\.example"
            rf",S={len(STORED)},W={len(HEAD + MESSAGE)}$",
        )
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.path()}/new/{name}").st_mode), 0o600)
        self.assertEqual(self.tmp(), [])

    def test_with_the_setting_crlf_it_has_the_line_ends_that_came(self) -> None:
        self.store = BatchStore(settings(line_ends="crlf"))
        self.addCleanup(self.store.close)
        self.assertEqual(self.stored(self.write()), [None])
        ((name, octets),) = files_in(f"{self.path()}/new").items()
        self.assertEqual(octets, HEAD + MESSAGE)
        self.assertTrue(name.endswith(f",S={len(octets)},W={len(octets)}"))

    def test_binary_content_is_stored_unchanged(self) -> None:
        octets = MESSAGE + b"\0\n\r\r\n"
        write = self.write(content=MemoryContent([octets]), binary=True)
        self.assertEqual(self.stored(write), [None])
        ((name, found),) = files_in(f"{self.path()}/new").items()
        self.assertEqual(found, HEAD + octets)
        self.assertTrue(name.endswith(f",S={len(found)},W={len(found) + 1}"))

    def test_the_standard_library_reads_it(self) -> None:
        self.stored(self.write())
        (message,) = mailbox.Maildir(self.path(), create=False)
        self.assertEqual(message["Subject"], "s")

    def test_a_batch_goes_to_many_maildirs(self) -> None:
        writes = [self.write(name, queue_id=f"Q{n}") for n in range(3) for name in ("u", "v")]
        self.assertEqual(self.stored(*writes), [None] * 6)
        self.assertEqual((len(self.new("u")), len(self.new("v"))), (3, 3))

    def test_two_accounts_may_share_a_maildir(self) -> None:
        first, second = self.write("u"), self.write("v")
        shared = MaildirWrite(self.path("u"), second.key, HEAD, second.content)
        self.assertEqual(self.stored(first, shared), [None, None])
        self.assertEqual(len(self.new("u")), 2)

    def test_each_directory_is_synced_once_and_after_all_renames(self) -> None:
        self.stored(self.write(queue_id="Q0"))
        disk = RecordingDisk(self, self.path())
        self.stored(*(self.write(queue_id=f"Q{n}") for n in range(1, 4)))
        steps = [event.partition("/")[0] for event in disk.events]
        self.assertEqual(steps, ["sync tmp"] * 3 + ["rename new"] * 3 + ["sync new"])
        self.assertEqual((disk.torn, disk.unsynced()), ([], []))

    def test_leaves_only_directories_open(self) -> None:
        self.stored(self.write(), self.write("v"))
        self.assertEqual(len(open_descriptors() - self.before), 4)
        self.store.close()
        self.assertEqual(open_descriptors() - self.before, set())


class KindsOfContent(BatchCase):
    CUTS = ((2, 5), (20, 25))

    def contents(self) -> list[IContent]:
        descriptor = os.open(self.mktemp(), os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        os.write(descriptor, MESSAGE)
        return [
            MemoryContent([MESSAGE]),
            MemoryContent([MESSAGE[:4], MESSAGE[4:21], MESSAGE[21:]]),
            FileContent(descriptor, len(MESSAGE)),
            StreamedContent(MESSAGE),
        ]

    def test_arrive_whole(self) -> None:
        for number, content in enumerate(self.contents()):
            self.assertEqual(self.stored(self.write(str(number), content)), [None])
            self.assertEqual(self.new(str(number)), [STORED])

    def test_arrive_without_what_is_cut(self) -> None:
        whole = HEAD + MESSAGE[:2] + MESSAGE[5:20] + MESSAGE[25:]
        expected = as_lf(whole)
        with_crlf = len(expected) + expected.count(b"\n")  # a cut took the CR of one
        for number, content in enumerate(self.contents()):
            self.assertEqual(self.stored(self.write(str(number), content, cuts=self.CUTS)), [None])
            ((name, octets),) = files_in(f"{self.path(str(number))}/new").items()
            self.assertEqual(octets, expected)
            self.assertTrue(name.endswith(f",S={len(expected)},W={with_crlf}"))

    def test_a_spool_file_that_became_shorter_is_not_delivered(self) -> None:
        with open(self.mktemp(), "w+b") as file:
            self.assertEqual(
                self.errors(self.write("u", FileContent(file.fileno(), 9))), [errno.EIO]
            )
        self.assertEqual((self.new(), self.tmp()), ([], []))

    def test_cutting_keeps_to_the_borders_of_pieces(self) -> None:
        octets = bytes(range(20))
        for size in range(1, 21):
            pieces = [octets[at : at + size] for at in range(0, 20, size)]
            for start in range(20):
                for end in range(start + 1, 21):
                    left = b"".join(without(pieces, ((start, end),)))
                    self.assertEqual(left, octets[:start] + octets[end:])


class Failing(BatchCase):
    """One failure touches one file, leaves nothing of it, and is told."""

    def three(self) -> Sequence[MaildirWrite]:
        self.stored(self.write(queue_id="Q9"))
        return [self.write(queue_id=f"Q{n}") for n in range(3)]

    def test_open(self) -> None:
        writes = self.three()
        fail_calls(self, "open", errno.EMFILE, first=2)
        self.assertEqual(self.errors(*writes), [None, errno.EMFILE, None])
        self.assertEqual((len(self.new()), self.tmp()), (3, []))

    def test_sync(self) -> None:
        writes = self.three()
        synced: list[int] = []
        true = os.fsync

        def fsync(descriptor: int) -> None:
            synced.append(descriptor)
            if len(synced) == 2:
                raise OSError(errno.EIO, "lost")
            true(descriptor)

        self.patch(module.os, "fsync", fsync)
        self.assertEqual(self.errors(*writes), [None, errno.EIO, None])
        self.assertEqual(synced.count(synced[1]), 1, "a failed descriptor was synced again")
        self.assertEqual((len(self.new()), self.tmp()), (3, []))
        self.assertEqual(len(open_descriptors() - self.before), 2)
        self.assertEqual(self.errors(writes[1]), [None], "it does not recover")

    def test_rename(self) -> None:
        writes = self.three()
        fail_calls(self, "rename", errno.ENOSPC, first=2)
        self.assertEqual(self.errors(*writes), [None, errno.ENOSPC, None])
        self.assertEqual((len(self.new()), self.tmp()), (3, []))

    def test_a_close_that_fails_is_a_write_that_failed(self) -> None:
        writes = self.three()
        true = os.close
        failed: list[int] = []

        def close(descriptor: int) -> None:
            true(descriptor)
            if not failed:
                failed.append(descriptor)
                raise OSError(errno.EDQUOT, "quota")

        self.patch(module.os, "close", close)
        self.assertEqual(self.errors(*writes), [errno.EDQUOT, None, None])
        self.assertEqual((len(self.new()), self.tmp()), (3, []))

    def test_directory_sync_fails_all_in_that_directory(self) -> None:
        writes = [self.write("u", queue_id="Q1"), self.write("u", queue_id="Q2"), self.write("v")]
        self.stored(self.write("u", queue_id="Q9"), self.write("v", queue_id="Q9"))
        fail_calls(self, "fsync", errno.EIO, first=4)
        self.assertEqual(self.errors(*writes), [errno.EIO, errno.EIO, None])
        self.assertEqual((len(self.new("u")), len(self.new("v"))), (1, 2))

    def test_full_disk(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        self.stored(self.write(queue_id="Q9"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        large = self.write(content=MemoryContent([b"x" * 5000]))
        self.assertEqual(self.errors(large, self.write(queue_id="Q2")), [errno.EFBIG, None])
        self.assertEqual((len(self.new()), self.tmp()), (2, []))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(self.errors(large), [None], "it does not recover")

    def test_full_disk_while_copying_a_spool_file(self) -> None:
        with open(self.mktemp(), "w+b") as file:
            file.write(b"x" * 100_000)
            file.flush()
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
            content = FileContent(file.fileno(), 100_000)
            self.assertEqual(self.errors(self.write(content=content)), [errno.EFBIG])
        self.assertEqual((self.new(), self.tmp()), ([], []))

    def test_a_maildir_that_cannot_be_opened_fails_alone(self) -> None:
        os.makedirs(self.root)
        open(self.path("v"), "w").close()
        self.assertEqual(self.errors(self.write("u"), self.write("v")), [None, errno.ENOTDIR])

    def test_a_hint_that_fails_does_no_harm(self) -> None:
        fail_calls(self, "posix_fadvise", errno.EINVAL)
        self.assertEqual(self.errors(*self.three()), [None] * 3)

    def test_unlinking_that_fails_too_keeps_the_first_error(self) -> None:
        writes = self.three()
        fail_calls(self, "fsync", errno.EIO)
        fail_calls(self, "unlink", errno.EROFS)
        self.assertEqual(self.errors(*writes), [errno.EIO, None, None])


class Repeating(BatchCase):
    def test_a_repeated_delivery_makes_no_second_file(self) -> None:
        self.stored(self.write())
        self.assertEqual(self.stored(self.write(repeated=True)), [None])
        self.assertEqual(len(self.new()), 1)

    def test_nor_when_it_was_read_in_between(self) -> None:
        self.stored(self.write())
        (name,) = os.listdir(f"{self.path()}/new")
        os.rename(f"{self.path()}/new/{name}", f"{self.path()}/cur/{name}:2,S")
        self.assertEqual(self.stored(self.write(repeated=True)), [None])
        self.assertEqual(self.new(), [])

    def test_nor_with_another_size_or_from_another_host(self) -> None:
        self.stored(self.write())
        other = BatchStore(settings(hostname="mx2.example"))
        self.addCleanup(other.close)
        self.store = other
        self.stored(self.write(content=MemoryContent([MESSAGE + b"more\r\n"]), repeated=True))
        self.assertEqual(len(self.new()), 1)

    def test_one_that_was_stored_before_names_told_both_sizes_is_found(self) -> None:
        key = self.write().key
        for name in (f"{key}mx.example,S=99", f"{key}mx.example", f"{key}old.example,S=9,W=99"):
            for place in (f"new/{name}", f"cur/{name}:2,S"):
                for part in ("tmp", "new", "cur"):
                    os.makedirs(f"{self.path()}/{part}", exist_ok=True)
                path = f"{self.path()}/{place}"
                open(path, "w").close()
                self.assertEqual(self.stored(self.write(repeated=True)), [None])
                found = os.listdir(f"{self.path()}/new") + os.listdir(f"{self.path()}/cur")
                self.assertEqual(found, [os.path.basename(path)])
                os.unlink(path)

    def test_one_that_is_not_there_is_written(self) -> None:
        self.assertEqual(self.stored(self.write(repeated=True)), [None])
        self.assertEqual(len(self.new()), 1)

    def test_what_cannot_be_known_is_an_error(self) -> None:
        self.stored(self.write())
        os.rename(f"{self.path()}/cur", f"{self.path()}/away")
        self.assertEqual(self.errors(self.write(queue_id="Q2", repeated=True)), [errno.ENOENT])

    def test_taking_back_removes_from_new(self) -> None:
        self.stored(self.write(), self.write("v"))
        self.store.remove([MaildirFile(self.write())])
        self.assertEqual((len(self.new("u")), len(self.new("v"))), (0, 1))

    def test_taking_back_what_was_read_does_nothing(self) -> None:
        self.stored(self.write())
        (name,) = os.listdir(f"{self.path()}/new")
        os.rename(f"{self.path()}/new/{name}", f"{self.path()}/cur/{name}:2,S")
        file = MaildirFile(self.write())
        self.store.remove([file])
        self.assertIsInstance(file.outcome, OSError)


class Crash(BaseException):
    """The process is gone: nothing after it runs."""


class Crashing(BatchCase):
    """Walks the table: the process is stopped before every system call, then starts anew."""

    def forbid_leaks(self) -> None:
        """Allow them: the end of a process closes all, and here no process ends."""

    CALLS = ("open", "writev", "posix_fadvise", "fsync", "close", "rename")

    def crash_before(self, number: int) -> Callable[[], None]:
        calls = [0]
        true = {name: getattr(os, name) for name in self.CALLS}

        def crashing(name: str) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                calls[0] += 1
                if calls[0] == number:
                    raise Crash
                return true[name](*args, **kwargs)

            return call

        for name in self.CALLS:
            setattr(os, name, crashing(name))

        def restore() -> None:
            for name, function in true.items():
                setattr(os, name, function)

        return restore

    def test_at_any_call_loses_nothing_and_delivers_once(self) -> None:
        number, crashed = 0, True
        while crashed:
            number += 1
            name = f"u{number}"
            writes = [self.write(name), self.write(name, queue_id="Q2")]
            store = BatchStore(settings())
            restore = self.crash_before(number)
            try:
                store.store([MaildirFile(write) for write in writes])
                crashed = False
            except Crash:
                pass
            finally:
                restore()
            for octets in self.new(name) if os.path.exists(f"{self.path(name)}/new") else ():
                self.assertEqual(octets, STORED, "a torn message shows")
            again = [self.write(name, queue_id=q, repeated=True) for q in (QUEUE_ID, "Q2")]
            self.assertEqual(self.stored(*again), [None, None], f"after call {number}")
            self.assertEqual(self.new(name), [STORED] * 2, f"after call {number}")
        self.assertGreater(number, 20)

    def test_a_file_left_in_tmp_is_in_nobodys_way(self) -> None:
        os.makedirs(f"{self.path()}/tmp")
        for name in ("1763812987.R00Q0.mx.example", "junk"):
            open(f"{self.path()}/tmp/{name}", "w").close()
        self.assertEqual(self.stored(self.write(repeated=True)), [None])
        self.assertEqual((len(self.new()), len(self.tmp())), (1, 2))
