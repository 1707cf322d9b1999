"""Trace fields: Received at every hop; Return-Path, X-Original-To, Delivered-To at the last.

    Received: from client.example ([192.0.2.1])
            by mx.example.org with ESMTPS id 1kD3vB0007Qwbz (TLSv1.3
            TLS_AES_256_GCM_SHA384 256 bits)
            for <user@example.org>; Sat, 22 Nov 2025 14:03:07 +0100

Invariants: what these functions return ends with CRLF, holds no other CR, LF or control octet, and
has no line over 998 octets; lines stay under 78 unless a single name is longer than that.

The client's name is hostile. Only a domain or an address literal is copied, as they hold no octet
that means anything in a header; anything else is left out. The address that the client connects
from is known, and always follows its name. A recipient is named only if it is the only one, so that
no blind copy shows (RFC 5321 s7.2). X-Original-To names recipients too. So it is written into a
Maildir's copy and never into what is sent on, and names only those that led to this account:
addresses whose mail its reader gets anyway.
"""

import re
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from postroom.envelope import SessionFacts
from postroom.wire.paths import Mailbox

_PRIORITY = re.compile(r"[^-0-9]")
_WORD = re.compile(r"[^A-Za-z0-9_.-]")

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_NO_PARAMETERS: Final[Mapping[str, str | None]] = {}
_LINE_OCTETS: Final = 78  # RFC 5322 s2.1.1


@lru_cache(maxsize=4)
def header_date(seconds: int) -> str:
    """Return a date in the form of headers, with a numeric offset from UTC.

    Names are ours, not `time.strftime`'s, which depend on the locale. Messages of the same second
    share one.

    Args:
        seconds: POSIX time.

    RFC 5322 s3.3; RFC 5321 s4.4
    """
    local = time.localtime(seconds)
    offset = (local.tm_gmtoff or 0) // 60
    hours, minutes = divmod(abs(offset), 60)
    return (
        f"{_DAYS[local.tm_wday]}, {local.tm_mday} {_MONTHS[local.tm_mon - 1]} {local.tm_year:04}"
        f" {local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"
        f" {'-' if offset < 0 else '+'}{hours:02}{minutes:02}"
    )


def received_field(
    facts: SessionFacts,
    hostname: str,
    queue_id: str,
    only_recipient: Mailbox | None,
    at: float,
    parameters: Mapping[str, str | None] = _NO_PARAMETERS,
) -> bytes:
    """Return our Received field.

    Args:
        facts: the session's, when MAIL came.
        hostname: our name.
        queue_id: the message's id.
        only_recipient: the forward-path if the message has exactly one, else None.
        at: POSIX time of acceptance.
        parameters: those of MAIL.

    RFC 5321 s4.4; RFC 3848; RFC 5322 s3.6.7; RFC 6531 s3.7.3; RFC 6710 s4.1
    """
    name, comment = _client(facts)
    utf8 = "SMTPUTF8" in parameters
    protocol = "UTF8" + facts.protocol.removeprefix("E") if utf8 else facts.protocol
    by = f"\tby {hostname} with {protocol} id {queue_id}"
    parts = [f"Received: from {name}", comment, by]
    if facts.tls is not None:
        tls = facts.tls
        parts += f"({_word(tls.version)}", f"{_word(tls.cipher)} {tls.bits} bits"
        if tls.client_verified:
            parts[-1] += ","
            parts.append("client certificate verified")
        parts[-1] += ")"
    if only_recipient is not None and (utf8 or only_recipient.is_ascii):
        parts.append(f"for <{only_recipient}>")
    priority = parameters.get("MT-PRIORITY")
    if priority is not None:
        parts.append(f"PRIORITY {_PRIORITY.sub('', priority)}")
    parts[-1] += ";"
    parts.append(header_date(int(at)))
    return _fold(parts).encode("utf-8" if utf8 else "ascii", "replace")


def return_path_field(sender: Mailbox | None) -> bytes:
    """Return the Return-Path field of final delivery.

    Args:
        sender: the reverse-path; None for the null sender.

    RFC 5321 s4.4
    """
    return b"Return-Path: <" + (bytes(sender) if sender is not None else b"") + b">\r\n"


def delivered_to_field(address: str) -> bytes:
    """Return the Delivered-To field, which names the account that the message was delivered to.

    Args:
        address: the account's own.

    RFC 9228 s2
    """
    return b"Delivered-To: " + address.encode("utf-8", "replace") + b"\r\n"


def original_to_fields(recipients: Iterable[Mailbox]) -> bytes:
    """Return an X-Original-To field for each address that a copy was sent to.

    Args:
        recipients: the forward-paths that led to this copy, in the order of their commands.
    """
    return b"".join(b"X-Original-To: " + bytes(each) + b"\r\n" for each in recipients)


def _client(facts: SessionFacts) -> tuple[str, str]:
    """Extended-Domain = Domain / ( Domain FWS "(" TCP-info ")" ) / … RFC 5321 s4.4."""
    literal = facts.client_literal
    comments = {"localhost": "(local socket)", "unknown": "(unknown)"}
    comment = comments.get(literal, f"({literal})")
    return facts.helo_name.decode("ascii") or literal, comment


def _word(text: str) -> str:
    return _WORD.sub("", text)[:80]


def _fold(parts: list[str]) -> str:
    """Join parts by blanks, or by a line end where the line would get too long.

    A part that begins with a tab begins a line.
    """
    text = line = parts[0]
    for part in parts[1:]:
        if part[0] == "\t":
            text += "\r\n" + part
            line = part
        elif len(line) + 8 + len(part) < _LINE_OCTETS:
            text += " " + part
            line += " " + part
        else:
            text += "\r\n\t" + part
            line = "\t" + part
    return text + "\r\n"
