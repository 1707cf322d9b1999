"""As whom somebody who has logged in may send, and what the header may say of it."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.delivery import submission
from postroom.delivery.authors import (
    SEVERAL_FROM,
    SEVERAL_SENDER,
    TOO_LARGE,
    UNREADABLE,
    AuthorScan,
)
from postroom.delivery.avatars import MailRealm
from postroom.delivery.routing import Router
from postroom.delivery.sender_permission import SenderPermission
from postroom.delivery.settings import SubmissionSettings
from postroom.delivery.submission import (
    NO_NULL_SENDER,
    NOT_YOUR_ADDRESS,
    NOT_YOUR_NAME,
    SubmissionRules,
    SubmittedDelivery,
    SubmittedMessage,
)
from postroom.envelope import Account, Alias, Domain, DomainKind
from postroom.errors import Refusal
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.wire.replies import Reply, reply
from tests.delivery.support import FACTS, MemoryDirectory, box, envelope, settings

STORED = reply(250, "2.0.0", "Stored")
JOE = "joe@here.example"


def make_permission() -> tuple[SenderPermission, MemoryDirectory]:
    joe = Account(
        JOE,
        "/joe",
        addresses=("joseph@here.example",),
        senders=("boss@there.example", "@lists.example"),
    )
    directory = MemoryDirectory(
        [
            Domain("here.example"),
            Domain("alias.example", kind=DomainKind.ALIAS, target="here.example"),
            Domain("all.example", catch_all=JOE),
        ],
        joe,
        Account("ann@here.example", "/ann"),
        Alias("info@here.example", (JOE,)),
        Alias("nested@here.example", ("info@here.example",)),
        Alias("both@here.example", (JOE, "ann@here.example")),
        Alias("away@here.example", (JOE, "x@there.example")),
        Account("bob@here.example", "/bob", forwards=("bob@there.example",)),
        Account("eve@here.example", "/e", forwards=("e@there.example",), keeps_copy=False),
        Alias("bobby@here.example", ("bob@here.example",)),
        Alias("eva@here.example", ("eve@here.example",)),
    )
    directory.entries["joseph@here.example"] = joe
    made = settings()
    return SenderPermission(directory, Router(directory, made), made), directory


class SenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.permission, self.directory = make_permission()

    def may(self, address: str, user: str = JOE) -> bool:
        answer = self.permission.may_send_as(user, box(address))
        return answer if isinstance(answer, bool) else self.successResultOf(answer)

    def test_own_addresses(self) -> None:
        for address in (
            *(JOE, "JOE@Here.example", "joseph@here.example", "joe+tag@here.example"),
            *("joseph+a+b@here.example", "info@here.example", "nested@here.example"),
            *("joe@alias.example", "info@alias.example", "anything@all.example"),
            *("boss@there.example", "who.ever@lists.example"),
        ):
            self.assertTrue(self.may(address), address)

    def test_those_of_others(self) -> None:
        for address in (
            *("ann@here.example", "joe@there.example", "x@there.example", "nobody@here.example"),
            *("both@here.example", "away@here.example", "boss+x@there.example"),
            *("joe@sub.lists.example", "joe@here.example.evil", '"joe@here.example"@there.example'),
        ):
            self.assertFalse(self.may(address), address)
        self.assertFalse(self.may("info@here.example", "ann@here.example"))

    def test_forwards_of_the_account_itself_do_not_matter(self) -> None:
        for user in ("bob@here.example", "eve@here.example"):
            self.assertTrue(self.may(user, user))
        self.assertTrue(self.may("bobby@here.example", "bob@here.example"))
        self.assertTrue(self.may("eva@here.example", "eve@here.example"))
        self.assertFalse(self.may("eva@here.example", "bob@here.example"))

    def test_a_user_of_another_source_has_the_name_of_the_login(self) -> None:
        self.assertTrue(self.may("root@there.example", "root@there.example"))
        self.assertFalse(self.may(JOE, "root@there.example"))

    def test_a_bare_name_is_one_in_the_first_domain(self) -> None:
        self.assertTrue(self.may("Bob+x@here.example", "bob"))
        self.assertTrue(self.may("info@here.example", "joe"))
        self.assertTrue(self.may("system@here.example", "system"))
        self.assertFalse(self.may("bob@there.example", "bob"))

    def test_what_is_known_is_answered_at_once(self) -> None:
        for address in (JOE, "info@here.example"):
            self.may(address)
            self.directory.asked.clear()
            self.assertIs(self.permission.may_send_as(JOE, box(address)), True)
            self.assertEqual(self.directory.asked, [])

    def test_a_change_counts_at_once(self) -> None:
        self.assertTrue(self.may("boss@there.example"))
        self.directory.entries[JOE] = Account(JOE, "/joe")
        self.directory.number += 1
        self.assertFalse(self.may("boss@there.example"))

    def test_a_directory_that_is_down_makes_no_address_somebody_elses(self) -> None:
        self.directory.down = OSError("gone")
        for user in (JOE, JOE):
            answer: Any = self.permission.may_send_as(user, box("info@here.example"))
            self.assertEqual(self.failureResultOf(answer, Refusal).value.reply.code, 451)
        self.directory.down = None
        self.may(JOE)
        self.directory.down = OSError("gone")
        info = box("info@here.example")
        refusal = self.assertRaises(Refusal, self.permission.may_send_as, JOE, info)
        self.assertEqual(refusal.reply.code, 451)
        self.flushLoggedErrors(OSError)


class AuthorTests(SynchronousTestCase):
    def scan(self, *chunks: bytes, limit: int = 10_000) -> AuthorScan:
        scan = AuthorScan(limit)
        for chunk in chunks:
            scan.feed(chunk)
        scan.end()
        return scan

    def authors(self, content: bytes) -> list[str]:
        whole = [str(each) for each in self.scan(content).authors()]
        pieces = self.scan(*(content[at : at + 1] for at in range(len(content))))
        self.assertEqual([str(each) for each in pieces.authors()], whole)
        return whole

    def refused(self, content: bytes) -> Reply:
        def read(*chunks: bytes) -> None:
            self.scan(*chunks).authors()

        whole = self.assertRaises(Refusal, read, content).reply
        octets = (content[at : at + 1] for at in range(len(content)))
        self.assertIs(self.assertRaises(Refusal, read, *octets).reply, whole)
        return whole

    def test_whom_a_header_names(self) -> None:
        for header, authors in (
            (b"From: Joe <joe@a.example>\r\n", ["joe@a.example"]),
            (b"From: joe@a.example\r\n", ["joe@a.example"]),
            (b"FROM :\r\n\tjoe@a.example\r\n", ["joe@a.example"]),
            (
                b'From: "Joe, X" <joe@a.example>, ann@a.example\r\n',
                ["joe@a.example", "ann@a.example"],
            ),
            (b"From: =?utf-8?q?J=C3=B6?= <joe@a.example>\r\n", ["joe@a.example"]),
            (b"From: a@a.example\r\nSender: b@a.example\r\n", ["a@a.example", "b@a.example"]),
            (b'From: "ann@a.example" <joe@a.example>\r\n', ["joe@a.example"]),
            (b"Subject: x\r\n", []),
            (b"X-From: x@a.example\r\nFrom-X: y@a.example\r\n", []),
        ):
            self.assertEqual(self.authors(header + b"\r\nFrom: body@a.example\r\n"), authors)

    def test_a_message_may_be_header_alone_or_have_none(self) -> None:
        self.assertEqual(self.authors(b"From: joe@a.example\r\n"), ["joe@a.example"])
        self.assertEqual(self.authors(b"From: joe@a.example"), ["joe@a.example"])
        self.assertEqual(self.authors(b"\r\nFrom: joe@a.example\r\n"), [])
        self.assertEqual(self.authors(b""), [])

    def test_a_body_without_a_header_may_quote_one(self) -> None:
        quoted = b"From: a@a.example\r\nFrom: b@a.example\r\nSender: c\r\nsender: d\r\n\r\nx\r\n"
        for first in (
            *(b"Hello there\r\n", b"Hello\r\n", b" indented\r\n", b"\tFrom: x\r\n", b"\r\n"),
            *(b"F\xc3\xb6: x\r\n", b"From x\r\nHello\r\n", b"\n"),
        ):
            self.assertEqual(self.authors(first + quoted), [], first)

    def test_a_large_body_without_a_header_is_no_large_header(self) -> None:
        self.assertEqual(self.scan(b"Hello\r\n" + b"x" * 2000, limit=1000).authors(), [])

    def test_mailbox_lines_hide_no_author(self) -> None:
        for lines in (b"From x\r\n", b">From x\r\n>>From y\n"):
            self.assertEqual(self.authors(lines + b"From: joe@a.example\r\n"), ["joe@a.example"])
            self.assertIs(self.refused(lines + b"From: a\r\nFrom: b\r\n"), SEVERAL_FROM)

    def test_more_than_one_author_field_is_refused_whatever_they_say(self) -> None:
        for first in (b"From: a@a.example\r\n", b"from : a@a.example\r\n"):
            for second in (b"From: a@a.example\r\n", b"FROM\t:\r\n x\r\n", b"junk\r\nFrom: b\r\n"):
                self.assertIs(self.refused(first + second + b"\r\nx"), SEVERAL_FROM)
        self.assertIs(self.refused(b"Sender: a\r\nSubject: x\r\nsender:b\r\n\r\n"), SEVERAL_SENDER)

    def test_what_programs_would_read_differently_is_refused(self) -> None:
        for value in (
            *(b"", b"joe", b"undisclosed:;", b"<>", b"Joe <joe@a.example> <ann@a.example>"),
            *(
                b"ann@a.example <joe@a.example>",
                b"<@ann@a.example:joe@a.example>",
                b"<joe@a.example",
            ),
            *(b"joe@a.example\xff", b"joe@a.example, ann", b"joe@@a.example", b"x" * 999 + b"@a.b"),
            *(b"(" * 990, b"=?utf-8?q?joe=40a.example?=", b"joe@a.example\\,ann@b.example"),
        ):
            self.assertIs(self.refused(b"From: " + value + b"\r\n\r\n"), UNREADABLE, value)

    def test_a_header_without_end_is_refused(self) -> None:
        self.assertIs(
            self.assertRaises(Refusal, self.scan, b"X: y\r\n" * 200, limit=1000).reply, TOO_LARGE
        )

    @given(st.binary(max_size=300))
    def test_any_field_is_read_or_refused(self, value: bytes) -> None:
        try:
            self.scan(b"From: " + value.replace(b"\n", b"") + b"\r\n\r\n").authors()
        except Refusal as refusal:
            self.assertIn(refusal.reply, (UNREADABLE, SEVERAL_FROM, SEVERAL_SENDER))


@implementer(IDeliveryTransaction)
class Transaction:
    """Keeps what becomes of it."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def write(self, chunk: bytes) -> None:
        self.calls.append(chunk)

    def commit(self) -> Any:
        self.calls.append("commit")
        return succeed([STORED])

    def abort(self) -> None:
        self.calls.append("abort")


class MessageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.permission, self.directory = make_permission()

    def send(self, content: bytes, **changes: bool) -> tuple[object, list[object]]:
        """Send a message; return the result, and the calls of the wrapped delivery."""
        rules = SubmissionRules(SubmissionSettings(**changes), self.permission)
        inner = Transaction()
        message = SubmittedMessage(inner, AuthorScan(10_000), JOE, rules)
        verifyObject(IDeliveryTransaction, message)
        try:
            message.write(content)
        except Refusal as refusal:  # the server aborts then
            message.abort()
            return refusal.reply, inner.calls
        try:
            stored = message.commit()
        except Refusal as refusal:
            return refusal.reply, inner.calls
        results: list[Any] = []
        assert isinstance(stored, Deferred)
        stored.addBoth(results.append)
        result = results[0]
        if isinstance(result, list):
            return result[0], inner.calls
        return result.value.reply, inner.calls

    def test_by_default_the_header_may_name_anybody_once(self) -> None:
        content = b"From: ann@here.example\r\n\r\nx"
        self.assertEqual(self.send(content), (STORED, [content, "commit"]))

    def test_several_authors_are_refused_always_and_nothing_is_kept(self) -> None:
        content = b"From: a@b.example\r\nFrom: a@b.example\r\n"
        self.assertEqual(self.send(content + b"\r\n"), (SEVERAL_FROM, ["abort"]))
        self.assertEqual(self.send(content), (SEVERAL_FROM, [content, "abort"]))

    def test_where_the_settings_say_so_the_author_has_to_be_oneself(self) -> None:
        for value, answer in (
            (b"Joe <joe@here.example>", STORED),
            (b"info@here.example", STORED),
            (b"ann@here.example", NOT_YOUR_NAME),
            (b"joe@here.example, ann@here.example", NOT_YOUR_NAME),
            (b"joe@here.example\r\nSender: ann@here.example", NOT_YOUR_NAME),
            (b"joe@here.example ann@here.example", UNREADABLE),
        ):
            content = b"From: " + value + b"\r\n\r\nx"
            said, calls = self.send(content, own_authors=True)
            self.assertEqual(said, answer, value)
            self.assertEqual(calls[1:], ["commit" if answer is STORED else "abort"])

    def test_a_directory_that_is_down_refuses_for_now(self) -> None:
        self.directory.down = OSError("gone")
        said, calls = self.send(b"From: joe@here.example\r\n\r\n", own_authors=True)
        assert isinstance(said, Reply)
        self.assertEqual((said.code, calls[1:]), (451, ["abort"]))
        self.flushLoggedErrors(OSError)


class DeliveryTests(SynchronousTestCase):
    """MAIL FROM, by the avatar that the realm gives."""

    def judge(self, sender: str | None, login: object = JOE.encode(), **changes: bool) -> Any:
        permission, _ = make_permission()
        rules = SubmissionRules(SubmissionSettings(**changes), permission)
        realm = MailRealm(FakeServices(), rules)  # type: ignore[arg-type]
        facts = replace(FACTS, role="submission")
        _, avatar, _ = realm.requestAvatar(login, facts, ITransactionDelivery)
        verifyObject(ITransactionDelivery, avatar)
        answer = avatar.validate_sender(envelope(sender=sender, session=facts))
        return self.successResultOf(answer) if isinstance(answer, Deferred) else answer

    def test_who_has_logged_in_sends_as_themselves(self) -> None:
        self.assertIsNone(self.judge(JOE))
        self.assertIsNone(self.judge("joe+x@here.example"))
        self.assertIs(self.judge("ann@here.example"), NOT_YOUR_ADDRESS)
        self.assertIs(self.judge(JOE, b"ann@here.example"), NOT_YOUR_ADDRESS)
        self.assertEqual((NOT_YOUR_ADDRESS.code, NOT_YOUR_ADDRESS.enhanced), (553, "5.7.1"))

    def test_a_setting_lets_them_be_anybody(self) -> None:
        self.assertIsNone(self.judge("ann@here.example", own_senders=False))

    def test_the_null_sender_is_taken_unless_a_setting_says_no(self) -> None:
        self.assertIsNone(self.judge(None))
        self.assertIs(self.judge(None, null_sender=False), NO_NULL_SENDER)

    def test_who_has_not_logged_in_is_asked_nothing(self) -> None:
        from twisted.cred.checkers import ANONYMOUS

        self.assertIsNone(self.judge("ann@here.example", ANONYMOUS, null_sender=False))

    def test_messages_are_watched(self) -> None:
        inner = Transaction()
        self.patch(submission.SessionDelivery, "begin", lambda *_: inner)
        permission, _ = make_permission()
        rules = SubmissionRules(SubmissionSettings(), permission)
        delivery = SubmittedDelivery(FakeServices(), FACTS, JOE, rules)  # type: ignore[arg-type]
        message: Any = delivery.begin(envelope(("x@there.example", None)))
        self.assertRaises(Refusal, message.write, b"From: a\r\nFrom: b\r\n\r\n")
        begun: Deferred[IDeliveryTransaction] = Deferred()
        self.patch(submission.SessionDelivery, "begin", lambda *_: begun)
        later: Any = delivery.begin(envelope(("x@there.example", None)))
        begun.callback(inner)
        self.assertIsInstance(self.successResultOf(later), SubmittedMessage)


class FakeServices:
    """What an avatar looks at before there is a message."""

    settings = settings()
    sending = None
