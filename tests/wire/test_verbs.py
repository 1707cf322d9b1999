"""Verbs and codes are in one table each."""

import ast

from twisted.trial.unittest import SynchronousTestCase

import postroom.wire
from postroom.wire import codes, grammar, ports, state, verbs
from postroom.wire.errors import SyntaxViolation
from postroom.wire.grammar import Syntax, parse_command
from tests.architecture.sources import modules

SHARED_NAMES = {
    "SYSTEM_STATUS": 211,
    "HELP": 214,
    "SERVICE_READY": 220,
    "CLOSING": 221,
    "AUTH_SUCCESS": 235,
    "OK": 250,
    "USER_NOT_LOCAL": 251,
    "CANNOT_VRFY": 252,
    "AUTH_INPUT": 334,
    "DATA_INPUT": 354,
    "SERVICE_UNAVAIL": 421,
    "MAILBOX_UNAVAIL": 450,
    "LOCAL_ERROR": 451,
    "INSUFF_STORAGE": 452,
    "TEMP_AUTH_FAIL": 454,
    "CMD_UNRECOGNIZED": 500,
    "ARG_SYNTAX_ERROR": 501,
    "CMD_NOT_IMPL": 502,
    "BAD_CMD_SEQUENCE": 503,
    "CMD_NOT_IMPL_PARAM": 504,
    "AUTH_REQUIRED": 530,
    "AUTH_FAILED": 535,
    "MAILBOX_UNAVAIL_PERM": 550,
    "USER_NOT_LOCAL_PERM": 551,
    "EXCEED_STORAGE": 552,
    "MAILBOX_NAME_INVALID": 553,
    "TRANSACTION_FAILED": 554,
}


def named(module: object, prefix: str) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name.startswith(prefix)}


class VerbTests(SynchronousTestCase):
    """``CMD_*`` and who uses them."""

    def test_each_constant_is_its_own_name_and_in_the_tuple(self) -> None:
        constants = named(verbs, "CMD_")
        self.assertEqual(set(constants.values()), set(verbs.SMTP_COMMANDS))
        for name, verb in constants.items():
            self.assertEqual(name, f"CMD_{verb}")

    def test_what_the_server_parses_and_its_session_knows_is_in_the_tuple(self) -> None:
        self.assertLessEqual(set(grammar.VERBS), set(verbs.SMTP_COMMANDS))
        steps = {verb for step in state.STEPS.values() for verb in step if verb.isalpha()}
        self.assertLessEqual(steps, set(verbs.SMTP_COMMANDS))

    def test_a_known_verb_is_not_implemented_and_any_other_unknown(self) -> None:
        for verb in (*verbs.SMTP_COMMANDS, "FOO"):
            if verb in grammar.VERBS:
                continue
            with self.assertRaises(SyntaxViolation) as caught:
                parse_command(verb.encode(), Syntax({}))
            expected = 502 if verb in verbs.SMTP_COMMANDS else 500
            self.assertEqual(caught.exception.reply.code, expected, verb)


class CodeTests(SynchronousTestCase):
    """``REPLY_*`` and who uses them."""

    def test_each_constant_is_described(self) -> None:
        constants = named(codes, "REPLY_")
        self.assertIs(constants.pop("REPLY_CODES"), codes.REPLY_CODES)
        self.assertEqual(set(constants.values()), set(codes.REPLY_CODES))

    def test_each_code_has_one_name_which_other_packet_layers_know_too(self) -> None:
        constants = named(codes, "REPLY_")
        del constants["REPLY_CODES"]
        self.assertEqual(len(set(constants.values())), len(constants))
        shared = {name.removeprefix("REPLY_"): code for name, code in constants.items()}
        self.assertEqual({name: shared.get(name) for name in SHARED_NAMES}, SHARED_NAMES)

    def test_every_code_that_the_package_says_is_in_the_table(self) -> None:
        said = {
            node.args[0].value
            for module in modules()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("reply", "Reply", "_bad", "_refuse")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        }
        self.assertGreater(len(said), 15)
        self.assertEqual(said - set(codes.REPLY_CODES), set())

    def test_a_code_that_is_in_no_table_is_described_by_its_first_digit(self) -> None:
        self.assertEqual(codes.reply_code_description(250), codes.REPLY_CODES[250])
        self.assertEqual(codes.reply_code_description(299), "Success")
        self.assertEqual(codes.reply_code_description(999), "Unknown reply code")


class PackageTests(SynchronousTestCase):
    """What can be had from ``postroom.wire`` itself."""

    def test_names(self) -> None:
        for name in (
            *named(verbs, "CMD_"),
            *named(codes, "REPLY_"),
            *named(ports, "SMTP"),
            *("SMTP_COMMANDS", "SMTP_FIELD_NAMES", "SMTP_MIN_HEADER_LEN", "SmtpLayer"),
            *("SmtpBuilder", "is_smtp_payload", "reply_code_description", "smtp_show_fields"),
        ):
            self.assertIsNotNone(getattr(postroom.wire, name), name)
        self.assertEqual(
            (postroom.wire.SMTP_PORT, postroom.wire.SMTP_SUBMISSION_PORT, postroom.wire.SMTPS_PORT),
            (25, 587, 465),
        )

    def test_no_other_name(self) -> None:
        with self.assertRaisesRegex(AttributeError, "SmtpLayr"):
            postroom.wire.SmtpLayr  # noqa: B018
