"""One directory made of several, which are asked in order; and a cache of a remote directory.

The first source that knows a domain or an address decides. If a source cannot be asked, the look-up
fails, even if a later source would know the answer: otherwise mail would go to another mailbox, or
be refused, whenever a server is down.

`CachedDirectory` caches the answers of a remote source. Positive answers are kept until the end of
a time window, when all of them are dropped at once, since `IDirectory.revision` is one number.
Negative answers are kept for a shorter time.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from postroom.envelope import Domain, Entry
from postroom.interfaces import IDirectory
from postroom.revision_cache import RevisionCache

ENTRIES: Final = 50_000
"""How many answers of each kind are cached."""

_T = TypeVar("_T")
_Dated = tuple[_T, float]
"""An answer, and the time when it expires."""


@implementer(IDirectory)
class DirectoryChain:
    """Asks one directory after the other."""

    def __init__(self, directories: Sequence[IDirectory]) -> None:
        """Store the directories; the first is asked first."""
        self._directories = tuple(directories)

    def revision(self) -> int:
        """See `IDirectory.revision`; each of the numbers only ever goes up."""
        return sum(directory.revision() for directory in self._directories)

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        asking = [directory.find_domain for directory in self._directories]
        return Deferred.fromCoroutine(_first(asking, name))

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        asking = [directory.find_address for directory in self._directories]
        return Deferred.fromCoroutine(_first(asking, address))


async def _first(asking: "Sequence[Callable[[str], Deferred[_T]]]", name: str) -> _T | None:
    for ask in asking:
        found = await maybeDeferred(ask, name)
        if found is not None:
            return found
    return None


@implementer(IDirectory)
class CachedDirectory:
    """Caches the answers of another directory."""

    def __init__(
        self,
        directory: IDirectory,
        clock: IReactorTime,
        seconds: float,
        negative_seconds: float,
    ) -> None:
        """Start with an empty cache.

        Args:
            directory: the one whose answers are cached.
            clock: the clock of the windows.
            seconds: how long positive answers may be kept; 0 for not at all.
            negative_seconds: how long negative answers are kept; at most ``seconds``.
        """
        self._directory = directory
        self._clock = clock
        self._seconds = seconds
        self._negative_seconds = min(negative_seconds, seconds)
        self._window = 0.0
        self._windows = 0
        self._domains: RevisionCache[str, _Dated[Domain | None]] = RevisionCache(
            self.revision, ENTRIES
        )
        self._entries: RevisionCache[str, _Dated[Entry | None]] = RevisionCache(
            self.revision, ENTRIES
        )

    def revision(self) -> int:
        """See `IDirectory.revision`: it goes up at the end of each window too."""
        now = self._clock.seconds()
        if now - self._window >= self._seconds:
            self._window = now
            self._windows += 1
        return self._directory.revision() + self._windows

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        return self._find(self._domains, self._directory.find_domain, name)

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        return self._find(self._entries, self._directory.find_address, address)

    def _find(
        self,
        kept: "RevisionCache[str, _Dated[_T]]",
        ask: "Callable[[str], Deferred[_T]]",
        name: str,
    ) -> "Deferred[_T]":
        revision = kept.revision()
        found = kept.get(name)
        if found is not None and self._clock.seconds() < found[1]:
            return succeed(found[0])

        def keep(answer: _T) -> _T:
            seconds = self._seconds if answer is not None else self._negative_seconds
            if seconds:
                kept.keep(name, (answer, self._clock.seconds() + seconds), revision)
            return answer

        return maybeDeferred(ask, name).addCallback(keep)
