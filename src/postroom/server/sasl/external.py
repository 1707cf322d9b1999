"""EXTERNAL: the client's certificate has said already who it is.

Whom a certificate names, and whether it is believed, TLS has found out (`TLSFacts`). Whether that
name has an account here, the checker says.
"""

from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import SASLSession
from postroom.interfaces import IProvenUser
from postroom.server.sasl.mechanism import Mechanism, malformed, rejected


@implementer(IChallengeResponse, IProvenUser)
class ExternalSteps:
    """One response: the identity to act as, or nothing.

    RFC 4422 sA
    """

    def __init__(self, session: SASLSession) -> None:
        """Take the name that the certificate proved."""
        tls = session.facts.tls
        proven = tls is not None and tls.client_verified and tls.client_name
        self.username = proven.encode("utf-8") if proven else b""
        self.authorize_as = b""

    def getChallenge(self) -> bytes:
        """Give the empty challenge."""
        return b""

    def setResponse(self, response: bytes) -> None:
        """Take whom the client asks to act as: nobody else, or a name that is compared later."""
        if b"\0" in response:
            raise malformed()
        if not self.username:
            raise rejected()
        self.authorize_as = response

    def moreChallenges(self) -> bool:
        """Say that one response is all."""
        return False


EXTERNAL = Mechanism("EXTERNAL", ExternalSteps, lambda offer: offer.certificate)
