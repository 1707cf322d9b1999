"""Replies: what a server says.

A `Reply` is an immutable value that knows its own bytes. The constant replies of the server are
module-level values and are rendered once; only a reply whose text is made on the spot is rendered
on the path of a command. Rendering enforces the rules of the wire on any text: no CR, LF, NUL or
other control octet, no line over 512 octets.

Who controls the input: the server's own text, which may quote a peer's octets.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

LINE_OCTETS = 512
"""The longest reply line, CRLF included (RFC 5321 s4.5.3.1.5)."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


# status-code = class "." subject "." detail                        RFC 3463 s2
ENHANCED: Final = r"([245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2}))(?: |$)"


@dataclass(frozen=True)
class Reply:
    """One reply: a code, an enhanced status code, and lines of text.

    Attributes:
        code: the three-digit reply code.
        text: the lines, without code or enhanced code; at least one, which may be empty.
        enhanced: ``"5.1.1"``, or None for the replies that carry none (greeting, EHLO, 334, 354).
        utf8: whether the text may hold UTF-8, which only a peer that has asked for it may get.

    RFC 5321 s4.2; RFC 2034 s3; RFC 6531 s3.7.4
    """

    code: int
    text: tuple[str, ...] = ("",)
    enhanced: str | None = None
    utf8: bool = False

    @cached_property
    def wire(self) -> bytes:
        """The octets to send, every line ended by CRLF."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        room = LINE_OCTETS - 2 - 4 - len(prefix)
        if self.utf8:  # no character has more than four octets
            parts = [_cut(_printable(line), room // 4) for line in self.text]
        else:
            parts = [_cut(_UNPRINTABLE.sub("?", line), room) for line in self.text]
        lines = [part for line in parts for part in line]
        first = "".join(f"{self.code}-{prefix}{line}\r\n" for line in lines[:-1])
        return f"{first}{self.code} {prefix}{lines[-1]}\r\n".encode()

    @property
    def positive(self) -> bool:
        """True for 2yz and 3yz: the command did what it said."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """True for 4yz: trying again later may succeed."""
        return 400 <= self.code < 500

    def __str__(self) -> str:
        """Return the reply on one line, as logs and bounces show it."""
        words = [str(self.code), self.enhanced or "", " ".join(self.text)]
        return " ".join(word for word in words if word)


def reply(code: int, enhanced: str | None, *text: str) -> Reply:
    """Make a reply from its lines; the shorthand in which the constants are written.

    RFC 5321 s4.2
    """
    return Reply(code, text or ("",), enhanced)


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in line)


def _cut(line: str, room: int) -> list[str]:
    return [line[i : i + room] for i in range(0, len(line), room)] or [""]
