"""The outcome of a recipient after a transaction: done, tried again, or reported to the sender.

    2yz              done
    4yz              again, by the schedule; when that has expired, as 5yz
    5yz              reported to the sender and done, in one commit
    5yz, no report   dropped and logged: the sender is null or wants no report
    not tried        again, at the caller's time, and not counted as an attempt

A sender may have set a deadline (DELIVERBY). When it is over, and the message is to be returned
then, no further attempt is made; one attempt is scheduled for the deadline itself.

Success and delay are reported too, to senders who want that (`postroom.queue.notices`). Recipients
of a message with the same outcome in the same transaction share one report. While no report of
failure can be made (the content cannot be read, or an unexpected exception), recipients stay in the
queue and are tried again: accepted mail must not vanish without a report (RFC 5321 s6.1).

One log event is written for all recipients of a transaction that had the same answer. Its fields
are plain values; nothing is formatted unless somebody reads it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.client.model import Sent
from postroom.envelope import Action, NewMessage, Notice, TLSFacts
from postroom.queue.claims import Claim, Claims
from postroom.queue.dsn import Original, make_report, read_original, returns_header_only
from postroom.queue.lanes import Job
from postroom.queue.ledger import Ledger
from postroom.queue.model import ClaimedRecipient, Done, Report, Retry
from postroom.queue.notices import HOUR_SECONDS, ReportLimit, released_at, traced, wants
from postroom.queue.settings import RelaySettings
from postroom.wire.parameters import BY
from postroom.wire.replies import Reply
from postroom.wire.values import DeliverBy

ByResult = dict[tuple[str, Reply], list[ClaimedRecipient]]
Noticed = list[tuple[Done | Retry, Notice]]

LATE: Final = Reply(451, ("No further attempt: the deadline that the sender set is over",), "4.4.7")

_log = Logger()


class Outcomes:
    """Turns answers into outcomes."""

    def __init__(
        self,
        claims: Claims,
        ledger: Ledger,
        settings: RelaySettings,
        now: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        """Create it from its parts.

        Args:
            claims: knows which recipients may get an outcome.
            ledger: records the outcomes.
            settings: the schedule of the attempts, and what is reported.
            now: POSIX time.
            draw: returns numbers from 0 to below 1, for jitter.
        """
        self._claims = claims
        self._ledger = ledger
        self._settings = settings
        self._schedule = settings.schedule
        self._reports = ReportLimit(settings.reports_per_sender_hour)
        self._now = now
        self._draw = draw

    def settle(self, job: Job, sent: Sent) -> None:
        """Decide the outcomes of the recipients of a job, and log them.

        Args:
            job: it has ended.
            sent: with one reply for each of its recipients, in order.

        RFC 5321 s4.2.1, s4.5.4.1, s6.1; RFC 3461 s5.2
        """
        claim, message = job.claim, job.message
        now = self._now()
        by = BY.of(message.parameters) if message.parameters else None
        deadline = message.received_at + by.seconds if by is not None else None
        outcomes: list[Done | Retry] = []
        noticed: dict[Action, Noticed] = {}
        by_result: ByResult = {}
        late = deadline is not None and now >= deadline
        passed = by if late else None
        for place, recipient in enumerate(job.recipients):
            reply = sent.replies[place]
            result = self._judge(message, recipient, reply, passed, now)
            action = self._action(job, recipient, result, place in sent.unaware, late, now)
            by_result.setdefault((result, reply), []).append(recipient)
            # The lease may be lost meanwhile: the result is logged, but is another's to record.
            if not self._claims.owns(claim, recipient):
                continue
            outcome: Done | Retry = Done(recipient)
            if result == "deferred":
                outcome = self._again(recipient, reply, now, deadline, action is not None)
            if action is None:
                outcomes.append(outcome)
                continue
            expired = late if action is Action.DELAYED else result == "expired"
            notice = Notice(recipient.rcpt, action, reply, sent.remote, expired)
            noticed.setdefault(action, []).append((outcome, notice))
        _log_results(job, by_result, sent.remote, sent.tls, now)
        self._enter(claim, outcomes)
        for pairs in noticed.values():
            Deferred.fromCoroutine(self._report(claim, message, pairs)).addErrback(
                self.fault, claim, [outcome.recipient for outcome, _ in pairs]
            )

    def is_late(self, message: NewMessage) -> bool:
        """Return whether no further attempt is to be made, because the sender's deadline is over.

        RFC 2852 s4.1.3
        """
        by = BY.of(message.parameters) if message.parameters else None
        return by is not None and by.returned and self._now() >= message.received_at + by.seconds

    def put_back(
        self, claim: Claim, recipients: Sequence[ClaimedRecipient], seconds: float, why: Reply
    ) -> None:
        """Return recipients to the store for some seconds; it does not count as an attempt."""
        later = self._now() + seconds
        ours = self._claims.ours(claim, recipients)
        self._enter(claim, [Retry(r, later, why, counts=False) for r in ours])

    def fault(self, failure: Failure, claim: Claim, recipients: Sequence[ClaimedRecipient]) -> None:
        """Log an unexpected exception, and leave its recipients until their lease ends."""
        _log.failure(
            "{id}: an unexpected error; it will be tried again when its lease ends",
            failure,
            id=claim.message.id,
        )
        self._claims.forget(claim, recipients)

    def _judge(
        self,
        message: NewMessage,
        recipient: ClaimedRecipient,
        reply: Reply,
        passed: DeliverBy | None,
        now: float,
    ) -> str:
        """Return the result of an attempt in a word; ``passed`` is the deadline, if it is over."""
        if 200 <= reply.code < 300:
            return "sent"
        given_up = passed is not None and passed.returned
        attempts, began = recipient.attempts + 1, released_at(message)
        if reply.code < 500 and not given_up and not self._schedule.expired(attempts, began, now):
            return "deferred"
        if not wants(message, recipient.rcpt, Action.FAILED):
            return "dropped"
        return "bounced" if reply.code >= 500 else "expired"

    def _action(
        self,
        job: Job,
        recipient: ClaimedRecipient,
        result: str,
        unaware: bool,
        late: bool,
        now: float,
    ) -> Action | None:
        """Return the action to report to the sender; None for no report.

        RFC 3461 s5.2.2, s5.2.3, s5.2.5; RFC 2852 s4.1.3
        """
        message = job.message
        if result in ("bounced", "expired"):
            return Action.FAILED
        if result == "sent":
            if not recipient.rcpt.parameters and not message.parameters:
                return None  # nobody asked for anything, as nearly always
            if job.lane.destination is not None and not unaware and not traced(message):
                return None  # the host reports
            action = Action.RELAYED if job.lane.destination is not None else Action.DELIVERED
            return action if wants(message, recipient.rcpt, action) else None
        if result == "deferred" and not recipient.delay_told:
            after = self._settings.delay_report_seconds
            due = late or 0 < after <= now - released_at(message)
            if due and wants(message, recipient.rcpt, Action.DELAYED):
                return Action.DELAYED
        return None

    def _again(
        self,
        recipient: ClaimedRecipient,
        reply: Reply,
        now: float,
        deadline: float | None = None,
        tells_delay: bool = False,
    ) -> Retry:
        later = self._schedule.next_attempt_at(recipient.attempts + 1, now, self._draw)
        if deadline is not None and deadline > now:
            later = min(later, deadline)
        return Retry(recipient, later, reply, tells_delay=tells_delay)

    def make_report(
        self, message: NewMessage, original: Original, notices: Sequence[Notice]
    ) -> Report | None:
        """Return a report of what is no outcome of the relay; None if it is one too many."""
        now = self._now()
        if message.sender is None or not self._reports.allow(message.sender, now):
            return None
        return make_report(self._settings.hostname, message, original, notices, now)

    async def _report(self, claim: Claim, message: NewMessage, pairs: Noticed) -> None:
        """Report to the sender, in the commit that records the outcomes reported.

        If a report of failure cannot be made, or is one too many, the recipients are tried again.
        """
        sender, action, now = message.sender, pairs[0][1].action, self._now()
        failed = action is Action.FAILED
        if sender is None or not self._reports.allow(sender, now):
            _log.warn("{id}: more reports in this hour than its sender may get", id=message.id)
            self._unreported(claim, pairs, now + HOUR_SECONDS if failed else None, counts=False)
            return
        report: Report | None = None
        try:
            only = returns_header_only(message, [notice for _, notice in pairs])
            original = await read_original(claim.source, only)
            # Meanwhile the lease may have been lost, or the recipients put back at a shutdown.
            pairs = [pair for pair in pairs if self._claims.owns(claim, pair[0].recipient)]
            if pairs:
                notices = [notice for _, notice in pairs]
                report = make_report(self._settings.hostname, message, original, notices, now)
        except Exception:
            _log.failure("{id}: a report could not be made", id=message.id)
            first = pairs[0][0].recipient
            later = self._again(first, pairs[0][1].reply, now).next_attempt_at
            self._unreported(claim, pairs, later if failed else None)
        else:
            self._enter(claim, [outcome for outcome, _ in pairs], report)

    def _unreported(
        self, claim: Claim, pairs: Noticed, later: float | None, counts: bool = True
    ) -> None:
        """Record outcomes without a report; with a time, the recipients wait until then instead."""
        owned = [pair for pair in pairs if self._claims.owns(claim, pair[0].recipient)]
        if later is not None:
            outcomes: list[Done | Retry] = [
                Retry(outcome.recipient, later, notice.reply, counts) for outcome, notice in owned
            ]
        else:
            outcomes = [_untold(outcome) for outcome, _ in owned]
        self._enter(claim, outcomes)

    def _enter(
        self, claim: Claim, outcomes: Sequence[Done | Retry], report: Report | None = None
    ) -> None:
        if outcomes:
            self._claims.settled(claim, outcomes)
            self._ledger.enter(outcomes, report)


def _untold(outcome: Done | Retry) -> Done | Retry:
    return replace(outcome, tells_delay=False) if isinstance(outcome, Retry) else outcome


def _log_results(
    job: Job, by_result: ByResult, remote: str, tls: TLSFacts | None, now: float
) -> None:
    """Write one log event for all recipients with the same answer."""
    message = job.message
    for (result, reply), recipients in by_result.items():
        _log.info(
            "{id}: {result}, {sender} -> {recipients} by {destination} {remote}: {reply}"
            " (delay {delay:.2f} s, {size} octets, attempt {attempts}, {tls})",
            id=message.id,
            result=result,
            sender=f"<{message.sender or ''}>",
            recipients=[str(recipient.address) for recipient in recipients],
            destination=str(job.lane),
            remote=remote,
            reply=str(reply),
            delay=now - message.received_at,
            size=job.claim.source.size_octets,
            attempts=recipients[0].attempts + 1,
            tls=f"{tls.version} {tls.cipher}" if tls else "no TLS",
        )
