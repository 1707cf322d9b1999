"""Group commit: one thread that does all the work that has gathered, a batch at a time.

Theory: jobs are submitted in the reactor's thread. While one batch is being written to the disk,
new jobs gather; the next batch takes them all. So an idle process commits a lone job at once, a
busy one shares each sync among hundreds, and no delay is ever waited for. When a batch is done, one
call in the reactor answers all its jobs.

Invariants: a batch is answered exactly once, after its commit. Batches are committed in the order
of their jobs. The thread ends only by `BatchThread.stop`; a wake-up of the reactor that fails does
not end it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads

from postroom.threads import call_in_reactor


class BatchJob(Protocol):
    """A job, as far as the limits of a batch are concerned."""

    @property
    def count(self) -> int:
        """How many rows or files it makes the batch grow by."""

    @property
    def octets(self) -> int:
        """How much content it makes the batch grow by."""


J = TypeVar("J", bound=BatchJob)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full: no further job is added once one of these is reached.

    Attributes:
        count: the sum of the jobs' counts.
        octets: the sum of their octets.
    """

    count: int
    octets: int


class BatchThread(Generic[J]):
    """The thread. Its methods belong to the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        limits: BatchLimits,
        commit: Callable[[Sequence[J]], None],
        answer: Callable[[Sequence[J]], None],
        close: Callable[[], None],
    ) -> None:
        """Prepare the thread; `start` starts it.

        Args:
            reactor: where jobs are answered.
            name: the thread's, for debuggers.
            limits: of a batch.
            commit: called in the thread with each batch. Must not raise: what fails is noted in
                the jobs.
            answer: called in the reactor with each batch that was committed, or has failed.
            close: called in the thread, after the last batch.
        """
        self._reactor = reactor
        self._limits = limits
        self._commit = commit
        self._answer = answer
        self._close = close
        self._jobs: SimpleQueue[J | None] = SimpleQueue()
        # A daemon thread: a process that ends without `stop` must not be held up by it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False
        self._stopped: Deferred[None] | None = None

    @property
    def stopping(self) -> bool:
        """True from the call of `stop`."""
        return self._stopped is not None

    def start(self) -> None:
        """Start the thread, unless it runs already; jobs may be submitted before."""
        if not self._started:
            self._started = True
            self._thread.start()

    def submit(self, job: J) -> None:
        """Add a job to the next batch; not after `stop`."""
        self._jobs.put(job)

    def stop(self) -> "Deferred[None]":
        """Accept no more jobs; fires when all that were submitted are answered."""
        if not self._started:
            return succeed(None)
        if self._stopped is None:
            self._stopped = Deferred()
            self._jobs.put(None)
        return self._stopped

    def _run(self) -> None:
        """Commit batches until there are no more. This is the thread."""
        more = True
        while more:
            batch, more = self._gather()
            if batch:
                self._commit(batch)
                call_in_reactor(self._reactor, self._answer, batch)
        self._close()
        call_in_reactor(self._reactor, self._end)

    def _gather(self) -> tuple[list[J], bool]:
        """Wait for a job, then add what else is there; False beside them if none will follow."""
        batch: list[J] = []
        count = octets = 0
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            count += job.count
            octets += job.octets
            if count >= self._limits.count or octets >= self._limits.octets:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _end(self) -> None:
        if self._stopped is not None:
            self._stopped.callback(None)
