"""Stored passwords in foreign files and tables.

`postroom.logins.schemes` parses them. This module only decides whether there is a password at all,
and which mechanisms its scheme allows.
"""

from collections.abc import Iterable
from typing import Final

from postroom.credentials import Knowledge

_CLEAR: Final = ("{PLAIN}", "{CLEAR}", "{CLEARTEXT}")
_LOCKED: Final = ("*", "!")


def stored_password(text: str, default_scheme: str = "") -> tuple[str, ...]:
    """Return the forms of a stored password.

    Args:
        text: the value stored there; empty, or locked as in ``/etc/shadow`` (``!``, ``*``), if
            nobody can log in.
        default_scheme: the scheme of a value that names none, such as ``SSHA``; empty adds none,
            for a crypt hash that names its own.
    """
    if not text or text.startswith(_LOCKED):
        return ()
    if default_scheme and not text.startswith(("{", "$")):
        return (f"{{{default_scheme}}}{text}",)
    return (text,)


def knowledge_from(stored: Iterable[str]) -> frozenset[Knowledge]:
    """Return which mechanisms some stored passwords may allow."""
    found = {Knowledge.CHECKABLE}
    for text in stored:
        tag = text[: text.find("}") + 1].upper()
        if tag in _CLEAR:
            found.add(Knowledge.CLEAR_TEXT)
        elif tag == "{SCRAM-SHA-256}":
            found.add(Knowledge.SCRAM)
    return frozenset(found)
