"""What senders ask for beside delivery: holds, priorities, reports of success, TLS."""

import os
from dataclasses import replace
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.session_delivery import SessionDelivery
from postroom.delivery.trace import received_field
from postroom.envelope import Action, Envelope, Notice, Recipient, Trait
from postroom.wire.commands import Rcpt
from postroom.wire.paths import parse_mailbox
from postroom.wire.replies import Reply
from tests.delivery.support import FACTS, HEADER, MESSAGE, TLS, box, envelope
from tests.delivery.test_headers import scan
from tests.delivery.test_transaction import NOW, MessageCase, addresses_of


class WishCase(MessageCase):
    async def give(
        self,
        *rcpts: Rcpt,
        user: str | None = "ann@here.example",
        content: bytes = MESSAGE,
        **mail: Any,
    ) -> list[Reply]:
        """Send a message from a user, or from a stranger."""
        made: Envelope = envelope(**mail)
        for rcpt in rcpts:
            route = self.services.router.resolve(rcpt.forward_path)
            made.recipients.append(Recipient(rcpt, route))
        transaction = SessionDelivery(self.services, FACTS, user).begin(made)
        transaction = await maybeDeferred(lambda: transaction)
        transaction.write(content)
        replies: list[Reply] = await maybeDeferred(transaction.commit)
        return replies

    def told(self) -> list[Notice]:
        return [notice for _, _, notices in self.queue.notices for notice in notices]


def asking(address: str, notify: str = "SUCCESS", **more: str) -> Rcpt:
    return Rcpt(box(address), {"NOTIFY": notify, **more})


class SuccessTests(WishCase):
    """Tests for reports of what happens within the session. RFC 3461 s5.2.3, s5.2.7."""

    async def test_a_mailbox_is_told_of_when_the_message_is_in_it(self) -> None:
        rcpt = asking("joe@here.example", ORCPT="rfc822;j@old.example")
        await self.give(rcpt, asking("ann@here.example", "FAILURE"), Rcpt(box("bob@here.example")))
        ((message, header, (notice,)),) = self.queue.notices
        self.assertEqual((notice.rcpt, notice.action), (rcpt, Action.DELIVERED))
        self.assertEqual(notice.status, "2.1.5")
        self.assertEqual(str(message.sender), "a@client.example")
        self.assertEqual(header, HEADER.removesuffix(b"\r\n"))

    async def test_a_stranger_is_told_nothing(self) -> None:
        await self.give(asking("joe@here.example"), user=None)
        await self.give(asking("joe@here.example"), sender=None)
        await self.give(asking("joe@here.example", "NEVER"))
        self.assertEqual(self.told(), [])

    async def test_several_targets_are_one_expansion_and_tell_nothing_more(self) -> None:
        await self.give(asking("away@here.example", "SUCCESS,FAILURE"))
        (notice,) = self.told()
        self.assertEqual(notice.action, Action.EXPANDED)
        self.assertEqual(str(notice.rcpt.forward_path), "away@here.example")
        ((message, _),) = self.queue.messages
        (rcpt,) = message.recipients
        self.assertEqual(rcpt.parameters, {"NOTIFY": "FAILURE"})
        await self.give(asking("away@here.example"))
        self.assertEqual(self.queue.messages[1][0].recipients[0].parameters, {"NOTIFY": "NEVER"})

    async def test_others_keep_what_was_asked(self) -> None:
        rcpt = asking("x@there.example", "SUCCESS", ORCPT="rfc822;x@there.example")
        await self.give(rcpt)
        ((message, _),) = self.queue.messages
        self.assertEqual(message.recipients, (rcpt,))
        self.assertEqual(self.told(), [])

    async def test_a_mailbox_that_fails_for_now_is_told_of_by_the_queue(self) -> None:
        open(f"{self.root}/joe", "wb").close()  # no directory
        rcpt = asking("joe@here.example")
        await self.give(rcpt)
        self.assertEqual(self.told(), [])
        ((message, _),) = self.queue.messages
        self.assertEqual(message.recipients, (rcpt,))
        self.assertTrue(message.traits & Trait.TRUSTED)

    async def test_a_report_that_cannot_be_queued_changes_no_answer(self) -> None:
        self.queue.failures = [OSError("full")]
        (answer,) = await self.give(asking("joe@here.example"))
        self.assertEqual(answer.code, 250)
        self.flushLoggedErrors(OSError)


class EnvelopeTests(WishCase):
    """Tests for what the queue is told."""

    async def test_a_message_that_is_held_reaches_nobody_before_the_queue_says_so(self) -> None:
        for mail, until in (
            ({"HOLDFOR": "60"}, NOW + 60),
            ({"HOLDUNTIL": "2030-01-01T00:00:00Z"}, 1_893_456_000.0),
        ):
            self.queue.messages.clear()
            await self.give(asking("joe@here.example"), Rcpt(box("x@there.example")), **mail)
            ((message, _),) = self.queue.messages
            self.assertEqual(message.held_until, until)
            self.assertCountEqual(addresses_of(message), ["joe@here.example", "x@there.example"])
            self.assertEqual(message.recipients[1].parameters, {"NOTIFY": "SUCCESS"})
        self.assertEqual(self.told(), [])
        self.assertFalse(os.path.exists(f"{self.root}/joe"))

    async def test_where_another_server_keeps_the_mailboxes_all_is_queued(self) -> None:
        settings = replace(self.services.settings, hands_over=True)
        self.services = replace(self.services, settings=settings)
        await self.give(asking("joe+tag@here.example"), user=None)
        ((message, _),) = self.queue.messages
        self.assertEqual(message.recipients, (asking("joe+tag@here.example"),))
        self.assertIsNone(message.held_until)
        self.assertFalse(os.path.exists(f"{self.root}/joe"))

    async def test_priority_counts_upwards_only_for_who_may_relay(self) -> None:
        for user, value, priority in (
            ("ann@here.example", "4", 4),
            ("ann@here.example", "-4", -4),
            (None, "4", 0),
            (None, "-4", -4),
        ):
            self.queue.messages.clear()
            await self.give(Rcpt(box("x@there.example")), user=user, **{"MT-PRIORITY": value})
            self.assertEqual(self.queue.messages[0][0].priority, priority)

    async def test_all_parameters_but_the_size_are_kept(self) -> None:
        sent = {"SIZE": "9", "BODY": "8BITMIME", "RET": "HDRS", "ENVID": "x", "AUTH": "<>"}
        await self.give(Rcpt(box("x@there.example")), **sent)
        del sent["SIZE"]
        self.assertEqual(self.queue.messages[0][0].parameters, sent)

    async def test_what_the_header_says_is_known(self) -> None:
        for field, traits in (
            (b"Subject: x\r\n", Trait.TRUSTED),
            ("Subject: ü\r\n".encode(), Trait.TRUSTED | Trait.UTF8_HEADER),
            (b"TLS-Required: No\r\n", Trait.TRUSTED | Trait.TLS_OPTIONAL),
        ):
            self.queue.messages.clear()
            await self.give(Rcpt(box("x@there.example")), content=field + b"\r\nbody\r\n")
            self.assertEqual(self.queue.messages[0][0].traits, traits)


class TLSRequiredTests(SynchronousTestCase):
    """Tests for the field, in chunks of any size. RFC 8689 s3."""

    def test_it_is_no_once_or_nothing(self) -> None:
        for header, optional in (
            (b"TLS-Required: No\r\n", True),
            (b"A: b\r\ntls-required :\r\n\tnO \r\nC: d\r\n", True),
            (b"TLS-Required: Yes\r\n", False),
            (b"TLS-Required: No way\r\n", False),
            (b"TLS-Required: No\r\nTLS-Required: No\r\n", False),
            (b"X-TLS-Required: No\r\n", False),
        ):
            for size in (1, 3, 1000):
                reader = scan(header + b"\r\nTLS-Required: No\r\n", size)
                self.assertIs(reader.tls_optional, optional, header)

    def test_a_header_is_ascii_or_not(self) -> None:
        for size in (1, 1000):
            self.assertFalse(scan("A: b\r\n\r\nü\r\n".encode(), size).eight_bit)
            self.assertTrue(scan("A: ü\r\n\r\nb\r\n".encode(), size).eight_bit)


class ReceivedTests(SynchronousTestCase):
    """Tests for what Received says of extensions. RFC 6531 s3.7.3; RFC 6710 s4.1."""

    def received(self, only: str = "u@h.example", **parameters: str | None) -> str:
        facts = replace(FACTS, tls=TLS, identity="joe@here.example")
        mailbox = parse_mailbox(only.encode())
        return received_field(facts, "mx.here.example", "Q1", mailbox, NOW, parameters).decode()

    def test_the_protocol_tells_of_utf8(self) -> None:
        self.assertIn(" with ESMTPSA id ", self.received())
        self.assertIn(" with UTF8SMTPSA id ", self.received(SMTPUTF8=None))

    def test_an_address_is_shown_as_the_header_can_hold_it(self) -> None:
        self.assertIn("for <jörg@h.example>", self.received("jörg@h.example", SMTPUTF8=None))
        text = self.received("jörg@h.example")
        self.assertTrue(text.isascii())
        self.assertNotIn("for <", text)

    def test_the_priority_is_a_clause_behind_the_recipient(self) -> None:
        unfolded = " ".join(self.received(**{"MT-PRIORITY": "-3"}).split())
        self.assertIn("for <u@h.example> PRIORITY -3; ", unfolded)
