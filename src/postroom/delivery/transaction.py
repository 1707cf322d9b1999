"""One message's way into Maildirs and the queue.

Theory: content goes into a `Spool`, after its header section was checked for loops and limits. At
the commit the Maildir files go to the committer and the rest to the queue, both at once, and both
are awaited. What is forwarded off-site is queued as a message of its own, because it has another
reverse-path (`postroom.delivery.srs`).

One answer has to be true for all recipients, for SMTP has only one, so a commit ends in one of two
ways:

- *Everything is stored*: 250. A Maildir that fails for now does not stop that: its copy is queued
  for the account's own address, and the queue tries the Maildir again. It is queued under an id of
  its own if the queue holds the message's id already, for other recipients. A full mailbox is
  treated in the same way. If all mailboxes that the message is for are full, it is refused instead,
  and no report of failure will have to be sent.
- *Something could not be stored at all*: 4yz, and the copies in Maildirs are withdrawn, so that
  the peer's next attempt makes no second one. That is a best effort, for a reader may have been
  faster, and what is queued stays queued: a message may be delivered twice, never lost.

Who controls the input: the peer, envelope and content; the directory, paths and aliases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.delivery.batch import MaildirWrite, Outcome
from postroom.delivery.completion import Completion
from postroom.delivery.copies import Copies
from postroom.delivery.headers import HeaderScan
from postroom.delivery.mailbox_lines import MailboxLines
from postroom.delivery.maildir_message import MaildirMessage
from postroom.delivery.message_options import (
    held_until,
    is_binary,
    notices_of_success,
    priority_of,
    traits_of,
    wants_success,
)
from postroom.delivery.over_quota_replies import full_recipients, key_of, reached_by_others
from postroom.delivery.quotas import OverQuota
from postroom.delivery.services import DeliveryServices
from postroom.delivery.spool import PrefixedContent
from postroom.delivery.trace import (
    received_field,
)
from postroom.envelope import Account, Envelope, NewMessage, new_queue_id
from postroom.errors import LOCAL_ERROR, reply_for
from postroom.interfaces import (
    IContent,
    IDeliveryTransaction,
)
from postroom.later import chain, result_of
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

_MESSAGE: Final = (
    "{id}: from=<{sender}> to={recipients} size={size} client={client} tls={tls}"
    " identity={identity} result={result}"
)
_MESSAGE_FORWARDED: Final = _MESSAGE + " forwarded={forwarded}"
_log = Logger()


@implementer(IDeliveryTransaction)
class DiscardedMessage:
    """A message whose recipients are all aliases for ``discard:``: nothing of it is kept."""

    def __init__(self, envelope: Envelope) -> None:
        """Create it; nothing will be stored."""
        self._envelope = envelope
        self._octets = 0

    def write(self, chunk: bytes) -> None:
        """Count, for the log."""
        self._octets += len(chunk)

    def commit(self) -> Sequence[Reply]:
        """See `IDeliveryTransaction`: there is nothing to wait for."""
        answer = queued_as(self._envelope.id)
        log_message(self._envelope, self._octets, answer)
        return [answer] * len(self._envelope.recipients)

    def abort(self) -> None:
        """See `IDeliveryTransaction`."""


@implementer(IDeliveryTransaction)
class MessageTransaction:
    """A message on its way to Maildirs, the queue, or both."""

    def __init__(
        self,
        services: DeliveryServices,
        envelope: Envelope,
        copies: Copies,
        forwarding_sender: Mailbox | None,
        trusted: bool = False,
        completion: Completion | None = None,
    ) -> None:
        """Create it, before the content.

        Args:
            services: shared.
            envelope: complete.
            copies: who gets one.
            forwarding_sender: the reverse-path of what is forwarded off-site.
            trusted: True if the session may relay.
            completion: what is added to the header; None for nothing.
        """
        self._services = services
        self._envelope = envelope
        self._copies = copies
        self._forwarding_sender = forwarding_sender
        self._completion = completion
        self._spool = services.spools.new_spool()
        self._mailbox_lines: MailboxLines | None = MailboxLines()
        self._scan = HeaderScan(services.settings)
        self._in_header = True
        self._received_at = services.now()
        self._trusted = trusted
        self._held_until = held_until(envelope.mail.parameters, self._received_at)

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """See `IDeliveryTransaction`.

        Raises:
            Refusal: 552 5.3.4 the header section is too large, 554 5.4.6 a loop.
            OSError: the spool failed: 451 or 452.
        """
        if self._mailbox_lines is not None:
            chunk = self._mailbox_lines.feed(chunk)
            if self._mailbox_lines.over:
                self._mailbox_lines = None
            if not chunk:
                return None
        return self._keep(chunk)

    def _keep(self, chunk: bytes) -> "Deferred[None] | None":
        if self._in_header:
            self._in_header = not self._scan.feed(chunk)
        return self._spool.write(chunk)

    def abort(self) -> None:
        """See `IDeliveryTransaction`."""
        self._spool.close()

    def commit(self) -> "Deferred[Sequence[Reply]]":
        """See `IDeliveryTransaction`.

        RFC 5321 s4.2.5, s6.1
        """
        try:
            rest = self._mailbox_lines.end() if self._mailbox_lines is not None else b""
            if rest:
                self._keep(rest)
            if self._in_header:
                self._scan.end()
            content = self._spool.finish()
        except BaseException:
            self._spool.close()
            raise
        store: Callable[..., Any] = chain  # whose types are too many for maybeDeferred's
        stored: Deferred[Sequence[Reply]] = maybeDeferred(store, content, self._store)
        return stored.addBoth(self._finish)

    def _finish(self, result: "Sequence[Reply] | Failure") -> "Sequence[Reply] | Failure":
        if isinstance(result, Failure):
            answer = reply_for(result.value) if result.value is not None else LOCAL_ERROR
        else:
            answer = result[0]
        log_message(self._envelope, self._spool.size_octets, answer)
        self._spool.close()
        return result

    def _store(self, content: IContent) -> "Deferred[Sequence[Reply]]":
        envelope, settings = self._envelope, self._services.settings
        only = envelope.recipients[0].rcpt.forward_path if len(envelope.recipients) == 1 else None
        received = received_field(
            envelope.session,
            settings.hostname,
            envelope.id,
            only,
            self._received_at,
            envelope.mail.parameters,
        )
        if self._completion is not None:
            section = self._scan.section
            received += self._completion.missing_fields(section, envelope.id, self._received_at)
        if self._scan.headless:
            # Below our fields the first lines of a bare body would count as header, and be hidden.
            received += b"\r\n"
        if self._held_until is not None or settings.hands_over:
            return Deferred.fromCoroutine(self._queue_all(PrefixedContent(received, content)))
        stored_message = MaildirMessage(
            envelope.id,
            envelope.mail.reverse_path,
            self._received_at,
            content,
            self._scan.return_paths,
            is_binary(envelope.mail.parameters),
            received,
        )
        originals = self._copies.originals
        writes = [
            stored_message.write_for(account, originals[account.address])
            for account in self._copies.accounts
        ]
        # The usual message has Maildirs only, and one Deferred is all it costs.
        if not (self._copies.queued or self._copies.forwarded):
            stored = self._services.committer.deliver(writes)
            return stored.addCallback(self._check, writes, PrefixedContent(received, content))
        return Deferred.fromCoroutine(
            self._store_and_queue(writes, PrefixedContent(received, content))
        )

    def _check(
        self, outcomes: Sequence[Outcome], writes: Sequence[MaildirWrite], content: IContent
    ) -> "Sequence[Reply] | Deferred[Sequence[Reply]]":
        if outcomes.count(None) == len(outcomes):
            return self._stored(outcomes)
        return Deferred.fromCoroutine(self._queue_failed(outcomes, writes, content))

    async def _store_and_queue(
        self, writes: Sequence[MaildirWrite], content: IContent
    ) -> Sequence[Reply]:
        queueing = Deferred.fromCoroutine(self._queue_copies(content))
        outcomes = await self._services.committer.deliver(writes) if writes else ()
        try:
            await queueing
        except Exception:
            await self._withdraw(outcomes, writes)
            raise
        if outcomes.count(None) != len(outcomes):
            return await self._queue_failed(outcomes, writes, content)
        return await result_of(self._stored(outcomes))

    async def _queue_all(self, content: IContent) -> Sequence[Reply]:
        """Queue all copies: the message is held, or another server keeps the mailboxes.

        RFC 4865 s4
        """
        copies = self._copies
        mine = tuple(self._rcpt_of(account) for account in copies.accounts)
        self._copies = replace(copies, accounts=(), queued=copies.queued + mine)
        await self._queue_copies(content)
        return self._replies()

    async def _queue_copies(self, content: IContent) -> None:
        """Queue what is not for a Maildir; what is forwarded is a message with another sender."""
        copies, queue_id = self._copies, self._envelope.id
        sender = self._envelope.mail.reverse_path
        if not copies.forwarded:
            await self._enqueue(queue_id, sender, copies.queued, content)
            return
        if not copies.queued:
            await self._enqueue(queue_id, self._forwarding_sender, copies.forwarded, content)
            return
        queueing = self._enqueue(queue_id, sender, copies.queued, content)
        try:
            await self._enqueue(new_queue_id(), self._forwarding_sender, copies.forwarded, content)
        finally:
            await queueing  # even if the other failed: the content is read until then

    async def _queue_failed(
        self, outcomes: Sequence[Outcome], writes: Sequence[MaildirWrite], content: IContent
    ) -> Sequence[Reply]:
        """Queue what Maildirs refused, or fail.

        Raises:
            OverQuota: all mailboxes that the message is for are full, so it is stored nowhere.
            Exception: the first Maildir's failure, when nothing else helped.
        """
        failed = [
            (account, outcome)
            for account, outcome in zip(self._copies.accounts, outcomes, strict=True)
            if outcome is not None
        ]
        used = self._copies.queued or self._copies.forwarded
        if not used and all(isinstance(outcome, OverQuota) for outcome in outcomes):
            raise failed[0][1]
        # Where each recipient has an answer of its own (LMTP, PRDR), the full ones are refused.
        refused = full_recipients(self._envelope, failed)
        if refused:
            reached = reached_by_others(self._envelope, refused)
            failed = [each for each in failed if key_of(each[0]) in reached]
        for account, outcome in failed:
            _log.warn(
                "{id}: the Maildir of {account} failed: {error}; trying the queue",
                id=self._envelope.id,
                account=account.address,
                error=str(outcome),
            )
        # The queue may hold the message's id already, for its other recipients.
        queue_id = new_queue_id() if used else self._envelope.id
        rcpts = tuple(self._rcpt_of(account) for account, _ in failed)
        try:
            if rcpts:
                await self._enqueue(queue_id, self._envelope.mail.reverse_path, rcpts, content)
        except Exception as error:
            await self._withdraw(outcomes, writes)
            raise failed[0][1] from error
        replies = await result_of(self._stored(outcomes))
        return [refused.get(place, each) for place, each in enumerate(replies)]

    def _rcpt_of(self, account: Account) -> Rcpt:
        """Return RCPT for an account's copy, with the parameters of its recipient."""
        key = key_of(account)
        address = account.delivery_address(self._services.settings.sub_address_separator)
        return Rcpt(address, self._copies.parameters.get(key, {}))

    def _enqueue(
        self,
        queue_id: str,
        sender: Mailbox | None,
        recipients: tuple[Rcpt, ...],
        content: IContent,
    ) -> "Deferred[None]":
        message = self._message(queue_id, sender, recipients)
        return maybeDeferred(self._services.queue.enqueue, message, content)

    def _message(
        self, queue_id: str, sender: Mailbox | None, recipients: tuple[Rcpt, ...]
    ) -> NewMessage:
        parameters = self._envelope.mail.parameters
        return NewMessage(
            queue_id,
            sender,
            recipients,
            self._received_at,
            _without_size(parameters) if parameters else {},
            self._envelope.session.identity,
            priority_of(parameters, self._trusted),
            self._held_until,
            traits_of(self._scan, self._trusted),
        )

    def _stored(self, outcomes: Sequence[Outcome]) -> "Sequence[Reply] | Deferred[Sequence[Reply]]":
        """Return the replies, once the reports of success that were asked for are queued."""
        envelope = self._envelope
        if not self._trusted or envelope.mail.reverse_path is None:
            return self._replies()
        if not any(wants_success(recipient.rcpt) for recipient in envelope.recipients):
            return self._replies()
        accounts = zip(self._copies.accounts, outcomes, strict=True)
        have = [account.address for account, outcome in accounts if outcome is None]
        return Deferred.fromCoroutine(self._tell_success(have))

    async def _tell_success(self, have: Sequence[str]) -> Sequence[Reply]:
        """Queue the reports; without them the message is stored all the same."""
        envelope = self._envelope
        message = self._message(envelope.id, envelope.mail.reverse_path, ())
        for notices in notices_of_success(envelope, have).values():
            try:
                await maybeDeferred(
                    self._services.queue.notify, message, self._scan.section, notices
                )
            except Exception:
                _log.failure("{id}: a report of success could not be queued", id=envelope.id)
        return self._replies()

    async def _withdraw(self, outcomes: Sequence[Outcome], writes: Sequence[MaildirWrite]) -> None:
        stored = [w for w, outcome in zip(writes, outcomes, strict=True) if outcome is None]
        if stored:
            await self._services.committer.withdraw(stored)

    def _replies(self) -> Sequence[Reply]:
        return [queued_as(self._envelope.id)] * len(self._envelope.recipients)


def _without_size(parameters: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return the parameters without SIZE: our trace fields have made it untrue."""
    return {keyword: value for keyword, value in parameters.items() if keyword != "SIZE"}


def queued_as(queue_id: str) -> Reply:
    """Return the reply to a message that is stored, with the id to ask about.

    RFC 5321 s4.2.5
    """
    return reply(250, "2.0.0", f"Ok: queued as {queue_id}")


def log_message(envelope: Envelope, size_octets: int, result: Reply) -> None:
    """Log that a message came in, or did not; the one event for it.

    The format is for people; the keyed fields are what structured logs carry.
    """
    session = envelope.session
    _log.info(
        _MESSAGE_FORWARDED if session.forwarded else _MESSAGE,
        id=envelope.id,
        sender=str(envelope.mail.reverse_path or ""),
        recipients=[str(recipient.rcpt.forward_path) for recipient in envelope.recipients],
        size=size_octets,
        client=session.client,
        forwarded=session.forwarded,
        tls=str(session.tls) if session.tls is not None else None,
        identity=session.identity,
        result=str(result),
    )
