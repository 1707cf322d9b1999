"""Tokens that mean nothing by themselves: whoever gave them out is asked.

Each login costs a request, for a token may have been taken back since. Nothing is kept.

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
            raise ValueError("the answer of the issuer is no JSON object")
        if answer.get("active") is not True:
            raise BadToken("its issuer says that it is not active")
        return answer
