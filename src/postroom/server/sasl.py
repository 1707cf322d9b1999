"""SASL mechanisms, as the server sees them: a few steps that end in cred credentials.

A mechanism holds no portal and no connection. It is asked for its `challenge`, given the client's
responses, and gives `ICredentials` when it has enough. New ones are added to `MECHANISMS`.

Who controls the input: the peer, after strict base64 decoding and below the line limit.
"""

from collections.abc import Callable
from typing import Final, Protocol

from twisted.cred.credentials import UsernamePassword

from postroom.errors import Refusal
from postroom.wire.replies import reply

MALFORMED: Final = reply(501, "5.5.2", "Malformed authentication response")
REJECTED: Final = reply(535, "5.7.8", "Authentication credentials invalid")


class Mechanism(Protocol):
    """One exchange under way."""

    def challenge(self) -> bytes:
        """Give the next challenge, before base64."""

    def respond(self, response: bytes) -> UsernamePassword | None:
        """Take a response, after base64; give credentials, or None if another round is needed.

        Raises:
            Refusal: the response makes no sense; the exchange is over.
        """


class Plain:
    """PLAIN: ``[authzid] NUL authcid NUL password``. RFC 4616 s2."""

    def challenge(self) -> bytes:
        """Give the empty challenge."""
        return b""

    def respond(self, response: bytes) -> UsernamePassword | None:
        """Take the one response.

        An authorization identity is taken only if it is the authentication identity: no one here
        acts for another.
        """
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise Refusal(MALFORMED)
        authzid, authcid, password = parts
        if authzid not in (b"", authcid):
            raise Refusal(REJECTED)
        return UsernamePassword(authcid, password)


class Login:
    """LOGIN: a user name, then a password; never standardised, still asked for."""

    def __init__(self) -> None:
        """Begin before the user name."""
        self._user: bytes | None = None

    def challenge(self) -> bytes:
        """Give the prompt that clients expect to the letter."""
        return b"Username:" if self._user is None else b"Password:"

    def respond(self, response: bytes) -> UsernamePassword | None:
        """Take the user name, then the password."""
        if not response or b"\0" in response:
            raise Refusal(MALFORMED)
        if self._user is None:
            self._user = response
            return None
        return UsernamePassword(self._user, response)


MECHANISMS: Final[dict[str, Callable[[], Mechanism]]] = {"PLAIN": Plain, "LOGIN": Login}
