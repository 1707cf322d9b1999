"""All certificates of a server, and the watch over their files.

Theory: a *source* is where one certificate comes from. The store loads every source at the start.
An error is fatal there, since the person who started the daemon can read it; only a source that can
be ordered again is excused. Later `check` compares the files' times, sizes and inodes, and loads
each source whose files have changed. New contexts are built for all listeners before any is used,
so that they change together or not at all. Open connections keep the context with which they
started.

A certificate that cannot be used is logged in one line with the file's name, once for each state of
the files; the certificate in use stays. Such a certificate is not PEM, is incomplete because it is
still being written, does not match its key, or has expired. Files that are replaced one after the
other do not match for a moment; the next check finds them complete.

`check` blocks on the disk: it is for a worker thread, one at a time. What it changes, the reactor's
thread reads as single attributes.

Who controls the input: the administrator, and the program that renews certificates.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from twisted.logger import Logger

from postroom.certificates.contexts import ChallengeFinder, ListenerTLS, Material
from postroom.certificates.identity import (
    Identity,
    parse_chain,
    parse_key,
    read,
    read_identity,
)
from postroom.certificates.model import ListenerPolicy
from postroom.certificates.self_signed import self_signed_identity
from postroom.errors import UserError

WARNING_DAYS: Final = 30
_REMEDIES: Final = {
    "file": "put a new one there",
    "acme": "'postroom tls status' says why it was not renewed",
    "self-signed": "'postroom tls self-signed' makes a new one",
}
_log = Logger(namespace="postroom.tls")

Signature = tuple[object, ...]


class CertificateSource(Protocol):
    """A place from which one certificate is loaded."""

    @property
    def origin(self) -> str:
        """Its kind, in a word or two, for messages."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files to watch."""

    def load(self, now: datetime.datetime) -> Identity | None:
        """Read it; None if there is none yet.

        Raises:
            UserError: it cannot be used; the text names the file.
        """


@dataclass(frozen=True, slots=True)
class FileSource:
    """Certificate files that another program or person maintains.

    Attributes:
        certificate: PEM, its chain below it.
        key: PEM.
        setting: the table of the settings that names both.
    """

    certificate: Path
    key: Path
    setting: str = "tls"
    origin: str = "file"

    @property
    def files(self) -> tuple[Path, ...]:
        """The certificate's file and the key's."""
        return self.certificate, self.key

    def load(self, now: datetime.datetime) -> Identity:
        """Read both."""
        return read_identity(self.certificate, self.key, self.setting)


@dataclass(frozen=True, slots=True)
class SelfSignedSource:
    """The certificate that we sign ourselves, made when it is missing.

    Attributes:
        path: its file.
        hostname: whom it has to name.
    """

    path: Path
    hostname: str
    origin: str = "self-signed"

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.path,)

    def load(self, now: datetime.datetime) -> Identity:
        """Read it, or make it."""
        return self_signed_identity(self.path, self.hostname, now)


@dataclass(frozen=True, slots=True)
class ACMESource:
    """The certificate from an ACME server, with its key in one file of our own.

    Attributes:
        path: the file; there is none before the first order.
    """

    path: Path
    origin: str = "acme"

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.path,)

    def load(self, now: datetime.datetime) -> Identity | None:
        """Read it."""
        if not self.path.exists():
            return None
        pem, name = read(self.path, str(self.path)), str(self.path)
        key, chain = parse_key(pem, name), parse_chain(pem, name)
        if key.public_key() != chain[0].public_key():
            raise UserError(f"{name}: key and certificate do not belong together")
        return Identity(chain, key, name)


@dataclass(slots=True)
class _Slot:
    source: CertificateSource
    identity: Identity | None = None
    seen: Signature = ()


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The settings of a store.

    Attributes:
        sources: the first that has a certificate is for clients that send no known name.
        client_ca: who may sign clients' certificates; PEM.
    """

    sources: Sequence[CertificateSource]
    client_ca: Path | None = None


class CertificateStore:
    """The certificates in use."""

    def __init__(self, settings: StoreSettings, find_challenge: ChallengeFinder) -> None:
        """Store the sources; `load` reads them."""
        self._slots = [_Slot(source) for source in settings.sources]
        self._client_ca = settings.client_ca
        self._find_challenge = find_challenge
        self._authorities: list[x509.Certificate] = []
        self._authorities_seen: Signature = ()
        self._listeners: list[ListenerTLS] = []
        self._warned_on: datetime.date | None = None

    def load(self, now: datetime.datetime, wanted: Callable[[CertificateSource], bool]) -> None:
        """Read sources for the first time.

        Args:
            now: with a time zone.
            wanted: picks those to read now; the caller may have to be another user for others.

        Raises:
            UserError: one of them cannot be used.
        """
        for slot in self._slots:
            if wanted(slot.source):
                slot.seen = _signature(slot.source.files)
                slot.identity = _load(slot.source, now)
        if self._client_ca is not None and not self._authorities:
            self._authorities_seen = _signature((self._client_ca,))
            self._authorities = _read_authorities(self._client_ca)

    @property
    def identities(self) -> list[Identity]:
        """The certificates in use, the one for unknown names first."""
        return self._identities_with(None, None)

    def _identities_with(self, changed: _Slot | None, fresh: Identity | None) -> list[Identity]:
        """Return the certificates in use once one slot has another.

        A self-signed one serves alone or not at all: beside others it would be shown to clients
        that can verify only its kind of key, and nobody can verify whose it is.
        """
        given = [(slot.source, fresh if slot is changed else slot.identity) for slot in self._slots]
        there = [(source, identity) for source, identity in given if identity is not None]
        others = [each for source, each in there if not isinstance(source, SelfSignedSource)]
        return others or [identity for _, identity in there]

    def listener(self, policy: ListenerPolicy) -> ListenerTLS:
        """Make what serves a listener's TLS, and keep it fresh from now on.

        Raises:
            UserError: OpenSSL will not have a certificate.
        """
        made = ListenerTLS(policy, self._find_challenge)
        made.use(made.prepare(self._material(self.identities, self._authorities)))
        self._listeners.append(made)
        return made

    def _material(
        self, identities: Sequence[Identity], authorities: Sequence[x509.Certificate]
    ) -> Material:
        return Material(identities, authorities)

    # Watching

    def check(self, now: datetime.datetime) -> None:
        """Check all files once, load what has changed, and warn of certificates that expire.

        It never raises for what is wrong with a file.
        """
        for slot in self._slots:
            signature = _signature(slot.source.files)
            if signature != slot.seen:
                slot.seen = signature
                self._reload(slot, now)
        if self._client_ca is not None:
            signature = _signature((self._client_ca,))
            if signature != self._authorities_seen:
                self._authorities_seen = signature
                self._reload_authorities(self._client_ca)
        self._warn(now)

    def _reload(self, slot: _Slot, now: datetime.datetime) -> None:
        old = slot.identity
        try:
            fresh = slot.source.load(now)
            if fresh is None or (old is not None and fresh.chain == old.chain):
                return
            # An expired one is used only in place of another expired one.
            if fresh.expires_at <= now and (old is None or old.expires_at > now):
                raise UserError(f"{fresh.source}: expired on {fresh.expires_at:%Y-%m-%d}")
            self._serve(self._identities_with(slot, fresh), self._authorities)
        except UserError as error:
            stays = f"; the one until {old.expires_at:%Y-%m-%d} stays in use" if old else ""
            _log.error(
                "A new certificate is not used: {reason}{stays}", reason=str(error), stays=stays
            )
            return
        slot.identity = fresh
        self._warned_on = None
        _log.info(
            "The certificate {source} is in use from now on, until {until}",
            source=fresh.source,
            until=f"{fresh.expires_at:%Y-%m-%d}",
        )

    def _reload_authorities(self, path: Path) -> None:
        try:
            fresh = _read_authorities(path)
            self._serve(self.identities, fresh)
        except UserError as error:
            _log.error(
                "New authorities of clients are not used: {reason}; the old ones stay in use",
                reason=str(error),
            )
            return
        self._authorities = fresh
        _log.info("Certificates of clients are now checked by {path}", path=str(path))

    def _serve(
        self, identities: Sequence[Identity], authorities: Sequence[x509.Certificate]
    ) -> None:
        """Switch all listeners to the new certificates, or none."""
        material = self._material(identities, authorities)
        prepared = [listener.prepare(material) for listener in self._listeners]
        for listener, contexts in zip(self._listeners, prepared, strict=True):
            listener.use(contexts)

    def _warn(self, now: datetime.datetime) -> None:
        if self._warned_on != now.date():
            self._warned_on = now.date()
            for text in self.expiry_warnings(now):
                _log.warn("{text}", text=text)

    def expiry_warnings(self, now: datetime.datetime) -> Iterator[str]:
        """Yield a warning for each certificate that has expired or expires within 30 days.

        For one that lasts less than 90 days the warning comes when a third of its time is left; one
        of ACME when its renewal is overdue.
        """
        for slot in self._slots:
            identity = slot.identity
            if identity is None:
                continue
            left, life = identity.expires_at - now, identity.expires_at - identity.begins_at
            late = life / 24 if isinstance(slot.source, ACMESource) else datetime.timedelta(0)
            if left > min(datetime.timedelta(days=WARNING_DAYS), life / 3) - late:
                continue
            until, days = f"{identity.expires_at:%Y-%m-%d}", left.days
            when = f"expires on {until}, in {days} days" if days >= 0 else f"expired on {until}"
            yield f"The certificate {identity.source} {when}: {_REMEDIES[slot.source.origin]}"


def _load(source: CertificateSource, now: datetime.datetime) -> Identity | None:
    """Load a source at the start; one that can be ordered again never prevents the start."""
    try:
        return source.load(now)
    except UserError as error:
        if not isinstance(source, ACMESource):
            raise
        _log.error("{reason}: another is ordered", reason=str(error))
        return None


def _signature(files: Sequence[Path]) -> Signature:
    """Return a value that changes whenever a file does."""
    found: list[object] = []
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            found.append(error.errno)
        else:
            # The time of change tells of rights as well.
            found.append((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)


def _read_authorities(path: Path) -> list[x509.Certificate]:
    name = f"tls.client_ca {path}"
    return parse_chain(read(path, name), name)
