"""The line in which jobs wait for their destination.

The job of the highest priority goes first, and of the same priority the oldest. But every fourth
turn is for the job that has waited longest: mail of a low priority is slower, it does not stop.

RFC 6710 s4.1, s5
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from postroom.envelope import NewMessage

_FAIR_TURN: Final = 4


class HasMessage(Protocol):
    """What can wait in a line."""

    message: NewMessage


J = TypeVar("J", bound=HasMessage)


class Line(Generic[J]):
    """Jobs in the order of their turns."""

    __slots__ = ("_arrived", "_by_priority", "_length", "_turn")

    def __init__(self) -> None:
        """Create an empty line."""
        # Nearly always there is one priority, hence one queue.
        self._by_priority: dict[int, deque[tuple[int, J]]] = {}
        self._arrived = 0
        self._turn = 0
        self._length = 0

    def __len__(self) -> int:
        """Return the number of jobs."""
        return self._length

    def __iter__(self) -> Iterator[J]:
        """Yield all jobs, the highest priority first."""
        for priority in sorted(self._by_priority, reverse=True):
            yield from (job for _, job in self._by_priority[priority])

    def append(self, job: J) -> None:
        """Add a job at the end of its priority."""
        queue = self._by_priority.get(job.message.priority)
        if queue is None:
            queue = self._by_priority[job.message.priority] = deque()
        self._arrived += 1
        queue.append((self._arrived, job))
        self._length += 1

    def popleft(self) -> J:
        """Remove and return the job whose turn it is; there must be one."""
        priorities = self._by_priority
        if len(priorities) == 1:
            (priority,) = priorities
        else:
            self._turn += 1
            if self._turn % _FAIR_TURN:
                priority = max(priorities)
            else:
                priority = min(priorities, key=lambda each: priorities[each][0][0])
        queue = priorities[priority]
        _, job = queue.popleft()
        if not queue:
            del priorities[priority]
        self._length -= 1
        return job
