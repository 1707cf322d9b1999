"""Tests for `postroom.wire.state`: the tables, against what RFC 5321 s4.1.4 says in prose."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.grammar import VERBS
from postroom.wire.replies import Reply
from postroom.wire.state import (
    AFTER_FAILURE,
    END_OF_CONTENT,
    IN_TRANSACTION,
    INTERMEDIATE,
    LAST_CHUNK,
    RESPONSE,
    STEPS,
    Phase,
)

OPEN = {Phase.SENDER, Phase.RECIPIENTS, Phase.CONTENT, Phase.CHUNKS}
SPEAKING = (
    *(Phase.HELLO, Phase.READY, Phase.SENDER, Phase.RECIPIENTS),
    *(Phase.CHUNKS, Phase.BROKEN),
)


class TableTests(SynchronousTestCase):
    """Tests for `STEPS` and its companions."""

    def test_every_verb_has_a_step_wherever_commands_come(self) -> None:
        for phase in (*SPEAKING, Phase.TURNED_AWAY):
            self.assertEqual(set(STEPS[phase]) - {LAST_CHUNK}, set(VERBS), phase)

    def test_a_command_out_of_place_is_503_or_554(self) -> None:
        for steps in STEPS.values():
            for step in steps.values():
                if isinstance(step, Reply):
                    self.assertIn((step.code, step.enhanced), ((503, "5.5.1"), (554, "5.5.1")))

    def test_noop_help_and_vrfy_change_nothing(self) -> None:
        for phase in SPEAKING:
            for verb in ("NOOP", "HELP", "VRFY"):
                self.assertIs(STEPS[phase][verb], phase)

    def test_hello_and_rset_end_a_transaction(self) -> None:
        for phase in SPEAKING[1:]:
            for verb in ("EHLO", "HELO", "LHLO", "RSET"):
                self.assertIs(STEPS[phase][verb], Phase.READY)

    def test_quit_is_legal_everywhere_and_alone_when_turned_away(self) -> None:
        for phase in (*SPEAKING, Phase.TURNED_AWAY):
            self.assertIs(STEPS[phase]["QUIT"], Phase.CLOSED)
        others = [step for verb, step in STEPS[Phase.TURNED_AWAY].items() if verb != "QUIT"]
        self.assertTrue(all(isinstance(step, Reply) for step in others))

    def test_mail_begins_a_transaction_only_where_there_is_none(self) -> None:
        legal = [phase for phase in SPEAKING if isinstance(STEPS[phase]["MAIL"], Phase)]
        self.assertEqual(legal, [Phase.READY])

    def test_content_needs_a_recipient(self) -> None:
        legal = [phase for phase in SPEAKING if isinstance(STEPS[phase]["DATA"], Phase)]
        self.assertEqual(legal, [Phase.RECIPIENTS])

    def test_chunks_and_data_do_not_mix(self) -> None:
        for verb in ("BDAT", LAST_CHUNK):
            legal = [phase for phase in SPEAKING if isinstance(STEPS[phase].get(verb), Phase)]
            self.assertEqual(legal, [Phase.RECIPIENTS, Phase.CHUNKS])
        for verb in ("MAIL", "RCPT", "DATA"):
            self.assertIsInstance(STEPS[Phase.CHUNKS][verb], Reply)

    def test_after_a_chunk_that_failed_only_a_new_beginning_helps(self) -> None:
        legal = {verb for verb, step in STEPS[Phase.BROKEN].items() if isinstance(step, Phase)}
        asides = {"NOOP", "HELP", "VRFY", "EXPN", "QUIT", "STARTTLS"}
        self.assertEqual(legal - asides, {"EHLO", "HELO", "LHLO", "RSET"})

    def test_authentication_is_between_transactions(self) -> None:
        legal = [phase for phase in SPEAKING if isinstance(STEPS[phase]["AUTH"], Phase)]
        self.assertEqual(legal, [Phase.READY])

    def test_tls_is_a_step_after_hello(self) -> None:
        legal = [phase for phase in SPEAKING if isinstance(STEPS[phase]["STARTTLS"], Phase)]
        self.assertEqual(legal, list(SPEAKING[1:]))

    def test_content_and_responses_end_however_they_are_answered(self) -> None:
        self.assertEqual(
            AFTER_FAILURE,
            {
                END_OF_CONTENT: Phase.READY,
                RESPONSE: Phase.READY,
                LAST_CHUNK: Phase.READY,
                "BDAT": Phase.BROKEN,
            },
        )
        self.assertIs(STEPS[Phase.CONTENT][END_OF_CONTENT], Phase.READY)
        self.assertIs(STEPS[Phase.CHALLENGE][RESPONSE], Phase.READY)
        self.assertNotIn(END_OF_CONTENT, VERBS)
        self.assertNotIn(RESPONSE, VERBS)

    def test_an_envelope_is_open_from_mail_to_the_end_of_content(self) -> None:
        self.assertEqual(IN_TRANSACTION, OPEN)
        self.assertEqual(set(INTERMEDIATE.values()), {Phase.CONTENT, Phase.CHALLENGE})
