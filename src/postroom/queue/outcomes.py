"""What becomes of a recipient after a transaction: done, again later, or back to the sender.

    2yz              done
    4yz              again, by the schedule; when that has expired, as 5yz
    5yz              reported to the sender and done, in one commit
    5yz, null sender dropped: there is nobody to tell, and the log says so
    not tried        again, when the caller says, and not counted as an attempt

Recipients of a message that fail in the same transaction are told of in one report. While no report
can be made (the content cannot be read, or a fault of ours) they stay in the queue and are tried
again: what was accepted never goes without a trace (RFC 5321 s6.1).

One log event is written for all recipients of a transaction that had the same answer. Its fields
are plain values; nothing is formatted unless somebody reads it.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.envelope import TLSFacts
from postroom.queue.claims import Claim, Claims
from postroom.queue.dsn import FailedRecipient, make_report, read_original
from postroom.queue.lanes import Job
from postroom.queue.ledger import Ledger
from postroom.queue.model import ClaimedRecipient, Done, Report, Retry
from postroom.queue.schedule import Schedule
from postroom.wire.replies import Reply

Told = dict[tuple[str, Reply], list[ClaimedRecipient]]
Failed = list[tuple[ClaimedRecipient, FailedRecipient]]

_log = Logger()


class Outcomes:
    """Turns answers into outcomes."""

    def __init__(
        self,
        claims: Claims,
        ledger: Ledger,
        hostname: str,
        schedule: Schedule,
        now: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        """Take the parts.

        Args:
            claims: says who may get an outcome.
            ledger: takes them.
            hostname: ours, as reports show it.
            schedule: of the attempts.
            now: POSIX time.
            draw: gives numbers from 0 to below 1, for jitter.
        """
        self._claims = claims
        self._ledger = ledger
        self._hostname = hostname
        self._schedule = schedule
        self._now = now
        self._draw = draw

    def settle(
        self,
        job: Job,
        replies: Sequence[Reply],
        remote: str = "",
        tls: TLSFacts | None = None,
    ) -> None:
        """Decide what becomes of the recipients of a job, and log it.

        Args:
            job: it has ended.
            replies: one for each of its recipients, in order.
            remote: the host that gave them, as `Sent.remote`.
            tls: the facts of that connection.

        RFC 5321 s4.2.1, s4.5.4.1, s6.1
        """
        claim = job.claim
        now = self._now()
        outcomes: list[Done | Retry] = []
        failed: Failed = []
        told: Told = {}
        for recipient, reply in zip(job.recipients, replies, strict=True):
            result = self._judge(claim, recipient, reply, now)
            told.setdefault((result, reply), []).append(recipient)
            if not self._claims.owns(claim, recipient):
                continue
            if result == "deferred":
                outcomes.append(self._again(recipient, reply, now))
            elif result in ("sent", "dropped"):
                outcomes.append(Done(recipient))
            else:
                expired = result == "expired"
                failed.append(
                    (recipient, FailedRecipient(recipient.address, reply, remote, expired))
                )
        _tell(job, told, remote, tls, now)
        self._enter(claim, outcomes)
        if failed:
            Deferred.fromCoroutine(self._report(claim, failed)).addErrback(
                self.fault, claim, [recipient for recipient, _ in failed]
            )

    def put_back(
        self, claim: Claim, recipients: Sequence[ClaimedRecipient], seconds: float, why: Reply
    ) -> None:
        """Let recipients wait in the store for some seconds; it does not count as an attempt."""
        later = self._now() + seconds
        ours = self._claims.ours(claim, recipients)
        self._enter(claim, [Retry(r, later, why, counts=False) for r in ours])

    def fault(self, failure: Failure, claim: Claim, recipients: Sequence[ClaimedRecipient]) -> None:
        """A fault of ours, which nobody must pay for: leave recipients until their lease ends."""
        _log.failure("{id} was left to be tried again", failure, id=claim.message.id)
        self._claims.forget(claim, recipients)

    def _judge(self, claim: Claim, recipient: ClaimedRecipient, reply: Reply, now: float) -> str:
        if 200 <= reply.code < 300:
            return "sent"
        if reply.code < 500:
            received_at = claim.message.received_at
            if not self._schedule.expired(recipient.attempts + 1, received_at, now):
                return "deferred"
        if claim.message.sender is None:
            return "dropped"
        return "bounced" if reply.code >= 500 else "expired"

    def _again(self, recipient: ClaimedRecipient, reply: Reply, now: float) -> Retry:
        later = self._schedule.next_attempt_at(recipient.attempts + 1, now, self._draw)
        return Retry(recipient, later, reply)

    async def _report(self, claim: Claim, failed: Failed) -> None:
        """Tell the sender of recipients that failed; if that cannot be done, try them again."""
        try:
            original = await read_original(claim.source)
        except Exception:
            _log.failure("{id}: the content could not be read for its report", id=claim.message.id)
            now = self._now()
            owned = [(r, told) for r, told in failed if self._claims.owns(claim, r)]
            self._enter(claim, [self._again(r, told.reply, now) for r, told in owned])
            return
        # Meanwhile the lease may have been lost, or the recipients put back at a shutdown.
        failed = [(r, told) for r, told in failed if self._claims.owns(claim, r)]
        if failed:
            told = [told for _, told in failed]
            report = make_report(self._hostname, claim.message, original, told, self._now())
            self._enter(claim, [Done(recipient) for recipient, _ in failed], report)

    def _enter(
        self, claim: Claim, outcomes: Sequence[Done | Retry], report: Report | None = None
    ) -> None:
        if outcomes:
            self._claims.settled(claim, outcomes)
            self._ledger.enter(outcomes, report)


def _tell(job: Job, told: Told, remote: str, tls: TLSFacts | None, now: float) -> None:
    """Write one log event for all recipients with the same answer."""
    message = job.message
    for (result, reply), recipients in told.items():
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
