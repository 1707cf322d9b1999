"""The connections of one destination, and the messages that wait for one.

Each message is one `OutgoingMessage`. If a connection is idle, the message is sent on that at once.
Else a new one is opened for it, below the limit of connections; else it waits in order. A
connection that has finished a message sends the next one in line, or is kept for some seconds.

Where a message goes when its connection fails:

    before the final dot, on a fresh connection     the next address, this one excluded
    before the final dot, on a used connection      a fresh connection, to any address: hosts close
                                                    connections between messages as they please
    after the final dot                             back to the sender of the message, temporary
    no host left                                    back, with what the last host said; permanent
                                                    only if every host said so
    no further connection, others at work           in line for one of those: the host limits us

Invariants: every attempt that was added is reported once. `_live` counts the connections that are
being opened or open; the lane is dropped when it is 0 and nobody waits. Nothing here calls itself
as deep as the queue is long.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol as Contract

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.client.failures import HostFailed, SessionExhausted, reply_of
from postroom.client.model import Destination
from postroom.client.outgoing_message import OutgoingMessage
from postroom.client.protocol import ClientConnection
from postroom.client.settings import ClientSettings
from postroom.errors import LOCAL_ERROR, Refusal
from postroom.wire.replies import Reply


class Opener(Contract):
    """Opens connections for lanes, and counts them over all lanes."""

    async def open_connection(self, lane: "Lane", message: OutgoingMessage) -> ClientConnection:
        """Open a connection to the best address that the attempt has not failed at.

        Raises:
            Refusal: there is none; what the message's recipients get.
        """

    def connection_ended(self) -> None:
        """One that was opened is over."""

    @property
    def crowded(self) -> bool:
        """True while other lanes wait for a connection to be closed."""


class Lane:
    """One destination's connections and queue."""

    _log = Logger()

    def __init__(
        self,
        destination: Destination,
        opener: Opener,
        settings: ClientSettings,
        clock: IReactorTime,
        emptied: Callable[["Lane"], None],
    ) -> None:
        """Begin without connections.

        Args:
            destination: where to.
            opener: opens connections.
            settings: the limits.
            clock: for the memory of a host's own limit.
            emptied: called when no connection is left and nobody waits.
        """
        self.destination = destination
        self._opener = opener
        self._settings = settings
        self._clock = clock
        self._emptied = emptied
        self._waiting: deque[OutgoingMessage] = deque()
        self._idle: list[ClientConnection] = []
        self._working: set[ClientConnection] = set()
        self._live = 0
        self._stopped = False
        # How many connections the host let us have, and until when we believe it.
        self._ceiling = settings.connections_per_destination
        self._ceiling_until = 0.0

    @property
    def at_work(self) -> int:
        """How many connections stand."""
        return len(self._working) + len(self._idle)

    def add(self, message: OutgoingMessage) -> None:
        """Take a message; it is reported when its recipients are decided on."""
        if self._idle:
            self._give(self._idle.pop(), message)
        elif self._live < self._limit():
            self._live += 1
            self._open_for(message)
        else:
            self._waiting.append(message)

    def release_idle(self) -> bool:
        """Close the connection that has been free the longest; False if there is none."""
        if not self._idle:
            return False
        self._idle[0].quit()
        return True

    def stop(self, reply: Reply) -> None:
        """Send nothing further: what waits is given back, free connections are closed."""
        self._stopped = True
        waiting, self._waiting = self._waiting, deque()
        for message in waiting:
            _give_back(message, reply)
        for connection in list(self._idle):
            connection.quit()
        self._next()

    # What connections say (`postroom.client.protocol.ConnectionOwner`).

    def delivered(self, connection: ClientConnection, message: OutgoingMessage) -> None:
        """Give the connection its next message, or keep it; then report."""
        if connection.is_exhausted(self._settings.messages_per_connection):
            connection.quit()
        elif self._waiting:
            connection.deliver(self._waiting.popleft())
        elif self._stopped or self._opener.crowded:
            connection.quit()
        else:
            self._working.discard(connection)
            self._idle.append(connection)
        message.report()

    def ended(
        self,
        connection: ClientConnection,
        message: OutgoingMessage | None,
        failure: HostFailed | None,
    ) -> None:
        """See to the message of a connection that is over."""
        self._working.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._opener.connection_ended()
        if message is None:
            self._live -= 1
            self._next()
        elif not message.open:
            self._live -= 1
            self._next()
            message.report()
        elif self._stopped or failure is None:
            self._live -= 1
            self._next()
            _give_back(message, failure.reply if failure is not None else LOCAL_ERROR)
        else:
            message.last = failure.reply
            if connection.messages == 1 and not isinstance(failure, SessionExhausted):
                message.tried |= {connection.target.address}
            self._open_for(message)

    # Inside.

    def _limit(self) -> int:
        limit = self._settings.connections_per_destination
        return min(limit, self._ceiling) if self._clock.seconds() < self._ceiling_until else limit

    def _give(self, connection: ClientConnection, message: OutgoingMessage) -> None:
        self._working.add(connection)
        connection.deliver(message)

    def _open_for(self, message: OutgoingMessage) -> None:
        """Open a connection, already counted, whose first message is this one."""
        opening = Deferred.fromCoroutine(self._opener.open_connection(self, message))
        opening.addCallbacks(
            self._give, self._not_opened, callbackArgs=(message,), errbackArgs=(message,)
        )
        opening.addErrback(self._broken, message)

    def _not_opened(self, failure: Failure, message: OutgoingMessage) -> None:
        self._live -= 1
        if self.at_work and not message.tried and not self._stopped and failure.check(Refusal):
            # The host takes no more connections than we have: stay within that for a while.
            self._ceiling = self.at_work
            self._ceiling_until = self._clock.seconds() + self._settings.dead_host_seconds
            self._waiting.appendleft(message)
        else:
            if not failure.check(Refusal):
                self._log.failure("Opening a connection failed", failure)
            _give_back(message, reply_of(failure))
        self._clock.callLater(0, self._next)

    def _broken(self, failure: Failure, message: OutgoingMessage) -> None:
        """A fault of ours while the message was handed over: never leave its sender waiting."""
        self._log.failure("Giving a message to a connection failed", failure)
        if not message.done.called:
            _give_back(message, LOCAL_ERROR)

    def _next(self) -> None:
        """Put a free connection, or room for one, to use."""
        if self._waiting and self._idle:
            self._give(self._idle.pop(), self._waiting.popleft())
        elif self._waiting and self._live < self._limit():
            self._live += 1
            self._open_for(self._waiting.popleft())
        elif self._live == 0 and not self._waiting:
            self._emptied(self)


def _give_back(message: OutgoingMessage, reply: Reply) -> None:
    message.settle(reply)
    message.report()
