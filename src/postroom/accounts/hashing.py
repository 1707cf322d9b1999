"""Passwords: what may be one, and the argon2id hashes made of them.

A password that nobody has is verified at the same cost as one that somebody has: against a hash
made with the same parameters. A verification and the new hash that it may call for (the parameters
have changed since) are one piece of work.

Everything here blocks, for tens of milliseconds and with some 19 MiB, on purpose: the daemon calls
it through `postroom.accounts.passwords`. argon2 runs without the interpreter's lock.

Who controls the input: a password to verify is the peer's; a stored hash is ours.
"""

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import argon2

from postroom.errors import UserError

SHORT_CHARACTERS: Final = 8
"""A new password of fewer characters deserves a word."""
LONGEST_OCTETS: Final = 1024
"""The longest password, in octets of UTF-8."""


@dataclass(frozen=True, slots=True)
class HashParameters:
    """What a hash costs; the defaults are OWASP's for argon2id (2 passes over 19 MiB).

    Attributes:
        passes: how often the memory is gone over, at least 1.
        memory_kib: the memory in KiB, at least 8 for each lane.
        lanes: how many threads argon2 itself uses.

    RFC 9106 s3.1
    """

    passes: int = 2
    memory_kib: int = 19_456
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found.

    Attributes:
        matches: the password is right.
        new_hash: a hash to store in place of the old one, if it was right and the parameters have
            changed; else None.
    """

    matches: bool
    new_hash: str | None = None


class Hashing:
    """Makes and verifies hashes with one set of parameters. May be used from any thread."""

    def __init__(self, parameters: HashParameters | None = None) -> None:
        """Take the parameters of new hashes; old ones carry their own."""
        chosen = parameters or HashParameters()
        self._hasher = argon2.PasswordHasher(
            time_cost=chosen.passes, memory_cost=chosen.memory_kib, parallelism=chosen.lanes
        )

    def hash(self, password: bytes) -> str:
        """Make a hash to store, of a password that `new_password` let pass.

        RFC 9106 s3.1
        """
        return self._hasher.hash(password)

    def verify(self, stored: str | None, offered: bytes) -> Verdict:
        """Say whether a password is right.

        Args:
            stored: the account's hash; None if there is no account or it has no password, which
                costs the same and never matches.
            offered: as the peer sent it.

        Raises:
            argon2.exceptions.VerificationError: it could not be computed (no memory).
            argon2.exceptions.InvalidHashError: the stored hash cannot be read. Both are trouble of
                ours (454), not a wrong password.

        RFC 9106 s3.1; RFC 8265 s4.2
        """
        password = _offered_password(offered)
        usable = self._nobody if stored is None else stored
        try:
            self._hasher.verify(usable, password or b"")
        except argon2.exceptions.VerifyMismatchError:
            return Verdict(False)
        if password is None or stored is None:
            return Verdict(False)
        again = self._hasher.check_needs_rehash(usable)
        return Verdict(True, self._hasher.hash(password) if again else None)

    def prepare(self) -> None:
        """Make the hash of nobody's password now, so that the first look-up does not pay for it."""
        _ = self._nobody

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(b"the password of nobody")


def new_password(text: str) -> bytes:
    """Check a password that is to be set, and give the octets that are hashed.

    Raises:
        UserError: it is empty, too long, or has a control character in it.

    RFC 8265 s4.2
    """
    if not text:
        raise UserError("the password is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise UserError("the password holds a control character")
    prepared = _opaque_string(text)
    if len(prepared) > LONGEST_OCTETS:
        raise UserError(f"the password is longer than {LONGEST_OCTETS} octets")
    return prepared


def _offered_password(octets: bytes) -> bytes | None:
    """Bring what a client sent into the form that was hashed; None if it can be nobody's."""
    if not octets or len(octets) > LONGEST_OCTETS * 4:
        return None
    if octets.isascii():
        return octets
    try:
        return _opaque_string(octets.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _opaque_string(text: str) -> bytes:
    """The OpaqueString profile: other spaces become SPACE, the rest NFC. RFC 8265 s4.2.1."""
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
    return unicodedata.normalize("NFC", spaced).encode("utf-8")
