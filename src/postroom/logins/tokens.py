"""Logins with tokens of another issuer: signed ones (JWT), or opaque ones.

A `postroom.interfaces.ITokenReader` authenticates a token and returns its claims:
`postroom.logins.signed_tokens` checks a signature, `postroom.logins.introspection` asks the issuer.
The claims are checked here, in the same way for both. Then the account has to exist and be enabled,
which the sources of accounts know.

The client gets the same reply whatever is wrong with a token (RFC 7628 s3.2.2); the log has the
reason.

Who controls the input: the peer, the token; its issuer, the claims of an authentic token.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from postroom.credentials import BadToken, TokenOfAnother, TokenRefused, readings
from postroom.errors import Refusal
from postroom.interfaces import IBearerToken, IProvenUser, ITokenReader
from postroom.logins.checker import UNAVAILABLE
from postroom.settings.declaring import setting
from postroom.settings.values import matching

LEEWAY_SECONDS: Final = 30
"""How far clocks may differ."""

ClaimName = Annotated[str, matching("(?s).+", 'the name of a claim such as "email"')]

_log = Logger()


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What a token has to claim."""

    issuer: str = setting(
        "",
        "Who has to have issued a token: its claim iss. It may be empty with introspection_url.",
        example="https://login.example.org",
    )
    audiences: Sequence[str] = setting(
        (),
        "Whom a token has to be meant for: one of these among its claim aud.",
        example=["https://mail.example.org"],
    )
    scope: str = setting("", "What a token has to allow: among its claim scope.", example="smtp")
    username_claim: ClaimName = setting(
        "email", "Which claim names the account, by its address or another user name."
    )


@implementer(IProvenUser)
class _TokenUser:
    """The account that a token names."""

    def __init__(self, username: bytes) -> None:
        self.username = username


@implementer(ICredentialsChecker)
class TokenChecker:
    """Checks logins with tokens; the avatar id is the account's address, as bytes."""

    credentialInterfaces = (IBearerToken,)

    def __init__(
        self,
        settings: TokenSettings,
        reader: ITokenReader,
        accounts: ICredentialsChecker,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Store how tokens are checked.

        Args:
            settings: what tokens have to claim.
            reader: returns their claims.
            accounts: accepts `IProvenUser`, and knows the accounts.
            now: returns the POSIX time, in seconds.
        """
        self._settings = settings
        self._reader = reader
        self._accounts = accounts
        self._now = now
        status = {"status": "invalid_token", "schemes": "bearer"}
        if settings.scope:
            status["scope"] = settings.scope
        self._refused = json.dumps(status).encode("ascii")

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Check a login.

        Returns:
            The account's address. It fails with `TokenRefused` (a challenge, then 535 5.7.8; it is
            `TokenOfAnother` if only the user name is wrong), with `UnauthorizedLogin` (535 5.7.8),
            or with a `Refusal` of 454 4.7.0 when the token cannot be checked now.

        RFC 7628 s3.2
        """
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.token))

    async def _check(self, username: bytes, token: bytes) -> bytes | tuple[()]:
        try:
            claims = await self._reader.claims(token.decode("ascii"))
            holder = self._holder(claims)
        except BadToken as error:
            _log.info("A token was refused: {reason}", reason=str(error))
            raise TokenRefused(self._refused) from None
        except Refusal:
            raise
        except Exception:
            _log.failure("A token could not be checked")
            raise Refusal(UNAVAILABLE) from None
        account = await self._account(holder)
        if username.lower() not in (b"", holder.lower()):
            await self._check_name(username, account)
        return account

    async def _account(self, name: bytes) -> bytes | tuple[()]:
        found: Deferred[bytes | tuple[()]] = self._accounts.requestAvatarId(_TokenUser(name))
        return await found

    async def _check_name(self, username: bytes, account: bytes | tuple[()]) -> None:
        """Check that the user name beside a token is another name of the token's account."""
        for name in readings(username, account):
            with suppress(LoginFailed):
                if await self._account(name) == account:
                    return
        _log.info("A token was refused: it names another than the client does")
        raise TokenOfAnother(self._refused)

    def _holder(self, claims: Mapping[str, Any]) -> bytes:
        """Check the claims of a token, and return the account that it names."""
        settings, now = self._settings, self._now()
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires, int | float) or not isinstance(begins, int | float):
            raise BadToken("it does not state how long it is valid")
        if not begins - LEEWAY_SECONDS <= now < expires + LEEWAY_SECONDS:
            raise BadToken("it has expired or is not valid yet")
        if settings.issuer and claims.get("iss") != settings.issuer:
            raise BadToken("its issuer is another")
        # Both are one string or a list of them; Microsoft calls the scope "scp".
        audiences = claims.get("aud", [])
        named = {audiences} if isinstance(audiences, str) else _strings(audiences)
        if settings.audiences and not named & set(settings.audiences):
            raise BadToken("its audience is another")
        scopes = claims.get("scope", claims.get("scp", ""))
        allowed = set(scopes.split()) if isinstance(scopes, str) else _strings(scopes)
        if settings.scope and settings.scope not in allowed:
            raise BadToken(f"it does not allow {settings.scope}")
        name = claims.get(settings.username_claim)
        if not isinstance(name, str) or not name:
            raise BadToken(f"it has no {settings.username_claim}")
        if settings.username_claim == "email" and claims.get("email_verified") is False:
            raise BadToken("its address was never verified")
        return name.encode("utf-8", "replace")


def _strings(value: object) -> set[str]:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()
