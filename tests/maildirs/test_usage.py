"""Claims about ``maildirsize``; that Dovecot agrees is in ``tests/interop/test_mailboxes.py``."""

import os
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs import usage
from postroom.maildirs.usage import NO_QUOTA, STALE_SECONDS, Quota, Usage

QUOTA = Quota(1000, 10)
ONE = Usage(1, 1)


class UsageCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        for part in ("new", "cur", "tmp", ".Lists/new", ".Lists/cur", "..gone/cur"):
            os.makedirs(f"{self.path}/{part}")
        stack = ExitStack()
        self.root = stack.enter_context(usage.opened(self.path))
        self.addCleanup(stack.close)

    def put(self, name: str, octets: int = 0) -> None:
        with open(f"{self.path}/{name}", "wb") as file:
            file.write(b"x" * octets)

    def record(self, text: str) -> None:
        with open(f"{self.path}/maildirsize", "w") as file:
            file.write(text)

    def text(self) -> str:
        with open(f"{self.path}/maildirsize") as file:
            return file.read()

    def current(self, more: Usage = ONE, later: float = 0) -> Usage:
        now = os.stat(f"{self.path}/maildirsize").st_mtime + later
        return usage.current(self.root, QUOTA, more, now)


class Counting(UsageCase):
    def test_all_folders_count_by_the_size_in_the_name_or_else_the_file(self) -> None:
        self.put("new/1.a,S=100", 3)
        self.put("cur/2.b:2,ST", 20)
        self.put(".Lists/cur/3.c,S=300,W=310:2,S")
        for other in ("new/.hidden", "tmp/4.d", "..gone/cur/5.e", "dovecot-uidlist"):
            self.put(other, 1000)
        self.assertEqual(usage.count(self.root), Usage(420, 3))

    def test_a_count_makes_the_record_that_dovecot_knows(self) -> None:
        self.put("new/1.a,S=100")
        self.assertEqual(usage.recount(self.root, QUOTA), Usage(100, 1))
        self.assertEqual(self.text(), "1000S,10C\n100 1\n")
        self.assertEqual(os.stat(f"{self.path}/maildirsize").st_mode & 0o777, 0o600)
        usage.recount(self.root, Quota(messages=5))
        self.assertEqual(self.text(), "5C\n100 1\n")

    def test_without_a_quota_the_record_goes(self) -> None:
        self.record("5C\n0 0\n")
        usage.recount(self.root, NO_QUOTA)
        self.assertFalse(os.path.exists(f"{self.path}/maildirsize"))

    def test_what_changes_meanwhile_is_counted_again(self) -> None:
        real, counts = usage.count, []

        def count(root: int) -> Usage:
            found = real(root)
            if not counts:
                self.put("new/1.a,S=7")
            counts.append(found)
            return found

        self.patch(usage, "count", count)
        self.assertEqual(usage.recount(self.root, QUOTA), Usage(7, 1))
        self.assertEqual(len(counts), 2)

    def test_links_are_not_followed(self) -> None:
        outside = self.mktemp()
        os.makedirs(f"{outside}/cur")
        open(f"{outside}/cur/1.a,S=5", "w").close()
        os.symlink(os.path.abspath(outside), f"{self.path}/.Linked")
        self.assertEqual(usage.count(self.root), Usage(0, 0))


class Reading(UsageCase):
    def test_the_changes_add_up(self) -> None:
        self.record("1000S,10C\n100 1\n50 1\n-30 -1\n")
        record = usage.read(self.root)
        assert record is not None
        self.assertEqual((record.quota, record.usage), (QUOTA, Usage(120, 1)))
        self.assertEqual(record.changes, 3)

    def test_nought_is_no_limit(self) -> None:
        self.record("0S,10C\n0 0\n")
        record = usage.read(self.root)
        assert record is not None
        self.assertEqual(record.quota, Quota(None, 10))

    def test_what_is_not_of_the_form_is_not_used(self) -> None:
        for text in (
            "",
            "1000S",
            "1000S,10C\n",
            "1000S,10C\n1",
            "1000S,10C\n1\n",
            "1000S,10C\n1 1",
            "1000S,10C\na b\n",
            "1000X\n1 1\n",
            "1000S,10C\n-5 1\n",
            "1000S,10C\n5 -1\n",
            "1000S,10C\n" + "1 1\n" * 1300,
            "\0" * 100,
        ):
            self.record(text)
            self.assertIsNone(usage.read(self.root), text[:40])

    def test_what_is_no_file_is_not_read(self) -> None:
        os.symlink("/etc/passwd", f"{self.path}/maildirsize")
        self.assertIsNone(usage.read(self.root))
        os.unlink(f"{self.path}/maildirsize")
        os.mkfifo(f"{self.path}/maildirsize")
        self.assertIsNone(usage.read(self.root))

    def test_a_change_is_one_line_and_makes_no_file(self) -> None:
        usage.append(self.root, 5, 1)
        self.assertIsNone(usage.read(self.root))
        self.record("10C\n0 0\n")
        usage.append(self.root, 50, 2)
        usage.append(self.root, -20, -1)
        self.assertEqual(self.text(), "10C\n0 0\n50 2\n-20 -1\n")


class WhenToCount(UsageCase):
    """The Maildir is empty: what comes from the record shows that nothing was counted."""

    def test_while_there_is_room_the_record_is_believed(self) -> None:
        self.record("1000S,10C\n900 9\n50 0\n")
        self.assertEqual(self.current(), Usage(950, 9))
        self.assertEqual(self.current(later=10 * STALE_SECONDS), Usage(950, 9))

    def test_a_record_of_another_quota_is_made_anew(self) -> None:
        self.record("2000S,10C\n900 9\n")
        self.assertEqual(self.current(), Usage(0, 0))
        self.assertEqual(self.text(), "1000S,10C\n0 0\n")

    def test_a_record_that_cannot_be_used_is_made_anew(self) -> None:
        self.record("nonsense")
        self.assertEqual(self.current(), Usage(0, 0))

    def test_nobody_is_full_by_a_record_with_changes(self) -> None:
        self.record("1000S,10C\n900 9\n100 1\n")
        self.assertEqual(self.current(), Usage(0, 0))

    def test_nobody_is_full_by_an_old_record(self) -> None:
        self.record("1000S,10C\n1000 10\n")
        self.assertEqual(self.current(later=STALE_SECONDS), Usage(1000, 10))
        self.assertEqual(self.current(later=STALE_SECONDS + 1), Usage(0, 0))

    def test_octets_and_messages_are_limits_each(self) -> None:
        for full in ("1000 1", "1 10"):
            self.record(f"1000S,10C\n{full}\n")
            found = self.current()
            self.assertFalse(QUOTA.holds(found.plus(1, 1)), full)
            self.assertTrue(QUOTA.holds(found))
