"""Services that start in order and stop one after the other, in the reverse order.

Twisted's `MultiService` stops all its services at the same time. A part of the daemon needs the
parts before it until it has stopped itself: the relay stores what became of its last attempts while
it stops, and can do so only because the store stops later.
"""

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger(namespace="postroom")


def _nothing() -> None:
    pass


class Part(Service):
    """A part that two functions start and stop."""

    def __init__(
        self,
        name: str,
        start: Callable[[], object] = _nothing,
        stop: Callable[[], object] = _nothing,
    ) -> None:
        """Store the functions.

        Args:
            name: of the part, for the log; unique.
            start: must not block for long.
            stop: may return a Deferred or an awaitable.
        """
        self.name = name
        self._start = start
        self._stop = stop

    def startService(self) -> None:
        """Start the part."""
        super().startService()  # type: ignore[no-untyped-call]
        self._start()

    def stopService(self) -> object:
        """Stop the part; return what its function returns."""
        super().stopService()  # type: ignore[no-untyped-call]
        return self._stop()


class OrderedServices(MultiService):
    """A `MultiService` that stops its services one after the other, the last one first.

    A service that fails to stop, or is too slow, is logged; the next one is stopped all the same.
    """

    def __init__(self, clock: IReactorTime, limit_seconds: float) -> None:
        """Create it without services.

        Args:
            clock: the reactor's.
            limit_seconds: how long one service may take to stop.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock = clock
        self._limit_seconds = limit_seconds

    def stopService(self) -> "Deferred[None]":
        """Stop; fires when the last service has stopped or was given up. Never fails."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_in_turn())

    async def _stop_in_turn(self) -> None:
        services: list[Any] = [*self]
        for service in reversed(services):
            stopped = maybeDeferred(service.stopService)
            try:
                await stopped.addTimeout(self._limit_seconds, self._clock)
            except Exception:
                _log.failure("Stopping {what} failed", what=service.name)
