"""The committer: the one thread that writes messages into Maildirs.

Theory: it takes all writes that have gathered since it last looked, stores them as one batch
(`batch`, where the durability table is), and tells the reactor all results with one call. There is
no delay to wait for company: batches grow by themselves while the disk is busy. One thread and not
several, because creating files is system calls between which the interpreter lock has to be taken
again: four threads were measured a third slower than one.

Known limit: between its system calls the thread has to get the interpreter lock back from the
reactor's, which gives it up at once only when it has nothing to do. A reactor that computes without
pause is made to give way after `sys.getswitchinterval`, 5 ms unless set, at each call: that is a
few files a second. Whoever runs a busy server sets 0.1 ms, which was measured to give 5 times the
rate then, and to cost nothing otherwise.

A batch has an end: at `DeliverySettings.batch_files` files, and at ``batch_octets`` of content, so
that a small message waits for a few large ones at most.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from postroom.delivery.batch import BatchStore, MaildirFile, MaildirWrite, Outcome
from postroom.delivery.settings import DeliverySettings
from postroom.threads import call_in_reactor


@dataclass(slots=True, eq=False)
class _Job:
    """The writes of one message, or their withdrawal, and who waits for it."""

    files: list[MaildirFile]
    removes: bool = False
    done: "Deferred[Sequence[Outcome]]" = field(default_factory=Deferred)


class Committer:
    """Writes messages into Maildirs. Its methods belong to the reactor's thread.

    The thread begins with the first delivery, hence after any fork, and is a daemon thread: a
    process that ends without `stop` leaves what a crash would leave.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorFromThreads, settings: DeliverySettings) -> None:
        """Take the reactor that gets the results."""
        self._reactor = reactor
        self._batch_files = settings.batch_files
        self._batch_octets = settings.batch_octets
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._store = BatchStore(settings)
        self._thread: threading.Thread | None = None
        self._stopped: Deferred[None] | None = None

    def deliver(self, writes: Sequence[MaildirWrite]) -> "Deferred[Sequence[Outcome]]":
        """Write the files of one message.

        Returns:
            The outcome of each, in order: None if it is durable; else the error, usually an
            OSError, and nothing of it was left behind.
        """
        return self._put(_Job([MaildirFile(write) for write in writes]))

    def withdraw(self, writes: Sequence[MaildirWrite]) -> "Deferred[Sequence[Outcome]]":
        """Remove files that were delivered a moment ago, unless their reader was faster."""
        return self._put(_Job([MaildirFile(write) for write in writes], removes=True))

    def stop(self) -> "Deferred[None]":
        """Finish what was asked for, then end the thread; nothing may be asked for afterwards."""
        if self._thread is None:
            return succeed(None)
        if self._stopped is None:
            self._stopped = Deferred()
            self._jobs.put(None)
        return self._stopped

    def _put(self, job: _Job) -> "Deferred[Sequence[Outcome]]":
        if self._stopped is not None:
            raise RuntimeError("the committer has been stopped")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="maildir", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        return job.done

    def _run(self) -> None:
        """Work until there is no more. This is the thread."""
        more = True
        while more:
            jobs, more = self._gather()
            stored = [file for job in jobs if not job.removes for file in job.files]
            for start in range(0, len(stored), self._batch_files):
                self._attempt(stored[start : start + self._batch_files])
            for job in jobs:
                if job.removes:
                    self._store.remove(job.files)
            if jobs:
                call_in_reactor(self._reactor, _fire, jobs)
        self._store.close()
        call_in_reactor(self._reactor, self._end)

    def _gather(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take what else is there; False beside it when none will come."""
        jobs: list[_Job] = []
        files = octets = 0
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            files += len(job.files)
            octets += sum(file.write.content.size_octets for file in job.files)
            if files >= self._batch_files or octets >= self._batch_octets:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _attempt(self, files: Sequence[MaildirFile]) -> None:
        """Store a batch; a fault of ours fails the batch and not the thread."""
        try:
            self._store.store(files)
        except Exception as error:
            self._log.failure("Maildir batch of {count} files failed", count=len(files))
            for file in files:
                file.outcome = error

    def _end(self) -> None:
        if self._stopped is not None:
            self._stopped.callback(None)


def _fire(jobs: Iterable[_Job]) -> None:
    for job in jobs:
        job.done.callback([file.outcome for file in job.files])
