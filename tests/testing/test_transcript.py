"""Tests for `postroom.testing.transcript`, and that a dialogue which is not kept is noticed."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.testing.conversation import Cut, Mismatch
from postroom.testing.transcript import (
    Closed,
    Expect,
    ExpectedMessage,
    OpenConnection,
    Say,
    Send,
    StartTLS,
    TranscriptError,
    Wait,
    read_transcript,
    unescape,
)
from postroom.wire.replies import Reply
from tests.dialogue import MemoryRun

TEXT = r"""# Comment
with: role=mx recipients=3
C: EHLO a

== First
S: 250-mx
S: 250-HELP
S: 250 SIZE 5
C*2: NOOP
S*2: 250 2.0.0
wait: 1.5
== Second
S: 250
C-raw: a\r\n.\r\n
S: 550 5.1.1 No such
S-closed
envelope: <a@b> <c@d>
stored: a\r\n
"""


class ReadingTests(SynchronousTestCase):
    """Tests for `read_transcript`."""

    def test_a_file_of_two_dialogues(self) -> None:
        first, second = read_transcript(TEXT)
        self.assertEqual((first.title, second.title), ("First", "Second"))
        self.assertEqual(first.settings, {"role": "mx", "recipients": "3"})
        noop, ok = Send(9, b"NOOP\r\n"), Expect(10, "250", "2.0.0")
        self.assertEqual(
            first.steps,
            [
                Send(3, b"EHLO a\r\n"),
                Expect(8, "250", lines=("mx", "HELP", "SIZE 5")),
                *(noop, noop, ok, ok),
                Wait(11, 1.5),
            ],
        )
        self.assertEqual(
            second.steps[2:],
            [Send(14, b"a\r\n.\r\n"), Expect(15, "550", "5.1.1", "No such"), Closed(16)],
        )
        self.assertEqual(second.storage, [ExpectedMessage(b"a\r\n", "<a@b> <c@d>")])

    def test_what_is_said_of_a_reply_and_what_is_no_step(self) -> None:
        (dialogue,) = read_transcript(
            "needs: SIZE AUTH\nS: 2xx/503 x.1.x\nS-has: SIZE\nS-lacks: AUTH\nS-lines: 2\nTLS\n"
            "S-raw: x\\n\nconnection: a\nC-closed"
        )
        self.assertEqual(dialogue.notes, {"needs": "SIZE AUTH"})
        self.assertEqual(
            dialogue.steps,
            [
                Expect(2, "2xx/503", "x.1.x", has=("SIZE",), lacks=("AUTH",), count=2),
                StartTLS(6),
                Say(7, b"x\n"),
                OpenConnection(8, "a"),
                Closed(9, by_client=True),
            ],
        )

    def test_afresh_drops_the_steps_before_and_keeps_the_notes(self) -> None:
        (dialogue,) = read_transcript("needs: SIZE\nC: a\nS: 250\n== x\nafresh\nC: b")
        self.assertEqual(dialogue.steps, [Send(6, b"b\r\n")])
        self.assertEqual(dialogue.notes, {"needs": "SIZE"})

    def test_escapes(self) -> None:
        self.assertEqual(unescape(r"\r\n\0\t\\\x41\xff"), b"\r\n\0\t\\A\xff")
        self.assertEqual(unescape(r"<\(ab*3)>"), b"<ababab>")
        self.assertEqual(unescape("a \\"), b"a ")
        for wrong in (r"\q", r"\x4", r"\(a)", "\\\\\\z"):
            self.assertRaises(ValueError, unescape, wrong)

    def test_what_is_no_transcript_is_said_with_its_line(self) -> None:
        for text in (
            "C: a\nX: b",
            "C: a\nhello",
            "C: a\nS: 25",
            "C: a\nC: \\q",
            "C: a\nwait: x",
            "C: a\nS-has: x",
            "S: 250\nS-hat: x",
            "C: a\nfoo: x",
        ):
            error = self.assertRaises(TranscriptError, list, read_transcript(text))
            self.assertIn("line 2", str(error))


class MismatchTests(SynchronousTestCase):
    """Tests for `Expect.mismatch`, and for the runner's."""

    def test_what_differs(self) -> None:
        reply = Reply(250, ("a", "b"), "2.1.0")
        for expect in (
            Expect(1, "250"),
            Expect(1, "250", "2.1.0", "a b"),
            Expect(1, "250", lines=("a", "b")),
        ):
            self.assertIsNone(expect.mismatch(reply))
        for expect in (
            Expect(1, "2xx", "2.1.x"),
            Expect(1, "503/250", "x.x.0"),
            Expect(1, "250", has=("A", "b"), lacks=("c",), count=2),
            Expect(1, "250", only=("B",), like="[a-z]", line_like="b"),
        ):
            self.assertIsNone(expect.mismatch(reply))
        for expect in (
            Expect(1, "25x", "2.2.x"),
            Expect(1, "4xx/503"),
            Expect(1, "250", has=("a b",)),
            Expect(1, "250", lacks=("a",)),
            Expect(1, "250", count=1),
            Expect(1, "250", only=("C",)),
            Expect(1, "250", like="b"),
            Expect(1, "250", line_like="c"),
            Expect(1, "251"),
            Expect(1, "250", "2.1.5"),
            Expect(1, "250", text="c"),
            Expect(1, "250", lines=("a",)),
        ):
            self.assertIsNotNone(expect.mismatch(reply))

    def converse(self, text: str) -> None:
        (dialogue,) = read_transcript(text)
        MemoryRun(dialogue, Cut.GROUPS, late=False).run()

    def test_a_server_may_close_where_it_may(self) -> None:
        self.converse("C: GET / HTTP/1.1\nS: 421\nC: NOOP\nS-or-closed: 250\nC: NOOP\nS: 250")
        self.converse("C: NOOP\nS-or-closed: 250")
        self.assertRaises(Mismatch, self.converse, "C: NOOP\nS-or-closed: 500")
        self.assertRaises(Mismatch, self.converse, "C: QUIT\nS: 221\nC: NOOP\nS: 250")

    def test_tls_has_to_be_negotiated_unless_it_need_not(self) -> None:
        hello = "C: EHLO a\nS: 250\n"
        self.converse(hello + "C: STARTTLS\nS: 220\nTLS\nC: EHLO a\nS: 250\nS-lacks: STARTTLS")
        self.assertRaises(Mismatch, self.converse, "C: NOOP\nS: 250\nTLS")
        self.converse("C: NOOP\nS: 250\nTLS-or-closed\nC: NOOP\nS: 500")
        self.converse("C: STARTTLS now\nS: 501\nTLS-or-closed\nC: NOOP\nS: 500")
        self.assertRaises(
            Mismatch, self.converse, hello + "C-raw: STARTTLS\\r\\nNO\nS: 220\nTLS\nC: OP\nS: 250"
        )

    def test_the_greeting_is_part_of_a_dialogue_that_begins_with_it(self) -> None:
        self.converse("S: 220\nC: NOOP\nS: 250")
        self.assertRaises(Mismatch, self.converse, "S: 554")

    def test_a_dialogue_that_is_not_kept_is_noticed_however_it_is_cut(self) -> None:
        mail = (
            "C: EHLO a\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<user@here.example>\nS: 250\n"
        )
        message = mail + "C: DATA\nS: 354\nC-raw: x\\r\\n.\\r\\n\nS: 250\n"
        for text in (
            "C: NOOP\nS: 500",
            "C: NOOP\nS: 250 2.1.0",
            "C: NOOP\nS: 250 2.0.0 Never",
            "C: NOOP",
            "C: NOOP\nS: 250\nS: 250",
            "C: QUIT\nS: 221",
            "C: NOOP\nS: 250\nS-closed",
            message,
            message + "stored: y\\r\\n",
            message + "stored*2: x\\r\\n",
            message + "envelope: <> <other@here.example>\nstored: x\\r\\n",
        ):
            for cut in Cut:
                (dialogue,) = read_transcript(text)
                conversation = MemoryRun(dialogue, cut, late=False)
                self.assertRaises(Mismatch, conversation.run)
        (right,) = read_transcript(message + "envelope: <> <user@here.example>\nstored: x\\r\\n")
        MemoryRun(right, Cut.LINES, late=False).run()
