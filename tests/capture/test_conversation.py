"""What is heard of a session, and what is held against it."""

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.capture.conversation import Conversation
from postroom.wire.builder import SmtpBuilder
from tests.capture.wire import shown

HELLO = "220 mx.example\n> EHLO c\n250-mx.example\n250-PIPELINING\n250-SIZE 1000\n250 AUTH PLAIN"


def heard(dialogue: str, **options: bool) -> Conversation:
    r"""Hear a dialogue: lines of the client begin with ``> ``, ``\n`` and the like are escapes."""
    talk = Conversation(**options)
    for number, line in enumerate(dialogue.splitlines()):
        octets = line.removeprefix("> ").encode().decode("unicode_escape").encode("latin-1")
        talk.receive(float(number), line.startswith("> "), octets + b"\r\n")
    return talk


def violations(talk: Conversation) -> list[str]:
    return [violation for entry in talk.entries for violation in entry.violations]


class SessionTests(SynchronousTestCase):
    """Sessions with nothing wrong in them."""

    def test_a_session(self) -> None:
        talk = heard(
            f"{HELLO}\n> MAIL FROM:<a@b.example> SIZE=5\n250 2.1.0 ok\n> RCPT TO:<c@d.example>\n"
            "250 ok\n> DATA\n354 go\n> one\n> ..two\n> .\n250 2.0.0 kept\n> QUIT\n221 bye"
        )
        self.assertEqual(violations(talk), [])
        self.assertEqual(
            shown(talk)[6:],
            [
                *("C: MAIL FROM:<a@b.example> SIZE=5", "S: 250 2.1.0 ok"),
                *("C: RCPT TO:<c@d.example>", "S: 250 ok", "C: DATA", "S: 354 go"),
                *("C: [content, 12 octets]", "S: 250 2.0.0 kept", "C: QUIT", "S: 221 bye"),
            ],
        )
        self.assertEqual(talk.extensions, {"PIPELINING": "", "SIZE": "1000", "AUTH": "PLAIN"})

    def test_a_group_and_its_replies(self) -> None:
        talk = heard(HELLO)
        talk.receive(9, True, b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
        talk.receive(9, False, b"250 ok\r\n550 no\r\n554 no\r\n")
        talk.receive(9, True, b"QUIT\r\n")
        self.assertEqual(violations(talk), [])
        self.assertEqual(shown(talk)[-1], "C: QUIT")

    def test_chunks(self) -> None:
        talk = heard("220 a\n> EHLO c\n250-a\n250-PIPELINING\n250 CHUNKING\n> MAIL FROM:<>\n250 a\n"
                     "> RCPT TO:<a@b.example>\n250 a")  # fmt: skip
        talk.receive(9, True, b"BDAT 10\r\nMAIL ")
        self.assertEqual(shown(talk)[-1], "C: [chunk, 5 octets, 5 to come]")
        talk.receive(9, True, b"\r\n.\r\nBDAT 0 LAST\r\n")
        talk.receive(9, False, b"250 a\r\n250 b\r\n")
        self.assertEqual(
            shown(talk)[-5:],
            ["C: BDAT 10", "C: [chunk, 10 octets]", "C: BDAT 0 LAST", "S: 250 a", "S: 250 b"],
        )
        self.assertEqual(violations(talk), [])

    def test_lmtp_and_prdr_answer_for_each_recipient(self) -> None:
        rcpts = "> RCPT TO:<a@b>\n250 ok\n> RCPT TO:<b@b>\n250 ok\n> DATA\n354 go\n> .\n"
        talk = heard("220 a\n> LHLO c\n250 a\n> MAIL FROM:<>\n250 ok\n" + rcpts + "250 1\n452 2")
        self.assertEqual(violations(talk), [])
        talk = heard("220 a\n> EHLO c\n250-a\n250 PRDR\n> MAIL FROM:<> PRDR\n250 ok\n" + rcpts
                     + "353 see\n250 1\n550 2\n250 all\n> QUIT\n221 bye")  # fmt: skip
        self.assertEqual(violations(talk), [])

    def test_lmtp_answers_for_each_recipient_to_the_last_chunk_too(self) -> None:
        talk = heard(
            "220 a\n> LHLO c\n250-a\n250 CHUNKING\n> MAIL FROM:<>\n250 ok\n"
            "> RCPT TO:<a@b>\n250 ok\n> RCPT TO:<b@b>\n250 ok\n> RCPT TO:<c@b>\n550 no\n"
            "> BDAT 0\n250 ok\n> BDAT 0 LAST\n250 ok\n452 full\n"
            "> MAIL FROM:<>\n250 ok\n> RCPT TO:<a@b>\n250 ok\n> BDAT 0 LAST\n250 ok"
        )
        self.assertEqual(violations(talk), [])

    def test_lmtp_answers_for_each_recipient_of_messages_that_are_pipelined(self) -> None:
        talk = heard("220 a\n> LHLO c\n250-a\n250-PIPELINING\n250 CHUNKING")
        message = b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@b>\r\nBDAT 1 LAST\r\nx"
        talk.receive(9, True, message * 2 + b"QUIT\r\n")
        talk.receive(9, False, (b"250 a\r\n" * 3 + b"250 1\r\n452 2\r\n") * 2 + b"221 bye\r\n")
        self.assertEqual(violations(talk), [])

    def test_after_tls_begins_nothing_is_read(self) -> None:
        talk = heard("220 a\n> EHLO c\n250-a\n250 STARTTLS\n> STARTTLS\n220 go")
        talk.receive(9, True, b"\x16\x03\x01\x00\x05QUIT\r\n")
        talk.receive(9, False, b"\x16\x03\x03\x00\x05QUIT\r\n")
        self.assertEqual(shown(talk)[-2:], ["S: 220 go", "-: [TLS from here on]"])
        self.assertTrue(talk.tls)
        self.assertEqual(violations(talk), [])

    def test_starttls_that_was_refused_is_followed_by_commands(self) -> None:
        talk = heard("220 a\n> EHLO c\n250-a\n250 STARTTLS\n> STARTTLS\n454 no\n> QUIT")
        self.assertEqual(shown(talk)[-1], "C: QUIT")
        self.assertEqual(violations(talk), [])

    @given(st.lists(st.integers(1, 6)))
    def test_segments_do_not_matter(self, lengths: list[int]) -> None:
        said = [
            *(
                (False, b"220 a\r\n"),
                (True, b"EHLO c\r\n"),
                (False, b"250-a\r\n250 PIPELINING\r\n"),
            ),
            (True, SmtpBuilder().mail_from("").rcpt_to("a@b.example").data().build()),
            (False, SmtpBuilder().ok().ok().start_mail_input("go").build()),
            (True, SmtpBuilder().content(b"x\r\n.\r\ny").build() + b"\n.\n\r\n.\r\n"),
        ]
        whole, cut = Conversation(), Conversation()
        for from_client, octets in said:
            whole.receive(0, from_client, octets)
            at, steps = 0, iter(lengths)
            while at < len(octets):
                step = next(steps, 100)
                cut.receive(0, from_client, octets[at : at + step])
                at += step
        self.assertEqual(shown(cut), shown(whole))


class ViolationTests(SynchronousTestCase):
    """What is wrong is said."""

    def assert_violation(self, dialogue: str, *expected: str) -> None:
        found = violations(heard(dialogue))
        self.assertEqual(len(found), len(expected), found)
        for violation, text in zip(found, expected, strict=True):
            self.assertIn(text, violation)

    def test_before_the_greeting(self) -> None:
        self.assert_violation("> EHLO c\n220 a\n250 a", "sent before the greeting")

    def test_after_a_synchronisation_point(self) -> None:
        for command in ("EHLO x", "QUIT", "NOOP", "VRFY x"):
            verb = command.split()[0]
            self.assert_violation(f"{HELLO}\n> {command}\n> RSET", f"before the reply to {verb}")

    def test_content_before_354(self) -> None:
        self.assert_violation(
            f"{HELLO}\n> MAIL FROM:<>\n250 a\n> RCPT TO:<a@b>\n250 a\n> DATA\n> x\n> .\n354 go",
            "sent before the reply to DATA",
        )  # fmt: skip

    def test_pipelining_that_was_not_offered(self) -> None:
        self.assert_violation(
            "220 a\n> EHLO c\n250 a\n> MAIL FROM:<>\n> RSET", "pipelined, which was not offered"
        )

    def test_clear_text_after_starttls(self) -> None:
        hello = "220 a\n> EHLO c\n250-a\n250 STARTTLS\n> STARTTLS\n"
        self.assert_violation(
            hello + "> EHLO evil", "clear text after STARTTLS", "before the reply to STARTTLS"
        )
        self.assert_violation(hello + "220 go\\r\\n250 evil", "clear text after STARTTLS")
        self.assert_violation(hello + "220 go\n> EHLO x", "clear text after STARTTLS")

    STARTTLS = "220 a\n> EHLO c\n250-a\n250-PIPELINING\n250 STARTTLS\n> STARTTLS\n"

    def assert_shown(self, talk: Conversation, *expected: str) -> None:
        """Check what was said after STARTTLS."""
        said = shown(talk)
        self.assertEqual(tuple(said[said.index("C: STARTTLS") + 1 :]), expected)

    def test_a_client_that_goes_on_in_clear_text_after_220(self) -> None:
        talk = heard(
            f"{self.STARTTLS}220 go\n> EHLO c\n250 a\n> MAIL FROM:<>\n250 ok\n> DATA\n354 a"
        )
        talk.receive(9, True, b"one\r\n.\r\n")
        clear = "!! clear text after STARTTLS"
        self.assert_shown(
            talk,
            *("S: 220 go", "C: EHLO c", clear, "S: 250 a", clear),
            *("C: MAIL FROM:<>", "S: 250 ok", "C: DATA", "S: 354 a", "C: [content, 5 octets]"),
        )

    def test_what_is_pipelined_behind_starttls_is_shown_and_answered_if_that_is_refused(
        self,
    ) -> None:
        talk = heard(
            f"{self.STARTTLS}> MAIL FROM:<evil@x>\n> RCPT TO:<a@b>\n454 no\n250 a\n250 b\n> QUIT"
        )
        clear = "!! clear text after STARTTLS"
        self.assert_shown(
            talk,
            *("C: MAIL FROM:<evil@x>", clear, "!! sent before the reply to STARTTLS"),
            *("C: RCPT TO:<a@b>", clear, "S: 454 no", "S: 250 a", "S: 250 b", "C: QUIT"),
        )

    def test_what_is_put_in_before_tls(self) -> None:
        talk = heard(f"{self.STARTTLS}> EHLO evil\n220 go\\r\\n250-a\\r\\n250 SIZE")
        for from_client in (True, False):
            talk.receive(9, from_client, b"\x16\x03\x01\x00\x05hello")
        clear = "!! clear text after STARTTLS"
        self.assert_shown(
            talk,
            *("C: EHLO evil", clear, "!! sent before the reply to STARTTLS"),
            *("S: 220 go", "S: 250-a", "S: 250 SIZE", clear, "-: [TLS from here on]"),
        )
        self.assertTrue(talk.tls)

    def test_a_server_that_answers_tls_in_clear_text(self) -> None:
        talk = heard(f"{self.STARTTLS}220 go")
        talk.receive(9, True, b"\x16\x03\x01\x00\x05hello")
        talk.receive(9, False, b"454 4.7.0 no certificate\r\n454 really\r\n")
        talk.receive(9, True, b"QUIT\r\n")
        clear = "!! clear text after STARTTLS"
        self.assert_shown(
            talk,
            *("S: 220 go", "-: [TLS from here on]", "S: 454 4.7.0 no certificate", clear),
            *("S: 454 really", "C: QUIT", clear),
        )
        self.assertFalse(talk.tls)

    def test_clear_text_behind_records_of_tls(self) -> None:
        record = b"\x17\x03\x03\x00\x06QUIT\r\n"
        for step in (1, 3, 100):
            talk = heard(f"{self.STARTTLS}220 go")
            hello = b"\x16\x03\x01\x00\x05hello" + record
            for from_client, octets in (
                *((True, hello), (False, hello + record)),
                *((True, record + b"QUIT\r\n"), (False, b"221 bye\r\n")),
            ):
                for at in range(0, len(octets), step):
                    talk.receive(9, from_client, octets[at : at + step])
            clear = "!! clear text after STARTTLS"
            self.assert_shown(
                talk, "S: 220 go", "-: [TLS from here on]", "C: QUIT", clear, "S: 221 bye", clear
            )

    def test_a_hole_within_tls(self) -> None:
        for lost, expected in ((4, ["C: QUIT"]), (20, [])):
            talk = heard(f"{self.STARTTLS}220 go")
            talk.receive(9, True, b"\x16\x03\x01\x00\x05h")
            talk.lose(9, True, lost)
            talk.receive(9, True, b"QUIT\r\n")
            self.assertEqual([line for line in shown(talk)[7:] if line.startswith("C")], expected)

    def test_clear_text_where_tls_was_to_begin_is_no_tls(self) -> None:
        for octets in (b"\x16\x02\r\n", b"\0\1\2\r\n"):
            talk = heard(f"{self.STARTTLS}220 go")
            for octet in octets:
                talk.receive(9, True, bytes((octet,)))
            self.assertFalse(talk.tls)
            self.assertIn("clear text after STARTTLS", violations(talk))

    def test_tls_on_a_port_of_tls_that_is_answered_in_clear_text(self) -> None:
        talk = Conversation()
        talk.receive(9, True, b"\x16\x03\x01\x00\x05hello")
        talk.receive(9, False, b"220 mx\r\n")
        self.assertEqual(
            shown(talk), ["-: [TLS from here on]", "S: 220 mx", "!! clear text within TLS"]
        )

    def test_a_line_that_is_not_whole_when_tls_begins(self) -> None:
        talk = heard(self.STARTTLS)
        talk.receive(9, True, b"EHLO ev")
        talk.receive(9, False, b"220 go\r\n")
        talk.receive(9, True, b"\x16\x03\x01\x00\x05hello")
        self.assert_shown(
            talk,
            *("S: 220 go", "C: [7 octets of a line that does not end]"),
            *("!! clear text after STARTTLS", "-: [TLS from here on]"),
        )

    def test_what_was_not_offered(self) -> None:
        self.assert_violation(f"{HELLO}\n> MAIL FROM:<> RET=FULL", "parameter RET, but DSN")
        self.assert_violation(f"{HELLO}\n> MAIL FROM:<> BODY=8BITMIME", "BODY, but 8BITMIME")
        self.assert_violation(f"{HELLO}\n> BDAT 0 LAST", "CHUNKING was not offered")
        self.assert_violation(f"{HELLO}\n> AUTH LOGIN", "mechanism LOGIN was not offered")

    def test_malformed_commands_and_replies(self) -> None:
        self.assert_violation(f"{HELLO}\n> MAIL FROM: <>", "without blanks")
        self.assert_violation(f"{HELLO}\n> FOO", "not recognized")
        self.assert_violation(f"{HELLO}\n> RSET\nhello", "no reply")
        self.assert_violation(f"{HELLO}\n> RSET\n250-a\n251 b", "code 251 within a reply")

    def test_a_reply_to_nothing(self) -> None:
        self.assert_violation(f"{HELLO}\n250 ok", "a reply to nothing")
        self.assert_violation(f"{HELLO}\n421 4.3.2 going down")

    def test_line_ends(self) -> None:
        talk = heard(HELLO)
        talk.receive(9, True, b"RSET\n")
        talk.receive(9, False, b"250 ok\n")
        self.assertEqual(violations(talk), ["bare CR or LF"] * 2)

    def test_what_smuggles(self) -> None:
        begin = f"{HELLO}\n> MAIL FROM:<>\n250 a\n> RCPT TO:<a@b.example>\n250 a\n> DATA\n354 go\n"
        for sequence in (r"\n.\n", r"\n.\r", r"\r.\n", r"\r.\r", r"\n.\r\n", r"\r\n\0.\r\n",
                         r"\r\n.\n", r"\r\n.\r\r\n", r"\r\r\n.\r\r\n", r"\r\n.\0\r\n"):  # fmt: skip
            talk = heard(begin + f"> x{sequence}MAIL FROM:<evil@x>\n> .")
            dots = [each for each in violations(talk) if "servers take for its end" in each]
            self.assertEqual(len(dots), 1, (sequence, violations(talk)))
            self.assertEqual(shown(talk)[-len(violations(talk)) - 1][:11], "C: [content")

    def test_a_server_that_sees_an_end_where_none_is(self) -> None:
        talk = heard(HELLO)
        for from_client, octets in (
            *((True, b"MAIL FROM:<>\r\n"), (False, b"250 a\r\n")),
            *((True, b"RCPT TO:<a@b.example>\r\n"), (False, b"250 a\r\n"), (True, b"DATA\r\n")),
            *((False, b"354 a\r\n"), (True, b"x\n.\n"), (False, b"250 kept\r\n")),
            *((True, b"QUIT\r\n"), (False, b"221 bye\r\n")),
        ):
            talk.receive(9, from_client, octets)
        self.assertIn(
            "a reply within the content, of which the server saw an end", violations(talk)
        )
        self.assertEqual(shown(talk)[-2:], ["C: QUIT", "S: 221 bye"])

    def test_flaws_of_content(self) -> None:
        begin = (
            f"{HELLO}\n> MAIL FROM:<>\n250 a\n> RCPT TO:<a@b.example>\n250 a\n> DATA\n354 go\n> "
        )
        for text, flaw in ((r"a\0b", "NUL"), ("x" * 999, "line too long"), (r"a\nb", "bare CR")):
            self.assert_violation(f"{begin}{text}\n> .", flaw)


class SecretTests(SynchronousTestCase):
    """No secret is ever shown."""

    SECRETS = (b"correcthorse", b64encode(b"\0joe\0correcthorse"), b64encode(b"correcthorse"))

    def assert_hidden(self, talk: Conversation, *expected: str) -> None:
        text = "\n".join(shown(talk))
        for secret in self.SECRETS:
            self.assertNotIn(secret.decode(), text)
        for line in expected:
            self.assertIn(line, text)

    def test_an_initial_response(self) -> None:
        secret = self.SECRETS[1].decode()
        talk = heard(f"{HELLO}\n> AUTH PLAIN {secret}\n235 ok")
        self.assert_hidden(talk, "AUTH PLAIN [24 octets]")
        self.assertEqual(talk.mechanisms, [("PLAIN", 235)])

    def test_responses(self) -> None:
        secret = self.SECRETS[2].decode()
        talk = heard(f"{HELLO}\n> AUTH LOGIN\n334 VXNlcm5hbWU6\n> am9l\n334 x\n> {secret}\n535 no")
        self.assert_hidden(talk, "[response of 16 octets]", "334 [challenge of 12 octets]")
        self.assertEqual(talk.mechanisms, [("LOGIN", 535)])

    def test_a_response_that_looks_like_a_command(self) -> None:
        talk = heard(f"{HELLO}\n> AUTH LOGIN\n334 x\n> QUIT\n334 x\n> DATA\n235 ok\n> NOOP")
        self.assertEqual(shown(talk)[-1], "C: NOOP")
        self.assertNotIn("C: QUIT", shown(talk))
        self.assertNotIn("C: DATA", shown(talk))

    def test_malformed_auth(self) -> None:
        for secret in self.SECRETS:
            for line in ("AUTH PLAIN {} x", "AUTH  {}", "auth\\t{}", "AUTH {}", "AUTHPLAIN {}",
                         "AUTH PLAIN {}\\0", "AUTH\\xa0PLAIN {}"):  # fmt: skip
                self.assert_hidden(heard(f"{HELLO}\n> {line.format(secret.decode())}\n501 no"))

    def test_responses_that_nobody_asked_for(self) -> None:
        secret = self.SECRETS[2].decode()
        self.assert_hidden(
            heard(f"{HELLO}\n> AUTH LOGIN\n535 no\n> am9l\n500 a\n> {secret}\n500 a")
        )
        self.assert_hidden(heard(f"{HELLO}\n> AUTH LOGIN am9l\n> {secret}\n334 a\n235 ok"))

    def test_in_clear_text_after_starttls(self) -> None:
        plain, login = self.SECRETS[1].decode(), self.SECRETS[2].decode()
        for reply in ("220 go", "454 no"):
            self.assert_hidden(
                heard(
                    f"220 a\n> EHLO c\n250-a\n250 STARTTLS\n> STARTTLS\n{reply}\n"
                    f"> AUTH PLAIN {plain}\n535 no\n> AUTH LOGIN\n334 x\n> am9l\n334 x\n> {login}"
                ),
                "AUTH PLAIN [24 octets]",
                "[response of 16 octets]",
            )
        self.assert_hidden(heard(f"220 a\n> EHLO c\n250 a\n> STARTTLS\n> AUTH PLAIN {plain}"))

    def test_within_a_session_that_is_not_whole(self) -> None:
        secret = self.SECRETS[2].decode()
        self.assert_hidden(heard(f"> {secret}\n235 ok\n> MAIL FROM:<>", complete=False))
        talk = heard(HELLO)
        talk.receive(9, True, b"AUTH LOGIN\r\n")
        talk.lose(9, False, 18)
        talk.receive(9, True, secret.encode() + b"\r\n")
        self.assert_hidden(talk)

    def test_a_server_that_repeats_what_it_heard(self) -> None:
        plain, login = self.SECRETS[1].decode(), self.SECRETS[2].decode()
        self.assert_hidden(heard(f"{HELLO}\n> AUTH PLAIN {plain}\n501 {plain} is bad"), "501 [...]")
        self.assert_hidden(heard(f"{HELLO}\n> AUTH PLAIN {plain}\n535 not correcthorse"))
        self.assert_hidden(heard(f"{HELLO}\n> AUTH LOGIN\n334 a\n> {login}\n500-no\n{login}"))

    def test_what_is_no_name_of_a_mechanism(self) -> None:
        talk = heard(f"{HELLO}\n> AUTH c2VjcmV0\n504 no\n> AUTH c2VjcmV0 x\n504 no")
        self.assertNotIn("C2VJCMV0", "".join(shown(talk)).upper())
        self.assertEqual(talk.mechanisms, [("[8 octets]", 504)] * 2)
        offered = heard("220 a\n> EHLO c\n250-a\n250 AUTH X-OURS\n> AUTH X-OURS")
        self.assertEqual(offered.mechanisms, [("X-OURS", None)])

    def test_burl(self) -> None:
        talk = heard(f"{HELLO}\n> BURL imap://a/;URLAUTH=x:internal:correcthorse LAST")
        self.assert_hidden(talk, "BURL [46 octets]")


class HoleTests(SynchronousTestCase):
    """Parts of a session that were not captured."""

    def test_a_hole_is_said_and_nobody_blamed(self) -> None:
        talk = heard(HELLO)
        talk.lose(9, True, 14)
        talk.receive(9, False, b"250 ok\r\n250 ok\r\n")
        talk.receive(9, True, b"QUIT\r\n")
        self.assertEqual(violations(talk), [])
        self.assertIn("-: [14 octets of the client are not in the capture]", shown(talk))
        self.assertFalse(talk.complete)

    def test_what_is_certain_again_after_a_hole(self) -> None:
        talk = heard(HELLO)
        talk.receive(9, True, b"MAIL FROM:<>\r\n")
        talk.lose(9, False, 8)
        talk.receive(9, True, b"RCPT TO:<a@b.example>\r\n")
        talk.lose(9, True, 6)  # DATA
        talk.receive(9, False, b"354 go\r\n")
        talk.receive(9, True, b"RSET\r\n.\r\nAUTH LOGIN\r\n")
        self.assertEqual(shown(talk)[-3:], ["S: 354 go", "C: [content, 6 octets]", "C: AUTH LOGIN"])
        talk.lose(9, True, 12)
        talk.receive(9, False, b"334 YQ==\r\n")
        talk.receive(9, True, b"QUIT\r\n")
        self.assertEqual(shown(talk)[-1], "C: [response of 4 octets]")

    def test_a_hole_in_a_chunk_is_part_of_it(self) -> None:
        talk = heard(HELLO)
        talk.receive(9, True, b"BDAT 10 LAST\r\nab")
        talk.lose(9, True, 6)
        talk.receive(9, True, b"yzQUIT\r\n")
        self.assertEqual(shown(talk)[-1], "C: QUIT")

    def test_the_end_of_a_line_that_does_not_end(self) -> None:
        talk = heard(HELLO)
        talk.receive(9, True, b"MAIL FRO")
        talk.end(9, reset=True)
        end = ["C: [8 octets of a line that does not end]", "-: [connection reset]"]
        self.assertEqual(shown(talk)[-2:], end)

    def test_an_endless_line_is_not_kept(self) -> None:
        talk = heard(HELLO)
        for _ in range(100):
            talk.receive(9, True, b"x" * 1000)
        self.assertLess(len(talk._client.rest), 20_000)
        self.assertIn("line too long", violations(talk))
