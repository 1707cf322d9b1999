"""Tests for `postroom.server.incoming`."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from postroom.envelope import Envelope, SessionFacts
from postroom.server.incoming import TOO_BIG, IncomingContent
from postroom.server.limits import Limits
from postroom.wire.commands import Mail
from postroom.wire.data import MEND_ALL, DotDecoder, TextRules
from postroom.wire.replies import reply
from tests.server.scene import Scene, Transaction, World, settings

STRICT = TextRules(998, refuse_bare_newline=True, refuse_nul=True)
SMALL = replace(Limits(), message_octets=100)


def envelope_for_tests() -> Envelope:
    return Envelope("id", SessionFacts("mx", "192.0.2.1", 1), Mail(None))


class IncomingContentTests(SynchronousTestCase):
    """Tests for `IncomingContent`."""

    def setUp(self) -> None:
        self.world = World()
        self.incoming = self.begin(STRICT)

    def begin(self, rules: TextRules = MEND_ALL, limits: Limits = SMALL) -> IncomingContent:
        """Begin a message right after 354."""
        session = Scene(settings(limits=limits)).in_transaction().protocol.session
        self.transaction = Transaction(self.world, envelope_for_tests())
        return IncomingContent(session, self.transaction, DotDecoder(rules))

    def test_content_is_passed_on_and_counted(self) -> None:
        for chunk in (b"abc\r\n..d", b"ef\r\n", b".\r\nrest"):
            self.assertIsNone(self.incoming.feed(chunk))
        self.assertEqual(b"".join(self.transaction.chunks), b"abc\r\n.def\r\n")
        self.assertEqual(self.incoming.octets, 11)
        self.assertTrue(self.incoming.ended)
        self.assertEqual(self.incoming.rest, b"rest")
        self.assertIsNone(self.incoming.refusal)
        self.assertEqual(self.world.calls, [])

    def test_an_empty_message_is_one(self) -> None:
        self.incoming.feed(b".\r\n")
        self.assertEqual((self.transaction.chunks, self.incoming.ended), ([], True))
        self.assertIsNone(self.incoming.refusal)

    def test_unfit_content_is_let_go_of_at_once_and_read_to_its_end(self) -> None:
        for flaw in (b"a\nb", b"a\rb", b"a\0b", b"x" * 1000):
            self.setUp()
            self.incoming = self.begin(STRICT, Limits())
            self.incoming.feed(b"good\r\n" + flaw + b"\r\n")
            self.assertEqual(self.world.calls, ["abort"])
            self.assertFalse(self.incoming.ended)
            self.incoming.feed(b"more\r\n.\r\n")
            assert self.incoming.refusal is not None
            self.assertEqual(
                (self.incoming.refusal.code, self.incoming.refusal.enhanced), (550, "5.5.2")
            )
            self.assertEqual(self.world.calls, ["abort"])

    def test_the_first_octet_too_many_is_too_many(self) -> None:
        self.incoming.feed(b"x" * 98 + b"\r\n")
        self.assertIsNone(self.incoming.refusal)
        self.incoming.feed(b"..\r\n")
        self.assertIs(self.incoming.refusal, TOO_BIG)
        self.assertEqual(self.world.calls, ["abort"])

    def test_a_message_that_fits_when_its_end_is_seen_fits(self) -> None:
        self.incoming.feed(b"x" * 98 + b"\r\n.\r\n")
        self.assertIsNone(self.incoming.refusal)

    def test_what_is_read_away_has_an_end_too(self) -> None:
        for first in (b"a\nb", b"x" * 101):
            self.setUp()
            self.incoming.feed(first)
            self.assertFalse(self.incoming.endless)
            self.incoming.feed(b"x" * 201)
            self.assertTrue(self.incoming.endless)

    def test_the_first_refusal_stands(self) -> None:
        self.incoming.feed(b"a\nb")
        refusal = self.incoming.refusal
        self.incoming.feed(b"x" * 150)
        self.assertIs(self.incoming.refusal, refusal)

    def test_a_refused_transaction_is_aborted_once(self) -> None:
        self.incoming.feed(b"abc\r\n")
        self.incoming.refuse(reply(451, "4.3.0", "No"))
        self.incoming.abort()
        self.incoming.feed(b"def\r\n.\r\n")
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
            self.incoming = self.begin()
            self.incoming.feed(
                content + b".\r\n" if content[-2:] == b"\r\n" else content + b"\r\n."
            )
            self.assertEqual(self.incoming.refusal is TOO_BIG, refused, content)

    def test_what_is_taken_out_has_an_end_too(self) -> None:
        self.incoming = self.begin()
        for _ in range(20):
            self.assertFalse(self.incoming.endless)
            self.incoming.feed(b"\0" * 10)
        self.incoming.feed(b"\0")
        self.assertTrue(self.incoming.endless)

    def test_stray_line_ends_are_mended_where_that_is_wanted(self) -> None:
        self.incoming = self.begin()
        self.incoming.feed(b"a\nb\rc\r\n.\r\n")
        self.assertEqual(b"".join(self.transaction.chunks), b"a\r\nb c\r\n")
        self.assertIsNone(self.incoming.refusal)
