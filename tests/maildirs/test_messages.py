"""Claims about messages: finding, flagging, moving, copying and expunging them."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.errors import UserError
from postroom.maildirs.line_ends import LineEnds, Sizes
from postroom.maildirs.messages import (
    Gone,
    OpenMailbox,
    opened_below,
    opened_mailbox,
    store_message,
)
from tests.filesystem import RecordingDisk, fail_calls
from tests.maildirs.support import MaildirCase


class MessagesCase(MaildirCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("new/3.c", b"third", 3000)
        self.put("cur/1.a,S=5:2,S", b"first", 1000)
        self.put("cur/2.b:2,FSab", b"second", 2000)
        self.put(".Old/cur/9.z:2,S", b"old", 500)

    @contextmanager
    def both(self) -> Iterator[tuple[OpenMailbox, OpenMailbox]]:
        with (
            opened_mailbox(self.path, "INBOX") as inbox,
            opened_below(inbox.root, "Old") as old,
        ):
            yield inbox, old

    def record(self) -> str:
        return (self.path / "maildirsize").read_text()


class Finding(MessagesCase):
    def test_messages_are_listed_in_order_of_arrival(self) -> None:
        with opened_mailbox(self.path, "inbox") as inbox:
            found = [(e.number, e.base, e.flags, e.part) for e in inbox.entries()]
        self.assertEqual(
            found,
            [(1, "1.a,S=5", "S", "cur"), (2, "2.b", "FSab", "cur"), (3, "3.c", "", "new")],
        )

    def test_a_message_is_found_by_number_or_by_name_with_or_without_flags(self) -> None:
        with opened_mailbox(self.path, "INBOX") as inbox:
            for name in ("2", "2.b", "2.b:2,S"):
                self.assertEqual([e.base for e in inbox.find([name])], ["2.b"])
            self.assertEqual([e.base for e in inbox.find(["3", "3.c", "1"])], ["3.c", "1.a,S=5"])

    def test_a_name_that_is_a_number_is_a_name(self) -> None:
        self.put("cur/1:2,S", b"", 9000)
        with opened_mailbox(self.path, "INBOX") as inbox:
            self.assertEqual(inbox.find(["1"])[0].number, 4)

    def test_what_is_not_there_is_said(self) -> None:
        with opened_mailbox(self.path, "INBOX") as inbox:
            for name in ("0", "4", "99999999999999999999", "x", "", "../cur/2.b", "-1", "²"):
                with self.assertRaisesRegex(UserError, "there is no message"):
                    inbox.find([name])

    def test_a_mailbox_that_is_not_there_is_not_made(self) -> None:
        with self.assertRaisesRegex(UserError, "did you mean Old"):
            opened_mailbox(self.path, "Olds").__enter__()
        self.assertEqual(self.names(".Olds"), [])

    def test_looking_changes_nothing(self) -> None:
        (self.path / ".Old" / "new").rmdir()
        before = self.snapshot()
        with opened_mailbox(self.path, "Old") as old:
            (entry,) = old.entries()
            with old.reading(entry) as file:
                self.assertEqual(file.read(), b"old")
        self.assertEqual(self.snapshot(), before)

    def test_links_and_fifos_are_listed_and_not_read(self) -> None:
        os.symlink("/etc/passwd", self.path / "cur" / "7.l:2,S")
        os.mkfifo(self.path / "cur" / "8.f:2,S")
        with opened_mailbox(self.path, "INBOX") as inbox:
            for name in ("7.l", "8.f"):
                with self.assertRaisesRegex(UserError, "cannot be read"):
                    inbox.reading(inbox.find([name])[0]).__enter__()


class Flagging(MessagesCase):
    def flag(self, add: str, remove: str, *names: str) -> None:
        with opened_mailbox(self.path, "INBOX") as inbox:
            inbox.flag(inbox.find(names), add, remove)

    def test_the_name_keeps_its_base_and_keywords(self) -> None:
        self.flag("R", "F", "2.b")
        self.assertEqual(self.names(), ["1.a,S=5:2,S", "2.b:2,RSab"])

    def test_a_new_message_is_new_no_more(self) -> None:
        self.flag("", "F", "3.c")
        self.assertEqual((self.names("new"), self.names()[-1]), ([], "3.c:2,"))

    def test_a_program_that_was_faster_does_no_harm(self) -> None:
        with opened_mailbox(self.path, "INBOX") as inbox:
            entries = inbox.find(["3.c", "1"])
            os.rename(self.path / "new" / "3.c", self.path / "cur" / "3.c:2,S")
            os.rename(self.path / "cur" / "1.a,S=5:2,S", self.path / "cur" / "1.a,S=5:2,")
            inbox.flag(entries, "F", "")
        self.assertEqual(self.names(), ["1.a,S=5:2,F", "2.b:2,FSab", "3.c:2,FS"])

    def test_one_that_is_gone_is_said_and_the_others_are_flagged(self) -> None:
        with opened_mailbox(self.path, "INBOX") as inbox:
            entries = inbox.find(["1", "2"])
            (self.path / "cur" / "1.a,S=5:2,S").unlink()
            with self.assertRaisesRegex(Gone, r"1\.a"):
                inbox.flag(entries, "T", "")
        self.assertEqual(self.names(), ["2.b:2,FSTab"])


class Moving(MessagesCase):
    def test_a_message_keeps_base_time_and_flags_but_no_keywords(self) -> None:
        with self.both() as (inbox, old):
            inbox.move(inbox.find(["2", "3"]), old)
        self.assertEqual((self.names(), self.names("new")), (["1.a,S=5:2,S"], []))
        self.assertEqual(self.names(".Old/cur"), ["2.b:2,FS", "9.z:2,S"])
        self.assertEqual(self.names(".Old/new"), ["3.c"])
        moved = self.path / ".Old" / "cur" / "2.b:2,FS"
        self.assertEqual((moved.read_bytes(), moved.stat().st_mtime), (b"second", 2000))

    def test_it_is_synced_there_before_it_goes_from_here(self) -> None:
        disk = RecordingDisk(self, self.path)
        with self.both() as (inbox, old):
            inbox.move(inbox.find(["1"]), old)
        self.assertEqual(
            disk.events,
            [
                "sync cur/1.a,S=5:2,S",
                "link .Old/cur/1.a,S=5:2,S",
                "sync .Old/new",
                "sync .Old/cur",
                "unlink cur/1.a,S=5:2,S",
                "sync new",
                "sync cur",
            ],
        )

    def test_what_was_interrupted_is_finished_by_the_same_command(self) -> None:
        os.link(self.path / "cur" / "2.b:2,FSab", self.path / ".Old" / "cur" / "2.b:2,S")
        with self.both() as (inbox, old):
            inbox.move(inbox.find(["2.b"]), old)
        self.assertEqual(self.names(), ["1.a,S=5:2,S"])
        self.assertEqual(self.names(".Old/cur"), ["2.b:2,S", "9.z:2,S"])

    def test_another_message_of_that_name_is_not_replaced(self) -> None:
        self.put(".Old/cur/2.b:2,FS", b"other")
        with self.both() as (inbox, old):
            inbox.move(inbox.find(["2.b"]), old)
        contents = [(self.path / ".Old" / "cur" / n).read_bytes() for n in self.names(".Old/cur")]
        self.assertEqual(sorted(contents), [b"old", b"other", b"second"])

    def test_where_no_link_can_be_made_it_is_written_anew(self) -> None:
        fail_calls(self, "link", errno.EXDEV)
        with self.both() as (inbox, old):
            inbox.move(inbox.find(["2"]), old)
        moved = self.path / ".Old" / "cur" / "2.b:2,FS"
        self.assertEqual((moved.read_bytes(), moved.stat().st_mtime), (b"second", 2000))
        self.assertEqual(moved.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.names(".Old/tmp"), [])

    def test_into_itself_is_refused(self) -> None:
        with (
            opened_mailbox(self.path, "INBOX") as inbox,
            self.assertRaisesRegex(UserError, "in INBOX already"),
        ):
            inbox.move(inbox.find(["1"]), inbox)

    def test_one_that_is_gone_is_said_and_the_others_are_moved(self) -> None:
        with self.both() as (inbox, old):
            entries = inbox.find(["1", "2"])
            (self.path / "cur" / "1.a,S=5:2,S").unlink()
            with self.assertRaises(Gone):
                inbox.move(entries, old)
        self.assertEqual((self.names(), len(self.names(".Old/cur"))), ([], 2))

    def test_the_quota_is_the_same_as_before(self) -> None:
        (self.path / "maildirsize").write_text("9C\n5 5\n")
        with self.both() as (inbox, old):
            inbox.move(inbox.find(["1"]), old)
        self.assertEqual(self.record(), "9C\n5 5\n")


class Copying(MessagesCase):
    def test_a_copy_is_a_message_of_its_own(self) -> None:
        (self.path / "maildirsize").write_text("9C\n5 5\n")
        with self.both() as (inbox, old):
            inbox.copy(inbox.find(["2", "3"]), old)
        self.assertEqual((len(self.names()), self.names("new")), (2, ["3.c"]))
        copied = next(name for name in self.names(".Old/cur") if name != "9.z:2,S")
        self.assertRegex(copied, r",S=6:2,FS$")
        self.assertRegex(self.names(".Old/new")[0], r",S=5$")
        self.assertEqual((self.path / ".Old" / "cur" / copied).stat().st_mtime, 2000)
        self.assertEqual(self.record(), "9C\n5 5\n11 2\n")

    def test_within_a_mailbox_it_keeps_its_keywords(self) -> None:
        with opened_mailbox(self.path, "INBOX") as inbox:
            inbox.copy(inbox.find(["2"]), inbox)
        self.assertEqual([n[-4:] for n in self.names() if "a,S=5" not in n], ["FSab", "FSab"])


class Expunging(MessagesCase):
    def test_messages_go_and_the_quota_is_told_once(self) -> None:
        (self.path / "maildirsize").write_text("9C\n5 5\n")
        with opened_mailbox(self.path, "INBOX") as inbox:
            entries = inbox.find(["1", "2", "3"])
            (self.path / "cur" / "2.b:2,FSab").unlink()
            inbox.expunge(entries)
        self.assertEqual((self.names(), self.names("new")), ([], []))
        self.assertEqual(self.record(), "9C\n5 5\n-10 -2\n")


class PowerCuts(MessagesCase):
    """A power cut after any of these leaves what the user was told."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = RecordingDisk(self, self.path)
        # Another program has written it and has not synced it.
        (self.path / "cur" / "4.d,S=6:2,").write_bytes(b"fourth")

    def test_a_message_is_synced_before_it_gets_another_name(self) -> None:
        with self.both() as (inbox, old):
            inbox.copy(inbox.find(["4.d,S=6"]), old)
            inbox.move(inbox.find(["4.d,S=6"]), old)
        self.assertEqual((self.disk.torn, self.disk.unsynced()), ([], []))

    def test_where_no_link_can_be_made_the_copy_is_synced_before_it_has_its_name(self) -> None:
        fail_calls(self, "link", errno.EXDEV, times=2)
        with self.both() as (inbox, old):
            inbox.copy(inbox.find(["2"]), old)
            inbox.move(inbox.find(["2"]), old)
        self.assertEqual(self.disk.torn, [])
        self.assertEqual(self.lost_below(".Old"), [])

    def test_what_was_expunged_does_not_come_back(self) -> None:
        with self.both() as (inbox, _):
            inbox.expunge(inbox.find(["1", "3"]))
        self.assertEqual(self.lost_below("new"), [])
        self.assertEqual(self.lost_below("cur"), ["cur/4.d,S=6:2,"])

    def test_a_flag_stays(self) -> None:
        with self.both() as (inbox, _):
            inbox.flag(inbox.find(["3"]), "S", "")
        self.assertEqual(self.lost_below("new"), [])

    def lost_below(self, folder: str) -> list[str]:
        return [path for path in self.disk.unsynced() if path.startswith(f"{folder}/")]


class Names(MessagesCase):
    def copied(self, name: str, octets: bytes) -> str:
        self.put(f"cur/{name}", octets, 9000)
        with self.both() as (inbox, old):
            inbox.copy(inbox.find(["4"]), old)
        (copied,) = set(self.names(".Old/cur")) - {"9.z:2,S"}
        return copied

    def test_a_copy_tells_the_size_with_crlf_if_the_message_s_own_name_does(self) -> None:
        self.assertRegex(self.copied("5.e,S=4,W=6:2,S", b"a\nb\n"), r"[^,]+,S=4,W=6:2,S$")

    def test_and_otherwise_its_file_s_size_alone(self) -> None:
        self.assertRegex(self.copied("5.e:2,S", b"a\r\nb\r\n"), r"[^,]+,S=6:2,S$")


class Storing(MaildirCase):
    def stored(self, line_ends: LineEnds, *chunks: bytes) -> tuple[bytes, Sizes]:
        path = self.path.with_name(f"{self.path.name}-{line_ends.value}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.addCleanup(os.close, descriptor)
        sizes = store_message(descriptor, chunks, line_ends)
        return path.read_bytes(), sizes

    def test_a_message_gets_the_line_ends_of_the_site(self) -> None:
        crlf, lf = b"a\r\n\r\nb\r\n", b"a\n\nb\n"
        for given in ((crlf,), (lf,), (b"a\r", b"\n\r\nb", b"\n")):
            self.assertEqual(self.stored(LineEnds.LF, *given), (lf, Sizes(5, 8)))
            self.assertEqual(self.stored(LineEnds.CRLF, *given), (crlf, Sizes(8, 8)))

    def test_or_stays_as_it_is(self) -> None:
        self.assertEqual(self.stored(LineEnds.KEPT, b"a\r\nb\n\r"), (b"a\r\nb\n\r", Sizes(6, 7)))

    def test_a_source_that_fails_is_heard(self) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"a"
            raise UserError("it ends here")

        with open(self.mktemp(), "wb") as file:
            self.assertRaises(UserError, store_message, file.fileno(), chunks(), LineEnds.LF)
