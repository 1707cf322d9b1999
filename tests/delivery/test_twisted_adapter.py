"""Claims about deliveries that were written for twisted.mail."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import postroom.delivery.avatars  # noqa: F401  # registers the adapters
from postroom.delivery.twisted_adapter import DELIVERED, TwistedAddress, TwistedDelivery
from postroom.envelope import Envelope, Recipient
from postroom.errors import LOCAL_ERROR, Refusal
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.wire.commands import Mail, Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply
from tests.delivery.support import FACTS, MESSAGE, box


@implementer(IMessageSMTP)
class Message:
    """Keeps its lines; does at any point what it was told to."""

    def __init__(self, delivery: "Delivery", user: smtp.User) -> None:
        self.delivery, self.user = delivery, user
        self.lines: list[bytes] = []
        self.ended = self.lost = 0

    def lineReceived(self, line: bytes) -> object:
        self.delivery.act("lineReceived", self.user)
        self.lines.append(line)
        return self.delivery.give(None)

    def eomReceived(self) -> object:
        self.ended += 1
        self.delivery.act("eomReceived", self.user)
        return self.delivery.eom(self.user)

    def connectionLost(self) -> object:
        self.lost += 1
        self.delivery.act("connectionLost", self.user)
        return self.delivery.give(None)


@implementer(IMessageDelivery)
class Delivery:
    """A delivery like those in the wild; with ``later`` every method answers by a Deferred."""

    header: object = b"Received: by us"

    def __init__(self, later: bool = False) -> None:
        self.later = later
        self.waiting: list[Deferred[None]] = []
        self.errors: dict[tuple[str, bytes | None], Exception] = {}
        self.seen: list[tuple[str, object]] = []
        self.messages: list[Message] = []

    def give(self, value: object) -> object:
        if not self.later:
            return value
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: value)

    def act(self, where: str, user: smtp.User | None) -> None:
        for local in (None, user.dest.local if user is not None else None):
            if (where, local) in self.errors:
                raise self.errors[where, local]

    def validateFrom(self, helo: object, origin: smtp.Address) -> object:
        self.seen.append(("from", (helo, origin)))
        self.act("validateFrom", None)
        return self.give(origin)

    def validateTo(self, user: smtp.User) -> object:
        self.seen.append(("to", user))
        self.act("validateTo", user)
        return self.give(lambda: self.make(user))

    def make(self, user: smtp.User) -> object:
        self.act("make", user)
        message = Message(self, user)
        self.messages.append(message)
        return self.give(message)

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> object:
        self.seen.append(("header", (helo, origin, recipients)))
        return self.give(self.header)

    def eom(self, user: smtp.User) -> object:
        return self.give(None) if self.later else succeed(None)


class TwistedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.delivery = Delivery()

    def now(self, answer: Any) -> Any:
        """Fire everything that waits, then return the result."""
        if not isinstance(answer, Deferred):
            return answer
        results: list[Any] = []
        answer.addBoth(results.append)
        while not results:
            self.assertTrue(self.delivery.waiting, "nothing to wait for, and no result")
            self.delivery.waiting.pop(0).callback(None)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def session(self, sender: str | None = "a@client.example") -> tuple[Any, Envelope]:
        adapted = ITransactionDelivery(self.delivery)
        verifyObject(ITransactionDelivery, adapted)
        made = Envelope("Q1", FACTS, Mail(box(sender) if sender else None))
        return adapted, made

    def begun(self, *recipients: str) -> Any:
        adapted, made = self.session()
        self.assertIsNone(self.now(adapted.validate_sender(made)))
        for address in recipients:
            rcpt = Rcpt(box(address))
            route = self.now(adapted.validate_recipient(made, rcpt))
            self.assertNotIsInstance(route, Reply)
            made.recipients.append(Recipient(rcpt, route))
        transaction = self.now(adapted.begin(made))
        verifyObject(IDeliveryTransaction, transaction)
        return transaction


class AWholeTransaction(TwistedCase):
    def check(self) -> None:
        transaction = self.begun("u@here.example", "v@here.example")
        for octets in (MESSAGE[:5], MESSAGE[5:24], MESSAGE[24:]):
            self.now(transaction.write(octets))
        self.assertEqual(self.now(transaction.commit()), [DELIVERED, DELIVERED])
        for message in self.delivery.messages:
            verifyObject(IMessageSMTP, message)
            self.assertEqual(
                message.lines, [b"Received: by us", *MESSAGE.removesuffix(b"\r\n").split(b"\r\n")]
            )
            self.assertEqual((message.ended, message.lost), (1, 0))

    def test_goes_through_a_delivery_that_answers_at_once(self) -> None:
        self.check()

    def test_goes_through_a_delivery_that_always_answers_later(self) -> None:
        self.delivery.later = True
        self.check()

    def test_is_the_same_for_chunks_of_any_size(self) -> None:
        transaction = self.begun("u@here.example")
        for octet in MESSAGE:
            self.now(transaction.write(bytes((octet,))))
        self.now(transaction.commit())
        self.assertEqual(self.delivery.messages[0].lines[1:], MESSAGE[:-2].split(b"\r\n"))

    def test_waits_for_each_messages_end(self) -> None:
        transaction = self.begun("u@here.example")
        self.delivery.later = True
        done = transaction.commit()
        self.assertNoResult(done)
        self.assertEqual(self.now(done), [DELIVERED])

    def test_waits_where_a_line_is_answered_later(self) -> None:
        transaction = self.begun("u@here.example")
        self.delivery.later = True
        held = transaction.write(MESSAGE)
        self.assertNoResult(held)
        self.now(held)

    def test_a_last_line_without_end_is_a_line(self) -> None:
        transaction = self.begun("u@here.example")
        self.now(transaction.write(b"A: b\r\n\r\nrest"))
        self.now(transaction.commit())
        self.assertEqual(self.delivery.messages[0].lines[1:], [b"A: b", b"", b"rest"])

    def test_a_body_without_header_gets_an_empty_line_before_it(self) -> None:
        transaction = self.begun("u@here.example")
        self.now(transaction.write(b"Hello\r\n"))
        self.assertEqual(self.delivery.messages[0].lines[1:], [b"", b"Hello"])

    def test_mbox_lines_above_the_header_become_fields(self) -> None:
        line = b"From joe@example.org Sat Nov 22 14:03:07 2025"
        for content, expected in (
            (b"%b\r\nSubject: a\r\n\r\nb\r\n" % line, [b"Subject: a", b"", b"b"]),
            (b"%b\r\nno header\r\n" % line, [b"", b"no header"]),
            (b"%b\r\nFr" % line, [b"", b"Fr"]),
        ):
            for size in (1, 7, 1000):
                self.delivery = Delivery()
                transaction = self.begun("u@here.example")
                for start in range(0, len(content), size):
                    self.now(transaction.write(content[start : start + size]))
                self.assertEqual(self.now(transaction.commit()), [DELIVERED])
                self.assertEqual(
                    self.delivery.messages[0].lines,
                    [b"Received: by us", b"X-Mailbox-Line: " + line, *expected],
                )

    def test_a_delivery_may_have_no_received_header(self) -> None:
        self.delivery.header = None
        self.begun("u@here.example")
        self.assertEqual(self.delivery.messages[0].lines, [])

    def test_abort_is_a_lost_connection_once(self) -> None:
        transaction = self.begun("u@here.example", "v@here.example")
        self.now(transaction.write(MESSAGE))
        transaction.abort()
        transaction.abort()
        self.assertEqual([message.lost for message in self.delivery.messages], [1, 1])
        self.assertEqual([message.ended for message in self.delivery.messages], [0, 0])

    def test_abort_does_not_raise(self) -> None:
        transaction = self.begun("u@here.example")
        self.delivery.errors["connectionLost", None] = ValueError()
        transaction.abort()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class WhatDeliveriesSee(TwistedCase):
    def test_twisteds_own_objects(self) -> None:
        self.begun("u@here.example")
        (_, (helo, origin)), (_, user), (_, header) = self.delivery.seen
        self.assertEqual(helo, (b"client.example", b"192.0.2.1"))
        self.assertIsInstance(origin, smtp.Address)
        self.assertEqual((origin.local, origin.domain), (b"a", b"client.example"))
        self.assertIsInstance(user, smtp.User)
        self.assertIsInstance(user.dest, smtp.Address)
        self.assertEqual((str(user), bytes(user)), ("u@here.example", b"u@here.example"))
        self.assertIs(user.orig, origin)
        self.assertEqual(user.helo, helo)
        self.assertEqual(user.protocol.transport.getPeer().host, "192.0.2.1")
        self.assertIs(user.protocol.delivery, self.delivery)
        self.assertIsInstance(user.protocol.host, bytes)
        self.assertEqual(header[:2], (helo, origin))
        self.assertEqual([str(one) for one in header[2]], ["u@here.example"])

    def test_the_null_sender_is_an_empty_address(self) -> None:
        adapted, made = self.session(sender=None)
        self.now(adapted.validate_sender(made))
        ((_, (_, origin)),) = self.delivery.seen
        self.assertEqual((origin.local, origin.domain, str(origin)), (b"", b"", ""))

    def test_addresses_that_twisteds_parser_refuses(self) -> None:
        for text in ("joe@[192.0.2.1]", '"a b"@here.example', '"a@b"@here.example'):
            address = TwistedAddress(box(text), b"mx.example")
            self.assertEqual(bytes(address), text.encode())

    def test_a_bare_postmaster_is_at_our_host(self) -> None:
        self.assertEqual(
            bytes(TwistedAddress(Mailbox(b"postmaster", b""), b"mx.example")),
            b"postmaster@mx.example",
        )

    def test_dequoting_works(self) -> None:
        address = TwistedAddress(box(r'"a b"@here.example'), b"mx.example")
        self.assertEqual(address.dequote(address.local), b"a b")
        self.assertEqual(address.dequote("joe"), b"joe")
        self.begun("u@here.example")
        (user,) = (seen for where, seen in self.delivery.seen if where == "to")
        self.assertEqual(user.dest.dequote(b'"x y"'), b"x y")
        self.assertEqual(address.dequote(rb"a\"b"), b'a"b')

    def test_an_address_can_be_refused_by_name(self) -> None:
        address = TwistedAddress(box("u@here.example"), b"mx.example")
        self.assertEqual(str(smtp.SMTPBadRcpt(address).addr), "u@here.example")

    def test_peers_of_all_kinds(self) -> None:
        for client, host in (("2001:db8::1", "2001:db8::1"), ("192.0.2.1", "192.0.2.1")):
            user = TwistedDelivery(lambda: None)._user(
                Envelope("Q", replace(FACTS, client=client), Mail(None)), box("u@h.example")
            )
            self.assertEqual(user.protocol.transport.getPeer().host, host)
        unix = Envelope("Q", replace(FACTS, client="unix"), Mail(None))
        TwistedDelivery(lambda: None)._user(unix, box("u@h.example")).protocol.transport.getPeer()


class Refusals(TwistedCase):
    def sender(self, error: Exception) -> Any:
        self.delivery.errors["validateFrom", None] = error
        adapted, made = self.session()
        return self.now(adapted.validate_sender(made))

    def recipient(self, error: Exception) -> Any:
        self.delivery.errors["validateTo", b"bad"] = error
        adapted, made = self.session()
        self.now(adapted.validate_sender(made))
        return self.now(adapted.validate_recipient(made, Rcpt(box("bad@here.example"))))

    def test_text_and_octets_are_the_same(self) -> None:
        for resp in ("no\nthanks", b"no\nthanks"):
            self.assertEqual(
                self.recipient(smtp.SMTPServerError(552, resp)), reply(552, "5.0.0", "no", "thanks")
            )

    def test_bad_recipients_and_senders(self) -> None:
        bad = smtp.SMTPBadRcpt(b"bad@here.example", 550, "nobody")
        self.assertEqual(self.recipient(bad), reply(550, "5.1.1", "nobody"))
        bad = smtp.SMTPBadSender(b"a@client.example", 450, b"later")
        self.assertEqual(self.sender(bad), reply(450, "4.1.8", "later"))

    def test_an_address_error_is_about_the_address(self) -> None:
        self.assertEqual(self.recipient(smtp.AddressError("odd")).code, 553)

    def test_a_refusal_of_ours_is_taken_as_it_is(self) -> None:
        mine = reply(450, "4.7.1", "Greylisted")
        self.assertEqual(self.recipient(Refusal(mine)), mine)

    def test_any_other_failure_is_temporary_and_logged(self) -> None:
        for ask in (self.sender, self.recipient):
            self.assertEqual(ask(ZeroDivisionError()), LOCAL_ERROR)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.delivery.errors.clear()

    def test_a_failed_deferred_is_a_raised_exception(self) -> None:
        self.patch(
            self.delivery,
            "validateTo",
            lambda user: fail(smtp.SMTPBadRcpt(user)),
        )
        adapted, made = self.session()
        self.now(adapted.validate_sender(made))
        answer = self.now(adapted.validate_recipient(made, Rcpt(box("u@here.example"))))
        self.assertEqual((answer.code, answer.enhanced), (550, "5.1.1"))

    def test_a_code_that_refuses_nothing_is_our_fault(self) -> None:
        self.assertEqual(self.recipient(smtp.SMTPServerError(250, "fine")), LOCAL_ERROR)

    def test_something_that_makes_no_message_is_our_fault(self) -> None:
        self.patch(self.delivery, "validateTo", lambda _: None)
        adapted, made = self.session()
        self.now(adapted.validate_sender(made))
        self.assertEqual(
            self.now(adapted.validate_recipient(made, Rcpt(box("u@here.example")))), LOCAL_ERROR
        )

    def test_data_is_refused_and_messages_made_so_far_are_lost(self) -> None:
        self.delivery.errors["make", b"v"] = smtp.SMTPServerError(552, b"full")
        error = self.assertRaises(Refusal, self.begun, "u@here.example", "v@here.example")
        self.assertEqual(error.reply, reply(552, "5.0.0", "full"))
        self.assertEqual([message.lost for message in self.delivery.messages], [1])


class OutcomesOfRecipients(TwistedCase):
    def test_one_that_fails_at_a_line_is_lost_and_the_other_goes_on(self) -> None:
        transaction = self.begun("u@here.example", "v@here.example")
        self.delivery.errors["lineReceived", b"u"] = smtp.SMTPServerError(552, "full")
        self.now(transaction.write(MESSAGE))
        self.assertEqual(self.now(transaction.commit()), [reply(552, "5.0.0", "full"), DELIVERED])
        first, second = self.delivery.messages
        self.assertEqual((first.lost, first.ended), (1, 0))
        self.assertEqual((second.lost, second.ended), (0, 1))
        self.assertEqual(second.lines[1:], MESSAGE[:-2].split(b"\r\n"))

    def test_one_that_fails_at_the_end(self) -> None:
        transaction = self.begun("u@here.example", "v@here.example")
        self.delivery.errors["eomReceived", b"v"] = ValueError()
        self.now(transaction.write(MESSAGE))
        self.assertEqual(self.now(transaction.commit()), [DELIVERED, LOCAL_ERROR])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_one_that_fails_later(self) -> None:
        transaction = self.begun("u@here.example", "v@here.example")
        results = [fail(smtp.SMTPServerError(450, "busy")), succeed(None)]
        self.patch(self.delivery, "eom", lambda _: results.pop(0))
        self.now(transaction.write(MESSAGE))
        self.assertEqual(self.now(transaction.commit()), [reply(450, "4.0.0", "busy"), DELIVERED])


class Adapting(TwistedCase):
    def test_a_factory_is_asked_for_each_message(self) -> None:
        made: list[Delivery] = []

        @implementer(IMessageDeliveryFactory)
        class Factory:
            def getMessageDelivery(self) -> object:
                made.append(Delivery())
                return succeed(made[-1])

        adapted = ITransactionDelivery(Factory())
        for _ in range(2):
            self.now(adapted.validate_sender(Envelope("Q1", FACTS, Mail(None))))
        self.assertEqual([len(one.seen) for one in made], [1, 1])

    def test_twisteds_smtp_is_not_loaded_before_it_is_needed(self) -> None:
        program = (
            "import sys, postroom.delivery.avatars, postroom.delivery.local_agent\n"
            "sys.exit('twisted.mail.smtp' in sys.modules)"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
        self.assertEqual(done.returncode, 0)
