"""The directory: domains, accounts and aliases from the database, for the routing of mail.

Theory: a look-up is a few indexed queries, made in a small pool of threads. The routing caches
answers for as long as `SQLDirectory.revision` stays the same, so frequent look-ups cost nothing
here. The revision is a count of this process. It is incremented when a poll, once a second, finds
that another process has incremented `directory_revision`, and at once after a change through
`SQLDirectory.change`.

Invariants: `revision` never blocks, and never returns a number again that it returned before the
last change. If the database fails, the look-up fails; the answer is never "no such user". While
polls fail, the revision stays the same, so that mail for known recipients is still accepted.

Who controls the input: a peer, by the address that it sends, which reaches the database only as
a bound value. The Maildir's path comes from the account's row.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, select
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.directory.entries import find_domain, find_entry
from postroom.directory.revision_poll import RevisionPoll
from postroom.directory.tables import directory_revision
from postroom.envelope import Account, Domain, Entry
from postroom.interfaces import IDirectory

_T = TypeVar("_T")
_P = ParamSpec("_P")


class IDirectoryReactor(IReactorTime, IReactorFromThreads):
    """What the directory needs of a reactor."""


@implementer(IDirectory)
class SQLDirectory:
    """Looks domains, accounts and aliases up in the database."""

    def __init__(
        self, engine: Engine, mail_root: Path, reactor: IDirectoryReactor, pool: ThreadPool
    ) -> None:
        """Store the database; look-ups work at once, polls begin with `start`.

        Args:
            engine: the database, migrated.
            mail_root: the directory below which Maildirs are; absolute.
            reactor: the clock of the polls, and where answers are given.
            pool: the threads of look-ups; the caller starts and stops it. Four are plenty.
        """
        self._engine = engine
        self._mail_root = mail_root
        self._reactor = reactor
        self._pool = pool
        self._revision = 0
        self._poll = RevisionPoll(
            "the directory's changes", reactor, self._stored_revision, self._count_up
        )

    def start(self) -> None:
        """Notice the changes of other processes from now on."""
        self._poll.start()

    def stop(self) -> None:
        """Stop noticing changes."""
        self._poll.stop()

    def revision(self) -> int:
        """See `IDirectory.revision`."""
        return self._revision

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        return self._defer(self._domain, name)

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        return self._defer(self._address, address)

    def change(
        self,
        function: Callable[Concatenate[Engine, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_T]:
        """Make a change with a function of `postroom.directory.accounts`.

        Args:
            function: called in a thread with the engine and the other arguments.
            args: for it.
            kwargs: for it.

        Returns:
            What the function returns, after the revision was incremented. Fails with what it
            raises.
        """

        def changed(result: _T | Failure) -> _T | Failure:
            self._count_up()
            return result

        return self._defer(function, self._engine, *args, **kwargs).addBoth(changed)

    def _defer(
        self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]:
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)

    def _count_up(self) -> None:
        self._revision += 1

    def _stored_revision(self) -> Deferred[object]:
        return self._defer(self._read_revision)

    # In a thread of the pool:

    def _read_revision(self) -> int:
        with self._engine.connect() as connection:
            stored: int = connection.execute(select(directory_revision.c.revision)).scalar_one()
        return stored

    def _domain(self, name: str) -> Domain | None:
        with self._engine.connect() as connection:
            return find_domain(connection, name)

    def _address(self, address: str) -> Entry | None:
        with self._engine.connect() as connection:
            found = find_entry(connection, address)
        if isinstance(found, Account):
            return replace(found, maildir=str(self._mail_root / found.maildir))
        return found
