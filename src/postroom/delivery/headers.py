"""A scan of the header section of content on its way to storage.

It finds a few facts about a header: whether there is one, where it ends, how many Received fields
it has, where its Return-Path fields are, whether it is ASCII, and whether it waives TLS. It decodes
nothing, and never looks at a body.

Theory: chunks are kept until the header section has ended, which is at the first empty line or,
for content that has no header or a broken one, at the first line that is neither a field nor the
continuation of one. Each whole line is matched once, by one pattern that never tries anything
twice; a chunk that ends no line costs a search for LF.
The time is linear in the octets whatever the chunks are, and so is the memory, up to the limit.

Who controls the input: the sender, every octet.
"""

from collections.abc import Sequence
from typing import Final

from postroom.delivery.settings import DeliverySettings
from postroom.errors import Refusal
from postroom.wire.fields import FIELD_BEGUN, FIELD_LINES, field_pattern
from postroom.wire.replies import reply

_RETURN_PATH = field_pattern("return-path")
# TLS-Required = "TLS-Required" ":" [FWS] "No" CRLF                                 RFC 8689 s3
_TLS_REQUIRED = field_pattern("tls-required")
TOO_LARGE: Final = reply(552, "5.3.4", "Header section too large")
TOO_MANY_LINES: Final = reply(552, "5.3.4", "Too many lines in the header section")
TOO_MANY_HOPS: Final = reply(554, "5.4.6", "Too many hops: this message is in a loop")


class HeaderScan:
    """Reads the header section of one message, chunk by chunk.

    Attributes:
        body_at: where the body begins, counted in octets from the start of the content; until the
            section has ended, how far it is known to reach.
        headless: True if there is no header section at all: the content begins like a body.
        received: the number of Received fields; 0 until the section has ended.
        return_paths: the ``(start, end)`` of each Return-Path field, its line ends included.
        section: the header section, without the blank line; empty until it has ended.
        tls_optional: True if there is one field ``TLS-Required: No``.

    RFC 5322 s2.1, s2.2
    """

    def __init__(self, settings: DeliverySettings) -> None:
        """Start before the first octet."""
        self._settings = settings
        self._head: bytearray | None = None
        self.body_at = 0
        self.headless = False
        self.received = 0
        self.return_paths: Sequence[tuple[int, int]] = ()
        self.section = b""
        self.tls_optional = False

    @property
    def eight_bit(self) -> bool:
        """True if the header is not ASCII."""
        return not self.section.isascii()

    def feed(self, chunk: bytes) -> bool:
        """Read the next piece of the content.

        Returns:
            True if the header section ended in it: no further piece is of interest.

        Raises:
            Refusal: 552 5.3.4 the section is too large or has too many lines, 554 5.4.6 a loop.

        RFC 5321 s6.3
        """
        if self._head is None:
            head: bytes | bytearray = chunk  # nearly always the whole section: not copied
        else:
            self._head += chunk
            head = self._head
        if b"\n" in chunk and self._advance(head):
            return True
        if len(head) > self._settings.header_octets:
            raise Refusal(TOO_LARGE)
        if self._head is None:
            self._head = bytearray(chunk)
        return False

    def end(self) -> None:
        """Finish: the content is over, though its header section has not ended.

        Raises:
            Refusal: as `feed`.
        """
        if self._head is not None:
            self._finish(self._head, len(self._head))

    def _advance(self, head: bytes | bytearray) -> bool:
        """Match whole lines from where the last match ended; return whether the section ended."""
        match = FIELD_LINES.match(head, self.body_at)
        end = self.body_at = match.end() if match is not None else self.body_at
        line_end = head.find(b"\n", end)
        if line_end < 0:
            return False
        if head[end : line_end + 1] in (b"\r\n", b"\n"):
            self.body_at = line_end + 1
        self._finish(head, end)
        return True

    def _finish(self, head: bytes | bytearray, end: int) -> None:
        section = self.section = bytes(head[:end])
        self._head = None
        bare = self.body_at == 0 and FIELD_BEGUN.match(head) is None
        self.headless = bare or head.startswith((b" ", b"\t"))
        if len(section) > self._settings.header_octets:
            raise Refusal(TOO_LARGE)
        if section.count(b"\n") > self._settings.header_lines:
            raise Refusal(TOO_MANY_LINES)
        folded = b"\n" + section.lower()
        self.received = folded.count(b"\nreceived:") + folded.count(b"\nreceived :")
        if self.received >= self._settings.received_fields:
            raise Refusal(TOO_MANY_HOPS)
        if b"\nreturn-path" in folded:
            self.return_paths = [match.span() for match in _RETURN_PATH.finditer(section)]
        if b"\ntls-required" in folded:
            # More than one such field is none (RFC 8689 s3).
            fields = _TLS_REQUIRED.findall(section)
            self.tls_optional = len(fields) == 1 and fields[0][1].strip().lower() == b"no"
