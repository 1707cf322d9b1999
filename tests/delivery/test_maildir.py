"""Claims about Maildirs: their names and directories."""

import os
import stat
import time

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery import maildir as module
from postroom.delivery.maildir import Maildir, OpenMaildirs, message_key
from postroom.maildirs.directories import STALE_SECONDS
from postroom.maildirs.names import host_part
from tests.filesystem import forbid_leaks, open_descriptors

KEY = message_key(1_763_812_987, "1kD3vB0007Qwbz", "u@here.example")


class Names(SynchronousTestCase):
    def test_a_delivery_always_has_the_same_key(self) -> None:
        self.assertEqual(KEY, message_key(1_763_812_987, "1kD3vB0007Qwbz", "u@here.example"))
        self.assertRegex(KEY, r"^1763812987\.1kD3vB0007Qwbz_[0-9a-f]{16}\.$")

    def test_accounts_and_messages_do_not_share_one(self) -> None:
        others = {
            message_key(1_763_812_987, "1kD3vB0007Qwbz", "v@here.example"),
            message_key(1_763_812_987, "1kD3vB0007Qwbx", "u@here.example"),
            message_key(1_763_812_988, "1kD3vB0007Qwbz", "u@here.example"),
        }
        self.assertEqual(len(others | {KEY}), 4)

    def test_no_key_leaves_its_directory(self) -> None:
        for queue_id in ("", "../x", "a.b", "a:2", "caf\u00e9"):
            self.assertRaises(ValueError, message_key, 1, queue_id, "u@here.example")
        self.assertNotIn("/", message_key(1, "Q", "../../etc/passwd@x"))

    def test_a_host_name_is_written_as_maildir_says(self) -> None:
        self.assertEqual(host_part("a/b:c,d.example"), r"a\057b\072c\054d.example")


class MaildirCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.path = f"{self.root}/here.example/u"
        self.before = open_descriptors()
        forbid_leaks(self, self.root)

    def open(self) -> Maildir:
        opened = Maildir(self.path)
        self.addCleanup(opened.close)
        return opened


class Opening(MaildirCase):
    def test_makes_all_directories_for_the_owner_alone(self) -> None:
        self.open()
        for path in (self.root, self.path, *(f"{self.path}/{n}" for n in ("tmp", "new", "cur"))):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700, path)

    def test_syncs_the_parent_of_every_directory_it_makes(self) -> None:
        synced = []
        true_sync = os.fsync

        def fsync(descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            true_sync(descriptor)

        self.patch(module.os, "fsync", fsync)
        self.open()
        above = os.path.dirname(self.root)
        self.assertEqual(synced, [above, self.root, os.path.dirname(self.path), self.path])
        synced.clear()
        self.open()
        self.assertEqual(synced, [])

    def test_refuses_links_for_its_parts(self) -> None:
        for name in ("tmp", "new", "cur"):
            self.path = f"{self.root}/{name}"
            Maildir(self.path).close()
            os.rename(f"{self.path}/{name}", f"{self.path}/elsewhere")
            os.symlink("elsewhere", f"{self.path}/{name}")
            if name == "cur":
                opened = self.open()
                self.assertRaises(OSError, opened.sync_if_present, KEY)
            else:
                self.assertRaises(OSError, Maildir, self.path)

    def test_refuses_a_file_in_the_way(self) -> None:
        os.makedirs(self.path)
        open(f"{self.path}/new", "w").close()
        self.assertRaises(OSError, Maildir, self.path)

    def test_leaves_no_descriptor_behind_when_it_fails(self) -> None:
        self.test_refuses_a_file_in_the_way()
        self.assertEqual(open_descriptors() - self.before, set())

    def test_sweeps_old_files_out_of_tmp_and_no_others(self) -> None:
        Maildir(self.path).close()
        for name, age in (("old", STALE_SECONDS + 60), ("young", STALE_SECONDS - 60)):
            open(f"{self.path}/tmp/{name}", "w").close()
            then = time.time() - age
            os.utime(f"{self.path}/tmp/{name}", (then, then))
        self.open()
        self.assertEqual(os.listdir(f"{self.path}/tmp"), ["young"])

    def test_what_cannot_be_swept_is_left(self) -> None:
        os.makedirs(f"{self.path}/tmp/directory")
        os.utime(f"{self.path}/tmp/directory", (1, 1))
        self.open()
        self.assertEqual(os.listdir(f"{self.path}/tmp"), ["directory"])


class LookingForAMessage(MaildirCase):
    def test_finds_it_unread_and_read_whatever_was_appended(self) -> None:
        opened = self.open()
        for name in (f"new/{KEY}mx,S=5", f"cur/{KEY}mx,S=5,W=6:2,S", f"cur/{KEY}other,S=9:2,"):
            self.assertFalse(opened.sync_if_present(KEY))
            open(f"{self.path}/{name}", "w").close()
            self.assertTrue(opened.sync_if_present(KEY), name)
            os.unlink(f"{self.path}/{name}")

    def test_does_not_take_another_for_it(self) -> None:
        opened = self.open()
        other = message_key(1_763_812_987, "1kD3vB0007Qwbz", "v@here.example")
        open(f"{self.path}/new/{other}mx,S=5", "w").close()
        self.assertFalse(opened.sync_if_present(KEY))

    def test_makes_sure_that_it_stays(self) -> None:
        opened = self.open()
        synced = []
        self.patch(module.os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
        open(f"{self.path}/cur/{KEY}mx,S=5:2,S", "w").close()
        opened.sync_if_present(KEY)
        open(f"{self.path}/new/{KEY}mx,S=5", "w").close()
        opened.sync_if_present(KEY)
        self.assertEqual(synced, [f"{self.path}/cur", f"{self.path}/new"])


class KeepingOpen(MaildirCase):
    def setUp(self) -> None:
        super().setUp()
        self.maildirs = OpenMaildirs(2)
        self.addCleanup(self.maildirs.close)

    def test_a_maildir_is_opened_once(self) -> None:
        first = self.maildirs.get(self.path)
        self.maildirs.trim()
        self.assertIs(self.maildirs.get(self.path), first)

    def test_one_that_was_moved_away_is_not_written_to(self) -> None:
        first = self.maildirs.get(self.path)
        self.maildirs.trim()
        os.rename(self.path, self.path + ".old")
        second = self.maildirs.get(self.path)
        self.assertIsNot(second, first)
        self.assertTrue(os.path.samestat(os.fstat(second.new), os.stat(f"{self.path}/new")))

    def test_the_least_recently_used_are_closed(self) -> None:
        paths = [f"{self.root}/{n}" for n in range(3)]
        first = self.maildirs.get(paths[0])
        self.maildirs.get(paths[1])
        self.maildirs.get(paths[0])
        self.maildirs.get(paths[2])
        self.assertEqual(len(open_descriptors() - self.before), 6)
        self.maildirs.trim()
        self.assertEqual(len(open_descriptors() - self.before), 4)
        self.assertIs(self.maildirs.get(paths[0]), first)

    def test_closing_leaves_nothing_open(self) -> None:
        self.maildirs.get(self.path)
        self.maildirs.close()
        self.assertEqual(open_descriptors() - self.before, set())
