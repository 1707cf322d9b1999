"""PLAIN and LOGIN: the client sends its password as it is."""

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
        """Begin before the one response."""
        self.username = self.password = self.authorize_as = b""

    def getChallenge(self) -> bytes:
        """Give the empty challenge."""
        return b""

    def setResponse(self, response: bytes) -> None:
        """Take the one response; whom the client asks to act as is compared after the login."""
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise malformed()
        self.authorize_as, self.username, self.password = parts

    def moreChallenges(self) -> bool:
        """Say that one response is all."""
        return False

    def checkPassword(self, password: bytes) -> bool:
        """See `IUsernamePassword`: for checkers that have the password itself."""
        return self.password == password


@implementer(IChallengeResponse, IUsernamePassword)
class LoginSteps:
    """LOGIN: a user name, then a password; never standardised, still asked for."""

    def __init__(self, session: SASLSession) -> None:
        """Begin before the user name."""
        self.username = self.password = b""

    def getChallenge(self) -> bytes:
        """Give the prompt that clients expect to the letter."""
        return b"Password:" if self.username else b"Username:"

    def setResponse(self, response: bytes) -> None:
        """Take the user name, then the password."""
        if not response or b"\0" in response:
            raise malformed()
        if self.username:
            self.password = response
        else:
            self.username = response

    def moreChallenges(self) -> bool:
        """Say whether the password is still to come."""
        return not self.password

    def checkPassword(self, password: bytes) -> bool:
        """See `IUsernamePassword`: for checkers that have the password itself."""
        return self.password == password


def _is_offered(offer: Offer) -> bool:
    return Knowledge.CHECKABLE in offer.knows


PLAIN = Mechanism("PLAIN", PlainSteps, _is_offered)
LOGIN = Mechanism("LOGIN", LoginSteps, _is_offered)
