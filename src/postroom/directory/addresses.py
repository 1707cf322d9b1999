"""Addresses and domain names as the directory keeps them, and the directory names made from them.

An address is stored in one form: in lower case, with quotes around the local part only if it needs
them, and beyond ASCII in the form of `postroom.international`. The case of the local part is lost;
RFC 5321 s2.4 leaves its meaning to the receiving host. Here ``Joe@`` and ``joe@`` are one mailbox.

`maildir_name` turns an address into a relative path without trusting any octet of it. A leading dot
and all octets but lower-case letters, digits, ``.``, ``_`` and ``-`` are percent-encoded. So no
path leaves the mail root, and different addresses have different paths, even on a file system that
ignores case or normalises Unicode.

Who controls the input: the administrator, and whoever logs in (`login_address`).
"""

import hashlib
import re
from typing import Final

from postroom.envelope import DISCARD
from postroom.errors import UserError
from postroom.international import ascii_name, local_key
from postroom.wire.paths import (
    DOMAIN_OCTETS,
    PATH_OCTETS,
    TOLERATED_DOMAIN,
    Mailbox,
    PathError,
    parse_mailbox,
)

NAME_OCTETS: Final = 200
"""The longest directory name made here; file systems take 255, and Maildir tools add suffixes."""

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
# A local part that needs quotes for another reason contains one of " ( ) , : ; < > @ [ \ ].
_ODD_DOTS = re.compile(r'"[^\x00-\x20\x7f"(),:;<>@\[\\\]]+"')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def parse_address(text: str) -> Mailbox:
    """Parse an address that somebody typed.

    Args:
        text: ``local-part@domain``; surrounding blanks are an error.

    Returns:
        The mailbox, in the form in which it is compared.

    Raises:
        UserError: it is not an address; the message tells why.

    RFC 5321 s4.1.2
    """
    found = _parse(text)
    return Mailbox(local_key(found.local_part), found.domain)


def local_address(text: str) -> str:
    """Return an address that is to be local, in the form in which it is stored.

    Raises:
        UserError: it is not an address, or its domain is an address literal.
    """
    found = parse_address(text)
    if found.is_literal:
        raise UserError(
            f"{text!r} cannot be a local address: its domain is an address literal, not a name"
        )
    return address_text(found)


def address_text(mailbox: Mailbox) -> str:
    """Return a mailbox in the form in which addresses are stored."""
    return bytes(mailbox).decode("utf-8")


def _parse(text: str) -> Mailbox:
    """Parse an address; the domain is in lower case and A-labels, the local part unchanged."""
    try:
        # The domain first: the grammar of the envelope lets nothing in that is only mapped to it.
        local, at, domain = text.rpartition("@")
        name = domain if domain.startswith("[") else ascii_name(domain).removesuffix(".")
        if name.endswith("."):
            raise PathError("malformed domain")
        found = parse_mailbox(f"{local}{at}{name}".encode("utf-8", "surrogatepass"))
        if len(bytes(found)) > PATH_OCTETS - 2:
            raise PathError(f"longer than {PATH_OCTETS - 2} octets")
        return found
    except ValueError as error:  # of which PathError is one
        raise UserError(f"{text!r} is not an address: {error}") from None


def parse_target(text: str) -> str:
    """Parse an alias's target: an address, or ``discard:``.

    The local part keeps its case, which may matter to another host (RFC 5321 s2.4).

    Raises:
        UserError: it is neither.
    """
    if text.lower() == DISCARD:
        return DISCARD
    if ":" in text.partition("@")[0]:
        raise UserError(f"{text!r} is not a target: a target is an address, or {DISCARD}")
    found = _parse(text)
    return address_text(Mailbox(found.local_part, found.domain.lower()))


def parse_domain(text: str) -> str:
    """Return a domain name that is to be local, in lower case and without a final dot.

    Raises:
        UserError: it is not a domain name; the message tells why.

    RFC 5321 s4.1.2, s4.5.3.1.2
    """
    try:
        name = ascii_name(text).encode("ascii").removesuffix(b".")
    except ValueError as error:
        raise UserError(f"{text!r} is not a domain name: {error}") from None
    if b"@" in name:
        raise UserError(
            f"{text!r} is not a domain name: it contains an @; give only what follows it"
        )
    if len(name) > DOMAIN_OCTETS:
        raise UserError(f"{text!r} is not a domain name: longer than {DOMAIN_OCTETS} octets")
    if TOLERATED_DOMAIN.fullmatch(name) is None:
        raise UserError(
            f"{text!r} is not a domain name: labels are letters, digits, hyphens and underscores, "
            "63 at most each, joined by dots"
        )
    return name.decode("ascii")


def domain_of(address: str) -> str:
    """Return the domain of an address in canonical form."""
    return address.rpartition("@")[2]


def foreign_forms(address: str) -> tuple[str, str, str]:
    """Return an address, its local part and its domain in the form that foreign tables use.

    There a local part with consecutive dots, such as ``a..b``, has no quotes. Other local parts
    that need quotes have them.

    Args:
        address: in the form in which it is stored.
    """
    user, at, domain = address.rpartition("@")
    if _ODD_DOTS.fullmatch(user):
        user = user[1:-1]
    return user + at + domain, user, domain


def login_address(username: bytes, default_domain: str | None) -> str | None:
    """Return the address that a user name stands for.

    Args:
        username: as the client sent it: an address, or a local part alone.
        default_domain: the domain of a bare local part.

    Returns:
        The address in canonical form, or None if no account can have that name: not UTF-8, a
        control character in it, not an address.

    RFC 4616 s2; RFC 8265 s3.3
    """
    try:
        text = username.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text):
        return None
    if "@" not in text:
        text = f"{text}@{default_domain or ''}"
    try:
        return local_address(text)
    except UserError:
        return None


def maildir_name(address: Mailbox) -> str:
    """Return the path of an account's Maildir, relative to the mail root.

    Args:
        address: in lower case, with a domain.

    Returns:
        ``domain/local-part``, both safe as file names; different for different addresses.
    """
    return f"{_file_name(address.domain)}/{_file_name(address.local_part)}"


def _file_name(octets: bytes) -> str:
    """Encode octets as a file name: no slash, no leading dot, never empty, never too long.

    A name that would be too long ends in ``~`` and a digest of the whole; no other name can hold
    a tilde.
    """
    parts = [chr(octet) if octet in _PLAIN else f"%{octet:02x}" for octet in octets]
    if parts and parts[0] == ".":
        parts[0] = "%2e"
    name = "".join(parts) or "%"
    if len(name) <= NAME_OCTETS:
        return name
    digest = hashlib.sha256(octets).hexdigest()
    return f"{name[: NAME_OCTETS - len(digest) - 1]}~{digest}"
