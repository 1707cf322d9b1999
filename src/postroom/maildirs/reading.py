"""Reading messages: their summary, text and attachments.

The standard library parses messages, within limits that bound its work: it gets the first `OCTETS`
and `LINES` of a message, fields longer than `FIELD_OCTETS` are cut, and it is stopped after `PARTS`
parts. That bounds the depth as well, since nested parts count. What exceeds the limits is left out,
and `Text.is_whole` is false.

Header fields may contain anything, in any charset or none. They are returned as text, whose control
characters have to be replaced before it is shown on a terminal.

A text part is shown, even if it has a file name, unless its disposition is attachment. Some
programs fold long fields even within the quoted boundary of parts. The boundary without the fold is
then found in the body, where it is on a line of its own.

Known limit: of HTML only the text between the tags is returned.

Who controls the input: whoever sent the mail.

RFC 2045; RFC 2047
"""

import codecs
import html
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesFeedParser
from email.policy import Compat32
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Final

HEADER_OCTETS: Final = 256 * 1024
"""As much of a message as is read in search of its header fields."""

OCTETS: Final = 4 * 1024 * 1024
LINES: Final = 50_000
PARTS: Final = 200
FIELD_OCTETS: Final = 2000

_FOLD: Final = re.compile(r"\r?\n([ \t]+)")
_TAG: Final = re.compile(r"<[^<>]*>")  # a bracket ends the search, so it takes one pass
_HIDDEN: Final = re.compile(r"<(style|script)\b[^<>]*>[^<]*</\1>", re.IGNORECASE)
# Codecs of Python that are no charsets of mail; some take time that grows with the square.
_NO_CHARSETS: Final = frozenset(
    ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "unicode-escape")
)


@dataclass(frozen=True, slots=True)
class Summary:
    """The header fields that a listing shows.

    Attributes:
        sender: the From field.
        recipients: the To field.
        subject: the Subject field.
        date: the Date field; None if it is missing or cannot be parsed.
    """

    sender: str
    recipients: str
    subject: str
    date: datetime | None


UNREADABLE: Final = Summary("", "", "", None)
"""Stands for what cannot be known."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the message's text.

    Attributes:
        name: its file name; may be empty.
        content_type: as in ``image/png``.
        size_octets: its length, decoded.
    """

    name: str
    content_type: str
    size_octets: int


@dataclass(frozen=True, slots=True)
class Text:
    """A message as text.

    Attributes:
        fields: name and value of each header field, in order.
        body: the text parts together, line ends as LF.
        attachments: the other parts.
        is_whole: False if something was left out because of the limits.
        names: the file names of all parts that have one.
    """

    fields: tuple[tuple[str, str], ...]
    body: str
    attachments: tuple[Attachment, ...]
    is_whole: bool
    names: tuple[str, ...] = ()


def summarise(file: BinaryIO) -> Summary:
    """Return the summary of a message; only its header is read."""
    fields = _parse(_header(file), [])
    return Summary(
        text_of(fields["From"]),
        text_of(fields["To"]),
        text_of(fields["Subject"]),
        date_of(fields["Date"]),
    )


def read_fields(file: BinaryIO) -> tuple[tuple[str, str], ...]:
    """Return the names and decoded values of a message's header fields."""
    return _fields(_parse(_header(file), []))


def read_text(file: BinaryIO) -> Text:
    """Return a message as text."""
    octets = file.read(OCTETS + 1)
    whole = len(octets) <= OCTETS
    lines = octets[:OCTETS].split(b"\n", LINES)
    if len(lines) > LINES:
        whole = whole and not lines.pop()
    cuts: list[None] = []
    message = _parse(b"\n".join(lines), cuts)
    parts = [part for part in message.walk() if not part.is_multipart()]
    return Text(
        _fields(message),
        "\n".join(_body_of(part) for part in parts if _is_shown(part)),
        tuple(_attachment(part) for part in parts if not _is_shown(part)),
        whole and not cuts,
        tuple(filter(None, map(_name_of, parts))),
    )


def text_of(value: Any) -> str:
    """Return a field unfolded and decoded (RFC 2047); what cannot be decoded stays as it is."""
    if value is None:
        return ""
    try:
        text = str(make_header(decode_header(value)))
    except (LookupError, ValueError, HeaderParseError):
        text = str(value)
    return " ".join(text.split())


def date_of(value: Any) -> datetime | None:
    """Parse a date; None if it is not valid."""
    try:
        found = parsedate_to_datetime(str(value))
        # "-0000" means that the zone is not known: RFC 5322 s3.3
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class _TooManyParts(Exception):
    """Stops the parser."""


class _Part(Message):
    """A message, or a part of one, whose boundary may be folded."""

    def __init__(self, whole: bytes) -> None:
        """Start a part.

        Args:
            whole: the message that it is in.
        """
        super().__init__(_ShortFields())
        self._whole = whole

    def get_boundary(self, failobj: Any = None) -> Any:
        """Return the boundary as it is in the body."""
        found = super().get_boundary(failobj)
        if not isinstance(found, str) or not _FOLD.search(found):
            return found
        unfolded = [_FOLD.sub(between, found) for between in (" ", "", r"\1")]
        for each in unfolded:
            if b"\n--" + each.encode("utf-8", "surrogateescape") in self._whole:
                return each
        return unfolded[0]


class _ShortFields(Compat32):
    """Cuts long header fields before they are parsed."""

    def header_source_parse(self, sourcelines: Sequence[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(list(sourcelines))
        return name, value[:FIELD_OCTETS]


def _parse(octets: bytes, cuts: list[None]) -> "Message[str, str]":
    """Parse a message; adds to ``cuts`` if parts of it were left out."""
    made: list[Message[str, str]] = []

    def make_part(policy: Any = None) -> "Message[str, str]":
        if len(made) == PARTS:
            raise _TooManyParts
        made.append(_Part(octets))
        return made[-1]

    parser = BytesFeedParser(make_part, policy=_ShortFields())
    made.clear()  # the parser has tried what it was given
    try:
        parser.feed(octets)
        parser.close()
    except _TooManyParts:
        cuts.append(None)
    return made[0]


def _header(file: BinaryIO) -> bytes:
    """Read up to the empty line."""
    lines = []
    octets = 0
    while octets < HEADER_OCTETS and (line := file.readline(HEADER_OCTETS)).strip(b"\r\n"):
        lines.append(line)
        octets += len(line)
    file.seek(0, os.SEEK_SET)
    return b"".join(lines)


def _fields(message: "Message[str, str]") -> tuple[tuple[str, str], ...]:
    return tuple((name, text_of(value)) for name, value in message.items())


def _body_of(part: "Message[str, str]") -> str:
    octets = _octets_of(part)
    text = "\n".join(octets.decode(_charset(part), "replace").split("\r\n"))
    if part.get_content_subtype() == "html":
        return html.unescape(_TAG.sub("", _HIDDEN.sub("", text)))
    return text


def _octets_of(part: "Message[str, str]") -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _charset(part: "Message[str, str]") -> str:
    try:
        name = str(part.get_content_charset("utf-8"))
        found = codecs.lookup(name)
        "".encode(name)  # refuses codecs that are not between text and octets
    except (LookupError, ValueError, UnicodeError):
        return "utf-8"
    return "utf-8" if found.name in _NO_CHARSETS else found.name


def _is_shown(part: "Message[str, str]") -> bool:
    """Check whether a part is text to be shown in its place, as it is without a disposition."""
    disposition = part.get_content_disposition()
    return part.get_content_maintype() == "text" and disposition in (None, "inline")


def _name_of(part: "Message[str, str]") -> str:
    return text_of(part.get_filename(""))


def _attachment(part: "Message[str, str]") -> Attachment:
    return Attachment(_name_of(part), part.get_content_type(), len(_octets_of(part)))


def searchable(file: BinaryIO) -> Iterator[str]:
    """Yield the texts that are searched for words: a message's body and the names of its parts."""
    text = read_text(file)
    yield text.body
    yield from text.names
