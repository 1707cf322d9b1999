"""The order of events of a client session, whole and byte by byte."""

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import encode
from postroom.wire.client_session import (
    ClientPhase,
    ClientSession,
    State,
    Transaction,
    Verdicts,
)
from postroom.wire.errors import LocalViolation, ReplyViolation
from postroom.wire.offers import host_capabilities
from postroom.wire.paths import mailbox
from postroom.wire.replies import Reply, reply

MAIL = encode.mail(mailbox("a@b.example"))
RCPTS = [encode.rcpt(mailbox(f"r{n}@c.example")) for n in range(3)]


def pieces(octets: bytes, whole: bool) -> Iterator[bytes]:
    return iter([octets]) if whole else (octets[at : at + 1] for at in range(len(octets)))


class Dialogue:
    """A session that hears octets whole or byte by byte."""

    def __init__(self, whole: bool, extensions: bytes = b"250-PIPELINING\r\n") -> None:
        self.whole = whole
        self.session = ClientSession()
        self.hear(b"220 peer\r\n")
        self.session.command(ClientPhase.EHLO, encode.ehlo(b"us"))
        self.hear(b"250-peer\r\n" + extensions + b"250 HELP\r\n")

    def hear(self, octets: bytes) -> list[tuple[ClientPhase, int]]:
        answers = []
        for piece in pieces(octets, self.whole):
            self.session.receive(piece)
            while (answer := self.session.next_answer()) is not None:
                answers.append((answer[0], answer[1].code))
        return answers

    def begin(self, recipients: int = 1, **how: object) -> tuple[Transaction, bytes]:
        transaction = Transaction(MAIL, RCPTS[:recipients], **how)  # type: ignore[arg-type]
        return transaction, self.session.begin(transaction)


def codes(transaction: Transaction) -> list[int | None]:
    return [each.code if each else None for each in transaction.replies]


class BothWays(SynchronousTestCase):
    """Runs a test whole, and byte by byte."""

    def both(self, extensions: bytes = b"250-PIPELINING\r\n") -> Iterator[Dialogue]:
        for whole in (True, False):
            yield Dialogue(whole, extensions)


class ChunkTests(BothWays):
    """Content by BDAT. RFC 3030 s2."""

    def test_chunks_follow_the_recipients_and_the_last_ends_it(self) -> None:
        for dialogue in self.both():
            transaction, group = dialogue.begin(2, chunked=True)
            self.assertEqual(group, MAIL + RCPTS[0] + RCPTS[1])
            dialogue.hear(b"250 ok\r\n550 no\r\n250 ok\r\n")
            session = dialogue.session
            self.assertEqual((session.proceed(), session.phase), (b"", ClientPhase.CONTENT))
            self.assertEqual(session.chunk(5, last=False), b"BDAT 5\r\n")
            self.assertEqual(session.chunk(0, last=True), b"BDAT 0 LAST\r\n")
            self.assertEqual(session.unanswered_chunks, 1)
            self.assertRaises(LocalViolation, session.chunk, 1, last=False)
            answers = dialogue.hear(b"250 5 octets\r\n250 queued\r\n")
            self.assertEqual(answers, [(ClientPhase.CHUNK, 250), (ClientPhase.FINAL_DOT, 250)])
            self.assertEqual(codes(transaction), [550, 250])
            self.assertEqual((session.proceed(), session.state), (b"", State.READY))

    def test_a_refusal_ends_it_with_rset(self) -> None:
        for last in (False, True):
            for dialogue in self.both():
                transaction, _ = dialogue.begin(chunked=True)
                dialogue.hear(b"250 ok\r\n250 ok\r\n")
                dialogue.session.chunk(5, last)
                dialogue.hear(b"452 4.3.1 full\r\n")
                self.assertEqual(codes(transaction), [452])
                self.assertRaises(LocalViolation, dialogue.session.chunk, 1, last=True)
                self.assertEqual(dialogue.session.proceed(), b"RSET\r\n")

    def test_no_chunk_comes_before_its_turn(self) -> None:
        for dialogue in self.both():
            self.assertRaises(LocalViolation, dialogue.session.chunk, 1, last=True)
            dialogue.begin(chunked=True)
            self.assertRaises(LocalViolation, dialogue.session.chunk, 1, last=True)


class VerdictTests(BothWays):
    """One reply for each recipient after the content. RFC 2033 s4.2; draft-hall-prdr."""

    def judged(self, octets: bytes, verdicts: Verdicts) -> Iterator[list[int | None]]:
        for dialogue in self.both():
            transaction, _ = dialogue.begin(3, verdicts=verdicts)
            dialogue.hear(b"250 ok\r\n" * 3 + b"550 no\r\n354 go\r\n")
            dialogue.session.content_sent()
            dialogue.hear(octets)
            yield codes(transaction)

    def test_lmtp_answers_for_those_that_were_accepted(self) -> None:
        for found in self.judged(b"250 a\r\n452 b\r\n", Verdicts.EACH):
            self.assertEqual(found, [250, 452, 550])
        for found in self.judged(b"250 a\r\n", Verdicts.EACH):
            self.assertEqual(found, [250, None, 550])

    def test_prdr_announces_judges_and_sums_up(self) -> None:
        for octets, expected in (
            (b"353 go\r\n250 a\r\n550 b\r\n250 done\r\n", [250, 550, 550]),
            (b"353 go\r\n250 a\r\n550 b\r\n451 done\r\n", [451, 550, 550]),
            (b"353 go\r\n250 a\r\n550 b\r\n", [None, None, 550]),
            (b"250 for all\r\n", [250, 250, 550]),
        ):
            for found in self.judged(octets, Verdicts.ANNOUNCED):
                self.assertEqual(found, expected)

    def test_more_replies_than_recipients_are_an_offence(self) -> None:
        for octets, verdicts in (
            (b"250 a\r\n" * 3, Verdicts.EACH),
            (b"353 go\r\n353 go\r\n", Verdicts.ANNOUNCED),
            (b"353 go\r\n", Verdicts.ONE),
        ):
            self.assertRaises(ReplyViolation, list, self.judged(octets, verdicts))


class PipeliningTests(BothWays):
    def test_a_group_leaves_at_once_and_its_replies_find_their_commands(self) -> None:
        for dialogue in self.both():
            transaction, group = dialogue.begin(2)
            self.assertEqual(group, MAIL + RCPTS[0] + RCPTS[1] + b"DATA\r\n")
            answers = dialogue.hear(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
            phases = [ClientPhase.MAIL, ClientPhase.RCPT, ClientPhase.RCPT, ClientPhase.DATA]
            self.assertEqual(answers, list(zip(phases, [250, 250, 550, 354], strict=True)))
            self.assertEqual(codes(transaction), [None, 550])
            self.assertEqual(dialogue.session.proceed(), b"")
            self.assertIs(dialogue.session.state, State.CONTENT)
            dialogue.session.content_sent()
            self.assertIs(dialogue.session.phase, ClientPhase.FINAL_DOT)
            dialogue.hear(b"250 2.0.0 queued\r\n")
            self.assertEqual(codes(transaction), [250, 550])
            self.assertEqual(dialogue.session.proceed(), b"")
            self.assertIsNone(dialogue.session.transaction)
            self.assertIs(dialogue.session.state, State.READY)

    def test_354_although_nobody_was_accepted_is_answered_by_a_lone_dot(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin()
            dialogue.hear(b"250 ok\r\n550 no\r\n354 go\r\n")
            self.assertEqual(dialogue.session.proceed(), b".\r\n")
            dialogue.hear(b"250 empty message taken\r\n")
            self.assertEqual(dialogue.session.proceed(), b"")
            self.assertEqual(codes(transaction), [550])
            self.assertIs(dialogue.session.state, State.READY)

    def test_a_refused_sender_is_the_answer_for_all(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin(2)
            dialogue.hear(b"550 5.7.1 not you\r\n503 x\r\n503 x\r\n503 x\r\n")
            self.assertEqual(codes(transaction), [550, 550])
            self.assertEqual(dialogue.session.proceed(), b"")
            self.assertIsNone(dialogue.session.transaction)

    def test_refused_data_is_the_answer_of_the_accepted_and_ends_with_rset(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin(2)
            dialogue.hear(b"250 ok\r\n550 no\r\n250 ok\r\n451 later\r\n")
            self.assertEqual(codes(transaction), [550, 451])
            self.assertEqual(dialogue.session.proceed(), b"RSET\r\n")
            dialogue.hear(b"250 ok\r\n")
            self.assertEqual(dialogue.session.proceed(), b"")
            self.assertIs(dialogue.session.state, State.READY)

    def test_a_host_that_will_not_reset_is_left(self) -> None:
        for dialogue in self.both():
            dialogue.begin()
            dialogue.hear(b"250 ok\r\n550 no\r\n554 no recipients\r\n")
            self.assertEqual(dialogue.session.proceed(), b"RSET\r\n")
            with self.assertRaises(ReplyViolation):
                dialogue.hear(b"500 what?\r\n")


class OneByOneTests(BothWays):
    def test_each_command_waits_for_the_answer_before(self) -> None:
        for dialogue in self.both(b""):
            transaction, line = dialogue.begin(2)
            self.assertEqual(line, MAIL)
            for line, answer in [
                (RCPTS[0], b"250 ok\r\n"),
                (RCPTS[1], b"250 ok\r\n"),
                (b"DATA\r\n", b"450 4.2.1 not now\r\n"),
            ]:
                dialogue.hear(answer)
                self.assertEqual(dialogue.session.proceed(), line)
            dialogue.hear(b"354 go\r\n")
            self.assertEqual(dialogue.session.proceed(), b"")
            dialogue.session.content_sent()
            dialogue.hear(b"250 ok\r\n")
            self.assertEqual(codes(transaction), [250, 450])

    def test_data_is_not_sent_when_nobody_was_accepted(self) -> None:
        for dialogue in self.both(b""):
            dialogue.begin()
            dialogue.hear(b"250 ok\r\n")
            dialogue.session.proceed()
            dialogue.hear(b"550 no\r\n")
            self.assertEqual(dialogue.session.proceed(), b"RSET\r\n")

    def test_nothing_follows_a_refused_sender(self) -> None:
        for dialogue in self.both(b""):
            dialogue.begin()
            dialogue.hear(b"451 later\r\n")
            self.assertEqual(dialogue.session.proceed(), b"")
            self.assertIsNone(dialogue.session.transaction)


class MeaningTests(BothWays):
    def test_552_to_rcpt_means_452(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin()
            dialogue.hear(b"250 ok\r\n552 5.5.3 too many\r\n")
            self.assertEqual(transaction.replies, [reply(452, "4.5.3", "too many")])

    def test_552_to_the_content_means_552(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin()
            dialogue.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
            dialogue.session.content_sent()
            dialogue.hear(b"552 too big\r\n")
            self.assertEqual(codes(transaction), [552])

    def test_421_before_the_final_dot_decides_nothing(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin()
            dialogue.hear(b"250 ok\r\n421 closing\r\n")
            self.assertEqual(codes(transaction), [None])

    def test_421_to_the_final_dot_is_its_answer(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin()
            dialogue.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
            dialogue.session.content_sent()
            dialogue.hear(b"421 closing\r\n")
            self.assertEqual(codes(transaction), [421])

    def test_capabilities_are_read_from_ehlo_in_any_case(self) -> None:
        text = ("peer.example hello", "size 1000", "Auth plain LOGIN ", "8BITMIME", "?junk", "")
        found = host_capabilities(Reply(250, text))
        self.assertEqual(found.size_octets, 1000)
        self.assertEqual(found.mechanisms, {"PLAIN", "LOGIN"})
        self.assertIn("8BITMIME", found)
        self.assertNotIn("PEER.EXAMPLE", found)
        self.assertEqual(len(found.extensions), 3)

    def test_a_size_that_is_no_number_is_no_limit(self) -> None:
        for word in ("", "0", "1_000", "-5", "9" * 30, "\u0661"):
            self.assertEqual(host_capabilities(Reply(250, ("x", f"SIZE {word}"))).size_octets, 0)


class OffenceTests(BothWays):
    def offends(self, octets: bytes, begin: bool = False) -> None:
        for dialogue in self.both():
            if begin:
                dialogue.begin()
            with self.assertRaises(ReplyViolation):
                dialogue.hear(octets)

    def test_a_positive_reply_to_nothing(self) -> None:
        self.offends(b"250 surprise\r\n")

    def test_a_positive_reply_of_the_wrong_kind(self) -> None:
        self.offends(b"354 go\r\n", begin=True)
        self.offends(b"250 ok\r\n250 ok\r\n250 no 354\r\n", begin=True)

    def test_250_before_the_final_dot(self) -> None:
        self.offends(b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n", begin=True)

    def test_what_is_no_reply(self) -> None:
        for octets in (
            b"hello\r\n",
            b"25 ok\r\n",
            b"2500 ok\r\n",
            b"250_ok\r\n",
            b"199 ok\r\n",
            b"600 ok\r\n",
            b"\r\n",
            b"250-a\r\n251 b\r\n",
            b"250-a\r\nb\r\n",
            b"250 a\0b\r\n",
            b"250 a\rb\r\n",
            b"250 a\n250 b\r\n",
            b"250 ok\n",
        ):
            self.offends(octets, begin=True)

    def test_a_reply_without_end(self) -> None:
        self.offends(b"250-more\r\n" * 200, begin=True)
        self.offends(
            b"250-" + b"x" * 1000 + b"\r\n" + (b"250-" + b"x" * 1000 + b"\r\n") * 60, begin=True
        )

    def test_a_line_without_end(self) -> None:
        self.offends(b"250 " + b"x" * 20_000, begin=True)
        self.offends(b"250 " + b"x" * 20_000 + b"\r\n", begin=True)

    def test_replies_before_an_offence_are_heard(self) -> None:
        for dialogue in self.both():
            transaction, _ = dialogue.begin()
            dialogue.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
            dialogue.session.content_sent()
            with self.assertRaises(ReplyViolation):
                dialogue.hear(b"250 taken\r\njunk\r\n")
            self.assertEqual(codes(transaction), [250])

    def test_a_negative_reply_to_nothing_is_passed_on(self) -> None:
        for dialogue in self.both():
            self.assertEqual(dialogue.hear(b"421 bye\r\n"), [(ClientPhase.IDLE, 421)])
            dialogue.begin()
            dialogue.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
            self.assertEqual(dialogue.hear(b"552 enough\r\n"), [(ClientPhase.CONTENT, 552)])


class StarttlsTests(BothWays):
    def test_nothing_learnt_before_tls_is_known_after(self) -> None:
        for dialogue in self.both():
            dialogue.session.command(ClientPhase.STARTTLS, encode.STARTTLS)
            dialogue.hear(b"220 go\r\n")
            self.assertIs(dialogue.session.phase, ClientPhase.HANDSHAKE)
            secured = dialogue.session.secured()
            self.assertNotIn("PIPELINING", secured.capabilities)
            with self.assertRaises(LocalViolation):
                secured.begin(Transaction(MAIL, RCPTS))

    def test_text_after_220_is_an_injection(self) -> None:
        for injected in (
            b"250-evil\r\n250 AUTH LOGIN\r\n",
            b"250 x\r\n",
            b"250-x\r\n",
            b"250",
            b"\r",
        ):
            session = ClientSession()
            session.receive(b"220 peer\r\n")
            session.next_answer()
            session.command(ClientPhase.EHLO, encode.ehlo(b"us"))
            session.receive(b"250 STARTTLS\r\n")
            session.next_answer()
            session.command(ClientPhase.STARTTLS, encode.STARTTLS)
            session.receive(b"220 go\r\n" + injected)
            session.next_answer()
            with self.assertRaises(ReplyViolation):
                session.secured()


class SequenceTests(SynchronousTestCase):
    def test_commands_out_of_sequence_are_a_fault_of_ours(self) -> None:
        session = ClientSession()
        with self.assertRaises(LocalViolation):  # before the greeting
            session.command(ClientPhase.EHLO, encode.ehlo(b"us"))
        session.receive(b"220 peer\r\n")
        session.next_answer()
        for phase in (
            ClientPhase.MAIL,
            ClientPhase.RCPT,
            ClientPhase.STARTTLS,
            ClientPhase.AUTH,
        ):  # before EHLO
            with self.assertRaises(LocalViolation):
                session.command(phase, b"")

    def test_the_phrase_of_the_final_dot_warns(self) -> None:
        self.assertIn("sent twice", ClientPhase.FINAL_DOT.phrase)
