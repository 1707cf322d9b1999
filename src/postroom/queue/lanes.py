"""The messages that wait for one destination, and how many may be sent to it at once.

Strategies, with the names that Postfix's queue manager has for them:

- *Slow start.* A lane begins with a few messages at once; each success opens the window by one, up
  to the limit. A host that answers 421, or breaks off, has its window halved.
- *Dead destination.* When no host of a destination could be reached, the destination is held: for
  15 seconds, and twice as long each time until it is 4 minutes. After a hold one message goes out
  as a *probe* while the others are still put back; any reply ends the trouble.
  A held lane keeps nothing in memory. Its messages go back to the store at once, which makes room
  for those of other destinations: at first to the end of the hold, without an attempt being
  counted, since most outages are over in minutes; once the hold has reached its longest, by their
  own schedule and counted, so that they are retried ever more rarely and expire at last.
- *Turns.* A lane that has enough in memory lets further messages from the store wait there until
  about their turn, by its pace so far. A slow destination with a hundred thousand messages thus
  fills neither the memory nor the head of the queue.

Times are the reactor's seconds and used as differences only; a hold that seems longer than the
longest (the clock was set back) has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postroom.client.model import Destination, Sent
from postroom.envelope import NewMessage
from postroom.queue.claims import Claim
from postroom.queue.line import Line
from postroom.queue.model import ClaimedRecipient
from postroom.wire.replies import Reply, reply

FIRST_HOLD_SECONDS: Final = 15.0
LONGEST_HOLD_SECONDS: Final = 240.0
_FIRST_WINDOW: Final = 5
_SHORTEST_TURN_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class Job:
    """One message for one destination: what is sent in one transaction."""

    claim: Claim
    lane: "Lane"
    recipients: Sequence[ClaimedRecipient]
    message: NewMessage
    started: float = 0.0


class Lane:
    """One destination.

    Attributes:
        destination: None for the lane of local accounts.
        waiting: jobs not yet begun, in the order of their turns.
        active: how many jobs are under way.
        window: how many may be.
        queued: True while the lane is in the relay's round.
        seen: reactor time when it last had anything to do.
    """

    __slots__ = (
        "_failures",
        "_held_until",
        "_limit",
        "_seconds",
        "_turn",
        "active",
        "destination",
        "queued",
        "reply",
        "seen",
        "waiting",
        "window",
    )

    def __init__(self, destination: Destination | None, limit: int) -> None:
        """Create the lane of a destination that is believed to be well."""
        self.destination = destination
        self.waiting: Line[Job] = Line()
        self.active = 0
        self.window = min(limit, _FIRST_WINDOW) if destination else limit
        self.queued = False
        self.seen = 0.0
        self.reply = reply(451, "4.4.1", "Delivery suspended")
        self._limit = limit
        self._failures = 0
        self._held_until = 0.0
        self._seconds = 0.0
        self._turn = 0.0

    def __str__(self) -> str:
        """Name the destination for the log."""
        if self.destination is None:
            return "local"
        return str(self.destination)

    @property
    def ready(self) -> bool:
        """True if a job may begin."""
        return bool(self.waiting) and self.active < self.window

    @property
    def in_trouble(self) -> bool:
        """True from the first failure to reach the destination to the next answer from it."""
        return self._failures > 0

    def suspended(self, now: float) -> bool:
        """Return whether new jobs must be put back: the destination is held, or being probed."""
        return self._failures > 0 and (self._held(now) or self.active > 0 or bool(self.waiting))

    def forgive(self) -> None:
        """Forget failures: the destination is said to be reachable again."""
        self._failures = 0
        self._held_until = 0.0

    def put_back_seconds(self, now: float) -> float | None:
        """Return for how long a suspended job is put back uncounted; None to let it count."""
        if self._hold_seconds() >= LONGEST_HOLD_SECONDS:
            return None
        return max(self._held_until - now, 0.0) if self._held(now) else self._hold_seconds()

    def turn_seconds(self, now: float) -> float:
        """Return how long from now a job should wait in the store, when this lane is full.

        Each call assigns the turn after the last one. The pace is assumed to be twice what it
        was, for coming too early costs a claim and coming too late an idle destination.
        """
        pace = self._seconds / self.window / 2
        earliest = now + max(len(self.waiting) * pace, _SHORTEST_TURN_SECONDS)
        if not earliest <= self._turn <= earliest + 86_400:
            self._turn = earliest
        self._turn += pace
        return self._turn - now

    def heed(self, sent: Sent, started: float, now: float) -> float | None:
        """Adjust window and hold to the outcome of a job.

        Args:
            sent: the outcome.
            started: when the job began, reactor's seconds.
            now: reactor's seconds.

        Returns:
            For how many seconds the destination is held, if this outcome made it so.
        """
        self._seconds += (now - started - self._seconds) / 8
        if not _unreachable(sent):
            self._failures = 0
            strained = any(r.code == 421 or _subject(r) == "4" for r in sent.replies if r.temporary)
            self.window = max(self.window // 2, 1) if strained else self._wider()
            return None
        if self._held(now):
            return None  # one of several under way when it was found dead; once is enough
        self._failures += 1
        self.window = 1
        self._held_until = now + self._hold_seconds()
        self.reply = reply(451, "4.4.1", f"Delivery suspended: {sent.replies[0]}")
        return self._hold_seconds()

    def _wider(self) -> int:
        return min(self.window + 1, self._limit)

    def _held(self, now: float) -> bool:
        return now < self._held_until <= now + LONGEST_HOLD_SECONDS

    def _hold_seconds(self) -> float:
        return float(
            min(FIRST_HOLD_SECONDS * 2 ** min(self._failures - 1, 16), LONGEST_HOLD_SECONDS)
        )


def _unreachable(sent: Sent) -> bool:
    """True if no host could be spoken to; trouble of our own (4.3.z) is not the destination's."""
    return not sent.remote and all(r.temporary and _subject(r) != "3" for r in sent.replies)


def _subject(answer: Reply) -> str:
    """Return the subject of the enhanced status code; empty without one. RFC 3463 s2."""
    return answer.enhanced.split(".")[1] if answer.enhanced else ""
