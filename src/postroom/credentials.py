"""The values of logins: what sources tell of users, and what mechanisms are told of sessions.

A source (`postroom.interfaces.ICredentialSource`) is where credentials are looked up: the database,
a passwd-file, LDAP. It gives secrets as they are stored and compares nothing. What a scheme means,
which mechanism can use it, and that a wrong name costs what a wrong password does, is settled once,
for all sources, in `postroom.logins`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from postroom.envelope import SessionFacts
from postroom.errors import PostroomError


class Knowledge(Enum):
    """What a source may know of a password, and so which mechanisms it allows."""

    CHECKABLE = "a password can be checked: PLAIN, LOGIN"
    CLEAR_TEXT = "the password itself: every mechanism, CRAM-MD5 too"
    SCRAM = "the keys of SCRAM-SHA-256"


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for SCRAM; the password cannot be had from it.

    Attributes:
        salt: handed out to whoever asks.
        iterations: of PBKDF2.
        stored_key: what a client's proof is checked with.
        server_key: what our own proof is made with.
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
    """A password of one program of a user's, beside the main one.

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
        verify: for sources that can be asked but give nothing out (an LDAP bind, PAM): says whether
            a password is right. Called on the reactor's thread; must not block. Its failure means
            that the source is down.
    """

    address: str
    stored: tuple[str, ...] = ()
    app_passwords: tuple[AppPassword, ...] = ()
    enabled: bool = True
    verify: "Callable[[bytes], Deferred[bool]] | None" = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Name the user and no secret: this may end in a log."""
        return f"Credential({self.address!r})"


@dataclass(frozen=True, slots=True)
class Offer:
    """What decides which mechanisms a session is offered.

    Attributes:
        tls: the session is encrypted.
        certificate: the client showed a certificate that names somebody and was verified.
        knows: what the sources may know of passwords.
        tokens: somebody here can check tokens.
    """

    tls: bool
    certificate: bool
    knows: frozenset[Knowledge]
    tokens: bool = False


@dataclass(frozen=True, slots=True)
class SASLSession:
    """What a mechanism is told of the session that uses it.

    Attributes:
        facts: the session's.
        hostname: ours.
        offered: the names of all mechanisms that this session is offered.
        scram_keys: see `postroom.interfaces.ILoginSecrets.scram_keys`; None where there are none.
        channel_binding: gives the octets of a channel binding by its name (RFC 5929, RFC 9266);
            None for one that this session does not have.
    """

    facts: SessionFacts
    hostname: str
    offered: tuple[str, ...]
    scram_keys: "Callable[[bytes], Deferred[ScramKeys]] | None"
    channel_binding: Callable[[str], bytes | None]


class BadToken(PostroomError):
    """A token that is not believed, or does not claim what it has to; the text is for the log."""


def readings(name: bytes, account: object) -> tuple[bytes, ...]:
    """Return what a name may mean by which a client asks to act as an account.

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

    The client hears 535, as after a wrong password; nobody has guessed, so it counts as no failure.

    RFC 4616 s2; RFC 4422 s3.4.1
    """


class TokenRefused(UnauthorizedLogin):
    """A token is wrong, and the client is told why, before it hears 535.

    Attributes:
        challenge: what to tell it, JSON.

    RFC 7628 s3.2.2
    """

    def __init__(self, challenge: bytes) -> None:
        """Take the JSON document."""
        super().__init__("the token is refused")
        self.challenge = challenge


class TokenOfAnother(TokenRefused, NotThatAccount):
    """A token is right, but of another account than the client asks to act as."""
