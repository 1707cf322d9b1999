"""The services that check logins, and several checkers behind one portal.

A `twisted.cred.portal.Portal` has one checker for each kind of credentials. `CheckerChain` makes
one of several: the first that accepts the login decides. If none accepts it and one of them could
not answer, the login fails temporarily, since the password may be right.

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

from postroom.credentials import Knowledge, NotThatAccount
from postroom.directory.sql_directory import IDirectoryReactor
from postroom.errors import UserError
from postroom.interfaces import ICredentialSource
from postroom.logins.checker import SourcesChecker
from postroom.logins.guard import LoginGuard
from postroom.logins.hashing import Hashing
from postroom.logins.lockouts import SharedLockouts
from postroom.logins.passwords import PasswordPool
from postroom.logins.scram import DummyScramKeys
from postroom.networks import in_networks
from postroom.server.authentication import LoginParts
from postroom.server.connections import peer_key
from postroom.service.settings import Settings
from postroom.service.storage import Storage
from postroom.service.tokens import make_token_checker


@implementer(ICredentialsChecker)
class CheckerChain:
    """Asks the checkers for one kind of credentials, one after the other."""

    def __init__(self, kind: type[ICredentials], checkers: Sequence[ICredentialsChecker]) -> None:
        """Store the kind of credentials, and the checkers; the first is asked first."""
        self.credentialInterfaces = (kind,)
        self._checkers = [each for each in checkers if kind in each.credentialInterfaces]

    def requestAvatarId(self, credentials: ICredentials) -> Deferred[bytes | tuple[()]]:
        """Check a login.

        Returns:
            The avatar id of the first checker that accepts the login. If none does, it fails as
            the first that could not answer; if all answered, as one that found the credentials
            right (`NotThatAccount`), else as the first; without a checker with `UnauthorizedLogin`.
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
    """Return the portal: anonymous sessions, and logins by the checkers in order."""
    kinds = dict.fromkeys(kind for each in checkers for kind in each.credentialInterfaces)
    in_order = [CheckerChain(kind, checkers) for kind in kinds]
    return Portal(realm, [AllowAnonymousAccess(), *in_order])


@dataclass(frozen=True, slots=True)
class LoginServices:
    """The services that check logins.

    Attributes:
        passwords: the pool that verifies passwords; to be started and stopped.
        lockouts: shares lock-outs; to be started and stopped.
        checkers: our own; the first is asked first.
        parts: those that listeners get besides a portal.
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
) -> LoginServices:
    """Return the services that check logins; nothing runs yet.

    Args:
        reactor: the clock of polls, and where answers are given.
        settings: those of the daemon.
        storage: opened.
        look_ups: the threads that ask the database.
        sources: of logins; the first is asked first.

    Raises:
        UserError: the settings of logins contradict each other, or a package is missing.
    """
    forms = settings.auth.forms
    passwords = PasswordPool(Hashing(forms=forms), reactor)
    default = next(iter(storage.domains), None)
    dummy_keys = DummyScramKeys(storage.login_secret, default, forms.scram_iterations)
    checker = SourcesChecker(sources, passwords, dummy_keys)
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
    return LoginServices(
        passwords, lockouts, checkers, LoginParts(checker, guard, tokens is not None)
    )
