"""Delivery status notifications: reports to the sender of a message about its recipients.

A report is a ``multipart/report`` of three parts: a text for people, a delivery status for
programs, and the message itself; only its header if the sender asked for that (RET=HDRS), if it
must not go without TLS, if nothing has failed, or if it is over 64 KiB (RFC 3464 s2, RFC 6522 s3),
so that nobody can send large mail to bad addresses in somebody else's name and have us fill that
person's mailbox. It comes from the null sender, so that it can never cause another.

A report of an internationalised message is internationalised too: its parts are of the global
types, and its envelope has SMTPUTF8 (RFC 6533). A report has its message's priority, and where
that must not go without TLS, neither must the report (RFC 6710 s4.6, RFC 8689 s5).

Who controls the input: the remote server writes the replies, the sender the whole message, and the
report goes to a third party who may be innocent.

- Replies are cut to 500 characters, and whatever is not printable ASCII becomes ``?``; only then
  are they folded. No reply can begin a field, a line or a part of its own.
- Addresses are printable by their grammar, and pass the same filter again; in a global report
  characters of any script are allowed, but no controls. ENVID and ORCPT come decoded.
- The boundary is random, 128 bits, and drawn again should it occur in the message.
- The message goes in as it is, 8-bit octets included; the part and the whole then declare ``8bit``
  and the report's envelope ``BODY=8BITMIME``.

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

from zope.interface import implementer

from postroom.envelope import Action, NewMessage, Notice, Trait, new_queue_id
from postroom.interfaces import IChunkSource, IContent
from postroom.later import result_of
from postroom.queue.model import Report
from postroom.wire.commands import Rcpt
from postroom.wire.fields import field_pattern
from postroom.wire.line_ends import only_crlf
from postroom.wire.parameters import BODY, BY, ENVID, HOLDFOR, ORCPT, RET
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply

RETURNED_OCTETS: Final = 64 * 1024
"""A message up to this size is returned whole; of a header no more than this is returned."""

_REPLY_CHARACTERS: Final = 500
_LINE_CHARACTERS: Final = 76
_CHUNK_OCTETS: Final = 256 * 1024

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_UNCLEAN = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_MESSAGE_ID_FIELD = field_pattern("message-id")
# msg-id without its folding and quoting: enough to quote one that is sound.    RFC 5322 s3.6.4
_MESSAGE_ID = re.compile(rb"[ \t]*(<[!-;=?-~]{1,250}>)[ \t]*\r")


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
        """Create it from all octets."""
        starts = range(0, len(octets), _CHUNK_OCTETS)
        self._pieces = tuple(octets[start : start + _CHUNK_OCTETS] for start in starts)
        self.size_octets = len(octets)

    def chunks(self) -> Iterator[bytes]:
        """See `IContent.chunks`."""
        return iter(self._pieces)

    def in_memory(self) -> Sequence[bytes]:
        """See `IContent.in_memory`."""
        return self._pieces


async def read_original(source: IChunkSource, header_only: bool = False) -> Original:
    """Read as much of a message as a report of it returns.

    Args:
        source: its content.
        header_only: True to return no more than that, however small the message is.

    Raises:
        Exception: whatever reading the source raises.

    RFC 6522 s3, s4
    """
    whole = source.size_octets <= RETURNED_OCTETS and not header_only
    octets = b""
    index = 0
    while len(octets) <= RETURNED_OCTETS and (whole or b"\r\n\r\n" not in octets):
        piece = await result_of(source.chunk(index))
        if not piece:
            break
        octets += piece
        index += 1
    return Original(octets, True) if whole else header_of(octets)


def header_of(octets: bytes) -> Original:
    """Return what a report returns of a message whose content starts so, without its body."""
    return Original(_header(octets[:RETURNED_OCTETS]), False)


def returns_header_only(message: NewMessage, notices: Sequence[Notice]) -> bool:
    """Return whether a report returns no more than the header.

    RFC 3461 s4.3; RFC 8689 s5
    """
    return (
        RET.of(message.parameters) == "HDRS"
        or BODY.of(message.parameters) == "BINARYMIME"
        or "REQUIRETLS" in message.parameters
        or all(notice.action is not Action.FAILED for notice in notices)
    )


def _header(octets: bytes) -> bytes:
    """Return the header; if its end is not there, the whole lines that are."""
    header, blank, _ = octets.partition(b"\r\n\r\n")
    if not blank:
        header, _, _ = octets.rpartition(b"\r\n")
    return header + b"\r\n"


def make_report(
    hostname: str,
    message: NewMessage,
    original: Original,
    notices: Sequence[Notice],
    now: float,
) -> Report:
    """Return the report to the sender of a message about some of its recipients.

    Args:
        hostname: ours, for ``Reporting-MTA`` and the sender's address in the header.
        message: the one it is about; its sender must not be the null sender.
        original: what of it is returned.
        notices: at least one, all of the same action.
        now: POSIX time.

    Returns:
        A message from the null sender to the sender, ready for the queue.

    RFC 3461 s6; RFC 3464 s2; RFC 6522 s3; RFC 6533 s4; RFC 3834 s3; RFC 5321 s4.5.5, s6.1
    """
    if message.sender is None:
        raise ValueError("the null sender gets no report")
    host = _printable(hostname) or "localhost"
    original = _clean(original)
    boundary = _boundary(original.octets)
    words = _Words(is_international(message, notices))
    eight_bit = words.utf8 or _EIGHT_BIT.search(original.octets) is not None
    encoding = ["Content-Transfer-Encoding: 8bit"] if eight_bit else []
    new = _report_message(message, message.sender, eight_bit, words.utf8, now)
    lines = [
        *_head(host, new, original, notices[0].action, words),
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        *encoding,
        "",
        "This is a report in MIME format about a message that you sent.",
    ]
    own = ["Content-Transfer-Encoding: 8bit"] if words.utf8 else []
    for part in (
        [f"Content-Type: text/plain; charset={words.charset}", *own, "",
         *_text(host, message, notices, words)],
        [f"Content-Type: {words.status_type}", *own, "",
         *_status(host, message, notices, now, words)],
        [f"Content-Type: {words.returned_type(original.whole)}", *encoding, "", ""],
    ):  # fmt: skip
        lines += ["", f"--{boundary}", *part]
    start = "\r\n".join(lines).encode("utf-8")
    return Report(new, ReportContent(start + original.octets + f"\r\n--{boundary}--\r\n".encode()))


def _clean(original: Original) -> Original:
    """Replace what text may not contain, or the report could never be sent.

    RFC 5321 s2.3.8
    """
    octets = original.octets
    if only_crlf(octets) and b"\0" not in octets:
        return original
    return Original(_UNCLEAN.sub(b"?", octets), original.whole)


def is_international(message: NewMessage, notices: Sequence[Notice]) -> bool:
    """Return whether a report has to quote what is not ASCII. RFC 6533 s4."""
    if message.sender is not None and not message.sender.is_ascii:
        return True
    if "SMTPUTF8" not in message.parameters:
        return False
    header = bool(message.traits & Trait.UTF8_HEADER)
    return header or not all(notice.rcpt.forward_path.is_ascii for notice in notices)


@dataclass(frozen=True, slots=True)
class _Words:
    """The language and types of a report.

    Attributes:
        utf8: True for UTF-8, False for ASCII.
    """

    utf8: bool

    @property
    def charset(self) -> str:
        return "utf-8" if self.utf8 else "us-ascii"

    @property
    def status_type(self) -> str:
        return "message/global-delivery-status" if self.utf8 else "message/delivery-status"

    def returned_type(self, whole: bool) -> str:
        if self.utf8:
            return "message/global" if whole else "message/global-headers"
        return "message/rfc822" if whole else "text/rfc822-headers"

    def clean(self, text: str) -> str:
        """Return text without anything that could end a line or move a cursor."""
        if not self.utf8:
            return _printable(text)
        return "".join(each if each.isprintable() else "?" for each in text)

    def typed(self, address: Mailbox) -> str:
        """Return an address after its type. RFC 3464 s2.3.1; RFC 6533 s3."""
        if self.utf8 and not address.is_ascii:
            return f"utf-8; {self.clean(str(address))}"
        return f"rfc822; {_printable(str(address))}"

    def original(self, rcpt: Rcpt) -> list[str]:
        """Return the field with the original recipient. RFC 3464 s2.3.1."""
        original = ORCPT.of(rcpt.parameters)
        if original is None:
            return []
        kind = _printable(original.address_type)
        if kind.lower() == "utf-8" and not self.utf8:
            address = original.encoded.partition(";")[2]
        else:
            address = self.clean(original.address.decode("utf-8", "replace"))
        return [f"Original-Recipient: {kind}; {address}"]


def _report_message(
    message: NewMessage, sender: Mailbox, eight_bit: bool, utf8: bool, now: float
) -> NewMessage:
    """Return the envelope of a report.

    RFC 3461 s6.1; RFC 6533 s4; RFC 6710 s4.6; RFC 8689 s5
    """
    parameters: dict[str, str | None] = {}
    if eight_bit:
        parameters["BODY"] = "8BITMIME"
    if utf8:
        parameters["SMTPUTF8"] = None
    if "REQUIRETLS" in message.parameters:
        parameters["REQUIRETLS"] = None
    if message.priority:
        parameters["MT-PRIORITY"] = str(message.priority)
    return NewMessage(
        new_queue_id(),
        None,
        (Rcpt(sender, {"NOTIFY": "NEVER"}),),
        now,
        parameters,
        priority=message.priority,
        traits=message.traits & (Trait.TLS_OPTIONAL | (Trait.UTF8_HEADER if utf8 else 0)),
    )


def _boundary(octets: bytes) -> str:
    """Return a random boundary that does not occur in the octets.

    RFC 2046 s5.1.1
    """
    while True:
        boundary = secrets.token_hex(16)
        if boundary.encode("ascii") not in octets:
            return boundary


def _head(
    host: str, new: NewMessage, original: Original, action: Action, words: _Words
) -> list[str]:
    """Return the report's header up to its type."""
    return [
        f"Date: {_date(new.received_at)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{host}>",
        f"To: <{words.clean(str(new.recipients[0].forward_path))}>",
        f"Subject: {_SUBJECTS[action]}",
        f"Message-ID: <{new.id}.{secrets.token_hex(8)}@{host}>",
        *_thread(original),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
    ]


def _thread(original: Original) -> list[str]:
    """Return fields that refer to the original, so that mail readers show the two together.

    RFC 3834 s3.1.5
    """
    for _, value in _MESSAGE_ID_FIELD.findall(_header(original.octets)):
        found = _MESSAGE_ID.fullmatch(value)
        if found is not None:
            message_id = found[1].decode("ascii")
            return [f"In-Reply-To: {message_id}", f"References: {message_id}"]
    return []


_SUBJECTS: Final = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
    Action.EXPANDED: "Your message was sent to a list",
}

_OPENINGS: Final = {
    Action.FAILED: (
        "Your message could not be delivered to the recipients below, and no further",
        "attempt will be made. The reasons:",
    ),
    Action.DELAYED: (
        "Your message could not be delivered to the recipients below yet. You need not",
        "send it again: further attempts will be made. The reasons so far:",
    ),
    Action.DELIVERED: ("Your message was delivered to the mailboxes of these recipients:",),
    Action.RELAYED: (
        "Your message was passed on to mail servers that do not report deliveries, so",
        "you will get no further report about it unless it fails:",
    ),
    Action.EXPANDED: (
        "Your message was sent on to several recipients in place of those below. You",
        "will get no report about each of them unless one fails:",
    ),
}


def _text(host: str, message: NewMessage, notices: Sequence[Notice], words: _Words) -> list[str]:
    """Return the part for people.

    RFC 6522 s3
    """
    lines = [f"This is the mail server {host}.", "", *_OPENINGS[notices[0].action]]
    for notice in notices:
        failed = notice.action is Action.FAILED
        tried = (
            "not delivered within the time limit; at the last attempt "
            if notice.expired and failed
            else ""
        )
        said = f"{_printable(notice.remote)} replied:" if notice.remote else "the reply was:"
        answer = f"{tried}{said} {_answer(notice.reply)}"
        address = words.clean(str(notice.rcpt.forward_path))
        lines += ["", f"<{address}>:", *_wrapped(f"    {answer}", "    ")]
    return [
        *lines,
        "",
        f"Your message was accepted on {_date(message.received_at)}",
        f"and had the queue id {_printable(message.id)}.",
    ]


def _status(
    host: str, message: NewMessage, notices: Sequence[Notice], now: float, words: _Words
) -> list[str]:
    """Return the part for programs: fields for the message, then for each recipient.

    RFC 3464 s2.1, s2.2, s2.3
    """
    lines = [
        *_envelope_id(message),
        f"Reporting-MTA: dns; {host}",
        f"X-Postroom-Queue-Id: {_printable(message.id)}",
        f"Arrival-Date: {_date(message.received_at)}",
        *_request_fields(message),
    ]
    for notice in notices:
        name = _printable(notice.remote.partition("[")[0] or notice.remote)
        lines += [
            "",
            *words.original(notice.rcpt),
            f"Final-Recipient: {words.typed(notice.rcpt.forward_path)}",
            f"Action: {notice.action.value}",
            f"Status: {notice.status}",
            *([f"Remote-MTA: dns; {name}"] if name else []),
            *_wrapped(f"Diagnostic-Code: smtp; {_answer(notice.reply)}", " "),
            f"Last-Attempt-Date: {_date(now)}",
        ]
    return lines


def _envelope_id(message: NewMessage) -> list[str]:
    """Return the field with the sender's own name for the transaction. RFC 3464 s2.2.1."""
    envelope_id = ENVID.of(message.parameters)
    if not envelope_id:
        return []
    return [f"Original-Envelope-Id: {_printable(envelope_id.decode('ascii', 'replace'))}"]


def _request_fields(message: NewMessage) -> list[str]:
    """Return the fields for what the sender requested. RFC 2852 s5; RFC 4865 s5.1."""
    lines = []
    by = BY.of(message.parameters)
    if by is not None:
        lines.append(f"Deliver-By-Date: {_date(message.received_at + by.seconds)}")
    seconds = HOLDFOR.of(message.parameters)
    if seconds is not None:
        lines.append(f"Future-Release-Request: for;{seconds}")
    until = message.parameters.get("HOLDUNTIL")
    if until:
        lines.append(f"Future-Release-Request: until;{_printable(until)}")
    return lines


def _answer(answer: Reply) -> str:
    """Return a reply on one line, cut to what a report quotes."""
    text = _printable(str(answer))
    return text if len(text) <= _REPLY_CHARACTERS else text[:_REPLY_CHARACTERS] + " ..."


def _wrapped(text: str, indent: str) -> list[str]:
    """Break a line at spaces, or anywhere in a word too long; the later lines are indented."""
    return textwrap.wrap(text, _LINE_CHARACTERS, subsequent_indent=indent, break_on_hyphens=False)


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
