"""Claims about line ends in Maildir files, and the sizes that go into their names."""

import re
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs.line_ends import LineEndRewriter, LineEnds, Sizes


def by_imap(stored: bytes) -> bytes:
    """What Dovecot gives to mail programs for a file."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", stored)


def rewritten(form: LineEnds, *pieces: bytes) -> tuple[bytes, Sizes]:
    rewriting = LineEndRewriter(form)
    written = b"".join(rewriting.all(pieces))
    return written, rewriting.sizes


SHORT = [bytes(octets) for n in range(7) for octets in product(b"x\r\n", repeat=n)]


class Rewritings(SynchronousTestCase):
    def test_text_gets_the_line_ends_of_the_form_and_tells_both_sizes(self) -> None:
        text = b"Subject: s\r\n\r\nHello,\r\nworld.\r\n"
        lf = text.replace(b"\r\n", b"\n")
        for given in (text, lf):
            self.assertEqual(rewritten(LineEnds.LF, given), (lf, Sizes(len(lf), len(text))))
            self.assertEqual(rewritten(LineEnds.CRLF, given), (text, Sizes(len(text), len(text))))
            self.assertEqual(rewritten(LineEnds.KEPT, given), (given, Sizes(len(given), len(text))))

    def test_a_bare_cr_is_no_line_end_and_keeps_the_crlf_after_it_apart(self) -> None:
        for given, written in (
            (b"a\rb\r\n", b"a\rb\n"),
            (b"a\r\r\nb\r\n", b"a\r\r\nb\n"),
            (b"\r", b"\r"),
            (b"a\r\n\r", b"a\n\r"),
        ):
            self.assertEqual(rewritten(LineEnds.LF, given)[0], written)

    def test_every_form_reads_the_same_by_imap_and_is_as_large_as_its_name_says(self) -> None:
        for given, form in product(SHORT, LineEnds):
            written, sizes = rewritten(form, given)
            self.assertEqual(by_imap(written), by_imap(given), (form, given))
            self.assertEqual(sizes, (len(written), len(by_imap(written))), (form, given))

    def test_a_form_leaves_no_line_end_of_the_other(self) -> None:
        for given in SHORT:
            self.assertIsNone(re.search(rb"(?<!\r)\r\n", rewritten(LineEnds.LF, given)[0]), given)
            self.assertIsNone(re.search(rb"(?<!\r)\n", rewritten(LineEnds.CRLF, given)[0]), given)
            self.assertEqual(rewritten(LineEnds.KEPT, given)[0], given)

    def test_the_result_does_not_depend_on_the_cuts(self) -> None:
        for given, form in product(SHORT, LineEnds):
            whole = rewritten(form, given)
            for first, second in product(range(len(given) + 1), repeat=2):
                pieces = given[:first], given[first:second], given[max(first, second) :]
                self.assertEqual(rewritten(form, *pieces), whole, (form, pieces))
            self.assertEqual(rewritten(form, *(bytes([octet]) for octet in given)), whole)

    def test_nothing_but_a_cr_at_the_border_is_held_back(self) -> None:
        rewriting = LineEndRewriter(LineEnds.LF)
        self.assertEqual(rewriting.feed(b"a" * 1000), b"a" * 1000)
        self.assertEqual(rewriting.feed(b"\r" * 1000), b"\r" * 999)
        self.assertEqual(rewriting.feed(b"\n"), b"\r\n")
