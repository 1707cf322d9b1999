"""Logins: from the lines of AUTH through the portal to a session's delivery.

An `Exchange` is one AUTH command. It passes the client's lines to the steps of a mechanism, and the
credentials that these become to the portal. It ends in a `Login` or in a `Refusal`; the session
sees nothing in between. A session without AUTH logs in anonymously, through the same portal.

Every wrong login gets the same reply, after the delay that the guard asks for. A mechanism may let
the client name an account that it wants to act as. That must be the account that logs in, by any of
its addresses. It is compared after the password, and a login that fails for this reason alone does
not count as a guess. When something fails on our side the reply is 454, so that no client discards
a password that is right (RFC 4954 s6).

Who controls the input: the peer, after strict base64 decoding and below the line limit.
"""

import binascii
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

from OpenSSL import SSL
from twisted.cred.credentials import Anonymous, ICredentials
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.credentials import (
    Knowledge,
    NotThatAccount,
    Offer,
    SASLSession,
    TokenRefused,
    readings,
)
from postroom.envelope import SessionFacts
from postroom.errors import Refusal
from postroom.interfaces import (
    IIdentified,
    ILoginGuard,
    ILoginSecrets,
    IProvenUser,
    ISASLMechanism,
    ITransactionDelivery,
)
from postroom.server.sasl.mechanism import REJECTED
from postroom.tls import channel_binding
from postroom.wire.replies import Reply, reply
from postroom.wire.session import AUTH_FIRST

AUTHENTICATED: Final = reply(235, "2.7.0", "Authentication succeeded")
BAD_BASE64: Final = reply(501, "5.5.2", "Cannot decode base64")
CANCELLED: Final = reply(501, "5.7.0", "Authentication cancelled")
SERVER_BEGINS: Final = reply(501, "5.7.0", "This mechanism accepts no initial response")
UNKNOWN_MECHANISM: Final = reply(504, "5.5.4", "Authentication mechanism not offered")
UNAVAILABLE: Final = reply(454, "4.7.0", "Temporary authentication failure")

_PASSWORDS: Final = frozenset({Knowledge.CHECKABLE})
_T = TypeVar("_T")
_log = Logger()


@dataclass(frozen=True, slots=True)
class Login:
    """The result of a login.

    Attributes:
        delivery: decides on the session's mail.
        identity: who has logged in, for trace headers and logs; None for an anonymous session.
        log_out: must be called once, when the session no longer needs the delivery.
    """

    delivery: ITransactionDelivery
    identity: str | None
    log_out: Callable[[], object]


@dataclass(frozen=True, slots=True)
class LoginParts:
    """The parts that logins may use besides a portal.

    Attributes:
        secrets: returns keys for mechanisms that do not show a password; None if only passwords
            can be checked.
        guard: counts failures and delays replies to them; None sets no limit to guesses.
        tokens: True if the portal accepts tokens.
    """

    secrets: ILoginSecrets | None = None
    guard: ILoginGuard | None = None
    tokens: bool = False


@implementer(IProvenUser)
class _ProvenUser:
    """Credentials of a user whose login was checked already: by a proxy, or just now by us."""

    def __init__(self, username: bytes) -> None:
        self.username = username


class Authentication:
    """The logins of one listener."""

    def __init__(
        self,
        clock: IReactorTime,
        portal: Portal,
        mechanisms: Sequence[ISASLMechanism],
        hostname: str,
        parts: LoginParts | None = None,
    ) -> None:
        """Store the parts of a listener's logins.

        Args:
            clock: times the replies to refused logins.
            portal: checks credentials.
            mechanisms: those that may be used, in the order in which they are offered.
            hostname: this host's name.
            parts: what else logins use.
        """
        self._clock = clock
        self._portal = portal
        self._mechanisms = {each.name: each for each in mechanisms}
        self._hostname = hostname
        self._parts = parts or LoginParts()
        self._offered = cache(self._choose)

    def offered(self, facts: SessionFacts, tls: bool) -> tuple[str, ...]:
        """Return the names of the mechanisms that can work for a session, in order.

        Args:
            facts: the session's.
            tls: True if it is encrypted; its facts have that only after EHLO.
        """
        secrets, certificate = self._parts.secrets, facts.tls is not None and facts.tls.client_name
        knows = _PASSWORDS if secrets is None else secrets.knows
        return self._offered(Offer(tls, bool(certificate), knows, self._parts.tokens))

    def _choose(self, offer: Offer) -> tuple[str, ...]:
        return tuple(name for name, each in self._mechanisms.items() if each.is_offered(offer))

    def exchange(self, name: str, facts: SessionFacts, transport: Any) -> "Exchange":
        """Create an exchange.

        Args:
            name: of the mechanism.
            facts: the session's.
            transport: its connection, for channel binding.

        Raises:
            Refusal: 504 5.5.4, the mechanism is not offered; 4yz, the client must wait.

        RFC 4954 s4
        """
        offered = self.offered(facts, facts.tls is not None)
        if name not in offered:
            raise Refusal(UNKNOWN_MECHANISM)
        attempt = LoginAttempt(self._clock, self._parts.guard, facts.client)
        attempt.admit(None)
        secrets = self._parts.secrets
        session = SASLSession(
            facts,
            self._hostname,
            offered,
            None if secrets is None else secrets.scram_keys,
            lambda kind: _binding(transport, kind),
        )
        return Exchange(
            self._mechanisms[name], session, attempt, lambda steps: self._log_in(steps, facts)
        )

    def anonymous(self, facts: SessionFacts) -> "Deferred[Login]":
        """Log in anonymously.

        Returns:
            The login. It fails with a `Refusal` of 530 5.7.0 where a login is required.
        """

        def login_required(failure: Failure) -> Failure:
            return Failure(Refusal(AUTH_FIRST)) if failure.check(LoginFailed) else failure

        return self._ask_portal(Anonymous(), facts).addErrback(login_required)

    def proven(self, username: bytes, facts: SessionFacts) -> "Deferred[Login]":
        """Log in a user whom a trusted proxy has authenticated.

        Returns:
            The login. It fails with a `Refusal` of 535 if there is no such user here.
        """

        def unknown_user(failure: Failure) -> Failure:
            return Failure(Refusal(REJECTED)) if failure.check(LoginFailed) else failure

        return self._ask_portal(_ProvenUser(username), facts).addErrback(unknown_user)

    def _log_in(self, steps: Any, facts: SessionFacts) -> "Deferred[Login]":
        """Log in, then check the name that the client asks to act as, if it sent one."""
        login = self._ask_portal(steps, facts)
        asked: bytes = getattr(steps, "authorize_as", b"")
        if not asked or asked.lower() == steps.username.lower():
            return login
        return Deferred.fromCoroutine(self._check_authorization(login, steps.username, asked))

    async def _check_authorization(
        self, login: "Deferred[Login]", username: bytes, asked: bytes
    ) -> Login:
        """Check that two names belong to the same account, once the login is known to be right.

        Before that the second name is not even looked up: without a password nobody finds out
        whether it exists.
        """
        found = await login
        try:
            if not await self._is_same_account(username, asked):
                _log.info("{name} may not act as {asked}", name=username, asked=asked)
                raise NotThatAccount("the credentials are of another account")
        except BaseException:
            found.log_out()
            raise
        return found

    async def _is_same_account(self, username: bytes, asked: bytes) -> bool:
        account = await self._account_of(username)
        if account is not None:
            for name in readings(asked, account):
                if await self._account_of(name) == account:
                    return True
        return False

    async def _account_of(self, name: bytes) -> object:
        """Return the avatar id of a user name; None if there is none, or no checker can find it."""
        credentials = _ProvenUser(name)
        for kind, checker in self._portal.checkers.items():
            if kind.providedBy(credentials):
                try:
                    return await maybeDeferred(checker.requestAvatarId, credentials)
                except LoginFailed:
                    break
        return None

    def _ask_portal(self, credentials: ICredentials, facts: SessionFacts) -> "Deferred[Login]":
        login: Deferred[Any] = maybeDeferred(
            self._portal.login,
            credentials,
            facts,
            ITransactionDelivery,
            IMessageDeliveryFactory,
            IMessageDelivery,
        )
        return login.addCallback(_as_login, getattr(credentials, "username", b""))


class LoginAttempt:
    """One attempt to log in, as the guard counts it."""

    __slots__ = ("_client", "_clock", "_guard", "_line_at")

    def __init__(self, clock: IReactorTime, guard: ILoginGuard | None, client: str) -> None:
        """Store the guard, if there is one, and the client's address."""
        self._clock = clock
        self._guard = guard
        self._client = client
        self._line_at = clock.seconds()

    def line_received(self) -> None:
        """Store the time of the client's last line; delays count from it."""
        self._line_at = self._clock.seconds()

    def admit(self, username: bytes | None) -> None:
        """Check that the client, and the user name if it is known, have not failed too often.

        Raises:
            Refusal: 4yz.
        """
        refusal = None if self._guard is None else self._guard.refusal(self._client, username)
        if refusal is not None:
            raise Refusal(refusal)

    def succeeded(self, username: bytes) -> None:
        """Report to the guard that a login was right."""
        if self._guard is not None:
            self._guard.succeeded(self._client, username)

    async def failed(self, username: bytes) -> None:
        """Report to the guard that a login was wrong, and wait for as long as it asks for."""
        if self._guard is None:
            return
        due = self._line_at + self._guard.failed(self._client, username)
        delay = due - self._clock.seconds()
        if delay > 0:
            await deferLater(self._clock, delay)


class Exchange:
    """One AUTH command, from its mechanism to a login.

    RFC 4954 s4
    """

    __slots__ = ("_attempt", "_log_in", "_mechanism", "_refused", "_steps")

    def __init__(
        self,
        mechanism: ISASLMechanism,
        session: SASLSession,
        attempt: LoginAttempt,
        log_in: "Callable[[Any], Deferred[Login]]",
    ) -> None:
        """Create an exchange; ``log_in`` is called with the credentials."""
        self._mechanism = mechanism
        self._steps: Any = mechanism.steps(session)
        self._attempt = attempt
        self._log_in = log_in
        self._refused = False

    async def start(self, initial_response: bytes | None) -> Reply | Login:
        """Process the initial response, or send the first challenge if there was none.

        Returns:
            334 with a challenge, or the login.

        Raises:
            Refusal: 501, the response cannot be read; 535, the login is wrong; 454, it could not
                be checked.
        """
        if initial_response is None:
            return await self._ask()
        if not self._mechanism.takes_initial_response:
            raise Refusal(SERVER_BEGINS)
        response = b"" if initial_response == b"=" else _decode(initial_response)
        await _answer(self._steps.getChallenge())  # some mechanisms count on this call
        return await self._respond(response)

    async def respond(self, line: bytes) -> Reply | Login:
        """Process the client's next line; see `start`.

        Raises:
            Refusal: as by `start`, and 501 if the client cancels with ``*``.
        """
        if self._refused:  # the client was sent the reason; its answer does not matter
            raise Refusal(REJECTED)
        if line == b"*":
            raise Refusal(CANCELLED)
        return await self._respond(_decode(line))

    async def _respond(self, response: bytes) -> Reply | Login:
        self._attempt.line_received()
        try:
            await _answer(self._steps.setResponse(response))
            if self._steps.moreChallenges():
                return await self._ask()
            self._attempt.admit(self._steps.username)
            login = await self._log_in(self._steps)
        except LoginFailed as error:
            self._attempt.admit(
                self._steps.username
            )  # or the reply would show that the password was right
            if not isinstance(error, NotThatAccount):
                await self._attempt.failed(self._steps.username)
            if isinstance(error, TokenRefused):
                self._refused = True
                return _challenge(error.challenge)
            raise Refusal(REJECTED) from None
        except Refusal:
            raise
        except CancelledError:
            raise Refusal(UNAVAILABLE) from None
        except Exception:
            _log.failure("a login could not be checked")
            raise Refusal(UNAVAILABLE) from None
        self._attempt.succeeded(self._steps.username)
        return login

    async def _ask(self) -> Reply:
        return _challenge(await _answer(self._steps.getChallenge()))


async def _answer(returned: "_T | Awaitable[_T]") -> _T:
    """Return what a step returned, or wait for it."""
    return await returned if isinstance(returned, Awaitable) else returned


def _challenge(octets: bytes) -> Reply:
    return Reply(334, (binascii.b2a_base64(octets, newline=False).decode("ascii"),))


def _decode(line: bytes) -> bytes:
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise Refusal(BAD_BASE64) from None


def _binding(transport: Any, kind: str) -> bytes | None:
    connection = transport.getHandle()
    return channel_binding(connection, kind) if isinstance(connection, SSL.Connection) else None


def _as_login(login: tuple[object, object, Callable[[], object]], username: bytes) -> Login:
    _, avatar, log_out = login
    identity = avatar.identity() if IIdentified.providedBy(avatar) else None
    return Login(
        ITransactionDelivery(avatar), identity or username.decode("utf-8", "replace"), log_out
    )
