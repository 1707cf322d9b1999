"""Messages that mail software likes to damage, and what of a stored message was sent."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tests.daemon import wait_until

# Trace fields of ours, of Postfix (the Xs of its smtp-sink among them) and of Exim.
_TRACE = re.compile(
    rb"(?:(?:Return-Path|Delivered-To|Received|X-Original-To|X-(?:Client|Helo|Mail|Rcpt)-\w+):"
    rb"[^\n]*\n(?:[ \t][^\n]*\n)*)+"
)
_HEADER = (
    b"From: Sender <sender@remote.test>\r\n"
    b"To: ann@local.test\r\n"
    b"Date: Sat, 22 Nov 2025 14:03:07 +0100\r\n"
    b"Message-ID: <%s@remote.test>\r\n"
    b"Subject: interop\r\n"
)


def message(name: str, body: bytes) -> bytes:
    """Make a message with a usual header."""
    return _HEADER % name.encode("ascii") + b"\r\n" + body


PLAIN = message("plain", b"Hello,\r\n\r\nworld.\r\n")

# Every client and every next hop has to carry these.
HARD: dict[str, bytes] = {
    "plain": PLAIN,
    "dots": message("dots", b".\r\n..\r\n...\r\n.leading\r\n..two\r\nend.\r\n.\r\n"),
    "eight_bit": message("eight-bit", "Grüße, κόσμε, 世界\r\n".encode() + bytes(range(128, 256)))
    + b"\r\n",
    "long_lines": message("long", b"".join(b"%04d" % n + b"x" * 994 + b"\r\n" for n in range(20))),
    "blanks": message("blanks", b"  \r\n\t\r\ntrailing \t \r\n\r\n\r\n\r\n"),
    "big": message("big", b"".join(b"%070d\r\n" % n for n in range(8000))),
}

# These break the format of messages, or nearly so; not every client takes them.
ODD: dict[str, bytes] = {
    "empty_body": _HEADER % b"empty",
    "only_blank_line": _HEADER % b"blank" + b"\r\n",
    "dot_first": b".Dot: first\r\n\r\n.\r\n",
    "no_header": b"\r\nnothing but a body\r\n",
}


def delivered(stored: bytes) -> bytes:
    """Give what was sent, of what a Maildir or a next hop holds: all but the trace fields on top.

    Raises:
        ValueError: there are none.
    """
    match = _TRACE.match(stored)
    if match is None:
        raise ValueError(f"no trace fields: {stored[:200]!r}")
    return stored[match.end() :]


def lines(content: bytes) -> bytes:
    """Give content with LF for CRLF, as programs that keep mail on UNIX hold it."""
    return content.replace(b"\r\n", b"\n")


def as_sent(stored: bytes) -> bytes:
    """Give a Maildir file with the line ends that the message had on its way."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", stored)


class Folder:
    """Files that appear in a directory, such as ``new`` of a Maildir."""

    def __init__(self, path: Path) -> None:
        """Take the directory; it need not exist."""
        self.path = path
        self._known: set[str] = set()
        self.arrived()

    def contents(self) -> list[bytes]:
        """Give the contents of all files; one that is being written may be there in part."""
        return [self._read(name) for name in sorted(self._names())]

    def arrived(self) -> list[bytes]:
        """Give the contents of files that were not there when this was last asked."""
        names = {name for name in self._names() if name not in self._known}
        self._known |= names
        return [self._read(name) for name in sorted(names)]

    def wait(self, count: int = 1, seconds: float = 30) -> list[bytes]:
        """Wait for so many new files; give their contents, or those that came in time."""
        found: list[bytes] = []
        wait_until(lambda: found.extend(self.arrived()) or len(found) >= count, seconds)
        return found

    def _read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def _names(self) -> Iterable[str]:
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return ()


class Inbox(Folder):
    """``new`` of one of our Maildirs, read as IMAP gives it out: with CRLF."""

    def _read(self, name: str) -> bytes:
        return as_sent(super()._read(name))
