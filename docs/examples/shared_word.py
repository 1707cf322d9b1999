"""A SASL mechanism of one's own, as a Twisted plugin: SHARED-WORD, for a program of one's own.

A file like this one in a directory ``twisted/plugins`` on ``sys.path`` makes the mechanism known;
``auth.mechanisms = ["SHARED-WORD", "PLAIN", "LOGIN"]`` then offers it.
"""

import hmac
import secrets

from twisted.cred.credentials import IUsernameHashedPassword
from twisted.mail.interfaces import IChallengeResponse
from twisted.plugin import IPlugin
from zope.interface import implementer

from postroom.credentials import Knowledge, Offer, SASLSession
from postroom.interfaces import ISASLMechanism


@implementer(IChallengeResponse, IUsernameHashedPassword)
class SharedWordSteps:
    """One challenge; the answer is a name and an HMAC of the challenge under the password."""

    def __init__(self) -> None:
        self.username = b""
        self._challenge = secrets.token_hex(16).encode("ascii")
        self._mac = b""

    def getChallenge(self) -> bytes:
        return self._challenge

    def setResponse(self, response: bytes) -> None:
        self.username, _, self._mac = response.rpartition(b" ")

    def moreChallenges(self) -> bool:
        return False

    def checkPassword(self, password: bytes) -> bool:
        made = hmac.new(password, self._challenge, "sha256").hexdigest()
        return hmac.compare_digest(made.encode("ascii"), self._mac)


@implementer(IPlugin, ISASLMechanism)
class SharedWord:
    """The mechanism: it needs passwords in clear text, as CRAM-MD5 does."""

    name = "SHARED-WORD"
    takes_initial_response = False

    def is_offered(self, offer: Offer) -> bool:
        return Knowledge.CLEAR_TEXT in offer.knows

    def steps(self, session: SASLSession) -> IChallengeResponse:
        return SharedWordSteps()


shared_word = SharedWord()
