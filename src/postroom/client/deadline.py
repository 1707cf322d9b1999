"""How long a connection waits, and the one timer that watches it.

RFC 5321 s4.5.3.2 asks for no less than the defaults of `Timeouts`. What is not set there needs no
setting: a host that does not answer QUIT or RSET has no mail of ours to lose.

A deadline is moved with every step of a session, and seldom passes. So moving it assigns a number,
and the timer looks every few seconds whether it has passed, instead of being replaced each time.
"""

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from postroom.client.settings import Timeouts
from postroom.wire.client_session import ClientPhase

RSET_SECONDS: Final = 20.0
QUIT_SECONDS: Final = 20.0


def seconds_by_phase(timeouts: Timeouts) -> Mapping[ClientPhase, float]:
    """Return how long to wait in each phase of a session."""
    commands = (
        ClientPhase.EHLO,
        ClientPhase.HELO,
        ClientPhase.STARTTLS,
        ClientPhase.AUTH,
        ClientPhase.MAIL,
        ClientPhase.RCPT,
    )
    return dict.fromkeys(commands, timeouts.command_seconds) | {
        ClientPhase.GREETING: timeouts.greeting_seconds,
        ClientPhase.HANDSHAKE: timeouts.handshake_seconds,
        ClientPhase.DATA: timeouts.data_seconds,
        ClientPhase.CONTENT: timeouts.content_seconds,
        ClientPhase.CHUNK: timeouts.content_seconds,
        ClientPhase.FINAL_DOT: timeouts.final_dot_seconds,
        ClientPhase.RSET: RSET_SECONDS,
        ClientPhase.QUIT: QUIT_SECONDS,
        ClientPhase.IDLE: timeouts.idle_seconds,
    }


class Deadline:
    """A time by which something must have happened, and what is called if it has not."""

    __slots__ = ("_clock", "_passed", "_tick_seconds", "_time", "_timer")

    def __init__(
        self, clock: IReactorTime, tick_seconds: float, passed: Callable[[], None]
    ) -> None:
        """Create a deadline; nothing is watched before `watch`.

        Args:
            clock: the reactor's.
            tick_seconds: how often to look, at least.
            passed: called when the deadline has passed; nothing is watched after it.
        """
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._passed = passed
        self._time = 0.0
        self._timer: IDelayedCall | None = None

    def move(self, seconds: float) -> None:
        """Set the deadline to so many seconds from now."""
        self._time = self._clock.seconds() + seconds

    def watch(self, seconds: float) -> None:
        """Move the deadline, and watch it if it is not watched yet."""
        self.move(seconds)
        if self._timer is None:
            self._look()

    def stop(self) -> None:
        """Watch the deadline no more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        remaining = self._time - self._clock.seconds()
        if remaining > 0:
            self._timer = self._clock.callLater(min(remaining, self._tick_seconds), self._look)
        else:
            self._timer = None
            self._passed()
