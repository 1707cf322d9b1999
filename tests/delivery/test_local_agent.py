"""Claims about the delivery of queued messages to local accounts."""

import errno
import os
from typing import Any

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from postroom.delivery import batch
from postroom.delivery.headers import TOO_MANY_HOPS
from postroom.delivery.local_agent import DELIVERED, HandOver, LocalAgent
from postroom.delivery.routing import UNKNOWN_USER
from postroom.envelope import NewMessage
from postroom.errors import LOCAL_ERROR
from postroom.interfaces import IChunkSource, ILocalAgent
from postroom.wire.commands import Rcpt
from postroom.wire.replies import Reply, reply
from tests.delivery.support import HEADER, MESSAGE, Chunks, as_lf, box, files_in
from tests.delivery.test_transaction import make_services

QUEUED = b"Received: from x\r\nReturn-Path: <old@x>\r\n" + MESSAGE


class AgentCase(TestCase):
    def setUp(self) -> None:
        self.services = make_services(self)
        self.queue: Any = self.services.queue
        self.agent = self.make_agent()
        verifyObject(ILocalAgent, self.agent)

    def make_agent(self, hand_over: HandOver | None = None) -> LocalAgent:
        services = self.services
        return LocalAgent(
            services.settings,
            services.router,
            services.committer,
            services.spools,
            services.queue.enqueue,
            hand_over,
        )

    async def deliver(
        self,
        address: str,
        *chunks: bytes,
        deferred: bool = False,
        sender: str | None = "a@c.example",
        **parameters: str,
    ) -> Reply | None:
        recipient = Rcpt(box(address))
        message = NewMessage(
            "Q1", box(sender) if sender else None, (recipient,), 1_763_812_987.5, parameters
        )
        source = Chunks(*(chunks or (QUEUED,)), deferred=deferred)
        return await self.agent.deliver_locally(message, recipient, source)

    def new(self, account: str) -> list[bytes]:
        path = f"{self.root}/{account}/new"  # type: ignore[attr-defined]
        return list(files_in(path).values()) if os.path.exists(path) else []


class Delivering(AgentCase):
    async def test_delivers_with_exactly_one_return_path(self) -> None:
        self.assertEqual(await self.deliver("joe@here.example"), DELIVERED)
        self.assertEqual(
            self.new("joe"),
            [
                b"Return-Path: <a@c.example>\nX-Original-To: joe@here.example\n"
                b"Delivered-To: joe@here.example\n"
                b"Received: from x\n" + as_lf(MESSAGE)
            ],
        )

    async def test_a_report_has_an_empty_return_path(self) -> None:
        await self.deliver("joe@here.example", sender=None)
        self.assertTrue(self.new("joe")[0].startswith(b"Return-Path: <>\n"))

    async def test_a_repetition_makes_no_second_copy(self) -> None:
        await self.deliver("joe@here.example")
        await self.deliver("joe@here.example")
        path = f"{self.root}/joe"  # type: ignore[attr-defined]
        (name,) = os.listdir(f"{path}/new")
        os.rename(f"{path}/new/{name}", f"{path}/cur/{name}:2,S")
        self.assertEqual(await self.deliver("joe@here.example"), DELIVERED)
        self.assertEqual(self.new("joe"), [])

    async def test_large_content_comes_piece_by_piece_now_or_later(self) -> None:
        chunks = [HEADER, *(os.urandom(200_000) for _ in range(4))]
        for name, deferred in (("joe", False), ("ann", True)):
            answer = await self.deliver(f"{name}@here.example", *chunks, deferred=deferred)
            self.assertEqual(answer, DELIVERED)
            self.assertTrue(self.new(name)[0].endswith(as_lf(b"".join(chunks))))

    async def test_binary_content_is_stored_unchanged(self) -> None:
        octets = HEADER + b"\0\n\r\r\n"
        await self.deliver("joe@here.example", octets, BODY="BINARYMIME")
        self.assertTrue(self.new("joe")[0].endswith(octets))

    async def test_who_is_not_local_is_left_to_the_relay(self) -> None:
        self.assertIsNone(await self.deliver("x@there.example"))

    async def test_who_is_gone_is_an_unknown_user(self) -> None:
        self.assertEqual(await self.deliver("who@here.example"), UNKNOWN_USER)

    async def test_an_alias_is_followed_home_and_away(self) -> None:
        self.assertEqual(await self.deliver("away@here.example"), DELIVERED)
        self.assertEqual(len(self.new("joe")), 1)
        ((message, octets),) = self.queue.messages
        self.assertEqual((message.recipients, octets), ((Rcpt(box("x@there.example")),), QUEUED))
        self.assertNotEqual(message.id, "Q1")

    async def test_what_is_discarded_is_delivered(self) -> None:
        self.assertEqual(await self.deliver("null@here.example"), DELIVERED)

    async def test_a_failing_maildir_is_temporary_and_forwards_nothing(self) -> None:
        self.patch(batch.os, "fsync", lambda _: self.eio())
        self.assertEqual(await self.deliver("away@here.example"), LOCAL_ERROR)
        self.assertEqual((self.new("joe"), self.queue.messages), ([], []))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def eio(self) -> None:
        raise OSError(errno.EIO, "lost")

    async def test_a_loop_ends_here(self) -> None:
        answer = await self.deliver("joe@here.example", b"Received: x\r\n" * 100)
        self.assertEqual(answer, TOO_MANY_HOPS)

    async def test_a_source_that_fails_is_temporary(self) -> None:
        source = Chunks(QUEUED)
        source.chunk = lambda index: self.eio()  # type: ignore[assignment,method-assign,return-value]
        message = NewMessage("Q1", None, (Rcpt(box("joe@here.example")),), 1.0)
        answer = await self.agent.deliver_locally(message, message.recipients[0], source)
        self.assertEqual(answer, LOCAL_ERROR)
        self.flushLoggedErrors(OSError)


class HandingOver(AgentCase):
    """Mail for accounts goes to the server that keeps the mailboxes. RFC 2033 s4.2."""

    def setUp(self) -> None:
        super().setUp()
        self.handed: list[tuple[list[str], bytes]] = []
        self.answers: dict[str, Reply] = {}

        async def hand_over(message: NewMessage, source: IChunkSource) -> list[Reply]:
            names = [str(rcpt.forward_path) for rcpt in message.recipients]
            first = source.chunk(0)
            self.handed.append((names, first if isinstance(first, bytes) else b""))
            return [self.answers.get(name, DELIVERED) for name in names]

        self.agent = self.make_agent(hand_over)

    async def test_an_account_gets_nothing_here_and_everything_there(self) -> None:
        self.assertEqual(await self.deliver("joe+tag@here.example"), DELIVERED)
        self.assertEqual(self.handed, [(["joe+tag@here.example"], QUEUED)])
        self.assertEqual(self.new("joe"), [])

    async def test_what_the_server_says_is_the_answer(self) -> None:
        for answer in (reply(452, "4.2.2", "Full"), reply(550, "5.1.1", "Unknown there")):
            self.answers["joe@here.example"] = answer
            self.assertEqual(await self.deliver("joe@here.example"), answer)

    async def test_an_account_of_several_that_fails_is_tried_alone(self) -> None:
        self.answers["ann@here.example"] = reply(452, "4.2.2", "Full")
        self.assertEqual(await self.deliver("both@here.example"), DELIVERED)
        ((message, octets),) = self.queue.messages
        self.assertEqual([str(r.forward_path) for r in message.recipients], ["ann@here.example"])
        self.assertEqual(octets, QUEUED)

    async def test_an_alias_still_leads_away(self) -> None:
        self.assertEqual(await self.deliver("away@here.example"), DELIVERED)
        self.assertEqual(self.handed, [(["joe@here.example"], QUEUED)])
        self.assertEqual(len(self.queue.messages), 1)
