"""Tests for `postroom.wire.replies` and `postroom.wire.codes`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.codes import ENHANCED_CODES, REPLY_CODES, reply_code_description
from postroom.wire.errors import ReplyViolation
from postroom.wire.replies import LINE_OCTETS, Reply, reply
from postroom.wire.reply_reader import ReplyReader

CODES = st.integers(200, 599)
TEXTS = st.lists(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"])), min_size=1
)


def read(octets: bytes) -> list[Reply]:
    reader = ReplyReader(max_octets=10_000_000, max_lines=100_000)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    return [each for line in lines if (each := reader.feed(line)) is not None]


class ReplyTests(SynchronousTestCase):
    """Tests for `Reply`."""

    def test_what_is_sent(self) -> None:
        self.assertEqual(reply(250, "2.1.0", "Ok").wire, b"250 2.1.0 Ok\r\n")
        self.assertEqual(reply(354, None, "Go").wire, b"354 Go\r\n")
        self.assertEqual(reply(334, None).wire, b"334 \r\n")
        self.assertEqual(
            reply(250, "2.0.0", "a", "", "c").wire, b"250-2.0.0 a\r\n250-2.0.0 \r\n250 2.0.0 c\r\n"
        )

    def test_nothing_in_a_text_ends_its_line(self) -> None:
        hostile = "a\r\n250 b\nc\rd\0e\x1b[31m\x7f\xff\u2028\u0085\ud800"
        self.assertEqual(reply(550, "5.1.1", hostile).wire.count(b"\r\n"), 1)
        self.assertEqual(
            set(reply(550, "5.1.1", hostile).wire[:-2]) - set(range(0x20, 0x7F)), set()
        )

    @given(CODES, st.sampled_from([None, "5.1.1", "5.123.456"]), st.lists(st.text(), min_size=1))
    def test_lines_are_short_and_clean_whatever_the_text(
        self, code: int, enhanced: str | None, text: list[str]
    ) -> None:
        octets = Reply(code, tuple(text), enhanced).wire
        self.assertTrue(octets.endswith(b"\r\n"))
        *lines, last = octets[:-2].split(b"\r\n")
        self.assertEqual(last[3:4], b" ")
        for line in (*lines, last):
            self.assertLessEqual(len(line) + 2, LINE_OCTETS)
            self.assertEqual(set(line) - set(range(0x20, 0x7F)), set())
            self.assertEqual(line[:3], str(code).encode())
        self.assertTrue(all(line[3:4] == b"-" for line in lines))

    @given(CODES, TEXTS, st.booleans())
    def test_what_is_sent_reads_back(self, code: int, text: list[str], enhanced: bool) -> None:
        short = tuple(line[:400] for line in text)
        given_code = f"{code // 100}.1.1" if enhanced and code // 100 in (2, 4, 5) else None
        sent = Reply(code, tuple(f"x{line}" for line in short), given_code)
        self.assertEqual(read(sent.wire), [sent])

    def test_positive_and_temporary(self) -> None:
        codes = (220, 354, 421, 452, 500, 599)
        replies = [Reply(code) for code in codes]
        self.assertEqual([each.positive for each in replies], [True, True] + [False] * 4)
        self.assertEqual(
            [each.temporary for each in replies], [False] * 2 + [True] * 2 + [False] * 2
        )

    def test_on_one_line(self) -> None:
        self.assertEqual(str(reply(550, "5.1.1", "No", "user")), "550 5.1.1 No user")
        self.assertEqual(str(reply(334, None)), "334")


class ReplyReaderTests(SynchronousTestCase):
    """Tests for `ReplyReader`."""

    def test_what_is_read(self) -> None:
        for octets, expected in (
            (b"250 ok\r\n", Reply(250, ("ok",))),
            (b"250\r\n", Reply(250, ("",))),
            (b"250 2.1.0 ok\r\n", Reply(250, ("ok",), "2.1.0")),
            (b"250 2.1.0\r\n", Reply(250, ("",), "2.1.0")),
            (b"250-2.1.0 a\r\n250-2.1.0\r\n250 b\r\n", Reply(250, ("a", "", "b"), "2.1.0")),
            (b"250-2.1.1 a\r\n250 2.1.10 b\r\n", Reply(250, ("a", "2.1.10 b"), "2.1.1")),
            (b"550 2.1.0 liar\r\n", Reply(550, ("2.1.0 liar",))),
            (b"550 5.1.1.1 x\r\n", Reply(550, ("5.1.1.1 x",))),
            (b"550 5.1234.1 x\r\n", Reply(550, ("5.1234.1 x",))),
            (b"550 05.1.1 x\r\n", Reply(550, ("05.1.1 x",))),
            (b"599 \xff\x1b\r\n", Reply(599, ("\ufffd\x1b",))),
        ):
            self.assertEqual(read(octets), [expected], octets)

    def test_what_is_no_reply(self) -> None:
        for line in (
            *(b"", b" ", b"ok", b"25 ok", b"2500 ok", b"250ok", b"150 x", b"650 x", b"25x ok"),
            *(b"250 a\rb", b"250 a\nb", b"250 a\0b", b"250\tok", b" 250 ok", b"\xb2\xb5\xb0 ok"),
        ):
            self.assertRaises(ReplyViolation, ReplyReader().feed, line)

    def test_a_code_does_not_change_within_a_reply(self) -> None:
        reader = ReplyReader()
        self.assertIsNone(reader.feed(b"250-a"))
        self.assertTrue(reader.within)
        self.assertRaises(ReplyViolation, reader.feed, b"251 b")

    def test_a_reply_has_an_end(self) -> None:
        by_lines, by_octets = ReplyReader(max_lines=10), ReplyReader(max_octets=1000)
        for _ in range(10):
            by_lines.feed(b"250-x")
        self.assertRaises(ReplyViolation, by_lines.feed, b"250-x")
        self.assertRaises(ReplyViolation, by_octets.feed, b"250 " + b"x" * 1000)

    def test_limits_hold_for_each_reply(self) -> None:
        reader = ReplyReader(max_lines=2, max_octets=20)
        for _ in range(100):
            self.assertIsNone(reader.feed(b"250-x"))
            self.assertEqual(reader.feed(b"250 y"), Reply(250, ("x", "y")))
            self.assertFalse(reader.within)

    def test_an_offence_is_told_without_being_repeated_whole(self) -> None:
        violation = self.assertRaises(ReplyViolation, ReplyReader().feed, b"x" * 100_000)
        self.assertLess(len(str(violation)), 200)

    @given(st.lists(st.binary(max_size=40)))
    def test_any_lines_are_replies_or_an_offence(self, lines: list[bytes]) -> None:
        reader = ReplyReader()
        for line in lines:
            try:
                found = reader.feed(line)
            except ReplyViolation:
                return
            if found is not None:
                self.assertTrue(200 <= found.code <= 599, found)
            self.assertEqual(reader.within, found is None)


class CodeTests(SynchronousTestCase):
    """Tests for the tables."""

    def test_every_code_is_described(self) -> None:
        for code in range(200, 600):
            self.assertNotIn("Unknown", reply_code_description(code))
        self.assertEqual(reply_code_description(250), REPLY_CODES[250])
        for code in (0, 199, 600, -250):
            self.assertEqual(reply_code_description(code), "Unknown reply code")

    def test_the_tables_hold_codes_only(self) -> None:
        self.assertTrue(all(200 <= code <= 599 for code in REPLY_CODES))
        self.assertTrue(all(0 <= a <= 7 and 0 <= b <= 30 for a, b in ENHANCED_CODES))
