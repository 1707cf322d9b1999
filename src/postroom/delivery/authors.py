"""Who a message says it is from, for the mail of those who have logged in.

`AuthorScan` reads the header section alone, up to the empty line, and checks three things in it:
how many From fields there are, how many Sender fields, and whom they name. More than one of either
is refused, because mail readers do not agree on which of them counts. Content without any header
section is body from its first line on, and what looks like a field there is not checked
(`postroom.wire.fields` defines what a field is).

A field whose addresses are checked is parsed strictly: an address that only some programs would
find in it is as bad as somebody else's.

Who controls the input: the sender, every octet. The length of a field that is read is bounded.
"""

import re
from collections.abc import Sequence
from email.headerregistry import HeaderRegistry
from typing import Any, Final

from postroom.errors import Refusal
from postroom.wire.fields import FIELD_BEGUN, field_pattern
from postroom.wire.paths import Mailbox, PathError, parse_mailbox
from postroom.wire.replies import reply

SEVERAL_FROM: Final = reply(550, "5.6.0", "More than one From field")
SEVERAL_SENDER: Final = reply(550, "5.6.0", "More than one Sender field")
UNREADABLE: Final = reply(550, "5.7.1", "From or Sender has no valid or unambiguous address")
TOO_LARGE: Final = reply(552, "5.3.4", "Header section too large")
FIELD_OCTETS: Final = 1000
"""The longest field that is read for addresses: reading one costs time with its length squared."""

# from   = "From:" mailbox-list CRLF      sender = "Sender:" mailbox CRLF       RFC 5322 s3.6.2
_FIELD = field_pattern("from", "sender")
# As `postroom.delivery.mailbox_lines` sees them.
_MAILBOX_LINES = re.compile(rb"(?:>{0,64}From [^\n]*+\n)*")
_make_header: Any = HeaderRegistry()


class AuthorScan:
    """Reads the header section of one message, chunk by chunk.

    RFC 5322 s3.6.2; RFC 6409 s8.1
    """

    def __init__(self, limit_octets: int) -> None:
        """Start before the first octet, with the longest header section that is accepted."""
        self._limit = limit_octets
        self._head: bytearray | None = bytearray()
        self._first_line: int | None = 0
        self._fields: list[tuple[bytes, bytes]] = []

    def feed(self, chunk: bytes) -> None:
        """Read the next piece of the content.

        Raises:
            Refusal: 550 5.6.0 several From or Sender fields, 552 5.3.4 too much header.
        """
        head = self._head
        if head is None:
            return
        since = max(len(head) - 3, 0)
        head += chunk
        if self._first_line is not None and b"\n" in chunk and self._lacks_header(head):
            self._head = None
            return
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", since)
        if end >= 0:
            self._finish(bytes(head[: end + 2]))
        elif len(head) > self._limit:
            raise Refusal(TOO_LARGE)

    def end(self) -> None:
        """Finish: the content is over.

        Raises:
            Refusal: as `feed`.
        """
        if self._head is not None:
            self._finish(bytes(self._head) + b"\r\n")

    def authors(self) -> Sequence[Mailbox]:
        """Return everybody whom From and Sender name, after the header section has ended.

        Raises:
            Refusal: 550 5.7.1, a field cannot be read with certainty.
        """
        return [mailbox for _, value in self._fields for mailbox in _mailboxes(value)]

    def _lacks_header(self, head: bytearray) -> bool:
        """Check whether the first line is whole, mbox lines apart, and begins a body."""
        lines = _MAILBOX_LINES.match(head, self._first_line or 0)
        first = self._first_line = lines.end() if lines is not None else 0
        if head.find(b"\n", first) < 0:
            return False
        self._first_line = None
        return FIELD_BEGUN.match(head, first) is None

    def _finish(self, section: bytes) -> None:
        self._head = None
        self._fields = [(name.lower(), value) for name, value in _FIELD.findall(section)]
        names = [name for name, _ in self._fields]
        if names.count(b"from") > 1:
            raise Refusal(SEVERAL_FROM)
        if names.count(b"sender") > 1:
            raise Refusal(SEVERAL_SENDER)


def _mailboxes(value: bytes) -> Sequence[Mailbox]:
    if len(value) > FIELD_OCTETS:
        raise Refusal(UNREADABLE)
    try:
        text = value.replace(b"\r\n", b"").decode("utf-8").strip()
        header = _make_header("From", text)
        found = [parse_mailbox(each.addr_spec.encode("ascii")) for each in header.addresses]
    except (ValueError, PathError, RecursionError, IndexError, AttributeError):
        raise Refusal(UNREADABLE) from None
    if header.defects or not found or any(each.local_part == b"" for each in found):
        raise Refusal(UNREADABLE)
    return found
