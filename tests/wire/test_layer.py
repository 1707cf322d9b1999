"""The view of a payload."""

import array
import doctest

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import builder as builder_module
from postroom.wire import layer as layer_module
from postroom.wire.commands import Auth, Command, Ehlo, Mail
from postroom.wire.grammar import Syntax, parse_command
from postroom.wire.layer import (
    SMTP_FIELD_NAMES,
    Buffer,
    SmtpLayer,
    is_smtp_payload,
    smtp_show_fields,
)
from postroom.wire.replies import Reply
from postroom.wire.stream import IN_AUTH, IN_DATA, IN_HANDSHAKE, Mode, StreamState, in_chunk

GROUP = b"MAIL FROM:<a@b.example> SIZE=100 BODY=8bitmime\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
EHLO_REPLY = b"250-mx.example\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n"


def octets(view: memoryview | None) -> bytes | None:
    return None if view is None else bytes(view)


class CommandTests(SynchronousTestCase):
    """The client's side."""

    def test_a_command_and_its_argument(self) -> None:
        layer = SmtpLayer(b"ehlo client.example\r\n")
        self.assertEqual(layer.command, "EHLO")
        self.assertEqual(layer.args, b"client.example")
        self.assertEqual(layer.parsed, Ehlo(b"client.example"))
        self.assertEqual((layer.is_response, layer.is_multiline), (False, False))
        self.assertEqual((layer.reply_code, layer.reply_text, layer.mailfrom), (None, None, None))
        self.assertEqual(layer.errors, ())

    def test_each_command_of_a_group(self) -> None:
        layers = list(SmtpLayer(GROUP))
        self.assertEqual([each.command for each in layers], ["MAIL", "RCPT", "DATA"])
        self.assertEqual(b"".join(bytes(each.raw) for each in layers), GROUP)
        self.assertEqual([octets(each.rcptto) for each in layers], [None, b"c@d.example", None])

    def test_paths_are_as_sent_without_their_brackets(self) -> None:
        for path in (b"", b"a@b.example", b'"a>b"@c.example', b"@r.example:a@b.example"):
            layer = SmtpLayer(b"MAIL FROM:<" + path + b">\r\n")
            self.assertEqual((octets(layer.mailfrom), layer.errors), (path, ()))
        self.assertEqual(octets(SmtpLayer(b"RCPT TO:<Postmaster>\r\n").rcptto), b"Postmaster")

    def test_parameters_mean_what_the_server_takes_them_for(self) -> None:
        self.assertEqual(SmtpLayer(GROUP).params, {"SIZE": 100, "BODY": "8BITMIME"})
        notify = SmtpLayer(b"RCPT TO:<a@b.example> NOTIFY=delay,SUCCESS\r\n").params["NOTIFY"]
        self.assertEqual(notify, frozenset({"DELAY", "SUCCESS"}))

    def test_parameters_that_cannot_be_read_come_as_sent_and_are_errors(self) -> None:
        layer = SmtpLayer(b"MAIL FROM:<> SIZE=x FOO\r\n")
        self.assertEqual(layer.params, {"SIZE": "x", "FOO": None})
        self.assertEqual(layer.errors, ("Bad value in parameter SIZE=x",))

    def test_what_is_malformed_is_said(self) -> None:
        for line, error in (
            (b"FOO\r\n", "Command not recognized"),
            (b"MAIL FROM: <a@b>\r\n", "Syntax: MAIL FROM:<reverse-path>, without blanks"),
            (b"EHLO\r\n", "EHLO needs a domain"),
            (b"NOOP\n", "bare CR or LF"),
            (b"NOOP a\rb\r\n", "bare CR or LF"),
            (b"NOOP \0\r\n", "Control or 8-bit character"),
            (b"NOOP " + b"x" * 5000 + b"\r\n", "line too long"),
        ):
            layer = SmtpLayer(line)
            self.assertTrue(layer.malformed)
            self.assertIn(error, " ".join(layer.errors))

    def test_a_command_that_deviates_is_read_as_the_server_reads_it_and_malformed(self) -> None:
        for line, path in (
            (b"MAIL FROM: <a..b@c>\r\n", b"a..b@c"),
            (b"MAIL FROM:a@b SIZE=5\r\n", b"a@b"),
            (b"MAIL FROM : < a@b_c. >\r\n", b" a@b_c. "),
        ):
            layer = SmtpLayer(line)
            self.assertIsInstance(layer.parsed, Mail)
            self.assertEqual(layer.mailfrom, path)
            self.assertTrue(layer.malformed)

    def test_a_long_line_of_auth_is_none_too_long(self) -> None:
        self.assertEqual(SmtpLayer(b"AUTH X " + b"x" * 10_000 + b"\r\n").errors, ())

    def test_a_command_that_is_not_complete_is_no_error(self) -> None:
        for line in (b"MAI", b"MAIL FROM:<a", b"NOOP\r"):
            layer = SmtpLayer(line)
            self.assertEqual((layer.is_complete, layer.errors), (False, ()))

    def test_a_verb_that_only_others_know_is_not_malformed(self) -> None:
        layer = SmtpLayer(b"BURL imap://a LAST\r\n")
        self.assertEqual((layer.command, layer.parsed, layer.errors), ("BURL", None, ()))

    def test_utf8_addresses(self) -> None:
        layer = SmtpLayer("MAIL FROM:<ü@ü.example> SMTPUTF8\r\n".encode())
        self.assertEqual(octets(layer.mailfrom), "ü@ü.example".encode())
        self.assertEqual((layer.params, layer.errors), ({"SMTPUTF8": True}, ()))


class StateTests(SynchronousTestCase):
    """Payloads that go on where others stopped."""

    def test_the_state_goes_from_payload_to_payload(self) -> None:
        state: StreamState | None = None
        seen = []
        for payload in (b"DATA\r\n", b"a\r\n.b\r", b"\n.\r\nBDAT 9\r\n123", b"456789RSET\r\n"):
            layer = SmtpLayer(payload, state=state, is_response=False)
            seen.append([(each.mode.name, octets(each.content)) for each in layer])
            state = layer.state_after
        self.assertEqual(
            seen,
            [
                [("COMMANDS", None)],
                [("CONTENT", b"a\r\n.b\r")],
                [("CONTENT", b"\n"), ("COMMANDS", None), ("CHUNK", b"123")],
                [("CHUNK", b"456789"), ("COMMANDS", None)],
            ],
        )

    def test_content_that_looks_like_commands_is_content(self) -> None:
        layer = SmtpLayer(b"MAIL FROM:<x>\r\n.\r\n", state=IN_DATA)
        self.assertEqual((layer.command, octets(layer.content)), (None, b"MAIL FROM:<x>\r\n"))
        self.assertEqual(SmtpLayer(b"QUIT\r\n", state=in_chunk(6)).command, None)

    def test_what_smuggles_is_an_error_also_across_payloads(self) -> None:
        self.assertIn(r"b'\n.\n'", " ".join(SmtpLayer(b"a\n.\nb", state=IN_DATA).errors))
        first = SmtpLayer(b"a\r\n.", state=IN_DATA)
        self.assertEqual(first.errors, ())
        second = SmtpLayer(b"\nMAIL", state=first.state_after)
        self.assertIn(r"b'\r\n.\n'", " ".join(second.errors))

    def test_proper_content_has_no_errors(self) -> None:
        for payload in (b"a\r\n..\r\n.\r\n", b".\r\n", b"a\r", b"\r\n.\r"):
            self.assertEqual(SmtpLayer(payload, state=IN_DATA).errors, (), payload)

    def test_a_chunk_may_hold_anything(self) -> None:
        self.assertEqual(SmtpLayer(b"\n.\n\0", state=in_chunk(4)).errors, ())

    def test_responses(self) -> None:
        self.assertEqual(SmtpLayer(b"QUIT\r\n", state=IN_AUTH).mode, Mode.RESPONSE)
        for line in (b"*\r\n", b"\r\n", b"AHVzZXIAcGFzcw==\r\n", b"=\r\n"):
            self.assertEqual(SmtpLayer(line, state=IN_AUTH).errors, (), line)
        self.assertEqual(len(SmtpLayer(b"not base64\r\n", state=IN_AUTH).errors), 1)

    def test_clear_text_after_starttls(self) -> None:
        layer = SmtpLayer(b"EHLO x\r\n", state=IN_HANDSHAKE)
        self.assertEqual((layer.command, layer.errors), (None, ("clear text after STARTTLS",)))

    def test_nothing(self) -> None:
        layer = SmtpLayer(b"")
        self.assertEqual((list(layer), layer.command, layer.errors), ([], None, ()))


class ReplyTests(SynchronousTestCase):
    """The server's side."""

    def test_a_reply(self) -> None:
        layer = SmtpLayer(b"550 5.1.1 No such user\r\n")
        self.assertTrue(layer.is_response)
        self.assertEqual((layer.reply_code, layer.enhanced_code), (550, "5.1.1"))
        self.assertEqual(layer.reply_text, (b"No such user",))
        self.assertEqual(layer.parsed, Reply(550, ("No such user",), "5.1.1"))
        self.assertEqual((layer.command, layer.args, layer.params), (None, None, {}))

    def test_all_lines_of_a_reply(self) -> None:
        layer = SmtpLayer(b"250-2.1.5 one\r\n250-2.1.5\r\n250 two\r\n")
        self.assertEqual(layer.reply_text, (b"one", b"", b"two"))
        self.assertTrue(layer.is_multiline)

    def test_each_reply_of_a_group(self) -> None:
        layers = list(SmtpLayer(EHLO_REPLY + b"250 ok\r\n354 go\r\n"))
        self.assertEqual([each.reply_code for each in layers], [250, 250, 354])

    def test_the_keywords_of_ehlo(self) -> None:
        self.assertEqual(
            SmtpLayer(EHLO_REPLY).keywords,
            {"SIZE": "1000", "PIPELINING": "", "AUTH": "PLAIN LOGIN"},
        )
        self.assertEqual(SmtpLayer(b"250 ok\r\n").keywords, {})

    def test_an_enhanced_code_of_another_class_is_text(self) -> None:
        layer = SmtpLayer(b"250 5.1.1 ok\r\n")
        self.assertEqual((layer.enhanced_code, layer.reply_text), (None, (b"5.1.1 ok",)))

    def test_a_code_alone(self) -> None:
        layer = SmtpLayer(b"250\r\n")
        self.assertEqual((layer.reply_code, layer.reply_text, layer.errors), (250, (b"",), ()))

    def test_what_is_malformed_is_said(self) -> None:
        for payload in (
            b"hello\r\n",
            b"999 x\r\n",
            b"250-a\r\n251 b\r\n",
            b"250 a\n",
            b"250\tx\r\n",
        ):
            self.assertTrue(SmtpLayer(payload, is_response=True).malformed, payload)

    def test_the_side_can_be_told(self) -> None:
        self.assertFalse(SmtpLayer(b"250 x\r\n", is_response=False).is_response)
        self.assertTrue(SmtpLayer(b"EHLO x\r\n", is_response=True).is_response)


class BufferTests(SynchronousTestCase):
    """Whose octets they are."""

    def test_slices_are_of_the_buffer(self) -> None:
        buffer = bytearray(b"MAIL FROM:<a@b.example>\r\n")
        layer = SmtpLayer(buffer)
        path = layer.mailfrom
        assert path is not None
        buffer[buffer.index(b"a")] = ord("z")
        self.assertEqual(path, b"z@b.example")

    def test_every_kind_of_buffer(self) -> None:
        buffers: list[Buffer] = [GROUP, bytearray(GROUP), memoryview(b"xx" + GROUP)[2:]]
        buffers.append(memoryview(b"".join(b"%c-" % each for each in GROUP))[::2])
        buffers.append(memoryview(array.array("b", GROUP)))
        for buffer in buffers:
            self.assertEqual([each.command for each in SmtpLayer(buffer)], ["MAIL", "RCPT", "DATA"])


class OnceTests(SynchronousTestCase):
    """What is read twice is computed once."""

    def test_each_field_that_is_made_is_kept(self) -> None:
        payloads = (
            SmtpLayer(GROUP),
            SmtpLayer(b"RCPT TO:<c@d.example> NOTIFY=NEVER FOO=1\n"),
            SmtpLayer(EHLO_REPLY),
            SmtpLayer(b"550 5.1.1 No such user\r\n"),
            SmtpLayer(b"a\n.\n", state=IN_DATA),
        )
        for layer in payloads:
            for each in (layer, *layer):
                for name in (*SMTP_FIELD_NAMES, "parsed", "state_after"):
                    self.assertIs(getattr(each, name), getattr(each, name), name)

    def test_a_command_is_parsed_once_for_all_that_is_asked_of_it(self) -> None:
        parsed = []

        def parse(line: bytes, syntax: Syntax) -> Command:
            parsed.append(line)
            return parse_command(line, syntax)

        self.patch(layer_module, "parse_command", parse)
        layer = SmtpLayer(b"MAIL FROM:<>\r\n")
        self.assertEqual(parsed, [])
        self.assertEqual((layer.parsed, layer.errors), (layer.parsed, layer.errors))
        self.assertEqual(parsed, [b"MAIL FROM:<>"])

    def test_what_is_kept_belongs_to_one_layer(self) -> None:
        first, second = list(SmtpLayer(GROUP))[:2]
        self.assertEqual((first.command, second.command), ("MAIL", "RCPT"))
        self.assertEqual((first.rcptto, octets(second.rcptto)), (None, b"c@d.example"))


class ShowTests(SynchronousTestCase):
    """What people are shown."""

    def test_fields(self) -> None:
        layer = SmtpLayer(GROUP)
        self.assertEqual(tuple(layer.fields()), SMTP_FIELD_NAMES)
        self.assertEqual(layer.get_field("mailfrom"), b"a@b.example")
        with self.assertRaisesRegex(KeyError, "no field 'mail_from'; there are command"):
            layer.get_field("mail_from")

    def test_a_listing(self) -> None:
        lines = smtp_show_fields(SmtpLayer(b"250-a\r\n250 X\r\n")).splitlines()
        self.assertIn("reply_text    = a | X", lines)
        self.assertIn("keywords      = X", lines)

    def test_summaries_are_printable_and_hide_what_follows_auth(self) -> None:
        self.assertEqual(
            SmtpLayer(b"AUTH PLAIN AHVzZXI=\r\n").summary(), "SMTP C: AUTH PLAIN [8 octets]"
        )
        self.assertEqual(SmtpLayer(b"NOOP \x1b[2J\r\n").summary(), r"SMTP C: NOOP \x1b[2J")
        self.assertIsInstance(SmtpLayer(b"AUTH PLAIN AHVzZXI=\r\n").parsed, Auth)
        self.assertEqual(
            SmtpLayer(b"554 no\r\n").summary(),
            "SMTP S: 554 no (Transaction failed, or no SMTP service here)",
        )

    def test_detection(self) -> None:
        for payload in (b"EHLO x\r\n", b"quit\r\n", b"220 hi\r\n", b"250-x", b"NOOP\xff"[:4]):
            self.assertTrue(is_smtp_payload(payload), payload)
        for payload in (b"", b"250", b"GET / HTTP/1.1\r\n", b"\xff\xfe\xfd\xfc", b"HELOX\r\n"):
            self.assertFalse(is_smtp_payload(payload), payload)

    def test_the_examples_of_the_docstrings(self) -> None:
        for module in (layer_module, builder_module):
            self.assertEqual(doctest.testmod(module).failed, 0)
            self.assertGreater(doctest.testmod(module).attempted, 0)


class HostileTests(SynchronousTestCase):
    """Whatever the octets are."""

    @given(st.binary(), st.sampled_from([None, IN_DATA, IN_AUTH, IN_HANDSHAKE, in_chunk(3)]))
    def test_nothing_raises(self, payload: bytes, state: StreamState | None) -> None:
        for each in (SmtpLayer(payload, state=state), *SmtpLayer(payload, state=state)):
            each.fields()
            self.assertTrue(each.summary().isprintable())
            smtp_show_fields(each)
