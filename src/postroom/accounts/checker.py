"""The credentials checker: logins with the accounts of the database.

A user name is an address, or the local part alone of one in the first domain. Whatever is wrong
with a login (no such account, switched off, no password, the wrong one) gets the same failure after
the same work; only trouble of ours is told apart, as 454, so that no client forgets a password
that was right.

When the parameters of hashes have changed, a login's hash is made anew in passing.

Who controls the input: the peer, all of it.
"""

from sqlalchemy import Engine, select
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.accounts.addresses import login_address
from postroom.accounts.administration import upgrade_hash
from postroom.accounts.passwords import BUSY, PasswordPool
from postroom.accounts.tables import account, domain
from postroom.errors import Refusal
from postroom.wire.replies import reply

UNAVAILABLE = reply(454, "4.7.0", "Temporary authentication failure, try again later")
_REFUSED = "Authentication credentials invalid"


@implementer(ICredentialsChecker)
class SQLCredentialsChecker:
    """Checks user name and password; the avatar id is the account's address, as bytes."""

    credentialInterfaces = (IUsernamePassword,)
    _log = Logger()

    def __init__(
        self,
        engine: Engine,
        passwords: PasswordPool,
        reactor: IReactorFromThreads,
        pool: ThreadPool,
    ) -> None:
        """Make a checker.

        Args:
            engine: the database, migrated.
            passwords: where passwords are verified; the caller starts and stops it.
            reactor: where answers are given.
            pool: the threads of look-ups; the caller starts and stops it.
        """
        self._engine = engine
        self._passwords = passwords
        self._reactor = reactor
        self._pool = pool

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """Check a login.

        Returns:
            The account's address. It fails with `UnauthorizedLogin` (535 5.7.8), or with
            a `Refusal` of 454 4.7.0 when we are to blame or too busy.

        RFC 4954 s4, s6; RFC 4616 s2
        """
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.password))

    async def _check(self, username: bytes, password: bytes) -> bytes | tuple[()]:
        if self._passwords.full:  # a flood must not cost a look-up each
            raise Refusal(BUSY)
        try:
            address, stored = await deferToThreadPool(
                self._reactor, self._pool, self._find, username
            )
            verdict = await self._passwords.verify(stored, password)
        except Refusal:
            raise
        except Exception:
            self._log.failure("A login could not be checked")
            raise Refusal(UNAVAILABLE) from None
        if stored is None or not verdict.matches:
            raise UnauthorizedLogin(_REFUSED)
        if verdict.new_hash is not None:
            await self._upgrade(address, stored, verdict.new_hash)
        return address.encode("ascii")

    async def _upgrade(self, address: str, old: str, new: str) -> None:
        """Store a hash with the parameters of today; if that fails, the next login tries again."""
        try:
            await deferToThreadPool(
                self._reactor, self._pool, upgrade_hash, self._engine, address, old, new
            )
        except Exception:
            self._log.failure("The password hash of {address} was not renewed", address=address)

    def _find(self, username: bytes) -> tuple[str, str | None]:
        """Give the account's address and its hash, None if nobody can log in to it. In a thread.

        A name that cannot be anybody's is looked up all the same, as an empty one.
        """
        with self._engine.connect() as connection:
            default = None
            if b"@" not in username:
                default = connection.scalar(select(domain.c.name).order_by(domain.c.id).limit(1))
            address = login_address(username, default) or ""
            query = select(account.c.password_hash, account.c.enabled)
            row = connection.execute(query.where(account.c.address == address)).first()
        return address, row.password_hash if row is not None and row.enabled else None
