"""The accounts of the database as a source of logins.

A user name is an address of an account, or only its local part in the first domain. A name that no
account can have is looked up all the same, as an empty one, so that it takes the same time.

Who controls the input: the peer, the name, which reaches the database only as a bound value.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, select
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.credentials import AppPassword, Credential, Knowledge
from postroom.directory.addresses import login_address
from postroom.directory.entries import address_kind
from postroom.directory.tables import account, domain
from postroom.interfaces import ICredentialStore
from postroom.logins.hashing import Forms
from postroom.logins.secrets import app_password_used, replace_stored, stored_forms
from postroom.logins.tables import app_password

USE_NOTED_SECONDS: Final = 60.0
"""The precision of the last use of an app password; a busy program costs one write in this time."""
_REMEMBERED: Final = 1000

_T = TypeVar("_T")
_P = ParamSpec("_P")


@implementer(ICredentialStore)
class SQLCredentialSource:
    """Looks up the credentials of the database's accounts, and stores better forms of them."""

    def __init__(
        self, engine: Engine, reactor: IReactorFromThreads, pool: ThreadPool, forms: Forms
    ) -> None:
        """Store the database, and the threads that ask it.

        Args:
            engine: the database, migrated.
            reactor: where answers are given.
            pool: the threads of look-ups; the caller starts and stops it.
            forms: in which passwords are stored here.
        """
        self._engine = engine
        self._reactor = reactor
        self._pool = pool
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.knows = frozenset(
            {Knowledge.CHECKABLE}
            | ({Knowledge.SCRAM} if forms.scram else set())
            | ({Knowledge.CLEAR_TEXT} if forms.clear_text else set())
        )

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        """See `ICredentialSource.find_credential`."""
        return self._defer(_find, username)

    def replace_stored(
        self, address: str, old: Sequence[str], new: Sequence[str]
    ) -> Deferred[None]:
        """See `ICredentialStore.replace_stored`."""
        return self._defer(replace_stored, address, old, new)

    def app_password_used(self, address: str, key: str) -> Deferred[None]:
        """See `ICredentialStore.app_password_used`; exact to `USE_NOTED_SECONDS`."""
        now, which = time.time(), (address, key)
        if now - self._noted.get(which, 0) < USE_NOTED_SECONDS:
            return succeed(None)
        self._noted[which] = now
        self._noted.move_to_end(which)
        if len(self._noted) > _REMEMBERED:
            self._noted.popitem(last=False)
        return self._defer(app_password_used, address, key, now)

    def _defer(
        self,
        function: Callable[Concatenate[Engine, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_T]:
        return deferToThreadPool(self._reactor, self._pool, function, self._engine, *args, **kwargs)


def _find(engine: Engine, username: bytes) -> Credential | None:
    """Look a user up; called in a thread. Unknown users take the same statements."""
    with engine.connect() as connection:
        default = connection.scalar(select(domain.c.name).order_by(domain.c.id).limit(1))
        found = address_kind(connection, login_address(username, default) or "")
        address = found[1] if found is not None and found[0] == "account" else ""
        enabled = connection.scalar(select(account.c.enabled).where(account.c.address == address))
        stored = stored_forms(connection, address)
        app_passwords = _app_passwords(connection, address)
    return None if enabled is None else Credential(address, stored, app_passwords, enabled)


def _app_passwords(connection: Connection, address: str) -> tuple[AppPassword, ...]:
    table = app_password.c
    query = select(table.key, table.name, table.stored).where(table.address == address)
    return tuple(AppPassword(*row) for row in connection.execute(query))
