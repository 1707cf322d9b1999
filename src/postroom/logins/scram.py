"""The keys of SCRAM-SHA-256: made, written, read, and made up for names that nobody has.

A server that uses SCRAM hands a salt out to whoever asks for a name. One for a name that it does
not have must look alike, be the same whenever it is asked for, and be nobody's to compute: it comes
from the name by HMAC, under a secret that the database keeps (`DummyScramKeys`).

Keys are written as Dovecot writes them: ``{SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey``.

Known limit: an account whose keys came from elsewhere, with another number of iterations, can be
told from a name that is made up, until its keys are made anew by a login with PLAIN.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Final

from postroom.credentials import ScramKeys
from postroom.directory.addresses import login_address
from postroom.errors import UserError
from postroom.logins.schemes import SCRAM_SHA_256, BadStoredPassword, Stored

ITERATIONS: Final = 10_000
"""PBKDF2 iterations of new keys; RFC 7677 s4 asks for 4096 at least."""
SALT_OCTETS: Final = 16
LEAST_SALT_OCTETS: Final = 12
LEAST_ITERATIONS: Final = 4096
MOST_ITERATIONS: Final = 1_000_000
_KEYS = re.compile(r"([1-9][0-9]{0,6}),([^,]+),([^,]+),([^,]+)")


def make_keys(password: bytes, iterations: int = ITERATIONS) -> str:
    """Make the keys of a password, as they are stored; blocks for milliseconds.

    Args:
        password: UTF-8, as `hashing.new_password` gives it.
        iterations: 4096 at least.

    Raises:
        UserError: SASLprep forbids a character of it, or the package for SCRAM is missing.

    RFC 5802 s3; RFC 7677 s4
    """
    try:
        from scramp import ScramException, ScramMechanism  # type: ignore[import-untyped]
    except ImportError:
        raise UserError("SCRAM needs more packages: pip install 'postroom[auth]'") from None
    salt = secrets.token_bytes(SALT_OCTETS)
    try:
        _, stored_key, server_key, _ = ScramMechanism(SCRAM_SHA_256).make_auth_info(
            password.decode("utf-8"), iterations, salt
        )
    except (ScramException, UnicodeDecodeError) as error:
        raise UserError(f"the password cannot be used with SCRAM: {error}") from None
    octets = (base64.b64encode(each).decode("ascii") for each in (salt, stored_key, server_key))
    return f"{{{SCRAM_SHA_256}}}{iterations},{','.join(octets)}"


def read_keys(stored: Stored, address: str | None = None) -> ScramKeys:
    """Read stored keys.

    Raises:
        BadStoredPassword: they are none.
    """
    parts = _KEYS.fullmatch(stored.data)
    try:
        if parts is None or int(parts[1]) > MOST_ITERATIONS:
            raise ValueError
        salt, stored_key, server_key = (
            base64.b64decode(part, validate=True) for part in parts.groups()[1:]
        )
    except (ValueError, binascii.Error):
        raise BadStoredPassword("SCRAM keys are not iterations,salt,stored,server") from None
    if len(stored_key) != 32 or len(server_key) != 32 or len(salt) < LEAST_SALT_OCTETS:
        raise BadStoredPassword("SCRAM keys have the wrong length")
    if int(parts[1]) < LEAST_ITERATIONS:
        raise BadStoredPassword(f"SCRAM keys have less than {LEAST_ITERATIONS} iterations")
    return ScramKeys(salt, int(parts[1]), stored_key, server_key, address)


def keys_match(keys: ScramKeys, password: bytes) -> bool:
    """Return whether keys are those of a password; blocks for milliseconds.

    RFC 5802 s3
    """
    salted = hashlib.pbkdf2_hmac("sha256", password, keys.salt, keys.iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key)


class DummyScramKeys:
    """Makes keys up for names that cannot log in."""

    def __init__(
        self, secret: bytes, default_domain: str | None = None, iterations: int = ITERATIONS
    ) -> None:
        """Make a maker of keys.

        Args:
            secret: of this site, at least 32 octets.
            default_domain: of a bare name, so that it has the keys of the whole address.
            iterations: those of new keys.
        """
        self._secret = secret
        self._default_domain = default_domain
        self._iterations = iterations

    def keys(self, username: bytes) -> ScramKeys:
        """Make the keys of a name, the same however it is written; no password has them."""
        address = login_address(username, self._default_domain)
        name = username.lower() if address is None else address.encode("ascii")
        salt, stored_key, server_key = (
            hmac.digest(self._secret, what + b"\0" + name, "sha256")
            for what in (b"salt", b"stored", b"server")
        )
        return ScramKeys(salt[:SALT_OCTETS], self._iterations, stored_key, server_key)
