"""The recipients that this process works on, and until when.

A recipient is listed here from the moment it is claimed until the store has recorded its outcome.
In between it gets exactly one outcome:

    added --settled--> waits for its commit --recorded--> gone
      |
      +--forgotten (lease lost or expired, or an unexpected exception)--> gone, with no outcome

Only a recipient that is listed for the very claim that a piece of work belongs to may get an
outcome (`ours`): work that ends after the claim was forgotten, or was settled otherwise, changes
nothing. A recipient that is listed is not added twice (`fresh`). The store may claim it again: when
the clock is set ahead, all leases seem to have expired.

Leases of what has no outcome yet are renewed once half of their time is over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from twisted.logger import Logger

from postroom.envelope import NewMessage
from postroom.queue.model import ClaimedMessage, ClaimedRecipient, Done, IQueueStore, Retry
from postroom.queue.sources import Source

Outcomes = Sequence[Done | Retry]

_RENEW_AT_ONCE: Final = 1000
_log = Logger()


@dataclass(slots=True, eq=False)
class Claim:
    """A message, or some of its recipients, that this process works on.

    Attributes:
        message: its recipients are those claimed.
        recipients: the same with their keys.
        source: its content; closed with the last outcome.
        lease_until: POSIX time when the lease ends.
        lease_seconds: how long the lease was at first.
        open: how many of its recipients have no outcome yet.
        fetched: True if it came out of the store, False if it was just accepted or made.
    """

    message: NewMessage
    recipients: Sequence[ClaimedRecipient]
    source: Source
    lease_until: float
    lease_seconds: float
    open: int
    fetched: bool


class Claims:
    """The claims of this process.

    Attributes:
        fetched: how many recipients without an outcome came out of the store.
    """

    def __init__(self, store: IQueueStore, now: Callable[[], float]) -> None:
        """Create it without claims.

        Args:
            store: where leases are made longer.
            now: POSIX time.
        """
        self.fetched = 0
        self._store = store
        self._now = now
        # None stands for a recipient that has its outcome and waits for the commit.
        self._held: dict[tuple[str, int], Claim | None] = {}

    @property
    def empty(self) -> bool:
        """True if nothing is worked on and nothing waits for its commit."""
        return not self._held

    def add(self, claimed: ClaimedMessage, source: Source, fetched: bool) -> Claim:
        """Add a message, none of whose recipients is in a claim here."""
        recipients = claimed.recipients
        until = claimed.lease_until
        lease_seconds = until - self._now()
        claim = Claim(
            claimed.message, recipients, source, until, lease_seconds, len(recipients), fetched
        )
        for recipient in recipients:
            self._held[recipient.message_id, recipient.number] = claim
        if fetched:
            self.fetched += len(recipients)
        return claim

    def fresh(self, claimed: ClaimedMessage) -> ClaimedMessage | None:
        """Return a message without recipients that are listed already; None if all are."""
        recipients = []
        for recipient in claimed.recipients:
            key = recipient.message_id, recipient.number
            if key not in self._held:
                recipients.append(recipient)
            elif (claim := self._held[key]) is not None:
                claim.lease_until = claimed.lease_until
        if len(recipients) == len(claimed.recipients):
            return claimed
        return (
            _part(claimed.message, recipients, claimed.size_octets, claimed.lease_until)
            if recipients
            else None
        )

    def owns(self, claim: Claim, recipient: ClaimedRecipient) -> bool:
        """Return whether a recipient of a claim may get an outcome."""
        return self._held.get((recipient.message_id, recipient.number)) is claim

    def ours(
        self, claim: Claim, recipients: Sequence[ClaimedRecipient]
    ) -> Sequence[ClaimedRecipient]:
        """Return those recipients of a claim that may get an outcome."""
        held = self._held
        return [r for r in recipients if held.get((r.message_id, r.number)) is claim]

    def settled(self, claim: Claim, outcomes: Outcomes) -> None:
        """Note that recipients, which must be `ours`, have their outcomes."""
        for outcome in outcomes:
            self._held[outcome.recipient.message_id, outcome.recipient.number] = None
        self._finish(claim, len(outcomes))

    def recorded(self, outcomes: Outcomes) -> None:
        """Note that outcomes were committed."""
        for outcome in outcomes:
            self._held.pop((outcome.recipient.message_id, outcome.recipient.number), None)

    def forget(self, claim: Claim, recipients: Sequence[ClaimedRecipient]) -> None:
        """Remove recipients; whoever claims them next works on them."""
        ours = self.ours(claim, recipients)
        for recipient in ours:
            del self._held[recipient.message_id, recipient.number]
        self._finish(claim, len(ours))

    def unsettled(self) -> Mapping[Claim, Sequence[ClaimedRecipient]]:
        """Yield what has no outcome yet."""
        claims = {claim for claim in self._held.values() if claim is not None}
        return {claim: self.ours(claim, claim.recipients) for claim in claims}

    async def renew(self) -> None:
        """Renew the leases whose half is over; forget what is no longer ours.

        Raises:
            OSError: the store could not; leases that it had not renewed stay as they are.
        """
        now = self._now()
        due = [
            (claim, recipients)
            for claim, recipients in self.unsettled().items()
            if claim.lease_until - now < claim.lease_seconds / 2
        ]
        for start in range(0, len(due), _RENEW_AT_ONCE):
            part = due[start : start + _RENEW_AT_ONCE]
            asked = [
                _part(claim.message, recipients, claim.source.size_octets, claim.lease_until)
                for claim, recipients in part
            ]
            renewed = await self._store.renew(asked, now)
            until = {(r.message_id, r.number): m.lease_until for m in renewed for r in m.recipients}
            for claim, recipients in part:
                self._renewed(claim, recipients, until, now)

    def _renewed(
        self,
        claim: Claim,
        recipients: Sequence[ClaimedRecipient],
        until: Mapping[tuple[str, int], float],
        now: float,
    ) -> None:
        lost = []
        for recipient in recipients:
            key = recipient.message_id, recipient.number
            if key in until:
                claim.lease_until = until[key]
                claim.lease_seconds = until[key] - now
            else:
                lost.append(recipient)
        if self.ours(claim, lost):
            _log.warn("{id}: the lease was lost, or it was removed", id=claim.message.id)
            self.forget(claim, lost)

    def _finish(self, claim: Claim, recipients: int) -> None:
        claim.open -= recipients
        if claim.fetched:
            self.fetched -= recipients
        if claim.open == 0:
            claim.source.close()


def message_for(claim: Claim, recipients: Sequence[ClaimedRecipient]) -> NewMessage:
    """Return a claim's message for some of its recipients; the message itself if they are all."""
    if len(recipients) == len(claim.recipients):
        return claim.message
    return replace(claim.message, recipients=tuple(r.rcpt for r in recipients))


def _part(
    message: NewMessage,
    recipients: Sequence[ClaimedRecipient],
    size_octets: int,
    lease_until: float,
) -> ClaimedMessage:
    rcpts = tuple(recipient.rcpt for recipient in recipients)
    return ClaimedMessage(
        replace(message, recipients=rcpts), tuple(recipients), size_octets, lease_until
    )
