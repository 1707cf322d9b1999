"""Orders of certificates in the running daemon: a timer, and a thread for each order.

The library that talks to the ACME server blocks. Each order has a thread that does nothing else,
ends with it, and does not keep the process from ending. There is one order at a time; one that has
not ended in `PATIENCE_SECONDS` is given up, though its thread may live on: a server that drips
octets can hold a thread, but not the next order.

Between processes there is one file: ``postroom tls renew`` makes it, the watch over the
certificates finds it and takes it away, and an order begins.

Who controls the input: the ACME server.
"""

from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger

from postroom.certificates.challenges import Challenges
from postroom.certificates.identity import Identity, read_kept
from postroom.certificates.renewal import Attempts, Plan, read_attempts, write_attempts
from postroom.errors import UserError
from postroom.service.acme import acme_settings, note_file, request_file, run_and_note
from postroom.service.logs import ILogReactor
from postroom.service.settings import Settings
from postroom.service.tls import now

if TYPE_CHECKING:
    from postroom.certificates.acme import Order

PATIENCE_SECONDS: Final = 900.0
_log = Logger(namespace="postroom.tls")


class Renewal:
    """Orders certificates when they are due.

    Attributes:
        challenges: what is answered now.
    """

    def __init__(
        self,
        reactor: ILogReactor,
        settings: Settings,
        challenges: Challenges,
        port: IListeningPort | None,
        afterwards: Callable[[], object],
    ) -> None:
        """Store what is ordered; `start` starts the renewal.

        Args:
            reactor: its clock, and where results come back.
            settings: those in force.
            challenges: where orders put their answers.
            port: of http-01, bound.
            afterwards: called when there is a new certificate.

        Raises:
            UserError: the library is missing.
        """
        self.challenges = challenges
        self._orders = acme_settings(settings)
        self._request = request_file(settings)
        self._note = note_file(settings)
        self._reactor = reactor
        self._port = port
        self._afterwards = afterwards
        self._plan: Plan | None = None
        self._timer: IDelayedCall | None = None
        self._order: Order | None = None
        self._is_running = False

    def start(self) -> None:
        """Begin: order what is missing or due."""
        self._is_running = True
        plan = Plan(self._orders.domains, read_attempts(self._note))
        plan.look_at(read_kept(self._orders.certificate), now())
        self._plan = plan
        if plan.attempts.error is not None:
            _log.warn(
                "The last order of a certificate failed ({reason}); the next is due at {next},"
                " or at once with 'postroom tls renew'",
                reason=plan.attempts.error,
                next=plan.due,
            )
        self._sleep()

    def _sleep(self) -> None:
        if self._is_running and self._plan is not None and self._order is None:
            delay = self._plan.seconds_until_due(now())
            self._timer = self._reactor.callLater(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._plan is not None and self._plan.due is not None and self._plan.due <= now():
            self.renew_now()
        else:
            self._sleep()

    def take_request(self) -> bool:
        """Return once whether the command asked for an order. For a worker thread."""
        try:
            self._request.unlink()
        except OSError:
            return False
        return True

    def renew_now(self) -> None:
        """Order at once, unless an order is under way."""
        from postroom.certificates.acme import Order

        if not self._is_running or self._order is not None:
            return
        self._forget_timer()
        _log.info(
            "A certificate for {domains} is ordered from {server}",
            domains=", ".join(self._orders.domains),
            server=self._orders.directory,
        )
        self._order = order = Order(self._orders, self.challenges)
        self._timer = self._reactor.callLater(PATIENCE_SECONDS, self._give_up, order)
        work = (order, self._copy_of_plan())
        Thread(target=self._work, args=work, name="acme", daemon=True).start()

    def _work(self, order: "Order", plan: Plan) -> None:
        """Run an order, in its thread."""
        identity = None
        try:
            identity = run_and_note(order, plan, self._note)
        except UserError as error:
            _log.error("There is no new certificate: {reason}", reason=str(error))
        except Exception as error:  # the library's, or ours; mail goes on
            _log.failure("an order of a certificate broke off")
            plan.failed(UserError(f"{type(error).__name__}: {error}"), now())
        self._reactor.callFromThread(self._ended, order, plan, identity)

    def _ended(self, order: "Order", plan: Plan, identity: Identity | None) -> None:
        if order is not self._order:
            return  # given up before; a certificate that came all the same is found by the watch
        self._order, self._plan = None, plan
        self._forget_timer()
        if not self._is_running:
            return
        if identity is not None:
            _log.info(
                "There is a new certificate {source}, until {until}; it is renewed from {due} on",
                source=identity.source,
                until=identity.expires_at,
                due=plan.due,
            )
            self._afterwards()
        else:
            self._tell_next(plan)
        self._sleep()

    def _tell_next(self, plan: Plan) -> None:
        _log.info(
            "The next attempt is due at {due}, or at once with 'postroom tls renew'", due=plan.due
        )

    def _give_up(self, order: "Order") -> None:
        """Abandon an order whose server sends its answer too slowly."""
        self._timer = None
        order.stop()
        self._order, self._plan = None, self._copy_of_plan()
        error = UserError(f"{self._orders.directory}: no end in {PATIENCE_SECONDS:.0f} seconds")
        attempts = self._plan.failed(error, now())
        _log.error("There is no new certificate: {reason}", reason=str(error))
        self._tell_next(self._plan)
        Thread(target=self._write, args=(attempts,), name="acme", daemon=True).start()
        self._sleep()

    def _write(self, attempts: Attempts) -> None:
        try:
            write_attempts(self._note, attempts)
        except UserError as error:
            _log.error("{reason}", reason=str(error))

    def _copy_of_plan(self) -> Plan:
        assert self._plan is not None  # `start` has made it
        return Plan(self._orders.domains, self._plan.attempts)

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def stop(self) -> "Deferred[Any]":
        """Stop answering and ordering; an order under way is left alone."""
        self._is_running = False
        self._forget_timer()
        if self._order is not None:
            self._order.stop()
        return succeed(None) if self._port is None else maybeDeferred(self._port.stopListening)
