"""A source whose failures are logged once: when it goes down, and when it answers again.

Whatever a source raises, the routing and the logins get a `SourceError` of one line. A server that
is down for an hour makes two lines in the log, not one for each message. An unexpected error is
logged with its traceback, once. An answer that cannot be used (`SourceError` itself, not
`SourceDown`) concerns one name, and is logged each time.
"""

from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.credentials import Credential, Knowledge
from postroom.envelope import Domain, Entry
from postroom.interfaces import ICredentialSource, IDirectory
from postroom.sources.profile import SourceDown, SourceError

_FORESEEN: Final = (
    SourceError,
    OSError,
    SQLAlchemyError,
    DeferredTimeout,
    ConnectError,
    ConnectionClosed,
)
_LOOK_UPS: Final = "answers"
_PASSWORDS: Final = "checks passwords"
_T = TypeVar("_T")


class AccountSource(Protocol):
    """Both interfaces of a source, and its start and stop."""

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `ICredentialSource`."""

    def start(self) -> None:
        """Start to answer."""

    def stop(self) -> "Deferred[Any] | None":
        """Stop; may block, or take until the Deferred fires."""

    def revision(self) -> int:
        """See `IDirectory`."""

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory`."""

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory`."""

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        """See `ICredentialSource`."""


@implementer(IDirectory, ICredentialSource)
class LoggedSource:
    """Passes all look-ups on to a source, and logs its failures."""

    _log = Logger()

    def __init__(self, name: str, source: AccountSource) -> None:
        """Store the source, and the name that the settings give it."""
        self._name = name
        self._source = source
        self._troubles: set[str] = set()
        self.start = source.start
        self.stop = source.stop
        self.revision = source.revision

    def __repr__(self) -> str:
        """Return the name of the source."""
        return f"<the source {self._name}>"

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `ICredentialSource`."""
        return self._source.knows

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        # Some know their domains without a request: such an answer is no sign that they are up.
        return maybeDeferred(self._source.find_domain, name).addErrback(self._failed, _LOOK_UPS)

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        return self._watched(maybeDeferred(self._source.find_address, address), _LOOK_UPS)

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        """See `ICredentialSource.find_credential`."""
        asking = maybeDeferred(self._source.find_credential, username)
        return self._watched(asking, _LOOK_UPS).addCallback(self._with_verifying)

    def _with_verifying(self, found: Credential | None) -> Credential | None:
        """Return a credential whose check of a password is watched as well."""
        if found is None or found.verify is None:
            return found
        verify = found.verify

        def watched(password: bytes) -> Deferred[bool]:
            return self._watched(maybeDeferred(verify, password), _PASSWORDS)

        return replace(found, verify=watched)

    def _watched(self, asking: Deferred[_T], what: str) -> Deferred[_T]:
        """Watch one ability of a source, since it may fail at one and not at the other."""
        return asking.addCallbacks(
            self._answered, self._failed, callbackArgs=(what,), errbackArgs=(what,)
        )

    def _answered(self, answer: _T, what: str) -> _T:
        if what in self._troubles:
            self._troubles.discard(what)
            self._log.info("The source {name} {what} again", name=self._name, what=what)
        return answer

    def _failed(self, failure: Failure, what: str) -> Any:
        if failure.check(SourceError) and not failure.check(SourceDown):
            reason = failure.getErrorMessage()
            self._log.warn("The source {name}: {reason}", name=self._name, reason=reason)
            return failure
        reason = one_line(cast(Exception, failure.value))
        if what not in self._troubles:
            self._troubles.add(what)
            if failure.check(*_FORESEEN):
                self._log.warn("The source {name}: {reason}", name=self._name, reason=reason)
            else:
                self._log.failure("The source {name} failed", failure, name=self._name)
        raise SourceDown(f"the source {self._name}: {reason}") from None


def one_line(error: Exception) -> str:
    """Return what went wrong in one line; a database's own words without SQLAlchemy's."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    if isinstance(error, DeferredTimeout):
        return "it took too long to answer"
    return lines[0] if lines else type(cause).__name__
