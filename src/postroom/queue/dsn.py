"""Delivery status notifications: what the sender of a message is told when it failed.

A report is a ``multipart/report`` of three parts: a text for people, a delivery status for
programs, and the message itself; of a message over 64 KiB only its header (RFC 3464 s2, RFC 6522
s3), since whoever sends large mail to bad addresses in somebody's name must not have that person's
mailbox filled by us. It comes from the null sender, so that it can never cause another.

Who controls the input: the remote server writes the replies and whoever sent the message its every
octet, and the report is delivered to a third who may be innocent.

- Replies are cut to 500 characters, and whatever is not printable ASCII becomes ``?``; only then
  are they folded. No reply can begin a field, a line or a part of its own.
- Addresses are printable by their grammar, and pass the same filter again.
- The boundary is random, 128 bits, and drawn again should it occur in the message.
- The message goes in as it is, 8-bit octets included; the part and the whole then say ``8bit`` and
  the report's envelope ``BODY=8BITMIME``.

Known limits: text in English only; no part is encoded, so a report of an 8-bit message cannot go to
a next hop without 8BITMIME other than by the client's rules for that.
"""

import re
import secrets
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from postroom.envelope import NewMessage, new_queue_id
from postroom.interfaces import IChunkSource, IContent
from postroom.queue.model import Report
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply

RETURNED_OCTETS: Final = 64 * 1024
"""A message up to this size is returned whole; of a header no more than this is returned."""

_REPLY_CHARACTERS: Final = 500
_LINE_CHARACTERS: Final = 76
_CHUNK_OCTETS: Final = 256 * 1024

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
# msg-id without its folding and quoting: enough to quote one that is sound.    RFC 5322 s3.6.4
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(<[!-;=?-~]{1,250}>)[ \t]*\r$", re.I | re.M)


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """A recipient that is given up.

    Attributes:
        address: the forward-path.
        reply: the last answer about it.
        remote: the host that gave it, as `Sent.remote`; empty if none did.
        expired: True if it was tried until its time was over, False if it was refused.
    """

    address: Mailbox
    reply: Reply
    remote: str = ""
    expired: bool = False

    @property
    def status(self) -> str:
        """The status code of the failure: 5.4.7 if it expired, else the reply's.

        RFC 3463 s3.5; RFC 3464 s2.3.4
        """
        return "5.4.7" if self.expired else self.reply.enhanced or "5.0.0"


@dataclass(frozen=True, slots=True)
class Original:
    """The message that failed, as it is returned.

    Attributes:
        octets: all of it, or its header.
        whole: True for all of it.
    """

    octets: bytes
    whole: bool


@implementer(IContent)
class ReportContent:
    """A report's content, in memory."""

    def __init__(self, octets: bytes) -> None:
        """Take the whole of it."""
        starts = range(0, len(octets), _CHUNK_OCTETS)
        self._pieces = tuple(octets[start : start + _CHUNK_OCTETS] for start in starts)
        self.size_octets = len(octets)

    def chunks(self) -> Iterator[bytes]:
        """See `IContent.chunks`."""
        return iter(self._pieces)

    def in_memory(self) -> Sequence[bytes]:
        """See `IContent.in_memory`."""
        return self._pieces


async def read_original(source: IChunkSource) -> Original:
    """Read as much of a message as a report of it returns.

    Raises:
        Exception: whatever reading the source raises.

    RFC 6522 s3, s4
    """
    whole = source.size_octets <= RETURNED_OCTETS
    octets = b""
    index = 0
    while len(octets) <= RETURNED_OCTETS and (whole or b"\r\n\r\n" not in octets):
        piece = source.chunk(index)
        piece = await piece if isinstance(piece, Deferred) else piece
        if not piece:
            break
        octets += piece
        index += 1
    if whole:
        return Original(octets, True)
    return Original(_header(octets[:RETURNED_OCTETS]), False)


def _header(octets: bytes) -> bytes:
    """Give the header; if its end is not in sight, the lines that are."""
    header, blank, _ = octets.partition(b"\r\n\r\n")
    if not blank:
        header, _, _ = octets.rpartition(b"\r\n")
    return header + b"\r\n"


def make_report(
    hostname: str,
    message: NewMessage,
    original: Original,
    failed: Sequence[FailedRecipient],
    now: float,
) -> Report:
    """Make the report that tells the sender of a message which recipients are given up.

    Args:
        hostname: ours, for ``Reporting-MTA`` and the sender's address in the header.
        message: the one that failed; its sender must not be the null sender.
        original: what of it is returned.
        failed: at least one.
        now: POSIX time.

    Returns:
        A message from the null sender to the sender, ready for the queue.

    RFC 3464 s2; RFC 6522 s3; RFC 3834 s3; RFC 5321 s4.5.5, s6.1
    """
    if message.sender is None:
        raise ValueError("the null sender gets no report")
    host = _printable(hostname) or "localhost"
    boundary = _boundary(original.octets)
    eight_bit = _EIGHT_BIT.search(original.octets) is not None
    encoding = ["Content-Transfer-Encoding: 8bit"] if eight_bit else []
    new = NewMessage(
        new_queue_id(),
        None,
        (Rcpt(message.sender),),
        now,
        {"BODY": "8BITMIME"} if eight_bit else {},
    )
    kind = "message/rfc822" if original.whole else "text/rfc822-headers"
    lines = [
        *_head(host, new, original),
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        *encoding,
        "",
        "This is a MIME message; its parts say what became of your mail.",
    ]
    for part in (
        ["Content-Type: text/plain; charset=us-ascii", "", *_text(host, message, failed)],
        ["Content-Type: message/delivery-status", "", *_status(host, message, failed, now)],
        [f"Content-Type: {kind}", *encoding, "", ""],
    ):
        lines += ["", f"--{boundary}", *part]
    start, end = "\r\n".join(lines).encode("ascii"), f"\r\n--{boundary}--\r\n".encode("ascii")
    return Report(new, ReportContent(start + original.octets + end))


def _boundary(octets: bytes) -> str:
    """Draw a boundary that does not occur in the octets.

    RFC 2046 s5.1.1
    """
    while True:
        boundary = secrets.token_hex(16)
        if boundary.encode("ascii") not in octets:
            return boundary


def _head(host: str, new: NewMessage, original: Original) -> list[str]:
    """Write the report's header up to its type."""
    return [
        f"Date: {_date(new.received_at)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{host}>",
        f"To: <{_printable(str(new.recipients[0].forward_path))}>",
        "Subject: Your message could not be delivered",
        f"Message-ID: <{new.id}.{secrets.token_hex(8)}@{host}>",
        *_thread(original),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
    ]


def _thread(original: Original) -> list[str]:
    """Refer to the original, so that the sender's mail reader puts the two together.

    RFC 3834 s3.1.5
    """
    found = _MESSAGE_ID.search(_header(original.octets))
    if found is None:
        return []
    message_id = found[1].decode("ascii")
    return [f"In-Reply-To: {message_id}", f"References: {message_id}"]


def _text(host: str, message: NewMessage, failed: Sequence[FailedRecipient]) -> list[str]:
    """Write the part for people.

    RFC 6522 s3
    """
    lines = [
        f"This is the mail server {host}.",
        "",
        "Your message could not be delivered to the recipients below, and no further",
        "attempt will be made. What became of it:",
    ]
    for recipient in failed:
        tried = "tried for days; in the end " if recipient.expired else ""
        said = f"{_printable(recipient.remote)} said:" if recipient.remote else "the answer was:"
        words = f"{tried}{said} {_answer(recipient.reply)}"
        address = _printable(str(recipient.address))
        lines += ["", f"<{address}>:", *_wrapped(f"    {words}", "    ")]
    return [
        *lines,
        "",
        f"Your message came here on {_date(message.received_at)}",
        f"and had the queue id {_printable(message.id)}.",
    ]


def _status(
    host: str, message: NewMessage, failed: Sequence[FailedRecipient], now: float
) -> list[str]:
    """Write the part for programs: fields for the message, then for each recipient.

    RFC 3464 s2.1, s2.2, s2.3
    """
    lines = [
        f"Reporting-MTA: dns; {host}",
        f"X-Postroom-Queue-Id: {_printable(message.id)}",
        f"Arrival-Date: {_date(message.received_at)}",
    ]
    for recipient in failed:
        name = _printable(recipient.remote.partition("[")[0] or recipient.remote)
        lines += [
            "",
            f"Final-Recipient: rfc822; {_printable(str(recipient.address))}",
            "Action: failed",
            f"Status: {recipient.status}",
            *([f"Remote-MTA: dns; {name}"] if name else []),
            *_wrapped(f"Diagnostic-Code: smtp; {_answer(recipient.reply)}", " "),
            f"Last-Attempt-Date: {_date(now)}",
        ]
    return lines


def _answer(answer: Reply) -> str:
    """Give a reply on one line, as much of it as is told."""
    text = _printable(str(answer))
    return text if len(text) <= _REPLY_CHARACTERS else text[:_REPLY_CHARACTERS] + " ..."


def _wrapped(text: str, indent: str) -> list[str]:
    """Break a line at spaces, or anywhere in a word too long; the later lines are indented."""
    return textwrap.wrap(text, _LINE_CHARACTERS, subsequent_indent=indent, break_on_hyphens=False)


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
