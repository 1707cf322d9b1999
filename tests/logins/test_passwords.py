"""The pool in which hashes are made, with real threads."""

import os
import threading

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import Refusal
from postroom.logins.hashing import PasswordVerdict
from postroom.logins.passwords import PasswordPool
from tests.directory.support import CHEAP, QueueReactor


class _GatedHashing:
    """Takes as long as the test wants, and remembers what it was asked and where."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)
        self.offered: list[bytes] = []
        self.threads: set[int] = set()

    def prepare(self) -> None: ...

    def verify(self, stored: object, offered: bytes) -> PasswordVerdict:
        self.offered.append(offered)
        self.threads.add(threading.get_ident())
        self.begun.release()
        assert self.gate.wait(10)
        return PasswordVerdict(True)


class PasswordPoolTests(SynchronousTestCase):
    def start(self, hashing: object, **limits: int) -> PasswordPool:
        self.reactor = QueueReactor()
        pool = PasswordPool(hashing, self.reactor, **limits)  # type: ignore[arg-type]
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    def test_it_verifies_and_hashes(self) -> None:
        pool = self.start(CHEAP)
        hashed = pool.hash(b"right")
        self.reactor.wait_for(hashed)
        verdict = pool.verify((self.successResultOf(hashed),), b"right")
        self.reactor.wait_for(verdict)
        self.assertTrue(self.successResultOf(verdict).matches)

    def test_the_work_is_done_in_other_threads(self) -> None:
        hashing = _GatedHashing()
        hashing.gate.set()
        result = self.start(hashing).verify((), b"x")
        self.reactor.wait_for(result)
        self.assertNotIn(threading.get_ident(), hashing.threads)

    def test_the_threads_stand_back_for_the_reactor(self) -> None:
        niceness: list[int] = []

        class Asking(_GatedHashing):
            def verify(self, stored: object, offered: bytes) -> PasswordVerdict:
                niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
                return PasswordVerdict(True)

        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        result = self.start(Asking()).verify((), b"x")
        self.reactor.wait_for(result)
        self.assertEqual(niceness, [min(max(own, 10), 19)])
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), own)

    def test_when_enough_wait_the_next_is_refused_for_now(self) -> None:
        hashing = _GatedHashing()
        pool = self.start(hashing, threads=1, waiting=1)
        first, second = pool.verify((), b"1"), pool.verify((), b"2")
        refusal = self.failureResultOf(pool.verify((), b"3"), Refusal).value
        self.assertEqual((refusal.reply.code, refusal.reply.enhanced), (454, "4.7.0"))
        hashing.gate.set()
        self.reactor.wait_for(first)
        self.reactor.wait_for(second)
        again = pool.verify((), b"4")
        self.reactor.wait_for(again)
        self.assertTrue(self.successResultOf(again).matches)

    def test_giving_up_makes_no_room_before_a_thread_is_free(self) -> None:
        hashing = _GatedHashing()
        pool = self.start(hashing, threads=1, waiting=0)
        abandoned = pool.verify((), b"1")
        assert hashing.begun.acquire(timeout=10)
        abandoned.cancel()
        self.failureResultOf(abandoned, CancelledError)
        self.failureResultOf(pool.verify((), b"2"), Refusal)
        hashing.gate.set()

    def test_what_was_given_up_before_its_turn_is_not_computed(self) -> None:
        hashing = _GatedHashing()
        pool = self.start(hashing, threads=1, waiting=2)
        first, abandoned, last = (pool.verify((), each) for each in (b"1", b"2", b"3"))
        assert hashing.begun.acquire(timeout=10)
        abandoned.cancel()
        self.failureResultOf(abandoned, CancelledError)
        hashing.gate.set()
        self.reactor.wait_for(first)
        self.reactor.wait_for(last)
        self.assertEqual(hashing.offered, [b"1", b"3"])

    def test_stopping_gives_up_what_waits(self) -> None:
        hashing = _GatedHashing()
        pool = self.start(hashing, threads=1, waiting=1)
        pool.verify((), b"1")
        waiting = pool.verify((), b"2")
        assert hashing.begun.acquire(timeout=10)
        stopper = threading.Thread(target=pool.stop)
        stopper.start()
        hashing.gate.set()
        stopper.join(10)
        self.assertEqual(hashing.offered, [b"1"])
        self.reactor.wait_for(waiting)
        self.failureResultOf(waiting, Refusal)
