"""Tests for `postroom.wire.data`."""

import itertools
import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import data
from postroom.wire.data import (
    MEND_ALL,
    BareNewlineDecoder,
    ChunkDecoder,
    DotDecoder,
    Flaw,
    TextRules,
)

STRICT = TextRules(8, refuse_bare_newline=True, refuse_nul=True)
MENDING = TextRules(8)
NO_BARE = TextRules(0, refuse_bare_newline=True)
NO_NUL = TextRules(0, refuse_nul=True)
RULES = st.sampled_from([MEND_ALL, MENDING, STRICT, NO_BARE, NO_NUL])
LONG_LINES = TextRules(998, refuse_bare_newline=True, refuse_nul=True)
PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"\r\n.", b"\r\n.\r\n", b"..", b"\0", b"a", b"bcd", b"x" * 8]
)
STREAMS = st.lists(PIECES, max_size=25).map(b"".join)
CLEAN = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"bcdef"]), max_size=25).map(b"".join)
SIZES = st.lists(st.integers(1, 6))

Outcome = tuple[bytes, Flaw | None, bool, bytes]


def mended(text: bytes) -> bytes:
    """Mend text in the plainest way."""
    text = re.sub(rb"\r*\n", b"\n", text.replace(b"\0", b""))
    return text.replace(b"\r", b" ").replace(b"\n", b"\r\n")


def flaw_in(text: bytes, rules: TextRules) -> Flaw | None:
    """Find the gravest flaw in the plainest way."""
    if rules.refuse_bare_newline and re.search(rb"\r(?!\n)|(?<!\r)\n", text):
        return Flaw.BARE_CR_OR_LF
    if rules.refuse_nul and b"\0" in text:
        return Flaw.NUL
    lines = mended(text).split(b"\r\n")
    if rules.longest_line and any(len(line) > rules.longest_line for line in lines):
        return Flaw.LONG_LINE
    return None


def reference(stream: bytes, rules: TextRules) -> Outcome:
    """Decode a whole stream in the plainest way: content, flaw, ended, rest."""
    virtual = b"\r\n" + stream
    content, end, rest = virtual.partition(b"\r\n.\r\n")
    if not end:
        return b"", None, False, b""
    lines = (content + b"\r\n").split(b"\r\n")[1:-1]
    lines = [line[1:] if line.startswith(b".") else line for line in lines]
    text = b"".join(line + b"\r\n" for line in lines)
    flaw = flaw_in(text, rules)
    return b"" if flaw else mended(text), flaw, True, rest


def decode(chunks: list[bytes], rules: TextRules, kind: type[DotDecoder] = DotDecoder) -> Outcome:
    """Decode a stream that comes in chunks."""
    decoder = kind(rules)
    content = b""
    for at, chunk in enumerate(chunks):
        content += decoder.feed(chunk)
        if decoder.ended:
            return content, decoder.flaw, True, decoder.rest + b"".join(chunks[at + 1 :])
    return content, decoder.flaw, False, b""


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    return [chunk for chunk in (*chunks, stream[at:]) if chunk]


class DotDecoderTests(SynchronousTestCase):
    """Tests for `DotDecoder`."""

    def check(self, stream: bytes, sizes: list[int], rules: TextRules) -> None:
        expected = reference(stream, rules)
        got = decode(cut(stream, sizes), rules)
        self.assertEqual(got[2:], expected[2:])
        if not expected[2]:
            return
        self.assertEqual(got[1], expected[1])
        if expected[1] is None:
            self.assertEqual(got[0], expected[0])

    @given(STREAMS, SIZES, RULES)
    @example(b"a\r\n..\r\n.\r\n", [6], STRICT)
    @example(b".\r\n", [1, 1], STRICT)
    @example(b"\r\r\n.\r\r\n", [1, 1, 1, 1], MENDING)
    def test_any_stream_in_any_chunks_is_what_the_reference_makes_of_it(
        self, stream: bytes, sizes: list[int], rules: TextRules
    ) -> None:
        self.check(stream, sizes, rules)

    @given(CLEAN, SIZES)
    def test_a_clean_stream_in_any_chunks(self, stream: bytes, sizes: list[int]) -> None:
        self.check(stream + b"\r\n.\r\nrest", sizes, STRICT)

    @given(STREAMS, RULES)
    def test_octet_by_octet(self, stream: bytes, rules: TextRules) -> None:
        self.check(stream, [1] * len(stream), rules)

    def test_every_cut_around_cr_nul_lf_and_dot(self) -> None:
        for length in range(1, 6):
            for octets in itertools.product(b"\r\0\n.", repeat=length):
                content = bytes(octets) + b"a\r\n.\r\n"
                for first in range(length + 2):
                    for second in range(first, length + 2):
                        self.check(content, [first, second - first], MEND_ALL)

    def test_the_end_is_found_wherever_it_is_cut(self) -> None:
        stream = b"body\r\n.x\r\n.\r\nNEXT\r\n"
        for first in range(len(stream)):
            for second in range(first, len(stream)):
                chunks = [stream[:first], stream[first:second], stream[second:]]
                self.assertEqual(
                    decode(chunks, LONG_LINES), (b"body\r\nx\r\n", None, True, b"NEXT\r\n")
                )

    def test_nothing_is_held_back_but_what_may_begin_the_end(self) -> None:
        for stream, held in ((b"abc", 0), (b"abc.", 0), (b"abc\r", 1), (b"abc\r\n", 2)):
            self.assertEqual(DotDecoder().feed(stream), stream[: len(stream) - held])
        self.assertEqual(DotDecoder().feed(b"abc\r\n."), b"abc")
        self.assertEqual(DotDecoder().feed(b"abc\r\n.\r"), b"abc")

    def test_of_several_flaws_the_gravest_counts_however_the_content_is_cut(self) -> None:
        long, nul, bare = b"x" * 1000 + b"\r\n", b"a\0b\r\n", b"a\nb\r\n"
        for content, flaw in (
            (long + nul, Flaw.NUL),
            (nul + long, Flaw.NUL),
            (long + nul + bare + long, Flaw.BARE_CR_OR_LF),
        ):
            text = content + b".\r\n"
            for length in (1, 7, 1003, len(text)):
                chunks = [text[at : at + length] for at in range(0, len(text), length)]
                self.assertIs(decode(chunks, LONG_LINES)[1], flaw)
                pieces = [content[at : at + length] for at in range(0, len(content), length)]
                self.assertIs(unchunked(pieces, STRICT)[1], flaw)

    def test_after_a_flaw_nothing_is_given_out_until_the_end(self) -> None:
        decoder = DotDecoder(STRICT)
        self.assertEqual(decoder.feed(b"good\r\nmore"), b"good\r\nmore")
        self.assertEqual(decoder.feed(b"bad\nx"), b"")
        self.assertEqual(decoder.flaw, Flaw.BARE_CR_OR_LF)
        self.assertEqual(decoder.feed(b"good again\r\n"), b"")
        self.assertFalse(decoder.ended)
        self.assertEqual(decoder.feed(b".\r\nQUIT\r\n"), b"")
        self.assertEqual((decoder.ended, decoder.rest), (True, b"QUIT\r\n"))

    def test_the_longest_line_in_any_chunks(self) -> None:
        for length, flaw in ((998, None), (999, Flaw.LONG_LINE), (2500, Flaw.LONG_LINE)):
            line = b"x" * length
            stream = b"short\r\n" + line + b"\r\nshort\r\n.\r\n"
            for size in (1, 2, 997, 998, 999, 1000, 1001, 5000):
                chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
                self.assertEqual(decode(chunks, LONG_LINES)[1:3], (flaw, True), (length, size))

    def test_a_dot_that_is_taken_off_does_not_count(self) -> None:
        self.assertIsNone(decode([b"." + b"." + b"x" * 997 + b"\r\n.\r\n"], LONG_LINES)[1])
        self.assertIs(decode([b".." + b"x" * 998 + b"\r\n.\r\n"], LONG_LINES)[1], Flaw.LONG_LINE)

    def test_lines_of_any_length_where_none_is_the_longest(self) -> None:
        stream = b"x" * 100_000 + b"\r\n.\r\n"
        self.assertEqual(decode([stream], MEND_ALL), (stream[:-3], None, True, b""))

    def test_a_long_line_of_a_megabyte_is_one_flaw(self) -> None:
        chunks = [b"x" * 4096] * 256 + [b"\r\nRSET\r\nMAIL FROM:<a@b>\r\n.\r\n"]
        self.assertEqual(decode(chunks, LONG_LINES)[1:], (Flaw.LONG_LINE, True, b""))

    def test_many_short_chunks_take_linear_time(self) -> None:
        # Each octet alone, sixty thousand of them: minutes if each cost what came before it.
        decoder = DotDecoder()
        count = sum(len(decoder.feed(b"x")) for _ in range(60_000))
        self.assertEqual(count, 60_000)


class MendingTests(SynchronousTestCase):
    """Tests for what `DotDecoder` makes of NULs and line ends."""

    MENDED = {
        b"a\rb": b"a b",
        b"a\nb": b"a\r\nb",
        b"a\r\r\nb": b"a\r\nb",
        b"a\r\r\r\n\r\r\nb": b"a\r\n\r\nb",
        b"a\n\rb": b"a\r\n b",
        b"a\r\rb": b"a  b",
        b"a\0b": b"ab",
        b"a\r\0\nb": b"a\r\nb",
        b"a\0\r\0\r\0\n\0b": b"a\r\nb",
        b"a\n.\nb": b"a\r\n.\r\nb",
        b"a\n..\nb": b"a\r\n..\r\nb",
        b"a\n.\r\nb": b"a\r\n.\r\nb",
        b"a\r\n.\nb": b"a\r\n\r\nb",
        b"a\r.\rb": b"a . b",
        b"a\r\n.\0\r\nb": b"a\r\n\r\nb",
        b"a\r\n\0.\r\nb": b"a\r\n.\r\nb",
        b"a\r\n.\r\r\nb": b"a\r\n\r\nb",
    }

    def test_what_becomes_of_it_after_data(self) -> None:
        for sent, content in self.MENDED.items():
            stream = sent + b"\r\n.\r\n"
            for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
                got = decode(chunks, MEND_ALL)
                self.assertEqual(got, (content + b"\r\n", None, True, b""), sent)

    def test_only_the_end_ends_content(self) -> None:
        for looks_like_it in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\0\r\n"):
            got = decode([b"a" + looks_like_it + b"QUIT\r\n"], MEND_ALL)
            self.assertFalse(got[2], looks_like_it)

    def test_a_run_of_a_million_crs_is_counted_and_not_kept(self) -> None:
        for behind, content in ((b"\nb", b"a\r\nb"), (b"b", b"a" + b" " * 2**20 + b"b")):
            decoder = DotDecoder()
            got = decoder.feed(b"a")
            for _ in range(2**10):
                self.assertEqual(decoder.feed(b"\r" * 2**10), b"")
            self.assertEqual(decoder.raw_octets, 1 + 2**20 - 1)  # the last is held back
            self.assertEqual(got + decoder.feed(behind), content)

    def test_of_a_longer_run_the_first_are_blanks_as_they_come(self) -> None:
        self.patch(data, "LONGEST_RUN", 4)
        for run in range(14):
            end = b" " * (run - 4) + b"\r\n"
            for behind, content in ((b"\nb", end + b"b"), (b"b", b" " * run + b"b")):
                stream = b"a" + b"\r" * run + behind
                for size in range(1, len(stream) + 1):
                    text = data._Text(MEND_ALL)
                    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
                    got = [text.feed(piece) for piece in pieces]
                    self.assertEqual(b"".join(got), b"a" + content, (run, behind, size))
                    for piece, mended_piece in zip(pieces, got, strict=True):
                        self.assertLessEqual(len(mended_piece), len(piece) + 4 + 1)

    def test_a_long_run_of_crs_takes_linear_time(self) -> None:
        stream = b"\r" * 500_000 + b"x\n" + b"\r" * 500_000  # hours, if it were quadratic
        self.assertEqual(len(DotDecoder().feed(stream)), 500_000 + 3)

    def test_raw_octets_are_those_that_came(self) -> None:
        decoder = DotDecoder()
        decoder.feed(b"..a\0\0\n\n\r\n.\r\n")
        self.assertEqual(decoder.raw_octets, len(b".a\0\0\n\n\r\n"))

    def test_a_bare_newline_is_looked_for_before_nuls_are_taken_out(self) -> None:
        for content in (b"a\r\0\n", b"a\n", b"a\rb", b"a\r\r\n"):
            got = decode([content + b"\r\n.\r\n"], NO_BARE)
            self.assertEqual(got[1:3], (Flaw.BARE_CR_OR_LF, True), content)
        self.assertEqual(decode([b"a\0b\r\n.\r\n"], NO_BARE)[0], b"ab\r\n")
        self.assertIs(decode([b"a\0b\r\n.\r\n"], NO_NUL)[1], Flaw.NUL)


class BareNewlineDecoderTests(SynchronousTestCase):
    """Tests for `BareNewlineDecoder`."""

    STREAMS = {
        b"a\n.\nQUIT\n": (b"a\r\n", b"QUIT\n"),
        b"a\r\n.\r\nQUIT\r\n": (b"a\r\n", b"QUIT\r\n"),
        b"a\n.\r\nQUIT": (b"a\r\n", b"QUIT"),
        b"a\r\n.\nQUIT": (b"a\r\n", b"QUIT"),
        b".\nQUIT": (b"", b"QUIT"),
        b"..\n..b\n.c\n\n.\n": (b".\r\n.b\r\nc\r\n\r\n", b""),
        b"a\rb\0\r\r\n.\n": (b"a b\r\n", b""),
    }

    def test_any_lf_ends_a_line_wherever_it_is_cut(self) -> None:
        for stream, (content, rest) in self.STREAMS.items():
            for first in range(len(stream)):
                for second in range(first, len(stream)):
                    chunks = [stream[:first], stream[first:second], stream[second:]]
                    got = decode(chunks, NO_BARE, BareNewlineDecoder)
                    self.assertEqual(got, (content, None, True, rest), chunks)


def unchunked(
    chunks: list[bytes], rules: TextRules = STRICT, binary: bool = False
) -> tuple[bytes, Flaw | None]:
    """Decode chunks, each fed octet by octet and with something behind it."""
    decoder = ChunkDecoder(rules, binary)
    content = b""
    for chunk in chunks:
        decoder.begin(len(chunk))
        for at in range(len(chunk) - 1):
            content += decoder.feed(chunk[at : at + 1])
            assert not decoder.ended
        if chunk:
            content += decoder.feed(chunk[-1:] + b"BDAT")
            assert decoder.rest == b"BDAT"
        assert decoder.ended
    return content + decoder.finish(), decoder.flaw


class ChunkDecoderTests(SynchronousTestCase):
    """Tests for `ChunkDecoder`."""

    def cuts(self, content: bytes) -> list[list[bytes]]:
        halves = [[content[:at], content[at:]] for at in range(len(content) + 1)]
        return [[content], *halves, [content[at : at + 1] for at in range(len(content))]]

    def test_content_is_what_was_sent_wherever_chunks_are_cut(self) -> None:
        for content in (
            b"",
            b"a",
            b"a\r\n",
            b".\r\n..\r\n.\r\n",
            b"\r\n\r\n",
            b"01234567\r\n" * 2,
        ):
            for chunks in self.cuts(content):
                self.assertEqual(unchunked(chunks), (content, None), chunks)

    def test_what_is_unfit_is_found_wherever_chunks_are_cut(self) -> None:
        for content, flaw in (
            (b"a\nb", Flaw.BARE_CR_OR_LF),
            (b"a\rb", Flaw.BARE_CR_OR_LF),
            (b"a\r\n\r", Flaw.BARE_CR_OR_LF),
            (b"\r\r\n", Flaw.BARE_CR_OR_LF),
            (b"a\0b", Flaw.NUL),
            (b"a\r\n" + b"x" * 12, Flaw.LONG_LINE),
        ):
            for chunks in self.cuts(content):
                self.assertIs(unchunked(chunks)[1], flaw, chunks)

    def test_binary_content_is_never_unfit(self) -> None:
        content = b"a\0\r\nb\n\r" + b"x" * 30 + b"\r"
        for chunks in self.cuts(content):
            self.assertEqual(unchunked(chunks, binary=True), (content, None))

    def test_stray_line_ends_are_mended_where_that_is_wanted(self) -> None:
        for chunks in self.cuts(b"a\nb\rc\r\r\n\0\r\0\r"):
            self.assertEqual(unchunked(chunks, MEND_ALL), (b"a\r\nb c\r\n  ", None))

    @given(STREAMS, SIZES, RULES)
    def test_any_content_in_any_chunks_is_what_the_reference_makes_of_it(
        self, content: bytes, sizes: list[int], rules: TextRules
    ) -> None:
        got, flaw = unchunked(cut(content, sizes), rules)
        self.assertEqual(flaw, flaw_in(content, rules))
        if flaw is None:
            self.assertEqual(got, mended(content))
