"""EXTERNAL: the client logs in by its TLS certificate.

Which name the certificate proves is known from the TLS handshake (`TLSFacts`). Whether that name
has an account here is decided by the checker.
"""

from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import SASLSession
from postroom.interfaces import IProvenUser
from postroom.server.sasl.mechanism import Mechanism, malformed, rejected


@implementer(IChallengeResponse, IProvenUser)
class ExternalSteps:
    """The steps of one exchange: one response, the name to act as or nothing.

    RFC 4422 sA
    """

    def __init__(self, session: SASLSession) -> None:
        """Store the name that the certificate proves."""
        tls = session.facts.tls
        proven = tls is not None and tls.client_verified and tls.client_name
        self.username = proven.encode("utf-8") if proven else b""
        self.authorize_as = b""

    def getChallenge(self) -> bytes:
        """Return the empty challenge."""
        return b""

    def setResponse(self, response: bytes) -> None:
        """Store the name to act as, if there is one; it is compared after the login."""
        if b"\0" in response:
            raise malformed()
        if not self.username:
            raise rejected()
        self.authorize_as = response

    def moreChallenges(self) -> bool:
        """Return False: there is one response."""
        return False


EXTERNAL = Mechanism("EXTERNAL", ExternalSteps, lambda offer: offer.certificate)
