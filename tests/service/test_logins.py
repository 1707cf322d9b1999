"""Several sources of logins."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import Anonymous, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from postroom.credentials import NotThatAccount, TokenRefused
from postroom.errors import Refusal
from postroom.service.logins import CheckerChain, make_portal
from postroom.wire.replies import reply

DOWN = Refusal(reply(454, "4.7.0", "Temporary authentication failure"))


@implementer(ICredentialsChecker)
class Checker:
    """Answers as it was told."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: bytes | Exception, raises: bool = False) -> None:
        self.answer, self.raises, self.asked = answer, raises, 0

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.asked += 1
        if isinstance(self.answer, bytes):
            return succeed(self.answer)
        if self.raises:
            raise self.answer
        return fail(self.answer)


@implementer(IRealm)
class Realm:
    """Gives the avatar id as the avatar."""

    def requestAvatar(
        self,
        avatarId: object,  # noqa: N803  # cred passes it by this name
        mind: object,
        *interfaces: type[Interface],
    ) -> Any:
        return interfaces[0], avatarId, lambda: None


class OrderTests(SynchronousTestCase):
    """Tests for `CheckerChain`."""

    def ask(self, *checkers: Checker) -> Deferred[Any]:
        credentials = UsernamePassword(b"ann", b"pw")
        return CheckerChain(IUsernamePassword, checkers).requestAvatarId(credentials)

    def test_the_first_that_accepts_wins(self) -> None:
        no, yes, later = Checker(UnauthorizedLogin()), Checker(b"ann"), Checker(b"other")
        self.assertEqual(self.successResultOf(self.ask(no, yes, later)), b"ann")
        self.assertEqual((no.asked, yes.asked, later.asked), (1, 1, 0))

    def test_a_login_that_all_refuse_is_refused(self) -> None:
        no = Checker(UnauthorizedLogin())
        self.failureResultOf(self.ask(no, Checker(UnauthorizedLogin(), True)), UnauthorizedLogin)
        self.failureResultOf(self.ask(), UnauthorizedLogin)

    def test_what_is_told_is_the_first_refusal_or_that_the_credentials_are_right(self) -> None:
        first, second = Checker(TokenRefused(b"{}")), Checker(UnauthorizedLogin())
        self.assertIs(self.failureResultOf(self.ask(first, second)).value, first.answer)
        right = Checker(NotThatAccount())
        self.assertIs(self.failureResultOf(self.ask(first, right, second)).value, right.answer)

    def test_a_source_that_is_down_does_not_make_a_right_password_wrong(self) -> None:
        down, no = Checker(DOWN), Checker(UnauthorizedLogin())
        self.assertIs(self.failureResultOf(self.ask(down, no)).value, DOWN)
        self.assertIs(self.failureResultOf(self.ask(no, Checker(DOWN, True))).value, DOWN)
        self.assertEqual(self.successResultOf(self.ask(down, Checker(b"ann"))), b"ann")


class PortalTests(SynchronousTestCase):
    """Tests for `make_portal`."""

    def test_sessions_without_login_are_anonymous(self) -> None:
        portal = make_portal(Realm(), [Checker(b"ann")])
        avatar = self.successResultOf(portal.login(Anonymous(), None, Interface))
        self.assertEqual(avatar[1], ())
        login = portal.login(UsernamePassword(b"ann", b"pw"), None, Interface)
        self.assertEqual(self.successResultOf(login)[1], b"ann")
