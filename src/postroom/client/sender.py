"""Sending: the one thing that the relay asks of this package.

A `Sender` keeps a `Lane` for each destination that has work, counts connections over all of them,
and remembers for a minute which addresses did not answer, so that a thousand messages to a dead
host do not wait for a thousand time-outs.

Invariants: the Deferred of `send` always fires, and never fails: whatever goes wrong becomes a
reply for each recipient, temporary unless a host or the DNS refused for good.
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
"""How many addresses are remembered; beyond that the memory begins anew."""


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
        """Begin without connections.

        Args:
            reactor: connects, and is the clock.
            resolver: answers for MX and address records.
            settings: of the client.
            random: shuffles equal hosts; the system's if None.
            now: POSIX time.

        Raises:
            UserError: the CA file of the settings cannot be used.
        """
        contexts = ClientContexts(settings.ca_file)
        self._clock = reactor
        self._settings = settings
        times = seconds_by_phase(settings.timeouts)
        self._context = ConnectionContext(
            reactor, settings, contexts, times, set(), self._look_whether_stopped, now
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
            destination: where to.
            outgoing: the message; its recipients are those for this destination, at least one.

        Returns:
            What became of each recipient; never fails. Cancelling it does not stop the message.

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
        """Finish what is being sent, begin nothing, close everything.

        Messages that have no connection yet get 451 4.3.2, and so do those that are not finished
        after the deadline.

        Args:
            deadline_seconds: how long running transactions may take.

        Returns:
            Fires when the last socket is closed, shortly after the deadline at the latest.
        """
        if self._stopped is None:
            self._stopped = stopped = Deferred[None]()
            cut = self._clock.callLater(deadline_seconds, self._cut)
            stopped.addBoth(lambda _: cut.cancel() if cut.active() else None)
            for lane in list(self._lanes.values()):
                lane.stop(STOPPING)
            self._look_whether_stopped()
        waiting: Deferred[None] = Deferred()
        self._stopped.chainDeferred(waiting)
        return waiting

    def _cut(self) -> None:
        """The deadline has passed."""
        self._late = True
        for connection in list(self._context.connections):
            connection.abort(STOPPING)
        self._look_whether_stopped()

    def _look_whether_stopped(self) -> None:
        if self._stopped is None or self._stopped.called or self._context.connections:
            return
        if self._late or not self._lanes:
            self._stopped.callback(None)

    def _lane_emptied(self, lane: Lane) -> None:
        if self._lanes.get(lane.destination) is lane:
            del self._lanes[lane.destination]
        self._look_whether_stopped()

    # What lanes ask (`postroom.client.pool.Opener`).

    async def open_connection(self, lane: Lane, message: OutgoingMessage) -> ClientConnection:
        """Open a connection to the best address that the attempt has not failed at.

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
                # A host at work is alive, and only takes no more connections; one that lacks what
                # this message wants may well take others.
                if not lane.at_work and not policy.requiretls:
                    self._remember(target, failure.reply)
                if failure.answered:
                    message.remote = str(target)
        raise Refusal(_verdict(failed))

    def connection_ended(self) -> None:
        """Let the next one in."""
        self._connections -= 1
        if self._waiting:
            self._waiting.popleft().callback(None)

    @property
    def crowded(self) -> bool:
        """True while a lane waits for a connection to be closed."""
        return bool(self._waiting)

    # Inside.

    async def _open(self, target: Target, policy: Policy, lane: Lane) -> ClientConnection:
        """Open one connection, when the number of all connections allows."""
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
        """Connect; in clear text if TLS fails, was not required, and no password is at stake."""
        try:
            return await connect(target, policy, lane, self._context)
        except TLSFailed as failure:
            secret = policy.user is not None and not target.loopback
            if policy.tls is not TLSMode.OPPORTUNISTIC or secret:
                raise
            self._log.info(
                "{reply}; going on in clear text", reply=str(failure.reply), remote=str(target)
            )
            return await connect(target, replace(policy, tls=TLSMode.NEVER), lane, self._context)

    def _dead_reply(self, target: Target) -> Reply | None:
        """Say what an address failed with, if that is not long ago."""
        until, reply = self._dead.get((target.address, target.port), (0.0, STOPPING))
        return reply if self._clock.seconds() < until else None

    def _remember(self, target: Target, reply: Reply) -> None:
        if len(self._dead) >= _DEAD_HOSTS:
            self._dead.clear()
        until = self._clock.seconds() + self._settings.dead_host_seconds
        self._dead[target.address, target.port] = until, reply


def _verdict(replies: Sequence[Reply]) -> Reply:
    """Say what the hosts' failures mean: permanent only if none of them was temporary."""
    temporary = [reply for reply in replies if reply.temporary]
    return temporary[-1] if temporary else replies[-1]
