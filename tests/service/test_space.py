"""Tests for `postroom.service.space`."""

from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.service.space import FreeSpace


@implementer(IReactorFromThreads)
class Reactor(Clock):
    """A clock; what comes from threads is called at once."""

    def callFromThread(self, call: Any, *args: Any, **kwargs: Any) -> None:
        call(*args, **kwargs)


class Pool:
    """Runs work at once, and counts it."""

    count = 0

    def callInThreadWithCallback(self, done: Any, work: Any, *args: Any, **kwargs: Any) -> None:
        self.count += 1
        try:
            result = work(*args, **kwargs)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)


class FreeSpaceTests(SynchronousTestCase):
    """What is asked, and how often."""

    def watch(self, directory: Path, least: int) -> FreeSpace:
        self.reactor, self.pool = Reactor(), Pool()
        watched = FreeSpace(self.reactor, self.pool, directory, least)  # type: ignore[arg-type]
        watched.start()
        self.addCleanup(watched.stop)
        return watched

    def test_there_is_room_for_what_fits(self) -> None:
        watched = self.watch(Path.cwd(), 1)
        assert watched.free_octets is not None
        self.assertTrue(watched.has_room(0))
        self.assertTrue(watched.has_room(watched.free_octets))
        self.assertFalse(watched.has_room(watched.free_octets + 1))

    def test_with_too_little_left_there_is_room_for_nothing(self) -> None:
        self.assertFalse(self.watch(Path.cwd(), 10**18).has_room(0))

    def test_it_is_asked_every_few_seconds_however_often_it_is_needed(self) -> None:
        watched = self.watch(Path.cwd(), 1)
        for _ in range(100):
            watched.has_room(1)
        self.assertEqual(self.pool.count, 1)
        self.reactor.pump([1] * 10)
        self.assertEqual(self.pool.count, 3)

    def test_a_disk_that_cannot_be_asked_has_room(self) -> None:
        watched = self.watch(Path("/nonexistent"), 10**18)
        self.assertTrue(watched.has_room(10**17))
