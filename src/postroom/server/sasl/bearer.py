"""OAUTHBEARER and XOAUTH2: the client sends a token that an authorization server issued.

Both carry a user name and a token; only their separators differ. If a token is refused, the
checker raises `TokenRefused`. The client then gets a JSON document with the reason as a challenge,
and 535 after its answer to that; see `postroom.server.authentication`.
"""

import re

from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import Offer, SASLSession
from postroom.interfaces import IBearerToken
from postroom.server.sasl.mechanism import Mechanism, malformed

# client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep      kvsep = %x01
# kvpair      = key "=" value kvsep      key = 1*(ALPHA)                          RFC 7628 s3.1
_OAUTHBEARER = re.compile(
    rb"[ny],(?:a=(?P<name>[^,\0\x01]+))?,\x01(?P<pairs>(?:[A-Za-z]+=[^\x01]*\x01)*)\x01"
)
_XOAUTH2 = re.compile(rb"user=(?P<name>[^\0\x01]+)\x01(?P<pairs>(?:[A-Za-z]+=[^\x01]*\x01)*)\x01")
# b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="        RFC 6750 s2.1
_AUTH = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


@implementer(IChallengeResponse, IBearerToken)
class BearerSteps:
    """The steps of one exchange: a single response.

    RFC 7628 s3.1
    """

    def __init__(self, pattern: "re.Pattern[bytes]") -> None:
        """Store the pattern of the response."""
        self.username = self.token = b""
        self._pattern = pattern

    def getChallenge(self) -> bytes:
        """Return the empty challenge."""
        return b""

    def setResponse(self, response: bytes) -> None:
        """Parse user name and token; a host and a port in it are not used."""
        parts = self._pattern.fullmatch(response)
        if parts is None:
            raise malformed()
        split = (pair.partition(b"=") for pair in parts["pairs"].split(b"\1"))
        pairs = {key.lower(): value for key, _, value in split}
        auth = _AUTH.fullmatch(pairs.get(b"auth", b""))
        if auth is None:
            raise malformed()
        self.token = auth[1]
        self.username = (parts["name"] or b"").replace(b"=2C", b",").replace(b"=3D", b"=")

    def moreChallenges(self) -> bool:
        """Return False: there is one response."""
        return False


def _oauthbearer(_: SASLSession) -> IChallengeResponse:
    return BearerSteps(_OAUTHBEARER)


def _xoauth2(_: SASLSession) -> IChallengeResponse:
    return BearerSteps(_XOAUTH2)


def _is_offered(offer: Offer) -> bool:
    return offer.tokens and offer.tls  # RFC 7628 s4: never in the clear


OAUTHBEARER = Mechanism("OAUTHBEARER", _oauthbearer, _is_offered)
XOAUTH2 = Mechanism("XOAUTH2", _xoauth2, _is_offered)
