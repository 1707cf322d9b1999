"""Logins: from the lines of AUTH through the portal to a session's delivery.

An `Exchange` is one AUTH command. It gives the client's lines to a mechanism, takes the credentials
that come of them to the portal, and ends in a `Login`, or in a `Refusal`: the session learns of
nothing in between. A session without AUTH logs in as nobody, through the same portal.

Whatever is wrong with credentials is told in the same words. Trouble of ours is told apart as 454,
so that no client forgets a password that was right (RFC 4954 s6).

Who controls the input: the peer, after strict base64 decoding and below the line limit.
"""

import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.cred.credentials import Anonymous, ICredentials, UsernamePassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure

from postroom.envelope import SessionFacts
from postroom.errors import Refusal
from postroom.interfaces import IIdentified, ITransactionDelivery
from postroom.server.sasl import MECHANISMS, REJECTED
from postroom.wire.replies import Reply, reply
from postroom.wire.session import AUTH_FIRST

AUTHENTICATED: Final = reply(235, "2.7.0", "Authentication succeeded")
BAD_BASE64: Final = reply(501, "5.5.2", "Cannot decode base64")
CANCELLED: Final = reply(501, "5.7.0", "Authentication cancelled")
UNKNOWN_MECHANISM: Final = reply(504, "5.5.4", "Authentication mechanism not offered")
UNAVAILABLE: Final = reply(454, "4.7.0", "Temporary authentication failure")

_log = Logger()


@dataclass(frozen=True, slots=True)
class Login:
    """What a login came to.

    Attributes:
        delivery: what becomes of the session's mail.
        identity: who has logged in, for trace headers and logs; None for nobody.
        log_out: to be called once, when the session is done with the delivery.
    """

    delivery: ITransactionDelivery
    identity: str | None
    log_out: Callable[[], object]


class Authentication:
    """The logins of one listener."""

    def __init__(self, portal: Portal, mechanisms: Sequence[str]) -> None:
        """Take where credentials go, and which mechanisms may be used."""
        self._portal = portal
        self._mechanisms = frozenset(mechanisms)

    def exchange(self, mechanism: str, facts: SessionFacts) -> "Exchange":
        """Begin an exchange.

        Raises:
            Refusal: 504 5.5.4, the mechanism is not offered.

        RFC 4954 s4
        """
        if mechanism not in self._mechanisms:
            raise Refusal(UNKNOWN_MECHANISM)
        return Exchange(mechanism, lambda credentials: self._log_in(credentials, facts))

    def anonymous(self, facts: SessionFacts) -> "Deferred[Login]":
        """Log in as nobody.

        It fails with a `Refusal` of 530 5.7.0 where only somebody is welcome.
        """

        def unwelcome(failure: Failure) -> Failure:
            return Failure(Refusal(AUTH_FIRST)) if failure.check(LoginFailed) else failure

        return self._ask_portal(Anonymous(), facts, b"").addErrback(unwelcome)

    def _log_in(self, credentials: UsernamePassword, facts: SessionFacts) -> "Deferred[Login]":
        login = self._ask_portal(credentials, facts, credentials.username)
        return login.addErrback(_login_failed)

    def _ask_portal(
        self, credentials: ICredentials, facts: SessionFacts, username: bytes
    ) -> "Deferred[Login]":
        login: Deferred[Any] = maybeDeferred(
            self._portal.login,
            credentials,
            facts,
            ITransactionDelivery,
            IMessageDeliveryFactory,
            IMessageDelivery,
        )
        return login.addCallback(_as_login, username)


class Exchange:
    """One AUTH command, from its mechanism to a login.

    RFC 4954 s4
    """

    __slots__ = ("_log_in", "_mechanism")

    def __init__(
        self, mechanism: str, log_in: "Callable[[UsernamePassword], Deferred[Login]]"
    ) -> None:
        """Begin an exchange of a mechanism in `MECHANISMS`; ``log_in`` takes the credentials."""
        self._mechanism = MECHANISMS[mechanism]()
        self._log_in = log_in

    def begin(self, initial_response: bytes | None) -> "Reply | Deferred[Login]":
        """Take the initial response if there was one, else ask.

        Returns:
            334 with the challenge, or the login that is under way.

        Raises:
            Refusal: 501 for what cannot be read, 535.
        """
        if initial_response is None:
            return self._ask()
        return self._respond(b"" if initial_response == b"=" else _decode(initial_response))

    def take(self, line: bytes) -> "Reply | Deferred[Login]":
        """Take the client's line; as `begin`.

        Raises:
            Refusal: as `begin`, and 501 if the client cancels with ``*``.
        """
        if line == b"*":
            raise Refusal(CANCELLED)
        return self._respond(_decode(line))

    def _respond(self, response: bytes) -> "Reply | Deferred[Login]":
        credentials = self._mechanism.respond(response)
        return self._ask() if credentials is None else self._log_in(credentials)

    def _ask(self) -> Reply:
        challenge = self._mechanism.challenge()
        return Reply(334, (binascii.b2a_base64(challenge, newline=False).decode("ascii"),))


def _decode(line: bytes) -> bytes:
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise Refusal(BAD_BASE64) from None


def _as_login(login: tuple[object, object, Callable[[], object]], username: bytes) -> Login:
    _, avatar, log_out = login
    identity = avatar.identity() if IIdentified.providedBy(avatar) else None
    return Login(
        ITransactionDelivery(avatar), identity or username.decode("utf-8", "replace"), log_out
    )


def _login_failed(failure: Failure) -> Failure:
    """Tell a wrong password from a source that is down (RFC 4954 s6)."""
    if failure.check(LoginFailed):
        return Failure(Refusal(REJECTED))
    if failure.check(Refusal):
        return failure
    if not failure.check(CancelledError):
        _log.failure("authentication is unavailable", failure)
    return Failure(Refusal(UNAVAILABLE))
