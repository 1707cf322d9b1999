"""The values of logins: what sources know of users, and what mechanisms know of sessions.

A source (`postroom.interfaces.ICredentialSource`) is where credentials are looked up: the database,
a passwd-file, LDAP. It returns secrets as they are stored and compares nothing. What a scheme
means, which mechanism can use it, and that an unknown name takes as long as a wrong password, is
decided once for all sources, in `postroom.logins`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from postroom.envelope import SessionFacts
from postroom.errors import PostroomError


class Knowledge(Enum):
    """The forms in which a source may know a password; they decide which mechanisms work."""

    CHECKABLE = "a password can be checked: PLAIN, LOGIN"
    CLEAR_TEXT = "the password itself: every mechanism, CRAM-MD5 too"
    SCRAM = "the keys of SCRAM-SHA-256"


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server stores of a password for SCRAM; the password cannot be derived from it.

    Attributes:
        salt: sent to any client that asks.
        iterations: of PBKDF2.
        stored_key: checks a client's proof.
        server_key: makes our own proof.
        address: whose they are, as `Credential.address`; None if they were made up for a name that
            cannot log in.

    RFC 5802 s3
    """

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    address: str | None = None


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password for one of a user's programs, beside the main one.

    Attributes:
        key: the part of the password by which it is found, no secret.
        name: what the user calls it.
        stored: its hash.
    """

    key: str
    name: str
    stored: str


@dataclass(frozen=True, slots=True)
class Credential:
    """One user's record in one source.

    Attributes:
        address: the account's address in canonical form; it becomes the avatar id.
        stored: the password as it is stored, once for each form of it: a hash
            (``$argon2id$…``, ``$6$…``) or, in Dovecot's notation, ``{SCHEME}…``, as
            ``{SCRAM-SHA-256}…`` and ``{PLAIN}…``. All are of the same password.
        app_passwords: further passwords.
        enabled: False refuses every login, and no later source is asked.
        verify: for sources that check passwords without revealing them (an LDAP bind, PAM):
            returns whether a password is right. Called on the reactor's thread; must not block. Its
            failure means that the source is down.
    """

    address: str
    stored: tuple[str, ...] = ()
    app_passwords: tuple[AppPassword, ...] = ()
    enabled: bool = True
    verify: "Callable[[bytes], Deferred[bool]] | None" = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Return the user's name and no secret: this may end in a log."""
        return f"Credential({self.address!r})"


@dataclass(frozen=True, slots=True)
class Offer:
    """The facts that decide which mechanisms a session is offered.

    Attributes:
        tls: the session is encrypted.
        certificate: the client showed a certificate that names somebody and was verified.
        knows: what the sources may know of passwords.
        tokens: tokens can be checked here.
    """

    tls: bool
    certificate: bool
    knows: frozenset[Knowledge]
    tokens: bool = False


@dataclass(frozen=True, slots=True)
class SASLSession:
    """What a mechanism knows of the session that uses it.

    Attributes:
        facts: the session's.
        hostname: ours.
        offered: the names of all mechanisms that this session is offered.
        scram_keys: see `postroom.interfaces.ILoginSecrets.scram_keys`; None where there are none.
        channel_binding: returns the octets of a channel binding by its name (RFC 5929, RFC 9266);
            None for one that this session does not have.
    """

    facts: SessionFacts
    hostname: str
    offered: tuple[str, ...]
    scram_keys: "Callable[[bytes], Deferred[ScramKeys]] | None"
    channel_binding: Callable[[str], bytes | None]


class BadToken(PostroomError):
    """An invalid token, or one without the required claims; the text is for the log."""


def readings(name: bytes, account: object) -> tuple[bytes, ...]:
    """Return the accounts that a client's name for itself may mean.

    Args:
        name: as the client sent it.
        account: the avatar id of the account that logs in.

    Returns:
        The name, and for one without a domain also the address that it makes with the account's.
    """
    if b"@" in name or not isinstance(account, bytes) or b"@" not in account:
        return (name,)
    return name, name + b"@" + account.rpartition(b"@")[2]


class NotThatAccount(UnauthorizedLogin):
    """Credentials are right, but the client asks to act as another account than theirs.

    The client gets 535, as after a wrong password. Nobody guessed a password, so it does not count
    as a failed login.

    RFC 4616 s2; RFC 4422 s3.4.1
    """


class TokenRefused(UnauthorizedLogin):
    """A token is wrong; the client is told why before it gets 535.

    Attributes:
        challenge: the text for the client, JSON.

    RFC 7628 s3.2.2
    """

    def __init__(self, challenge: bytes) -> None:
        """Store the JSON document."""
        super().__init__("the token is refused")
        self.challenge = challenge


class TokenOfAnother(TokenRefused, NotThatAccount):
    """A token is right, but the client asks to act as another account than its own."""
