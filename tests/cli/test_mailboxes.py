"""``postroom mailbox``."""

import mailbox
from pathlib import Path

from tests.cli.support import CommandTestCase


class MailboxTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.maildir = self.mail_root / "localhost" / "postmaster"

    def deliver(self, message: bytes) -> None:
        self.maildir.parent.mkdir(parents=True, exist_ok=True)
        mailbox.Maildir(self.maildir, create=True).add(message)

    def test_path_prints_the_absolute_maildir_and_nothing_else(self) -> None:
        output = self.succeed("mailbox", "path", "Postmaster@localhost")
        self.assertEqual(output, f"{self.maildir}\n")
        self.assertTrue(Path(output.rstrip("\n")).is_absolute())
        self.assertEqual(
            self.succeed_json("mailbox", "path", "postmaster@localhost"),
            {"address": "postmaster@localhost", "maildir": str(self.maildir)},
        )

    def test_an_unknown_account_is_refused(self) -> None:
        for command in ("path", "show"):
            self.refuse("no account joe@localhost", "mailbox", command, "joe@localhost")

    def test_a_mailbox_that_never_got_mail_is_listed_empty_and_not_made(self) -> None:
        self.assertEqual(
            self.succeed_json("mailbox", "list"),
            [
                {
                    "address": "postmaster@localhost",
                    "messages": 0,
                    "size_octets": 0,
                    "maildir": str(self.maildir),
                }
            ],
        )
        self.assertEqual(
            self.succeed_json("mailbox", "show", "postmaster@localhost")["messages"], []
        )
        self.assertFalse(self.mail_root.exists())

    def test_messages_are_counted_and_shown(self) -> None:
        self.deliver(
            b"From: Zoe <zoe@b.example>\nSubject: =?utf-8?q?caf=C3=A9?=\n"
            b"Date: Fri, 02 Jan 2026 03:04:05 +0000\n\n" + b"x" * 2000
        )
        row = self.succeed("mailbox", "list").splitlines()[1]
        self.assertEqual(row.split(), ["postmaster@localhost", "1", "2.0", "KiB"])
        shown = self.succeed_json("mailbox", "show", "postmaster@localhost")["messages"][0]
        self.assertEqual(shown["from"], "Zoe <zoe@b.example>")
        self.assertEqual(shown["subject"], "café")
        self.assertEqual(shown["date"], "2026-01-02T03:04:05+00:00")
        self.assertGreater(shown["size_octets"], 2000)
        self.assertIn("café", self.succeed("mailbox", "show", "postmaster@localhost"))

    def test_showing_a_message_does_not_make_it_an_old_one(self) -> None:
        self.deliver(b"Subject: x\n\n")
        self.succeed("mailbox", "show", "postmaster@localhost")
        self.succeed("mailbox", "list")
        self.assertEqual(len(list((self.maildir / "new").iterdir())), 1)
        self.assertEqual(list((self.maildir / "cur").iterdir()), [])

    def test_a_subject_cannot_drive_the_terminal(self) -> None:
        self.deliver("Subject: \x1b]0;gotcha\x07 \u202eabc [red]x[/red]\nDate: x\n\n".encode())
        output = self.succeed("mailbox", "show", "postmaster@localhost")
        self.assertNotIn("\x1b", output)
        self.assertNotIn("\u202e", output)
        self.assertIn("[red]x[/red]", output)
