"""Claims about the mbox format; the standard library's mailbox.mbox is the other party."""

import io
import mailbox

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.accounts.mailbox.mbox import LINE_OCTETS, read_mbox, write_message
from postroom.errors import UserError

Read = tuple[bytes, float | None, str, bool]

PIECES = st.sampled_from(
    [
        *(b"From ", b">", b"\n", b"\r\n", b"\r", b"x", b"From a Thu Jan  1 00:00:00 2026\n"),
        *(b"Status: R\n", b"X-Status: F\n", b"Subject: s\n"),
    ]
)


def written(*contents: bytes, as_lf: bool = False, flags: str = "S", is_new: bool = False) -> bytes:
    file = io.BytesIO()
    for content in contents:
        write_message(file, io.BytesIO(content), 1_767_225_600, flags, is_new=is_new, as_lf=as_lf)
    return file.getvalue()


def read(octets: bytes) -> list[Read]:
    return [
        (b"".join(each.chunks()), each.received_at, each.flags, each.is_new)
        for each in read_mbox(io.BytesIO(octets))
    ]


def contents(octets: bytes) -> list[bytes]:
    return [each[0] for each in read(octets)]


class Writing(SynchronousTestCase):
    def test_a_message_begins_with_its_sender_and_time_and_ends_in_an_empty_line(self) -> None:
        self.assertEqual(
            written(b"Return-Path: <a@b.example>\nSubject: x\n\nHello\n", flags="FS"),
            b"From a@b.example Thu Jan  1 00:00:00 2026\nStatus: RO\nX-Status: F\n"
            b"Return-Path: <a@b.example>\nSubject: x\n\nHello\n\n",
        )
        self.assertTrue(written(b"x\n").startswith(b"From MAILER-DAEMON Thu"))
        self.assertTrue(written(b"Return-Path: <>\n").startswith(b"From MAILER-DAEMON Thu"))

    def test_from_lines_are_quoted_quoted_ones_too(self) -> None:
        octets = written(b"\nFrom x\n>From y\n>>From z\n From\nx From y\n")
        self.assertTrue(octets.endswith(b"\n>From x\n>>From y\n>>>From z\n From\nx From y\n\n"))

    def test_line_ends_become_lf_or_stay(self) -> None:
        content = b"a\r\n\r\nb\rc\nd\r\n"
        self.assertTrue(written(content, as_lf=True).endswith(b"\na\n\nb\rc\nd\n\n"))
        self.assertTrue(written(content).endswith(content + b"\n"))

    def test_long_lines_are_no_different(self) -> None:
        for length in range(LINE_OCTETS - 3, LINE_OCTETS + 4):
            content = b"y\r\n\r\n" + b"x" * length + b"\r\n" + b"From z\r\n"
            self.assertEqual(contents(written(content)), [content])
            self.assertEqual(
                contents(written(content, as_lf=True)), [content.replace(b"\r\n", b"\n")]
            )

    def test_the_standard_library_reads_it(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(written(b"Subject: a\n\nx\n", b"Subject: b\n\nFrom here\n", flags="FRS"))
        box = mailbox.mbox(path)
        self.addCleanup(box.close)
        self.assertEqual([message["Subject"] for message in box], ["a", "b"])
        self.assertEqual(sorted(box[0].get_flags()), ["A", "F", "O", "R"])
        self.assertEqual(box[1].get_payload(), ">From here\n")


class Reading(SynchronousTestCase):
    def test_what_the_standard_library_wrote(self) -> None:
        path = self.mktemp()
        box = mailbox.mbox(path)
        for number in range(3):
            message = mailbox.mboxMessage(f"Subject: {number}\n\nFrom the start\n")
            message.set_flags("RA")
            box.add(message)
        box.close()
        with open(path, "rb") as file:
            found = read(file.read())
        self.assertEqual([each[2] for each in found], ["RS"] * 3)
        self.assertEqual(found[1][0], b"Subject: 1\n\nFrom the start\n")

    def test_dates_of_all_kinds(self) -> None:
        for date, seconds in (
            (b"Thu Jan  1 00:00:00 2026", 1_767_225_600),
            (b"Thu Jan 1 02:00:00 2026 +0200", 1_767_225_600),
            (b"Thu, 1 Jan 2026 00:00:00 +0000", None),
            (b"Thu Jan 99 00:00:00 2026", None),
        ):
            found = read(b"From a@b.example " + date + b"\nSubject: x\n\n\n")
            self.assertEqual(len(found), 1, date)
            if seconds is not None:
                self.assertEqual(found[0][1], seconds, date)

    def test_flags_of_other_programs_are_taken_out_wherever_they_stand(self) -> None:
        octets = (
            b"From a Thu Jan  1 00:00:00 2026\nSubject: x\nStatus: RO\nTo: y\nx-status: AF\n\n"
            b"Status: not this\n"
        )
        ((content, _, flags, is_new),) = read(octets)
        self.assertEqual(content, b"Subject: x\nTo: y\n\nStatus: not this\n")
        self.assertEqual((flags, is_new), ("FRS", False))

    def test_flags_at_the_top_are_ours_and_leave_the_message_s_own_fields(self) -> None:
        content = b"Status: R\nX-Status: D\nSubject: x\n\n"
        self.assertEqual(read(written(content, flags="", is_new=True))[0][0], content)
        self.assertEqual(read(written(content, flags="", is_new=True))[0][2:], ("", True))

    def test_prose_is_no_beginning(self) -> None:
        prose = b"Subject: x\n\nHello\n\nFrom here to there\n\nFrom: x\n"
        octets = b"From a Thu Jan  1 00:00:00 2026\n" + prose + b"\n"
        self.assertEqual(contents(octets), [prose])
        # nor without the empty line
        octets = b"From a Thu Jan  1 00:00:00 2026\n\nx\nFrom a Thu Jan  1 00:00:00 2026\ny\n"
        self.assertEqual(len(read(octets)), 1)

    def test_crlf_throughout(self) -> None:
        octets = b"From a Thu Jan  1 00:00:00 2026\r\nSubject: %d\r\n\r\n>From\r\n>From x\r\n\r\n"
        self.assertEqual(
            contents(octets % 1 + octets % 2),
            [b"Subject: %d\r\n\r\n>From\r\nFrom x\r\n" % number for number in (1, 2)],
        )

    def test_without_the_last_empty_line_nothing_is_missing(self) -> None:
        octets = b"From a Thu Jan  1 00:00:00 2026\nSubject: x\n\nend"
        self.assertEqual(contents(octets), [b"Subject: x\n\nend"])

    def test_an_empty_file_has_no_messages_and_others_are_refused(self) -> None:
        self.assertEqual(read(b""), [])
        for octets in (b"Subject: x\n\n", b"\nFrom a\n", b"\0" * 100, b"\x1f\x8b\x08"):
            with self.assertRaisesRegex(UserError, "not an mbox"):
                read(octets)

    def test_a_message_that_nobody_read_is_skipped_whole(self) -> None:
        octets = written(b"a\n\nx\n", b"b\n\ny\n")
        self.assertEqual(len(list(read_mbox(io.BytesIO(octets)))), 2)


class RoundTrip(SynchronousTestCase):
    @given(st.lists(st.lists(PIECES, max_size=20).map(b"".join), max_size=4), st.booleans())
    def test_what_was_written_is_read_back_octet_by_octet(
        self, messages: list[bytes], is_new: bool
    ) -> None:
        flags = "" if is_new else "FS"
        whole = [each if not each or each.endswith(b"\n") else each + b"\n" for each in messages]
        self.assertEqual(
            read(written(*messages, flags=flags, is_new=is_new)),
            [(each, 1_767_225_600, flags, is_new) for each in whole],
        )
