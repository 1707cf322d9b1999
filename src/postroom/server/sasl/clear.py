"""PLAIN and LOGIN: the client sends its password in clear text."""

from twisted.cred.credentials import IUsernamePassword
from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import Knowledge, Offer, SASLSession
from postroom.server.sasl.mechanism import Mechanism, malformed


@implementer(IChallengeResponse, IUsernamePassword)
class PlainSteps:
    """PLAIN: ``[authzid] NUL authcid NUL password``.

    RFC 4616 s2
    """

    def __init__(self, session: SASLSession) -> None:
        """Create the steps of one exchange."""
        self.username = self.password = self.authorize_as = b""

    def getChallenge(self) -> bytes:
        """Return the empty challenge."""
        return b""

    def setResponse(self, response: bytes) -> None:
        """Parse the response; the name to act as is compared after the login."""
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise malformed()
        self.authorize_as, self.username, self.password = parts

    def moreChallenges(self) -> bool:
        """Return False: there is one response."""
        return False

    def checkPassword(self, password: bytes) -> bool:
        """Return whether the password is right; for checkers that know it in clear text."""
        return self.password == password


@implementer(IChallengeResponse, IUsernamePassword)
class LoginSteps:
    """LOGIN: a user name, then a password. It was never standardised, but old clients need it."""

    def __init__(self, session: SASLSession) -> None:
        """Create the steps of one exchange."""
        self.username = self.password = b""

    def getChallenge(self) -> bytes:
        """Return the prompt; clients expect it letter by letter."""
        return b"Password:" if self.username else b"Username:"

    def setResponse(self, response: bytes) -> None:
        """Store the user name, then the password."""
        if not response or b"\0" in response:
            raise malformed()
        if self.username:
            self.password = response
        else:
            self.username = response

    def moreChallenges(self) -> bool:
        """Return whether the password has not come yet."""
        return not self.password

    def checkPassword(self, password: bytes) -> bool:
        """Return whether the password is right; for checkers that know it in clear text."""
        return self.password == password


def _is_offered(offer: Offer) -> bool:
    return Knowledge.CHECKABLE in offer.knows


PLAIN = Mechanism("PLAIN", PlainSteps, _is_offered)
LOGIN = Mechanism("LOGIN", LoginSteps, _is_offered)
