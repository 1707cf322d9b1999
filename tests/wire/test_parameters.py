"""Tests for `postroom.wire.parameters`."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.errors import SyntaxViolation
from postroom.wire.parameters import (
    MAIL_PARAMETERS,
    NOTIFY,
    RCPT_PARAMETERS,
    parse_parameters,
)

OFFERED = {"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN"}


def parse(octets: bytes, offered: dict[str, str] = OFFERED) -> dict[str, str | None]:
    return parse_parameters(octets, MAIL_PARAMETERS, offered)


class ParameterTests(SynchronousTestCase):
    """Tests for `parse_parameters`."""

    def refused(self, octets: bytes, code: int, text: str = "") -> None:
        violation = self.assertRaises(SyntaxViolation, parse, octets)
        self.assertEqual((violation.reply.code, violation.reply.enhanced), (code, "5.5.4"), octets)
        self.assertIn(text, violation.reply.text[0])

    def test_what_is_read(self) -> None:
        self.assertEqual(parse(b""), {})
        self.assertEqual(parse(b"SIZE=5"), {"SIZE": "5"})
        self.assertEqual(
            parse(b"size=5  Body=8BitMime   auth=<>"),
            {"SIZE": "5", "BODY": "8BitMime", "AUTH": "<>"},
        )

    def test_numbers_are_ascii_digits(self) -> None:
        for value in (b"1_000", b"+5", b"-1", b"5.0", b"0x5", b"", b"5" * 21, b"9" * 5000):
            self.refused(b"SIZE=" + value, 501)
        self.assertEqual(parse(b"SIZE=" + b"9" * 20), {"SIZE": "9" * 20})

    def test_a_parameter_that_is_not_offered_does_not_exist(self) -> None:
        self.refused(b"SMTPUTF8", 555, "SMTPUTF8")
        self.refused(b"RET=FULL", 555, "RET")
        violation = self.assertRaises(SyntaxViolation, parse, b"X" * 4000)
        self.assertLess(len(violation.reply.wire), 512)
        for word in (b"SIZE=5", b"BODY=7BIT", b"AUTH=<>"):
            violation = self.assertRaises(SyntaxViolation, parse, word, {})
            self.assertEqual(violation.reply.code, 555)
        violation = self.assertRaises(
            SyntaxViolation, parse_parameters, b"SIZE=5", RCPT_PARAMETERS, OFFERED
        )
        self.assertEqual(violation.reply.code, 555)

    def test_a_parameter_comes_once(self) -> None:
        self.refused(b"SIZE=5 SIZE=5", 501, "twice")
        self.refused(b"SIZE=5 BODY=7BIT size=6", 501, "twice")

    def test_what_is_no_parameter(self) -> None:
        for word in (
            b"=",
            b"=5",
            b"SIZE==5",
            b"SIZE=5=6",
            b"-a=b",
            b"a_b=c",
            b"SIZE=",
            b'"SIZE"=5',
        ):
            self.refused(word, 501, "Malformed")

    def test_auth_is_xtext_without_controls(self) -> None:
        for value in ("+0A", "+00", "+7F", "+80", "+20", "+zz", "+4", "+", "a+4g", "+0d"):
            self.refused(b"AUTH=" + value.encode(), 501)
        self.assertEqual(parse(b"AUTH=e+3Dmc2@example"), {"AUTH": "e+3Dmc2@example"})

    def test_the_reply_shows_no_more_than_the_beginning(self) -> None:
        violation = self.assertRaises(SyntaxViolation, parse, b"x" * 4000 + b"=")
        self.assertLess(len(violation.reply.wire), 200)

    def test_a_value_may_need_an_extension_of_its_own(self) -> None:
        self.refused(b"BODY=BINARYMIME", 501)
        offered = {**OFFERED, "BINARYMIME": ""}
        self.assertEqual(parse(b"BODY=BinaryMime", offered), {"BODY": "BinaryMime"})

    def test_a_priority_is_refused_with_a_code_of_its_own(self) -> None:
        for words in (b"MT-PRIORITY=10", b"MT-PRIORITY=1 MT-PRIORITY=1"):
            violation = self.assertRaises(SyntaxViolation, parse, words, {"MT-PRIORITY": ""})
            self.assertEqual((violation.reply.code, violation.reply.enhanced), (501, "5.5.2"))

    def test_the_meaning_of_a_parameter(self) -> None:
        self.assertIsNone(NOTIFY.of({}))
        self.assertEqual(NOTIFY.of({"NOTIFY": "delay,Success"}), {"DELAY", "SUCCESS"})

    def test_every_parameter_is_known_by_its_own_name(self) -> None:
        for table in (MAIL_PARAMETERS, RCPT_PARAMETERS):
            for keyword, parameter in table.items():
                self.assertEqual(parameter.keyword, keyword)
