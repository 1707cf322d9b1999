"""Addresses beyond ASCII, in the form in which they are stored and compared.

*Domains* are compared by their A-labels in lower case: what people type is mapped as UTS 46 says
(case, width, the ideographic full stop), without changing whom the mail is for: the deviation
characters keep their meaning. Labels of ASCII may have underscores and hyphens anywhere, as names
in DNS do and those of hosts should not.

*Local parts* are compared in NFC, without case. RFC 6531 leaves that to the host whose mailboxes
they are, as RFC 5321 does. One rule goes before it: no character beyond ASCII ever becomes one of
ASCII. The Kelvin sign does not become a k, nor the long s an s, nor a sharp s two of them:
registering a look-alike of ``kim`` does not get kim's mail.

Who controls the input: the author of the address.
"""

import unicodedata
from typing import Final

import idna

from postroom.wire.paths import DOMAIN_OCTETS, TOLERATED_LABEL, Mailbox

_NAME_OCTETS: Final = 253  # 255 on the wire, with two lengths of labels: RFC 1035 s3.1


def ascii_name(name: str) -> str:
    """Return a domain name in A-labels, lower case; an ASCII name is only put into lower case.

    A label in ASCII keeps what hosts' names have and IDNA has not, such as underscores. The final
    dot of an internationalised name is dropped.

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
        mapped = idna.uts46_remap(name, std3_rules=False).removesuffix(".")
        found = ".".join(map(_ascii_label, mapped.split(".")))
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"no internationalised domain name: {error}") from None
    if len(found) > _NAME_OCTETS:
        raise ValueError(f"an internationalised domain name of more than {_NAME_OCTETS} octets")
    return found


def _ascii_label(label: str) -> str:
    """Return a label as an A-label, or as it is if it is one of ASCII that a host may have."""
    plain = label.isascii() and TOLERATED_LABEL.fullmatch(label.encode("ascii")) is not None
    if plain and not label.startswith("xn--"):
        return label
    return idna.alabel(label).decode("ascii")


def local_key(local_part: bytes) -> bytes:
    """Return a local part in the form in which it is compared.

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
    """Return a character in folded case; None if it must stay as it is."""
    if character.isascii():
        return character.lower()
    for folded in (character.casefold(), character.lower()):
        if not unicodedata.normalize("NFC", folded).isascii():
            return folded
    return None


def address_key(local_part: bytes, domain: str) -> str:
    """Return an address in the form in which directories store it.

    Args:
        local_part: as sent.
        domain: in A-labels, lower case; or an address literal.
    """
    return bytes(Mailbox(local_key(local_part), domain.encode("ascii"))).decode("utf-8", "replace")
