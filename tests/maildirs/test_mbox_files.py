"""Claims about which files of a directory are imported, and where to."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs.mbox_files import below, files_in, mailbox_of


class Names(SynchronousTestCase):
    def test_a_mailbox_is_named_by_its_file(self) -> None:
        for file_name, expected in (
            ("Lists.mbox", "Lists"),
            ("Lists.Python.mbox", "Lists.Python"),
            ("Lists.mbox.gz", "Lists"),
            ("Lists.MBOX.XZ", "Lists"),
            ("Lists.zip", "Lists"),
            ("Takeout/Mail/All mail.mbox", "All mail"),
            ("Inbox", "Inbox"),
            ("2019", "2019"),
            (".mbox", ".mbox"),
            (".gz", ".gz"),
        ):
            self.assertEqual(mailbox_of(file_name), expected, file_name)

    def test_the_inbox_is_what_all_goes_into(self) -> None:
        for mailbox, name, expected in (
            ("INBOX", "INBOX", "INBOX"),
            ("INBOX", "Lists", "Lists"),
            ("inbox", "Inbox", "inbox"),
            ("Old", "INBOX", "Old"),
            ("Old", "Inbox", "Old"),
            ("Old", "Lists", "Old.Lists"),
        ):
            self.assertEqual(below(mailbox, name), expected)


class Directories(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()

    def found(self, mailbox: str = "INBOX") -> list[tuple[str, str, str]]:
        return [
            (str(each.path.relative_to(self.path)), each.mailbox, each.fault)
            for each in files_in(self.path, mailbox)
        ]

    def test_files_are_taken_in_order_with_or_without_a_suffix(self) -> None:
        for name in ("b.mbox", "INBOX.mbox", "a.mbox.gz", "Sent", "Sent.msf", ".hidden"):
            (self.path / name).touch()
        expected = [("INBOX.mbox", "Old"), ("Sent", "Old.Sent"), ("a.mbox.gz", "Old.a")]
        self.assertEqual([each[:2] for each in self.found("Old")[:3]], expected)
        self.assertEqual(self.found()[3:], [("b.mbox", "b", "")])

    def test_other_programs_have_directories(self) -> None:
        for name in ("A.mbox/mbox", "A.mbox/table_of_contents", "B.sbd/x", "B.sbd/C.sbd/y.mbox"):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).touch()
        os.symlink(self.path, self.path / "B.sbd" / "D.sbd")
        found = self.found()
        self.assertEqual(
            [each[:2] for each in found],
            [
                ("A.mbox/mbox", "A"),
                ("B.sbd/C.sbd/y.mbox", "B.C.y"),
                ("B.sbd/D.sbd", "B.D.sbd"),
                ("B.sbd/x", "B.x"),
            ],
        )
        self.assertEqual([bool(each[2]) for each in found], [False, False, True, False])

    def test_what_is_no_file_is_named(self) -> None:
        (self.path / "sub").mkdir()
        os.mkfifo(self.path / "pipe.mbox")
        os.symlink("nowhere", self.path / "z.mbox")
        self.assertEqual(
            [each[2] for each in self.found()],
            [
                "it is no regular file",
                "it is a directory: import it by itself",
                "it is no regular file",
            ],
        )
