"""The running daemon: what starts in which order, and what stops in the reverse order.

Start, after `twistd` has forked and dropped its privileges: the store, threads, look-ups; then the
relay, once the leases of an earlier run are ended. The ports are bound already, and their backlog
holds clients that connect early.

Stop: no new connection is accepted, idle sessions get 421, running transactions may finish and the
relay ends what it is sending, all within the deadline. After it sessions are cut off, which loses
nothing, because their messages were not answered with 250. Then the writers finish, the database is
closed, and the lock on the state directory is released last.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from postroom.service.assembly import DaemonParts, IServiceReactor
from postroom.service.listeners import Listener, stop_listening
from postroom.service.logs import LineObserver
from postroom.service.ordered_services import OrderedServices, Part
from postroom.service.renewal import Renewal
from postroom.service.signals import heed_hangup
from postroom.service.storage import Storage
from postroom.service.tls import CertificateWatch

_GRACE_SECONDS = 10.0
"""How long a part may take to stop beyond the deadline before the next one is stopped."""

_log = Logger(namespace="postroom")


class MailService(OrderedServices):
    """Postroom, as one service with its parts as services in it.

    Attributes:
        parts: what the daemon consists of.
        listeners: bound.
        log: what `twistd` is to log with; None leaves that to `twistd`.
    """

    def __init__(
        self,
        reactor: IServiceReactor,
        parts: DaemonParts,
        listeners: Sequence[Listener],
        storage: Storage,
        certificates: CertificateWatch,
        renewal: Renewal | None,
        log: LineObserver | None,
        banner: Sequence[str],
        stop_seconds: float,
    ) -> None:
        """Store the parts of the daemon; nothing starts yet.

        Args:
            reactor: the clock of the deadline.
            parts: assembled, not started.
            listeners: bound.
            storage: open.
            certificates: loads new certificates.
            renewal: orders certificates; None if nothing is to be ordered.
            log: see `log`.
            banner: lines to log at the start.
            stop_seconds: how long `stopService` lets transactions run.
        """
        super().__init__(reactor, stop_seconds + _GRACE_SECONDS)
        self.parts = parts
        self.listeners = listeners
        self.log = log
        self._reactor = reactor
        self._storage = storage
        self._certificates = certificates
        self._banner = banner
        self._stop_seconds = stop_seconds
        self._relay_started: Deferred[None] | None = None
        for part in self._in_order(renewal):
            self.addService(part)  # type: ignore[no-untyped-call]

    def _in_order(self, renewal: Renewal | None) -> Iterator[Part]:
        """Yield the parts: each needs only parts before it."""
        parts, state, certificates = self.parts, self._storage.state, self._certificates
        logins = parts.logins
        if self.log is not None:
            yield Part("the log", self._start_log, self.log.write_through)
        yield Part("the state directory", state.sign, self._storage.close)
        yield Part("the queue's store", parts.store.start, parts.store.stop)
        yield Part("threads for passwords", logins.passwords.start, logins.passwords.stop)
        yield Part("threads for look-ups", parts.look_ups.start, parts.look_ups.stop)
        yield Part("threads for spools", parts.spools.start, parts.spools.stop)
        yield Part("certificates", certificates.start, certificates.stop)
        if renewal is not None:
            yield Part("orders of certificates", renewal.start, renewal.stop)
        yield Part("Maildirs", stop=parts.committer.stop)
        yield Part("sending", stop=lambda: parts.sender.stop(0))
        yield Part("sources of accounts", parts.sources.start, parts.sources.stop)
        yield Part("lockouts", logins.lockouts.start, logins.lockouts.stop)
        yield Part("SRS secrets", parts.srs_secrets.start, parts.srs_secrets.stop)
        yield Part("free space", parts.space.start, parts.space.stop)
        yield Part("connections", parts.connections.start, parts.connections.stop)
        yield Part("mail in progress", self._start_relay, self._finish_mail)
        yield Part("listening", stop=lambda: stop_listening(self.listeners))

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, and give it our log: `twistd` asks the application for one."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log)

    def startService(self) -> None:
        """Start all parts, and log the banner."""
        heed_hangup(self._reactor, self.log, self._certificates.look_now)
        super().startService()  # type: ignore[no-untyped-call]
        for line in self._banner:
            _log.info("{line}", line=line)

    def _start_log(self) -> None:
        assert self.log is not None  # it is no part otherwise
        self.log.run_on(self._reactor)

    def _start_relay(self) -> None:
        self._relay_started = Deferred.fromCoroutine(self._end_leases_then_relay())

    async def _end_leases_then_relay(self) -> None:
        store = self.parts.store
        # Where several daemons share the queue, leases of this node's name are an earlier run's:
        # the state directory that keeps the name is locked.
        alone = self._storage.owns_database
        try:
            ended = await (store.release_all_leases() if alone else store.release_own_leases())
        except Exception:
            _log.failure("Leases of an earlier run could not be ended; they end by their time")
        else:
            if ended:
                _log.info("{count} recipients of an earlier run are due again", count=ended)
        if self.running:
            self.parts.relay.start()

    async def _finish_mail(self) -> None:
        if self._relay_started is not None:
            await self._relay_started
        drained = Deferred.fromCoroutine(self._drain())
        await gatherResults([drained, self.parts.relay.stop()])

    async def _drain(self) -> None:
        connections = self.parts.connections
        drained = connections.drain()
        try:
            await drained.addTimeout(self._stop_seconds, self._reactor)
        except DeferredTimeout:
            _log.warn("{count} sessions were cut off at the deadline", count=len(connections))
            connections.abort()
