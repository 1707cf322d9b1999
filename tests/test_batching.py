"""The thread that commits batches."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from postroom.batching import BatchLimits, BatchThread


@dataclass(eq=False)
class Job:
    """Says in which threads it was committed and answered."""

    number: int
    octets: int = 1
    count: int = 1
    threads: list[str] = field(default_factory=list)
    done: "Deferred[int]" = field(default_factory=Deferred)


class BatchThreadTests(TestCase):
    """The first batch is held back, so that what follows gathers."""

    def setUp(self) -> None:
        self.batches: list[list[int]] = []
        self.closed: list[str] = []
        self.working, self.go_on = threading.Event(), threading.Event()
        self.thread = self.make(BatchLimits(3, 100))

    def make(self, limits: BatchLimits) -> BatchThread[Job]:
        return BatchThread(
            reactor,  # type: ignore[arg-type]
            "batches",
            limits,
            self.commit,
            self.answer,
            lambda: self.closed.append(threading.current_thread().name),
        )

    def commit(self, jobs: Sequence[Job]) -> None:
        self.working.set()
        self.go_on.wait(30)
        self.batches.append([job.number for job in jobs])
        for job in jobs:
            job.threads.append(threading.current_thread().name)

    def answer(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.threads.append(threading.current_thread().name)
            job.done.callback(job.number)

    async def gathered(self, jobs: Sequence[Job]) -> list[list[int]]:
        """Submit jobs while a first one is at work; return the batches that followed it."""
        self.thread.start()
        first = Job(0)
        self.thread.submit(first)
        self.working.wait(30)
        for job in jobs:
            self.thread.submit(job)
        self.go_on.set()
        await gatherResults([job.done for job in (first, *jobs)])
        await self.thread.stop()
        return self.batches[1:]

    async def test_what_gathers_is_one_batch_in_order(self) -> None:
        self.assertEqual(await self.gathered([Job(1), Job(2)]), [[1, 2]])

    async def test_a_batch_ends_at_its_count(self) -> None:
        jobs = [Job(1), Job(2), Job(3), Job(4)]
        self.assertEqual(await self.gathered(jobs), [[1, 2, 3], [4]])

    async def test_a_job_may_count_for_several(self) -> None:
        self.assertEqual(await self.gathered([Job(1, count=5), Job(2)]), [[1], [2]])

    async def test_a_batch_ends_at_its_octets(self) -> None:
        jobs = [Job(1, 60), Job(2, 60), Job(3, 60)]
        self.assertEqual(await self.gathered(jobs), [[1, 2], [3]])

    async def test_jobs_are_committed_in_the_thread_and_answered_in_the_reactors(self) -> None:
        job = Job(1)
        await self.gathered([job])
        self.assertEqual(job.threads, ["batches", threading.main_thread().name])

    async def test_stopping_finishes_what_was_submitted_and_closes_in_the_thread(self) -> None:
        self.go_on.set()
        jobs = [Job(number) for number in range(10)]
        for job in jobs:
            self.thread.submit(job)
        self.thread.start()
        stopped = self.thread.stop()
        self.assertIs(self.thread.stop(), stopped)
        self.assertTrue(self.thread.stopping)
        await stopped
        self.assertEqual([self.successResultOf(job.done) for job in jobs], list(range(10)))
        self.assertEqual(self.closed, ["batches"])

    def test_what_was_never_started_has_stopped_already(self) -> None:
        self.successResultOf(self.thread.stop())
        self.assertEqual(self.closed, [])
