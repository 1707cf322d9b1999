"""Claims about the lines of mbox files above headers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.mailbox_lines import MailboxLines


def convert(*chunks: bytes) -> bytes:
    lines = MailboxLines()
    converted = b"".join(lines.feed(chunk) for chunk in chunks)
    return converted + lines.end()


class Converting(SynchronousTestCase):
    def check(self, octets: bytes, expected: bytes) -> None:
        """Convert the octets whole, and in pieces of several sizes."""
        for size in (1, 2, 3, 5, 8, len(octets) or 1):
            pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
            self.assertEqual(convert(*pieces), expected, f"in pieces of {size}")

    def test_lines_above_a_header_become_fields(self) -> None:
        for line in (b"From a@b Sat Nov 22 14:03:07 2025", b">From a", b">>From a", b"From "):
            self.check(
                line + b"\r\nTo: x\r\n\r\ny", b"X-Mailbox-Line: " + line + b"\r\nTo: x\r\n\r\ny"
            )

    def test_each_of_several(self) -> None:
        self.check(
            b"From a\r\n>From b\r\nFrom c\nTo: x\r\n",
            b"X-Mailbox-Line: From a\r\nX-Mailbox-Line: >From b\r\n"
            b"X-Mailbox-Line: From c\nTo: x\r\n",
        )

    def test_what_only_looks_like_one_stays(self) -> None:
        for octets in (
            *(b"From: x\r\n", b"From\r\n", b"from x\r\n", b" From x\r\n", b"Fro", b">", b""),
            *(b"To: x\r\nFrom y\r\n", b"\r\nFrom y\r\n", b"> From x\r\n", b"x\r\n>From y\r\n"),
            *(b"From\tx\r\n", b"FROM x\r\n", b"From-Field: x\r\n", b">" * 1000 + b"From x"),
        ):
            self.check(octets, octets)

    def test_a_body_that_follows_at_once_is_divided_from_them(self) -> None:
        for body in (b"Hello.\r\n", b" To: x\r\n", b"To", b"To x: y\r\n", b"\xff: x\r\n", b"\rx"):
            self.check(b"From a\r\n" + body, b"X-Mailbox-Line: From a\r\n\r\n" + body)

    def test_a_header_or_an_empty_line_that_follows_is_left_alone(self) -> None:
        for rest in (b"To : x\r\n", b"\r\nHello\r\n", b"\nHello\n", b"", b"a:", b":"):
            expected = b"\r\n:" if rest == b":" else rest
            self.check(b"From a\r\n" + rest, b"X-Mailbox-Line: From a\r\n" + expected)

    def test_content_may_end_in_one(self) -> None:
        self.check(b"From a", b"X-Mailbox-Line: From a")

    @given(
        st.lists(st.sampled_from([b"From ", b">", b"F", b"\r\n", b"To", b":", b" ", b"x"])),
        st.lists(st.integers(0, 40)),
    )
    def test_the_result_does_not_depend_on_the_pieces(
        self, parts: list[bytes], cuts: list[int]
    ) -> None:
        octets = b"".join(parts)
        places = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
        pieces = [octets[a:b] for a, b in pairwise(places) if a < b]
        self.assertEqual(convert(*pieces), convert(octets))

    def test_other_content_is_passed_on_as_it_is(self) -> None:
        lines = MailboxLines()
        chunk = b"To: x\r\n"
        self.assertIs(lines.feed(chunk), chunk)
        self.assertTrue(lines.over)
