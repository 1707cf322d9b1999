"""Addresses beyond ASCII, in the form in which they are kept and compared.

*Domains* are compared by their A-labels in lower case: what people type is mapped as UTS 46 says
(case, width, the ideographic full stop), without changing whom the mail is for: the deviation
characters keep their meaning. Labels of ASCII may have underscores and hyphens anywhere, as names
in DNS do and those of hosts should not.

*Local parts* are compared in NFC, without case. RFC 6531 leaves that to the host whose mailboxes
they are, as RFC 5321 does. One rule goes before it: no character beyond ASCII ever becomes one of
ASCII. The Kelvin sign does not become a k, nor the long s an s, nor a sharp s two of them: whoever
registers a look-alike of ``kim`` does not get kim's mail.

Who controls the input: whoever wrote the address.
"""

import re
import unicodedata
from typing import Final

import idna

from postroom.wire.paths import DOMAIN_OCTETS, Mailbox

_LABEL: Final = rb"[A-Za-z0-9_\-]{1,63}"
LOOSE_DOMAIN = re.compile(_LABEL + rb"(?:\." + _LABEL + rb")*")
"""A domain name in ASCII: RFC 1035 s2.3.4 limits its labels, and nothing more is asked of them."""
_ASCII_LABEL = re.compile(_LABEL.decode("ascii"))


def ascii_name(name: str) -> str:
    """Give a domain name in A-labels, lower case; an ASCII one only gets into lower case.

    Raises:
        ValueError: it is no name in any language.

    RFC 5890 s2.3.2.1; RFC 6531 s3.2
    """
    if name.isascii():
        return name.lower()
    if len(name) > DOMAIN_OCTETS:
        raise ValueError(
            f"an internationalised domain name of more than {DOMAIN_OCTETS} characters"
        )
    try:
        labels = idna.uts46_remap(name, std3_rules=False).removesuffix(".").split(".")
        encoded = ".".join(_a_label(label) for label in labels)
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"no internationalised domain name: {error}") from None
    if len(encoded) > DOMAIN_OCTETS:
        raise ValueError(f"an internationalised domain name of more than {DOMAIN_OCTETS} octets")
    return encoded


def _a_label(label: str) -> str:
    """Encode one label that has been mapped.

    Raises:
        idna.IDNAError: it is none in any language.
    """
    if not label.isascii() or label.startswith("xn--"):
        return idna.alabel(label).decode("ascii").lower()
    if _ASCII_LABEL.fullmatch(label) is None:
        raise idna.IDNAError(f"{label!r} is no label: letters, digits, hyphens and underscores are")
    return label


def local_key(local_part: bytes) -> bytes:
    """Give a local part in the form in which it is compared.

    Args:
        local_part: without quotes; UTF-8 if it is not ASCII.

    RFC 6531 s3.3; RFC 5321 s2.4
    """
    if local_part.isascii():
        return local_part.lower()
    try:
        text = local_part.decode("utf-8")
    except UnicodeDecodeError:
        return local_part
    parts, run = [], ""
    for character in text:
        folded = _folded(character)
        if folded is None:
            parts += [unicodedata.normalize("NFC", run), character]
            run = ""
        else:
            run += folded
    parts.append(unicodedata.normalize("NFC", run))
    return "".join(parts).encode("utf-8")


def _folded(character: str) -> str | None:
    """Fold a character's case; None if it has to stay as it is, or it would become ASCII."""
    if character.isascii():
        return character.lower()
    for folded in (character.casefold(), character.lower()):
        if not unicodedata.normalize("NFC", folded).isascii():
            return folded
    return None


def address_key(local_part: bytes, domain: str) -> str:
    """Give an address in the form in which directories keep it.

    Args:
        local_part: as sent.
        domain: in A-labels, lower case; or an address literal.
    """
    return bytes(Mailbox(local_key(local_part), domain.encode("ascii"))).decode("utf-8", "replace")
