"""Claims about importing and exporting."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postroom.accounts.mailbox import transfer as module
from postroom.accounts.mailbox.messages import opened_mailbox
from postroom.accounts.mailbox.transfer import (
    BATCH_FILES,
    Incoming,
    Intake,
    Report,
    from_mailbox,
    from_mbox,
    to_mbox,
)
from postroom.errors import UserError
from postroom.maildirs.usage import Quota
from tests.accounts.mailbox.support import MaildirCase
from tests.accounts.mailbox.test_mbox import written
from tests.filesystem import RecordingDisk, fail_calls

MESSAGES = [b"Subject: %d\r\n\r\nFrom me\r\n" % number for number in range(5)]


class ImportCase(MaildirCase):
    def take(self, *incoming: Incoming, quota: Quota | None = None, name: str = "In") -> Report:
        with opened_mailbox(self.path, name, make=True) as mailbox:
            intake = Intake(mailbox, quota)
            for each in incoming:
                intake.take(each)
            intake.finish()
            return intake.report

    def take_mbox(self, octets: bytes, quota: Quota | None = None, name: str = "In") -> Report:
        with opened_mailbox(self.path, name, make=True) as mailbox:
            intake = Intake(mailbox, quota)
            for each in from_mbox(io.BytesIO(octets)):
                intake.take(each)
            intake.finish()
            return intake.report

    def contents(self, directory: str = ".In/cur") -> list[bytes]:
        return sorted((self.path / directory / name).read_bytes() for name in self.names(directory))

    def incoming(self, number: int, **more: Any) -> Incoming:
        content = MESSAGES[number]
        given = {"received_at": 1000.0 + number, "flags": "S", "is_new": False, "base": None}
        return Incoming(number, **(given | more), chunks=lambda: iter([content]))


class FromMbox(ImportCase):
    def test_messages_come_in_with_content_flags_and_time(self) -> None:
        octets = written(*MESSAGES[:3], flags="FS") + written(MESSAGES[3], flags="", is_new=True)
        self.assertEqual(self.take_mbox(octets), Report(4))
        self.assertEqual(self.contents(), MESSAGES[:3])
        self.assertEqual(self.contents(".In/new"), [MESSAGES[3]])
        for name in self.names(".In/cur"):
            self.assertRegex(name, r"^1767225600\.I[0-9a-f]{16}N1\..*,S=23:2,FS$")
            status = (self.path / ".In" / "cur" / name).stat()
            self.assertEqual((status.st_mtime, status.st_mode & 0o777), (1_767_225_600, 0o600))
        self.assertEqual(self.names(".In/tmp"), [])

    def test_a_second_time_nothing_is_added_wherever_flags_went_meanwhile(self) -> None:
        octets = written(*MESSAGES)
        self.take_mbox(octets)
        name = self.names(".In/cur")[0]
        os.rename(self.path / ".In/cur" / name, self.path / ".In/cur" / f"{name}RT")
        self.assertEqual(self.take_mbox(octets), Report(0, 5))
        self.assertEqual(self.take_mbox(octets + written(b"Subject: more\n\n")), Report(1, 5))

    def test_twins_in_the_file_are_two_messages(self) -> None:
        octets = written(MESSAGES[0], MESSAGES[0], MESSAGES[1])
        self.assertEqual(self.take_mbox(octets), Report(3))
        self.assertEqual(self.take_mbox(octets), Report(0, 3))

    def test_an_interrupted_import_is_gone_on_with(self) -> None:
        messages = [b"Subject: %d\n\n" % number for number in range(BATCH_FILES + 10)]
        restore = fail_calls(self, "fsync", errno.ENOSPC, first=BATCH_FILES + 13, times=1000)
        self.assertRaises(OSError, self.take_mbox, written(*messages))
        restore()
        self.assertEqual(len(self.names(".In/cur")), BATCH_FILES)
        self.assertEqual(self.take_mbox(written(*messages)), Report(10, BATCH_FILES))
        self.assertEqual(self.contents(), sorted(messages))

    def test_a_power_cut_takes_nothing_that_was_reported(self) -> None:
        self.take_mbox(written(MESSAGES[0]))
        disk = RecordingDisk(self, self.path)
        self.take_mbox(written(*MESSAGES))
        self.assertEqual((disk.torn, disk.unsynced()), ([], []))


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
            Incoming(1, 0.0, "", True, None, broken),
            Incoming(2, 0.0, "", True, None, refused),
            Incoming(3, 0.0, "", True, None, lambda: iter(())),
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
        self.assertEqual(self.names(".In/cur"), ["1000.M5P7.host,S=23:2,S"])
        self.assertEqual(self.take(self.incoming(0, base="1000.M5P7.host")), Report(0, 1))
        for base in ("../../x", ".hidden", "a b", "x" * 250, "e\u0301xx", ""):
            self.assertEqual(self.take(self.incoming(1, base=base), name="Odd").done, 1, base)
            (name,) = self.names(".Odd/cur")
            self.assertRegex(name, r"^1001\.I")
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
        self.put("cur/1000.M1.h,S=23:2,RSa", MESSAGES[0], 1000)
        self.put("new/1001.M2.h", MESSAGES[1], 1001)
        self.path = Path(self.mktemp()).absolute()
        for expected in (Report(2), Report(0, 2)):
            with (
                opened_mailbox(source, "INBOX") as origin,
                opened_mailbox(self.path, "INBOX", make=True) as target,
            ):
                intake = Intake(target)
                for each in from_mailbox(origin):
                    intake.take(each)
                intake.finish()
            self.assertEqual(intake.report, expected)
        self.assertEqual(self.names("cur"), ["1000.M1.h,S=23:2,RS"])
        self.assertEqual(self.names("new"), ["1001.M2.h,S=23"])
        self.assertEqual((self.path / "new" / "1001.M2.h,S=23").stat().st_mtime, 1001)


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
        self.assertEqual(self.take_mbox(file.getvalue()), Report(3))
        self.assertEqual(self.contents(), [MESSAGES[0], MESSAGES[2]])
        self.assertEqual(self.contents(".In/new"), [MESSAGES[1]])
        flags = [name.partition(":")[2] for name in self.names(".In/cur")]
        self.assertEqual(flags, ["2,FS", "2,"])
