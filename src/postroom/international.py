"""Addresses beyond ASCII, in the form in which they are kept and compared.

*Domains* are compared by their A-labels in lower case: what people type is mapped as UTS 46 says
(case, width, the ideographic full stop), without changing whom the mail is for: the deviation
characters keep their meaning.

*Local parts* are compared in NFC, without case. RFC 6531 leaves that to the host whose mailboxes
they are, as RFC 5321 does. One rule goes before it: no character beyond ASCII ever becomes one of
ASCII. The Kelvin sign does not become a k, nor the long s an s, nor a sharp s two of them: whoever
registers a look-alike of ``kim`` does not get kim's mail.

Who controls the input: whoever wrote the address.
"""

import unicodedata

import idna

from postroom.wire.paths import DOMAIN_OCTETS, Mailbox


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
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"no internationalised domain name: {error}") from None


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
