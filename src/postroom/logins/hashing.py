"""Passwords: what is allowed in them, and the forms in which they are stored.

The password of an unknown user is verified at the same cost as that of a known one, against an
argon2id hash with the same parameters. If an old hash does not match, this is done as well, so that
an account with an old hash does not answer sooner than an unknown user. A verification and the new
forms that it may require (for other parameters, an outdated scheme, or SCRAM keys) are one piece of
work.

Everything here blocks for tens of milliseconds and needs some 19 MiB, on purpose. The daemon calls
it through `postroom.logins.passwords`. argon2 runs without the interpreter's lock.

Who controls the input: a password to verify is the peer's; what is stored is the administrator's.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import argon2

from postroom.errors import UserError
from postroom.logins import schemes, scram
from postroom.logins.schemes import SCRAM_SHA_256, BadStoredPassword, Stored, parse_stored
from postroom.logins.scram import ITERATIONS, MOST_ITERATIONS
from postroom.settings.declaring import setting

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
class Forms:
    """In which forms new passwords are stored: argon2id always, and these."""

    scram: bool = setting(
        False,
        """Store the keys of SCRAM-SHA-256 beside the hash of a password: when it is set, and when
        its owner next logs in with PLAIN. Passwords can be guessed from stolen keys at less cost
        than from the hash. Needs the extra "auth".""",
        key="auth.scram_keys",
        rfc="RFC 7677 s4",
    )
    clear_text: bool = setting(
        False,
        """Store passwords in clear text beside the hash, as CRAM-MD5 needs them. Whoever reads the
        database then has them all. Once this is switched off again, each is deleted when its owner
        next logs in.""",
        key="auth.clear_text_passwords",
    )
    scram_iterations: int = setting(
        ITERATIONS,
        """How often the keys of SCRAM-SHA-256 are hashed. Clients have to do the same at each
        login.""",
        within=(4096, MOST_ITERATIONS),
        rfc="RFC 7677 s4",
    )


@dataclass(frozen=True, slots=True)
class PasswordVerdict:
    """The result of a verification.

    Attributes:
        matches: True if the password is right.
        new_stored: the forms to store instead, if the password was right and the old forms differ
            from those of new passwords; else None.
    """

    matches: bool
    new_stored: tuple[str, ...] | None = None


class Hashing:
    """Makes and verifies the stored forms of passwords. May be used from any thread."""

    def __init__(
        self, parameters: HashParameters | None = None, forms: Forms | None = None
    ) -> None:
        """Store the parameters and forms of new passwords; stored ones name their own."""
        chosen = parameters or HashParameters()
        self.forms = forms or Forms()
        self._hasher = argon2.PasswordHasher(
            time_cost=chosen.passes, memory_cost=chosen.memory_kib, parallelism=chosen.lanes
        )

    def hash(self, password: bytes) -> str:
        """Return an argon2id hash of a password that `new_password` has checked.

        RFC 9106 s3.1
        """
        return self._hasher.hash(password)

    def store(self, password: bytes) -> tuple[str, ...]:
        """Return all forms to be stored of a password that `new_password` has checked.

        Raises:
            UserError: one of the forms cannot be made from this password.
        """
        return self._forms_of(password, self.hash(password))

    def verify(self, stored: Sequence[str], offered: bytes) -> PasswordVerdict:
        """Check whether a password is right.

        Args:
            stored: the account's forms of it; empty if there is no account or it has no password,
                which costs the same and never matches.
            offered: as the peer sent it.

        Raises:
            argon2.exceptions.VerificationError: it could not be computed (no memory).
            argon2.exceptions.InvalidHashError, BadStoredPassword: what is stored cannot be read.
                All are faults of ours (454), not a wrong password.

        RFC 9106 s3.1; RFC 8265 s4.2
        """
        password = offered_password(offered)
        form = self._checked_form(stored)
        if form is None or form.scheme == "ARGON2":
            right = self._matches_argon2(self._dummy_hash if form is None else form.data, password)
        else:
            right = self._matches_old(form, offered, password)
        if password is None or form is None or not right:
            return PasswordVerdict(False)
        return PasswordVerdict(True, self._renewed(tuple(stored), form, password))

    def prepare(self) -> None:
        """Make the hash for unknown users now, so that the first login does not wait for it."""
        _ = self._dummy_hash

    @cached_property
    def _dummy_hash(self) -> str:
        return self._hasher.hash(b"the password of nobody")

    def _checked_form(self, stored: Sequence[str]) -> Stored | None:
        """Return the form to check: argon2id if there is one, SCRAM keys only if nothing else."""
        parsed = [parse_stored(text) for text in stored]
        order = {"ARGON2": 0, SCRAM_SHA_256: 2}
        return min(parsed, key=lambda form: order.get(form.scheme, 1), default=None)

    def _matches_argon2(self, stored: str, password: bytes | None) -> bool:
        try:
            return self._hasher.verify(stored, password or b"")
        except argon2.exceptions.VerifyMismatchError:
            return False

    def _matches_old(self, form: Stored, offered: bytes, password: bytes | None) -> bool:
        """Check a form made by other software, which did not prepare the octets."""
        right = password is not None and any(
            scram.keys_match(scram.read_keys(form), each)
            if form.scheme == SCRAM_SHA_256
            else schemes.matches(form, each)
            for each in dict.fromkeys((offered, password))
        )
        if not right:
            self._matches_argon2(self._dummy_hash, password)
        return right

    def _renewed(
        self, stored: tuple[str, ...], form: Stored, password: bytes
    ) -> tuple[str, ...] | None:
        old = form.scheme != "ARGON2" or self._hasher.check_needs_rehash(form.data)
        if not old and self._has_wanted_forms(stored):
            return None
        try:
            return self._forms_of(password, self.hash(password) if old else form.data)
        except UserError:  # SCRAM cannot take this password: it is as good as it can be
            return (self.hash(password),) if old else None

    def _has_wanted_forms(self, stored: tuple[str, ...]) -> bool:
        wanted, has = self.forms, {form.scheme: form for form in map(parse_stored, stored)}
        keys = has.get(SCRAM_SHA_256)
        if (keys is not None) != wanted.scram or ("PLAIN" in has) != wanted.clear_text:
            return False
        try:
            return keys is None or scram.read_keys(keys).iterations == wanted.scram_iterations
        except BadStoredPassword:
            return False

    def _forms_of(self, password: bytes, hashed: str) -> tuple[str, ...]:
        forms = [hashed]
        if self.forms.scram:
            forms.append(scram.make_keys(password, self.forms.scram_iterations))
        if self.forms.clear_text:
            forms.append("{PLAIN}" + password.decode("utf-8"))
        return tuple(forms)


def new_password(text: str) -> bytes:
    """Check a password that is to be set, and return the octets that are hashed.

    Raises:
        UserError: it is empty, too long, or contains a control character.

    RFC 8265 s4.2
    """
    if not text:
        raise UserError("the password is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise UserError("the password contains a control character")
    prepared = _opaque_string(text)
    if len(prepared) > LONGEST_OCTETS:
        raise UserError(f"the password is longer than {LONGEST_OCTETS} octets")
    return prepared


def offered_password(octets: bytes) -> bytes | None:
    """Return what a client sent in the form that is hashed; None if no password can be like that.

    RFC 8265 s4.2
    """
    if not octets or len(octets) > LONGEST_OCTETS * 4:
        return None
    if b"\0" in octets:  # which no password has, and which PBKDF2 cannot tell from its end
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
