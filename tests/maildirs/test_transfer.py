"""Claims about importing and exporting."""

import errno
import gzip
import io
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postroom.errors import UserError
from postroom.maildirs import transfer as module
from postroom.maildirs.archives import opened_parts
from postroom.maildirs.mbox import DoubtfulLines
from postroom.maildirs.messages import opened_mailbox
from postroom.maildirs.transfer import (
    BATCH_FILES,
    Interrupted,
    MessageImport,
    NewMessage,
    TransferReport,
    from_mailbox,
    from_mbox,
    import_mbox,
    to_mbox,
)
from postroom.maildirs.usage import Quota
from tests.filesystem import RecordingDisk, fail_calls
from tests.maildirs.support import MaildirCase
from tests.maildirs.test_mbox import written

MESSAGES = [b"Subject: %d\r\n\r\nFrom me\r\n" % number for number in range(5)]


class ImportCase(MaildirCase):
    def take(
        self, *incoming: NewMessage, quota: Quota | None = None, name: str = "In"
    ) -> TransferReport:
        with opened_mailbox(self.path, name, make=True) as mailbox:
            importing = MessageImport(mailbox, quota)
            for each in incoming:
                importing.add(each)
            importing.finish()
            return importing.report

    def take_mbox(
        self, octets: bytes, quota: Quota | None = None, name: str = "In"
    ) -> TransferReport:
        with opened_mailbox(self.path, name, make=True) as mailbox:
            importing = MessageImport(mailbox, quota)
            for each in from_mbox(io.BytesIO(octets)):
                importing.add(each)
            importing.finish()
            return importing.report

    def contents(self, directory: str = ".In/cur") -> list[bytes]:
        return sorted((self.path / directory / name).read_bytes() for name in self.names(directory))

    def incoming(self, number: int, **more: Any) -> NewMessage:
        content = MESSAGES[number]
        given = {"received_at": 1000.0 + number, "flags": "S", "is_new": False, "base": None}
        return NewMessage(number, **(given | more), chunks=lambda: iter([content]))


class FromMbox(ImportCase):
    def test_messages_come_in_with_content_flags_and_time(self) -> None:
        octets = written(*MESSAGES[:3], flags="FS") + written(MESSAGES[3], flags="", is_new=True)
        self.assertEqual(self.take_mbox(octets), TransferReport(4))
        self.assertEqual(self.contents(), MESSAGES[:3])
        self.assertEqual(self.contents(".In/new"), [MESSAGES[3]])
        for name in self.names(".In/cur"):
            self.assertRegex(name, r"^1767225600\.M000000[123]I[0-9a-f]{16}N1\..*,S=23,W=23:2,FS$")
            status = (self.path / ".In" / "cur" / name).stat()
            self.assertEqual((status.st_mtime, status.st_mode & 0o777), (1_767_225_600, 0o600))
        self.assertEqual(self.names(".In/tmp"), [])

    def test_a_second_time_nothing_is_added_wherever_flags_went_meanwhile(self) -> None:
        octets = written(*MESSAGES)
        self.take_mbox(octets)
        name = self.names(".In/cur")[0]
        os.rename(self.path / ".In/cur" / name, self.path / ".In/cur" / f"{name}RT")
        self.assertEqual(self.take_mbox(octets), TransferReport(0, 5))
        self.assertEqual(
            self.take_mbox(octets + written(b"Subject: more\n\n")), TransferReport(1, 5)
        )

    def test_twins_in_the_file_are_two_messages(self) -> None:
        octets = written(MESSAGES[0], MESSAGES[0], MESSAGES[1])
        self.assertEqual(self.take_mbox(octets), TransferReport(3))
        self.assertEqual(self.take_mbox(octets), TransferReport(0, 3))

    def test_an_interrupted_import_is_gone_on_with(self) -> None:
        messages = [b"Subject: %d\n\n" % number for number in range(BATCH_FILES + 10)]
        restore = fail_calls(self, "fsync", errno.ENOSPC, first=BATCH_FILES + 13, times=1000)
        self.assertRaises(OSError, self.take_mbox, written(*messages))
        restore()
        self.assertEqual(len(self.names(".In/cur")), BATCH_FILES)
        self.assertEqual(self.take_mbox(written(*messages)), TransferReport(10, BATCH_FILES))
        self.assertEqual(self.contents(), sorted(messages))

    def test_a_power_cut_takes_nothing_that_was_reported(self) -> None:
        self.take_mbox(written(MESSAGES[0]))
        disk = RecordingDisk(self, self.path)
        self.take_mbox(written(*MESSAGES))
        self.assertEqual((disk.torn, disk.unsynced()), ([], []))

    def test_what_an_older_version_named_is_not_taken_twice(self) -> None:
        octets = written(*MESSAGES)
        self.take_mbox(octets)
        for name in self.names(".In/cur"):
            older = re.sub(r"\.M[0-9]+I", ".I", name)
            self.assertNotEqual(older, name)
            os.rename(self.path / ".In/cur" / name, self.path / ".In/cur" / older)
        self.assertEqual(self.take_mbox(octets), TransferReport(0, 5))

    def test_what_came_in_the_same_second_keeps_the_order_of_the_file(self) -> None:
        messages = [b"Subject: %d\n\n" % number for number in range(BATCH_FILES + 20)]
        self.take_mbox(written(*messages))
        with opened_mailbox(self.path, "In") as mailbox:
            entries = mailbox.entries()
        found = [(self.path / ".In/cur" / each.file_name).read_bytes() for each in entries]
        self.assertEqual(found, messages)
        # and so does Dovecot, which compares numbers after an M
        numbers = [re.match(r"1767225600\.M([0-9]+)", each.base) for each in entries]
        self.assertEqual([int(each[1]) for each in numbers if each], list(range(1, len(found) + 1)))


class WholeMboxes(ImportCase):
    """What becomes of the mailbox that an mbox is for."""

    def import_(
        self, octets: bytes, name: str = "In", quota: Quota | None = None
    ) -> TransferReport:
        with opened_parts(io.BytesIO(octets)) as parts:
            mailbox, report = import_mbox(self.path, name, parts[0].content(), quota)
        self.assertEqual(mailbox, name)
        return report

    def directories(self) -> list[str]:
        return sorted(os.listdir(self.path)) if self.path.exists() else []

    def test_it_is_made_and_filled(self) -> None:
        self.assertEqual(self.import_(gzip.compress(written(*MESSAGES))), TransferReport(5))
        as_lf = [each.replace(b"\r\n", b"\n") for each in MESSAGES]
        self.assertEqual(self.contents(), as_lf)

    def test_it_is_made_for_an_mbox_without_messages(self) -> None:
        self.assertEqual(self.import_(b""), TransferReport())
        self.assertIn(".In", self.directories())

    def test_what_is_no_mbox_makes_nothing(self) -> None:
        for octets in (b"Hello\n", gzip.compress(b"Hello\n"), gzip.compress(written(b"x\n"))[:10]):
            with self.assertRaises(UserError):
                self.import_(octets)
            self.assertFalse(self.path.exists())
        with self.assertRaisesRegex(UserError, "cannot be a mailbox"):
            self.import_(written(*MESSAGES), "a..b")

    def test_it_goes_if_nothing_came_of_it(self) -> None:
        octets = written(*MESSAGES)
        for name in ("In", "INBOX"):
            report = self.import_(octets, name, Quota(octets=1))
            self.assertEqual((report.done, len(report.failed)), (0, 5))
            self.assertFalse(self.path.exists())
        self.put("cur/1.a:2,S")
        before = self.directories()
        self.import_(octets, quota=Quota(octets=1))
        self.assertEqual(self.directories(), sorted(["maildirsize", *before]))

    def test_it_stays_if_it_was_there_or_mail_came_meanwhile(self) -> None:
        self.put("cur/1.a:2,S")
        self.put(".In/cur/2.b:2,S")
        (self.path / ".In/cur/2.b:2,S").unlink()
        self.import_(written(*MESSAGES), quota=Quota(octets=1))
        self.assertIn(".In", self.directories())
        true = MessageImport.finish

        def finish(importing: MessageImport) -> None:
            true(importing)
            self.put(".New/new/3.c")

        self.patch(MessageImport, "finish", finish)
        self.import_(written(*MESSAGES), "New", quota=Quota(octets=1))
        self.assertEqual(self.names(".New/new"), ["3.c"])

    def test_what_came_before_a_damage_is_taken_and_no_half_of_a_message(self) -> None:
        messages = [
            b"Subject: %d\n\n" % n + random.Random(n).randbytes(3000).hex().encode() + b"\n"
            for n in range(50)
        ]
        whole = gzip.compress(written(*messages))
        for cut in range(300, len(whole), 30_000):
            self.path = Path(self.mktemp()).absolute()
            report = self.import_(whole[:cut], "INBOX")
            self.assertEqual(report.fault, "it is damaged: it ends too early")
            self.assertEqual(report.failed, [])
            self.assertEqual(sorted(self.contents("cur")), sorted(messages[: report.done]))
            self.assertGreaterEqual(report.done, cut // 3300 - 2)
        # only the sum at the end is missing
        report = self.import_(whole[:-4], "INBOX")
        self.assertEqual(report.done + report.present, 50)
        self.assertNotEqual(report.fault, "")
        self.assertEqual(self.import_(whole, "INBOX"), TransferReport(0, 50))

    def test_lines_in_doubt_are_in_the_report(self) -> None:
        octets = written(b"Subject: x\n\n").removesuffix(b"\n") + b"\nFrom here\n\nFrom there\n"
        self.assertEqual(self.import_(octets), TransferReport(1, doubts=DoubtfulLines(2, 7)))

    def test_a_full_disk_is_said_with_how_to_go_on(self) -> None:
        self.import_(b"")
        restore = fail_calls(self, "fsync", errno.ENOSPC, times=1000)
        with self.assertRaisesRegex(
            Interrupted, "^No space left on device after 0 messages; correct"
        ):
            self.import_(written(*MESSAGES))
        restore()
        self.assertEqual(self.import_(written(*MESSAGES)), TransferReport(5))


class FromAnywhere(ImportCase):
    def test_what_cannot_be_read_is_left_out_by_number(self) -> None:
        def broken() -> Iterator[bytes]:
            yield b"Subject: half\n"
            raise OSError(errno.EIO, "Input/output error")

        def refused() -> Iterator[bytes]:
            raise UserError("it is a link")
            yield b""

        report = self.take(
            self.incoming(0),
            NewMessage(1, 0.0, "", True, None, broken),
            NewMessage(2, 0.0, "", True, None, refused),
            NewMessage(3, 0.0, "", True, None, lambda: iter(())),
            self.incoming(4),
        )
        self.assertEqual(report.done, 2)
        self.assertEqual(
            report.failed, [(1, "Input/output error"), (2, "it is a link"), (3, "it is empty")]
        )
        self.assertEqual((self.names(".In/tmp"), self.names(".In/new")), ([], []))

    def test_a_full_disk_ends_it_and_leaves_no_descriptor(self) -> None:
        def write(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        before = len(os.listdir("/proc/self/fd"))
        self.patch(module, "_write", write)
        self.assertRaises(OSError, self.take, self.incoming(0))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(self.names(".In/tmp"), [])

    def test_names_of_other_makers_are_kept_if_they_are_sane(self) -> None:
        self.take(self.incoming(0, base="1000.M5P7.host,S=9,W=9"))
        self.assertEqual(self.names(".In/cur"), ["1000.M5P7.host,S=23,W=23:2,S"])
        self.assertEqual(self.take(self.incoming(0, base="1000.M5P7.host")), TransferReport(0, 1))
        for base in ("../../x", ".hidden", "a b", "x" * 250, "e\u0301xx", ""):
            self.assertEqual(self.take(self.incoming(1, base=base), name="Odd").done, 1, base)
            (name,) = self.names(".Odd/cur")
            self.assertRegex(name, r"^1001\.M0000001I")
            (self.path / ".Odd" / "cur" / name).unlink()

    def test_letters_that_are_no_flags_stay_out_of_the_name(self) -> None:
        self.take(self.incoming(0, flags="ZSa/"))
        self.assertRegex(self.names(".In/cur")[0], ":2,S$")

    def test_the_quota_ends_it_where_it_is_full(self) -> None:
        report = self.take(*(self.incoming(n) for n in range(5)), quota=Quota(octets=55))
        self.assertEqual((report.done, [number for number, _ in report.failed]), (2, [2, 3, 4]))
        self.assertIn("quota", report.failed[0][1])
        self.assertEqual((self.path / "maildirsize").read_text(), "55S\n0 0\n46 2\n")

    def test_times_that_no_file_can_have_are_left(self) -> None:
        self.assertEqual(self.take(self.incoming(0, received_at=1e30)).done, 1)


class FromAMaildir(ImportCase):
    def test_all_is_kept_and_what_is_there_is_not_taken_again(self) -> None:
        source = self.path
        self.put("cur/1000.M1.h,S=23,W=23:2,RSa", MESSAGES[0], 1000)
        self.put("new/1001.M2.h", MESSAGES[1], 1001)
        self.path = Path(self.mktemp()).absolute()
        for expected in (TransferReport(2), TransferReport(0, 2)):
            with (
                opened_mailbox(source, "INBOX") as origin,
                opened_mailbox(self.path, "INBOX", make=True) as target,
            ):
                importing = MessageImport(target)
                for each in from_mailbox(origin):
                    importing.add(each)
                importing.finish()
            self.assertEqual(importing.report, expected)
        self.assertEqual(self.names("cur"), ["1000.M1.h,S=23,W=23:2,RS"])
        self.assertEqual(self.names("new"), ["1001.M2.h,S=23,W=23"])
        self.assertEqual((self.path / "new" / "1001.M2.h,S=23,W=23").stat().st_mtime, 1001)


class ToMbox(ImportCase):
    def test_what_is_given_out_comes_in_again_as_it_was(self) -> None:
        self.put("cur/1.a:2,FS", MESSAGES[0], 1000)
        self.put("new/2.b", MESSAGES[1], 2000)
        self.put("cur/3.c:2,", MESSAGES[2], 3000)
        os.symlink("/etc/passwd", self.path / "cur" / "4.d:2,")
        file = io.BytesIO()
        steps: list[None] = []
        with opened_mailbox(self.path, "INBOX") as mailbox:
            report = to_mbox(mailbox, file, as_lf=False, step=lambda: steps.append(None))
        self.assertEqual((report.done, len(report.failed), len(steps)), (3, 1, 4))
        self.assertEqual(self.take_mbox(file.getvalue()), TransferReport(3))
        self.assertEqual(self.contents(), [MESSAGES[0], MESSAGES[2]])
        self.assertEqual(self.contents(".In/new"), [MESSAGES[1]])
        flags = [name.partition(":")[2] for name in self.names(".In/cur")]
        self.assertEqual(flags, ["2,FS", "2,"])

    def test_messages_may_have_line_ends_of_either_kind(self) -> None:
        lf = b"Subject: x\n\nFrom me\n"
        crlf = lf.replace(b"\n", b"\r\n")
        self.put("cur/1.a:2,S", lf, 1000)
        self.put("cur/2.b:2,S", crlf, 2000)
        for as_lf, expected in ((True, [lf, lf]), (False, [lf, crlf])):
            file = io.BytesIO()
            with opened_mailbox(self.path, "INBOX") as mailbox:
                to_mbox(mailbox, file, as_lf=as_lf, step=lambda: None)
            name = f"In{as_lf}"
            self.assertEqual(self.take_mbox(file.getvalue(), name=name), TransferReport(2))
            self.assertEqual(self.contents(f".{name}/cur"), expected)
