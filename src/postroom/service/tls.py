"""The server's certificates, as the settings name them, and the watch over them while it runs."""

import datetime
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from postroom.certificates.contexts import ChallengeFinder, ListenerTLS
from postroom.certificates.model import ListenerPolicy
from postroom.certificates.store import (
    ACMESource,
    CertificateSource,
    CertificateStore,
    FileSource,
    SelfSignedSource,
    StoreSettings,
)
from postroom.service.listen import Listen
from postroom.service.logs import ILogReactor
from postroom.service.settings import Settings
from postroom.service.state import Owner
from postroom.service.tls_section import TLSSection

SELF_SIGNED: Final = "self-signed.pem"
ACME_FOLDER: Final = "acme"
_log = Logger(namespace="postroom.tls")


def now() -> datetime.datetime:
    """Return the time of day, with its zone."""
    return datetime.datetime.now(datetime.UTC)


def sources_of(settings: Settings) -> list[CertificateSource]:
    """Return the sources of certificates, first that for clients that ask for no name.

    A self-signed one is among them while nobody else is sure to have one.
    """
    tls = settings.tls
    found: list[CertificateSource] = []
    if tls.certificate is not None and tls.key is not None:
        found.append(FileSource(tls.certificate, tls.key))
    if tls.acme.domains:
        found.append(ACMESource(settings.state_dir / ACME_FOLDER / "certificate.pem"))
    for number, pair in enumerate(tls.sni):
        found.append(FileSource(pair.certificate, pair.key, f"tls.sni[{number}]"))
    if not any(isinstance(source, FileSource) for source in found):
        found.append(SelfSignedSource(settings.state_dir / SELF_SIGNED, settings.hostname))
    return found


def _is_of_others(source: CertificateSource) -> bool:
    return isinstance(source, FileSource)


def load_files(settings: Settings, find_challenge: ChallengeFinder) -> CertificateStore:
    """Make the store, and read the files that are not in the state directory.

    Raises:
        UserError: a file cannot be used.
    """
    store = CertificateStore(
        StoreSettings(sources_of(settings), settings.tls.client_ca), find_challenge
    )
    store.load(now(), _is_of_others)
    return store


def load_own(store: CertificateStore, owner: Owner) -> None:
    """Read, or make, what is in the state directory, as its owner.

    Raises:
        UserError: a file cannot be used or written.
    """
    with owner.acting():
        store.load(now(), lambda source: not _is_of_others(source))


def listener_tls(store: CertificateStore, listen: Listen, tls: TLSSection) -> ListenerTLS:
    """Make what serves the TLS of a listener, with the profile of its role.

    Raises:
        UserError: OpenSSL will not have a certificate.
    """
    profile = tls.profile_of(listen.role)
    return store.listener(ListenerPolicy(str(listen), listen.client_certificates, profile))


class CertificateWatch:
    """Looks at the certificates' files again and again, in a thread of its own."""

    def __init__(self, reactor: ILogReactor, store: CertificateStore, seconds: float) -> None:
        """Store what to watch; `start` starts the checks.

        Args:
            reactor: its clock, and where results come back.
            store: what to check.
            seconds: from one look to the next.
        """
        self._reactor = reactor
        self._store = store
        self._seconds = seconds
        self._pool = ThreadPool(0, 1, "certificates")
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor
        self._also: Callable[[], bool] = bool
        self._if_so: Callable[[], object] = bool

    def ask_also(self, question: Callable[[], bool], if_so: Callable[[], object]) -> None:
        """With each look, ask something that blocks as well, and act on the reactor's thread."""
        self._also, self._if_so = question, if_so

    def start(self) -> None:
        """Start checking the files; the first check is made at once."""
        self._pool.start()
        self._loop.start(self._seconds)

    def look_now(self) -> None:
        """Check at once; call it on the reactor's thread."""
        if self._loop.running:
            self._look()

    def _look(self) -> "Deferred[object]":
        looked = deferToThreadPool(self._reactor, self._pool, self._look_in_thread)
        return looked.addCallback(self._act).addErrback(self._failed)

    def _look_in_thread(self) -> bool:
        self._store.check(now())
        return self._also()

    def _act(self, is_so: bool) -> None:
        if is_so:
            self._if_so()

    def _failed(self, failure: Failure) -> None:
        _log.failure("the certificates' files could not be looked at", failure)

    def stop(self) -> None:
        """End, after a look that is under way."""
        if self._loop.running:
            self._loop.stop()
        self._pool.stop()
