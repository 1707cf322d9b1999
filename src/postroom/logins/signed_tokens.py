"""Signed tokens (JWT), checked with the keys that their issuer publishes.

The keys are in a document (a JSON Web Key Set), which is cached. If a token names an unknown key,
the document is read again, since issuers change keys without notice; but at most once a minute,
since anybody can invent names of keys. While the document cannot be read, the old keys are used.

Only signatures with a key pair are accepted. With a shared secret, anybody who can check a token
could have made it.

Who controls the input: the peer, the token, until its signature is right; the issuer, the keys.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from postroom.credentials import BadToken
from postroom.interfaces import ITokenReader

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
AGAIN_SECONDS: Final = 60.0
"""How soon keys are read again for the sake of a key name that is not known."""
TROUBLE_SECONDS: Final = 10.0
"""How soon they are read again after they could not be."""
MOST_KEYS: Final = 100

_SIGNATURE_ALONE: Final[Any] = dict.fromkeys(
    (
        *("verify_aud", "verify_exp", "verify_iat"),
        *("verify_iss", "verify_jti", "verify_nbf", "verify_sub"),
    ),
    False,
)
"""What a token claims is checked in one place, for all kinds of tokens."""

_log = Logger()


class IssuerKeys:
    """The keys of an issuer, read on demand."""

    def __init__(
        self,
        fetch: "Callable[[], Deferred[bytes]]",
        clock: IReactorTime,
        refresh_seconds: float = 3600,
    ) -> None:
        """Store the function that fetches the document, and how long the document is good."""
        self._fetch = fetch
        self._clock = clock
        self._refresh = refresh_seconds
        self._keys: dict[str | None, Any] = {}
        self._read_at = float("-inf")
        self._stale_at = float("-inf")
        self._lock = DeferredLock()

    async def find(self, name: str | None) -> Any:
        """Return a key by its name; if there is only one, a token need not name it.

        Raises:
            BadToken: there is no such key.
            Exception: no keys could be read.
        """
        if self._is_due(name):
            await self._lock.run(lambda: Deferred.fromCoroutine(self._read(name)))
        if not self._keys:
            raise OSError("the keys of the issuer of tokens could not be read")
        found = self._get(name)
        if found is None:
            raise BadToken("no key of the issuer has signed it")
        return found

    def _get(self, name: str | None) -> Any:
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    def _is_due(self, name: str | None) -> bool:
        now = self._clock.seconds()
        unknown = bool(self._keys) and self._get(name) is None
        return now >= self._stale_at or (unknown and now >= self._read_at + AGAIN_SECONDS)

    async def _read(self, name: str | None) -> None:
        if not self._is_due(name):  # somebody else read them while we waited
            return
        now = self._read_at = self._clock.seconds()
        try:
            self._keys = parse_keys(await self._fetch())
        except Exception:
            self._stale_at = now + TROUBLE_SECONDS
            _log.failure("The keys of the issuer of tokens cannot be read")
        else:
            self._stale_at = now + self._refresh


def parse_keys(document: bytes) -> dict[str | None, Any]:
    """Parse a JSON Web Key Set; keys for other purposes are ignored.

    Raises:
        ValueError: it is not one, or no key in it can be used.

    RFC 7517 s5
    """
    import jwt

    parsed = json.loads(document)
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the keys are not a JSON Web Key Set")
    keys: dict[str | None, Any] = {}
    for item in listed[:MOST_KEYS]:
        try:
            key = jwt.PyJWK(item)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError):
            continue
        if key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig"):
            keys[key.key_id] = key
    if not keys:
        raise ValueError("there is no key in the JSON Web Key Set that can check a signature")
    return keys


@implementer(ITokenReader)
class SignedTokens:
    """Reads JSON Web Tokens."""

    def __init__(self, keys: IssuerKeys) -> None:
        """Store the keys that may have signed."""
        self._keys = keys

    def claims(self, token: str) -> "Deferred[Mapping[str, Any]]":
        """See `ITokenReader.claims`.

        RFC 7519 s7.2; RFC 8725 s3.1, s3.2
        """
        return Deferred.fromCoroutine(self._claims(token))

    async def _claims(self, token: str) -> Mapping[str, Any]:
        import jwt

        try:
            name = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError):
            raise BadToken("it is not a JSON Web Token") from None
        key = await self._keys.find(name)
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                options=_SIGNATURE_ALONE,
            )
        except (jwt.PyJWTError, ValueError):
            raise BadToken("its signature is wrong") from None
        return claims
