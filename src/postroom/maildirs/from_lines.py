"""Lines that begin a message in an mbox, in the forms that many programs write.

    From joe@b.example Thu Jan  1 00:00:00 2026             asctime, as most programs do
    From joe@b.example Thu Jan  1 00:00 CET 2026 +0100      zones anywhere, without seconds
    From joe at b.example  Thu Jan  1 00:00:00 2026         archives of mailing lists
    From - Thu, 01 Jan 2026 00:00:00 GMT                    Thunderbird; dates as in Date fields
    From joe 2026-01-01T00:00:00Z                           ISO 8601
    From joe jeu. 1 janv. 2026 00:00:00                     words of the writer's language
    From joe Thu Jan  1 00:00:00 2026 remote from host      UUCP
    From -                                                  nothing but the dash, or not even that

Theory: a date is recognised by its numbers, since its words may be of any language. The words of a
line are read from the end towards the beginning for as long as they can belong to a date; the rest
is the sender. A line without a date is usually prose.

Known limits: a date with the name of a month in an unknown language is accepted, but its time is
unknown. So is that of ``01/02/2026``, which may mean either of two days.

Who controls the input: whoever made the file.
"""

import re
import unicodedata
from calendar import timegm
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

LINE_OCTETS: Final = 1024
"""No longer line begins a message."""

_WORDS: Final = 12
"""The most words of a line that can belong to its date."""


class FromLineKind(Enum):
    """The form of a line that begins with ``From``."""

    DATED = "a sender, and a date at the end"
    BARE = "nothing, or a dash in place of the sender"
    ADDRESS = "an address and no date, or a date after words that are no address"
    FIELD = "a header field with a blank before its colon"
    PROSE = "anything else"


@dataclass(frozen=True, slots=True)
class FromLine:
    """A parsed line that begins with ``From``.

    Attributes:
        kind: its form.
        received_at: the POSIX time of its date; None if that is missing or unknown.
    """

    kind: FromLineKind
    received_at: float | None = None

    def begins(self, *, after_empty: bool, before_field: bool) -> bool:
        """Check whether the line begins a message.

        Args:
            after_empty: the line before it is empty, or there is none.
            before_field: the line after it is a header field.
        """
        if self.kind is FromLineKind.DATED:
            return after_empty or before_field
        if self.kind is FromLineKind.BARE:
            return before_field
        return self.kind is FromLineKind.ADDRESS and after_empty and before_field


_PROSE: Final = FromLine(FromLineKind.PROSE)
_FIELD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_.-]{0,75}[ \t]*:(?!//)|>+From ")
_TRAILER: Final = re.compile(r"(?: remote from \S+| ?\([^()]{1,40}\))$", re.IGNORECASE)


def is_field(line: bytes) -> bool:
    """Check whether a line begins a header field, or is a quoted ``From`` line of UUCP."""
    return _FIELD.match(line) is not None


def parse_from_line(line: bytes) -> FromLine:
    """Parse a line that begins with ``From`` and a blank."""
    if len(line) > LINE_OCTETS:
        return _PROSE
    text = " ".join(_decode(line[5:]).split())
    if text in ("", "-"):
        return FromLine(FromLineKind.BARE)
    if text.startswith(":"):
        return FromLine(FromLineKind.FIELD)
    words = _plain_dates(_without_trailers(text)).split()
    date = _Date()
    start = date.read(words)
    if date.is_whole:
        kind = FromLineKind.DATED if _is_sender(words[:start]) else FromLineKind.ADDRESS
        return FromLine(kind, date.posix())
    return FromLine(FromLineKind.ADDRESS) if _is_address(words) else _PROSE


def _decode(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _without_trailers(text: str) -> str:
    """Remove what may follow the date: the hosts of UUCP, and the comment on a zone."""
    while found := _TRAILER.search(text):
        text = text[: found.start()]
    return text


def _is_address(words: list[str]) -> bool:
    """Check whether words without a date are an address and nothing else."""
    return words[:1] == ["-"] or (len(words) == 1 and ("@" in words[0] or words[0].isupper()))


def _is_sender(words: list[str]) -> bool:
    """Check whether the words before a date are a sender, and perhaps a day of the week."""
    if len(words) > 1 and _is_weekday(words[-1]):
        words = words[:-1]
    return len(words) < 2 or "at" in words or any(each[:1] in '"<' or "@" in each for each in words)


def _is_weekday(word: str) -> bool:
    bare = word.rstrip(".,")
    return "@" not in word and (len(bare) <= 5 or bare != word or bare.endswith("day"))


# Chinese, Japanese and Korean write a character for the unit after each number.
_EASTERN_DAY: Final = re.compile(r"(\d{4})[年년]\s*(\d{1,2})[月월]\s*(\d{1,2})[日일]")
_EASTERN_TIME: Final = re.compile(r"(\d{1,2})[時时시]\s*(\d{1,2})[分분]\s*(\d{1,2})[秒초]")


def _plain_dates(text: str) -> str:
    if text.isascii():
        return text
    return _EASTERN_TIME.sub(r" \1:\2:\3 ", _EASTERN_DAY.sub(r" \1-\2-\3 ", text))


_TIME: Final = re.compile(
    r"([01]?\d|2[0-4])(?::([0-5]?\d)(?::([0-6]?\d)(?:[.,]\d{1,9})?)?|\.([0-5]\d)\.([0-5]\d))"
)
_ISO: Final = re.compile(
    r"(\d{4})([-/.]?)(\d{1,2})\2(\d{1,2})"
    r"(?:[T_](\d{2}):?(\d{2})(?::?(\d{2})(?:[.,]\d{1,9})?)?(Z|[-+]\d{2}:?\d{2})?)?"
)
_NUMERIC: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})")
_DAY: Final = re.compile(r"(\d{1,2})(?:st|nd|rd|th|日)?")
_YEAR: Final = re.compile(r"\d{4}")
_OFFSET: Final = re.compile(r"(?:GMT|UTC?)?([-+])(\d{1,2}):?(\d{2})?")
_HALF: Final = re.compile(r"([ap])\.?m", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W\d_][^\d\s@:/]{0,19}")
_ZONE_NAME: Final = re.compile(r"[A-Z]{1,5}")


@dataclass(slots=True)
class _Date:
    """A date, parsed word by word, from the last to the first."""

    year: int | None = None
    month: int | None = None
    numbers: list[int] = field(default_factory=list)
    time: tuple[int, int, int] | None = None
    half: str = ""
    offset_seconds: int | None = None
    words: int = 0
    ambiguous: bool = False

    @property
    def is_whole(self) -> bool:
        """True if it has a day of some month of some year, and a time."""
        month = self.month is not None or self.words > 0 or self.ambiguous
        return self.time is not None and month and self._has_day

    @property
    def _has_day(self) -> bool:
        return len(self.numbers) >= (2 if self.year is None else 1)

    def read(self, words: list[str]) -> int:
        """Read the words of a line from its end; returns where among them the date begins."""
        start = len(words)
        for word in reversed(words[-_WORDS:]):
            month_known = self.month is not None or self.ambiguous
            if (self.is_whole and month_known) or not self._take(word.strip(".,;()")):
                break
            start -= 1
        return start

    def _take(self, word: str) -> bool:
        return self._accept_number(word) or self._accept_word(word)

    def _accept_number(self, word: str) -> bool:
        """Accept a word that has digits, if it belongs to a date."""
        if self.time is None and (found := _TIME.fullmatch(word)):
            hour, minute, second = (int(each) for each in (*filter(None, found.groups()), "0")[:3])
            self.time = (hour, minute, second)
        elif self.year is None and (found := _ISO.fullmatch(word)):
            self._take_iso(found)
        elif self.year is None and (found := _NUMERIC.fullmatch(word)):
            self.year, self.numbers = int(found[4]), [int(found[1])]
            self.month = int(found[3]) if found[2] == "." else None
            self.ambiguous = self.month is None
        elif self.year is None and _YEAR.fullmatch(word):
            self.year = int(word)
        elif len(self.numbers) < 2 and (found := _DAY.fullmatch(word)):
            self.numbers.append(int(found[1]))
        elif self.offset_seconds is None and (found := _OFFSET.fullmatch(word)):
            self.offset_seconds = _offset(found)
        else:
            return False
        return True

    def _take_iso(self, found: "re.Match[str]") -> None:
        self.year, self.month, self.numbers = int(found[1]), int(found[3]), [int(found[4])]
        if found[5]:
            self.time = (int(found[5]), int(found[6]), int(found[7] or 0))
        if found[8] and found[8] != "Z" and (offset := _OFFSET.fullmatch(found[8])):
            self.offset_seconds = _offset(offset)

    def _accept_word(self, word: str) -> bool:
        """Accept a word of letters: a month, a zone, or the day of the week in between."""
        if self.month is None and (month := _month(word)) is not None:
            self.month = month
        elif self.time is None and (found := _HALF.fullmatch(word)):
            self.half = found[1].lower()
        elif _ZONE_NAME.fullmatch(word):
            if self.offset_seconds is None and word in _ZONES:
                self.offset_seconds = _ZONES[word] * 3600
        elif self._began and self.words < 3 and _WORD.fullmatch(word):
            self.words += 1
        else:
            return False
        return True

    @property
    def _began(self) -> bool:
        return self.time is not None or self.year is not None or bool(self.numbers)

    def posix(self) -> float | None:
        """Return the POSIX time; None if it is unknown. A date without a zone is UTC."""
        if self.month is None or self.time is None:
            return None
        # Of two numbers the last is the year: numbers are read from the end.
        year = self.numbers[0] if self.year is None else self.year
        if self.year is None:
            year += 2000 if year < 70 else 1900
        hour, minute, second = self.time
        if self.half:
            hour = hour % 12 + (12 if self.half == "p" else 0)
        if not 1 <= self.month <= 12 or not 1970 <= year <= 9999 or not 1 <= self.numbers[-1] <= 31:
            return None
        at = timegm((year, self.month, self.numbers[-1], hour, minute, second))
        at -= self.offset_seconds or 0
        # Some programs write a date before 1970 where they know none.
        return None if at < 0 else float(at)


def _offset(found: "re.Match[str]") -> int:
    seconds = int(found[2]) * 3600 + int(found[3] or 0) * 60
    return -seconds if found[1] == "-" else seconds


# Hours east of Greenwich. A name that several zones share means the one that has most mail.
_ZONES: Final = {
    name: hours
    for hours, names in {
        0: "Z UT UTC GMT WET",
        1: "BST WEST CET MET MEZ",
        2: "CEST MEST MESZ EET SAST",
        3: "EEST MSK",
        8: "HKT AWST",
        9: "JST KST",
        10: "AEST",
        11: "AEDT",
        12: "NZST",
        13: "NZDT",
        -3: "ADT",
        -4: "AST EDT",
        -5: "EST CDT",
        -6: "CST MDT",
        -7: "MST PDT",
        -8: "PST",
    }.items()
    for name in names.split()
}

# How the names of months begin, without accents.
_MONTHS: Final = {
    stem: number
    for stems in (
        "jan feb mar apr may jun jul aug sep oct nov dec",  # English
        "jan feb mrz apr mai jun jul aug sep okt nov dez",  # German
        "jan fev mar avr mai juin juil aou sep oct nov dec",  # French
        "ene feb mar abr may jun jul ago sep oct nov dic",  # Spanish
        "gen feb mar apr mag giu lug ago set ott nov dic",  # Italian
        "jan fev mar abr mai jun jul ago set out nov dez",  # Portuguese
        "jan feb mrt apr mei jun jul aug sep okt nov dec",  # Dutch
        "jan feb maa apr maj jun jul aug sze okt nov des",  # Dutch, Danish, Hungarian, Norwegian
        "sty lut mar kwi maj cze lip sie wrz paz lis gru",  # Polish
        "led uno bre dub kve cer cec srp zar rij lis pro",  # Czech
        "tam hel maa huh tou kes hei elo syy lok marr jou",  # Finnish
        "oca sub mar nis may haz tem agu eyl eki kas ara",  # Turkish
        "янв фев мар апр мая июн июл авг сен окт ноя дек",  # Russian
    )
    for number, stem in enumerate(stems.split(), 1)
} | {"маи": 5}


def _month(word: str) -> int | None:
    """Return the number of a month by its name, in full or shortened."""
    if word.endswith(("月", "월")):
        return int(word[:-1]) if word[:-1].isdecimal() else None
    plain = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    for length in (4, 3):
        if len(plain) >= length and plain[:length] in _MONTHS:
            return _MONTHS[plain[:length]]
    return None
