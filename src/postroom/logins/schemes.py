"""Password hashes of other software: parsing them, and checking passwords against them.

A stored password is a hash that names its own scheme (``$6$…``), or has the scheme before it as
Dovecot, OpenLDAP and `doveadm pw` write it: ``{SSHA256}…``, ``{SSHA256.HEX}…``. Without either it
may only be a traditional crypt hash. It is never taken for a password in clear text.

None of these schemes is used for new passwords. `postroom.logins.hashing` makes those, and replaces
each of these by argon2id once its password is known. libpass checks crypt schemes; the rest are
plain digests, one or two lines each.

Who controls the input: the administrator, what is stored; the peer, the password, whose length is
limited before.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Final

from postroom.errors import PostroomError

_TAGGED = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(HEX|B64|BASE64|hex|b64|base64))?\}(.*)", re.DOTALL)
_DES = re.compile(r"[./0-9A-Za-z]{13}")
_CLEAR: Final = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})
_CRYPT: Final = {
    "$1$": "md5_crypt",
    "$2a$": "bcrypt",
    "$2b$": "bcrypt",
    "$2y$": "bcrypt",
    "$5$": "sha256_crypt",
    "$6$": "sha512_crypt",
    "$apr1$": "apr_md5_crypt",
}
_DIGESTS: Final = {
    # scheme: digest, its octets, whether a salt follows it, how it is written
    "SHA": ("sha1", 20, False, "b64"),
    "SHA1": ("sha1", 20, False, "b64"),
    "SSHA": ("sha1", 20, True, "b64"),
    "SHA256": ("sha256", 32, False, "b64"),
    "SSHA256": ("sha256", 32, True, "b64"),
    "SHA512": ("sha512", 64, False, "b64"),
    "SSHA512": ("sha512", 64, True, "b64"),
    "SMD5": ("md5", 16, True, "b64"),
    "LDAP-MD5": ("md5", 16, False, "b64"),
    "PLAIN-MD5": ("md5", 16, False, "hex"),
}
_CRYPT_TAGS: Final = frozenset(
    {"CRYPT", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "DES-CRYPT"}
)
_ARGON2_TAGS: Final = frozenset({"ARGON2I", "ARGON2ID"})
SCRAM_SHA_256: Final = "SCRAM-SHA-256"


class BadStoredPassword(PostroomError):
    """A stored password that cannot be used: a fault of ours (454), not a wrong password."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored password, parsed.

    Attributes:
        scheme: in capitals; ``ARGON2``, ``CRYPT`` and ``PLAIN`` include their variants.
        data: what follows the tag.
        encoding: ``"hex"`` or ``"b64"``, where the tag says so.
    """

    scheme: str
    data: str
    encoding: str | None = None

    def __repr__(self) -> str:
        """Return the scheme only, since this may be logged."""
        return f"Stored({self.scheme})"


def parse_stored(text: str) -> Stored:
    """Parse a stored password.

    Raises:
        BadStoredPassword: its scheme is unknown; the message names it, and no secret.
    """
    tagged = _TAGGED.fullmatch(text)
    if tagged is None:
        return Stored(_untagged_scheme(text), text)
    scheme, encoding, data = tagged[1].upper(), tagged[2], tagged[3]
    if scheme in _CLEAR:
        return Stored("PLAIN", data)
    if scheme in _ARGON2_TAGS or (scheme in _CRYPT_TAGS and data.startswith("$argon2")):
        return Stored("ARGON2", data)
    if scheme in _CRYPT_TAGS or (scheme == "MD5" and data.startswith("$1$")):
        return Stored("CRYPT", data)
    if scheme == "MD5":
        return Stored("PLAIN-MD5" if len(data) == 32 else "LDAP-MD5", data)
    if scheme in _DIGESTS or scheme in (SCRAM_SHA_256, "PBKDF2"):
        written = encoding.lower().replace("base64", "b64") if encoding else None
        return Stored(scheme, data, written)
    raise BadStoredPassword(f"the password scheme {{{scheme}}} is not known")


def _untagged_scheme(text: str) -> str:
    if text.startswith("$argon2"):
        return "ARGON2"
    if text.startswith("$scram-sha-256$"):  # not read; named, for the message
        raise BadStoredPassword("write SCRAM keys as {SCRAM-SHA-256}iterations,salt,stored,server")
    if text.startswith(tuple(_CRYPT)) or _DES.fullmatch(text):
        return "CRYPT"
    raise BadStoredPassword("a stored password has no scheme: write {PLAIN} or another before it")


def matches(stored: Stored, password: bytes) -> bool:
    """Return whether a password is the stored one. Blocks, for as long as its scheme takes.

    Args:
        stored: of any scheme but argon2 and SCRAM, which `hashing` and `scram` check.
        password: the octets that the client sent; no NUL among them.

    Raises:
        BadStoredPassword: the data are not valid, or no installed package can check them.
    """
    if stored.scheme == "PLAIN":
        return hmac.compare_digest(stored.data.encode("utf-8"), password)
    if stored.scheme == "CRYPT":
        return _matches_crypt(stored.data, password)
    if stored.scheme == "PBKDF2":
        return _matches_pbkdf2(stored.data, password)
    name, size, salted, encoding = _DIGESTS[stored.scheme]
    octets = _decode(stored, stored.encoding or encoding)
    if len(octets) < size or (len(octets) > size and not salted):
        raise BadStoredPassword(f"a {{{stored.scheme}}} password has the wrong length")
    digest, salt = octets[:size], octets[size:]
    made = hashlib.new(name, password + salt, usedforsecurity=False).digest()
    return hmac.compare_digest(made, digest)


def _decode(stored: Stored, encoding: str) -> bytes:
    try:
        if encoding == "hex":
            return bytes.fromhex(stored.data)
        return base64.b64decode(stored.data, validate=True)
    except (ValueError, binascii.Error):
        name = "hexadecimal" if encoding == "hex" else "base64"
        raise BadStoredPassword(f"a {{{stored.scheme}}} password is not {name}") from None


def _matches_crypt(data: str, password: bytes) -> bool:
    name = next((name for mark, name in _CRYPT.items() if data.startswith(mark)), "des_crypt")
    try:
        return bool(_crypt(name).verify(password, data))
    except ValueError as error:
        raise BadStoredPassword(f"a crypt password cannot be read: {name}") from error


def _crypt(name: str) -> Any:
    """Return libpass's class for a crypt scheme; only sites with such hashes need it installed."""
    try:
        import passlib.hash  # type: ignore[import-untyped]
        from passlib.exc import MissingBackendError  # type: ignore[import-untyped]
    except ImportError as error:
        raise BadStoredPassword(_missing(name)) from error
    scheme: Any = getattr(passlib.hash, name)
    try:
        if hasattr(scheme, "get_backend"):
            scheme.get_backend()
    except MissingBackendError as error:
        raise BadStoredPassword(_missing(name)) from error
    return scheme


def _missing(name: str) -> str:
    return f"{name} passwords need more packages: pip install 'postroom[auth]'"


# pbkdf2 = "$1$" salt "$" rounds "$" 40HEXDIG, always SHA-1; as `doveadm pw` writes it
_PBKDF2 = re.compile(r"\$1\$([^$]*)\$([0-9]{1,8})\$([0-9a-fA-F]{40})")


def _matches_pbkdf2(data: str, password: bytes) -> bool:
    parts = _PBKDF2.fullmatch(data)
    if parts is None or int(parts[2]) < 1:
        raise BadStoredPassword("a {PBKDF2} password is not $1$salt$rounds$hash")
    made = hashlib.pbkdf2_hmac("sha1", password, parts[1].encode("utf-8"), int(parts[2]))
    return hmac.compare_digest(made, bytes.fromhex(parts[3]))
