"""A process that puts messages and says what became of each, for tests that harm it.

    python -m tests.queue.putter URL COUNT [FILE_SIZE_LIMIT]

For each message it prints ``start`` and the id, then ``stored`` or ``refused``, id and reply code.
After half of them it lifts the limit, if it had one.
"""

import hashlib
import resource
import sys
from typing import Any

from twisted.internet import defer, task

from postroom.database import migrate, open_database
from postroom.envelope import NewMessage
from postroom.errors import reply_for
from postroom.queue.store import SqlQueueStore
from tests.queue.samples import Content, new_message


def content_of(message_id: str) -> bytes:
    """Return the content that belongs to an id: over three pages, different for each."""
    return hashlib.sha256(message_id.encode()).digest() * 800


def say(*words: object) -> None:
    print(*words, flush=True)


async def put_one(store: SqlQueueStore, message: NewMessage) -> None:
    say("start", message.id)
    try:
        await store.put(message, Content(content_of(message.id)))
    except Exception as error:
        say("refused", message.id, reply_for(error).code)
    else:
        say("stored", message.id, 250)


async def run(reactor: Any, url: str, count: int, limit: int) -> None:
    engine = open_database(url)
    migrate(engine)
    store = SqlQueueStore(engine, reactor)
    store.start()
    for half in range(2):
        if limit:
            soft = limit if half == 0 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
        for _ in range(count // 10):
            await defer.gatherResults(
                [defer.Deferred.fromCoroutine(put_one(store, new_message())) for _ in range(5)]
            )
    await store.stop()
    engine.dispose()


if __name__ == "__main__":
    url, count, *limit = sys.argv[1:]
    arguments = (url, int(count), int(limit[0]) if limit else 0)
    task.react(lambda reactor: defer.Deferred.fromCoroutine(run(reactor, *arguments)))
