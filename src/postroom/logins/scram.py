"""The keys of SCRAM-SHA-256: making and parsing them, and dummy keys for unknown users.

A server with SCRAM sends a salt to any client that gives a user name. The salt of an unknown user
must look like others, be the same each time, and be impossible to compute for a client. It is an
HMAC of the name with a secret in the database (`DummyScramKeys`).

Keys are stored in Dovecot's form: ``{SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey``.

Known limit: an account with keys from other software and another number of iterations can be
distinguished from an unknown user, until a login with PLAIN replaces its keys.
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
    """Return the keys of a password, as they are stored; blocks for milliseconds.

    Args:
        password: UTF-8, as `hashing.new_password` returns it.
        iterations: at least 4096.

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
    """Parse stored keys.

    Raises:
        BadStoredPassword: they are not valid.
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
    """Makes keys for users that cannot log in."""

    def __init__(
        self, secret: bytes, default_domain: str | None = None, iterations: int = ITERATIONS
    ) -> None:
        """Store the secret.

        Args:
            secret: of this site, at least 32 octets.
            default_domain: of a bare name, which gets the same keys as the whole address.
            iterations: those of new keys.
        """
        self._secret = secret
        self._default_domain = default_domain
        self._iterations = iterations

    def keys(self, username: bytes) -> ScramKeys:
        """Return the keys of a name, the same for all its spellings; no password matches them."""
        address = login_address(username, self._default_domain)
        name = username.lower() if address is None else address.encode("ascii")
        salt, stored_key, server_key = (
            hmac.digest(self._secret, what + b"\0" + name, "sha256")
            for what in (b"salt", b"stored", b"server")
        )
        return ScramKeys(salt[:SALT_OCTETS], self._iterations, stored_key, server_key)
