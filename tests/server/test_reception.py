"""Tests for `postroom.server.reception`."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from postroom.envelope import Envelope, SessionFacts
from postroom.server.limits import Limits
from postroom.server.reception import TOO_BIG, Reception
from postroom.wire.commands import Mail
from postroom.wire.data import DotDecoder, TextRules
from postroom.wire.replies import reply
from tests.server.scene import Transaction, World

STRICT = TextRules(998, refuse_bare_newline=True, refuse_nul=True)
SMALL = replace(Limits(), message_octets=100)


def envelope_for_tests() -> Envelope:
    return Envelope("id", SessionFacts("mx", "192.0.2.1", 1), Mail(None))


class ReceptionTests(SynchronousTestCase):
    """Tests for `Reception`."""

    def setUp(self) -> None:
        self.world = World()
        self.transaction = Transaction(self.world, envelope_for_tests())
        self.reception = Reception(self.transaction, SMALL, DotDecoder(STRICT))

    def test_content_is_passed_on_and_counted(self) -> None:
        for chunk in (b"abc\r\n..d", b"ef\r\n", b".\r\nrest"):
            self.assertIsNone(self.reception.feed(chunk))
        self.assertEqual(b"".join(self.transaction.chunks), b"abc\r\n.def\r\n")
        self.assertEqual(self.reception.octets, 11)
        self.assertTrue(self.reception.ended)
        self.assertEqual(self.reception.rest, b"rest")
        self.assertIsNone(self.reception.refusal)
        self.reception.commit()
        self.assertEqual(self.world.calls, ["commit"])

    def test_an_empty_message_is_one(self) -> None:
        self.reception.feed(b".\r\n")
        self.assertEqual((self.transaction.chunks, self.reception.ended), ([], True))
        self.assertIsNone(self.reception.refusal)

    def test_unfit_content_is_let_go_of_at_once_and_read_to_its_end(self) -> None:
        for flaw in (b"a\nb", b"a\rb", b"a\0b", b"x" * 1000):
            self.setUp()
            self.reception = Reception(self.transaction, Limits(), DotDecoder(STRICT))
            self.reception.feed(b"good\r\n" + flaw + b"\r\n")
            self.assertEqual(self.world.calls, ["abort"])
            self.assertFalse(self.reception.ended)
            self.reception.feed(b"more\r\n.\r\n")
            assert self.reception.refusal is not None
            self.assertEqual(
                (self.reception.refusal.code, self.reception.refusal.enhanced), (550, "5.5.2")
            )
            self.assertEqual(self.world.calls, ["abort"])

    def test_the_first_octet_too_many_is_too_many(self) -> None:
        self.reception.feed(b"x" * 98 + b"\r\n")
        self.assertIsNone(self.reception.refusal)
        self.reception.feed(b"..\r\n")
        self.assertIs(self.reception.refusal, TOO_BIG)
        self.assertEqual(self.world.calls, ["abort"])

    def test_a_message_that_fits_when_its_end_is_seen_fits(self) -> None:
        self.reception.feed(b"x" * 98 + b"\r\n.\r\n")
        self.assertIsNone(self.reception.refusal)

    def test_what_is_read_away_has_an_end_too(self) -> None:
        for first in (b"a\nb", b"x" * 101):
            self.setUp()
            self.reception.feed(first)
            self.assertFalse(self.reception.endless)
            self.reception.feed(b"x" * 201)
            self.assertTrue(self.reception.endless)

    def test_the_first_refusal_stands(self) -> None:
        self.reception.feed(b"a\nb")
        refusal = self.reception.refusal
        self.reception.feed(b"x" * 150)
        self.assertIs(self.reception.refusal, refusal)

    def test_a_refused_transaction_is_aborted_once(self) -> None:
        self.reception.feed(b"abc\r\n")
        self.reception.refuse(reply(451, "4.3.0", "No"))
        self.reception.abort()
        self.reception.feed(b"def\r\n.\r\n")
        self.assertEqual(self.world.calls, ["abort"])
        self.assertEqual(self.transaction.chunks, [b"abc"])

    def test_the_limit_holds_for_octets_as_they_came_and_as_they_are_mended(self) -> None:
        for content, refused in (
            (b"\n" * 50, False),
            (b"\n" * 51, True),
            (b"\0" * 98 + b"\r\n", False),
            (b"\0" * 99 + b"\r\n", True),
            (b"a\r" * 49 + b"\r\n", False),
            (b"\r" * 100 + b"\n", True),
            ((b"..\r\n" * 33), False),
        ):
            self.setUp()
            self.reception = Reception(self.transaction, SMALL, DotDecoder())
            self.reception.feed(
                content + b".\r\n" if content[-2:] == b"\r\n" else content + b"\r\n."
            )
            self.assertEqual(self.reception.refusal is TOO_BIG, refused, content)

    def test_what_is_taken_out_has_an_end_too(self) -> None:
        self.reception = Reception(self.transaction, SMALL, DotDecoder())
        for _ in range(20):
            self.assertFalse(self.reception.endless)
            self.reception.feed(b"\0" * 10)
        self.reception.feed(b"\0")
        self.assertTrue(self.reception.endless)

    def test_stray_line_ends_are_mended_where_that_is_wanted(self) -> None:
        self.reception = Reception(self.transaction, SMALL, DotDecoder())
        self.reception.feed(b"a\nb\rc\r\n.\r\n")
        self.assertEqual(b"".join(self.transaction.chunks), b"a\r\nb c\r\n")
        self.assertIsNone(self.reception.refusal)
