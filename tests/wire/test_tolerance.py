"""Tests for what `parse_command` tolerates; each deviation with its tolerance and without it."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.commands import (
    Auth,
    Bdat,
    Command,
    Ehlo,
    Etrn,
    Helo,
    Lhlo,
    Mail,
    Noop,
    Rcpt,
    Xforward,
)
from postroom.wire.errors import SyntaxViolation
from postroom.wire.grammar import Syntax, parse_command
from postroom.wire.paths import Mailbox
from postroom.wire.tolerance import ALL, NONE, Tolerance
from tests.architecture.sources import ROOT

OFFERED = {"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN", "DSN": "", "SMTPUTF8": ""}
AB = Mailbox(b"a", b"b")
SIZED = Mail(AB, {"SIZE": "5"})

BLANKS: dict[bytes, Command] = {
    b"MAIL FROM: <a@b>": Mail(AB),
    b"MAIL FROM:   <a@b>": Mail(AB),
    b"MAIL FROM :<a@b>": Mail(AB),
    b"MAIL FROM : <a@b>": Mail(AB),
    b"MAIL  FROM:<a@b>": Mail(AB),
    b"MAIL FROM:< a@b >": Mail(AB),
    b"MAIL FROM: < a@b > SIZE=5": SIZED,
    b"MAIL FROM: <>": Mail(None),
    b"MAIL FROM:< >": Mail(None),
    b"MAIL\tFROM:<a@b>": Mail(AB),
    b"MAIL \t FROM\t:\t<\ta@b\t>\tSIZE=5\t": SIZED,
    b"mail from:<a@b>\tsize=5": SIZED,
    b'MAIL FROM: <"a b"@c>': Mail(Mailbox(b"a b", b"c")),
    b"RCPT TO: <a@b>": Rcpt(AB),
    b"RCPT TO :\t<a@b> \t NOTIFY=NEVER": Rcpt(AB, {"NOTIFY": "NEVER"}),
    b"RCPT\tTO:<a@b>": Rcpt(AB),
    b"RCPT TO: < PostMaster >": Rcpt(Mailbox(b"postmaster", b"")),
    b"EHLO\ta.b": Ehlo(b"a.b"),
    b"EHLO a.b\t": Ehlo(b"a.b"),
    b"NOOP\t": Noop(),
    b"AUTH  PLAIN": Auth("PLAIN", None),
    b"AUTH PLAIN\t=": Auth("PLAIN", b"="),
    b"BDAT 5\tLAST": Bdat(5, True),
}
MISSING_BRACKETS: dict[bytes, Command] = {
    b"MAIL FROM:a@b": Mail(AB),
    b"MAIL FROM:a@b SIZE=5": SIZED,
    b"MAIL FROM:a@b AUTH=<>": Mail(AB, {"AUTH": "<>"}),
    b'MAIL FROM:"a b"@c SIZE=5': Mail(Mailbox(b"a b", b"c"), {"SIZE": "5"}),
    b'MAIL FROM:"a>b"@c': Mail(Mailbox(b"a>b", b"c")),
    b"MAIL FROM:@x,@y:a@b": Mail(AB),
    b"RCPT TO:a@b": Rcpt(AB),
    b"RCPT TO:a@b ORCPT=rfc822;c@d": Rcpt(AB, {"ORCPT": "rfc822;c@d"}),
    b"RCPT TO:postmaster": Rcpt(Mailbox(b"postmaster", b"")),
}
MISSING_DOMAIN: dict[bytes, Command] = {
    b"MAIL FROM:<a>": Mail(Mailbox(b"a", b"")),
    b"RCPT TO:<a>": Rcpt(Mailbox(b"a", b"")),
    b'RCPT TO:<"a b">': Rcpt(Mailbox(b"a b", b"")),
}
ODD_GREETING: dict[bytes, Command] = {
    b"EHLO b\xfcro-pc": Ehlo(b"b\xfcro-pc"),
    "EHLO büro".encode(): Ehlo("büro".encode()),
    b"EHLO ann's pc": Ehlo(b"ann's pc"),
    b"HELO (none)": Helo(b"(none)"),
    b"EHLO [192.0.2.1": Ehlo(b"[192.0.2.1"),
    b"EHLO [::1]": Ehlo(b"[::1]"),
    b"EHLO []": Ehlo(b"[]"),
    b"LHLO a..b": Lhlo(b"a..b"),
    b"EHLO -": Ehlo(b"-"),
    b"XFORWARD HELO=b+FCro": Xforward({"HELO": b"b\xfcro"}),
    b"EHLO " + b"\xff" * 255: Ehlo(b"\xff" * 255),
}
DEVIATIONS = {
    Tolerance.BLANKS: BLANKS,
    Tolerance.MISSING_BRACKETS: MISSING_BRACKETS,
    Tolerance.MISSING_DOMAIN: MISSING_DOMAIN,
    Tolerance.ODD_GREETING: ODD_GREETING,
    Tolerance.LOCAL_PART_DOTS: {b"RCPT TO:<a..b@c>": Rcpt(Mailbox(b"a..b", b"c"))},
    Tolerance.LONG_LOCAL_PARTS: {
        b"MAIL FROM:<" + b"x" * 200 + b"@b>": Mail(Mailbox(b"x" * 200, b"b"))
    },
    Tolerance.DOMAIN_CHARACTERS: {
        b"MAIL FROM:<a@b_c>": Mail(Mailbox(b"a", b"b_c")),
        b"ETRN @b_c": Etrn(b"b_c", b"@"),
    },
    Tolerance.TRAILING_DOT: {b"RCPT TO:<a@b.>": Rcpt(AB), b"ETRN b.c.": Etrn(b"b.c")},
}
NEVER = (
    *(b"MAIL FROM:", b"MAIL FROM: ", b"MAIL FROM:\t", b"MAIL FROM", b"MAIL", b"MAIL FROM: SIZE=5"),
    *(b"MAIL FROM: SIZE", b"RCPT TO: NOTIFY=NEVER", b"RCPT TO:", b"RCPT TO:<>", b"RCPT TO:< >"),
    *(b"MAIL FROM:<a@b> <c@d>", b"MAIL FROM:<a@b><c@d>", b"MAIL FROM:a@b c@d"),
    *(b"MAIL FROM:Ann <a@b>", b'MAIL FROM:"Ann" <a@b>', b"MAIL FROM:Ann<a@b>"),
    *(b"MAIL FROM:a@b,c@d", b"MAIL FROM:<a@b>Ann"),
    *(b"MAIL FROM:<a@b> Ann", b"MAIL FROM:<a@b>SIZE=5", b"MAIL FROM:<>SIZE=5", b"MAIL FROM:<a@b>>"),
    *(b"MAIL FROM:<<a@b>>", b"MAIL FROM:<a@b", b"MAIL FROM:a@b>", b"MAIL FROM:(x)a@b"),
    *(b"MAIL FROM:<a@b>(x)", b"MAIL FROM:<a@b> (x)", b"MAIL FROM:a@b (x)", b"MAIL FROM:a@b(x)"),
    *(b"MAIL FROM:<a@b@c>", b"MAIL FROM:a@b@c", b'MAIL FROM:<"a@b>', b'MAIL FROM:"a@b'),
    *(b"MAIL FR OM:<a@b>", b"MAIL FROM<a@b>", b"MAIL <a@b>", b"MAIL a@b", b"MAIL TO:<a@b>"),
    *(b"MAIL FROM:<a @b>", b"MAIL FROM:<a@ b>", b"MAIL FROM:<a\t@b>", b'MAIL FROM:<"a\tb"@c>'),
    *(b"MAIL FROM:<a@b>\0", b"MAIL FROM:<a@b>\r", b"MAIL\x0bFROM:<a@b>", b"MAIL FROM:\xa0<a@b>"),
    *(
        b"EHLO",
        b"EHLO ",
        b"EHLO \t",
        b"EHLO a\tb",
        b"XFORWARD HELO=a+00",
        b"EHLO a\0",
        b"EHLO \x7f",
        b'RCPT TO:a"@b',
    ),
    *(b" MAIL FROM:<a@b>", b"\tMAIL FROM:<a@b>", b"BDAT  5", b"DATA x", b"MAILFROM:<a@b>"),
    b"EHLO " + b"x" * 256,
)


class ToleranceTests(SynchronousTestCase):
    """Tests for `parse_command` with a set of tolerances."""

    def test_each_deviation_is_read_as_it_was_meant_if_its_tolerance_is_on(self) -> None:
        for tolerance, lines in DEVIATIONS.items():
            for line, command in lines.items():
                for tolerate in (frozenset({tolerance}), ALL):
                    self.assertEqual(parse_command(line, Syntax(OFFERED, tolerate)), command, line)

    def test_each_is_refused_without_it(self) -> None:
        for tolerance, lines in DEVIATIONS.items():
            for line in lines:
                for tolerate in (ALL - {tolerance}, NONE):
                    syntax = Syntax(OFFERED, tolerate)
                    error = self.assertRaises(SyntaxViolation, parse_command, line, syntax)
                    self.assertIn(error.reply.code, (500, 501), line)

    def test_what_is_refused_whatever_is_tolerated(self) -> None:
        for line in NEVER:
            error = self.assertRaises(SyntaxViolation, parse_command, line, Syntax(OFFERED, ALL))
            self.assertIn(error.reply.code, (500, 501, 553, 555), line)

    def test_blanks_before_a_greeting_are_no_part_of_it(self) -> None:
        for tolerance in (Tolerance.BLANKS, Tolerance.ODD_GREETING):
            syntax = Syntax(OFFERED, frozenset({tolerance}))
            self.assertEqual(parse_command(b"EHLO   a.b", syntax), Ehlo(b"a.b"))

    def test_deviations_add_up(self) -> None:
        for line, command in {
            b"MAIL FROM : a..b@c_d. SIZE=5": Mail(Mailbox(b"a..b", b"c_d"), {"SIZE": "5"}),
            b"RCPT TO:\tann.": Rcpt(Mailbox(b"ann.", b"")),
            b"RCPT TO: postmaster": Rcpt(Mailbox(b"postmaster", b"")),
            b"RCPT TO: < " + b"x" * 70 + b". >": Rcpt(Mailbox(b"x" * 70 + b".", b"")),
            "MAIL FROM: jürgen.@b. SMTPUTF8".encode(): Mail(
                Mailbox("jürgen.".encode(), b"b"), {"SMTPUTF8": None}
            ),
        }.items():
            self.assertEqual(parse_command(line, Syntax(OFFERED)), command, line)

    def test_every_tolerance_says_what_it_bends_who_sends_it_and_why_it_is_harmless(self) -> None:
        page = (ROOT / "docs" / "tolerance.rst").read_text("utf-8")
        for tolerance in Tolerance:
            self.assertIn(f"``{tolerance.value}``", page)
