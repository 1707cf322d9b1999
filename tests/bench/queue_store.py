"""How fast the queue store is: messages a second, and CPU time of the process for each.

    python -m tests.bench.queue_store [--messages N] [--database URL]

Jobs: `put` stores and keeps; `put+done` records each message as done as soon as it is stored, which
is the usual life of a message; `put+done, busy` does the same while the reactor's thread is kept
busy, as it is under load; `10 MB` streams large messages. Compare runs made one after another only.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zope.interface import implementer

from postroom.database import migrate, open_database
from postroom.envelope import NewMessage, new_queue_id
from postroom.interfaces import IContent
from postroom.queue.model import Done
from postroom.queue.store import SqlQueueStore
from postroom.wire.commands import Rcpt
from postroom.wire.paths import mailbox


@implementer(IContent)
class Repeated:
    """A content that is one chunk over and over."""

    def __init__(self, chunk: bytes, times: int = 1) -> None:
        self._chunk = chunk
        self._times = times
        self.size_octets = len(chunk) * times

    def chunks(self) -> Iterator[bytes]:
        return iter([self._chunk] * self._times)

    def in_memory(self) -> Sequence[bytes] | None:
        return None


NULL = os.open(os.devnull, os.O_WRONLY)
SENDER, RECIPIENT = mailbox("sender@example.org"), mailbox("recipient@example.net")


def new_message() -> NewMessage:
    return NewMessage(new_queue_id(), SENDER, (Rcpt(RECIPIENT),), time.time())


async def put_all(
    store: Any, content: Repeated, count: int, streams: int, done: bool, busy: bool
) -> None:
    """Keep `streams` messages under way until `count` were stored."""
    from twisted.internet import defer, reactor

    left = count

    async def stream() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            claimed = await store.put(new_message(), content)
            if done:
                await store.record([Done(claimed.recipients[0])])

    running = True

    def burn() -> None:
        # Like a reactor under load: a tenth of a millisecond of Python, then a system call.
        for _ in range(10):
            until = time.perf_counter() + 0.0001
            while time.perf_counter() < until:
                pass
            os.write(NULL, b"x" * 1000)
        if running:
            reactor.callLater(0, burn)  # type: ignore[attr-defined]

    if busy:
        burn()
    await defer.gatherResults([defer.Deferred.fromCoroutine(stream()) for _ in range(streams)])
    running = False


async def measure(name: str, store: Any, content: Repeated, count: int, **how: Any) -> None:
    began, cpu_began = time.perf_counter(), time.process_time()
    await put_all(store, content, count, **how)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    rate, each = count / took, cpu / count * 1e6
    megabytes = count * content.size_octets / took / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{name:24} {rate:9.0f}/s {each:9.0f} us CPU {megabytes:8.1f} MB/s {peak:5} MiB peak")


async def run(options: argparse.Namespace) -> None:
    from twisted.internet import reactor

    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        engine = open_database(options.database or f"sqlite:///{Path(folder)}/queue.db")
        migrate(engine)
        store = SqlQueueStore(engine, reactor)  # type: ignore[arg-type]
        store.start()
        small, large = Repeated(b"x" * 4096), Repeated(b"y" * 65536, 160)
        count = options.messages
        for streams in (1, 20, 200):
            how = {"streams": streams, "busy": False}
            n = count if streams > 1 else count // 10
            await measure(f"put x{streams}", store, small, n, done=False, **how)
            await measure(f"put+done x{streams}", store, small, n, done=True, **how)
        await measure("put+done x200, busy", store, small, count, done=True, busy=True, streams=200)
        await measure("10 MB put+done x4", store, large, 40, done=True, busy=False, streams=4)
        await store.stop()
        engine.dispose()
        for file in sorted(Path(folder).iterdir()):
            print(f"{file.name:24} {file.stat().st_size / 1e6:9.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--database", help="URL; a new SQLite file by default")
    parser.add_argument("--directory", help="where that file is made")
    options = parser.parse_args()
    from twisted.internet import defer, task

    def react(_: Any) -> Any:
        return defer.Deferred.fromCoroutine(run(options))

    task.react(react)


if __name__ == "__main__":
    sys.exit(main())
