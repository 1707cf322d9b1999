"""Sending messages: the one thing that the relay asks of this package.

A `Sender` keeps a `Lane` for each destination that has messages, and counts the connections of all
lanes. It remembers for a minute which addresses did not answer, so that a thousand messages to a
dead host do not wait for a thousand time-outs.

Invariant: the Deferred of `send` always fires, and never with a failure. Whatever goes wrong is a
reply for each recipient, temporary unless a host or the DNS refused permanently.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random, SystemRandom

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from postroom.client.connector import connect
from postroom.client.deadline import seconds_by_phase
from postroom.client.failures import STOPPING, HostFailed, TLSFailed
from postroom.client.model import Destination, Outgoing, Sent, TLSMode
from postroom.client.mx import HostFinder
from postroom.client.outgoing_message import OutgoingMessage
from postroom.client.pool import Lane
from postroom.client.protocol import ClientConnection, ConnectionContext, IClientReactor
from postroom.client.settings import ClientSettings
from postroom.client.target import Policy, Target, policy_of
from postroom.client.tls import ClientContexts
from postroom.errors import Refusal
from postroom.interfaces import IResolver
from postroom.wire.replies import Reply

_DEAD_HOSTS = 10_000
"""How many addresses are remembered; if there are more, all are forgotten."""


class Sender:
    """Sends messages to other mail servers."""

    _log = Logger()

    def __init__(
        self,
        reactor: IClientReactor,
        resolver: IResolver,
        settings: ClientSettings,
        random: Random | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create a sender without connections.

        Args:
            reactor: makes connections, and is the clock.
            resolver: answers for MX and address records.
            settings: of the client.
            random: shuffles equal hosts; the system's if None.
            now: returns POSIX time, in seconds.

        Raises:
            UserError: the CA file of the settings cannot be used.
        """
        contexts = ClientContexts(settings.ca_file)
        self._clock = reactor
        self._settings = settings
        times = seconds_by_phase(settings.timeouts)
        self._context = ConnectionContext(
            reactor, settings, contexts, times, set(), self._check_whether_stopped, now
        )
        self._finder = HostFinder(resolver, settings, random or SystemRandom())
        self._lanes: dict[Destination, Lane] = {}
        self._connections = 0
        self._waiting: deque[Deferred[None]] = deque()
        self._dead: dict[tuple[str, int], tuple[float, Reply]] = {}
        self._stopped: Deferred[None] | None = None
        self._late = False

    def send(self, destination: Destination, outgoing: Outgoing) -> "Deferred[Sent]":
        """Send a message to its recipients at one destination.

        May be called any number of times at once. Messages to one destination go side by side up to
        `ClientSettings.connections_per_destination`, the others wait in order.

        Args:
            destination: of the message.
            outgoing: the message; its recipients are those for this destination, at least one.

        Returns:
            The reply for each recipient; never fails. Cancelling it does not stop the message.

        RFC 5321 s5.1, s4.5.4.1
        """
        if self._stopped is not None:
            return succeed(Sent([STOPPING] * len(outgoing.message.recipients)))
        lane = self._lanes.get(destination)
        if lane is None:
            lane = Lane(destination, self, self._settings, self._clock, self._lane_emptied)
            self._lanes[destination] = lane
        message = OutgoingMessage(outgoing)
        lane.add(message)
        return message.done

    def stop(self, deadline_seconds: float) -> "Deferred[None]":
        """Finish the transactions that have begun, start none, and close all connections.

        Messages that have no connection yet get 451 4.3.2, and so do those that are not finished
        by the deadline.

        Args:
            deadline_seconds: how long the transactions may take.

        Returns:
            A Deferred that fires when the last socket is closed, at the latest shortly after the
            deadline.
        """
        if self._stopped is None:
            self._stopped = stopped = Deferred[None]()
            cut = self._clock.callLater(deadline_seconds, self._cut)
            stopped.addBoth(lambda _: cut.cancel() if cut.active() else None)
            for lane in list(self._lanes.values()):
                lane.stop(STOPPING)
            self._check_whether_stopped()
        waiting: Deferred[None] = Deferred()
        self._stopped.chainDeferred(waiting)
        return waiting

    def _cut(self) -> None:
        """Abort all connections: the deadline has passed."""
        self._late = True
        for connection in list(self._context.connections):
            connection.abort(STOPPING)
        self._check_whether_stopped()

    def _check_whether_stopped(self) -> None:
        if self._stopped is None or self._stopped.called or self._context.connections:
            return
        if self._late or not self._lanes:
            self._stopped.callback(None)

    def _lane_emptied(self, lane: Lane) -> None:
        if self._lanes.get(lane.destination) is lane:
            del self._lanes[lane.destination]
        self._check_whether_stopped()

    # What lanes call (`postroom.client.pool.Opener`).

    async def open_connection(self, lane: Lane, message: OutgoingMessage) -> ClientConnection:
        """Open a connection to the best address that the message has not failed at.

        Raises:
            Refusal: no address is left, or DNS gave none.

        RFC 5321 s5.1
        """
        targets = await self._finder.find(lane.destination)
        policy = policy_of(lane.destination, self._settings.tls)
        failed = [message.last] if message.last is not None else []
        tries = self._settings.tries - len(message.tried)
        for target in targets:
            if self._stopped is not None:
                raise Refusal(STOPPING)
            if target.address in message.tried:
                continue
            dead = self._dead_reply(target)
            if dead is not None or tries <= 0:
                failed += [dead] if dead is not None else []
                continue
            tries -= 1
            try:
                return await self._open(target, policy, lane)
            except HostFailed as failure:
                failed.append(failure.reply)
                # A host with open connections is alive and only accepts no more of them. A host
                # that cannot have this message may well accept others.
                if not lane.at_work and not policy.requiretls:
                    self._remember(target, failure.reply)
                if failure.answered:
                    message.remote = str(target)
        raise Refusal(_combined(failed))

    def connection_ended(self) -> None:
        """Count a connection no longer, and let the next one be opened."""
        self._connections -= 1
        if self._waiting:
            self._waiting.popleft().callback(None)

    @property
    def crowded(self) -> bool:
        """True while a lane waits for a connection to be closed."""
        return bool(self._waiting)

    # Inside.

    async def _open(self, target: Target, policy: Policy, lane: Lane) -> ClientConnection:
        """Open one connection, as soon as the limit of all connections allows it."""
        if self._connections >= self._settings.connections:
            any(each.release_idle() for each in list(self._lanes.values()))
        while self._connections >= self._settings.connections:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        self._connections += 1
        try:
            return await self._connect(target, policy, lane)
        except BaseException:
            self.connection_ended()
            raise

    async def _connect(self, target: Target, policy: Policy, lane: Lane) -> ClientConnection:
        """Connect; in clear text if TLS fails, is not required, and no password would be sent."""
        try:
            return await connect(target, policy, lane, self._context)
        except TLSFailed as failure:
            secret = policy.user is not None and not target.loopback
            if policy.tls is not TLSMode.OPPORTUNISTIC or secret:
                raise
            self._log.info(
                "{reply}; trying again in clear text", reply=str(failure.reply), remote=str(target)
            )
            return await connect(target, replace(policy, tls=TLSMode.NEVER), lane, self._context)

    def _dead_reply(self, target: Target) -> Reply | None:
        """Return the reply with which an address has failed lately; else None."""
        until, reply = self._dead.get((target.address, target.port), (0.0, STOPPING))
        return reply if self._clock.seconds() < until else None

    def _remember(self, target: Target, reply: Reply) -> None:
        if len(self._dead) >= _DEAD_HOSTS:
            self._dead.clear()
        until = self._clock.seconds() + self._settings.dead_host_seconds
        self._dead[target.address, target.port] = until, reply


def _combined(replies: Sequence[Reply]) -> Reply:
    """Return the reply for the failures of all hosts: permanent only if none was temporary."""
    temporary = [reply for reply in replies if reply.temporary]
    return temporary[-1] if temporary else replies[-1]
