"""Delivers to local accounts what comes out of the queue.

Two kinds of mail come this way: copies that a Maildir could not take within the session, and
reports of failure to senders who are local. The recipient is resolved again, because much may have
changed since. Any delivery may be a repetition, because the queue repeats one whose outcome it
could not record: the committer looks for the message first, and what is not protected in this way,
the queueing of an alias's foreign targets, comes last.

Who controls the input: the sender, content and reverse-path; the content was limited when it was
accepted.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from postroom.delivery.committer import Committer
from postroom.delivery.expansion import Route
from postroom.delivery.headers import HeaderScan
from postroom.delivery.maildir_message import MaildirMessage
from postroom.delivery.message_options import Parameters, is_binary, passed_on
from postroom.delivery.routing import Resolved, Router
from postroom.delivery.settings import DeliverySettings
from postroom.delivery.spool import Spool, SpoolArea
from postroom.envelope import NewMessage, Recipient, new_queue_id
from postroom.errors import Refusal, reply_for
from postroom.interfaces import IChunkSource, IContent, ILocalAgent
from postroom.later import result_of
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

DELIVERED: Final = reply(250, "2.1.5", "Delivered to the mailbox")
_log = Logger()

Enqueue = Callable[[NewMessage, IContent], Awaitable[None]]
"""`IQueue.enqueue`, as a callable, because the queue is made after the agent that it uses."""


HandOver = Callable[[NewMessage, IChunkSource], Awaitable[Sequence[Reply]]]
"""Sends a message to the server that keeps the mailboxes; returns a reply for each recipient."""


@implementer(ILocalAgent)
class LocalAgent:
    """Delivers mail from the queue to Maildirs, or to the server that keeps the mailboxes."""

    def __init__(
        self,
        settings: DeliverySettings,
        router: Router,
        committer: Committer,
        spools: SpoolArea,
        enqueue: Enqueue,
        hand_over: HandOver | None = None,
    ) -> None:
        """Create it from parts of `DeliveryServices`.

        Args:
            settings: the site's.
            router: finds where mail goes.
            committer: writes Maildirs.
            spools: where content waits.
            enqueue: queues what aliases send to other servers.
            hand_over: sends mail for accounts to another server; None to write Maildirs.
        """
        self._settings = settings
        self._router = router
        self._committer = committer
        self._spools = spools
        self._enqueue = enqueue
        self._hand_over = hand_over

    def deliver_locally(
        self, message: NewMessage, recipient: Rcpt, source: IChunkSource
    ) -> "Deferred[Reply | None]":
        """See `ILocalAgent`. Never fails: a failure is a reply, 451 or 452 if it was ours.

        RFC 5321 s4.4, s6.1
        """
        return Deferred.fromCoroutine(self._deliver(message, recipient, source))

    async def _deliver(
        self, message: NewMessage, recipient: Rcpt, source: IChunkSource
    ) -> Reply | None:
        resolved: Resolved = await result_of(self._router.resolve(recipient.forward_path))
        if isinstance(resolved, Reply):
            return resolved
        if resolved.foreign or resolved.passes:
            return None
        spool = self._spools.new_spool()
        try:
            await self._store(message, recipient, resolved, source, spool)
        except Exception as error:
            # A refusal is an answer; anything else is unexpected, and goes to the log.
            answer = reply_for(error)
            if not answer.temporary or isinstance(error, Refusal):
                return answer
            _log.failure(
                "{id}: delivery to {recipient} failed",
                id=message.id,
                recipient=str(recipient.forward_path),
            )
            return answer
        finally:
            spool.close()
        return DELIVERED

    async def _store(
        self,
        message: NewMessage,
        recipient: Rcpt,
        route: Route,
        source: IChunkSource,
        spool: Spool,
    ) -> None:
        scan = await self._fill(spool, source)
        content = await result_of(spool.finish())
        if self._hand_over is not None and route.accounts:
            await self._send_to_mailbox_server(message, recipient, route, source, content)
        else:
            await self._write(message, recipient, route, content, scan)
        asked = passed_on(Recipient(recipient, route), route)
        if route.queued:
            await self._queue(message, message.sender, _rcpts(route.queued, asked), content)
        if route.forwarded:
            sender = await self._router.forwarding_sender(message.sender)
            await self._queue(message, sender, _rcpts(route.forwarded, asked), content)

    async def _write(
        self,
        message: NewMessage,
        recipient: Rcpt,
        route: Route,
        content: IContent,
        scan: HeaderScan,
    ) -> None:
        stored = MaildirMessage(
            message.id,
            message.sender,
            message.received_at,
            content,
            scan.return_paths,
            is_binary(message.parameters),
            repeated=True,
        )
        originals = (recipient.forward_path,)
        writes = [stored.write_for(account, originals) for account in route.accounts]
        for outcome in await self._committer.deliver(writes) if writes else ():
            if outcome is not None:
                raise outcome

    async def _send_to_mailbox_server(
        self,
        message: NewMessage,
        recipient: Rcpt,
        route: Route,
        source: IChunkSource,
        content: IContent,
    ) -> None:
        """Send the message to another server; retry apart the accounts that it refuses alone.

        Raises:
            Refusal: it refused all of them.

        RFC 2033 s4.2
        """
        assert self._hand_over is not None
        separator = self._settings.sub_address_separator
        addresses = tuple(account.delivery_address(separator) for account in route.accounts)
        rcpts = _rcpts(addresses, passed_on(Recipient(recipient, route), route))
        replies = await self._hand_over(replace(message, recipients=rcpts), source)
        failed = [
            (rcpt, reply) for rcpt, reply in zip(rcpts, replies, strict=True) if reply.code >= 400
        ]
        if len(failed) == len(rcpts):
            raise Refusal(next((r for _, r in failed if r.temporary), failed[0][1]))
        if failed:
            await self._queue(message, message.sender, tuple(rcpt for rcpt, _ in failed), content)

    async def _queue(
        self,
        message: NewMessage,
        sender: Mailbox | None,
        recipients: tuple[Rcpt, ...],
        content: IContent,
    ) -> None:
        await self._enqueue(
            replace(message, id=new_queue_id(), sender=sender, recipients=recipients), content
        )

    async def _fill(self, spool: Spool, source: IChunkSource) -> HeaderScan:
        """Read the content, once, whatever its size."""
        scan = HeaderScan(self._settings)
        in_header = True
        index = 0
        while chunk := await result_of(source.chunk(index)):
            if in_header:
                in_header = not scan.feed(chunk)
            written = spool.write(chunk)
            if written is not None:
                await written
            index += 1
        if in_header:
            scan.end()
        return scan


def _rcpts(addresses: tuple[Mailbox, ...], parameters: Parameters) -> tuple[Rcpt, ...]:
    """Return the recipients that an alias puts in place of one. RFC 3461 s5.2.7."""
    return tuple(Rcpt(address, parameters) for address in addresses)
