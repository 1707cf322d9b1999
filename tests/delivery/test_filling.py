"""Claims about what is written into Maildir files: line ends, sizes, and further copies."""

import errno
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery import filling as module
from postroom.delivery.filling import Body, Filler
from postroom.delivery.spool import FileContent, MemoryContent
from postroom.interfaces import IContent
from postroom.maildirs.line_ends import LineEnds
from tests.delivery.support import HEADER, StreamedContent, as_lf

HEAD = b"Return-Path: <>\r\n"
TEXT = HEADER + b"a line of text\r\n" * 50_000
BINARY = HEADER + b"\r\n\n\r\r\n\0" * 50_000


class FillingCase(SynchronousTestCase):
    def file(self, octets: bytes = b"") -> int:
        descriptor = os.open(self.mktemp(), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self.addCleanup(os.close, descriptor)
        os.write(descriptor, octets)
        return descriptor

    def contents(self, octets: bytes) -> list[IContent]:
        """The same content as every kind."""
        pieces = [octets[at : at + 65_536] for at in range(0, len(octets), 65_536)]
        return [
            MemoryContent(pieces),
            FileContent(self.file(octets), len(octets)),
            StreamedContent(octets, 4099),
        ]

    def filled(self, filler: Filler, body: Body, head: bytes = HEAD) -> tuple[bytes, int, int]:
        descriptor = self.file()
        sizes = filler.fill(descriptor, head, body)
        written = os.pread(descriptor, 10_000_000, 0)
        return written, *sizes

    def check(self, filler: Filler, body: Body, expected: bytes) -> None:
        with_crlf = len(expected) + expected.count(b"\n") - expected.count(b"\r\n")
        for _ in range(3):  # the first of the copies, and two that are made from it
            found = self.filled(filler, body)
            self.assertTrue(found[0] == expected, "another file")
            self.assertEqual(found[1:], (len(expected), with_crlf))
        filler.forget()

    def counted(self, function: str) -> list[object]:
        true, calls = getattr(os, function), []

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return true(*args, **kwargs)

        self.patch(module.os, function, call)
        return calls


class Filling(FillingCase):
    def test_text_has_lf_or_crlf_by_the_setting_trace_fields_included(self) -> None:
        for content in self.contents(TEXT):
            self.check(Filler(LineEnds.LF), Body(content), as_lf(HEAD + TEXT))
            self.check(Filler(LineEnds.CRLF), Body(content), HEAD + TEXT)

    def test_binary_content_keeps_its_octets_under_either_setting(self) -> None:
        for content in self.contents(BINARY):
            for setting in (LineEnds.LF, LineEnds.CRLF):
                self.check(Filler(setting), Body(content, binary=True), HEAD + BINARY)

    def test_what_is_cut_is_in_no_copy(self) -> None:
        end = len(HEADER)
        for content in self.contents(TEXT):
            for setting, expected in (
                (LineEnds.LF, as_lf(HEAD + TEXT[:5] + TEXT[end:])),
                (LineEnds.CRLF, HEAD + TEXT[:5] + TEXT[end:]),
            ):
                self.check(Filler(setting), Body(content, ((5, end),)), expected)

    def test_each_copy_has_its_own_trace_fields(self) -> None:
        for content in self.contents(TEXT):
            filler = Filler(LineEnds.LF)
            for head in (HEAD, HEAD + b"Delivered-To: ann@here.example\r\n", b"X: y\r\n"):
                found = self.filled(filler, Body(content), head)
                self.assertTrue(found[0] == as_lf(head + TEXT), head)
                self.assertEqual(found[2], len(head + TEXT))

    def test_another_message_is_no_copy_of_the_last(self) -> None:
        filler = Filler(LineEnds.LF)
        for content, other in zip(self.contents(TEXT), self.contents(BINARY), strict=True):
            for body, expected in (
                (Body(content), as_lf(HEAD + TEXT)),
                (Body(content, ((0, 5),)), as_lf(HEAD + TEXT[5:])),
                (Body(other, binary=True), HEAD + BINARY),
                (Body(other), as_lf(HEAD + BINARY)),
            ):
                self.assertTrue(self.filled(filler, body)[0] == expected)


class LargeContent(FillingCase):
    def test_a_further_copy_is_made_by_the_kernel(self) -> None:
        filler, content = Filler(LineEnds.LF), FileContent(self.file(TEXT), len(TEXT))
        reads, copies = self.counted("pread"), self.counted("copy_file_range")
        filler.fill(self.file(), HEAD, Body(content))
        self.assertEqual((len(reads), copies), (4, []))
        filler.fill(self.file(), HEAD, Body(content))
        self.assertEqual((len(reads), len(copies)), (4, 1))

    def test_with_crlf_so_is_the_first(self) -> None:
        content = FileContent(self.file(TEXT), len(TEXT))
        reads = self.counted("pread")
        Filler(LineEnds.CRLF).fill(self.file(), HEAD, Body(content))
        self.assertEqual(reads, [])

    def test_where_the_kernel_cannot_copy_it_sends(self) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EXDEV, "another file system")

        self.patch(module.os, "copy_file_range", refuse)
        for setting, expected in ((LineEnds.LF, as_lf(HEAD + TEXT)), (LineEnds.CRLF, HEAD + TEXT)):
            content = FileContent(self.file(TEXT), len(TEXT))
            self.check(Filler(setting), Body(content), expected)

    def test_a_spool_file_that_became_shorter_is_an_error_and_no_source_of_copies(self) -> None:
        for setting in (LineEnds.LF, LineEnds.CRLF):
            filler, body = Filler(setting), Body(FileContent(self.file(), 9))
            for _ in range(2):
                error = self.assertRaises(OSError, filler.fill, self.file(), HEAD, body)
                self.assertEqual(error.errno, errno.EIO)
