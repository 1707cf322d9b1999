"""CRAM-MD5: a digest of the password and of a challenge; for old clients that know nothing better.

The server has to know the password itself, which is why it is offered only where a source of logins
does. It hides the password from those who listen and from nobody else.
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
    """One challenge, one response.

    RFC 2195 s2
    """

    def __init__(self, session: SASLSession) -> None:
        """Make the challenge: a Message-ID that never comes again."""
        unique = f"{secrets.token_hex(8)}.{int(time.time())}"
        self._challenge = f"<{unique}@{session.hostname}>".encode("ascii")
        self._digest = b""
        self.username = b""

    def getChallenge(self) -> bytes:
        """Give the challenge."""
        return self._challenge

    def setResponse(self, response: bytes) -> None:
        """Take user name and digest; the name may hold spaces, the digest is in lower case."""
        self.username, _, self._digest = response.rpartition(b" ")
        if not self.username or len(self._digest) != 32 or b"\0" in response:
            raise malformed()

    def moreChallenges(self) -> bool:
        """Say that one response is all."""
        return False

    def checkPassword(self, password: bytes) -> bool:
        """See `IUsernameHashedPassword`."""
        made = hmac.new(password, self._challenge, "md5").hexdigest()
        return hmac.compare_digest(made.encode("ascii"), self._digest.lower())


CRAM_MD5 = Mechanism(
    "CRAM-MD5",
    CramMD5Steps,
    lambda offer: Knowledge.CLEAR_TEXT in offer.knows,
    takes_initial_response=False,
)
