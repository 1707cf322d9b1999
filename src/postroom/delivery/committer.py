"""The committer: the one thread that writes messages into Maildirs.

Theory: all writes that gather while the disk is busy are stored as one batch (`postroom.batching`
for the thread, `batch` for the durability table). It is one thread and not several, because
creating files is system calls between which the interpreter lock has to be acquired again: four
threads were measured a third slower than one.

Known limit: between its system calls the thread has to get the interpreter lock back from the
reactor's, which releases it at once only when it has nothing to do. A reactor that computes without
pause is made to release it after `sys.getswitchinterval`, 5 ms unless set, at each call: that is a
few files a second. Whoever runs a busy server sets 0.1 ms, which was measured to give 5 times the
rate then, and to cost nothing otherwise.

A batch has an end: at `DeliverySettings.batch_files` files, and at ``batch_octets`` of content, so
that a small message waits for a few large ones at most.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from postroom.batching import BatchLimits, BatchThread
from postroom.delivery.batch import BatchStore, MaildirFile, MaildirWrite, Outcome
from postroom.delivery.settings import DeliverySettings


class _Job:
    """The writes of one message, or their withdrawal, and who waits for it."""

    __slots__ = ("count", "done", "files", "octets", "removes")

    def __init__(self, writes: Sequence[MaildirWrite], removes: bool = False) -> None:
        self.files = [MaildirFile(write) for write in writes]
        self.removes = removes
        self.count = len(writes)
        self.octets = sum(write.content.size_octets for write in writes)
        self.done: Deferred[Sequence[Outcome]] = Deferred()


class Committer:
    """Writes messages into Maildirs. Its methods belong to the reactor's thread.

    The thread starts with the first delivery, hence after any fork. A process that ends without
    `stop` leaves what a crash would leave.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorFromThreads, settings: DeliverySettings) -> None:
        """Prepare the thread.

        Args:
            reactor: gets the results.
            settings: the site's.
        """
        self._batch_files = settings.batch_files
        self._store = BatchStore(settings)
        limits = BatchLimits(settings.batch_files, settings.batch_octets)
        self._thread: BatchThread[_Job] = BatchThread(
            reactor, "maildir", limits, self._commit, _answer, self._store.close
        )

    def deliver(self, writes: Sequence[MaildirWrite]) -> "Deferred[Sequence[Outcome]]":
        """Write the files of one message.

        Returns:
            The outcome of each, in order: None if it is durable; else the error, usually an
            OSError, and nothing of it was left behind.
        """
        return self._submit(_Job(writes))

    def withdraw(self, writes: Sequence[MaildirWrite]) -> "Deferred[Sequence[Outcome]]":
        """Remove files that were delivered a moment ago, unless their reader was faster."""
        return self._submit(_Job(writes, removes=True))

    def stop(self) -> "Deferred[None]":
        """Finish all writes, then end the thread; no further calls are allowed."""
        return self._thread.stop()

    def _submit(self, job: _Job) -> "Deferred[Sequence[Outcome]]":
        if self._thread.stopping:
            raise RuntimeError("the committer has been stopped")
        self._thread.start()
        self._thread.submit(job)
        return job.done

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Store the files of a batch, then remove what is withdrawn. In the thread."""
        stored = [file for job in jobs if not job.removes for file in job.files]
        # One message may have more files than a batch.
        for start in range(0, len(stored), self._batch_files):
            self._attempt(stored[start : start + self._batch_files])
        for job in jobs:
            if job.removes:
                self._store.remove(job.files)

    def _attempt(self, files: Sequence[MaildirFile]) -> None:
        """Store files; an unexpected exception fails them and not the thread."""
        try:
            self._store.store(files)
        except Exception as error:
            self._log.failure("Maildir batch of {count} files failed", count=len(files))
            for file in files:
                file.outcome = error


def _answer(jobs: Sequence[_Job]) -> None:
    """Fire the Deferreds of a batch. In the reactor's thread."""
    for job in jobs:
        job.done.callback([file.outcome for file in job.files])
