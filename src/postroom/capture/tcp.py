"""Reassembles TCP streams from captured segments.

Theory. Each direction knows the number of the octet that it expects next. A segment that starts
there is delivered. Of one that starts earlier only the new octets are used, since the others are a
retransmission. One that starts later waits. A gap is final once the receiver has acknowledged
octets behind it (it got what the capture did not), once too much waits behind it, or at the end.

Of octets that were sent twice and differently the first are used, as most receivers do.

Who controls the input: both peers and the author of the capture. What waits is bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from postroom.capture.files import Endpoint, Segment

WAITING_OCTETS: Final = 4 << 20
"""How much may wait behind a hole; ten times a usual window."""
_WAITING_SEGMENTS: Final = 4096


@dataclass(frozen=True, slots=True)
class StreamPart:
    """Octets of a stream in order, or a gap in it.

    Attributes:
        time: when they became readable.
        from_client: True if the client sent them.
        octets: what was sent; empty where `lost` is not 0.
        lost: how many octets the capture lacks at this place.
    """

    time: float
    from_client: bool
    octets: bytes
    lost: int = 0


class _Direction:
    """One direction of a connection."""

    def __init__(self, from_client: bool) -> None:
        self.from_client = from_client
        self.expected: int | None = None
        self.acknowledged: int | None = None
        self.seen = self.said = self.ended = False
        self._waiting: dict[int, bytes] = {}
        self._waiting_octets = 0

    def take(self, segment: Segment) -> Iterator[StreamPart]:
        self.seen = True
        begins = (segment.sequence + segment.syn) % 2**32  # the SYN has a number of its own
        if self.expected is None:
            self.expected = begins
        if segment.payload:
            self.said = True
            yield from self._add(segment.time, begins, segment.payload)
        self.ended = self.ended or segment.fin

    def _add(self, time: float, sequence: int, payload: bytes) -> Iterator[StreamPart]:
        ahead = self._distance(sequence)
        if ahead > 0:
            held = self._waiting.get(sequence, b"")
            if len(payload) > len(held):
                self._waiting[sequence] = payload
                self._waiting_octets += len(payload) - len(held)
            too_much = self._waiting_octets > WAITING_OCTETS
            if too_much or len(self._waiting) > _WAITING_SEGMENTS or self._is_past(sequence):
                yield from self._give_up(time)
            return
        payload = payload[-ahead:]  # all of it where nothing was sent before
        if payload:
            yield self._deliver(time, payload)
            yield from self._catch_up(time)

    def _deliver(self, time: float, octets: bytes) -> StreamPart:
        assert self.expected is not None
        self.expected = (self.expected + len(octets)) % 2**32
        return StreamPart(time, self.from_client, octets)

    def _catch_up(self, time: float) -> Iterator[StreamPart]:
        """Deliver what waited for what has come."""
        while self._waiting:
            sequence = min(self._waiting, key=self._distance)
            ahead = self._distance(sequence)
            if ahead > 0:
                return
            payload = self._waiting.pop(sequence)
            self._waiting_octets -= len(payload)
            if payload[-ahead:]:
                yield self._deliver(time, payload[-ahead:])

    def _give_up(self, time: float) -> Iterator[StreamPart]:
        """Count the octets before the first that waits as lost, and continue behind them."""
        if self._waiting:
            sequence = min(self._waiting, key=self._distance)
            yield StreamPart(time, self.from_client, b"", self._distance(sequence))
            self.expected = sequence
            yield from self._catch_up(time)

    def acknowledge(self, time: float, number: int) -> Iterator[StreamPart]:
        """Record that the other side acknowledged everything before a sequence number."""
        if self.expected is None:
            self.expected = number
        if self.acknowledged is None or self._distance(number) > self._distance(self.acknowledged):
            self.acknowledged = number
        while self._waiting and self._is_past(min(self._waiting, key=self._distance)):
            yield from self._give_up(time)

    def _is_past(self, sequence: int) -> bool:
        """Return whether the receiver has everything before a sequence number."""
        got = self.acknowledged
        return got is not None and self._distance(got) >= self._distance(sequence)

    def finish(self, time: float) -> Iterator[StreamPart]:
        """Deliver what still waits, and count what never came."""
        while self._waiting:
            yield from self._give_up(time)
        if self.acknowledged is not None:
            missing = self._distance(self.acknowledged)
            if missing > 1:  # one alone is the FIN, seen or not
                yield StreamPart(time, self.from_client, b"", missing - self.ended)

    def _distance(self, sequence: int) -> int:
        """Return how far a sequence number is ahead of the expected one; negative if behind."""
        assert self.expected is not None
        return (sequence - self.expected + 2**31) % 2**32 - 2**31


class TcpConnection:
    """One TCP connection.

    Attributes:
        client: the side that opened it, or probably did.
        server: the other one.
        from_start: False if the capture began within the connection.
        reset: True if either side reset it.
    """

    def __init__(self, client: Endpoint, server: Endpoint, from_start: bool) -> None:
        """Create a connection without octets."""
        self.client = client
        self.server = server
        self.from_start = from_start
        self.reset = False
        self._time = 0.0
        self._said = (_Direction(True), _Direction(False))

    @property
    def over(self) -> bool:
        """True once both sides have ended, or one has reset."""
        return self.reset or all(each.ended for each in self._said)

    @property
    def begun(self) -> bool:
        """True once anybody has said anything."""
        return any(each.said for each in self._said)

    @property
    def unheard(self) -> str | None:
        """The side of which the capture has no segment at all, if there is one."""
        client, server = self._said
        if not client.seen:
            return "client"
        return None if server.seen else "server"

    def take(self, segment: Segment) -> Iterator[StreamPart]:
        """Accept a segment of this connection; yield what can be read now."""
        self._time = segment.time
        mine, other = self._said if segment.source == self.client else self._said[::-1]
        yield from mine.take(segment)
        if segment.acknowledged is not None:
            yield from other.acknowledge(segment.time, segment.acknowledged)
        self.reset = self.reset or segment.rst

    def finish(self) -> Iterator[StreamPart]:
        """Yield what is left at the end of the capture."""
        for each in self._said:
            if each.expected is not None:
                yield from each.finish(self._time)
