"""Names of the files in Maildirs.

    name   = base [ ":2," flags ]
    base   = time "." unique "." host *( "," field )       field: S=octets, W=octets with CRLF
    flags  = letters, each once, in order of ASCII

Capital letters are the flags that every program knows (`FLAGS`); small ones are Dovecot's keywords,
whose meaning is in a file of its own in each folder. The base name identifies a message: Dovecot
stores the UID under it, and it stays the same when flags change.

Who controls the input: whoever may write into the Maildir. A name that is not of this form is a
base name without flags.
"""

import os
import re
import secrets
import time
from dataclasses import dataclass
from itertools import count
from typing import Final

from postroom.maildirs.line_ends import Sizes

FLAGS: Final = {
    "seen": "S",
    "answered": "R",
    "flagged": "F",
    "draft": "D",
    "deleted": "T",
    "forwarded": "P",
}
"""The flags by the names that people know from IMAP; ``forwarded`` is IMAP's ``$Forwarded``."""

_SIZE: Final = re.compile(r",S=([0-9]{1,18})(?=[,:]|$)")
_CRLF_SIZE: Final = re.compile(r",W=([0-9]{1,18})(?=[,:]|$)")
_counter = count()
_PROCESS: Final = secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class FileName:
    """A message's file name, parsed.

    Attributes:
        base: the base name.
        flags: letters.
    """

    base: str
    flags: str = ""

    @classmethod
    def parse(cls, name: str) -> "FileName":
        """Parse a name."""
        base, colon, rest = name.partition(":")
        if colon and not rest.startswith("2,"):
            return cls(base)
        return cls(base, rest[2:])

    @property
    def standard_flags(self) -> str:
        """The flags that mean the same in every folder."""
        return "".join(flag for flag in self.flags if flag in FLAGS.values())

    def flagged(self, add: str = "", remove: str = "") -> "FileName":
        """Return the name with other flags; a letter in both is removed."""
        flags = (set(self.flags) | set(add)) - set(remove)
        return FileName(self.base, "".join(sorted(flags)))

    def __str__(self) -> str:
        """Write the name as it is in ``cur/``."""
        return f"{self.base}:2,{self.flags}"


def size_in(name: str) -> int | None:
    """Return the size in octets that a file's name states, as Dovecot reads it; None if none."""
    found = _SIZE.search(name)
    return int(found[1]) if found else None


def crlf_size_in(name: str) -> int | None:
    """Return the size with CRLF that a file's name states; None if none."""
    found = _CRLF_SIZE.search(name)
    return int(found[1]) if found else None


def size_fields(sizes: Sizes) -> str:
    """Return the end of a base name that states the message's sizes, in Dovecot's order."""
    return f",S={sizes.octets},W={sizes.crlf_octets}"


def host_part(hostname: str) -> str:
    """Return a host name in the form used in a file's name.

    Slash and colon are written as maildir(5) prescribes; a comma would end the base name for
    Dovecot.
    """
    return hostname.replace("/", r"\057").replace(":", r"\072").replace(",", r"\054")


def new_base(fields: str = "") -> str:
    """Return a base name that no other message has, here or on another host.

    Args:
        fields: what ends it, such as `size_fields`.
    """
    unique = f"M{time.time_ns() // 1000 % 1_000_000:06}P{os.getpid()}R{_PROCESS}Q{next(_counter)}"
    return f"{int(time.time())}.{unique}.{host_part(os.uname().nodename)}{fields}"
