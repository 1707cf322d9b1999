"""The queue as deliveries see it: a message is stored, then sent.

A message is stored first and sent second. When the store has made it durable, the relay gets it at
once, claimed already and with its content still in memory: nothing is read back, and no poll is
needed. Content too large to be in memory is read from the store as it is sent. When the
room for all that is used up, or the relay is stopping, or the message is to be held, it is stored
unclaimed instead and the relay fetches it later.

Invariant: the outcome in the relay never changes the answer to the delivery.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.envelope import NewMessage, Notice
from postroom.interfaces import IContent, IQueue, IQueueFlush
from postroom.queue.batch import CHUNK_OCTETS
from postroom.queue.dsn import header_of
from postroom.queue.model import ClaimedMessage, IQueueStore
from postroom.queue.relay import Relay
from postroom.queue.sources import MemorySource, Source, StoreSource

_log = Logger()


@implementer(IQueue, IQueueFlush)
class Queue:
    """The durable queue, in front of its store and its relay."""

    def __init__(self, store: IQueueStore, relay: Relay) -> None:
        """Create it from both; neither is started nor closed here."""
        self._store = store
        self._relay = relay

    def enqueue(self, message: NewMessage, content: IContent) -> Deferred[None]:
        """See `IQueue.enqueue`."""
        relay = self._relay
        if message.held_until is not None:
            return self._store.put(message, content, claim=False).addCallback(_nothing)
        pieces = content.in_memory()
        size: int = content.size_octets
        if relay.stopping or not relay.budget.reserve(size if pieces is not None else 0):
            return self._store.put(message, content, claim=False).addCallback(_nothing)
        source: Source
        if pieces is not None:
            # In one piece, though trace fields and body come apart: a client that has it all at
            # once sends it in one write.
            whole = (b"".join(pieces),) if size <= CHUNK_OCTETS else tuple(pieces)
            source = MemorySource(whole, size, relay.budget)
        else:
            source = StoreSource(self._store, message.id, size, relay.budget)
        stored = self._store.put(message, content)
        return stored.addCallbacks(self._submit, _close, (source,), {}, (source,))

    def notify(
        self, message: NewMessage, header: bytes, notices: Sequence[Notice]
    ) -> Deferred[None]:
        """See `IQueue.notify`."""
        report = self._relay.make_report(message, header_of(header), notices)
        return self.enqueue(report.message, report.content) if report else succeed(None)

    def flush_domain(self, domain: str, subdomains: bool) -> "Deferred[int | None]":
        """See `IQueueFlush.flush_domain`: any domain is allowed, since only listed peers may ask.

        RFC 1985 s3
        """
        return self._store.flush(domain, subdomains).addCallback(self._flushed, domain)

    def _flushed(self, count: int, domain: str) -> int | None:
        if count:
            self._relay.hurry(domain)
        return count

    def _submit(self, claimed: ClaimedMessage | None, source: Source) -> None:
        """Submit the stored message to the relay; if that fails, its lease expires."""
        try:
            if claimed is None:
                source.close()
            else:
                self._relay.submit(claimed, source)
        except Exception:
            source.close()
            _log.failure("A message was queued, but its delivery could not be started")


def _nothing(_: object) -> None:
    """Drop the store's answer: the queue's is None."""


def _close(failure: Failure, source: Source) -> Failure:
    source.close()
    return failure
