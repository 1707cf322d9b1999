"""Reading Maildirs: how much is in them, and what. Nothing here changes a file or a directory.

A Maildir that is not there yet is empty: the first delivery makes it. Mail programs move and
delete files while we read, so a message that has gone is skipped.

Who controls the input: whoever sent the mail. Headers may hold anything, in any charset or none;
what is given here is text on one line, but not safe to show on a terminal before its control
characters are replaced.
"""

import mailbox
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

HEADER_OCTETS: Final = 256 * 1024
"""As much of a message as is read in search of its header fields."""


@dataclass(frozen=True, slots=True)
class Contents:
    """How much is in a Maildir: messages, and their sizes together in octets."""

    messages: int
    size_octets: int


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """A message as it is listed.

    Attributes:
        key: its name in the Maildir, without flags.
        sender: the From field.
        subject: the Subject field.
        date: the Date field; None if it has none that can be read.
        size_octets: the size of its file.
    """

    key: str
    sender: str
    subject: str
    date: datetime | None
    size_octets: int


def measure(maildir: Path) -> Contents:
    """Count a Maildir's messages; looks at the names and sizes of files alone."""
    messages = size_octets = 0
    for entry in _entries(maildir):
        try:
            size_octets += entry.stat().st_size
        except FileNotFoundError:
            continue
        messages += 1
    return Contents(messages, size_octets)


def _entries(maildir: Path) -> "Iterator[os.DirEntry[str]]":
    for part in ("new", "cur"):
        try:
            with os.scandir(maildir / part) as entries:
                yield from (each for each in entries if not each.name.startswith("."))
        except FileNotFoundError:
            continue


def list_messages(maildir: Path) -> list[MessageSummary]:
    """Give a Maildir's messages, the oldest by their Date field first.

    Reads their headers alone.
    """
    found = []
    try:
        box = mailbox.Maildir(maildir, factory=None, create=False)
        for key in box.keys():  # noqa: SIM118  iterating over the box itself reads whole messages
            try:
                with box.get_file(key) as file:
                    found.append(_summary(key, file))
            except (KeyError, FileNotFoundError):
                continue
    except (mailbox.NoSuchMailboxError, FileNotFoundError):
        return []
    beginning = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda each: (each.date or beginning, each.key))


def _summary(key: str, file: Any) -> MessageSummary:  # what Maildir gives has no public type
    fields = _fields(file)
    file.seek(0, os.SEEK_END)
    size_octets = file.tell()
    return MessageSummary(
        key, _text(fields["From"]), _text(fields["Subject"]), _date(fields["Date"]), size_octets
    )


def _fields(file: Any) -> "Message[str, str]":
    lines = []
    octets = 0
    while octets < HEADER_OCTETS and (line := file.readline(HEADER_OCTETS)).strip():
        lines.append(line)
        octets += len(line)
    return HeaderParser().parsestr(b"".join(lines).decode("utf-8", "replace"))


def _text(value: Any) -> str:
    """Decode a field's encoded words (RFC 2047) and unfold it; what cannot be read stays as is."""
    if value is None:
        return ""
    try:
        text = str(make_header(decode_header(value)))
    except (LookupError, ValueError, HeaderParseError):
        text = str(value)
    return " ".join(text.split())


def _date(value: Any) -> datetime | None:
    try:
        found = parsedate_to_datetime(str(value))
        # "-0000" means that the zone is not known: RFC 5322 s3.3
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
