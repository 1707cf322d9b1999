"""What is known of somebody who may log in, as sources of logins tell it.

A source (`postroom.interfaces.ICredentialSource`) is where credentials are looked up: the database,
a passwd-file, LDAP. It gives secrets as they are stored and compares nothing. What a scheme means,
which mechanism can use it, and that a wrong name costs what a wrong password does, is settled once,
for all sources, in `postroom.accounts`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from twisted.internet.defer import Deferred


class Knowledge(Enum):
    """What a source may know of a password, and so which mechanisms it allows."""

    CHECKABLE = "a password can be checked: PLAIN, LOGIN"
    CLEAR_TEXT = "the password itself: every mechanism, CRAM-MD5 too"
    SCRAM = "the keys of SCRAM-SHA-256"


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
