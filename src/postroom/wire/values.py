r"""Parses the values of MAIL and RCPT parameters.

One function reads each, under its ABNF, and raises `ValueError` if the value is none; where the
meaning has parts it is a frozen value that can be written again (`encoded`). `parameters` puts the
functions into its table, so that server, queue, client and packet view share one reading.

Numbers are ASCII digits, bounded in length, before Python ever sees them. Keywords within values
are compared without regard to case (RFC 5321 s4.1.2: an extension decides, and these all do so).

Who controls the input: the peer. Values hold no space, no control and no "=".
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from postroom.wire.paths import HARMFUL
from postroom.wire.xtext import decode_xtext, encode_xtext

ENVELOPE_ID_OCTETS: Final = 100  # RFC 3461 s4.4
ORIGINAL_RECIPIENT_OCTETS: Final = 500  # RFC 3461 s4.2
SOLICITATION_OCTETS: Final = 1000  # RFC 3865 s2

# size-value ::= 1*20DIGIT                                           RFC 1870 s4
_SIZE: Final = re.compile(r"[0-9]{1,20}")
# original-recipient-address = addr-type ";" xtext; addr-type = atom RFC 3461 s4.2
_ORIGINAL_RECIPIENT: Final = re.compile(r"([A-Za-z0-9!#$%&'*+\-/?^_`{|}~]+);(.*)")
# EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"                     RFC 6533 s3
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}|\\")
# QCHAR = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e                      RFC 6533 s3
_NO_QCHAR: Final = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")
# by-value = by-time ";" by-mode [by-trace]; by-time = ["-" / "+"]1*9digit; by-mode = "N" / "R";
# by-trace = "T"                                                     RFC 2852 s4
_BY: Final = re.compile(r"([+-]?[0-9]{1,9});([NRnr])([Tt]?)")
# future-release-integer = %x31-39 *8DIGIT                           RFC 4865 s4
_HOLD_SECONDS: Final = re.compile(r"[1-9][0-9]{0,8}")
# date-time = full-date "T" full-time; time-offset = "Z" / time-numoffset   RFC 3339 s5.6
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))"
)
# priority-value = (["-"] NZDIGIT) / "0"                             RFC 6710 s4.1
_PRIORITY: Final = re.compile(r"-?[1-9]|0")
# Solicitation-keywords = word 0*("," word); word = ALPHA 0*wordchar
# wordchar = "." / "-" / "_" / ":" / ALPHA / DIGIT                   RFC 3865 s2
_SOLICITATION: Final = re.compile(r"[A-Za-z][A-Za-z0-9.\-_:]*")
# rrvs-param = "RRVS=" date-time [ ";" ( "C" / "R" ) ]               RFC 7293 s3.1
_VALID_SINCE: Final = re.compile(r"([^;]+)(?:;([CRcr]))?")


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """ORCPT: whom the sender wrote to, before aliases and gateways.

    Attributes:
        address_type: as sent: ``rfc822``, ``utf-8``, or any other atom.
        address: decoded; UTF-8 for the type ``utf-8``, printable ASCII otherwise.

    RFC 3461 s4.2; RFC 6533 s3
    """

    address_type: str
    address: bytes

    @property
    def encoded(self) -> str:
        """The value as it is sent, in ASCII whatever it holds."""
        if self.address_type.lower() != "utf-8":
            return f"{self.address_type};{encode_xtext(self.address)}"
        text = self.address.decode("utf-8")
        return f"{self.address_type};" + _NO_QCHAR.sub(lambda m: rf"\x{{{ord(m[0]):X}}}", text)


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """BY: how soon delivery is asked for.

    Attributes:
        seconds: left when the command is sent; negative once it is late.
        returned: True (``R``) to give up when the time is over, False (``N``) to tell the sender.
        traced: whether relaying is to be told as well (``T``).

    RFC 2852 s4
    """

    seconds: int
    returned: bool
    traced: bool = False

    @property
    def encoded(self) -> str:
        """The value as it is sent."""
        return f"{self.seconds};{'R' if self.returned else 'N'}{'T' if self.traced else ''}"


@dataclass(frozen=True, slots=True)
class ValidSince:
    """RRVS: the recipient must have had its address without a break since then.

    Attributes:
        time: POSIX time, in seconds.
        continues: True (``C``) if it may be relayed to a host that does not know RRVS; else (``R``,
            and where neither is said) it may not.

    RFC 7293 s3.1
    """

    time: float
    continues: bool = False


def read_flag(value: str | None) -> bool:
    """Parse a parameter that takes no value."""
    if value is not None:
        raise ValueError("takes no value")
    return True


def read_size(value: str | None) -> int:
    """Parse SIZE: the length of the content in octets, as the client counts it. RFC 1870 s6."""
    if value is None or _SIZE.fullmatch(value) is None:
        raise ValueError("not a number of at most 20 digits")
    return int(value)


def read_body(value: str | None) -> str:
    """Parse BODY: ``7BIT``, ``8BITMIME`` or ``BINARYMIME``. RFC 6152 s3; RFC 3030 s3."""
    return _one_of(value, ("7BIT", "8BITMIME", "BINARYMIME"))


def read_submitter(value: str | None) -> bytes:
    """Parse AUTH: the mailbox that submitted the message, empty for ``<>``. RFC 4954 s5."""
    octets = _printable(decode_xtext(_some(value)))
    if b" " in octets:
        raise ValueError("a space in an address")
    return b"" if octets == b"<>" else octets


def read_return(value: str | None) -> str:
    """Parse RET: ``FULL`` or ``HDRS``. RFC 3461 s4.3."""
    return _one_of(value, ("FULL", "HDRS"))


def read_envelope_id(value: str | None) -> bytes:
    """Parse ENVID: the sender's name for the transaction, printable ASCII. RFC 3461 s4.4."""
    return _printable(decode_xtext(_at_most(value, ENVELOPE_ID_OCTETS)))


def read_notify(value: str | None) -> frozenset[str]:
    """Parse NOTIFY: ``NEVER``, or some of ``SUCCESS``, ``FAILURE``, ``DELAY``. RFC 3461 s4.1."""
    words = _some(value).upper().split(",")
    if words == ["NEVER"]:
        return frozenset(words)
    if len(set(words)) != len(words) or not set(words) <= {"SUCCESS", "FAILURE", "DELAY"}:
        raise ValueError("not a list of SUCCESS, FAILURE and DELAY, nor NEVER")
    return frozenset(words)


def read_original_recipient(value: str | None) -> OriginalRecipient:
    """Parse ORCPT. RFC 3461 s4.2; RFC 6533 s3."""
    address_type, address = _match(
        _ORIGINAL_RECIPIENT, _at_most(value, ORIGINAL_RECIPIENT_OCTETS)
    ).groups()
    if address_type.lower() == "utf-8":
        octets = _embedded(address)
    else:
        octets = _printable(decode_xtext(address))
    if not octets:
        raise ValueError("an empty address")
    original = OriginalRecipient(address_type, octets)
    # In ASCII it is longer, and a next hop without SMTPUTF8 is to get it whole.
    _at_most(original.encoded, ORIGINAL_RECIPIENT_OCTETS)
    return original


def read_deliver_by(value: str | None) -> DeliverBy:
    """Parse BY. RFC 2852 s4."""
    seconds, mode, trace = _match(_BY, value).groups()
    by = DeliverBy(int(seconds), mode.upper() == "R", bool(trace))
    if by.returned and by.seconds <= 0:
        raise ValueError("R needs a time to come")
    return by


def read_hold_seconds(value: str | None) -> int:
    """Parse HOLDFOR: seconds from acceptance until the message is released. RFC 4865 s4."""
    return int(_match(_HOLD_SECONDS, value)[0])


def read_hold_until(value: str | None) -> float:
    """Parse HOLDUNTIL: POSIX time of the release; the date-time must be in UTC. RFC 4865 s4."""
    if _some(value)[-1:].upper() != "Z":
        raise ValueError("not in UTC")
    return _date_time(_some(value))


def read_priority(value: str | None) -> int:
    """Parse MT-PRIORITY: from -9 to 9. RFC 6710 s4.1."""
    return int(_match(_PRIORITY, value)[0])


def read_solicitations(value: str | None) -> tuple[str, ...]:
    """Parse SOLICIT: the keywords of what the message asks of its reader. RFC 3865 s2."""
    words = tuple(_at_most(value, SOLICITATION_OCTETS).split(","))
    for word in words:
        _match(_SOLICITATION, word)
    return words


def read_valid_since(value: str | None) -> ValidSince:
    """Parse RRVS. RFC 7293 s3.1."""
    time, action = _match(_VALID_SINCE, value).groups()
    return ValidSince(_date_time(time), (action or "R").upper() == "C")


def _some(value: str | None) -> str:
    if value is None:
        raise ValueError("needs a value")
    return value


def _at_most(value: str | None, octets: int) -> str:
    if len(_some(value).encode("utf-8")) > octets:
        raise ValueError(f"longer than {octets} octets")
    return _some(value)


def _match(pattern: re.Pattern[str], value: str | None) -> re.Match[str]:
    match = pattern.fullmatch(_some(value))
    if match is None:
        raise ValueError("malformed value")
    return match


def _one_of(value: str | None, words: tuple[str, ...]) -> str:
    word = _some(value).upper()
    if word not in words:
        raise ValueError("none of " + ", ".join(words))
    return word


def _printable(octets: bytes) -> bytes:
    """Check that a value has no controls: headers and reports show it. RFC 3461 s4.2, s4.4."""
    if any(not 0x20 <= octet <= 0x7E for octet in octets):
        raise ValueError("a control or 8-bit character")
    return octets


def _embedded(address: str) -> bytes:
    r"""Decode ``\x{…}``, after any xtext that the sender put around it. RFC 6533 s3."""
    if address.isascii():
        address = decode_xtext(address).decode("utf-8")  # its error is a ValueError
    text = _EMBEDDED.sub(_embedded_character, address)
    if HARMFUL.search(text) is not None:
        raise ValueError("a control character or line separator")
    return text.encode("utf-8")  # its error, for a surrogate, is a ValueError too


def _embedded_character(match: re.Match[str]) -> str:
    if match[1] is None:
        raise ValueError("a backslash that escapes nothing")
    return chr(int(match[1], 16))  # past U+10FFFF it raises ValueError


def _date_time(text: str) -> float:
    """Parse a date-time; a leap second is the one after it. RFC 3339 s5.6."""
    match = _match(_DATE_TIME, text)
    year, month, day, hour, minute, second = (int(each) for each in match.groups()[:6])
    if second > 60 or (match[8] and (int(match[9]) > 23 or int(match[10]) > 59)):
        raise ValueError("no such time")
    offset = 0
    if match[8]:
        offset = int(f"{match[8]}1") * (int(match[9]) * 3600 + int(match[10]) * 60)
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    return moment.timestamp() - offset + (second == 60)
