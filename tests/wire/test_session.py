"""Tests for `postroom.wire.session`."""

from dataclasses import replace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.commands import COMMAND_LINE_OCTETS, Auth, Mail, Rcpt, Starttls
from postroom.wire.errors import LocalViolation
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Capabilities, Response, ServerSession
from postroom.wire.state import EHLO_FIRST, MAIL_FIRST, NESTED_MAIL, NO_SERVICE, Phase
from postroom.wire.tolerance import ALL, NONE

OK = reply(250, "2.0.0", "Ok")
NO = reply(550, "5.0.0", "No")
LATER = reply(451, "4.0.0", "Later")
GO_ON = reply(354, None, "Go on")
CHALLENGE = reply(334, None)
WELCOME = reply(220, None, "welcome")
OFFER = Capabilities(
    "mx.example", {"SIZE": "1000", "AUTH": "PLAIN", "STARTTLS": "", "HELP": ""}, tolerate=NONE
)
TOLERANT = replace(OFFER, tolerate=ALL)

LINES = {
    "EHLO": b"EHLO a",
    "HELO": b"HELO a",
    "MAIL": b"MAIL FROM:<a@b>",
    "RCPT": b"RCPT TO:<a@b>",
    "DATA": b"DATA",
    "RSET": b"RSET",
    "NOOP": b"NOOP",
    "QUIT": b"QUIT",
    "VRFY": b"VRFY a",
    "HELP": b"HELP",
    "AUTH": b"AUTH PLAIN",
    "STARTTLS": b"STARTTLS",
}


def session(*lines: bytes, capabilities: Capabilities = OFFER) -> ServerSession:
    """A greeted session in which these lines were accepted."""
    made = ServerSession(capabilities)
    made.greet(WELCOME)
    for line in lines:
        made.receive(line)
        made.answer(GO_ON if line == b"DATA" else OK)
    return made


class OrderTests(SynchronousTestCase):
    """One verdict per command, in order."""

    def test_a_line_waits_for_the_verdict_on_the_one_before(self) -> None:
        paused = session(b"EHLO a")
        paused.receive(b"MAIL FROM:<a@b>")
        self.assertTrue(paused.waiting)
        self.assertRaises(LocalViolation, paused.receive, b"NOOP")
        self.assertRaises(LocalViolation, paused.receive_too_long, b"x")
        self.assertRaises(LocalViolation, paused.end_of_content)
        self.assertEqual(paused.answer(OK), OK.wire)
        self.assertFalse(paused.waiting)

    def test_a_verdict_answers_one_command(self) -> None:
        answered = session(b"EHLO a")
        self.assertRaises(LocalViolation, answered.answer, OK)
        refused = cast(Reply, answered.receive(b"WHAT"))
        answered.answer(refused)
        self.assertRaises(LocalViolation, answered.answer, refused)

    def test_no_command_comes_before_the_greeting_in_content_or_after_quit(self) -> None:
        for made in (
            ServerSession(OFFER),
            session(b"EHLO a", b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>", b"DATA"),
            session(b"QUIT"),
            session(b"EHLO a", b"STARTTLS"),
        ):
            self.assertRaises(LocalViolation, made.receive, b"NOOP")
            self.assertFalse(made.waiting)

    def test_content_ends_only_where_it_has_begun(self) -> None:
        for made in (session(), session(b"EHLO a", b"MAIL FROM:<a@b>")):
            self.assertRaises(LocalViolation, made.end_of_content)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([*LINES.values(), b"?"]),
                st.sampled_from([OK, NO, LATER, CHALLENGE]),
            )
        )
    )
    def test_whatever_comes_there_is_one_reply_and_a_phase_of_the_table(
        self, script: list[tuple[bytes, Reply]]
    ) -> None:
        made = session()
        for line, verdict in script:
            if made.phase in (Phase.CLOSED, Phase.HANDSHAKE):
                return
            if made.phase is Phase.CONTENT:
                made.end_of_content()
                received: object = None
            else:
                received = made.receive(line)
            answer = received if isinstance(received, Reply) else verdict
            before = made.phase
            self.assertEqual(made.answer(answer), answer.wire)
            if isinstance(received, Reply):
                self.assertIs(made.phase, before)
            self.assertEqual(
                made.in_transaction, made.phase.name in ("SENDER", "RECIPIENTS", "CONTENT")
            )


class PhaseTests(SynchronousTestCase):
    """What a command's verdict leads to."""

    def test_a_transaction(self) -> None:
        made = session(b"EHLO a")
        for line, verdict, phase in (
            (b"MAIL FROM:<a@b>", OK, Phase.SENDER),
            (b"RCPT TO:<c@d>", NO, Phase.SENDER),
            (b"RCPT TO:<c@d>", OK, Phase.RECIPIENTS),
            (b"RCPT TO:<c@d>", LATER, Phase.RECIPIENTS),
            (b"DATA", LATER, Phase.RECIPIENTS),
            (b"DATA", GO_ON, Phase.CONTENT),
        ):
            made.receive(line)
            made.answer(verdict)
            self.assertIs(made.phase, phase)
        for verdict in (OK, NO, LATER):
            made = session(b"EHLO a", b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>", b"DATA")
            made.end_of_content()
            made.answer(verdict)
            self.assertIs(made.phase, Phase.READY)

    def test_what_is_wanted_is_given_to_whoever_decides(self) -> None:
        made = session(b"EHLO a")
        self.assertIsInstance(made.receive(b"MAIL FROM:<a@b>"), Mail)
        made.answer(OK)
        self.assertIsInstance(made.receive(b"RCPT TO:<a@b>"), Rcpt)

    def test_what_is_out_of_place_never_gets_there(self) -> None:
        for made, line, refusal in (
            (session(), b"MAIL FROM:<a@b>", EHLO_FIRST),
            (session(b"EHLO a"), b"RCPT TO:<a@b>", MAIL_FIRST),
            (session(b"EHLO a", b"MAIL FROM:<a@b>"), b"MAIL FROM:<a@b>", NESTED_MAIL),
        ):
            self.assertIs(made.receive(line), refusal)

    def test_a_negative_greeting_leaves_quit(self) -> None:
        for line in (*LINES.values(), b"WHAT", b"MAIL", b"BDAT 1"):
            made = ServerSession(Capabilities("mx", barred={"MAIL": NO}))
            made.greet(reply(554, None, "Go away"))
            if line == b"QUIT":
                self.assertNotIsInstance(made.receive(line), Reply)
            else:
                self.assertIs(made.receive(line), NO_SERVICE, line)

    def test_helo_takes_back_what_ehlo_offered(self) -> None:
        made = session(b"EHLO a")
        self.assertIsInstance(made.receive(b"MAIL FROM:<a@b> SIZE=1"), Mail)
        made.answer(NO)
        made.receive(b"HELO a")
        made.answer(OK)
        self.assertFalse(made.extended)
        self.assertEqual(cast(Reply, made.receive(b"MAIL FROM:<a@b> SIZE=1")).code, 555)
        for line in (b"AUTH PLAIN", b"STARTTLS"):
            made = session(b"HELO a")
            self.assertEqual(cast(Reply, made.receive(line)).code, 503)

    def test_mail_and_starttls_need_no_greeting_where_that_is_tolerated(self) -> None:
        made = session(b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>", capabilities=TOLERANT)
        self.assertIs(made.phase, Phase.RECIPIENTS)
        self.assertEqual(cast(Reply, made.receive(b"MAIL FROM:<a@b>")).code, 503)
        for greeting in ((), (b"HELO a",)):
            made = session(*greeting, capabilities=TOLERANT)
            self.assertIsInstance(made.receive(b"STARTTLS"), Starttls)
            made = session(*greeting, capabilities=TOLERANT)
            for line, code in ((b"MAIL FROM:<a@b> SIZE=1", 555), (b"AUTH PLAIN", 503)):
                refused = cast(Reply, made.receive(line))
                self.assertEqual(refused.code, code)
                made.answer(refused)

    def test_only_mail_comes_before_the_other_commands(self) -> None:
        for line in (b"RCPT TO:<a@b>", b"DATA", b"BDAT 1"):
            received = session(capabilities=TOLERANT).receive(line)
            self.assertEqual(cast(Reply, received).code, 503, line)

    def test_a_refused_hello_changes_nothing(self) -> None:
        made = session(b"EHLO a", b"MAIL FROM:<a@b>")
        made.receive(b"HELO a")
        made.answer(NO)
        self.assertTrue(made.extended)
        self.assertIs(made.phase, Phase.SENDER)


class CapabilityTests(SynchronousTestCase):
    """What is offered is what works."""

    def test_the_reply_to_ehlo(self) -> None:
        self.assertEqual(
            OFFER.ehlo_reply.wire,
            b"250-mx.example\r\n250-SIZE 1000\r\n250-AUTH PLAIN\r\n250-STARTTLS\r\n250 HELP\r\n",
        )
        self.assertEqual(OFFER.helo_reply.wire, b"250 mx.example\r\n")

    def test_what_is_not_offered_is_not_implemented(self) -> None:
        for line in (b"AUTH PLAIN", b"STARTTLS"):
            made = session(b"EHLO a", capabilities=Capabilities("mx"))
            self.assertEqual(cast(Reply, made.receive(line)).code, 502)

    def test_what_is_barred_is_refused_in_every_phase(self) -> None:
        barring = Capabilities("mx", OFFER.extensions, {"MAIL": NO, "RCPT": NO})
        for made in (session(capabilities=barring), session(b"EHLO a", capabilities=barring)):
            self.assertIs(made.receive(b"MAIL FROM:<a@b>"), NO)
            made.answer(NO)
            self.assertIs(made.receive(b"RCPT TO:<a@b>"), NO)

    def test_a_new_offer_holds_at_once(self) -> None:
        made = session(b"EHLO a", capabilities=Capabilities("mx"))
        made.offer(OFFER)
        self.assertIsInstance(made.receive(b"MAIL FROM:<a@b> SIZE=1"), Mail)


class ChallengeTests(SynchronousTestCase):
    """Lines within AUTH."""

    def challenged(self) -> ServerSession:
        made = session(b"EHLO a")
        self.assertIsInstance(made.receive(b"AUTH PLAIN"), Auth)
        made.answer(CHALLENGE)
        self.assertIs(made.phase, Phase.CHALLENGE)
        return made

    def test_any_line_is_a_response(self) -> None:
        for line in (b"", b"*", b"QUIT", b"\xff\0", b"x" * 10_000):
            self.assertEqual(self.challenged().receive(line), Response(line))

    def test_another_challenge_may_follow(self) -> None:
        made = self.challenged()
        made.receive(b"x")
        made.answer(CHALLENGE)
        self.assertIs(made.phase, Phase.CHALLENGE)

    def test_success_and_failure_end_it(self) -> None:
        for verdict in (reply(235, "2.7.0"), reply(535, "5.7.8"), reply(454, "4.7.0")):
            made = self.challenged()
            made.receive(b"x")
            made.answer(verdict)
            self.assertIs(made.phase, Phase.READY)

    def test_a_response_that_is_too_long_ends_it(self) -> None:
        made = self.challenged()
        refusal = made.receive_too_long(b"x" * 13_000)
        self.assertEqual((refusal.code, refusal.enhanced), (500, "5.5.6"))
        made.answer(refusal)
        self.assertIs(made.phase, Phase.READY)


class LongLineTests(SynchronousTestCase):
    """RFC 5321 s4.5.3.1.4; RFC 4954 s4."""

    def test_a_command_line_has_a_longest(self) -> None:
        line = b"NOOP " + b"x" * (COMMAND_LINE_OCTETS - 7)
        self.assertNotIsInstance(session().receive(line), Reply)
        self.assertEqual(cast(Reply, session().receive(line + b"x")).code, 500)

    def test_only_auth_may_be_longer(self) -> None:
        made = session(b"EHLO a")
        self.assertIsInstance(made.receive(b"auth PLAIN " + b"A" * 12_000), Auth)

    def test_a_line_of_auth_that_is_too_long_has_a_code_of_its_own(self) -> None:
        for line, enhanced in (
            (b"AUTH PLAIN AAA", "5.5.6"),
            (b"auth x", "5.5.6"),
            (b"AUTHX", "5.5.2"),
        ):
            made = session(b"EHLO a")
            refusal = made.receive_too_long(line)
            self.assertEqual((refusal.code, refusal.enhanced), (500, enhanced))
            made.answer(refusal)
            self.assertIs(made.phase, Phase.READY)
