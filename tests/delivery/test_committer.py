"""Claims about the committer's thread."""

import errno
import os
import threading

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from postroom.delivery import batch
from postroom.delivery.batch import MaildirWrite
from postroom.delivery.committer import Committer
from postroom.delivery.maildir import message_key
from postroom.delivery.spool import MemoryContent
from tests.delivery.support import MESSAGE, as_lf, files_in, settings
from tests.filesystem import open_descriptors


class CommitterCase(TestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.committer = self.new_committer()

    def new_committer(self, **changes: int) -> Committer:
        made = Committer(reactor, settings(**changes))  # type: ignore[arg-type]
        self.addCleanup(made.stop)
        return made

    def write(self, number: int, octets: bytes = MESSAGE) -> MaildirWrite:
        key = message_key(1_763_812_987, f"Q{number}", "u@here.example")
        return MaildirWrite(self.root, key, b"", MemoryContent([octets]))

    def new(self) -> list[bytes]:
        return list(files_in(f"{self.root}/new").values())


class Delivering(CommitterCase):
    async def test_tells_the_outcome_of_each_write_in_the_reactors_thread(self) -> None:
        os.makedirs(self.root)
        open(f"{self.root}/file", "w").close()
        bad = MaildirWrite(f"{self.root}/file", "1.Q_0.", b"", MemoryContent([b"x"]))
        seen = []
        done = self.committer.deliver([self.write(1), bad, self.write(2)])
        done.addCallback(lambda outcomes: seen.append(threading.current_thread()) or outcomes)
        outcomes = await done
        self.assertEqual([outcomes[0], outcomes[2]], [None, None])
        self.assertEqual(getattr(outcomes[1], "errno", None), errno.ENOTDIR)
        self.assertEqual(seen, [threading.main_thread()])
        self.assertEqual(self.new(), [as_lf(MESSAGE)] * 2)

    async def test_what_gathers_while_it_works_shares_a_directory_sync(self) -> None:
        await self.committer.deliver([self.write(0)])
        working, go_on = threading.Event(), threading.Event()
        syncs: list[str] = []
        true = os.fsync

        def fsync(descriptor: int) -> None:
            syncs.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            working.set()
            go_on.wait(10)
            true(descriptor)

        self.patch(batch.os, "fsync", fsync)
        first = self.committer.deliver([self.write(1)])
        working.wait(10)
        others = [self.committer.deliver([self.write(n)]) for n in range(2, 12)]
        go_on.set()
        await gatherResults([first, *others])
        self.assertEqual(syncs.count(f"{self.root}/new"), 2)
        self.assertEqual(len(self.new()), 12)

    async def test_a_message_of_more_files_than_a_batch_is_stored_whole(self) -> None:
        committer = self.new_committer(batch_files=4)
        outcomes = await committer.deliver([self.write(n) for n in range(11)])
        self.assertEqual(outcomes, [None] * 11)
        self.assertEqual(len(self.new()), 11)

    async def test_a_batch_ends_when_it_holds_enough(self) -> None:
        committer = self.new_committer(batch_octets=1000)
        results = [committer.deliver([self.write(n, b"x" * 900)]) for n in range(5)]
        self.assertEqual(await gatherResults(results), [[None]] * 5)

    async def test_a_fault_of_ours_fails_the_batch_and_not_the_thread(self) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        patched = self.patch(batch, "_sync_directories", broken)
        (outcome,) = await self.committer.deliver([self.write(1)])
        self.assertIsInstance(outcome, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        patched.restore()
        self.assertEqual(await self.committer.deliver([self.write(2)]), [None])

    async def test_withdrawing_removes_what_was_delivered(self) -> None:
        writes = [self.write(1), self.write(2)]
        await self.committer.deliver(writes)
        await self.committer.withdraw(writes[:1])
        self.assertEqual(len(self.new()), 1)


class Stopping(CommitterCase):
    async def test_finishes_what_was_asked_for(self) -> None:
        delivered = [self.committer.deliver([self.write(n)]) for n in range(100)]
        await self.committer.stop()
        self.assertEqual([self.successResultOf(one) for one in delivered], [[None]] * 100)
        self.assertEqual(len(self.new()), 100)
        self.assertEqual([name for name in open_descriptors() if self.root in name], [])

    async def test_takes_nothing_afterwards(self) -> None:
        await self.committer.deliver([self.write(1)])
        await self.committer.stop()
        self.assertRaises(RuntimeError, self.committer.deliver, [self.write(2)])

    async def test_costs_nothing_if_nothing_was_delivered(self) -> None:
        before = threading.active_count()
        await self.new_committer().stop()
        self.assertEqual(threading.active_count(), before)
