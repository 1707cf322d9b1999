"""The running daemon: what starts in which order, and what stops in which.

Start, after `twistd` has forked and shed its privileges: threads, the store, the look-ups; then the
relay, once leases of an earlier run are ended. The ports are bound already and their backlog holds
whoever came early.

Stop: nobody new is let in, idle sessions hear 421, running transactions may finish and the relay
ends what it is sending, all within the deadline; after it sessions are cut off, which loses
nothing, for they have not had their 250. Then the writers finish, the database is closed, and the
lock on the state directory goes last. A step that fails is logged and does not keep the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from postroom.service.assembly import DaemonParts, IServiceReactor
from postroom.service.listeners import Listener, stop_listening
from postroom.service.logs import LineObserver
from postroom.service.renewal import Renewal
from postroom.service.signals import heed_hangup
from postroom.service.storage import Storage
from postroom.service.tls import CertificateWatch

_GRACE_SECONDS = 10.0
"""How long a step of stopping may take beyond the deadline before it is left alone."""

_log = Logger(namespace="postroom")


class MailService(Service):
    """Postroom, as one service.

    Attributes:
        parts: put together, not started.
        listeners: bound.
        storage: open.
        banner: lines to log at the start.
        log: what `twistd` is to log with; None leaves that to `twistd`.
        certificates: keeps them fresh.
        renewal: orders them; None if nobody asked for that.
    """

    certificates: CertificateWatch
    renewal: Renewal | None = None

    def __init__(
        self,
        reactor: IServiceReactor,
        parts: DaemonParts,
        listeners: Sequence[Listener],
        storage: Storage,
        stop_seconds: float,
    ) -> None:
        """Store the parts of the daemon.

        Args:
            reactor: the clock of the deadline.
            parts: put together, not started.
            listeners: bound.
            storage: open.
            stop_seconds: how long `stopService` lets transactions run.
        """
        self.parts = parts
        self.listeners = listeners
        self.storage = storage
        self.banner: Sequence[str] = ()
        self.log: LineObserver | None = None
        self._reactor = reactor
        self._stop_seconds = stop_seconds
        self._ready: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, and give it our log: `twistd` asks the application for one."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log)

    def startService(self) -> None:
        """Start all parts."""
        super().startService()  # type: ignore[no-untyped-call]
        if self.log is not None:
            self.log.run_on(self._reactor)
        heed_hangup(self._reactor, self.log, self.certificates.look_now)
        parts = self.parts
        self.storage.state.sign()
        parts.look_ups.start()
        parts.spools.start()
        parts.logins.passwords.start()
        parts.logins.lockouts.start()
        parts.store.start()
        parts.sources.start()
        parts.srs_secrets.start()
        parts.connections.start()
        parts.space.start()
        self.certificates.start()
        if self.renewal is not None:
            self.renewal.start()
        self._ready = Deferred.fromCoroutine(self._start_relay())
        for line in self.banner:
            _log.info("{line}", line=line)

    async def _start_relay(self) -> None:
        store = self.parts.store
        # Where several daemons share the queue, leases of this node's name are an earlier run's:
        # the state directory that keeps the name is locked.
        alone = self.storage.owns_database
        try:
            ended = await (store.release_all_leases() if alone else store.release_own_leases())
        except Exception:
            _log.failure("Leases of an earlier run could not be ended; they will run out")
        else:
            if ended:
                _log.info("{count} recipients are taken up again", count=ended)
        if self.running:
            self.parts.relay.start()

    def stopService(self) -> Deferred[None]:
        """Stop; fires when all is stored and closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        parts = self.parts
        await self._step("listening", lambda: stop_listening(self.listeners))
        if self._ready is not None:
            await self._ready
        await self._step(
            "mail under way", lambda: gatherResults([self._drain(), parts.relay.stop()])
        )
        parts.connections.stop()
        parts.space.stop()
        parts.srs_secrets.stop()
        parts.logins.lockouts.stop()
        await self._step("sources of accounts", parts.sources.stop)
        await self._step("sending", lambda: parts.sender.stop(0))
        await self._step("Maildirs", parts.committer.stop)
        if self.renewal is not None:
            await self._step("orders of certificates", self.renewal.stop)
        self.certificates.stop()
        for pool in (parts.spools, parts.look_ups, parts.logins.passwords):
            pool.stop()
        await self._step("the queue's store", parts.store.stop)
        self.storage.close()
        if self.log is not None:
            self.log.write_through()

    async def _step(self, what: str, stop: Callable[[], Awaitable[Any]]) -> None:
        async def stopped() -> None:
            await stop()

        limit = self._stop_seconds + _GRACE_SECONDS
        try:
            await Deferred.fromCoroutine(stopped()).addTimeout(limit, self._reactor)
        except Exception:
            _log.failure("Stopping {what} failed", what=what)

    async def _drained(self) -> None:
        drained = self.parts.connections.drain()
        try:
            await drained.addTimeout(self._stop_seconds, self._reactor)
        except DeferredTimeout:
            _log.warn(
                "{count} sessions were cut off at the deadline", count=len(self.parts.connections)
            )
            self.parts.connections.abort()

    def _drain(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._drained())
