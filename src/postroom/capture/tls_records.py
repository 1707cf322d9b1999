"""Finds where TLS ends in what one side sends.

Only the headers of records are read. That is enough to find clear text behind TLS, as from a client
that continues in clear text after a failed handshake.

Who controls the input: both peers, every octet.
"""

from typing import Final

RECORD_TYPES: Final = range(20, 25)
"""From change_cipher_spec to heartbeat. RFC 8446 s5.1; RFC 6520 s3."""

_MAJOR_VERSION: Final = 3
_HEADER_OCTETS: Final = 5


class TLSRecords:
    """The TLS records of one direction."""

    def __init__(self, starts_of_text: bytes) -> None:
        """Create a reader that expects a record's header.

        Args:
            starts_of_text: the octets that clear text may begin with. Anything else that is not a
                record is taken for TLS too, of a kind that cannot be followed.
        """
        self._starts_of_text = starts_of_text
        self._header = b""
        self._octets_left = 0
        self._followed = True

    def take(self, octets: memoryview) -> int:
        """Return how many octets belong to TLS; what follows them is clear text.

        RFC 8446 s5.1
        """
        at = 0
        while self._followed and at < len(octets):
            if self._octets_left:
                step = min(self._octets_left, len(octets) - at)
                self._octets_left -= step
                at += step
            elif not self._header and octets[at] in self._starts_of_text:
                return at
            else:
                self._take_of_header(octets[at])
                at += 1
        return len(octets)

    def _take_of_header(self, octet: int) -> None:
        self._header += bytes((octet,))
        if len(self._header) == _HEADER_OCTETS:
            is_record = self._header[0] in RECORD_TYPES and self._header[1] == _MAJOR_VERSION
            self._followed = is_record
            self._octets_left = int.from_bytes(self._header[3:], "big")
            self._header = b""

    def lose(self, octets: int) -> None:
        """Skip a gap; if a record may start in it, everything behind it counts as TLS."""
        self._followed = self._followed and octets <= self._octets_left
        self._octets_left = max(self._octets_left - octets, 0)
