"""Folding: no line too long, no character cut, the same wherever chunks are cut."""

import tracemalloc
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.encode import DotEncoder, FoldingEncoder, TextEncoder
from postroom.wire.errors import LocalViolation
from postroom.wire.folding import LineFolder, most_folded_octets
from tests.wire.test_encode import UNCLEAN, cuts

LIMIT = 10
EURO = "€".encode()
SMILE = "😀".encode()
WORDS = [b"\r\n", b".", b"abcd", b"a" * 9, EURO, SMILE, b"\x80", b"\xff"]

FOLDED = [
    (b"", b""),
    (b"0123456789\r\n", b"0123456789\r\n"),
    (b"0123456789a\r\n", b"0123456789\r\n a\r\n"),
    (b"0123456789a", b"0123456789\r\n a"),
    (b"0123456789" + b"abcdefghi" * 2, b"0123456789\r\n abcdefghi\r\n abcdefghi"),
    (b"x\r\n" + b"0" * 11 + b"\r\n.\r\n", b"x\r\n0000000000\r\n 0\r\n.\r\n"),
    (b"\r\n" * 20, b"\r\n" * 20),
    (b"01234567" + EURO + b"\r\n", b"01234567\r\n " + EURO + b"\r\n"),
    (b"0123456" + EURO + b"a", b"0123456" + EURO + b"\r\n a"),
    (b"0123456" + SMILE, b"0123456\r\n " + SMILE),
    (b"01234" + SMILE * 2, b"01234" + SMILE + b"\r\n " + SMILE),
    # What is no UTF-8 is cut at the limit.
    (b"\x80" * 11, b"\x80" * 10 + b"\r\n \x80"),
]


def plainly_folded(content: bytes, limit: int) -> bytes:
    """Fold content that is all there, line by line."""
    lines = []
    for line in content.split(b"\r\n"):
        blank = b""
        while len(blank) + len(line) > limit:
            at = limit - len(blank)
            at = next((each for each in range(at, at - 4, -1) if line[each] & 0xC0 != 0x80), at)
            lines.append(blank + line[:at])
            blank, line = b" ", line[at:]
        lines.append(blank + line)
    return b"\r\n".join(lines)


def folded(pieces: list[bytes], limit: int = LIMIT) -> bytes:
    folder = LineFolder(limit)
    return b"".join([*(folder.feed(piece) for piece in pieces), folder.finish()])


class FoldTests(SynchronousTestCase):
    def test_long_lines_go_on_in_lines_that_begin_with_a_blank(self) -> None:
        for content, expected in FOLDED:
            for pieces in cuts(content):
                self.assertEqual(folded(pieces), expected, pieces)

    @settings(max_examples=500, deadline=None)
    @given(
        st.lists(st.sampled_from(WORDS)),
        st.lists(st.integers(0, 80)),
    )
    @example([b"a" * 9, b"\x80", b"\x80", b"\x80", b"\x80", b"\x80"], [10, 11, 12])
    def test_the_result_depends_on_the_lines_alone(
        self, words: list[bytes], places: list[int]
    ) -> None:
        content = b"".join(words)
        edges = [0, *sorted(min(place, len(content)) for place in places), len(content)]
        pieces = [content[a:b] for a, b in pairwise(edges)]
        result = folded(pieces)
        self.assertEqual(result, plainly_folded(content, LIMIT))
        self.assertLessEqual(max(map(len, result.split(b"\r\n"))), LIMIT)
        self.assertLessEqual(len(result), most_folded_octets(len(content), LIMIT))

    def test_characters_stay_whole(self) -> None:
        text = "ä€😀x" * 1000
        lines = folded([text.encode()], 998).split(b"\r\n ")
        self.assertEqual("".join(line.decode() for line in lines), text)
        self.assertGreater(min(map(len, lines[:-1])), 998 - 5)

    def test_content_without_long_lines_is_not_copied(self) -> None:
        chunk = b"x" * 998 + b"\r\n" + b"short\r\n" * 1000
        folder = LineFolder(998)
        self.assertIs(folder.feed(chunk), chunk)
        self.assertEqual(folder.finish(), b"")

    def test_a_line_without_end_is_not_held(self) -> None:
        folder = LineFolder(998)
        piece = b"x" * 262_144
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        octets = sum(len(folder.feed(piece)) for _ in range(100))
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, 4 * len(piece))
        self.assertGreater(octets, 100 * len(piece))

    def test_the_most_that_it_can_be_is_never_less_than_it_is(self) -> None:
        self.assertEqual(most_folded_octets(10_000, 0), 10_000)
        for character in (b"x", EURO, SMILE, "ä".encode()):
            for size in (0, 77, 78, 79, 998, 5000, 5001):
                content = (character * size)[:size]
                for limit in (78, 998):
                    most = most_folded_octets(size, limit)
                    self.assertLessEqual(len(folded([content], limit)), most)
                    self.assertLessEqual(most, size * 1.05)


class EncoderTests(SynchronousTestCase):
    """Tests for `FoldingEncoder`."""

    def encoded(self, encoder: TextEncoder, pieces: list[bytes]) -> bytes:
        folding = FoldingEncoder(encoder, LIMIT)
        return b"".join([*(folding.feed(piece) for piece in pieces), folding.finish()])

    def test_dots_are_stuffed_after_folding(self) -> None:
        for content, text, wire in [
            (b".234567890.", b".234567890\r\n .", b"..234567890\r\n .\r\n.\r\n"),
            (b"1234567890\r\n.\r\n", b"1234567890\r\n.\r\n", b"1234567890\r\n..\r\n.\r\n"),
            (b"1234567890.\r\n.\r\n", b"1234567890\r\n .\r\n.\r\n",
             b"1234567890\r\n .\r\n..\r\n.\r\n"),
            (b"", b"", b".\r\n"),
            (b"123456789.", b"123456789.", b"123456789.\r\n.\r\n"),
            (b"12345678" + EURO, b"12345678\r\n " + EURO, b"12345678\r\n " + EURO + b"\r\n.\r\n"),
        ]:  # fmt: skip
            for pieces in cuts(content):
                self.assertEqual(self.encoded(TextEncoder(), pieces), text, pieces)
                self.assertEqual(self.encoded(DotEncoder(), pieces), wire, pieces)

    def test_what_is_unclean_is_refused_all_the_same(self) -> None:
        for before in (0, *range(LIMIT - 4, LIMIT + 3)):
            for sequence in UNCLEAN:
                for pieces in cuts(b"a" * before + sequence + b"MAIL FROM:<x@y>\r\n"):
                    for encoder in (TextEncoder(), DotEncoder()):
                        with self.assertRaises(LocalViolation):
                            self.encoded(encoder, pieces)
            with self.assertRaises(LocalViolation):
                self.encoded(TextEncoder(), [b"a" * before, b"\r"])
