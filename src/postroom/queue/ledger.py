"""Writes outcomes into the store, in batches, until all are recorded.

While one batch is being committed the next gathers, so batches grow by themselves under load. A
report goes into one `IQueueStore.record` call with the outcomes that it reports, and no others:
either all of that is stored or none of it.

A batch that fails is kept, and tried again after a second, two, four, up to a minute. It is then
split ever smaller, and what failed goes to the end of the line: should one outcome be impossible to
record, the others get past it. Nothing is ever thrown away here; what is still unrecorded when the
process ends is delivered again when its lease has expired.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from postroom.queue.claims import Outcomes
from postroom.queue.model import ClaimedMessage, IQueueStore, Report

Recorded = Callable[[Outcomes, Report | None, Sequence[ClaimedMessage]], None]

_MOST_AT_ONCE: Final = 500
_LONGEST_PAUSE_SECONDS: Final = 60.0
_log = Logger()


class Ledger:
    """The outcomes that the store has not recorded yet.

    Attributes:
        backlog: how many entries wait, one for each message and destination.
    """

    def __init__(self, store: IQueueStore, clock: IReactorTime, recorded: Recorded) -> None:
        """Create an empty ledger.

        Args:
            store: where to record.
            clock: for the pauses after a failure.
            recorded: called after each commit with the outcomes, and for an entry with a report
                also that and the claim that the store returned for it.
        """
        self._store = store
        self._clock = clock
        self._recorded = recorded
        self._entries: deque[tuple[Outcomes, Report | None]] = deque()
        self._writing = False
        self._at_once = _MOST_AT_ONCE
        self._pause_seconds = 0.0
        self._pause: IDelayedCall | None = None
        self._closed = False

    @property
    def backlog(self) -> int:
        """How many entries wait to be written."""
        return len(self._entries)

    def enter(self, outcomes: Outcomes, report: Report | None = None) -> None:
        """Enter outcomes of one message, with the report of them if one is due."""
        self._entries.append((outcomes, report))
        self._wake()

    def close(self) -> None:
        """Stop recording; what is not recorded yet never will be."""
        self._closed = True
        self._entries.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _wake(self) -> None:
        if not self._writing and self._pause is None and not self._closed:
            self._writing = True
            Deferred.fromCoroutine(self._write()).addErrback(
                lambda failure: _log.failure("The ledger of outcomes failed", failure)
            )

    async def _write(self) -> None:
        try:
            while self._entries and self._pause is None and not self._closed:
                count = min(len(self._entries), self._at_once)
                batch = [self._entries.popleft() for _ in range(count)]
                error = await self._record_all(batch)
                if error is None:
                    self._at_once = min(self._at_once * 2, _MOST_AT_ONCE)
                    self._pause_seconds = 0.0
                elif not self._closed:
                    self._back_off(error, count)
        finally:
            self._writing = False

    def _back_off(self, error: Exception, count: int) -> None:
        self._at_once = max(count // 2, 1)
        self._pause_seconds = min(self._pause_seconds * 2 or 1.0, _LONGEST_PAUSE_SECONDS)
        self._pause = self._clock.callLater(self._pause_seconds, self._resume)
        _log.error(
            "Outcomes could not be recorded ({waiting} waiting); again in {pause} s: {error}",
            waiting=len(self._entries),
            pause=self._pause_seconds,
            error=error,
        )

    def _resume(self) -> None:
        self._pause = None
        if self._entries:
            self._wake()

    async def _record_all(
        self, batch: Sequence[tuple[Outcomes, Report | None]]
    ) -> Exception | None:
        """Record a batch; put what fails back into the entries, and return one of the errors."""
        plain = [entry for entry in batch if entry[1] is None]
        groups = [plain] if plain else []
        groups += [[entry] for entry in batch if entry[1] is not None]
        error = None
        for recording in [Deferred.fromCoroutine(self._record(group)) for group in groups]:
            error = await recording or error
        return error

    async def _record(self, group: Sequence[tuple[Outcomes, Report | None]]) -> Exception | None:
        report = group[0][1]
        outcomes = [outcome for entry in group for outcome in entry[0]]
        try:
            claimed = await self._store.record(outcomes, () if report is None else (report,))
        except Exception as error:
            self._entries.extend(group)
            return error
        self._recorded(outcomes, report, claimed)
        return None
