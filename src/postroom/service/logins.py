"""Several sources of logins behind one portal.

A `twisted.cred.portal.Portal` takes one checker for each kind of credentials; `CheckersInOrder`
stands for several: the first that knows the login wins. A source that is down must not make a right
password wrong: if none accepts and one could not answer, the login fails for now and not for good.

Who controls the input: the peer, all of it.
"""

from collections.abc import Sequence

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer


@implementer(ICredentialsChecker)
class CheckersInOrder:
    """Asks one checker after the other for user name and password."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, checkers: Sequence[ICredentialsChecker]) -> None:
        """Take the checkers, the first to be asked first."""
        self._checkers = checkers

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """Check a login.

        Returns:
            The avatar id that the first checker gave which accepts it. It fails with
            `UnauthorizedLogin` if all refuse, or else as the first did that could not answer.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: IUsernamePassword) -> bytes | tuple[()]:
        trouble: Exception | None = None
        for checker in self._checkers:
            try:
                found: bytes | tuple[()] = await maybeDeferred(checker.requestAvatarId, credentials)
                return found
            except LoginFailed:
                continue
            except Exception as error:
                trouble = trouble or error
        raise trouble or UnauthorizedLogin("no source of logins accepts it")


def make_portal(realm: IRealm, checkers: Sequence[ICredentialsChecker]) -> Portal:
    """Make the portal: anonymous sessions, and logins by the checkers in order."""
    return Portal(realm, [AllowAnonymousAccess(), CheckersInOrder(checkers)])
