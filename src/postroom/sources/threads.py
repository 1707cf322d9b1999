"""Sources that block, which are asked in their own threads.

A source that hangs must not block the daemon. So each has few threads, a limit on the look-ups that
wait for them, and a timeout. Beyond the limit a look-up fails at once, as if the source were down.

Some sources know when they have changed (`LookUps.version`). That is read once a second, also in a
thread, and increments the revision.

Who controls the input: the peer, the names that are looked up.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, ParamSpec, Protocol, TypeVar, runtime_checkable

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.credentials import Credential, Knowledge
from postroom.directory.revision_poll import RevisionPoll
from postroom.directory.sql_directory import IDirectoryReactor
from postroom.envelope import Domain, Entry
from postroom.interfaces import ICredentialSource, IDirectory
from postroom.sources.profile import SourceDown

THREADS: Final = 4
WAITING: Final = 200
"""How many look-ups may wait for a source before further ones fail."""

_T = TypeVar("_T")
_P = ParamSpec("_P")


class LookUps(Protocol):
    """The look-ups of a source, called in threads; they may block, and raise if it is down."""

    @property
    def knows(self) -> frozenset[Knowledge]:
        """The kinds of knowledge about passwords that it may have; never blocks."""

    def version(self) -> object:
        """Return a value that differs when answers may have changed; None if it cannot tell."""

    def domain(self, name: str) -> Domain | None:
        """See `IDirectory.find_domain`."""

    def address(self, address: str) -> Entry | None:
        """See `IDirectory.find_address`."""

    def credential(self, username: bytes) -> Credential | None:
        """See `ICredentialSource.find_credential`."""

    def close(self) -> None:
        """Close what is open."""


@runtime_checkable
class Verifies(Protocol):
    """An add-on for sources that reveal no passwords, but check them."""

    def verify(self, address: str, password: bytes) -> bool:
        """Return whether a password is right; called in a thread, raises if the source is down."""


class SourceThreads:
    """A few threads for look-ups, with a limit on those that wait, and a timeout."""

    def __init__(self, name: str, reactor: IDirectoryReactor, timeout_seconds: float) -> None:
        """Store the limits; no thread runs before `start`."""
        self._name = name
        self._reactor = reactor
        self._timeout_seconds = timeout_seconds
        self._pool = ThreadPool(0, THREADS, name)
        self._free_places = THREADS + WAITING

    def start(self) -> None:
        """Start to answer."""
        self._pool.start()

    def stop(self) -> None:
        """Stop the threads; blocks until they have finished what they do."""
        self._pool.stop()

    def ask(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        """Call a function in a thread.

        Returns:
            What it returns. Fails with what it raises, with `SourceDown` if too many wait, and with
            `TimeoutError` if it takes too long.
        """
        if self._free_places <= 0:
            return fail(SourceDown(f"{self._name}: too many look-ups wait for an answer"))
        self._free_places -= 1
        result: Deferred[_T] = Deferred()

        def done(outcome: _T | Failure) -> None:
            # The thread may come late; its place is taken until then.
            self._free_places += 1
            if not result.called:
                result.callback(outcome)

        deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs).addBoth(done)
        return result.addTimeout(self._timeout_seconds, self._reactor)


@implementer(IDirectory, ICredentialSource)
class ThreadedSource:
    """A source that is asked in threads: some for mail, others for logins."""

    def __init__(
        self, name: str, look_ups: LookUps, reactor: IDirectoryReactor, timeout_seconds: float
    ) -> None:
        """Store the look-ups; no thread runs before `start`.

        Args:
            name: for the log.
            look_ups: what is asked.
            reactor: the clock, and where answers are given.
            timeout_seconds: how long an answer may take.
        """
        self._look_ups = look_ups
        self._mail = SourceThreads(name, reactor, timeout_seconds)
        self._logins = SourceThreads(f"{name} logins", reactor, timeout_seconds)
        self._revision = 0
        version = look_ups.version()
        what = f"the version of the source {name}"
        self._poll = RevisionPoll(what, reactor, self._read_version, self._count_up, version)
        self._tells_changes = version is not None

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `ICredentialSource`."""
        return self._look_ups.knows

    def start(self) -> None:
        """Start to answer, and to notice changes."""
        self._mail.start()
        self._logins.start()
        if self._tells_changes:
            self._poll.start(now=False)

    def stop(self) -> None:
        """Stop the threads; blocks until they have finished what they do."""
        self._poll.stop()
        self._mail.stop()
        self._logins.stop()
        self._look_ups.close()

    def revision(self) -> int:
        """See `IDirectory.revision`."""
        return self._revision

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        return self._mail.ask(self._look_ups.domain, name)

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        return self._mail.ask(self._look_ups.address, address)

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        """See `ICredentialSource.find_credential`."""
        found = self._logins.ask(self._look_ups.credential, username)
        return found.addCallback(self._with_verifying)

    def _with_verifying(self, found: Credential | None) -> Credential | None:
        look_ups = self._look_ups
        if found is None or not isinstance(look_ups, Verifies):
            return found
        address, verify = found.address, look_ups.verify
        return replace(found, verify=lambda password: self._logins.ask(verify, address, password))

    def _read_version(self) -> Deferred[object]:
        return self._mail.ask(self._look_ups.version)

    def _count_up(self) -> None:
        self._revision += 1
