"""The values of the queue: messages, recipients, their states, and who may work on them.

States of a recipient, and all the legal steps between them:

    WAITING --claim--> CLAIMED --2yz--> (row deleted)
       ^                  |
       |                  +--4yz, lost connection, crash (the lease expires)--> WAITING, later
       |                  |
       |                  +--5yz, expired--> FAILED --report queued, or none due--> (row deleted)
       +--retry (admin)

A recipient is *claimed* while ``lease_until`` lies ahead; there is no column for it, so that a
crash needs no repair: when the lease has expired the recipient is waiting again. A message is
deleted with its last recipient, in the same commit. A recipient fails in the same commit that
stores the report, so FAILED is never stored: either the report exists, or the recipient still
waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from zope.interface import Interface

from postroom.envelope import NO_TRAITS, NewMessage, Trait
from postroom.interfaces import IContent
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply


@dataclass(frozen=True, slots=True)
class ClaimedRecipient:
    """A recipient that this process may work on until its lease ends.

    Attributes:
        message_id: the queue id.
        number: its place in the message, from 0: with the id, the primary key.
        rcpt: its address and parameters.
        attempts: how often it was tried before.
        delay_told: True if its delay was reported, or is not to be.
    """

    message_id: str
    number: int
    rcpt: Rcpt
    attempts: int
    delay_told: bool = False

    @property
    def address(self) -> Mailbox:
        """The forward-path."""
        return self.rcpt.forward_path


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message, or some of its recipients, that this process may work on.

    Attributes:
        message: as it was queued; its ``recipients`` are those claimed, in order.
        recipients: the same with their keys.
        size_octets: the length of the content.
        lease_until: POSIX time when the lease ends.
    """

    message: NewMessage
    recipients: tuple[ClaimedRecipient, ...]
    size_octets: int
    lease_until: float


@dataclass(frozen=True, slots=True)
class Retry:
    """An outcome: try this recipient again.

    Attributes:
        next_attempt_at: POSIX time, not before which.
        reply: why, for `queue list`.
        counts: False if nothing was tried (shutdown), so that attempts stay as they are.
        tells_delay: True if a report in the same commit reports the delay.
    """

    recipient: ClaimedRecipient
    next_attempt_at: float
    reply: Reply
    counts: bool = True
    tells_delay: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """An outcome: this recipient needs no more work (delivered, or failed and reported)."""

    recipient: ClaimedRecipient


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery status notification, queued in the same commit as the outcomes that it reports."""

    message: NewMessage
    content: IContent


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A recipient as `queue list` and `queue show` print it."""

    address: str
    attempts: int
    next_attempt_at: float
    claimed: bool
    last_reply: str
    held: bool = False
    parameters: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as `queue list` and `queue show` print it."""

    id: str
    sender: str
    received_at: float
    size_octets: int
    recipients: tuple[RecipientRow, ...]
    parameters: Mapping[str, str | None]
    priority: int = 0
    traits: Trait = NO_TRAITS


class IQueueStore(Interface):
    """Where the queue is kept. Every method is durable when its Deferred fires."""

    def put(
        message: NewMessage, content: IContent, claim: bool = True
    ) -> "Deferred[ClaimedMessage | None]":
        """Store a message.

        Args:
            message: its envelope.
            content: read in another thread before the Deferred fires, and not after.
            claim: True stores it already claimed by this process; False as waiting, due now or at
                the message's ``held_until``, for whoever claims it then.

        Returns:
            The claim; None if there is none.

        Raises:
            OSError: the disk or the database failed; nothing of the message was kept.
        """

    def claim(now: float, limit: int) -> "Deferred[Sequence[ClaimedMessage]]":
        """Claim up to ``limit`` recipients that are due and unclaimed.

        Those of a higher priority come first, but some room is always left to others that are
        due; of the same priority the longest due come first. Due is a recipient whose next attempt
        lies at or before ``now``, or further ahead than any schedule goes (the clock was set back).

        RFC 6710 s4.1
        """

    def flush(domain: str, subdomains: bool) -> "Deferred[int]":
        """Make due now what waits for a domain (lower case), except what is held.

        Fires with the number of recipients.
        """

    def next_due_at(now: float) -> "Deferred[float | None]":
        """Return when to `claim` next: when the next recipient is due or the next lease ends.

        None if the queue is empty.
        """

    def renew(
        claims: "Sequence[ClaimedMessage]", now: float
    ) -> "Deferred[Sequence[ClaimedMessage]]":
        """Make leases longer; return those that still were ours."""

    def record(
        outcomes: "Sequence[Done | Retry]", reports: "Sequence[Report]" = ()
    ) -> "Deferred[Sequence[ClaimedMessage]]":
        """Record the outcomes of claimed recipients, and store reports, all in one commit.

        A claim that expired and went to another process is left to that process. Fires with the
        reports as messages that are claimed.
        """

    def chunk(message_id: str, index: int) -> "Deferred[bytes]":
        """Read one piece of a message's content; empty past the end."""
