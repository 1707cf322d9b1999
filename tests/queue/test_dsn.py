"""Reports: sound, harmless and readable, whatever went wrong and whoever wrote it."""

import email.policy
from email.message import EmailMessage, Message

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.envelope import Action, NewMessage, Notice, Trait
from postroom.interfaces import IChunkSource, IContent
from postroom.queue import dsn
from postroom.queue.dsn import (
    RETURNED_OCTETS,
    Original,
    make_report,
    read_original,
)
from postroom.queue.model import Report
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox, mailbox, parse_mailbox
from postroom.wire.replies import Reply, reply
from tests.queue.samples import new_message

ORIGINAL = b"Message-ID: <1@example.org>\r\nSubject: hello\r\n\r\nbody\r\n"
SMALL = Original(ORIGINAL, True)


def failure(
    address: Mailbox, answer: Reply, remote: str = "", expired: bool = False, **rcpt: str
) -> Notice:
    return Notice(Rcpt(address, rcpt), Action.FAILED, answer, remote, expired)


UNKNOWN = failure(
    mailbox("joe@example.net"),
    reply(550, "5.1.1", "No such user"),
    "mx.example.net[192.0.2.1]:25",
)


def report_of(*failed: Notice, original: Original = SMALL, **more: object) -> Report:
    message = new_message("joe@example.net", **more)
    return make_report("relay.example.org", message, original, failed or (UNKNOWN,), 2000.0)


def octets_of(report: Report) -> bytes:
    return b"".join(report.content.chunks())


def parsed(report: Report) -> EmailMessage:
    return email.message_from_bytes(octets_of(report), policy=email.policy.default)


def groups(report: Report) -> list[Message]:
    return parsed(report).get_payload(1).get_payload()


class SoundReports(SynchronousTestCase):
    """What every report must be."""

    def assert_sound(self, report: Report) -> EmailMessage:
        """Check what every report must be."""
        octets = octets_of(report)
        self.assertEqual(octets.replace(b"\r\n", b"").count(b"\n"), 0, "a bare LF")
        self.assertEqual(octets.replace(b"\r\n", b"").count(b"\r"), 0, "a bare CR")
        self.assertLess(max(map(len, octets.split(b"\r\n"))), 999)
        self.assertEqual(sum(map(len, report.content.in_memory())), report.content.size_octets)
        message = parsed(report)
        for part in message.walk():
            self.assertEqual(part.defects, [], part)
            self.assertEqual([h for h in part.values() if getattr(h, "defects", ())], [])
        types = [part.get_content_type() for part in message.get_payload()]
        self.assertEqual(types[:2], ["text/plain", "message/delivery-status"])
        self.assertEqual(len(types), 3)
        return message


class ReportTests(SoundReports):
    """Tests for the form of a report."""

    def test_a_report_has_its_three_parts_and_its_header(self) -> None:
        message = self.assert_sound(report_of())
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message["Content-Type"].params["report-type"], "delivery-status")
        self.assertEqual(message["From"].addresses[0].addr_spec, "MAILER-DAEMON@relay.example.org")
        self.assertEqual(message["To"], "sender@example.org")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Date"].datetime.timestamp(), 2000)
        self.assertEqual(message["In-Reply-To"], "<1@example.org>")
        self.assertEqual(message["References"], "<1@example.org>")

    def test_it_comes_from_the_null_sender_and_goes_to_the_sender(self) -> None:
        report = report_of()
        self.assertIsNone(report.message.sender)
        self.assertEqual(
            report.message.recipients,
            (Rcpt(mailbox("sender@example.org"), {"NOTIFY": "NEVER"}),),
        )
        self.assertEqual(report.message.received_at, 2000.0)
        verifyObject(IContent, report.content)

    def test_the_null_sender_gets_none(self) -> None:
        with self.assertRaises(ValueError):
            report_of(sender=None)

    def test_the_delivery_status_has_the_fields_of_rfc_3464(self) -> None:
        message, recipient = groups(report_of())
        self.assertEqual(message["Reporting-MTA"], "dns; relay.example.org")
        self.assertEqual(message["Arrival-Date"], "Thu, 01 Jan 1970 00:16:40 +0000")
        self.assertEqual(
            recipient.items(),
            [
                ("Final-Recipient", "rfc822; joe@example.net"),
                ("Action", "failed"),
                ("Status", "5.1.1"),
                ("Remote-MTA", "dns; mx.example.net"),
                ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
                ("Last-Attempt-Date", "Thu, 01 Jan 1970 00:33:20 +0000"),
            ],
        )

    def test_local_parts_that_need_quotes_have_them_in_every_field(self) -> None:
        for local in (b"a..b", b".ann", b"ann.", b"a b", b"x." * 100):
            address = Mailbox(local, b"foo_bar.example")
            told = failure(address, UNKNOWN.reply, ORCPT="rfc822;a..b@old_name.example")
            message = new_message(sender=address)
            report = make_report("relay.example.org", message, SMALL, [told], 2000.0)
            self.assert_sound(report)
            written = bytes(address).decode()
            self.assertTrue(written.startswith('"'))
            fields = groups(report)[1]
            self.assertEqual(fields["Final-Recipient"], f"rfc822; {written}")
            self.assertEqual(fields["Original-Recipient"], "rfc822; a..b@old_name.example")
            self.assertIn(f"\r\nTo: <{written}>\r\n".encode(), octets_of(report))
            self.assertEqual(report.message.recipients[0].forward_path, address)

    def test_each_recipient_has_a_group_of_its_own(self) -> None:
        failed = [failure(mailbox(f"{n}@example.net"), UNKNOWN.reply) for n in range(3)]
        found = groups(report_of(*failed))
        self.assertEqual(len(found), 4)
        self.assertEqual(
            [g["Final-Recipient"] for g in found[1:]],
            [f"rfc822; {n}@example.net" for n in range(3)],
        )
        self.assertNotIn("Remote-MTA", found[1])

    def test_the_status_says_what_is_known(self) -> None:
        address = mailbox("a@example.net")
        for failed, status in (
            (failure(address, Reply(550, ("No",))), "5.0.0"),
            (failure(address, reply(552, "5.2.2", "Full")), "5.2.2"),
            (failure(address, reply(450, "4.2.1", "Busy"), expired=True), "5.4.7"),
        ):
            self.assertEqual(groups(report_of(failed))[1]["Status"], status)

    def test_people_are_told_who_failed_and_what_was_said(self) -> None:
        text = parsed(report_of()).get_payload(0).get_content()
        self.assertIn("<joe@example.net>:", text)
        self.assertIn("550 5.1.1 No such user", text)
        self.assertIn("mx.example.net[192.0.2.1]:25 replied", text)
        self.assertTrue(all(len(line) < 80 for line in text.splitlines()))

    def test_the_message_is_returned_as_it_was(self) -> None:
        returned = self.assert_sound(report_of()).get_payload(2)
        self.assertEqual(returned.get_content_type(), "message/rfc822")
        self.assertIn(b"\r\n\r\n" + ORIGINAL + b"\r\n--", octets_of(report_of()))

    def test_a_large_message_is_returned_as_its_header(self) -> None:
        report = report_of(original=Original(b"Subject: hello\r\n", False))
        self.assertEqual(
            self.assert_sound(report).get_payload(2).get_content_type(), "text/rfc822-headers"
        )

    def test_an_8bit_message_makes_an_8bit_report(self) -> None:
        report = report_of(original=Original("Subject: é\r\n\r\nü\r\n".encode(), True))
        message = self.assert_sound(report)
        self.assertEqual(message["Content-Transfer-Encoding"], "8bit")
        self.assertEqual(message.get_payload(2)["Content-Transfer-Encoding"], "8bit")
        self.assertEqual(report.message.parameters, {"BODY": "8BITMIME"})

    def test_a_7bit_message_makes_a_7bit_report(self) -> None:
        report = report_of()
        self.assertEqual(report.message.parameters, {})
        self.assertTrue(octets_of(report).isascii())

    def test_message_ids_are_never_the_same(self) -> None:
        ids = {parsed(report_of())["Message-ID"] for _ in range(20)}
        self.assertEqual(len(ids), 20)

    def test_a_boundary_that_occurs_in_the_message_is_drawn_again(self) -> None:
        drawn = iter(["a" * 32, "b" * 32, "0", "1"])
        self.patch(dsn.secrets, "token_hex", lambda _: next(drawn))
        report = report_of(original=Original(b"x: y\r\n\r\n--" + b"a" * 32 + b"--\r\n", True))
        self.assertEqual(parsed(report).get_boundary(), "b" * 32)

    def test_a_message_id_that_is_not_sound_is_not_referred_to(self) -> None:
        for line in (b"<a b@c>", b"a@b", b"<" + b"x" * 300 + b">", b"<\xe9@b>"):
            report = report_of(original=Original(b"Message-ID: " + line + b"\r\n\r\nb\r\n", True))
            self.assertNotIn("References", parsed(report), line)

    def test_a_message_id_in_the_body_is_not_the_messages(self) -> None:
        report = report_of(original=Original(b"a: b\r\n\r\nMessage-ID: <x@y>\r\n", True))
        self.assertNotIn("References", parsed(report))

    def test_a_report_of_many_recipients_comes_in_pieces(self) -> None:
        long = reply(550, "5.1.1", "x" * 5000)
        failed = [failure(mailbox(f"{n}@example.net"), long) for n in range(300)]
        report = report_of(*failed)
        pieces = report.content.in_memory()
        self.assertGreater(len(pieces), 1)
        self.assertLessEqual(max(map(len, pieces)), 256 * 1024)
        self.assert_sound(report)


class WishTests(SoundReports):
    """Tests for what the sender asked for, and what else a report may tell."""

    def test_the_senders_own_names_come_back_decoded(self) -> None:
        told = failure(
            mailbox("joe@example.net"), UNKNOWN.reply, ORCPT="rfc822;list+2Bjoe@example.net"
        )
        message, recipient = groups(report_of(told, parameters={"ENVID": "QQ314+2B1"}))
        self.assertEqual(message["Original-Envelope-Id"], "QQ314+1")
        self.assertEqual(recipient["Original-Recipient"], "rfc822; list+joe@example.net")

    def test_what_was_asked_of_time_is_told(self) -> None:
        parameters = {"BY": "120;R", "HOLDFOR": "60"}
        message, _ = groups(report_of(parameters=parameters))
        self.assertEqual(message["Deliver-By-Date"], "Thu, 01 Jan 1970 00:18:40 +0000")
        self.assertEqual(message["Future-Release-Request"], "for;60")
        message, _ = groups(report_of(parameters={"HOLDUNTIL": "2030-01-01T00:00:00Z"}))
        self.assertEqual(message["Future-Release-Request"], "until;2030-01-01T00:00:00Z")

    def test_every_action_has_its_words_and_its_class_of_status(self) -> None:
        for action, answer, status in (
            (Action.DELAYED, reply(451, "4.4.1", "Cannot connect"), "4.4.1"),
            (Action.DELIVERED, reply(250, "2.1.5", "Delivered"), "2.1.5"),
            (Action.RELAYED, reply(250, "2.0.0", "Queued"), "2.1.9"),
            (Action.EXPANDED, Reply(250, ("Ok",)), "2.0.0"),
        ):
            report = report_of(Notice(UNKNOWN.rcpt, action, answer, "mx.example.net"))
            self.assert_sound(report)
            self.assertNotIn("could not be delivered", parsed(report)["Subject"])
            recipient = groups(report)[1]
            self.assertEqual((recipient["Action"], recipient["Status"]), (action.value, status))
        late = Notice(UNKNOWN.rcpt, Action.DELAYED, UNKNOWN.reply, expired=True)
        self.assertEqual(groups(report_of(late))[1]["Status"], "4.4.7")

    def test_a_report_inherits_priority_and_tls(self) -> None:
        report = report_of(
            parameters={"REQUIRETLS": None, "MT-PRIORITY": "4"},
            priority=4,
            traits=Trait.TLS_OPTIONAL | Trait.TRUSTED,
        ).message
        self.assertEqual(report.parameters, {"REQUIRETLS": None, "MT-PRIORITY": "4"})
        self.assertEqual((report.priority, report.traits), (4, Trait.TLS_OPTIONAL))

    def test_only_the_header_comes_back_where_that_is_wished_or_wiser(self) -> None:
        for parameters in (
            {"RET": "HDRS"},
            {"RET": "FULL", "REQUIRETLS": None},
            {"BODY": "BINARYMIME"},
        ):
            self.assertTrue(dsn.returns_header_only(new_message(parameters=parameters), [UNKNOWN]))
        self.assertFalse(
            dsn.returns_header_only(new_message(parameters={"RET": "FULL"}), [UNKNOWN])
        )
        told = Notice(UNKNOWN.rcpt, Action.DELAYED, UNKNOWN.reply)
        self.assertTrue(dsn.returns_header_only(new_message(parameters={"RET": "FULL"}), [told]))

    def test_what_is_no_text_can_be_reported_nevertheless(self) -> None:
        self.assert_sound(report_of(original=Original(b"a: b\rc\nd\0\r\n", False)))

    def test_an_international_message_has_an_international_report(self) -> None:
        jörg = parse_mailbox("jörg@bücher.example".encode())
        told = failure(jörg, UNKNOWN.reply, ORCPT="utf-8;\\x{444}@example.net")
        report = report_of(told, parameters={"SMTPUTF8": None, "BODY": "8BITMIME"})
        self.assertEqual(report.message.parameters, {"SMTPUTF8": None, "BODY": "8BITMIME"})
        text = octets_of(report).decode()
        self.assertIn("Content-Type: message/global-delivery-status\r\n", text)
        self.assertIn("Content-Type: message/global\r\n", text)
        self.assertIn("Final-Recipient: utf-8; jörg@bücher.example\r\n", text)
        self.assertIn("Original-Recipient: utf-8; ф@example.net\r\n", text)
        self.assertIn("charset=utf-8", text)

    def test_an_ascii_report_writes_utf8_in_ascii(self) -> None:
        told = failure(
            mailbox("joe@example.net"), UNKNOWN.reply, ORCPT="utf-8;\\x{444}@example.net"
        )
        report = report_of(told)
        self.assertEqual(groups(report)[1]["Original-Recipient"], "utf-8; \\x{444}@example.net")
        self.assertNotIn("SMTPUTF8", report.message.parameters)


class HostileTests(SoundReports):
    """A remote server writes replies, a stranger addresses; neither gets a line of their own."""

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.text(max_size=1500), min_size=1, max_size=4),
        st.text(max_size=60),
        st.binary(max_size=60),
        st.booleans(),
    )
    def test_no_reply_host_or_address_breaks_a_report(
        self, text: list[str], remote: str, local_part: bytes, expired: bool
    ) -> None:
        failed = failure(
            Mailbox(local_part, b"example.net"), Reply(550, tuple(text), "5.7.1"), remote, expired
        )
        report = report_of(failed)
        self.assert_sound(report)
        message, recipient = groups(report)
        self.assertEqual(len(message.items()), 3)
        known = {"Final-Recipient", "Action", "Status", "Diagnostic-Code", "Last-Attempt-Date"}
        self.assertEqual({*recipient.keys()} - {"Remote-MTA"}, known)
        self.assertEqual(len(parsed(report).items()), 10)

    def test_a_reply_cannot_forge_a_field_or_a_part(self) -> None:
        evil = "x\r\nStatus: 2.0.0\r\n\r\nAction: delivered\r\n--b\r\n\0\x1b[2J\x85\u2028"
        report = report_of(failure(mailbox("a@example.net"), Reply(550, (evil,), "5.7.1")))
        self.assert_sound(report)
        (recipient,) = groups(report)[1:]
        self.assertEqual(recipient.get_all("Status"), ["5.7.1"])
        self.assertEqual(recipient.get_all("Action"), ["failed"])
        self.assertNotIn(b"\x1b", octets_of(report))

    def test_a_reply_without_end_is_cut(self) -> None:
        endless = reply(550, "5.7.1", *["y" * 2000] * 16)
        report = report_of(failure(mailbox("a@example.net"), endless))
        self.assertLess(report.content.size_octets, 5000)


@implementer(IChunkSource)
class Pieces:
    """A source that counts what is asked of it."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.size_octets = sum(map(len, pieces))
        self.asked: list[int] = []

    def chunk(self, index: int) -> bytes | Deferred[bytes]:
        self.asked.append(index)
        piece = self.pieces[index] if index < len(self.pieces) else b""
        return succeed(piece) if index % 2 else piece


class OriginalTests(SynchronousTestCase):
    """Tests for how much of a message is read for its report."""

    def read(self, source: Pieces) -> Original:
        return self.successResultOf(Deferred.fromCoroutine(read_original(source)))

    def test_a_small_message_is_read_whole(self) -> None:
        source = Pieces(b"a: b\r\n", b"\r\nbo", b"dy\r\n")
        self.assertEqual(self.read(source), Original(b"a: b\r\n\r\nbody\r\n", True))

    def test_of_a_large_message_the_header_is_read_and_no_more(self) -> None:
        source = Pieces(b"a: b\r\nc:", b" d\r\n\r\nbody", *[b"x" * 250_000] * 100)
        self.assertEqual(self.read(source), Original(b"a: b\r\nc: d\r\n", False))
        self.assertEqual(source.asked, [0, 1])

    def test_the_limit_is_exact(self) -> None:
        head = b"a: b\r\n\r\n"
        at_limit = Pieces(head + b"x" * (RETURNED_OCTETS - len(head)))
        self.assertTrue(self.read(at_limit).whole)
        over = Pieces(head + b"x" * (RETURNED_OCTETS - len(head) + 1))
        self.assertEqual(self.read(over), Original(b"a: b\r\n", False))

    def test_a_header_without_end_is_cut_after_a_line(self) -> None:
        lines = b"x: y\r\n" * 100_000
        original = self.read(Pieces(*[lines[n : n + 10_000] for n in range(0, len(lines), 10_000)]))
        self.assertTrue(original.octets.endswith(b"x: y\r\n"))
        self.assertLessEqual(len(original.octets), RETURNED_OCTETS)

    def test_a_report_of_what_was_read_is_sound(self) -> None:
        original = self.read(Pieces(b"Subject: x\r\n\r\n", b"y" * 70_000))
        report = make_report(
            "h.example",
            NewMessage("q", mailbox("a@b.example"), (UNKNOWN.rcpt,), 1.0),
            original,
            [UNKNOWN],
            2.0,
        )
        self.assertEqual(parsed(report).get_payload(2).get_content(), "Subject: x\r\n")
