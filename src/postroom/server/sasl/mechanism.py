"""What all mechanisms share: how a mechanism is declared, and how it refuses a response.

A mechanism is two things: a declaration (`Mechanism`), which decides when it is offered, and a
class for the steps of one exchange, which provides `IChallengeResponse` and is the credentials in
the end. Steps have access to no portal and no connection.

Who controls the input: the peer, after strict base64 decoding and below the line limit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.cred.error import UnauthorizedLogin
from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from postroom.credentials import Offer, SASLSession
from postroom.errors import Refusal
from postroom.interfaces import ISASLMechanism
from postroom.wire.replies import reply

MALFORMED: Final = reply(501, "5.5.2", "Malformed authentication response")
REJECTED: Final = reply(535, "5.7.8", "Authentication credentials invalid")


@implementer(ISASLMechanism)
@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism of ours.

    Attributes:
        name: as in EHLO.
        steps: see `ISASLMechanism.steps`.
        is_offered: see `ISASLMechanism.is_offered`.
        takes_initial_response: see `ISASLMechanism`.
    """

    name: str
    steps: Callable[[SASLSession], IChallengeResponse]
    is_offered: Callable[[Offer], bool]
    takes_initial_response: bool = True


def malformed() -> Refusal:
    """Return the refusal of a malformed response; it reveals nothing about a password."""
    return Refusal(MALFORMED)


def rejected() -> UnauthorizedLogin:
    """Return the refusal of a login that is wrong."""
    return UnauthorizedLogin("rejected by the mechanism")
