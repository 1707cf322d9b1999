"""Replies as a client reads them, line by line.

Who controls the input: the remote server, whose every octet is hostile.
"""

import re
from typing import Final

from postroom.wire.errors import ReplyViolation
from postroom.wire.replies import ENHANCED, Reply

# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
# Reply-code = %x32-35 %x30-35 %x30-39                              RFC 5321 s4.2
# The second digit is taken up to 9: the first digit alone decides (s4.2.1), and 59x is seen.
REPLY_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n\0]*))?")

_enhanced = re.compile(ENHANCED)


class ReplyReader:
    """Reads replies, line by line, as a client.

    Bad input is refused at once: a line without a code, a code that changes within a reply, a NUL
    or a bare CR, more lines or octets than a server has any reason to send. The connection is
    useless after that: no reply can be matched with its command.

    RFC 5321 s4.2, s4.2.1
    """

    def __init__(self, max_lines: int = 100, max_octets: int = 32_768) -> None:
        """Create a reader; the limits hold for one reply."""
        self._max_lines = max_lines
        self._max_octets = max_octets
        self._lines: list[str] = []
        self._octets = 0
        self._code = 0

    @property
    def within(self) -> bool:
        """True while a multi-line reply has begun and not ended."""
        return bool(self._lines)

    def feed(self, line: bytes) -> Reply | None:
        """Accept one line, without its CRLF.

        Returns:
            The reply if this was its last line, else None.

        Raises:
            ReplyViolation: the peer does not speak SMTP; close the connection.
        """
        match = REPLY_LINE.fullmatch(line)
        if match is None:
            raise ReplyViolation("a line that is no reply", line)
        code, separator, text = int(match[1]), match[2], match[3] or b""
        if self._lines and code != self._code:
            raise ReplyViolation(f"code {code} within a reply of code {self._code}", line)
        self._code = code
        self._lines.append(text.decode("ascii", "replace"))
        self._octets += len(line)
        if len(self._lines) > self._max_lines or self._octets > self._max_octets:
            raise ReplyViolation("a reply without end", line[:80])
        if separator == b"-":
            return None
        lines, self._lines, self._octets = self._lines, [], 0
        return _with_enhanced(code, lines)


def _with_enhanced(code: int, lines: list[str]) -> Reply:
    """Return the reply, its enhanced code split off if the first line has one of its class."""
    match = _enhanced.match(lines[0])
    if match is None or match[1][0] != str(code)[0]:
        return Reply(code, tuple(lines))
    enhanced, prefix = match[1], match[1] + " "
    text = tuple("" if line == enhanced else line.removeprefix(prefix) for line in lines)
    return Reply(code, text, enhanced)
