"""Certificates by ACME in the running daemon: a web server for http-01, a timer, a thread.

The library that talks to the ACME server blocks. Each order has a thread that does nothing else and
ends with it, and that does not keep the process from ending. There is never more than one order.

Between processes there is one file: ``postroom tls renew`` makes it, the watch over the
certificates finds it and takes it away, and an order begins.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorCore
from twisted.internet.task import react
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.certificates.challenges import Challenges, http_site
from postroom.certificates.identity import Identity, read_kept
from postroom.certificates.renewal import Attempts, Plan, read_attempts, write_attempts
from postroom.errors import UserError
from postroom.service.listeners import bind_port, parse_endpoint
from postroom.service.logs import ILogReactor
from postroom.service.settings import Settings
from postroom.service.state import Owner
from postroom.service.tls import ACME_FOLDER, now

if TYPE_CHECKING:
    from postroom.certificates.acme import ACMESettings, Order

REQUEST_FILE: Final = "renew"
NOTE_FILE: Final = "attempts.json"
_log = Logger(namespace="postroom.tls")


def acme_settings(settings: Settings) -> "ACMESettings":
    """Give the settings of orders.

    Raises:
        UserError: the library is missing.
    """
    try:
        from postroom.certificates.acme import ACMESettings
    except ImportError as error:
        raise UserError(
            f"tls.acme.domains: ACME needs the extra 'acme': pip install 'postroom[acme]' ({error})"
        ) from None
    acme = settings.tls.acme
    return ACMESettings(
        directory=acme.directory,
        domains=acme.domains,
        folder=settings.state_dir / ACME_FOLDER,
        contact=acme.contact,
        ca_file=acme.ca_file,
        challenge=acme.challenge,
    )


def request_file(settings: Settings) -> Path:
    """Give the file whose being there asks the daemon for an order."""
    return settings.state_dir / ACME_FOLDER / REQUEST_FILE


def note_file(settings: Settings) -> Path:
    """Give the file that says what became of the orders."""
    return settings.state_dir / ACME_FOLDER / NOTE_FILE


def listen_for_http_01(
    reactor: IReactorCore, settings: Settings, challenges: Challenges
) -> IListeningPort | None:
    """Bind the port of http-01, if that is the challenge.

    Raises:
        UserError: the endpoint means nothing, or cannot be had.
    """
    acme = settings.tls.acme
    if acme.challenge != "http-01":
        return None
    what = f"tls.acme.http_listen {acme.http_listen}"
    endpoint = parse_endpoint(reactor, acme.http_listen, what)
    return bind_port(endpoint, http_site(challenges), what)


def run_and_note(order: "Order", plan: Plan, note: Path) -> Identity:
    """Run an order, which blocks, and note what became of it.

    Raises:
        UserError: there is no certificate, or it cannot be noted.
    """
    try:
        identity = order.run()
    except UserError as error:
        attempts = plan.failed(error, now())
        if note.parent.is_dir():
            write_attempts(note, attempts)
        raise
    write_attempts(note, plan.succeeded(identity, now()))
    return identity


def order_once(settings: Settings, owner: Owner) -> Identity:
    """Order a certificate in a process that is no daemon; runs the reactor, and so only once.

    Args:
        settings: those in force.
        owner: whom the files are to belong to.

    Raises:
        UserError: there is no certificate.
    """
    from postroom.certificates.acme import Order

    if settings.tls.acme.challenge != "http-01":
        raise UserError(
            "tls-alpn-01 is answered at the daemon's listeners: start the daemon, and it orders"
            " what is due"
        )
    orders, challenges = acme_settings(settings), Challenges()
    order, plan = Order(orders, challenges), Plan(orders.domains, Attempts())
    outcome: list[Identity | Failure] = []

    def main(reactor: Any) -> "Deferred[None]":
        port = listen_for_http_01(reactor, settings, challenges)
        acting = owner.acting()
        acting.__enter__()  # for as long as the thread works; the port is bound
        working = deferToThread(run_and_note, order, plan, note_file(settings))

        def ended(result: Identity | Failure) -> Any:
            acting.__exit__(None, None, None)
            outcome.append(result)
            return port.stopListening() if port is not None else None

        return working.addBoth(ended)

    with suppress(SystemExit):  # so it ends
        react(main)
    if not outcome:
        raise UserError("the order was broken off")
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    assert isinstance(result, Identity)
    return result


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
        """Take what is ordered; `start` begins.

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
        """Tell whether the command asked for an order, once. For a worker thread."""
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _log.info(
            "A certificate for {domains} is ordered from {server}",
            domains=", ".join(self._orders.domains),
            server=self._orders.directory,
        )
        self._order = order = Order(self._orders, self.challenges)
        Thread(target=self._work, args=(order,), name="acme", daemon=True).start()

    def _work(self, order: "Order") -> None:
        """Run an order, in its thread; the plan is this thread's as long."""
        assert self._plan is not None
        identity = None
        try:
            identity = run_and_note(order, self._plan, self._note)
        except UserError as error:
            _log.error("There is no new certificate: {reason}", reason=str(error))
        except Exception as error:  # the library's, or ours; mail goes on
            _log.failure("an order of a certificate broke off")
            self._plan.failed(UserError(f"{type(error).__name__}: {error}"), now())
        self._reactor.callFromThread(self._ended, identity)

    def _ended(self, identity: Identity | None) -> None:
        self._order = None
        if not self._is_running:
            return
        assert self._plan is not None
        if identity is not None:
            _log.info(
                "There is a new certificate {source}, until {until}; it is renewed from {due} on",
                source=identity.source,
                until=identity.expires_at,
                due=self._plan.due,
            )
            self._afterwards()
        else:
            _log.info(
                "The next attempt is due at {due}, or at once with 'postroom tls renew'",
                due=self._plan.due,
            )
        self._sleep()

    def stop(self) -> "Deferred[Any]":
        """Stop answering and ordering; an order under way is left alone."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._order is not None:
            self._order.stop()
        closed = self._port.stopListening() if self._port is not None else None
        return closed if isinstance(closed, Deferred) else succeed(None)
