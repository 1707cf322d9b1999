"""The parameters of MAIL and RCPT.

One table says which parameters there are, which extension brings each, and what its value may be.
A parameter whose extension is not offered to this peer does not exist for it: 555 (RFC 5321
s4.1.1.11). Values are kept as they came; what they mean is read from them where it is needed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from postroom.wire.errors import SyntaxViolation
from postroom.wire.replies import Reply

# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# esmtp-value   = 1*(%d33-60 / %d62-126)                            RFC 5321 s4.1.2
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?")
# size-value ::= 1*20DIGIT                                           RFC 1870 s4
_SIZE = re.compile(r"[0-9]{1,20}")
# xtext = *( xchar / hexchar ); xchar = "!" to "~" except "+" and "="; hexchar = "+" 2HEXDIG, in
# upper case.                                                        RFC 3461 s4
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")

type_of_value = Callable[[str | None], bool]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What the table knows of one parameter.

    Attributes:
        extension: the EHLO keyword that must have been offered.
        valid: tells whether a value (None: no value) is one.
    """

    extension: str
    valid: type_of_value


def _size(value: str | None) -> bool:
    return value is not None and _SIZE.fullmatch(value) is not None


def _body(value: str | None) -> bool:
    return value is not None and value.upper() in ("7BIT", "8BITMIME")


def _auth(value: str | None) -> bool:
    """AUTH= is xtext of a mailbox or ``<>``; controls have no place in it (RFC 4954 s5)."""
    if value is None or _XTEXT.fullmatch(value) is None:
        return False
    return all(0x20 < octet < 0x7F for octet in decode_xtext(value))


MAIL_PARAMETERS: Final[dict[str, Parameter]] = {
    "SIZE": Parameter("SIZE", _size),  # RFC 1870 s6
    "BODY": Parameter("8BITMIME", _body),  # RFC 6152 s3
    "AUTH": Parameter("AUTH", _auth),  # RFC 4954 s5
}
RCPT_PARAMETERS: Final[dict[str, Parameter]] = {}


def decode_xtext(value: str) -> bytes:
    """Undo xtext.

    RFC 3461 s4
    """
    return re.sub(r"\+([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), value).encode("latin-1")


def parse_parameters(
    octets: bytes, known: Mapping[str, Parameter], offered: Mapping[str, str]
) -> dict[str, str | None]:
    """Read the parameters after a path.

    Args:
        octets: what follows the path, without the space before the first parameter.
        known: the table for this verb.
        offered: the extensions that EHLO offered to this peer.

    Returns:
        Keyword in upper case to value as sent, None where there is no ``=``.

    Raises:
        SyntaxViolation: 501 5.5.4 for bad syntax, a bad value or a repeated keyword, 555 5.5.4 for
            a parameter that is not offered.

    RFC 5321 s4.1.1.11, s4.1.2
    """
    found: dict[str, str | None] = {}
    for word in octets.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise SyntaxViolation(_refuse(501, f"Malformed parameter {_show(word)}"))
        keyword = match[1].decode("ascii").upper()
        value = match[2].decode("ascii") if match[2] is not None else None
        parameter = known.get(keyword)
        if parameter is None or parameter.extension not in offered:
            raise SyntaxViolation(_refuse(555, f"Parameter {keyword} is not offered here"))
        if keyword in found:
            raise SyntaxViolation(_refuse(501, f"Parameter {keyword} given twice"))
        if not parameter.valid(value):
            raise SyntaxViolation(_refuse(501, f"Bad value in parameter {_show(word)}"))
        found[keyword] = value
    return found


def _refuse(code: int, text: str) -> Reply:
    return Reply(code, (text,), "5.5.4")


def _show(octets: bytes) -> str:
    return octets[:60].decode("ascii", "replace")
