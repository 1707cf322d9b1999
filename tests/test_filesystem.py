"""The disk that knows what a power cut takes away is right about it."""

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.filesystem import RecordingDisk, fail_calls


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.old = self.folder / "old"
        self.old.write_bytes(b"kept")
        self.disk = RecordingDisk(self, self.folder)

    def test_what_was_there_before_is_durable(self) -> None:
        self.assertEqual(self.disk.unsynced(), [])

    def test_a_new_file_needs_two_syncs(self) -> None:
        new = self.folder / "new"
        new.write_bytes(b"text")
        sync(new)
        self.assertEqual(self.disk.unsynced(), ["new"])
        sync(self.folder)
        self.assertEqual(self.disk.unsynced(), [])

    def test_what_is_written_after_a_sync_is_not_durable(self) -> None:
        sync(self.old)
        self.old.write_bytes(b"more")
        self.assertEqual(self.disk.unsynced(), ["old"])

    def test_a_file_that_is_named_before_it_is_synced_is_torn(self) -> None:
        self.old.write_bytes(b"half")
        os.link(self.old, self.folder / "a")
        os.rename(self.folder / "a", self.folder / "b")
        os.replace(self.folder / "b", self.folder / "c")
        self.assertEqual(self.disk.torn, ["a", "b", "c"])
        sync(self.old)
        os.rename(self.old, self.folder / "d")
        self.assertEqual(self.disk.torn, ["a", "b", "c"])

    def test_a_name_that_was_taken_can_come_back(self) -> None:
        self.old.unlink()
        self.assertEqual(self.disk.unsynced(), ["old"])
        sync(self.folder)
        self.assertEqual(self.disk.unsynced(), [])

    def test_events_are_told_in_order(self) -> None:
        sync(self.old)
        os.rename(self.old, self.folder / "new")
        self.assertEqual(self.disk.events, ["sync old", "rename new"])

    def test_the_call_that_shall_fail_fails_and_no_other(self) -> None:
        end = fail_calls(self, "unlink", errno.EIO, first=2)
        os.unlink(self.old)
        self.assertEqual(self.assertRaises(OSError, os.unlink, self.old).errno, errno.EIO)
        self.assertRaises(FileNotFoundError, os.unlink, self.old)
        end()
        self.assertRaises(FileNotFoundError, os.unlink, self.old)
