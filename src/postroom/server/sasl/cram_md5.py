"""CRAM-MD5: the client sends a digest of the password and of a challenge; for old clients.

The server has to know the password in clear text, so the mechanism is offered only if a source of
logins has it. It hides the password from eavesdroppers, and protects against nothing else.
"""

import hmac
import secrets
import time

from twisted.cred.credentials import IUsernameHashedPassword
from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import Knowledge, SASLSession
from postroom.server.sasl.mechanism import Mechanism, malformed


@implementer(IChallengeResponse, IUsernameHashedPassword)
class CramMD5Steps:
    """The steps of one exchange: one challenge, one response.

    RFC 2195 s2
    """

    def __init__(self, session: SASLSession) -> None:
        """Create the challenge: a message id that is never used again."""
        unique = f"{secrets.token_hex(8)}.{int(time.time())}"
        self._challenge = f"<{unique}@{session.hostname}>".encode("ascii")
        self._digest = b""
        self.username = b""

    def getChallenge(self) -> bytes:
        """Return the challenge."""
        return self._challenge

    def setResponse(self, response: bytes) -> None:
        """Parse user name and digest; the name may hold spaces."""
        self.username, _, self._digest = response.rpartition(b" ")
        if not self.username or len(self._digest) != 32 or b"\0" in response:
            raise malformed()

    def moreChallenges(self) -> bool:
        """Return False: there is one response."""
        return False

    def checkPassword(self, password: bytes) -> bool:
        """Return whether the digest is that of this password."""
        made = hmac.new(password, self._challenge, "md5").hexdigest()
        return hmac.compare_digest(made.encode("ascii"), self._digest.lower())


CRAM_MD5 = Mechanism(
    "CRAM-MD5",
    CramMD5Steps,
    lambda offer: Knowledge.CLEAR_TEXT in offer.knows,
    takes_initial_response=False,
)
