"""Tests for `postroom.wire.data`."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.data import ChunkDecoder, DotDecoder, Flaw

LONGEST = 8
PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"\r\n.", b"\r\n.\r\n", b"..", b"\0", b"a", b"bcd", b"x" * 8]
)
STREAMS = st.lists(PIECES, max_size=25).map(b"".join)
CLEAN = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"bcdef"]), max_size=25).map(b"".join)
SIZES = st.lists(st.integers(1, 6))

Outcome = tuple[bytes, Flaw | None, bool, bytes]


def reference(stream: bytes, longest: int, normalise: bool) -> Outcome:
    """Decode a whole stream in the plainest way: content, flaw, ended, rest."""
    virtual = b"\r\n" + stream
    content, end, rest = virtual.partition(b"\r\n.\r\n")
    if not end:
        return b"", None, False, b""
    lines = (content + b"\r\n").split(b"\r\n")[1:-1]
    lines = [line[1:] if line.startswith(b".") else line for line in lines]
    text = b"".join(line + b"\r\n" for line in lines)
    if normalise:
        text = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
    bare = any(b"\r" in line or b"\n" in line for line in text.split(b"\r\n"))
    if bare:
        return b"", Flaw.BARE_CR_OR_LF, True, rest
    if b"\0" in text:
        return b"", Flaw.NUL, True, rest
    if longest and any(len(line) > longest for line in text.split(b"\r\n")):
        return b"", Flaw.LONG_LINE, True, rest
    return text, None, True, rest


def decode(chunks: list[bytes], longest: int, normalise: bool) -> Outcome:
    """Decode a stream that comes in chunks."""
    decoder = DotDecoder(longest, normalise)
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

    def check(self, stream: bytes, sizes: list[int], normalise: bool) -> None:
        expected = reference(stream, LONGEST, normalise)
        got = decode(cut(stream, sizes), LONGEST, normalise)
        self.assertEqual(got[2:], expected[2:])
        if not expected[2]:
            return
        # Which of several flaws is found first may depend on the chunks; that there is one may not.
        self.assertEqual(got[1] is None, expected[1] is None)
        if expected[1] is None:
            self.assertEqual(got[0], expected[0])

    @given(STREAMS, SIZES, st.booleans())
    @example(b"a\r\n..\r\n.\r\n", [6], False)
    @example(b".\r\n", [1, 1], False)
    @example(b"\r\r\n.\r\r\n", [1, 1, 1, 1], True)
    def test_any_stream_in_any_chunks_is_what_the_reference_makes_of_it(
        self, stream: bytes, sizes: list[int], normalise: bool
    ) -> None:
        self.check(stream, sizes, normalise)

    @given(CLEAN, SIZES)
    def test_a_clean_stream_in_any_chunks(self, stream: bytes, sizes: list[int]) -> None:
        self.check(stream + b"\r\n.\r\nrest", sizes, False)

    @given(STREAMS, st.booleans())
    def test_octet_by_octet(self, stream: bytes, normalise: bool) -> None:
        self.check(stream, [1] * len(stream), normalise)

    def test_the_end_is_found_wherever_it_is_cut(self) -> None:
        stream = b"body\r\n.x\r\n.\r\nNEXT\r\n"
        for first in range(len(stream)):
            for second in range(first, len(stream)):
                chunks = [stream[:first], stream[first:second], stream[second:]]
                self.assertEqual(
                    decode(chunks, 998, False), (b"body\r\nx\r\n", None, True, b"NEXT\r\n")
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
                self.assertIs(decode(chunks, 998, False)[1], flaw)
                pieces = [content[at : at + length] for at in range(0, len(content), length)]
                self.assertIs(unchunked(pieces)[1], flaw)

    def test_after_a_flaw_nothing_is_given_out_until_the_end(self) -> None:
        decoder = DotDecoder()
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
                self.assertEqual(decode(chunks, 998, False)[1:3], (flaw, True), (length, size))

    def test_a_dot_that_is_taken_off_does_not_count(self) -> None:
        self.assertIsNone(decode([b"." + b"." + b"x" * 997 + b"\r\n.\r\n"], 998, False)[1])
        self.assertIs(decode([b".." + b"x" * 998 + b"\r\n.\r\n"], 998, False)[1], Flaw.LONG_LINE)

    def test_lines_of_any_length_where_none_is_the_longest(self) -> None:
        stream = b"x" * 100_000 + b"\r\n.\r\n"
        self.assertEqual(decode([stream], 0, False), (stream[:-3], None, True, b""))

    def test_a_long_line_of_a_megabyte_is_one_flaw(self) -> None:
        chunks = [b"x" * 4096] * 256 + [b"\r\nRSET\r\nMAIL FROM:<a@b>\r\n.\r\n"]
        self.assertEqual(decode(chunks, 998, False)[1:], (Flaw.LONG_LINE, True, b""))

    def test_many_short_chunks_take_linear_time(self) -> None:
        # Each octet alone, sixty thousand of them: minutes if each cost what came before it.
        decoder = DotDecoder(0)
        count = sum(len(decoder.feed(b"x")) for _ in range(60_000))
        self.assertEqual(count, 60_000)


def unchunked(chunks: list[bytes], **options: bool) -> tuple[bytes, Flaw | None]:
    """Decode chunks, each fed octet by octet and with something behind it."""
    decoder = ChunkDecoder(10, **options)
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
            b"0123456789\r\n" * 2,
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
        for chunks in self.cuts(b"a\nb\rc\r\n\r"):
            self.assertEqual(unchunked(chunks, normalise=True), (b"a\r\nb\r\nc\r\n\r\n", None))
