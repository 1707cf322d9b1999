"""The fields that submission adds to a message that lacks them: Date and Message-ID.

Programs that send mail with a few lines of code often leave them out, and many hosts refuse such
mail or treat it as spam. Whoever submits a message is its origin, and we complete it in their
name; a message that is relayed belongs to somebody else, and stays as it is.

A missing field that a signature covers is not added: a signer who lists it asserts that there is
none, and the signature would break.

Who controls the input: the sender, the header section, whose length was limited before.
"""

import re
import time
from dataclasses import dataclass

from postroom.delivery.settings import SubmissionSettings
from postroom.delivery.trace import header_date
from postroom.wire.fields import field_pattern

_PRESENT = field_pattern("date", "message-id")
_SIGNATURE = field_pattern("dkim-signature", "arc-message-signature")
_BLANKS = re.compile(rb"[ \t\r\n]+")


@dataclass(frozen=True, slots=True)
class Completion:
    """Which fields are added to a submitted message.

    Attributes:
        hostname: what follows the ``@`` of a Message-ID.
        date: whether Date is added.
        message_id: whether Message-ID is added.
    """

    hostname: str
    date: bool
    message_id: bool

    @classmethod
    def by(cls, settings: SubmissionSettings, hostname: str) -> "Completion":
        """Make what the settings ask for."""
        return cls(hostname, settings.add_date, settings.add_message_id)

    def missing_fields(self, section: bytes, queue_id: str, at: float) -> bytes:
        """Return the fields that a message lacks, each with its line end.

        Args:
            section: the message's header section; empty if it has none.
            queue_id: the message's id, which makes the Message-ID unique.
            at: POSIX time of acceptance.

        RFC 6409 s8.2, s8.3; RFC 5322 s3.6.1, s3.6.4; RFC 6376 s5.4.2
        """
        if not (self.date or self.message_id):
            return b""
        taken = {name.lower() for name, _ in _PRESENT.findall(section)}
        if len(taken) == 2:  # as nearly always
            return b""
        taken |= _signed_names(section)
        added = ""
        if self.date and b"date" not in taken:
            added += f"Date: {header_date(int(at))}\r\n"
        if self.message_id and b"message-id" not in taken:
            stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(at))
            added += f"Message-ID: <{stamp}.{queue_id}@{self.hostname}>\r\n"
        return added.encode("ascii")


def _signed_names(section: bytes) -> frozenset[bytes]:
    """Return the names of the fields that signatures cover, in lower case.

    RFC 6376 s3.5; RFC 8617 s4.1.2
    """
    return frozenset(
        name.lower()
        for _, value in _SIGNATURE.findall(section)
        for tag in _BLANKS.sub(b"", value).split(b";")
        if tag[:2].lower() == b"h="
        for name in tag[2:].split(b":")
    )
