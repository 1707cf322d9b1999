"""Certificates by ACME, as the settings want them: what an order needs, and one order by itself.

When the daemon orders is in `postroom.service.renewal`.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorCore
from twisted.internet.task import react
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from postroom.certificates.challenges import Challenges, http_site
from postroom.certificates.identity import Identity, parse_chain, read
from postroom.certificates.model import ACMESettings
from postroom.certificates.renewal import Attempts, Plan, write_attempts
from postroom.errors import UserError
from postroom.service.listeners import bind_port, parse_endpoint
from postroom.service.settings import Settings
from postroom.service.state import Owner
from postroom.service.tls import ACME_FOLDER, now

if TYPE_CHECKING:
    from postroom.certificates.acme import Order

REQUEST_FILE: Final = "renew"
NOTE_FILE: Final = "attempts.json"


def acme_settings(settings: Settings) -> ACMESettings:
    """Return the settings of orders.

    Raises:
        UserError: the library is missing, or the authorities cannot be read.
    """
    acme = settings.tls.acme
    try:
        import postroom.certificates.acme  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"tls.acme.domains: ACME needs the extra 'acme': pip install 'postroom[acme]' ({error})"
        ) from None
    if acme.ca_file is not None:
        name = f"tls.acme.ca_file {acme.ca_file}"
        parse_chain(read(acme.ca_file, name), name)
    return replace(acme, folder=settings.state_dir / ACME_FOLDER)


def request_file(settings: Settings) -> Path:
    """Return the path of the file whose existence asks the daemon for an order."""
    return settings.state_dir / ACME_FOLDER / REQUEST_FILE


def note_file(settings: Settings) -> Path:
    """Return the path of the file with the results of the orders."""
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
    """Run an order, which blocks, and record its result.

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
