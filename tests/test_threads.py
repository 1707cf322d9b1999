"""Threads outlive a wake-up of the reactor that failed."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from postroom.database import migrate, open_database
from postroom.delivery.committer import Committer
from postroom.queue.store import SqlQueueStore
from postroom.threads import call_in_reactor
from tests.delivery.support import settings
from tests.delivery.test_committer import CommitterCase
from tests.queue.samples import Content, new_message


class DeafReactor:
    """The reactor, whose waker cannot be written to: calls are queued and the caller hears so."""

    def callFromThread(self, call: Callable[..., object], *arguments: Any) -> None:
        reactor.callFromThread(call, *arguments)  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")


class WakingTests(CommitterCase):
    """Each does its work twice: the thread is there for the second time."""

    def test_the_call_is_made(self) -> None:
        called: Deferred[int] = Deferred()
        call_in_reactor(DeafReactor(), called.callback, 7)  # type: ignore[arg-type]
        return called.addCallback(self.assertEqual, 7)  # type: ignore[return-value]

    async def test_maildirs_are_written(self) -> None:
        self.committer = Committer(DeafReactor(), settings())  # type: ignore[arg-type]
        self.addCleanup(self.committer.stop)
        for number in range(2):
            self.assertEqual(list(await self.committer.deliver([self.write(number)])), [None])

    async def test_the_queue_is_written(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        engine = open_database(f"sqlite:///{folder / 'postroom.db'}")
        self.addCleanup(engine.dispose)
        migrate(engine)
        store = SqlQueueStore(engine, DeafReactor())  # type: ignore[arg-type]
        store.start()
        self.addCleanup(store.stop)
        for _ in range(2):
            self.assertIsNotNone(await store.put(new_message(), Content(b"x")))
