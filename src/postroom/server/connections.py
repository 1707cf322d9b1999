"""All sessions of a process: how many there are, from where, and which have waited too long.

All listeners share one `Connections`. It looks at the deadline of every session once a second, so
that a time-out costs a session an assignment and not a timer.
"""

from functools import lru_cache
from ipaddress import IPv6Network, ip_address
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()

_SWEEP_SECONDS = 1.0
_CROWDED = 0.8


class OpenSession(Protocol):
    """What `Connections` asks of a session."""

    deadline: float
    idle_since: float

    def expire(self, now: float) -> None:
        """End a wait whose deadline has passed."""

    def shut_down(self) -> None:
        """Send 421, now or after the transaction that is open."""

    def cut_off(self) -> None:
        """Close at once."""

    def expects_command(self) -> bool:
        """Return whether the session waits for nothing but the next command."""


class Connections:
    """The sessions of all listeners.

    Attributes:
        draining: True once the service is shutting down.
        limit: how many sessions there may be.
    """

    def __init__(self, clock: IReactorTime, limit: int, stress_timeout_seconds: float) -> None:
        """Create it without sessions; `start` starts the sweep."""
        self.draining = False
        self.limit = limit
        self._clock = clock
        self._stress_timeout = stress_timeout_seconds
        self._sessions: set[OpenSession] = set()
        self._by_peer: dict[str, int] = {}
        self._handshakes: dict[str, int] = {}
        self._minute = 0
        self._sweep = LoopingCall(self._sweep_once)
        self._sweep.clock = clock
        self._drained: Deferred[None] | None = None

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)

    def start(self) -> None:
        """Start the sweep."""
        self._sweep.start(_SWEEP_SECONDS, now=False)

    def stop(self) -> None:
        """Stop the sweep."""
        if self._sweep.running:
            self._sweep.stop()

    @property
    def full(self) -> bool:
        """True if one more session would be too many."""
        return len(self._sessions) >= self.limit

    @property
    def crowded(self) -> bool:
        """True if more than four fifths of the sessions that there may be are open."""
        return len(self._sessions) > _CROWDED * self.limit

    def count_from(self, client: str) -> int:
        """Return the number of sessions from a peer: an IPv4 address or an IPv6 /64."""
        return self._by_peer.get(peer_key(client), 0)

    def add(self, session: OpenSession, client: str) -> None:
        """Count a session."""
        self._sessions.add(session)
        self._count(peer_key(client), 1)

    def remove(self, session: OpenSession, client: str) -> None:
        """Count a session no longer; one that was never counted may be removed, too."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        self._count(peer_key(client), -1)
        if not self._sessions and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def count_handshake(self, client: str) -> int:
        """Count a TLS handshake that is about to begin; return how many began in this minute.

        They are limited because a handshake costs the server far more than the peer.
        """
        minute = int(self._clock.seconds() / 60)
        if minute != self._minute:
            self._minute, self._handshakes = minute, {}
        key = peer_key(client)
        count = self._handshakes[key] = self._handshakes.get(key, 0) + 1
        return count

    def move(self, before: str, after: str) -> None:
        """Count an open session for another peer than before."""
        self._count(peer_key(before), -1)
        self._count(peer_key(after), 1)

    def _count(self, key: str, more: int) -> None:
        count = self._by_peer.get(key, 0) + more
        if count:
            self._by_peer[key] = count
        else:
            del self._by_peer[key]

    def drain(self) -> "Deferred[None]":
        """Ask every session to end.

        Returns:
            A Deferred that fires when the last one has ended. Whoever waits for it sets the
            deadline, and calls `abort` after it.
        """
        self.draining = True
        if not self._sessions:
            return succeed(None)
        # A session may be gone, and the last of them with it, before `shut_down` returns.
        drained: Deferred[None] = Deferred()
        self._drained = drained
        for session in list(self._sessions):
            session.shut_down()
        return drained

    def abort(self) -> None:
        """Close the connections of all sessions that are left."""
        for session in list(self._sessions):
            session.cut_off()

    def _sweep_once(self) -> None:
        now = self._clock.seconds()
        hurry = now - self._stress_timeout if self.crowded else None
        overdue = [
            session
            for session in self._sessions
            if session.deadline <= now
            or (hurry is not None and session.idle_since <= hurry and session.expects_command())
        ]
        for session in overdue:
            try:
                session.expire(now)
            except Exception:  # a fault in one session must not end the sweep for all
                _log.failure("a session could not be ended")


def unmapped(host: str) -> str:
    """Return an IPv4 address that is mapped into IPv6 as IPv4; others as they are."""
    return host.removeprefix("::ffff:") if "." in host else host


@lru_cache(maxsize=4096)
def peer_key(client: str) -> str:
    """Return what counts as one peer: an IPv4 address, an IPv6 /64, or ``"unix"``."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    return client if address.version == 4 else str(IPv6Network((address, 64), strict=False))
