"""The field lines of a header section: where fields begin, and how those of a name are found.

All who look into a header find fields with these patterns, so that all agree on what a field is.
Each repetition of octets is possessive: nothing is ever tried twice, and the time is linear in the
octets. Groups are repeated greedily, because a possessive group matches too much in Python before
3.11.5, which Debian 12 has; nothing that could fail stands after them, so that they never go back.

    fields       = *(field-name ":" unstructured CRLF)
    field-name   = 1*ftext
    ftext        = %d33-57 / %d59-126       ; printable, except ":"        RFC 5322 s3.6.8
    obs-optional = field-name *WSP ":" unstructured CRLF                   RFC 5322 s4.5.8

A bare LF ends a line too, as in files.

Who controls the input: the sender, every octet.
"""

import re
from typing import Final

FIELD_BEGUN: Final = re.compile(rb"[!-9;-~]++[ \t]*+:")
"""The name and the colon of a field."""

FIELD_LINES: Final = re.compile(rb"(?:(?:[!-9;-~]++[ \t]*+:|[ \t])[^\n]*+\n)*")
"""As many whole lines as are fields, or continuations of fields."""


def field_pattern(*names: str) -> re.Pattern[bytes]:
    """Return a pattern that finds the fields of some names in a header section.

    Its groups are the name, as it is written, and the body with its folding, without the last LF.
    A match includes that LF.

    Args:
        names: ASCII, in any case.

    RFC 5322 s2.2, s2.2.3
    """
    either = b"|".join(re.escape(name.encode("ascii")) for name in names)
    return re.compile(
        rb"^(" + either + rb")[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*)\n?+",
        re.IGNORECASE | re.MULTILINE,
    )
