"""The content of a message to be sent: from memory, or from the store.

A message that was just accepted, or a report that was just made, is sent from the memory it is in
already, as long as all such content stays within the `Budget`; any other is read from the store,
one piece at a time.

Invariants: what is reserved in a `Budget` is released exactly once, by `close`. A content that got
shorter after its size was announced (somebody removed the message from the queue in the meantime)
is never sent as if it were whole: the missing piece is an error.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from postroom.errors import PostroomError
from postroom.interfaces import IChunkSource
from postroom.queue.model import IQueueStore


class ContentGone(PostroomError):
    """The content ended before its announced size; whoever sends it must break off, not end it."""


class Budget:
    """How much content may stay in memory; counts octets and messages."""

    def __init__(self, octets: int, messages: int) -> None:
        """Create a budget of which nothing is used."""
        self._octets = octets
        self._messages = messages

    def reserve(self, octets: int) -> bool:
        """Reserve room for one message of a size; return whether there was enough."""
        if self._messages < 1 or self._octets < octets:
            return False
        self._messages -= 1
        self._octets -= octets
        return True

    def release(self, octets: int) -> None:
        """Release the room of one message of that size."""
        self._messages += 1
        self._octets += octets


@implementer(IChunkSource)
class MemorySource:
    """Content in memory, whose size counts against a budget until it is closed."""

    __slots__ = ("_budget", "_pieces", "size_octets")

    def __init__(self, pieces: Sequence[bytes], size_octets: int, budget: Budget) -> None:
        """Create it from pieces, which nobody may change from now on."""
        self._pieces: Sequence[bytes] = pieces
        self._budget: Budget | None = budget
        self.size_octets = size_octets

    def chunk(self, index: int) -> bytes:
        """See `IChunkSource.chunk`."""
        if self._budget is None:
            raise ContentGone("the content was closed")
        return self._pieces[index] if index < len(self._pieces) else b""

    def close(self) -> None:
        """Release the content, and its room in the budget."""
        if self._budget is not None:
            self._budget.release(self.size_octets)
            self._budget, self._pieces = None, ()


@implementer(IChunkSource)
class StoreSource:
    """Content in the store."""

    __slots__ = ("_budget", "_id", "_lengths", "_store", "size_octets")

    def __init__(
        self,
        store: IQueueStore,
        message_id: str,
        size_octets: int,
        budget: Budget | None = None,
    ) -> None:
        """Create it for a stored message; ``budget`` has room for it until `close`."""
        self._store = store
        self._budget = budget
        self._id = message_id
        self._lengths: dict[int, int] = {}
        self.size_octets = size_octets

    def chunk(self, index: int) -> Deferred[bytes]:
        """See `IChunkSource.chunk`.

        Raises:
            ContentGone: through the Deferred; the store has less than the announced size.
        """
        return self._store.chunk(self._id, index).addCallback(self._check, index)

    def _check(self, piece: bytes, index: int) -> bytes:
        self._lengths[index] = len(piece)
        if not piece and sum(self._lengths.values()) < self.size_octets:
            raise ContentGone(f"message {self._id} ends before its {self.size_octets} octets")
        return piece

    def close(self) -> None:
        """Release what was reserved in the budget."""
        if self._budget is not None:
            self._budget.release(0)
            self._budget = None


Source = MemorySource | StoreSource
