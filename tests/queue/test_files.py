"""Large content beside the database: kept once, found again, and gone with its message."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from postroom.database import migrate, open_database
from postroom.errors import NO_SPACE, UserError, reply_for
from postroom.interfaces import IContent, IFileContent
from postroom.queue import admin
from postroom.queue.files import FILE_OCTETS, PIECE_OCTETS, ContentFiles
from postroom.queue.model import ClaimedMessage, Done
from postroom.queue.store import SqlQueueStore
from tests.filesystem import RecordingDisk, fail_calls, forbid_leaks
from tests.queue.samples import Content, new_message

HEAD = b"Received: from there\r\n"


@implementer(IContent, IFileContent)
class InFile(Content):
    """Trace fields, then a file without a name, as a large message comes from the spool."""

    def __init__(self, head: bytes, body: bytes, directory: Path) -> None:
        super().__init__(head, body)
        self.head = head
        self.body = body
        self.descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE, 0o600)
        os.write(self.descriptor, body)

    def chunks(self) -> Iterator[bytes]:
        yield self.head
        for start in range(0, len(self.body), PIECE_OCTETS):
            yield self.body[start : start + PIECE_OCTETS]

    def in_memory(self) -> None:
        return None

    def in_file(self) -> tuple[Sequence[bytes], int]:
        return (self.head,) if self.head else (), self.descriptor


class ContentFilesTests(TestCase):
    """The store with files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.directory = self.folder / "content"
        forbid_leaks(self, self.directory)
        self.engine = open_database(f"sqlite:///{self.folder / 'postroom.db'}")
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)
        self.files = ContentFiles(self.directory)
        self.files.open()
        self.body = os.urandom(FILE_OCTETS + 12_345)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))
        self.store = self.start()

    def start(self) -> SqlQueueStore:
        store = SqlQueueStore(self.engine, reactor, files=self.files)
        store.start()
        return store

    async def restart(self) -> None:
        await self.store.stop()
        self.store = self.start()

    def large(self, head: bytes = HEAD, body: bytes | None = None) -> InFile:
        content = InFile(head, self.body if body is None else body, self.folder)
        self.addCleanup(os.close, content.descriptor)
        return content

    async def put(self, content: Content, *recipients: str) -> ClaimedMessage:
        claimed = await self.store.put(new_message(*recipients), content)
        assert claimed is not None
        return claimed

    async def read(self, store: SqlQueueStore, message_id: str) -> bytes:
        pieces = []
        while piece := await store.chunk(message_id, len(pieces)):
            self.assertLessEqual(len(piece), PIECE_OCTETS)
            pieces.append(piece)
        return b"".join(pieces)

    async def names_after_reads(self) -> list[str]:
        """Wait for the readers, then list the directory."""
        await self.store.stop()
        names = os.listdir(self.directory)
        self.store = self.start()
        return names

    async def test_large_content_is_a_file_and_comes_back_whole(self) -> None:
        claimed = await self.put(self.large())
        self.assertEqual(os.listdir(self.directory), [claimed.message.id])
        self.assertEqual(claimed.size_octets, len(HEAD + self.body))
        self.assertEqual(await self.read(self.store, claimed.message.id), HEAD + self.body)
        path = self.directory / claimed.message.id
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        shown = b"".join(admin.read_content(self.engine, claimed.message.id))
        self.assertEqual(shown, HEAD + self.body)

    async def test_the_next_process_finds_it(self) -> None:
        claimed = await self.put(self.large())
        await self.restart()
        self.assertEqual(await self.read(self.store, claimed.message.id), HEAD + self.body)
        self.assertEqual(os.listdir(self.directory), [claimed.message.id])

    async def test_it_goes_with_the_last_recipient(self) -> None:
        claimed = await self.put(self.large(), "a@example.net", "b@example.net")
        first, last = claimed.recipients
        await self.store.record([Done(first)])
        self.assertEqual(await self.read(self.store, claimed.message.id), HEAD + self.body)
        await self.store.record([Done(last)])
        self.assertEqual(await self.names_after_reads(), [])

    async def test_small_content_and_such_without_a_head_are_rows(self) -> None:
        for content in (self.large(body=b"x" * (FILE_OCTETS - 100)), self.large(head=b"")):
            claimed = await self.put(content)
            self.assertEqual(os.listdir(self.directory), [])
            octets = b"".join(content.chunks())
            self.assertEqual(await self.read(self.store, claimed.message.id), octets)

    async def test_a_file_that_cannot_be_named_here_becomes_rows(self) -> None:
        with patch("os.link", side_effect=OSError(errno.EXDEV, "another file system")):
            claimed = await self.put(self.large())
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(await self.read(self.store, claimed.message.id), HEAD + self.body)

    async def test_a_failed_sync_refuses_the_message(self) -> None:
        for failing, error in (("os.fsync", errno.EIO), ("os.fsync", errno.ENOSPC)):
            with patch(failing, side_effect=OSError(error, "failed")):
                failure = await self.assertFailure(
                    self.store.put(new_message(), self.large()), OSError
                )
            self.assertEqual(reply_for(failure) == NO_SPACE, error == errno.ENOSPC)
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(admin.list_messages(self.engine, 0), [])

    async def test_a_failed_sync_of_the_directory_takes_the_name_back(self) -> None:
        fail_calls(self, "fsync", errno.EIO, first=2)
        await self.assertFailure(self.store.put(new_message(), self.large()), OSError)
        self.assertEqual(os.listdir(self.directory), [])

    async def test_a_power_cut_takes_nothing_that_was_stored(self) -> None:
        disk = RecordingDisk(self, self.directory)
        claimed = await self.put(self.large())
        self.assertEqual(disk.events[1], f"link {claimed.message.id}")
        self.assertEqual((disk.torn, disk.unsynced()), ([], []))

    def test_nor_the_directory_itself(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        forbid_leaks(self, folder)
        disk = RecordingDisk(self, folder)
        ContentFiles(folder / "content").open()
        self.assertEqual(disk.unsynced(), [])

    async def test_a_refused_row_leaves_no_file(self) -> None:
        new = new_message()
        await self.store.put(new, Content(b"first"))
        await self.assertFailure(self.store.put(new, self.large()), Exception)
        # The id is another message's: its row is there, and its own content is what is read.
        self.assertEqual(await self.read(self.store, new.id), b"first")

    async def test_a_start_removes_what_a_crash_left(self) -> None:
        claimed = await self.put(self.large())
        (self.directory / "orphan").write_bytes(b"named, never committed")
        await self.restart()
        self.assertEqual(await self.names_after_reads(), [claimed.message.id])

    async def test_an_operator_removes_it(self) -> None:
        claimed = await self.put(self.large())
        admin.remove(self.engine, claimed.message.id)
        self.assertEqual(os.listdir(self.directory), [])

    async def test_a_lost_file_is_an_early_end_and_no_empty_message(self) -> None:
        claimed = await self.put(self.large())
        os.unlink(self.directory / claimed.message.id)
        self.assertEqual(await self.read(self.store, claimed.message.id), HEAD)
        with self.assertRaises(UserError):
            list(admin.read_content(self.engine, claimed.message.id))
