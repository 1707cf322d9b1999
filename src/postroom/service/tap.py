"""Makes the service of ``twistd smtp``, or says in one line why it cannot be.

`twistd` calls `makeService` before it opens the log, forks, and sheds privileges. All that can fail
for a reason that a person can mend is done here, while there is a terminal to say it on and root to
do it as: the log and the key files are opened, the ports bound, and, as the user that the daemon
becomes, the state directory and the database. What needs threads or connections waits for
`MailService.startService`.
"""

import os
import time
from pathlib import Path
from typing import Any

from postroom.certificates.challenges import Challenges
from postroom.delivery.avatars import SiteRealm
from postroom.errors import UserError
from postroom.service.acme import acme_settings, listen_for_http_01
from postroom.service.assembly import IServiceReactor, assemble, make_listeners
from postroom.service.banner import banner
from postroom.service.collection import freeze_what_is_loaded
from postroom.service.daemon import MailService
from postroom.service.listeners import bind
from postroom.service.logs import LineObserver, make_observer
from postroom.service.open_files import affordable_connections, raise_open_files_limit
from postroom.service.options import Options
from postroom.service.renewal import Renewal
from postroom.service.settings import Settings
from postroom.service.signals import stop_once
from postroom.service.site_delivery import load_site_realm
from postroom.service.state import Owner
from postroom.service.storage import open_storage
from postroom.service.tls import CertificateWatch, load_files, load_own

__all__ = ["Options", "makeService"]

_DEFAULT_LOG = "twistd.log"


def makeService(options: Options) -> MailService:
    """Make the service, its ports bound.

    Args:
        options: parsed.

    Raises:
        SystemExit: it cannot be; the text says why, for standard error, and the status is 1.
    """
    from twisted.internet import reactor

    run_by_steady_clock(reactor)
    try:
        return _make(options, reactor)  # type: ignore[arg-type]  # a module to mypy
    except UserError as error:
        raise SystemExit(_for_the_terminal(str(error))) from error
    except Exception as error:
        if os.environ.get("POSTROOM_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error} (POSTROOM_DEBUG=1 shows where)"
        raise SystemExit(_for_the_terminal(" ".join(what.split()))) from error


def _for_the_terminal(text: str) -> str:
    return "\n".join(f"twistd smtp: {line}" for line in text.splitlines())


def run_by_steady_clock(reactor: Any) -> None:
    """Make a reactor's timers use the monotonic clock; call it before there are any.

    A reactor's own clock is the time of day. If that is set ahead all time-outs would pass at once,
    and if it is set back none would pass for as long.
    """
    reactor.seconds = time.monotonic


def _make(options: Options, reactor: IServiceReactor) -> MailService:
    settings, owner = options.settings, options.owner
    if options.of_twistd("chroot"):
        raise UserError("--chroot is not supported: paths would change after they were opened")
    realm = _site_realm(options)
    observer = _observer(options, owner)
    challenges = Challenges()
    certificates = load_files(settings, challenges.find)
    storage = open_storage(settings, owner)
    try:
        load_own(certificates, owner)
        limits = settings.limits.capped(
            affordable_connections(raise_open_files_limit(), settings.client.connections)
        )
        parts = assemble(reactor, settings, storage, limits, options.checkers, realm)
        listeners = make_listeners(reactor, settings, parts, limits, certificates)
        for listener in listeners:
            bind(listener)
        watch = CertificateWatch(reactor, certificates, settings.tls.watch_seconds)
        renewal = _renewal(reactor, settings, challenges, watch)
    except BaseException:
        storage.close()
        raise
    if options.parent is not None:
        reactor.callWhenRunning(stop_once)
        reactor.callWhenRunning(freeze_what_is_loaded)
    config = Path(options["config"]).absolute() if options["config"] else None
    return MailService(
        *(reactor, parts, listeners, storage, watch, renewal),
        log=observer,
        banner=list(banner(settings, config, storage.domains, listeners, certificates)),
        stop_seconds=settings.shutdown_deadline_seconds,
    )


def _site_realm(options: Options) -> SiteRealm | None:
    """Return what gives sessions the site's own delivery, if there is one.

    Raises:
        UserError: it cannot be used.
    """
    name = options.settings.site_delivery
    if name is None:
        return None
    given = options["delivery"] is not None
    place = f"--delivery {name}" if given else f"{options['config']}: delivery.site_object = {name}"
    return load_site_realm(name, place)


def _renewal(
    reactor: IServiceReactor, settings: Settings, challenges: Challenges, watch: CertificateWatch
) -> Renewal | None:
    """Make what orders certificates, if the settings want any."""
    if not settings.tls.acme.domains:
        return None
    acme_settings(settings)
    port = listen_for_http_01(reactor, settings, challenges)
    renewal = Renewal(reactor, settings, challenges, port, watch.look_now)
    watch.ask_also(renewal.take_request, renewal.renew_now)
    return renewal


def _observer(options: Options, owner: Owner) -> LineObserver | None:
    """Make the log where the settings say, or else where twistd's options do.

    Returns:
        None if twistd was told to log in another way.

    Raises:
        UserError: the file cannot be opened, or a daemon would write to standard output.
    """
    settings = options.settings.log
    if options.parent is None or options.of_twistd("logger") or options.of_twistd("syslog"):
        return None
    if settings.file is not None:
        return make_observer(settings.format, settings.file, owner)
    name, stays = options.of_twistd("logfile"), options.of_twistd("nodaemon")
    if name == "-" and not stays:
        raise UserError("--logfile=-: a daemon has no standard output; use -n or another file")
    if name == "-" or (stays and not name):
        return make_observer(settings.format, None, owner)
    return make_observer(settings.format, Path(name or _DEFAULT_LOG), owner)
