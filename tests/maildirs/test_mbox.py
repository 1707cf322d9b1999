"""Claims about the mbox format; the standard library's mailbox.mbox is the other party."""

import io
import mailbox
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.maildirs.mbox import (
    LINE_OCTETS,
    DoubtfulLines,
    MboxMessage,
    read_mbox,
    write_message,
)

Read = tuple[bytes, float | None, str, bool]

NEW_YEAR = 1_767_225_600
FROM = b"From a@b.example Thu Jan  1 00:00:00 2026\n"

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


def doubts_of(octets: bytes) -> tuple[int, int]:
    """Count the lines that only look like a beginning, and say which is the first."""
    doubts = DoubtfulLines()
    for _ in read_mbox(io.BytesIO(octets), doubts):
        pass
    return doubts.count, doubts.first_line


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

    def test_a_date_that_the_first_line_lacks_is_in_the_header(self) -> None:
        received = (
            b"Received: from x by y\n\twith z;\n Thu, 1 Jan 2026 01:00:00 +0100\n"
            b"Received: from w by x; Wed, 31 Dec 2025 00:00:00 +0000\n"
        )
        date = b"Date: Thu, 01 Jan 2026 00:00:00 +0000\n"
        old = b"Date: Wed, 31 Dec 2025 00:00:00 +0000\n"
        for first in (b"From -\n", b"From - Mon Jan  1 00:00:00 1965\n"):
            for header in (received + old, old[:6] + b"?\n" + received, date, date + received):
                self.assertEqual(read(first + header + b"\n")[0][1], NEW_YEAR, header)
            for header in (b"Date: ?\n", b"Subject: x\n\n" + date, b"X-Date: x\n"):
                self.assertIsNone(read(first + header + b"\n")[0][1], header)

    def test_flags_of_other_programs_are_taken_out_wherever_they_stand(self) -> None:
        octets = (
            b"From a Thu Jan  1 00:00:00 2026\nSubject: x\nStatus: RO\nTo: y\nx-status: AF\n\n"
            b"Status: not this\n"
        )
        ((content, _, flags, is_new),) = read(octets)
        self.assertEqual(content, b"Subject: x\nTo: y\n\nStatus: not this\n")
        self.assertEqual((flags, is_new), ("FRS", False))

    def test_flags_of_thunderbird_are_read(self) -> None:
        for status, flags in ((b"0000", ""), (b"0001", "S"), (b"1013", "PRS"), (b"000C", "FT")):
            content = b"X-Mozilla-Status: " + status + b"\nX-Mozilla-Status2: 00000001\n\n"
            found = read(b"From - Thu Jan  1 00:00:00 2026\n" + content + b"x\n")
            self.assertEqual(found, [(content + b"x\n", NEW_YEAR, flags, not flags)])

    def test_flags_at_the_top_are_ours_and_leave_the_message_s_own_fields(self) -> None:
        content = b"Status: R\nX-Status: D\nSubject: x\n\n"
        self.assertEqual(read(written(content, flags="", is_new=True))[0][0], content)
        self.assertEqual(read(written(content, flags="", is_new=True))[0][2:], ("", True))

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
        for octets in (b"", b"\n", b"\xef\xbb\xbf\r\n \n"):
            self.assertEqual(read(octets), [])
        for octets, why in (
            (b"Subject: x\n\n", "as a single message does"),
            (b"\nFrom a\n", "without a date"),
            (b"From here\nNote: x\n", "without a date"),
            (b"\0" * 100, "no 'From ' line"),
            (b"Hello\n\n" + FROM + b"Subject: x\n\n", "no 'From ' line"),
        ):
            with self.assertRaisesRegex(UserError, f"not an mbox: .*{why}"):
                read(octets)

    def test_a_message_that_nobody_read_is_skipped_whole(self) -> None:
        octets = written(b"a\n\nx\n", b"b\n\ny\n")
        self.assertEqual(len(list(read_mbox(io.BytesIO(octets)))), 2)


class Beginnings(SynchronousTestCase):
    """Which lines begin a message; what they look like is for another test."""

    def assert_messages(self, octets: bytes, *expected: bytes) -> None:
        """Check what an mbox holds, also with CRLF, and with CR CR LF from end to end."""
        self.assertEqual(contents(octets), list(expected))
        crlf = [each.replace(b"\n", b"\r\n") for each in expected]
        self.assertEqual(contents(octets.replace(b"\n", b"\r\n")), crlf)
        self.assertEqual(contents(octets.replace(b"\n", b"\r\r\n")), crlf)

    def test_no_empty_line_is_needed_if_a_field_follows(self) -> None:
        for end in (b"", b"\n", b" \n", b"\t \n"):
            octets = FROM + b"Subject: 1\n\nx\n" + end + FROM + b"Subject: 2\n\ny\n"
            self.assert_messages(octets, b"Subject: 1\n\nx\n", b"Subject: 2\n\ny\n")
        octets = FROM + b"Subject: 1\n" + FROM + b"Subject: 2\n"
        self.assert_messages(octets, b"Subject: 1\n", b"Subject: 2\n")
        octets = FROM + b"Subject: 1\n\nx\nFrom -\nX-Mozilla-Status: 0001\n\ny\n"
        self.assert_messages(octets, b"Subject: 1\n\nx\n", b"X-Mozilla-Status: 0001\n\ny\n")

    def test_without_either_it_stays_and_is_noted(self) -> None:
        body = b"Subject: 1\n\nx\n" + FROM + b"y\n"
        self.assert_messages(FROM + body, body)
        self.assertEqual(doubts_of(FROM + body), (1, 5))

    def test_after_an_empty_line_none_is_needed(self) -> None:
        octets = FROM + b"Subject: 1\n\nx\n\n" + FROM + b"\ny\n"
        self.assert_messages(octets, b"Subject: 1\n\nx\n", b"\ny\n")

    def test_an_address_alone_needs_both(self) -> None:
        bare = b"From 1844347792267117879@xxx\n"
        octets = bare + b"Subject: 1\n\nx\n\n" + bare + b"Subject: 2\n\ny\n"
        self.assert_messages(octets, b"Subject: 1\n\nx\n", b"Subject: 2\n\ny\n")
        for body in (b"Subject: 1\n\nx\n" + bare + b"To: y\n", b"X: 1\n\nx\n\n" + bare + b"y\n"):
            self.assert_messages(bare + body, body)

    def test_prose_is_noted_after_an_empty_line_alone(self) -> None:
        body = (
            b"Subject: x\n\nFrom here to there\n\nFrom: x\n\nFrom : x\n"
            b"From me\nNote: x\n \nFrom you\nNote: x\n"
        )
        self.assert_messages(FROM + body, body)
        self.assertEqual(doubts_of(FROM + body), (2, 4))

    def test_quoted_lines_are_no_beginnings(self) -> None:
        octets = FROM + b"Subject: 1\n\n>" + FROM + b"To: x\n\n>>" + FROM
        self.assert_messages(octets, b"Subject: 1\n\n" + FROM + b"To: x\n\n>" + FROM)
        self.assertEqual(doubts_of(octets), (0, 0))

    def test_what_comes_before_the_first_is_no_matter(self) -> None:
        for before in (b"\n", b"\r\n\r\n", b" \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"):
            self.assertEqual(contents(before + FROM + b"X: y\n\nz\n"), [b"X: y\n\nz\n"], before)

    def test_only_the_last_of_some_empty_lines_is_between_messages(self) -> None:
        octets = FROM + b"Subject: 1\n\nx\n\n\n\n" + FROM + b"Subject: 2\n\ny\n\n\n"
        self.assert_messages(octets, b"Subject: 1\n\nx\n\n\n", b"Subject: 2\n\ny\n\n")

    def test_line_ends_may_be_mixed(self) -> None:
        octets = FROM + b"Subject: 1\r\n\r\nx\n\r\n" + FROM[:-1] + b"\r\nSubject: 2\n\ny\r\n"
        self.assertEqual(contents(octets), [b"Subject: 1\r\n\r\nx\n", b"Subject: 2\n\ny\r\n"])

    def test_cr_alone_ends_the_lines_of_old_macintoshes(self) -> None:
        octets = (FROM + b"Subject: 1\n\nx\n\n" + FROM + b"Subject: 2\n\ny\n").replace(b"\n", b"\r")
        for long in (b"", b"z" * 10_000):
            self.assertEqual(
                contents(octets + long), [b"Subject: 1\n\nx\n", b"Subject: 2\n\ny\n" + long]
            )

    def test_a_long_line_may_end_in_cr_cr_lf(self) -> None:
        for size in range(LINE_OCTETS - 4, LINE_OCTETS + 2):
            octets = FROM + b"Subject: 1\n\n" + b"x" * size + b"\ny\n"
            found = contents(octets.replace(b"\n", b"\r\r\n"))
            self.assertEqual(found, [octets[len(FROM) :].replace(b"\n", b"\r\n")], size)

    def test_uucp_quotes_the_lines_of_earlier_hosts(self) -> None:
        first = b"From joe Thu Jan  1 00:00:00 2026 remote from a\n"
        octets = FROM + b"Subject: 1\n\nx\n" + first + b">" + first + b"Subject: 2\n\ny\n"
        self.assert_messages(octets, b"Subject: 1\n\nx\n", first + b"Subject: 2\n\ny\n")


class ContentLength(SynchronousTestCase):
    BODY = b"Hello\n\n" + FROM + b"Subject: inside\n\n>From here\n"

    def message(self, length: int, body: bytes = BODY) -> bytes:
        return FROM + b"Subject: 1\nContent-Length: %d\n\n" % length + body

    def body_of(self, octets: bytes) -> list[bytes]:
        return [each.partition(b"\n\n")[2] for each in contents(octets)]

    def test_where_it_fits_nothing_inside_is_a_beginning_or_quoted(self) -> None:
        last = FROM + b"Subject: 2\n\nlast\n"
        whole = self.message(len(self.BODY))
        for between in (b"", b"\n", b"\r\n", b" \n"):
            self.assertEqual(self.body_of(whole + between + last), [self.BODY, b"last\n"], between)
            self.assertEqual(self.body_of(whole + between), [self.BODY], between)
        self.assertEqual(self.body_of(whole + b"\n\n" + last), [self.BODY + b"\n", b"last\n"])
        self.assertEqual(doubts_of(whole + b"\n" + last), (1, 7))

    def test_a_body_may_begin_like_a_message_or_be_empty(self) -> None:
        last = FROM + b"Subject: 2\n\nlast\n"
        body = FROM + b"Subject: inside\n\nHello\n"
        octets = self.message(len(body), body) + b"\n" + last
        self.assertEqual(self.body_of(octets), [body, b"last\n"])
        for between in (b"", b"\n"):
            first, _ = contents(self.message(0, b"") + between + last)
            self.assertEqual(first, b"Subject: 1\nContent-Length: 0\n\n")

    def test_a_body_may_lack_its_line_end(self) -> None:
        octets = self.message(len(self.BODY) - 1) + b"\n" + FROM + b"Subject: 2\n\nlast\n"
        self.assertEqual(self.body_of(octets), [self.BODY, b"last\n"])

    def test_an_empty_line_at_the_end_belongs_to_the_body(self) -> None:
        body = b"Hello\n\n"
        for end in (FROM + b"Subject: 2\n\nlast\n", b""):
            octets = self.message(len(body), body) + end
            self.assertEqual(self.body_of(octets)[0], body)

    def test_what_follows_the_body_needs_no_empty_line_and_no_header(self) -> None:
        octets = self.message(6, b"Hello\n") + FROM + b"\nlast\n"
        self.assertEqual(contents(octets)[1:], [b"\nlast\n"])

    def test_where_it_does_not_fit_it_counts_for_nothing(self) -> None:
        last = b"\n" + FROM + b"Subject: 2\n\nlast\n"
        inside = b"From here\n"
        for length in (0, 1, len(self.BODY) - 2, len(self.BODY) + 5, 10**6, 10**17):
            found = self.body_of(self.message(length) + last)
            self.assertEqual(found, [b"Hello\n", inside, b"last\n"], length)

    def test_a_body_that_is_quoted_is_that_also_with_a_length(self) -> None:
        body = b"Hello\n>From here\n"
        self.assertEqual(self.body_of(self.message(len(body), body)), [b"Hello\nFrom here\n"])
        body = b"Hello\n>From here\nFrom there\n"
        self.assertEqual(self.body_of(self.message(len(body), body)), [body])

    def test_bodies_of_any_size_are_looked_through(self) -> None:
        for size in (LINE_OCTETS - 20, LINE_OCTETS, 10 * LINE_OCTETS):
            for line in (b"x" * size + b"\n", b"xxxxxxxxx\n" * (size // 10)):
                body = b"\n>From here\n" + line + b"From there\n\n" + FROM + b"To: x\n\n"
                octets = self.message(len(body), body) + FROM + b"Subject: 2\n\nlast\n"
                self.assertEqual(self.body_of(octets), [body, b"last\n"])

    def test_a_line_is_found_wherever_it_begins(self) -> None:
        for size in range(LINE_OCTETS - 20, LINE_OCTETS + 5):
            body = b">From here\n" + b"x" * size + b"\nFrom there\n"
            self.assertEqual(self.body_of(self.message(len(body), body)), [body])

    def test_what_we_wrote_is_quoted_whatever_length_it_had(self) -> None:
        content = b"Content-Length: 3\r\n\r\na\r\n"
        octets = written(content, content, as_lf=True)
        self.assertEqual(contents(octets), [content.replace(b"\r\n", b"\n")] * 2)


class _Dripping(io.BytesIO):
    """A file that gives little at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7 if size is None or size < 0 else min(size, 7))


class AnyOctets(SynchronousTestCase):
    LINES = st.sampled_from(
        [
            *(FROM, b">" + FROM, b"From -\n", b"From here\n", b"From a@b.example\n", b"\n", b" \n"),
            *(b"\r\n", b"x\n", b"y\r\r\n", b"Subject: x\n", b"Content-Length: 5\n"),
            *(b"Content-Length: 60\n", b"Content-Length: 150\n", b"x" * 70 + b"\n"),
        ]
    )

    @given(st.lists(LINES, max_size=30))
    def test_no_line_of_a_body_is_lost(self, lines: list[bytes]) -> None:
        def plain(some: Iterable[bytes]) -> list[bytes]:
            return [each for each in some if each.strip() and b"From " not in each]

        found = io.BytesIO(b"".join(contents(FROM + b"".join(lines))))
        self.assertEqual(plain(found), plain(lines))

    @given(st.lists(LINES, max_size=30))
    def test_how_it_comes_does_not_matter(self, lines: list[bytes]) -> None:
        octets = FROM + b"".join(lines)

        def all_of(file: io.BytesIO) -> list[tuple[bytes, bool]]:
            def each(message: MboxMessage) -> tuple[bytes, bool]:
                return b"".join(message.chunks()), message.is_new

            return [each(message) for message in read_mbox(file)]

        self.assertEqual(all_of(_Dripping(octets)), all_of(io.BytesIO(octets)))


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
