"""Claims about sessions' deliveries, with real Maildirs and a real committer."""

import errno
import os
import re
from dataclasses import replace
from email import message_from_bytes, policy
from ipaddress import ip_network
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from postroom.delivery.avatars import MailRealm
from postroom.delivery.committer import Committer
from postroom.delivery.expansion import Route
from postroom.delivery.headers import TOO_MANY_HOPS
from postroom.delivery.quotas import Quotas
from postroom.delivery.routing import DIRECTORY_DOWN, UNKNOWN_USER, Router
from postroom.delivery.services import DeliveryServices
from postroom.delivery.session_delivery import (
    LITERAL_ELSEWHERE,
    NOT_A_WRITER,
    OWNER_CHANGED,
    RELAYING_DENIED,
    SessionDelivery,
)
from postroom.delivery.settings import SubmissionSettings
from postroom.delivery.spool import SpoolArea
from postroom.delivery.srs import Rewriting
from postroom.delivery.submission import SubmissionRules, SubmittedDelivery
from postroom.delivery.transaction import DiscardedMessage
from postroom.envelope import Account, Alias, Domain, Envelope, NewMessage, Writers
from postroom.errors import NO_SPACE, Refusal, reply_for
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.wire.commands import Rcpt
from postroom.wire.replies import Reply
from tests.delivery.support import (
    FACTS,
    HEADER,
    MESSAGE,
    TLS,
    MemoryDirectory,
    MemoryQueue,
    Threads,
    as_lf,
    box,
    envelope,
    files_in,
    settings,
)
from tests.filesystem import fail_calls, open_descriptors

NOW = 1_763_812_987.25


def addresses_of(message: NewMessage) -> list[str]:
    return [str(rcpt.forward_path) for rcpt in message.recipients]


def make_services(case: Any, **changes: Any) -> DeliveryServices:
    """Everything real but the directory, the queue and the pool's threads."""
    root = os.path.abspath(case.mktemp())
    os.mkdir(root)
    made = settings(spool_directory=root, relay_networks=[ip_network("198.51.100.0/24")], **changes)
    entries = [Account(f"{name}@here.example", f"{root}/{name}") for name in ("joe", "ann", "bob")]
    aliases = [
        Alias("both@here.example", ("joe@here.example", "ann@here.example")),
        Alias("away@here.example", ("x@there.example", "joe@here.example")),
        Alias("null@here.example", ("discard:",)),
    ]
    directory = MemoryDirectory([Domain("here.example")], *entries, *aliases)
    committer = Committer(reactor, made)  # type: ignore[arg-type]
    case.addCleanup(committer.stop)
    threads = Threads(at_once=True)
    case.root = root
    return DeliveryServices(
        made,
        Router(directory, made),
        committer,
        SpoolArea(threads, threads, made),  # type: ignore[arg-type]
        MemoryQueue(),
        Quotas(threads, threads, made, lambda: NOW),  # type: ignore[arg-type]
        lambda: NOW,
    )


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.services = make_services(self)

    def recipient(
        self, address: str, authenticated: bool = False, client: str = "192.0.2.1"
    ) -> object:
        facts = replace(FACTS, client=client)
        delivery = SessionDelivery(
            self.services, facts, "ann@here.example" if authenticated else None
        )
        verifyObject(ITransactionDelivery, delivery)
        empty = envelope(session=facts)
        self.assertIsNone(delivery.validate_sender(empty))
        return delivery.validate_recipient(empty, Rcpt(box(address)))


class WhoMayWriteWhere(SessionCase):
    def test_anybody_to_local_users_and_through_their_aliases(self) -> None:
        for address in ("joe@here.example", "away@here.example", "null@here.example"):
            self.assertNotIsInstance(self.recipient(address), Reply)

    def test_nobody_to_unknown_users(self) -> None:
        self.assertEqual(self.recipient("who@here.example", authenticated=True), UNKNOWN_USER)

    def test_only_who_logged_in_or_is_in_a_relay_network_to_other_domains(self) -> None:
        self.assertEqual(self.recipient("x@there.example"), RELAYING_DENIED)
        self.assertEqual(self.recipient("x@there.example", client="unix"), RELAYING_DENIED)
        self.assertNotIsInstance(self.recipient("x@there.example", authenticated=True), Reply)
        self.assertNotIsInstance(self.recipient("x@there.example", client="198.51.100.9"), Reply)

    def test_nobody_to_an_address_literal(self) -> None:
        for address in ("x@[192.0.2.77]", "x@[IPv6:2001:db8::1]", "x@[tag:x]"):
            self.assertEqual(self.recipient(address), RELAYING_DENIED)
            self.assertEqual(self.recipient(address, authenticated=True), LITERAL_ELSEWHERE)
            self.assertEqual(self.recipient(address, client="198.51.100.9"), LITERAL_ELSEWHERE)

    def test_the_same_when_the_directory_answers_later(self) -> None:
        directory: Any = self.services.router._directory
        directory.later = []
        answer = self.recipient("x@there.example")
        assert isinstance(answer, Deferred)
        directory.later.pop().callback(None)
        self.assertEqual(self.successResultOf(answer), RELAYING_DENIED)

    def test_a_directory_that_is_down_refuses_for_now(self) -> None:
        directory: Any = self.services.router._directory
        directory.down = OSError("down")
        self.assertEqual(self.recipient("joe@here.example"), DIRECTORY_DOWN)
        self.flushLoggedErrors(OSError)


class NewOwners(SessionCase):
    """RFC 7293: a recipient who has the address only since the sender last knew it."""

    def setUp(self) -> None:
        super().setUp()
        directory: Any = self.services.router._directory
        young = replace(directory.entries["joe@here.example"], created_at=1_000_000_000.0)
        directory.entries["joe@here.example"] = young

    def since(self, address: str, time: str) -> object:
        delivery = SessionDelivery(self.services, FACTS, None)
        return delivery.validate_recipient(envelope(), Rcpt(box(address), {"RRVS": time}))

    def test_are_refused(self) -> None:
        self.assertEqual(self.since("Joe@here.example", "2001-09-09T01:46:39Z"), OWNER_CHANGED)

    def test_are_old_enough_from_the_day_that_they_began(self) -> None:
        answer = self.since("joe@here.example", "2001-09-09T01:46:40Z")
        self.assertNotIsInstance(answer, Reply)

    def test_are_not_told_of_aliases_and_of_accounts_of_unknown_age(self) -> None:
        for address in ("both@here.example", "ann@here.example"):
            self.assertNotIsInstance(self.since(address, "1999-01-01T00:00:00Z"), Reply)


class WhoMayWriteToGroups(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        directory: Any = self.services.router._directory
        for alias in (
            Alias("users@here.example", ("joe@here.example",), Writers.USERS),
            Alias("members@here.example", ("joe@here.example",), Writers.MEMBERS),
        ):
            directory.entries[alias.address] = alias

    def test_some_are_for_whoever_logged_in(self) -> None:
        self.assertEqual(self.recipient("users@here.example"), NOT_A_WRITER)
        self.assertEqual(self.recipient("users@here.example", client="198.51.100.9"), NOT_A_WRITER)
        self.assertNotIsInstance(self.recipient("users@here.example", authenticated=True), Reply)

    def test_some_are_for_members_who_logged_in(self) -> None:
        self.assertEqual(self.recipient("members@here.example"), NOT_A_WRITER)
        self.assertEqual(self.recipient("members@here.example", authenticated=True), NOT_A_WRITER)
        joe = SessionDelivery(self.services, FACTS, "joe@here.example")
        answer = joe.validate_recipient(envelope(), Rcpt(box("members@here.example")))
        self.assertNotIsInstance(answer, Reply)


class MessageCase(TestCase):
    def setUp(self) -> None:
        self.services = make_services(self)
        self.queue: Any = self.services.queue
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)  # type: ignore[arg-type]

    def envelope(self, *addresses: str, **more: Any) -> Envelope:
        return envelope(*((a, self.services.router.resolve(box(a))) for a in addresses), **more)

    def begin(self, made: Envelope) -> Any:
        delivery = SessionDelivery(self.services, made.session, "ann@here.example")
        transaction = self.successResultOf(maybeDeferred(delivery.begin, made))
        verifyObject(IDeliveryTransaction, transaction)
        return transaction

    async def send(self, *addresses: str, octets: bytes = MESSAGE, **more: Any) -> list[Reply]:
        transaction = self.begin(self.envelope(*addresses, **more))
        for start in range(0, len(octets), 65_536):
            transaction.write(octets[start : start + 65_536])
        return list(await maybeDeferred(transaction.commit))

    def new(self, account: str) -> list[bytes]:
        path = f"{self.root}/{account}/new"  # type: ignore[attr-defined]
        return list(files_in(path).values()) if os.path.exists(path) else []

    def summary(self) -> list[dict[str, Any]]:
        return [event for event in self.events if "recipients" in event]


class Storing(MessageCase):
    async def test_a_local_message_gets_its_trace_fields_in_order(self) -> None:
        (answer,) = await self.send("Joe+tag@here.example")
        self.assertEqual(str(answer), "250 2.0.0 Ok: queued as 1kD3vB0007Qwbz")
        (octets,) = self.new("joe")
        self.assertTrue(
            octets.startswith(
                b"Return-Path: <a@client.example>\n"
                b"X-Original-To: Joe+tag@here.example\n"
                b"Delivered-To: joe@here.example\n"
                b"Received: from client.example ([192.0.2.1])\n"
            )
        )
        self.assertIn(b"for <Joe+tag@here.example>", octets)
        self.assertTrue(octets.endswith(as_lf(MESSAGE)))

    async def test_older_return_paths_are_replaced_at_final_delivery_only(self) -> None:
        old = b"Return-Path: <old@x>\r\nX: y\r\nReturn-Path: <older@x>\r\n"
        await self.send("away@here.example", octets=old + MESSAGE)
        (octets,) = self.new("joe")
        self.assertEqual(octets.lower().count(b"return-path:"), 1)
        self.assertTrue(octets.endswith(as_lf(b"X: y\r\n" + MESSAGE)))
        ((_, queued),) = self.queue.messages
        self.assertTrue(queued.startswith(b"Received: from client.example"))
        self.assertTrue(queued.endswith(old + MESSAGE))

    async def test_a_bare_body_is_kept_apart_from_the_trace_fields(self) -> None:
        await self.send("away@here.example", octets=b"Just this.\r\n")
        self.assertTrue(self.new("joe")[0].endswith(b"\n\nJust this.\n"))
        self.assertTrue(self.queue.messages[0][1].endswith(b"\r\n\r\nJust this.\r\n"))

    async def test_binary_content_is_stored_unchanged(self) -> None:
        octets = HEADER + b"\0\n\r\r\n"
        await self.send("joe@here.example", octets=octets, BODY="BINARYMIME")
        self.assertTrue(self.new("joe")[0].endswith(octets))

    async def test_several_recipients_are_not_named_to_each_other(self) -> None:
        await self.send("joe@here.example", "ann@here.example")
        for name in ("joe", "ann"):
            (octets,) = self.new(name)
            self.assertNotIn(b" for ", octets)
            self.assertNotIn(b"\tfor ", octets)

    async def test_an_account_reached_twice_gets_one_copy(self) -> None:
        answers = await self.send("joe@here.example", "joe+x@here.example", "both@here.example")
        self.assertEqual([answer.code for answer in answers], [250] * 3)
        self.assertEqual((len(self.new("joe")), len(self.new("ann"))), (1, 1))

    async def test_an_address_elsewhere_reached_twice_is_queued_once(self) -> None:
        await self.send(
            "x@there.example", "x@There.Example", "away@here.example", "X@there.example"
        )
        ((message, _),) = self.queue.messages  # what the alias would have forwarded is there too
        self.assertEqual(addresses_of(message), ["x@there.example", "X@there.example"])

    async def test_the_queue_gets_the_envelope(self) -> None:
        session = replace(FACTS, tls=TLS, identity="joe@here.example")
        await self.send("x@there.example", session=session, BODY="8BITMIME", SIZE="100")
        ((message, octets),) = self.queue.messages
        self.assertEqual((message.id, message.sender), ("1kD3vB0007Qwbz", box("a@client.example")))
        self.assertEqual((message.received_at, message.identity), (NOW, "joe@here.example"))
        self.assertEqual(message.parameters, {"BODY": "8BITMIME"})
        self.assertIn(b"with ESMTPSA id 1kD3vB0007Qwbz", octets)

    async def test_the_null_sender_has_an_empty_return_path(self) -> None:
        await self.send("joe@here.example", sender=None)
        self.assertTrue(self.new("joe")[0].startswith(b"Return-Path: <>\n"))

    async def test_a_large_message_goes_through_the_spool(self) -> None:
        octets = b"Return-Path: <old@x>\r\n" + HEADER + b"x" * 998 + b"\r\n" + os.urandom(900_000)
        await self.send("joe@here.example", "x@there.example", octets=octets)
        (local,) = self.new("joe")
        self.assertTrue(local.endswith(as_lf(octets[len(b"Return-Path: <old@x>\r\n") :])))
        self.assertTrue(self.queue.messages[0][1].endswith(octets))
        self.assertEqual([path for path in open_descriptors() if "deleted" in path], [])

    async def test_what_is_aborted_leaves_nothing(self) -> None:
        transaction = self.begin(self.envelope("joe@here.example"))
        transaction.write(MESSAGE)
        transaction.abort()
        self.assertEqual(self.new("joe"), [])
        self.assertEqual(self.summary(), [])


class OriginalRecipients(MessageCase):
    """Who is named in whose copy."""

    def named(self, octets: bytes) -> list[bytes]:
        return re.findall(rb"^X-Original-To: (.*?)\r?$", octets, re.M)

    async def test_a_copy_names_all_that_led_to_its_account_and_nobody_else(self) -> None:
        await self.send(
            *("Both@here.example", "joe@here.example", "bob+x@here.example"),
            *("away@here.example", "y@there.example", "joe@here.example"),
        )
        for name, expected in (
            ("joe", [b"Both@here.example", b"joe@here.example", b"away@here.example"]),
            ("ann", [b"Both@here.example"]),
            ("bob", [b"bob+x@here.example"]),
        ):
            (octets,) = self.new(name)
            self.assertEqual(self.named(octets), expected, name)

    async def test_what_is_sent_on_names_nobody(self) -> None:
        await self.send("away@here.example", "y@there.example")
        for _, octets in self.queue.messages:
            self.assertEqual(self.named(octets), [])

    async def test_nor_does_what_waits_in_the_queue_for_a_maildir(self) -> None:
        fail_calls(self, "fsync", errno.EIO)
        await self.send("both@here.example")
        ((_, octets),) = self.queue.messages
        self.assertEqual(self.named(octets), [])


class LinesOfMailboxFiles(MessageCase):
    async def test_become_fields_wherever_the_message_goes(self) -> None:
        lines = b"From a@b Sat Nov 22 14:03:07 2025\r\n>From c\r\n"
        for size in (1, 7, 1000):
            octets = lines + MESSAGE
            transaction = self.begin(self.envelope("away@here.example"))
            for start in range(0, len(octets), size):
                transaction.write(octets[start : start + size])
            await transaction.commit()
            fields = b"X-Mailbox-Line: From a@b Sat Nov 22 14:03:07 2025\r\n"
            fields += b"X-Mailbox-Line: >From c\r\n"
            for stored in (self.new("joe")[-1], self.queue.messages[-1][1]):
                wire = stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                self.assertTrue(wire.endswith(b"\r\n" + fields + MESSAGE), size)
                self.assertEqual(message_from_bytes(stored)["Subject"], "s")

    async def test_count_as_header(self) -> None:
        for octets in (b"From x\r\n" * 5001 + HEADER, b"From " + b"x" * 300_000 + b"\r\n"):
            with self.assertRaises(Refusal):
                await self.send("joe@here.example", octets=octets)

    async def test_above_a_bare_body_leave_it_body(self) -> None:
        for body in (b"Hello.\r\n", b"  Hello:\r\n", b"Hello", b"From", b"\r\nHello.\r\n"):
            await self.send("x@there.example", octets=b"From x\r\n" + body)
            read = message_from_bytes(self.queue.messages[-1][1], policy=policy.SMTP)
            self.assertEqual(read["X-Mailbox-Line"], "From x")
            self.assertEqual(read.defects, [])
            self.assertEqual(read.get_payload(), body.removeprefix(b"\r\n").decode())


class Completing(MessageCase):
    """Submitted mail; the fields themselves are in ``test_completion``."""

    async def submit(self, octets: bytes, role: str = "submission", **changes: bool) -> bytes:
        user = "ann@here.example"
        made = self.envelope(
            "x@there.example", sender=user, session=replace(FACTS, role=role, identity=user)
        )
        permission: Any = None
        rules = SubmissionRules(SubmissionSettings(**changes), permission)
        delivery = SubmittedDelivery(self.services, made.session, user, rules)
        transaction = self.successResultOf(maybeDeferred(delivery.begin, made))
        transaction.write(octets)
        await transaction.commit()
        stored: bytes = self.queue.messages[-1][1]
        return stored

    async def test_adds_what_is_missing_below_received(self) -> None:
        stored = await self.submit(MESSAGE)
        read = message_from_bytes(stored, policy=policy.SMTP)
        self.assertEqual(read.keys(), ["Received", "Date", "Message-ID", "From", "Subject"])
        self.assertEqual(read["Date"].datetime.timestamp(), int(NOW))
        self.assertEqual(read["Message-ID"], "<20251122120307.1kD3vB0007Qwbz@mx.example>")
        self.assertTrue(stored.endswith(MESSAGE))

    async def test_a_bare_body_gets_a_header(self) -> None:
        body = b"Hello\r\nDate: tomorrow\r\nFrom: a\r\nFrom: b\r\n"
        for above, fields in ((b"", []), (b"\r\n", []), (b"From x\r\n", ["X-Mailbox-Line"])):
            read = message_from_bytes(await self.submit(above + body), policy=policy.SMTP)
            self.assertEqual(read.keys(), ["Received", "Date", "Message-ID", *fields])
            self.assertEqual(read.get_payload(), body.decode())
            self.assertEqual(read.defects, [])

    async def test_is_for_submission_listeners_and_may_be_switched_off(self) -> None:
        for role in ("mx", "lmtp"):
            self.assertNotIn(b"\r\nDate:", await self.submit(MESSAGE, role))
        stored = await self.submit(MESSAGE, add_date=False)
        self.assertNotIn(b"\r\nDate:", stored)
        self.assertIn(b"\r\nMessage-ID:", stored)
        await self.send("x@there.example", session=replace(FACTS, role="submission"))
        self.assertNotIn(b"\r\nDate:", self.queue.messages[-1][1])


class Forwarding(MessageCase):
    def setUp(self) -> None:
        super().setUp()
        self.services.router._srs = Rewriting("here.example", lambda: [b"secret"], lambda: NOW)

    async def test_off_site_the_reverse_path_becomes_ours_and_the_copy_here_keeps_it(self) -> None:
        await self.send("away@here.example")
        self.assertTrue(self.new("joe")[0].startswith(b"Return-Path: <a@client.example>\n"))
        ((message, _),) = self.queue.messages
        assert message.sender is not None
        self.assertEqual(message.sender.domain, b"here.example")
        self.assertTrue(message.sender.local_part.startswith(b"SRS0="))
        back = self.services.router.resolve(message.sender)
        self.assertEqual(back, Route(queued=(box("a@client.example"),)))

    async def test_beside_other_recipients_it_is_a_message_of_its_own(self) -> None:
        await self.send("away@here.example", "y@there.example")
        (first, octets), (second, same) = self.queue.messages
        self.assertEqual((first.sender, first.id), (box("a@client.example"), "1kD3vB0007Qwbz"))
        self.assertEqual(addresses_of(first), ["y@there.example"])
        self.assertEqual(addresses_of(second), ["x@there.example"])
        self.assertNotIn(second.id, (first.id, ""))
        self.assertEqual(octets, same)

    async def test_the_null_sender_and_senders_of_ours_stay_as_they_are(self) -> None:
        for sender in (None, "joe@here.example"):
            await self.send("away@here.example", sender=sender)
            self.assertEqual(self.queue.messages.pop()[0].sender, sender and box(sender))

    async def test_if_one_of_two_cannot_be_queued_it_is_said_and_the_other_awaited(self) -> None:
        self.queue.failures += [RuntimeError("the first"), RuntimeError("the second")]
        with self.assertRaises(RuntimeError):
            await self.send("away@here.example", "y@there.example")
        self.assertEqual(self.new("joe"), [])


class Discarding(MessageCase):
    async def test_stores_nothing_and_answers_at_once(self) -> None:
        transaction = self.begin(self.envelope("null@here.example"))
        self.assertIsInstance(transaction, DiscardedMessage)
        self.assertIsNone(transaction.write(b"x" * 10_000_000))
        self.assertEqual([answer.code for answer in transaction.commit()], [250])
        self.assertEqual(self.summary()[0]["size"], 10_000_000)
        self.assertEqual(self.queue.messages, [])

    async def test_beside_others_is_one_answer_more(self) -> None:
        answers = await self.send("null@here.example", "joe@here.example")
        self.assertEqual([answer.code for answer in answers], [250, 250])
        self.assertEqual(len(self.new("joe")), 1)


class Refusing(MessageCase):
    def test_a_loop_is_refused_while_it_comes(self) -> None:
        transaction = self.begin(self.envelope("joe@here.example"))
        loop = b"Received: x\r\n" * 100 + b"\r\n"
        self.assertEqual(self.assertRaises(Refusal, transaction.write, loop).reply, TOO_MANY_HOPS)
        transaction.abort()

    async def test_a_loop_without_a_body_is_refused_at_the_end(self) -> None:
        with self.assertRaises(Refusal):
            await self.send("joe@here.example", octets=b"Received: x\r\n" * 100)
        self.assertEqual(self.new("joe"), [])


class FailingMaildirs(MessageCase):
    async def test_a_local_copy_that_fails_is_queued_instead(self) -> None:
        fail_calls(self, "fsync", errno.EIO)
        answers = await self.send("joe@here.example", "ann@here.example")
        self.assertEqual([answer.code for answer in answers], [250, 250])
        self.assertEqual((len(self.new("joe")), len(self.new("ann"))), (0, 1))
        ((message, octets),) = self.queue.messages
        self.assertEqual(message.id, "1kD3vB0007Qwbz")
        self.assertEqual(addresses_of(message), ["joe@here.example"])
        self.assertTrue(octets.startswith(b"Received: "))

    async def test_beside_remote_ones_it_is_queued_under_its_own_id(self) -> None:
        fail_calls(self, "fsync", errno.EIO)
        await self.send("joe@here.example", "x@there.example")
        (first, _), (second, _) = self.queue.messages
        self.assertEqual(addresses_of(first), ["x@there.example"])
        self.assertEqual(addresses_of(second), ["joe@here.example"])
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(second.received_at, NOW)

    async def test_if_the_queue_fails_too_nothing_is_kept(self) -> None:
        fail_calls(self, "fsync", errno.ENOSPC)
        self.queue.failures.append(RuntimeError("no queue"))
        try:
            await self.send("joe@here.example", "ann@here.example")
        except OSError as error:
            self.assertEqual(reply_for(error), NO_SPACE)
        else:
            self.assertTrue(False, "it was said to be stored")
        self.assertEqual((self.new("joe"), self.new("ann")), ([], []))
        self.assertEqual(self.summary()[0]["result"], str(NO_SPACE))

    async def test_if_only_the_queue_fails_the_local_copy_is_taken_back(self) -> None:
        self.queue.failures.append(RuntimeError("no queue"))
        with self.assertRaises(RuntimeError):
            await self.send("joe@here.example", "x@there.example")
        self.assertEqual(self.new("joe"), [])

    async def test_both_are_started_before_either_is_waited_for(self) -> None:
        self.queue.later = []
        sending = ensureDeferred(self.send("joe@here.example", "x@there.example"))
        while not self.new("joe"):
            await deferToThread(lambda: None)
        self.assertNoResult(sending)
        self.queue.later.pop().callback(None)
        self.assertEqual([answer.code for answer in await sending], [250, 250])

    async def test_a_spool_that_fails_fails_the_commit(self) -> None:
        transaction = self.begin(self.envelope("joe@here.example"))
        os.rmdir(self.root)  # type: ignore[attr-defined]
        transaction.write(HEADER + b"x" * 300_000)
        with self.assertRaises(OSError):
            await maybeDeferred(transaction.commit)


class Logging(MessageCase):
    async def test_one_event_tells_of_a_message(self) -> None:
        session = replace(FACTS, tls=TLS, identity="joe@here.example")
        await self.send("joe@here.example", "x@there.example", session=session)
        (event,) = self.summary()
        self.assertEqual(
            {key: event[key] for key in ("id", "sender", "recipients", "size", "client")},
            {
                "id": "1kD3vB0007Qwbz",
                "sender": "a@client.example",
                "recipients": ["joe@here.example", "x@there.example"],
                "size": len(MESSAGE),
                "client": "192.0.2.1",
            },
        )
        self.assertEqual((event["tls"], event["identity"]), (str(TLS), "joe@here.example"))
        self.assertEqual(event["result"], "250 2.0.0 Ok: queued as 1kD3vB0007Qwbz")


class Realm(SynchronousTestCase):
    def setUp(self) -> None:
        self.realm = MailRealm(make_services(self))

    def test_gives_a_delivery_for_each_session(self) -> None:
        for avatar_id, may_relay in ((ANONYMOUS, False), (b"joe@here.example", True)):
            interface, avatar, logout = self.realm.requestAvatar(
                avatar_id, FACTS, ITransactionDelivery
            )
            self.assertIs(interface, ITransactionDelivery)
            self.assertEqual(avatar.may_relay, may_relay)
            self.assertEqual(avatar.identity(), "joe@here.example" if may_relay else None)
            self.assertIs(ITransactionDelivery(avatar), avatar)
            logout()

    def test_lmtp_relays_for_nobody(self) -> None:
        facts = replace(FACTS, role="lmtp")
        _, avatar, _ = self.realm.requestAvatar(b"joe@here.example", facts, ITransactionDelivery)
        self.assertFalse(avatar.may_relay)

    def test_gives_twisteds_server_what_it_asks_for(self) -> None:
        for avatar_id in (ANONYMOUS, b"joe@here.example"):
            interface, avatar, logout = self.realm.requestAvatar(
                avatar_id, None, IMessageDeliveryFactory, IMessageDelivery
            )
            self.assertIs(interface, IMessageDelivery)
            verifyObject(IMessageDelivery, avatar)
            logout()

    def test_has_nothing_else(self) -> None:
        self.assertRaises(
            NotImplementedError, self.realm.requestAvatar, b"x", FACTS, IDeliveryTransaction
        )
        self.assertRaises(TypeError, self.realm.requestAvatar, b"x", None, ITransactionDelivery)
