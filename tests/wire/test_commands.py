"""Tests for `postroom.wire.commands`; what each line is answered is in ``tests/transcripts``."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import commands
from postroom.wire.commands import (
    VERBS,
    Auth,
    Command,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    Starttls,
    Syntax,
    Vrfy,
    parse_command,
    parse_vrfy_mailbox,
)
from postroom.wire.errors import SyntaxViolation
from postroom.wire.paths import Mailbox

SYNTAX = Syntax({"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN"})
AB = Mailbox(b"a", b"b")

READ: dict[bytes, Command] = {
    b"EHLO a.b": Ehlo(b"a.b"),
    b"ehlo [192.0.2.1]": Ehlo(b"[192.0.2.1]"),
    b"HELO under_score.": Helo(b"under_score."),
    b"MAIL FROM:<>": Mail(None),
    b"MAIL FROM:<a@b>": Mail(AB),
    b"mail from:<a@b> size=5 body=7BIT": Mail(AB, {"SIZE": "5", "BODY": "7BIT"}),
    b'MAIL FROM:<"a>b"@c>  SIZE=5 ': Mail(Mailbox(b"a>b", b"c"), {"SIZE": "5"}),
    b"RCPT TO:<a@b>": Rcpt(AB),
    b"RCPT TO:<@x:a@b>  ": Rcpt(AB),
    b"RCPT TO:<PostMaster>": Rcpt(Mailbox(b"postmaster", b"")),
    b"DATA": Data(),
    b"DATA  ": Data(),
    b"RSET": Rset(),
    b"NOOP": Noop(),
    b"NOOP anything at all": Noop(),
    b"QUIT": Quit(),
    b"HELP": Help(b""),
    b"HELP MAIL": Help(b"MAIL"),
    b"VRFY a b": Vrfy(b"a b"),
    b"AUTH plain": Auth("PLAIN", None),
    b"AUTH PLAIN =": Auth("PLAIN", b"="),
    b"AUTH X-Y_1 YWI=": Auth("X-Y_1", b"YWI="),
    b"STARTTLS": Starttls(),
}


class ParseCommandTests(SynchronousTestCase):
    """Tests for `parse_command`."""

    def refusal(self, line: bytes, syntax: Syntax = SYNTAX) -> tuple[int, str | None]:
        reply = self.assertRaises(SyntaxViolation, parse_command, line, syntax).reply
        return reply.code, reply.enhanced

    def test_what_is_read(self) -> None:
        for line, command in READ.items():
            self.assertEqual(parse_command(line, SYNTAX), command, line)

    def test_every_verb_is_read_by_its_own_name(self) -> None:
        self.assertEqual({command.verb for command in READ.values()}, set(VERBS))
        for line, command in READ.items():
            self.assertEqual(line.split()[0].upper(), command.verb.encode())

    def test_declared_size(self) -> None:
        self.assertEqual(Mail(AB, {"SIZE": "00012"}).size_octets, 12)
        self.assertEqual(Mail(AB).size_octets, 0)

    def test_a_space_after_the_colon_is_a_setting(self) -> None:
        for line in (b"MAIL FROM: <a@b>", b"RCPT TO:  <a@b>"):
            self.assertEqual(self.refusal(line), (501, "5.5.4"))
            lenient = parse_command(line, Syntax(SYNTAX.offered, space_after_colon=True))
            self.assertIn(lenient, (Mail(AB), Rcpt(AB)))

    def test_no_name_of_the_module_is_a_verb(self) -> None:
        for name in (
            *vars(commands),
            "__class__",
            "_mail",
            "do_MAIL",
            "lineReceived",
            "?",
            ".",
            "=",
        ):
            if name.upper() not in VERBS:
                self.assertIn(self.refusal(name.encode())[0], (500, 502), name)

    def test_controls_and_8_bit_octets(self) -> None:
        for octet in (*range(32), *range(127, 256)):
            wrong = bytes([octet])
            self.assertEqual(self.refusal(b"NOOP" + wrong), (500, "5.5.2"))
            self.assertEqual(self.refusal(wrong + b"NOOP"), (500, "5.5.2"))
            self.assertEqual(self.refusal(b"NOOP " + wrong), (501, "5.5.2"))
            self.assertEqual(self.refusal(b"EHLO a" + wrong), (501, "5.5.2"))
            in_path = (553, "5.6.7") if octet > 127 else (501, "5.5.2")
            self.assertEqual(self.refusal(b"MAIL FROM:<a" + wrong + b"@b>"), in_path)
            self.assertEqual(self.refusal(b"RCPT TO:<a@b> x=" + wrong), (501, "5.5.2"))

    def test_long_lines_are_refused_in_linear_time(self) -> None:
        for start in (b"MAIL FROM:<", b"RCPT TO:", b"MAIL FROM:<a@b> =", b"EHLO ", b"AUTH ", b"X"):
            for octet in (b'"', b"\\", b"<", b">", b" ", b"a.", b"a=", b'"\\'):
                for end in (b"", b"\0", b'"x', b"@b>x"):
                    self.assertRaises(
                        SyntaxViolation, parse_command, start + octet * 30_000 + end, SYNTAX
                    )

    def test_the_argument_of_vrfy_as_a_mailbox(self) -> None:
        self.assertEqual(parse_vrfy_mailbox(b"<a@b>"), AB)
        self.assertEqual(parse_vrfy_mailbox(b"a@b"), AB)
        for name in (b"a", b"a b", b"<a>", b"", b"<", b"A <a@b>"):
            self.assertIsNone(parse_vrfy_mailbox(name))
