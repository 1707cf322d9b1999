"""Claims about mailboxes: listing, making, renaming, deleting."""

import os
import shutil
import stat
from pathlib import Path

from postroom.errors import UserError
from postroom.maildirs import mailboxes as module
from postroom.maildirs.mailboxes import (
    MailboxRow,
    create_mailbox,
    delete_mailbox,
    find_mailbox,
    list_mailboxes,
    measure,
    rename_mailbox,
)
from postroom.maildirs.usage import Usage
from tests.filesystem import RecordingDisk
from tests.maildirs.support import MaildirCase


class Listing(MaildirCase):
    def test_an_account_without_mail_has_an_empty_inbox_and_stays_without_a_maildir(self) -> None:
        self.assertEqual(list_mailboxes(self.path), (MailboxRow("INBOX"),))
        self.assertEqual(measure(self.path), Usage(0, 0))
        self.assertFalse(self.path.exists())

    def test_mailboxes_are_listed_with_what_they_hold(self) -> None:
        self.put("new/1.a", b"x" * 10)
        self.put("cur/2.b:2,S", b"x" * 20)
        self.put(".Zoo/cur/3.c,S=300:2,")
        self.put(".Entw&APw-rfe/new/4.d", b"x")
        self.assertEqual(
            list_mailboxes(self.path),
            (
                MailboxRow("INBOX", 2, 1, 30),
                MailboxRow("Entwürfe", 1, 1, 1),
                MailboxRow("Zoo", 1, 1, 300),
            ),
        )
        self.assertEqual(measure(self.path), Usage(331, 4))

    def test_what_is_no_folder_is_not_listed(self) -> None:
        self.put("new/1.a")
        outside = Path(self.mktemp()).absolute()
        (outside / "cur").mkdir(parents=True)
        os.symlink(outside, self.path / ".Linked")
        for name in (".empty", "..gone/cur", "plain/cur"):
            (self.path / name).mkdir(parents=True)
        (self.path / ".file").touch()
        self.assertEqual([row.name for row in list_mailboxes(self.path)], ["INBOX"])

    def test_listing_changes_nothing(self) -> None:
        self.put("new/1.a")
        (self.path / ".Half").mkdir()
        (self.path / ".Half" / "maildirfolder").touch()
        before = self.snapshot()
        list_mailboxes(self.path)
        measure(self.path)
        self.assertEqual(self.snapshot(), before)

    def test_a_maildir_that_cannot_be_read_is_said(self) -> None:
        self.path.write_text("no directory")
        for function in (list_mailboxes, measure):
            with self.assertRaisesRegex(UserError, "Not a directory"):
                function(self.path)


class Making(MaildirCase):
    def test_a_folder_is_a_directory_beside_the_others(self) -> None:
        self.assertEqual(create_mailbox(self.path, "Lists.Python"), "Lists.Python")
        self.assertEqual(self.names(".Lists.Python"), ["cur", "maildirfolder", "new", "tmp"])
        self.assertEqual(self.names(""), [".Lists.Python", "cur", "new", "tmp"])
        for path in (self.path, *self.path.rglob("*")):
            wanted = 0o600 if path.name == "maildirfolder" else 0o700
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), wanted, path)

    def test_what_is_there_is_not_made_again(self) -> None:
        create_mailbox(self.path, "Lists")
        for name in ("Lists", "INBOX", "inbox"):
            with self.assertRaisesRegex(UserError, "exists already"):
                create_mailbox(self.path, name)

    def test_nothing_is_made_outside(self) -> None:
        for name in ("../x", "a/../../x", "/tmp/x", "..", ""):
            with self.assertRaises(UserError):
                create_mailbox(self.path, name)
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_a_folder_half_made_is_finished(self) -> None:
        (self.path / ".Lists").mkdir(parents=True)
        create_mailbox(self.path, "Lists")
        self.assertIn("Lists", [row.name for row in list_mailboxes(self.path)])

    def test_a_link_in_the_way_is_refused(self) -> None:
        outside = Path(self.mktemp()).absolute()
        outside.mkdir()
        self.path.mkdir()
        os.symlink(outside, self.path / ".Lists")
        self.assertRaises(OSError, create_mailbox, self.path, "Lists")
        self.assertEqual(list(outside.iterdir()), [])


class Renaming(MaildirCase):
    def test_those_below_go_along_and_nothing_in_them_changes(self) -> None:
        for name in (".Lists", ".Lists.Python", ".Lists.Python.Dev", ".Listsx"):
            self.put(f"{name}/cur/1.a:2,S")
        (self.path / ".Lists" / "dovecot-uidlist").write_text("3 V1 N2\n")
        self.assertEqual(
            rename_mailbox(self.path, "Lists", "Archive.Old"),
            [
                ("Lists", "Archive.Old"),
                ("Lists.Python", "Archive.Old.Python"),
                ("Lists.Python.Dev", "Archive.Old.Python.Dev"),
            ],
        )
        names = [row.name for row in list_mailboxes(self.path)]
        self.assertEqual(
            names,
            ["INBOX", "Archive.Old", "Archive.Old.Python", "Archive.Old.Python.Dev", "Listsx"],
        )
        self.assertEqual((self.path / ".Archive.Old" / "dovecot-uidlist").read_text(), "3 V1 N2\n")

    def test_what_was_interrupted_is_finished_by_the_same_command(self) -> None:
        for name in (".A", ".A.B", ".A.C"):
            self.put(f"{name}/cur/1.a:2,S")
        true, calls = os.rename, [0]

        def rename(*args: object, **kwargs: object) -> None:
            calls[0] += 1
            if calls[0] == 2:
                raise KeyboardInterrupt
            true(*args, **kwargs)  # type: ignore[arg-type]

        patched = self.patch(module.os, "rename", rename)
        self.assertRaises(KeyboardInterrupt, rename_mailbox, self.path, "A", "Z")
        patched.restore()
        rename_mailbox(self.path, "A", "Z")
        self.assertEqual(
            [row.name for row in list_mailboxes(self.path)], ["INBOX", "Z", "Z.B", "Z.C"]
        )

    def test_wrong_names_are_refused_and_nothing_is_renamed(self) -> None:
        for name in (".Lists", ".Lists.Python", ".Other.Python"):
            self.put(f"{name}/cur/1.a:2,S")
        before = self.snapshot()
        for old, new, why in (
            ("Lst", "X", "no mailbox Lst"),
            ("Lissts", "X", "did you mean Lists"),
            ("INBOX", "X", "inbox"),
            ("Lists", "inbox", "inbox"),
            ("Lists", "Lists", "same"),
            ("Lists", "Lists.Below", "below"),
            ("Lists", "a/b", "slash"),
            ("Lists", "x" * 195, "longer"),
            ("Lists.Python", "Other.Python", "exists already"),
            ("Lists", "Other", "Other.Python exists already"),
        ):
            with self.assertRaisesRegex(UserError, why):
                rename_mailbox(self.path, old, new)
        self.assertEqual(self.snapshot(), before)


class Deleting(MaildirCase):
    def test_the_folder_goes_and_those_below_it_stay(self) -> None:
        self.put(".A/cur/1.a,S=9:2,S")
        self.put(".A.B/cur/1.a:2,S")
        (self.path / "maildirsize").write_text("10C\n500 2\n")
        self.assertEqual(delete_mailbox(self.path, "A"), MailboxRow("A", 1, 0, 9))
        self.assertEqual([row.name for row in list_mailboxes(self.path)], ["INBOX", "A.B"])
        self.assertEqual(self.names(""), [".A.B", "maildirsize"])
        self.assertEqual((self.path / "maildirsize").read_text(), "10C\n500 2\n-9 -1\n")

    def test_what_a_crash_left_is_removed_by_the_next(self) -> None:
        self.put(".A/cur/1.a:2,S")
        self.put(".B/cur/1.a:2,S")
        real = shutil.rmtree
        patched = self.patch(module.shutil, "rmtree", lambda *a, **k: None)
        delete_mailbox(self.path, "A")
        patched.restore()
        self.assertEqual([row.name for row in list_mailboxes(self.path)], ["INBOX", "B"])
        self.assertEqual(len(self.names("")), 2)
        delete_mailbox(self.path, "B")
        self.assertEqual(self.names(""), [])
        self.assertIs(module.shutil.rmtree, real)

    def test_links_in_it_lead_nowhere(self) -> None:
        outside = Path(self.mktemp()).absolute()
        outside.mkdir()
        (outside / "precious").touch()
        self.put(".A/cur/1.a:2,S")
        os.symlink(outside, self.path / ".A" / "link")
        os.symlink(outside / "precious", self.path / ".A" / "cur" / "2.b:2,S")
        delete_mailbox(self.path, "A")
        self.assertEqual(list(outside.iterdir()), [outside / "precious"])

    def test_the_inbox_and_what_is_not_there_are_refused(self) -> None:
        self.put("cur/1.a:2,S")
        for name, why in (("INBOX", "cannot be deleted"), ("X", "no mailbox X"), ("..", "level")):
            with self.assertRaisesRegex(UserError, why):
                delete_mailbox(self.path, name)
        self.assertEqual(self.names(), ["1.a:2,S"])

    def test_without_any_mail_there_is_nothing_to_change(self) -> None:
        for act in (
            lambda: delete_mailbox(self.path, "A"),
            lambda: find_mailbox(self.path, "A"),
            lambda: rename_mailbox(self.path, "A", "B"),
        ):
            with self.assertRaisesRegex(UserError, "no mail yet"):
                act()


class PowerCuts(MaildirCase):
    """A power cut after any of these leaves what the user was told."""

    def setUp(self) -> None:
        super().setUp()
        self.put("new/1.a")
        self.put(".Lists/cur/2.b:2,S")
        self.disk = RecordingDisk(self, self.path)

    def test_a_folder_stays_with_all_that_makes_it_one(self) -> None:
        create_mailbox(self.path, "Drafts")
        self.assertEqual(self.disk.unsynced(), [])

    def test_so_does_one_whose_parts_were_there_without_the_file_that_names_it(self) -> None:
        create_mailbox(self.path, "Drafts")
        (self.path / ".Drafts" / "maildirfolder").unlink()
        shutil.rmtree(self.path / ".Drafts" / "cur")
        create_mailbox(self.path, "Drafts")
        self.assertEqual(self.disk.unsynced(), [])

    def test_a_folder_keeps_its_new_name(self) -> None:
        rename_mailbox(self.path, "Lists", "Archive")
        self.assertEqual(self.disk.unsynced(), [])

    def test_a_deleted_folder_does_not_come_back(self) -> None:
        delete_mailbox(self.path, "Lists")
        lost = self.disk.unsynced()
        self.assertNotIn(".Lists", lost)
        # Only the directory that nobody takes for a folder may.
        self.assertTrue(all(path.startswith("postroom-deleted-") for path in lost), lost)

    def test_its_messages_go_when_its_name_is_sure_to_be_gone(self) -> None:
        delete_mailbox(self.path, "Lists")
        first = next(event.split()[0] for event in self.disk.events if "rename" not in event)
        self.assertEqual(first, "sync")
