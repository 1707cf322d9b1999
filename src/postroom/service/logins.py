"""What logins are checked with, put together; and several checkers behind one portal.

A `twisted.cred.portal.Portal` takes one checker for each kind of credentials; `CheckersInOrder`
stands for several: the first that knows the login wins. A source that is down must not make a right
password wrong: if none accepts and one could not answer, the login fails for now and not for good.

Who controls the input: the peer, all of it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from postroom.accounts.checker import SourcesChecker
from postroom.accounts.directory import IDirectoryReactor
from postroom.accounts.guard import LoginGuard
from postroom.accounts.hashing import Hashing
from postroom.accounts.lockouts import SharedLockouts
from postroom.accounts.passwords import PasswordPool
from postroom.accounts.scram import KeysOfNobody
from postroom.credentials import Knowledge, NotThatAccount
from postroom.errors import UserError
from postroom.interfaces import ICredentialSource
from postroom.networks import in_networks
from postroom.server.authentication import LoginParts
from postroom.server.connections import peer_key
from postroom.service.settings import Settings
from postroom.service.storage import Storage
from postroom.service.tokens import make_token_checker


@implementer(ICredentialsChecker)
class CheckersInOrder:
    """Asks one checker after the other, of those that take credentials of a kind."""

    def __init__(self, kind: type[ICredentials], checkers: Sequence[ICredentialsChecker]) -> None:
        """Take the kind of credentials, and the checkers, the first to be asked first."""
        self.credentialInterfaces = (kind,)
        self._checkers = [each for each in checkers if kind in each.credentialInterfaces]

    def requestAvatarId(self, credentials: ICredentials) -> Deferred[bytes | tuple[()]]:
        """Check a login.

        Returns:
            The avatar id that the first checker gave which accepts it. Otherwise it fails as the
            first did that could not answer; if all could, as one that found the credentials right
            (`NotThatAccount`), or as the first; with `UnauthorizedLogin` if there is none.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: ICredentials) -> bytes | tuple[()]:
        trouble: Exception | None = None
        refusal: LoginFailed | None = None
        for checker in self._checkers:
            try:
                found: bytes | tuple[()] = await maybeDeferred(checker.requestAvatarId, credentials)
                return found
            except LoginFailed as error:
                if refusal is None or isinstance(error, NotThatAccount):
                    refusal = error
            except Exception as error:
                trouble = trouble or error
        raise trouble or refusal or UnauthorizedLogin("no source of logins accepts it")


def make_portal(realm: IRealm, checkers: Sequence[ICredentialsChecker]) -> Portal:
    """Make the portal: anonymous sessions, and logins by the checkers in order."""
    kinds = dict.fromkeys(kind for each in checkers for kind in each.credentialInterfaces)
    in_order = [CheckersInOrder(kind, checkers) for kind in kinds]
    return Portal(realm, [AllowAnonymousAccess(), *in_order])


@dataclass(frozen=True, slots=True)
class LoginRoom:
    """What logins are checked with.

    Attributes:
        passwords: verifies passwords; to be started and stopped.
        lockouts: shares lock-outs; to be started and stopped.
        checkers: those of ours, the first to be asked first.
        parts: what listeners get besides a portal.
    """

    passwords: PasswordPool
    lockouts: SharedLockouts
    checkers: Sequence[ICredentialsChecker]
    parts: LoginParts


def make_logins(
    reactor: IDirectoryReactor,
    settings: Settings,
    storage: Storage,
    look_ups: ThreadPool,
    sources: Sequence[ICredentialSource],
) -> LoginRoom:
    """Put together what checks logins; nothing runs yet.

    Args:
        reactor: the clock of polls, and where answers are given.
        settings: everybody's.
        storage: opened.
        look_ups: threads that ask the database.
        sources: of logins, the first to be asked first.

    Raises:
        UserError: the settings of logins contradict each other, or a package is missing.
    """
    forms = settings.auth.forms
    passwords = PasswordPool(Hashing(forms=forms), reactor)
    default = next(iter(storage.domains), None)
    nobody = KeysOfNobody(storage.login_secret, default, forms.scram_iterations)
    checker = SourcesChecker(sources, passwords, nobody)
    if Knowledge.SCRAM in checker.knows and find_spec("scramp") is None:
        raise UserError("SCRAM needs more packages: pip install 'postroom[auth]'")
    exempt = tuple(settings.auth.exempt_networks)
    guard = LoginGuard(
        settings.auth.lockout,
        time.time,
        peer_key,
        lambda client: in_networks(client, exempt),
        default,
    )
    lockouts = SharedLockouts(guard, storage.engine, reactor, look_ups)
    tokens = make_token_checker(reactor, settings.auth.tokens, look_ups, checker)
    checkers = [checker] if tokens is None else [checker, tokens]
    return LoginRoom(passwords, lockouts, checkers, LoginParts(checker, guard, tokens is not None))
