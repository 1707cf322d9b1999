"""Sends mail from the queue to its destinations.

The way of a message. It comes in by `Relay.submit`, just stored and still in memory, or it is
fetched from the store when it is due. Its recipients are sorted into lanes, one for each
destination (`postroom.queue.lanes`) and one for local accounts, for mail that could not be
delivered within its session and for reports to our own users. The replies become outcomes
(`postroom.queue.outcomes`), which a ledger writes into the store (`postroom.queue.ledger`). The
claims of this process, and how long they last, are in `postroom.queue.claims`.

Strategies, with the names that Postfix's queue manager has for them:

- *Round robin* over destinations: each lane that may begin a message begins one, then goes to the
  end of the round. Each lane has a limit of messages at once, and all of them together have one.
- *Leaky bucket*: only so many recipients are fetched from the store at a time. Dead destinations
  keep none of them and slow ones a limited number, so mail for others is always reached.
- *Slow start*, *dead destination*, *turns*: see `postroom.queue.lanes`.
- *Priority*: within a lane (`postroom.queue.line`), and among those that are due in the store.

Invariants: a recipient is worked on once at a time. After an unexpected exception the recipient
waits, or its lease expires; it never fails for that.

Time: durations are the reactor's (``clock``); what is stored is POSIX time (``now``). A jump of the
latter makes attempts early and no more (`postroom.queue.schedule`).

Who controls the input: remote hosts the replies, whoever sent a message its envelope. Neither is
ever formatted into anything but values of a log event and the report, which cleans them.

Known limits: fairness is between destinations, not between senders. A reactor whose own clock goes
by the time of day stands still for as long as that is set back: the daemon's goes by a monotonic
one.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.client.model import Destination, Outgoing, Sent, TLSRequirement
from postroom.client.names import ascii_domain
from postroom.envelope import DomainKind, NewMessage, Notice, Trait
from postroom.errors import LOCAL_ERROR, reply_for
from postroom.interfaces import IDirectory, ILocalAgent
from postroom.queue.claims import Claim, Claims, message_for
from postroom.queue.claims import Outcomes as Entered
from postroom.queue.dsn import Original
from postroom.queue.lanes import LONGEST_HOLD_SECONDS, Job, Lane
from postroom.queue.ledger import Ledger
from postroom.queue.line import Line
from postroom.queue.model import ClaimedMessage, ClaimedRecipient, IQueueStore, Report
from postroom.queue.outcomes import LATE, Outcomes
from postroom.queue.settings import RelaySettings
from postroom.queue.sources import Budget, MemorySource, Source, StoreSource
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

_POLL_SECONDS: Final = 1.0
_LONGEST_POLL_SECONDS: Final = 30.0
_HOUSEKEEPING_SECONDS: Final = 30.0
_LAST_COMMIT_SECONDS: Final = 5.0
_FETCH_AT_ONCE: Final = 500

_SHUTDOWN = reply(451, "4.3.2", "Not tried: the server was stopped")
_FULL = reply(451, "4.4.5", "Not tried yet: much mail waits for this destination")

_log = Logger()


class Sender(Protocol):
    """Sends to next hops; the client's pool is one."""

    def send(self, destination: Destination, outgoing: Outgoing) -> Deferred[Sent]:
        """Send a message; a failure of the Deferred counts as 451."""


@dataclass(frozen=True, slots=True)
class Exits:
    """The ways out of the queue.

    Attributes:
        sender: sends to next hops.
        route: returns the next hop of a domain (lower case); if it raises a `Refusal`, the
            recipients of the domain get that reply.
        directory: knows which domains are local.
        local: delivers to their accounts.
    """

    sender: Sender
    route: Callable[[str], Destination]
    directory: IDirectory
    local: ILocalAgent


class Relay:
    """The relay of one process; `start` it once, `stop` it once.

    Attributes:
        budget: room for content of messages that come straight from a session.
        stopping: True from the call of `stop`.
    """

    def __init__(
        self,
        store: IQueueStore,
        exits: Exits,
        clock: IReactorTime,
        settings: RelaySettings,
        now: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Create it from its parts; nothing happens before `start` or `submit`.

        Args:
            store: already started; it must live until `stop` has fired.
            exits: where mail can go.
            clock: for durations.
            settings: read once.
            now: POSIX time.
            draw: returns numbers from 0 to below 1, for jitter.
        """
        self.budget = Budget(settings.memory_octets, settings.memory_messages)
        self.stopping = False
        self._store = store
        self._exits = exits
        self._clock = clock
        self._settings = settings
        self._now = now
        self._draw = draw
        self._claims = Claims(store, now)
        self._ledger = Ledger(store, clock, self._recorded)
        self._outcomes = Outcomes(self._claims, self._ledger, settings, now, draw)
        self._local = Lane(None, settings.per_destination)
        self._lanes: dict[Destination, Lane] = {}
        self._by_domain: dict[tuple[bytes, TLSRequirement], Lane] = {}
        self._revision = -1
        self._round: deque[Lane] = deque()
        self._active = 0
        self._pumping = False
        self._poll_call: IDelayedCall | None = None
        self._poll_pause = _POLL_SECONDS
        self._polling = False
        self._more_due = False
        self._housekeeping = LoopingCall(self._keep_house)
        self._housekeeping.clock = clock
        self._stopped: Deferred[None] = Deferred()
        self._deadline: IDelayedCall | None = None

    def start(self) -> None:
        """Start to fetch what is due."""
        self._poll_call = self._clock.callLater(0, self._poll)
        self._housekeeping.start(_HOUSEKEEPING_SECONDS, now=False)

    def stop(self) -> Deferred[None]:
        """Start nothing more, let what is under way end, and leave the store consistent.

        Fires when everything is recorded, within `RelaySettings.stop_seconds` and a few more:
        transactions that last longer are given up and will be tried again, uncounted.
        """
        self.stopping = True
        if self._poll_call is not None:
            self._poll_call.cancel()
            self._poll_call = None
        if self._housekeeping.running:
            self._housekeeping.stop()
        for lane in [self._local, *self._lanes.values()]:
            waiting, lane.waiting = lane.waiting, Line()
            for job in waiting:
                self._outcomes.put_back(job.claim, job.recipients, 0, _SHUTDOWN)
        self._deadline = self._clock.callLater(self._settings.stop_seconds, self._give_up)
        self._end_if_done()
        return self._stopped

    def submit(self, claimed: ClaimedMessage, source: Source, fetched: bool = False) -> None:
        """Accept a message that is stored, and claimed by this process.

        Args:
            claimed: the message; none of its recipients may be under way.
            source: its content; closed here once it is no longer needed.
            fetched: True if it counts against `RelaySettings.fetched`.
        """
        claim = self._claims.add(claimed, source, fetched)
        self._sort(claim)
        self._pump()

    def make_report(
        self, message: NewMessage, original: Original, notices: Sequence[Notice]
    ) -> Report | None:
        """Make a report for the sender of a message; None if it is one too many for that."""
        return self._outcomes.make_report(message, original, notices)

    def hurry(self, domain: str) -> None:
        """Fetch at once what has become due, and forget the failures of a domain's hosts."""
        for destination, lane in self._lanes.items():
            if destination.domain == domain or destination.domain.endswith("." + domain):
                lane.forgive()
        if self._poll_call is not None:
            self._poll_call.reset(0)

    # Fetching

    def _poll(self) -> None:
        self._poll_call = None
        self._polling = True
        Deferred.fromCoroutine(self._fetch_due()).addCallbacks(self._polled, self._poll_failed)

    def _polled(self, seconds: float) -> None:
        self._poll_pause = _POLL_SECONDS
        self._poll_again(seconds)

    def _poll_failed(self, failure: Failure) -> None:
        _log.failure("The queue could not be read", failure)
        self._poll_pause = min(self._poll_pause * 2, _LONGEST_POLL_SECONDS)
        self._poll_again(self._poll_pause)

    def _poll_again(self, seconds: float) -> None:
        self._polling = False
        if self.stopping:
            self._end_if_done()
        else:
            self._poll_call = self._clock.callLater(seconds, self._poll)

    async def _fetch_due(self) -> float:
        """Fetch as much as is due and there is room for; return the seconds to wait after it.

        That is a second at most, so that what another process has made due is seen soon.
        """
        self._more_due = False
        while not self.stopping:
            now = self._now()
            due = await self._store.next_due_at(now)
            if due is None or due > now:
                return _POLL_SECONDS if due is None else min(_POLL_SECONDS, due - now)
            room = min(self._settings.fetched - self._unfinished(), _FETCH_AT_ONCE)
            if room <= 0:
                self._more_due = True
                break
            found = await self._store.claim(now, room)
            for claimed in found:
                fresh = self._claims.fresh(claimed)
                if fresh is not None:
                    source = StoreSource(self._store, fresh.message.id, fresh.size_octets)
                    self.submit(fresh, source, fetched=True)
            if sum(len(claimed.recipients) for claimed in found) < room:
                break
        return _POLL_SECONDS

    def _unfinished(self) -> int:
        return self._claims.fetched + self._ledger.backlog

    # Sorting into lanes

    def _sort(self, claim: Claim) -> None:
        """Sort the recipients of a claim into the lanes of their domains."""
        revision = self._exits.directory.revision()
        if revision != self._revision:
            self._revision = revision
            self._by_domain.clear()
        domain = claim.recipients[0].address.domain
        lane = self._by_domain.get((domain, tls_requirement_of(claim.message)))
        if lane is not None and len(claim.recipients) == 1:
            self._offer(Job(claim, lane, claim.recipients, claim.message))
            return
        Deferred.fromCoroutine(self._sort_by_lane(claim)).addErrback(
            self._fault, claim, claim.recipients
        )

    async def _sort_by_lane(self, claim: Claim) -> None:
        """Sort recipients into lanes: of several domains, or of one not seen yet."""
        requirement = tls_requirement_of(claim.message)
        by_lane: dict[Lane, list[ClaimedRecipient]] = {}
        refused: dict[Reply, list[ClaimedRecipient]] = {}
        for recipient in claim.recipients:
            lane = self._by_domain.get((recipient.address.domain, requirement))
            try:
                lane = lane or await self._look_up(recipient.address, requirement)
                by_lane.setdefault(lane, []).append(recipient)
            except Exception as error:
                refused.setdefault(_answer_to(error), []).append(recipient)
        for lane, recipients in by_lane.items():
            self._offer(Job(claim, lane, recipients, message_for(claim, recipients)))
        for answer, recipients in refused.items():
            nowhere = Lane(Destination(recipients[0].address.domain_key), 1)
            job = Job(claim, nowhere, recipients, message_for(claim, recipients))
            self._outcomes.settle(job, Sent([answer] * len(recipients)))
        self._pump()

    async def _look_up(self, address: Mailbox, requirement: TLSRequirement) -> Lane:
        """Return the lane of a domain that was not seen since the directory changed."""
        revision = self._revision
        name = ascii_domain(address.domain_key)
        domain = await self._exits.directory.find_domain(name)
        passes = domain is None or domain.kind is DomainKind.RELAY
        lane = self._lane_to(name, requirement) if passes else self._local
        if revision == self._revision:
            self._by_domain[address.domain, requirement] = lane
        return lane

    def _lane_to(self, name: str, requirement: TLSRequirement) -> Lane:
        destination = self._exits.route(ascii_domain(name))
        if requirement is not TLSRequirement.NONE:
            destination = replace(destination, tls_requirement=requirement)
        lane = self._lanes.get(destination)
        if lane is None:
            lane = self._lanes[destination] = Lane(destination, self._settings.per_destination)
        return lane

    def _offer(self, job: Job) -> None:
        """Add a job to its lane, or put it back into the store."""
        lane = job.lane
        lane.seen = now = self._clock.seconds()
        if self.stopping:
            self._outcomes.put_back(job.claim, job.recipients, 0, _SHUTDOWN)
        elif lane.suspended(now):
            self._suspend(job, now)
        elif job.claim.fetched and len(lane.waiting) >= self._settings.fetched // 4:
            seconds = min(lane.turn_seconds(now), self._settings.schedule.longest_seconds)
            self._outcomes.put_back(job.claim, job.recipients, seconds, _FULL)
        else:
            lane.waiting.append(job)
            self._line_up(lane)

    def _line_up(self, lane: Lane) -> None:
        if lane.ready and not lane.queued:
            lane.queued = True
            self._round.append(lane)

    def _suspend(self, job: Job, now: float) -> None:
        seconds = job.lane.put_back_seconds(now)
        if seconds is None:
            self._outcomes.settle(job, Sent([job.lane.reply] * len(job.recipients)))
        else:
            seconds *= 1 + self._settings.schedule.jitter * self._draw()
            self._outcomes.put_back(job.claim, job.recipients, seconds, job.lane.reply)

    # Going out

    def _pump(self) -> None:
        """Start as many jobs as the limits allow, one lane after the other."""
        if self._pumping:
            return  # a job ended at once, within the loop below, which goes on
        self._pumping = True
        try:
            while self._round and self._active < self._settings.in_all:
                lane = self._round.popleft()
                lane.queued = False
                if lane.ready:
                    job = lane.waiting.popleft()
                    if self._still_ours(job):
                        if self._outcomes.is_late(job.message):
                            self._outcomes.settle(job, Sent([LATE] * len(job.recipients)))
                        else:
                            self._begin(lane, job)
                    self._line_up(lane)
        finally:
            self._pumping = False

    def _still_ours(self, job: Job) -> bool:
        """Return whether a job that has waited may start; leave out recipients that were lost."""
        claim = job.claim
        if claim.lease_until <= self._now():
            self._claims.forget(claim, job.recipients)
        ours = self._claims.ours(claim, job.recipients)
        if ours and len(ours) < len(job.recipients):
            job.recipients, job.message = ours, message_for(claim, ours)
        return bool(ours)

    def _begin(self, lane: Lane, job: Job) -> None:
        job.started = self._clock.seconds()
        lane.active += 1
        self._active += 1
        sending: Deferred[Sent]
        if lane.destination is None:
            sending = Deferred.fromCoroutine(self._deliver_locally(job))
        else:
            try:
                outgoing = Outgoing(job.message, job.claim.source)
                sending = self._exits.sender.send(lane.destination, outgoing)
            except Exception:
                sending = fail()
        sending.addBoth(self._ended, job).addErrback(self._fault, job.claim, job.recipients)

    async def _deliver_locally(self, job: Job) -> Sent:
        """Deliver to local accounts; recipients that are local no longer go to their lanes."""
        replies: list[Reply] = []
        here: list[ClaimedRecipient] = []
        for recipient in job.recipients:
            answer: Reply | None
            try:
                answer = await self._exits.local.deliver_locally(
                    job.message, recipient.rcpt, job.claim.source
                )
                if answer is None:
                    requirement = tls_requirement_of(job.message)
                    lane = self._lane_to(recipient.address.domain_key, requirement)
                    message = message_for(job.claim, [recipient])
                    self._offer(Job(job.claim, lane, [recipient], message))
                    continue
            except Exception as error:
                answer = _answer_to(error)
            here.append(recipient)
            replies.append(answer)
        job.recipients = here
        return Sent(replies)

    def _ended(self, result: Sent | Failure, job: Job) -> None:
        lane = job.lane
        lane.active -= 1
        self._active -= 1
        lane.seen = now = self._clock.seconds()
        sent = self._checked(result, job)
        if sent is None:
            self._outcomes.settle(job, Sent([LOCAL_ERROR] * len(job.recipients)))
        else:
            held = None
            if lane.destination is not None:
                held = lane.heed(sent, job.started, now)
            self._outcomes.settle(job, sent)
            if held is not None:
                self._hold(lane, held, now)
        self._line_up(lane)
        self._pump()

    def _checked(self, result: Sent | Failure, job: Job) -> Sent | None:
        """Return what was sent, or None after an unexpected exception."""
        if isinstance(result, Failure):
            _log.failure("{id} could not be sent", result, id=job.message.id)
            return None
        if len(result.replies) != len(job.recipients):
            _log.error("{id}: the replies do not match the recipients", id=job.message.id)
            return None
        return result

    def _hold(self, lane: Lane, seconds: float, now: float) -> None:
        """Return to the store what waits for a destination that cannot be reached."""
        _log.warn(
            "{destination} cannot be reached; no attempts for {seconds} s: {reply}",
            destination=str(lane),
            seconds=seconds,
            reply=str(lane.reply),
        )
        waiting, lane.waiting = lane.waiting, Line()
        for job in waiting:
            self._suspend(job, now)

    # Afterwards

    def _recorded(
        self, outcomes: Entered, report: Report | None, claimed: Sequence[ClaimedMessage]
    ) -> None:
        """Continue after a commit: send its report, fetch more."""
        self._claims.recorded(outcomes)
        if report is not None:
            for message in claimed:
                self._submit_report(message, report)
        if self._more_due and self._poll_call and self._unfinished() <= self._settings.fetched // 2:
            self._more_due = False
            self._poll_call.reset(0)
        self._end_if_done()

    def _submit_report(self, claimed: ClaimedMessage, report: Report) -> None:
        size: int = report.content.size_octets
        pieces = report.content.in_memory()
        source: Source
        if pieces is not None and self.budget.reserve(size):
            source = MemorySource(pieces, size, self.budget)
        else:
            source = StoreSource(self._store, claimed.message.id, size)
        self.submit(claimed, source)

    def _fault(
        self, failure: Failure, claim: Claim, recipients: Sequence[ClaimedRecipient]
    ) -> None:
        self._outcomes.fault(failure, claim, recipients)
        self._end_if_done()

    async def _keep_house(self) -> None:
        """Renew leases; drop lanes that have not been used for a while."""
        now = self._clock.seconds()
        idle = [
            destination
            for destination, lane in self._lanes.items()
            if not lane.waiting
            and not lane.active
            and not lane.seen <= now <= lane.seen + 2 * LONGEST_HOLD_SECONDS
        ]
        if idle:
            self._by_domain.clear()
        for destination in idle:
            del self._lanes[destination]
        try:
            await self._claims.renew()
        except Exception:
            _log.failure("Leases could not be renewed")

    def _give_up(self) -> None:
        """End the wait for transactions under way."""
        for claim, recipients in self._claims.unsettled().items():
            self._outcomes.put_back(claim, recipients, 0, _SHUTDOWN)
        self._deadline = self._clock.callLater(_LAST_COMMIT_SECONDS, self._end)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.stopping and self._claims.empty and not self._polling:
            self._end()

    def _end(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._ledger.backlog:
            _log.error("{count} outcomes could not be recorded", count=self._ledger.backlog)
        self._ledger.close()
        if not self._stopped.called:
            self._stopped.callback(None)


def tls_requirement_of(message: NewMessage) -> TLSRequirement:
    """Return what a message asks of TLS; the parameter counts for more than the header.

    RFC 8689 s4.1
    """
    if "REQUIRETLS" in message.parameters:
        return TLSRequirement.REQUIRED
    return TLSRequirement.OPTIONAL if message.traits & Trait.TLS_OPTIONAL else TLSRequirement.NONE


def _answer_to(error: Exception) -> Reply:
    """Return the reply for an exception; log one that is not deliberate."""
    answer = reply_for(error)
    if answer is LOCAL_ERROR:
        _log.failure("A message could not be sent on")
    return answer
