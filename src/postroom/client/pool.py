"""The connections of one destination, and the messages that wait for one.

Each message is one `OutgoingMessage`. If a connection is idle, the message is sent on that at once.
Else a new one is opened for it, below the limit of connections; else it waits in order. A
connection that has finished a message sends the next one in line, or is kept for some seconds.

Where a message goes when its connection fails:

    before the final dot, on a new connection       to the next address, not to this one again
    before the final dot, on a used connection      to a new connection, to any address: hosts may
                                                    close connections between messages
    after the final dot                             back, with a temporary reply
    no host left                                    back, with the reply of the last host; permanent
                                                    only if every host's was
    no new connection, others are open              in line for one of those: the host limits us

Invariants: every message that was added is reported once. `_live` counts the connections that are
open or being opened; the lane is dropped when it is 0 and no message waits. The depth of calls does
not grow with the length of the queue.
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
    """Opens connections for lanes, and counts those of all lanes."""

    async def open_connection(self, lane: "Lane", message: OutgoingMessage) -> ClientConnection:
        """Open a connection to the best address that the message has not failed at.

        Raises:
            Refusal: there is none; the message's recipients get its reply.
        """

    def connection_ended(self) -> None:
        """Count a connection no longer: it is over."""

    @property
    def crowded(self) -> bool:
        """True while other lanes wait for a connection to be closed."""


class Lane:
    """The connections of one destination, and the messages that wait for them."""

    _log = Logger()

    def __init__(
        self,
        destination: Destination,
        opener: Opener,
        settings: ClientSettings,
        clock: IReactorTime,
        emptied: Callable[["Lane"], None],
    ) -> None:
        """Create a lane without connections.

        Args:
            destination: of its messages.
            opener: opens connections.
            settings: of the client.
            clock: the reactor's.
            emptied: called when no connection is left and no message waits.
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
        # How many connections the host has allowed, and until when we keep to that.
        self._ceiling = settings.connections_per_destination
        self._ceiling_until = 0.0

    @property
    def at_work(self) -> int:
        """The number of open connections."""
        return len(self._working) + len(self._idle)

    def add(self, message: OutgoingMessage) -> None:
        """Send a message; it is reported when all its recipients are decided on."""
        if self._idle:
            self._send(self._idle.pop(), message)
        elif self._live < self._limit():
            self._live += 1
            self._open_for(message)
        else:
            self._waiting.append(message)

    def release_idle(self) -> bool:
        """Close the connection that has been idle longest; return False if there is none."""
        if not self._idle:
            return False
        self._idle[0].quit()
        return True

    def stop(self, reply: Reply) -> None:
        """Send no further message: return those that wait, and close idle connections."""
        self._stopped = True
        waiting, self._waiting = self._waiting, deque()
        for message in waiting:
            _report_all(message, reply)
        for connection in list(self._idle):
            connection.quit()
        self._next()

    # What connections call (`postroom.client.protocol.ConnectionOwner`).

    def delivered(self, connection: ClientConnection, message: OutgoingMessage) -> None:
        """Send the next message on the connection, or keep it; then report this message."""
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
        """Send the message of a failed connection on another one, or report it."""
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
            _report_all(message, failure.reply if failure is not None else LOCAL_ERROR)
        else:
            message.last = failure.reply
            if connection.messages == 1 and not isinstance(failure, SessionExhausted):
                message.tried |= {connection.target.address}
            self._open_for(message)

    # Inside.

    def _limit(self) -> int:
        limit = self._settings.connections_per_destination
        return min(limit, self._ceiling) if self._clock.seconds() < self._ceiling_until else limit

    def _send(self, connection: ClientConnection, message: OutgoingMessage) -> None:
        self._working.add(connection)
        connection.deliver(message)

    def _open_for(self, message: OutgoingMessage) -> None:
        """Open a connection, which is counted already, and send this message first."""
        opening = Deferred.fromCoroutine(self._opener.open_connection(self, message))
        opening.addCallbacks(
            self._send, self._not_opened, callbackArgs=(message,), errbackArgs=(message,)
        )
        opening.addErrback(self._broken, message)

    def _not_opened(self, failure: Failure, message: OutgoingMessage) -> None:
        self._live -= 1
        if self.at_work and not message.tried and not self._stopped and failure.check(Refusal):
            # The host allows no more connections than are open: keep to that for a while.
            self._ceiling = self.at_work
            self._ceiling_until = self._clock.seconds() + self._settings.dead_host_seconds
            self._waiting.appendleft(message)
        else:
            if not failure.check(Refusal):
                self._log.failure("A connection could not be opened", failure)
            _report_all(message, reply_of(failure))
        self._clock.callLater(0, self._next)

    def _broken(self, failure: Failure, message: OutgoingMessage) -> None:
        """Report the message after a fault of ours, so that its sender does not wait for ever."""
        self._log.failure("A message could not be sent", failure)
        if not message.done.called:
            _report_all(message, LOCAL_ERROR)

    def _next(self) -> None:
        """Send the next message in line, on an idle connection or a new one."""
        if self._waiting and self._idle:
            self._send(self._idle.pop(), self._waiting.popleft())
        elif self._waiting and self._live < self._limit():
            self._live += 1
            self._open_for(self._waiting.popleft())
        elif self._live == 0 and not self._waiting:
            self._emptied(self)


def _report_all(message: OutgoingMessage, reply: Reply) -> None:
    """Report a message; every undecided recipient gets this reply."""
    message.settle(reply)
    message.report()
