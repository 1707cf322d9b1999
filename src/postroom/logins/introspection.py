"""Opaque tokens, about which their issuer is asked.

Each login costs a request, since a token may have been revoked. Nothing is cached.

Who controls the input: the peer, the token; the issuer, the answer.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from postroom.credentials import BadToken
from postroom.interfaces import ITokenReader


@implementer(ITokenReader)
class IntrospectedTokens:
    """Reads tokens by asking their issuer."""

    def __init__(self, ask: "Callable[[Mapping[str, str]], Deferred[bytes]]") -> None:
        """Store the function that sends a form to the issuer and returns its answer."""
        self._ask = ask

    def claims(self, token: str) -> "Deferred[Mapping[str, Any]]":
        """See `ITokenReader.claims`.

        RFC 7662 s2.1, s2.2
        """
        return Deferred.fromCoroutine(self._claims(token))

    async def _claims(self, token: str) -> Mapping[str, Any]:
        answer = json.loads(await self._ask({"token": token, "token_type_hint": "access_token"}))
        if not isinstance(answer, dict):
            raise ValueError("the answer of the issuer is not a JSON object")
        if answer.get("active") is not True:
            raise BadToken("its issuer reports that it is not active")
        return answer
