"""SCRAM-SHA-256, with and without channel binding: both sides prove that they know the password.

    C: n,,n=user,r=<nonce>                       the client's name, and a nonce
    S: r=<nonce+ours>,s=<salt>,i=<iterations>    from the keys, which may have to be looked up
    C: c=<binding>,r=<nonce+ours>,p=<proof>
    S: v=<our proof>                             only if the client's was right
    C:                                           nothing; then 235

scramp computes the proofs. It does not know the channel binding tls-exporter of TLS 1.3, which
stands in the header before the first message. So the header is parsed here: scramp gets the message
without it, and afterwards the octets that the client must have hashed.

An unknown user name gets keys like those of any other. Its exchange goes on to the proof, which
cannot be right: see `ILoginSecrets.scram_keys`.

Who controls the input: the peer; the keys are ours.
"""

import re
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import Knowledge, Offer, SASLSession, ScramKeys
from postroom.interfaces import IProvenUser
from postroom.server.sasl.mechanism import Mechanism, malformed, rejected

NAME: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"
BINDINGS: Final = ("tls-exporter", "tls-server-end-point")
"""The channel bindings that are accepted. tls-unique is not: TLS 1.3 does not have it."""

# gs2-header     = gs2-cbind-flag "," [ authzid ] ","
# gs2-cbind-flag = ("p=" cb-name) / "n" / "y"
# client-first-message = gs2-header client-first-message-bare                    RFC 5802 s7
_FIRST = re.compile(
    rb"(?P<header>(?:p=(?P<binding>[A-Za-z0-9.-]+)|(?P<flag>[ny])),(?:a=(?P<authzid>[^,\0]+))?,)"
    rb"(?P<bare>n=(?P<name>[^,\0]+),r=[^\0]+)"
)
_ESCAPE = re.compile(rb"=(..?)?", re.DOTALL)
_MEANS: Final = {b"2C": b",", b"3D": b"="}


class _Header:
    """What the client repeats in its proof: its header, and the data of the channel."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def make_cbind_input(self, _: object) -> bytes:
        """Return the octets; scramp calls this."""
        return self._octets


@implementer(IChallengeResponse, IProvenUser)
class ScramSteps:
    """The steps of one exchange.

    RFC 5802 s5, s6; RFC 7677 s3; RFC 9266 s4
    """

    def __init__(self, session: SASLSession, plus: bool) -> None:
        """Create the steps; ``plus`` asks for channel binding."""
        self.username = self.authorize_as = b""
        self._session = session
        self._plus = plus
        self._server: Any = None
        self._challenge: bytes | None = b""
        self._keys: ScramKeys | None = None
        self._proven = False

    def getChallenge(self) -> bytes:
        """Return our next message; the first is empty, for the client begins."""
        assert self._challenge is not None
        return self._challenge

    def setResponse(self, response: bytes) -> "Deferred[None] | None":
        """Process the client's next message; after the first, look the keys up."""
        if self._server is None:
            return Deferred.fromCoroutine(self._begin(response))
        if not self._proven:
            self._check(response)
        elif response:
            raise malformed()
        else:
            self._challenge = None
        return None

    def moreChallenges(self) -> bool:
        """Return whether a message of ours is still to come."""
        return self._challenge is not None

    async def _begin(self, message: bytes) -> None:
        from scramp import ScramException, ScramMechanism  # type: ignore[import-untyped]

        first = _FIRST.fullmatch(message)
        if first is None:
            raise malformed()
        self.username = _unescape(first["name"])
        self.authorize_as = _unescape(first["authzid"] or b"")
        bound = self._bound(first)
        assert self._session.scram_keys is not None  # or it would not have been offered
        keys = self._keys = await self._session.scram_keys(self.username)
        server = ScramMechanism(NAME).make_server(
            lambda _: (keys.salt, keys.stored_key, keys.server_key, keys.iterations)
        )
        try:
            server.set_client_first("n,," + first["bare"].decode("utf-8"))
            self._challenge = server.get_server_first().encode("ascii")
        except (ScramException, UnicodeError):
            raise malformed() from None
        server.gs2_header = _Header(first["header"] + bound)
        self._server = server

    def _bound(self, first: "re.Match[bytes]") -> bytes:
        """Return the channel-binding data that the client uses; empty if it uses none.

        If a client reports that we do not offer channel binding although we do, somebody in between
        has changed what we offered.

        Raises:
            UnauthorizedLogin: so it is, or the binding is wrong.
        """
        if first["binding"] is None:
            if self._plus or (first["flag"] == b"y" and PLUS in self._session.offered):
                raise rejected()
            return b""
        name = first["binding"].decode("ascii")
        data = self._session.channel_binding(name) if self._plus and name in BINDINGS else None
        if data is None:
            raise rejected()
        return data

    def _check(self, message: bytes) -> None:
        from scramp import ScramException

        keys = self._keys
        try:
            self._server.set_client_final(message.decode("utf-8"))
        except (ScramException, UnicodeError):
            raise rejected() from None
        if keys is None or keys.address is None:  # an unknown name: no proof is right
            raise rejected()
        self._proven = True
        self._challenge = self._server.get_server_final().encode("ascii")


def _unescape(name: bytes) -> bytes:
    def meant(match: "re.Match[bytes]") -> bytes:
        octets = _MEANS.get(match[1] or b"")
        if octets is None:
            raise malformed()
        return octets

    return _ESCAPE.sub(meant, name)


def _is_offered(offer: Offer) -> bool:
    return Knowledge.SCRAM in offer.knows


SCRAM_SHA_256 = Mechanism(NAME, lambda session: ScramSteps(session, False), _is_offered)
SCRAM_SHA_256_PLUS = Mechanism(
    PLUS,
    lambda session: ScramSteps(session, True),
    lambda offer: offer.tls and _is_offered(offer),
)
