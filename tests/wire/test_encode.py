"""What the client writes: commands and content."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import encode
from postroom.wire.commands import (
    Auth,
    Bdat,
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
from postroom.wire.encode import DotEncoder
from postroom.wire.errors import LocalViolation
from postroom.wire.grammar import Syntax, parse_command
from postroom.wire.paths import Mailbox, mailbox

ALL = Syntax(
    dict.fromkeys(("SIZE", "8BITMIME", "AUTH", "STARTTLS", "SMTPUTF8", "DSN"), ""), utf8=True
)
JUERGEN = Mailbox("jürgen".encode(), "bücher.example".encode())

COMMANDS = [
    (Ehlo(b"client.example"), b"EHLO client.example\r\n"),
    (Ehlo(b"[192.0.2.1]"), b"EHLO [192.0.2.1]\r\n"),
    (Helo(b"client.example"), b"HELO client.example\r\n"),
    (Mail(None), b"MAIL FROM:<>\r\n"),
    (Mail(mailbox("a@b.example")), b"MAIL FROM:<a@b.example>\r\n"),
    (
        Mail(mailbox("a@b"), {"SIZE": "12", "BODY": "8BITMIME"}),
        b"MAIL FROM:<a@b> SIZE=12 BODY=8BITMIME\r\n",
    ),
    (Rcpt(Mailbox(b'jo "x" e', b"b.example")), b'RCPT TO:<"jo \\"x\\" e"@b.example>\r\n'),
    (Rcpt(mailbox("a@[192.0.2.1]")), b"RCPT TO:<a@[192.0.2.1]>\r\n"),
    (Lhlo(b"client.example"), b"LHLO client.example\r\n"),
    (
        Mail(JUERGEN, {"SMTPUTF8": None}),
        "MAIL FROM:<jürgen@bücher.example> SMTPUTF8\r\n".encode(),
    ),
    (Rcpt(JUERGEN), "RCPT TO:<jürgen@bücher.example>\r\n".encode()),
    (Bdat(0), b"BDAT 0\r\n"),
    (Bdat(1234, True), b"BDAT 1234 LAST\r\n"),
    (Vrfy("jürgen".encode(), True), "VRFY jürgen SMTPUTF8\r\n".encode()),
    (Expn(b"staff"), b"EXPN staff\r\n"),
    (Etrn(b"a.example", b"@"), b"ETRN @a.example\r\n"),
    (
        Xclient({"ADDR": b"192.0.2.1", "LOGIN": b"a b"}),
        b"XCLIENT ADDR=192.0.2.1 LOGIN=a+20b\r\n",
    ),
    (Xforward({"SOURCE": b"LOCAL"}), b"XFORWARD SOURCE=LOCAL\r\n"),
    (Data(), b"DATA\r\n"),
    (Rset(), b"RSET\r\n"),
    (Noop(), b"NOOP\r\n"),
    (Quit(), b"QUIT\r\n"),
    (Vrfy(b"joe"), b"VRFY joe\r\n"),
    (Help(b""), b"HELP\r\n"),
    (Help(b"MAIL"), b"HELP MAIL\r\n"),
    (Starttls(), b"STARTTLS\r\n"),
    (Auth("PLAIN", b"AGEAYg=="), b"AUTH PLAIN AGEAYg==\r\n"),
    (Auth("LOGIN", None), b"AUTH LOGIN\r\n"),
]


class CommandTests(SynchronousTestCase):
    def test_every_command_is_written_as_the_standard_says(self) -> None:
        for command, line in COMMANDS:
            self.assertEqual(encode.encode(command, utf8=True), line)

    def test_what_is_written_reads_back_as_the_same_command(self) -> None:
        for command, line in COMMANDS:
            self.assertEqual(parse_command(line[:-2], ALL), command)

    def test_no_control_or_8bit_octet_gets_into_any_command(self) -> None:
        for octet in [*range(0x20), *range(0x7F, 0x100)]:
            bad = b"a" + bytes([octet]) + b"b"
            for command in (
                Ehlo(bad),
                Helo(bad),
                Mail(Mailbox(bad, b"example")),
                Mail(Mailbox(b"a", bad)),
                Rcpt(Mailbox(bad, b"example")),
                Vrfy(bad),
                Lhlo(bad),
                Expn(bad),
                Etrn(bad),
                Xclient({"HELO": bad}),
                Help(bad),
                Auth("PLAIN", bad),
            ):
                with self.assertRaises(LocalViolation):
                    encode.encode(command)

    def test_utf8_is_written_only_in_an_internationalised_transaction(self) -> None:
        for command in (Mail(JUERGEN), Rcpt(JUERGEN), Vrfy(b"j\xc3\xbcrgen")):
            self.assertRaises(LocalViolation, encode.encode, command)
        for wrong in (b"a\xffb", b"a\xc2\x85b", b"a\xe2\x80\xa8b", b"a\r\nb", b"a\0b", b"a\x7fb"):
            path = Mailbox(wrong, b"example")
            mail = Mail(path, {"SMTPUTF8": None})
            self.assertRaises(LocalViolation, encode.encode, mail)
            self.assertRaises(LocalViolation, encode.encode, Rcpt(path), True)

    def test_a_chunk_has_a_length(self) -> None:
        for octets in (-1, 10**20):
            self.assertRaises(LocalViolation, encode.bdat, octets)

    def test_a_parameter_cannot_smuggle_another(self) -> None:
        for keyword, value in [
            ("SIZE", "1 BODY=8BITMIME"),
            ("SIZE", "1\r\nRSET"),
            ("SIZE", ""),
            ("SIZE", "a=b"),
            ("SI ZE", "1"),
            ("", None),
        ]:
            with self.assertRaises(LocalViolation):
                encode.mail(mailbox("a@b"), {keyword: value})

    def test_an_overlong_or_empty_line_is_refused(self) -> None:
        with self.assertRaises(LocalViolation):
            encode.ehlo(b"x" * 5000)
        with self.assertRaises(LocalViolation):
            encode.auth_response(b"x" * 12_288)
        with self.assertRaises(LocalViolation):
            encode.ehlo(b"")
        with self.assertRaises(LocalViolation):
            encode.auth("plain\r\n")

    def test_an_auth_response_is_base64(self) -> None:
        self.assertEqual(encode.auth_response(b"\0a\0b"), b"AGEAYg==\r\n")
        self.assertEqual(encode.auth_response(b""), b"\r\n")


CONTENTS = [
    (b"", b".\r\n"),
    (b"a", b"a\r\n.\r\n"),
    (b"a\r\n", b"a\r\n.\r\n"),
    (b".", b"..\r\n.\r\n"),
    (b".\r\n", b"..\r\n.\r\n"),
    (b"..\r\n", b"...\r\n.\r\n"),
    (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\n.b\r\n..c\r\nd.e\r\n", b"a\r\n..b\r\n...c\r\nd.e\r\n.\r\n"),
    (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n.\r\n"),
    (b"MAIL FROM:<x@y>\r\n", b"MAIL FROM:<x@y>\r\n.\r\n"),
    (b"\xc0\xae\r\n\xe2\x80\xa8.\r\n\x85.\x0b.\x0c.\x1c.\r\n",) * 2,
]
CONTENTS[-1] = (CONTENTS[-1][0], CONTENTS[-1][0] + b".\r\n")

# Every sequence that the published smuggling tools send, and some more.
UNCLEAN = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\n",
    b"\r\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\0\n.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\0\n",
    b"\0\r\n.\r\n", b"\r\n.\r\n\0", b"\n", b"\r", b"\0", b"\n\r", b"\r\n\n", b"\r\r\n",
]  # fmt: skip


def encoded(pieces: list[bytes]) -> bytes:
    encoder = DotEncoder()
    return b"".join([*(encoder.feed(piece) for piece in pieces), encoder.finish()])


def cuts(content: bytes) -> list[list[bytes]]:
    """The content whole, cut in two at every place, and byte by byte."""
    halves = [[content[:at], content[at:]] for at in range(len(content) + 1)]
    return [[content], *halves, [content[at : at + 1] for at in range(len(content))]]


class DotEncoderTests(SynchronousTestCase):
    def test_dots_are_stuffed_and_the_end_is_marked_wherever_chunks_are_cut(self) -> None:
        for content, expected in CONTENTS:
            for pieces in cuts(content):
                self.assertEqual(encoded(pieces), expected, pieces)

    def test_nothing_that_could_be_taken_for_a_line_end_leaves_wherever_chunks_are_cut(
        self,
    ) -> None:
        for sequence in UNCLEAN:
            for content in (sequence, b"a" + sequence + b"MAIL FROM:<x@y>\r\n"):
                for pieces in cuts(content):
                    with self.assertRaises(LocalViolation):
                        encoded(pieces)

    def test_a_refusal_names_what_was_found(self) -> None:
        for content, word in [(b"a\nb", "bare LF"), (b"a\rb", "bare CR"), (b"a\0b", "NUL")]:
            with self.assertRaisesRegex(LocalViolation, word):
                DotEncoder().feed(content)

    def test_clean_chunks_are_not_copied(self) -> None:
        chunk = b"clean\r\n" * 1000
        self.assertIs(DotEncoder().feed(chunk), chunk)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\xff", b" "])), st.data())
    def test_undoing_it_gives_the_content_back(
        self, words: list[bytes], data: st.DataObject
    ) -> None:
        content = b"".join(words)
        at = data.draw(st.integers(0, len(content)))
        wire = encoded([content[:at], content[at:]])
        self.assertEqual(wire.find(b"\r\n.\r\n", 0, -3), -1)
        lines = wire[:-3].split(b"\r\n")[:-1] if content else []
        read = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
        self.assertEqual(
            read, content if not content or content.endswith(b"\r\n") else content + b"\r\n"
        )
