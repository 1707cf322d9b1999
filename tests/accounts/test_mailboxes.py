"""Reading Maildirs."""

import mailbox
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.accounts.mailboxes import Contents, list_messages, measure


def _snapshot(root: Path) -> list[tuple[str, int, int]]:
    """Everything about a tree that reading must not change."""
    return sorted(
        (str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")
    )


class MaildirTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def fill(self, *messages: bytes) -> None:
        box = mailbox.Maildir(self.path, create=True)
        for number, message in enumerate(messages):
            (self.path / "new" / f"100{number}.M1.host").write_bytes(message)
        box.close()

    def test_a_maildir_that_is_not_there_is_empty_and_stays_away(self) -> None:
        self.assertEqual(measure(self.path), Contents(0, 0))
        self.assertEqual(list_messages(self.path), [])
        self.assertFalse(self.path.exists())

    def test_a_maildir_half_made_is_empty(self) -> None:
        self.path.mkdir()
        self.assertEqual((measure(self.path), list_messages(self.path)), (Contents(0, 0), []))

    def test_messages_read_and_unread_are_counted_with_their_octets(self) -> None:
        self.fill(b"Subject: a\r\n\r\n1\r\n", b"Subject: b\r\n\r\n22\r\n")
        os.rename(self.path / "new" / "1000.M1.host", self.path / "cur" / "1000.M1.host:2,S")
        (self.path / "tmp" / "half").write_bytes(b"x")
        self.assertEqual(measure(self.path), Contents(2, 35))
        self.assertEqual([each.subject for each in list_messages(self.path)], ["a", "b"])

    def test_a_message_is_summed_up_from_its_header(self) -> None:
        self.fill(
            b"From: =?utf-8?q?Zo=C3=AB?= <zoe@b.example>\r\n"
            b"Subject: =?iso-8859-1?q?caf=E9?=\r\n =?utf-8?b?IG5vaXI=?=\r\n"
            b"Date: Fri, 02 Jan 2026 03:04:05 +0100\r\n\r\nSubject: not this\r\n"
        )
        found = list_messages(self.path)[0]
        self.assertEqual(found.sender, "Zoë <zoe@b.example>")
        self.assertEqual(found.subject, "café noir")
        self.assertEqual(found.date.isoformat() if found.date else "", "2026-01-02T03:04:05+01:00")
        self.assertEqual(found.size_octets, (self.path / "new" / found.key).stat().st_size)

    def test_the_oldest_message_comes_first_and_undated_ones_before_all(self) -> None:
        self.fill(
            b"Date: Fri, 02 Jan 2026 03:04:05 +0100\n\n",
            b"Date: Fri, 02 Jan 2026 03:04:05 +0200\n\n",
            b"Date: Fri, 02 Jan 2026 02:04:04 -0000\n\n",
            b"Date: yesterday\n\n",
        )
        keys = [each.key[:4] for each in list_messages(self.path)]
        self.assertEqual(keys, ["1003", "1001", "1002", "1000"])

    def test_hostile_headers_are_read_somehow(self) -> None:
        self.fill(
            b"",
            b"\r\n",
            b"Subject: =?nonsense?q?x?=\n\n",
            b"Subject: =?utf-8?b?!!!!?=\n\n",
            b"Subject: \xff\xfe raw\nDate: Mon, 99 Foo 99999 99:99:99 +9999\n\n",
            b"Subject\nFrom\n: x\n\n",
            b"Date: Fri, 02 Jan 0000 03:04:05 +0100\n\n",
            b"X: " + b"y" * 1_000_000,
        )
        self.assertEqual(len(list_messages(self.path)), 8)

    def test_reading_changes_nothing(self) -> None:
        self.fill(b"Subject: a\n\n1\n", b"Subject: b\n\n2\n")
        before = _snapshot(self.path)
        measure(self.path)
        list_messages(self.path)
        self.assertEqual(_snapshot(self.path), before)

    def test_messages_that_vanish_are_skipped(self) -> None:
        self.fill(b"Subject: a\n\n", b"Subject: b\n\n")
        real = mailbox.Maildir.get_file
        gone = self.path / "new" / "1000.M1.host"

        def get_file(box: mailbox.Maildir, key: str) -> object:
            gone.unlink(missing_ok=True)
            return real(box, key)

        self.patch(mailbox.Maildir, "get_file", get_file)
        self.assertEqual([each.subject for each in list_messages(self.path)], ["b"])
