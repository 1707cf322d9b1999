"""Tests for `postroom.wire.grammar`; what each line is answered is in ``tests/transcripts``."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import commands, grammar
from postroom.wire.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    Starttls,
    Vrfy,
    Xclient,
    Xforward,
)
from postroom.wire.errors import SyntaxViolation
from postroom.wire.grammar import VERBS, Syntax, parse_command
from postroom.wire.paths import Mailbox
from postroom.wire.tolerance import NONE

SYNTAX = Syntax({"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN"}, NONE)
UTF8 = Syntax({"SIZE": "1000", "SMTPUTF8": "", "DSN": ""}, NONE)
WITHIN_UTF8 = Syntax(UTF8.offered, NONE, utf8=True)
AB = Mailbox(b"a", b"b")
JUERGEN = "jürgen@bücher.example".encode()

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
    b"LHLO a.b": Lhlo(b"a.b"),
    b"BDAT 0": Bdat(0),
    b"BDAT 007 last": Bdat(7, True),
    b"BDAT 99999999999999999999  ": Bdat(10**20 - 1),
    b"EXPN staff": Expn(b"staff"),
    b"VRFY a SMTPUTF8": Vrfy(b"a SMTPUTF8"),  # which is not offered
    b"ETRN a.example": Etrn(b"a.example"),
    b"ETRN @a.example": Etrn(b"a.example", b"@"),
    b"ETRN #name": Etrn(b"name", b"#"),
    b"XCLIENT addr=192.0.2.1 NAME=[UNAVAILABLE] LOGIN=a+20b": Xclient(
        {"ADDR": b"192.0.2.1", "NAME": b"[UNAVAILABLE]", "LOGIN": b"a b"}
    ),
    b"XFORWARD SOURCE=LOCAL": Xforward({"SOURCE": b"LOCAL"}),
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

    def test_no_name_of_the_module_is_a_verb(self) -> None:
        for name in (
            *vars(commands),
            *vars(grammar),
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

    def test_chunk_sizes_are_ascii_digits_and_nothing_else(self) -> None:
        for argument in (
            *(b"", b" ", b"-1", b"+1", b"1_0", b"1.0", b"0x1", b"LAST", b"1 LASTX", b"1 LAST LAST"),
            *(b"1  LAST", b"1\xa02", b"1" * 21, b"9" * 4000, b"1 2", b"last 1"),
        ):
            refused = self.refusal(b"BDAT " + argument)
            self.assertIn(refused, ((501, "5.5.4"), (501, "5.5.2")), argument)
        self.assertEqual(self.refusal("BDAT \u0661".encode()), (501, "5.5.2"))

    def test_what_is_no_node_to_etrn(self) -> None:
        for argument in (b"", b"@", b"#", b"a b", b"a..b", b"&a", b"@@a", b"#" + b"q" * 256):
            self.assertEqual(self.refusal(b"ETRN " + argument), (501, "5.5.4"), argument)

    def test_what_is_no_attribute_to_xclient_and_xforward(self) -> None:
        for argument in (
            *(b"", b"ADDR", b"ADDR=", b"=x", b"FOO=x", b"ADDR=x ADDR=y", b"ADDR=x=y", b"a_b=c"),
            *(b"HELO=a+0Ab", b"HELO=a+00", b"HELO=+80", b"HELO=+zz", b"HELO=" + b"h" * 256),
        ):
            self.assertEqual(self.refusal(b"XCLIENT " + argument), (501, "5.5.4"), argument)
            self.assertEqual(self.refusal(b"XFORWARD " + argument), (501, "5.5.4"), argument)
        self.assertEqual(self.refusal(b"XCLIENT SOURCE=LOCAL"), (501, "5.5.4"))
        self.assertEqual(self.refusal(b"XFORWARD LOGIN=a"), (501, "5.5.4"))

    def test_two_ways_to_hold_a_message_exclude_each_other(self) -> None:
        syntax = Syntax({"FUTURERELEASE": ""})
        hold = b"MAIL FROM:<a@b> HOLDFOR=5 HOLDUNTIL=2030-01-01T00:00:00Z"
        self.assertEqual(self.refusal(hold, syntax), (501, "5.5.4"))

    def test_addresses_beyond_ascii_are_read_where_they_were_asked_for(self) -> None:
        path = Mailbox("jürgen".encode(), "bücher.example".encode())
        self.assertEqual(
            parse_command(b"MAIL FROM:<" + JUERGEN + b"> smtputf8", UTF8),
            Mail(path, {"SMTPUTF8": None}),
        )
        self.assertEqual(parse_command(b"RCPT TO:<" + JUERGEN + b">", WITHIN_UTF8), Rcpt(path))
        for verb, command in ((b"VRFY ", Vrfy), (b"EXPN ", Expn)):
            line = verb + JUERGEN + b" SMTPUTF8"
            self.assertEqual(parse_command(line, UTF8), command(JUERGEN, True))

    def test_addresses_beyond_ascii_are_refused_elsewhere(self) -> None:
        for line in (
            b"MAIL FROM:<" + JUERGEN + b">",
            b"MAIL FROM:<" + JUERGEN + b"> SIZE=5",
            b"RCPT TO:<" + JUERGEN + b">",
            b"RCPT TO:<" + JUERGEN + b"> SMTPUTF8",
            b"VRFY " + JUERGEN,
            b"VRFY " + JUERGEN + b" SMTPUTF8 x",
            b"VRFY <" + JUERGEN + b">SMTPUTF8",
            b"EXPN a SMTPUTF8 " + JUERGEN,
            b"EXPN " + JUERGEN,
        ):
            self.assertEqual(self.refusal(line, UTF8), (553, "5.6.7"), line)
            self.assertEqual(self.refusal(line + b" SMTPUTF8"), (553, "5.6.7"), line)
        self.assertEqual(self.refusal(b"EHLO " + JUERGEN, WITHIN_UTF8), (501, "5.5.2"))
        self.assertEqual(self.refusal(b"HELP " + JUERGEN + b" SMTPUTF8", UTF8), (501, "5.5.2"))

    def test_what_is_no_utf8_or_hides_a_line_end_is_refused(self) -> None:
        for wrong in (
            *(b"\xff", b"\xc0\xae", b"\xed\xa0\x80", b"\xe2\x82", b"\xc2\x85"),
            *(b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x80", b"\xf4\x90\x80\x80"),
        ):
            line = b"MAIL FROM:<a" + wrong + b"@b> SMTPUTF8"
            self.assertEqual(self.refusal(line, UTF8), (501, "5.5.2"), wrong)
            self.assertEqual(self.refusal(b"RCPT TO:<a" + wrong + b"@b>", WITHIN_UTF8)[0], 501)

    def test_an_original_recipient_may_be_utf8_in_an_internationalised_transaction(self) -> None:
        line = b"RCPT TO:<a@b> ORCPT=utf-8;" + JUERGEN
        command = parse_command(line, WITHIN_UTF8)
        self.assertEqual(command, Rcpt(AB, {"ORCPT": "utf-8;" + JUERGEN.decode()}))
        self.assertEqual(self.refusal(line, UTF8), (501, "5.5.2"))

    def test_long_lines_are_refused_in_linear_time(self) -> None:
        for start in (b"MAIL FROM:<", b"RCPT TO:", b"MAIL FROM:<a@b> =", b"EHLO ", b"AUTH ", b"X"):
            for octet in (b'"', b"\\", b"<", b">", b" ", b"a.", b"a=", b'"\\'):
                for end in (b"", b"\0", b'"x', b"@b>x"):
                    self.assertRaises(
                        SyntaxViolation, parse_command, start + octet * 30_000 + end, SYNTAX
                    )
