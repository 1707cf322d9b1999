"""Claims about the scan of header sections."""

import time

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.headers import TOO_LARGE, TOO_MANY_HOPS, TOO_MANY_LINES, HeaderScan
from postroom.errors import Refusal
from tests.delivery.support import settings


def scan(octets: bytes, size: int, **limits: int) -> HeaderScan:
    """Scan content in chunks of a size."""
    reader = HeaderScan(settings(**limits))
    for start in range(0, len(octets), size):
        if reader.feed(octets[start : start + size]):
            return reader
    reader.end()
    return reader


class WhereTheHeaderEnds(SynchronousTestCase):
    """Each case is run whole, in pieces, and octet by octet."""

    def check(self, head: bytes, body: bytes, received: int = 0) -> HeaderScan:
        for size in (1, 2, 3, 7, len(head + body) + 1):
            reader = scan(head + body, size)
            self.assertEqual(reader.body_at, len(head), f"in chunks of {size}")
            self.assertEqual(reader.received, received, f"in chunks of {size}")
        return reader

    def test_at_the_empty_line(self) -> None:
        self.check(b"A: b\r\nReceived: x\r\n\r\n", b"Received: in the body\r\n\r\n", received=1)

    def test_folded_lines_belong_to_it(self) -> None:
        self.check(b"A: b\r\n c\r\n\td\r\n\r\n", b"x\r\n")

    def test_a_body_may_have_no_header(self) -> None:
        self.check(b"", b"Hello there\r\n\r\nReceived: x\r\n")

    def test_whether_there_is_one_is_known(self) -> None:
        for bare in (
            b"Hello there\r\n\r\nA: b\r\n",
            b"  indented\r\n",
            b"\tA: b\r\n\r\n",
            b"Hello",
        ):
            self.assertTrue(all(scan(bare, size).headless for size in (1, 5, 99)), bare)
        for head in (
            b"A: b\r\n",
            b"A: b\r\nhello\r\n",
            b"\r\nhello\r\n",
            b"A: b",
            b"",
        ):
            self.assertFalse(any(scan(head, size).headless for size in (1, 5, 99)), head)

    def test_an_empty_header_is_one_empty_line(self) -> None:
        self.check(b"\r\n", b"Received: x\r\n")

    def test_a_line_that_is_no_field_ends_it(self) -> None:
        self.check(b"A: b\r\nReceived: x\r\n", b"no field\r\nReceived: y\r\n\r\n", received=1)

    def test_content_may_end_within_it(self) -> None:
        self.check(b"A: b\r\nReceived: x\r\n", b"", received=1)

    def test_received_is_counted_by_name_in_any_case_and_not_in_folded_lines(self) -> None:
        head = b"RECEIVED: a\r\nreceived : b\r\n Received: c\r\n"
        head += b"Received-SPF: d\r\nX: Received:\r\n\r\n"
        self.check(head, b"x\r\n", received=2)

    def test_return_path_fields_are_found_with_their_folded_lines(self) -> None:
        head = b"Return-Path: <a@b>\r\nX-Return-Path: y\r\nreturn-path:\r\n <c@d>\r\nTo: x\r\n\r\n"
        reader = self.check(head, b"Return-Path: body\r\n")
        found = [head[start:end] for start, end in reader.return_paths]
        self.assertEqual(found, [b"Return-Path: <a@b>\r\n", b"return-path:\r\n <c@d>\r\n"])


class WhatIsTooMuch(SynchronousTestCase):
    def refused(self, octets: bytes, size: int, **limits: int) -> object:
        return self.assertRaises(Refusal, scan, octets, size, **limits).reply

    def test_a_hundred_received_fields_are_a_loop(self) -> None:
        self.assertEqual(self.refused(b"Received: x\r\n" * 100 + b"\r\n", 64), TOO_MANY_HOPS)
        self.assertEqual(scan(b"Received: x\r\n" * 99 + b"\r\n", 64).received, 99)

    def test_a_loop_is_seen_without_an_end_of_the_header(self) -> None:
        self.assertEqual(self.refused(b"Received: x\r\n" * 100, 64), TOO_MANY_HOPS)

    def test_the_section_is_limited_in_octets(self) -> None:
        for size in (10, 1000):
            octets = b"A: " + b"x" * 195 + b"\r\n\r\n"
            self.assertEqual(self.refused(octets, size, header_octets=199), TOO_LARGE)
            scan(octets, size, header_octets=200)

    def test_a_line_without_end_is_limited_at_once(self) -> None:
        reader = HeaderScan(settings(header_octets=100))
        reader.feed(b"A: " + b"x" * 97)
        self.assertRaises(Refusal, reader.feed, b"x")

    def test_a_large_body_is_no_large_header(self) -> None:
        self.assertEqual(scan(b"A: b\r\n\r\n" + b"x" * 1000, 2000, header_octets=100).body_at, 8)

    def test_the_section_is_limited_in_lines(self) -> None:
        lines = b"A: b\r\n" + b" c\r\n" * 10
        self.assertEqual(self.refused(lines + b"\r\n", 9, header_lines=10), TOO_MANY_LINES)
        scan(lines + b"\r\n", 9, header_lines=11)

    def check_linear(self, line: bytes, size: int) -> None:
        """Eight times the octets take less than twenty times the time; quadratic is 64."""

        def seconds(octets: bytes) -> float:
            times = []
            for _ in range(3):
                started = time.process_time()
                scan(octets, size, header_octets=1 << 30, header_lines=1 << 30)
                times.append(time.process_time() - started)
            return min(times)

        self.assertLess(seconds(line * 16_000), 20 * seconds(line * 2000))

    def test_time_is_linear_in_short_lines_and_small_chunks(self) -> None:
        self.check_linear(b"a:\r\n", 4)

    def test_time_is_linear_in_a_long_line_and_small_chunks(self) -> None:
        self.check_linear(b"a:xxxxxxxxxxxxxx", 16)
