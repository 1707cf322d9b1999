"""xtext: octets within a parameter's value.

Who controls the input: the peer, for what is decoded; our own callers, for what is encoded.
"""

import re
from typing import Final

# xtext = *( xchar / hexchar ); xchar = "!" to "~" except "+" and "="; hexchar = "+" 2HEXDIG, in
# upper case.                                                        RFC 3461 s4
_XTEXT: Final = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_HEXCHAR: Final = re.compile(r"\+([0-9A-F]{2})")
_NO_XCHAR: Final = re.compile(rb"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")


def decode_xtext(value: str) -> bytes:
    """Decode xtext.

    Raises:
        ValueError: it is not xtext.

    RFC 3461 s4
    """
    if _XTEXT.fullmatch(value) is None:
        raise ValueError("not xtext")
    return _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1")


def encode_xtext(octets: bytes) -> str:
    """Write any octets as xtext.

    RFC 3461 s4
    """
    return _NO_XCHAR.sub(lambda match: b"+%02X" % match[0][0], octets).decode("ascii")
