"""Building payloads."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import codes, verbs
from postroom.wire.builder import SmtpBuilder
from postroom.wire.errors import LocalViolation
from postroom.wire.layer import SmtpLayer
from postroom.wire.replies import Reply
from postroom.wire.stream import IN_DATA


def builds_with(evil: str) -> list[Callable[[], object]]:
    """Give every way to put a text into a payload."""
    return [
        lambda: SmtpBuilder().ehlo(evil),
        lambda: SmtpBuilder().helo(evil),
        lambda: SmtpBuilder().lhlo(evil),
        lambda: SmtpBuilder().command("NOOP", evil),
        lambda: SmtpBuilder().command(evil),
        lambda: SmtpBuilder().mail_from(f"{evil}@b.example"),
        lambda: SmtpBuilder().mail_from("", SIZE=evil),
        lambda: SmtpBuilder().mail_from("", **{evil: None}),
        lambda: SmtpBuilder().rcpt_to(f"{evil}@b.example"),
        lambda: SmtpBuilder().vrfy(evil),
        lambda: SmtpBuilder().expn(evil),
        lambda: SmtpBuilder().help(evil),
        lambda: SmtpBuilder().noop(evil),
        lambda: SmtpBuilder().etrn(evil),
        lambda: SmtpBuilder().atrn("a.example", evil),
        lambda: SmtpBuilder().burl(evil),
        lambda: SmtpBuilder().send_from(f"{evil}@b.example"),
        lambda: SmtpBuilder().auth(evil),
        lambda: SmtpBuilder().xclient(NAME=evil),
        lambda: SmtpBuilder().xforward(**{evil: "x"}),
        lambda: SmtpBuilder().reply(250, evil),
        lambda: SmtpBuilder().reply(250, enhanced=evil),
        lambda: SmtpBuilder().multiline(250, ["a", evil]),
        lambda: SmtpBuilder().ehlo_response(evil),
        lambda: SmtpBuilder().ehlo_response("a", **{evil: ""}),
        lambda: SmtpBuilder().ehlo_response("a", SIZE=evil),
        lambda: SmtpBuilder().ok(evil),
    ]


class CommandTests(SynchronousTestCase):
    """The client's side."""

    def test_each_command_by_its_name(self) -> None:
        builder = SmtpBuilder()
        builder.ehlo("c.example").helo("c.example").lhlo("[192.0.2.1]")
        builder.mail_from("a@b.example", SIZE="10", **{"MT-PRIORITY": "3"})
        builder.rcpt_to("c@d.example", NOTIFY="NEVER").data().bdat(b"\0\n", last=True)
        builder.rset().noop().noop("x").quit().vrfy("a").expn("l").help().help("MAIL")
        builder.auth("PLAIN", b"\0u\0p").auth("LOGIN").auth("X", b"").auth_response(b"u")
        builder.auth_cancel().starttls().etrn("@d.example").xclient(NAME="a b").xforward(ADDR="x")
        self.assertEqual(
            builder.build(),
            b"EHLO c.example\r\nHELO c.example\r\nLHLO [192.0.2.1]\r\n"
            b"MAIL FROM:<a@b.example> SIZE=10 MT-PRIORITY=3\r\n"
            b"RCPT TO:<c@d.example> NOTIFY=NEVER\r\nDATA\r\nBDAT 2 LAST\r\n\0\n"
            b"RSET\r\nNOOP\r\nNOOP x\r\nQUIT\r\nVRFY a\r\nEXPN l\r\nHELP\r\nHELP MAIL\r\n"
            b"AUTH PLAIN AHUAcA==\r\nAUTH LOGIN\r\nAUTH X =\r\ndQ==\r\n"
            b"*\r\nSTARTTLS\r\nETRN @d.example\r\nXCLIENT NAME=a+20b\r\nXFORWARD ADDR=x\r\n",
        )

    def test_a_command_that_has_no_method(self) -> None:
        self.assertEqual(SmtpBuilder().command("TURN").command("FOO", "x y").build(),
                         b"TURN\r\nFOO x y\r\n")  # fmt: skip

    def test_the_null_sender_and_utf8(self) -> None:
        builder = SmtpBuilder().mail_from("").mail_from("ü@ü.example", SMTPUTF8=None)
        self.assertEqual(
            builder.rcpt_to("ä@ü.example").build().decode(),
            "MAIL FROM:<>\r\nMAIL FROM:<ü@ü.example> SMTPUTF8\r\nRCPT TO:<ä@ü.example>\r\n",
        )

    def test_content_is_stuffed_and_ended(self) -> None:
        self.assertEqual(SmtpBuilder().content(b".a\r\n.").build(), b"..a\r\n..\r\n.\r\n")

    def test_what_is_built_is_read_again(self) -> None:
        built = SmtpBuilder().mail_from("a@b.example", SIZE="10").data().content(b".\r\n").quit()
        layers = list(SmtpLayer(built.build()))
        self.assertEqual([each.command for each in layers], ["MAIL", "DATA", None, "QUIT"])
        self.assertEqual([each.errors for each in layers], [()] * 4)

    def test_nothing_is_injected(self) -> None:
        for evil in ("a\r\nRSET", "a\nb", "a\rb", "a\0b", "a\x7fb", "\u2028", "ü", "\ud800"):
            for build in builds_with(evil):
                error = self.assertRaises(LocalViolation, build)
                self.assertIsInstance(error, ValueError)

    def test_nothing_that_is_missing_or_too_long(self) -> None:
        for build in (
            lambda: SmtpBuilder().ehlo(""),
            lambda: SmtpBuilder().vrfy(""),
            lambda: SmtpBuilder().etrn(""),
            lambda: SmtpBuilder().rcpt_to(""),
            lambda: SmtpBuilder().noop("x" * 5000),
            lambda: SmtpBuilder().auth_response(b"x" * 12_000),
            lambda: SmtpBuilder().reply(199, "x"),
            lambda: SmtpBuilder().reply(600, "x"),
            lambda: SmtpBuilder().reply(250, "x" * 507),
            lambda: SmtpBuilder().reply(250, "x", enhanced="5.0.0"),
            lambda: SmtpBuilder().content(b"a\nb"),
        ):
            self.assertRaises(LocalViolation, build)


class ReplyTests(SynchronousTestCase):
    """The server's side."""

    def test_every_code_has_a_method_named_like_its_constant(self) -> None:
        others = {
            "HELP": "help_message",
            "AUTH_INPUT": "auth_challenge",
            "DATA_INPUT": "start_mail_input",
            "SERVICE_UNAVAIL": "service_unavailable",
            "MAILBOX_UNAVAIL": "mailbox_temp_unavailable",
            "MAILBOX_UNAVAIL_PERM": "mailbox_not_found",
        }
        for name, code in vars(codes).items():
            if not name.startswith("REPLY_") or name == "REPLY_CODES":
                continue
            word = name.removeprefix("REPLY_")
            built = getattr(SmtpBuilder(), others.get(word, word.lower()))().build()
            layer = SmtpLayer(built)
            self.assertEqual((layer.reply_code, layer.errors), (code, ()), name)

    def test_text_of_one_line_or_several(self) -> None:
        self.assertEqual(SmtpBuilder().ok("a", "b").build(), b"250-2.0.0 a\r\n250 2.0.0 b\r\n")
        self.assertEqual(SmtpBuilder().reply(250).build(), b"250 \r\n")
        self.assertEqual(SmtpBuilder().multiline(214, ["a", "b"]).build(), b"214-a\r\n214 b\r\n")
        longest = SmtpBuilder().reply(250, "x" * 506).build()
        self.assertEqual((len(longest), longest.count(b"\r\n")), (512, 1))

    def test_the_reply_to_ehlo(self) -> None:
        built = SmtpBuilder().ehlo_response("mx.example", SIZE="10", PIPELINING="").build()
        self.assertEqual(SmtpLayer(built).keywords, {"SIZE": "10", "PIPELINING": ""})
        self.assertEqual(built, b"250-mx.example\r\n250-SIZE 10\r\n250 PIPELINING\r\n")

    def test_challenges(self) -> None:
        self.assertEqual(SmtpBuilder().auth_challenge(b"Username:").build(),
                         b"334 VXNlcm5hbWU6\r\n")  # fmt: skip

    @given(st.integers(200, 599), st.lists(st.text("ab 1.-", max_size=20), min_size=1, max_size=4))
    def test_a_reply_is_read_as_it_was_built(self, code: int, lines: list[str]) -> None:
        parsed = SmtpLayer(SmtpBuilder().reply(code, *lines).build()).parsed
        assert isinstance(parsed, Reply)
        self.assertEqual(parsed.code, code)
        if parsed.enhanced is None:
            self.assertEqual(parsed.text, tuple(lines))

    @given(st.binary(max_size=50))
    def test_content_is_read_as_it_was_built(self, content: bytes) -> None:
        try:
            built = SmtpBuilder().content(content).build()
        except LocalViolation:
            return
        layers = list(SmtpLayer(built, state=IN_DATA))
        self.assertEqual((len(layers), layers[0].is_complete), (1, True))


class TableTests(SynchronousTestCase):
    """Nothing that the table of verbs has is missing."""

    ARGUMENTS = {
        **dict.fromkeys(("data", "rset", "quit", "starttls", "turn", "noop", "help"), ()),
        **dict.fromkeys(("mail", "rcpt", "send", "soml", "saml"), ("a@b.example",)),
        "auth": ("PLAIN",),
        "bdat": (b"",),
    }

    def test_every_verb_has_a_method(self) -> None:
        others = {"mail": "mail_from", "rcpt": "rcpt_to"}
        others |= {verb: f"{verb}_from" for verb in ("send", "soml", "saml")}
        for verb in verbs.SMTP_COMMANDS:
            name = verb.lower()
            add = getattr(SmtpBuilder(), others.get(name, name))
            attributes = {"ADDR": "192.0.2.1"} if verb.startswith("X") else {}
            arguments = self.ARGUMENTS.get(name, () if attributes else ("b.example",))
            layer = SmtpLayer(add(*arguments, **attributes).build())
            self.assertEqual((layer.command, layer.errors), (verb, ()))
