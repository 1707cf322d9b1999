r"""Dialogues as text: what the client sends, what the server must answer.

A file holds one or more dialogues, each under a title. What stands above the first title begins
each of them, but for the steps of one that says ``afresh``::

    # A comment.
    with: role=submission recipients=3
    C: EHLO client.example
    S: 250
    == RFC 5321 s4.1.1.4: a dot alone ends the content
    C: DATA
    S: 354
    C-raw: Hello\r\n.\r\n
    S: 250 2.0.0
    stored: Hello\r\n

- ``C:`` sends a line, CRLF added; ``C-raw:`` sends just these octets. ``C*20:`` sends it twenty
  times.
- ``S:`` expects one reply: its code, an enhanced code if one is given, and text, if any, that must
  occur in the reply's. ``S*20:`` expects it twenty times. Lines ``S: 250-…`` up to one without the
  hyphen expect a reply of exactly these lines. An ``x`` stands for any digit or number
  (``5xx 5.1.x``), a slash between codes for "or" (``503/554``).
- ``S-has: SIZE`` and ``S-lacks: AUTH`` are about the reply just expected: one of its lines begins
  with this keyword, followed by these words in any order; or none does. ``S-lines: 1`` counts them.
  ``S-only: SIZE AUTH``: no line but the first begins with another keyword, unless with an X.
  ``S-like:`` gives a regular expression for the first line, ``S-line:`` one for any of them.
- ``S-or-closed:`` is as ``S:``, for a server that may as well close; then the dialogue is over.
- ``S-closed`` expects that the server has closed. A dialogue that does not say so fails if it has.
- ``TLS`` has both sides negotiate TLS; after ``TLS-or-closed`` the dialogue is over if they fail.
- A dialogue that begins with ``S:`` expects the greeting, which others pass over.
- ``wait: 1.5`` lets seconds pass.
- ``stored:`` expects one message of just this content to have been stored, in order; without it no
  message may have been.
- ``envelope:`` before it expects that message's ``<sender> <recipient> …``, as the server has them.
- ``with:`` gives settings for the program that runs the dialogue; other keys in small letters
  (``needs:``, ``over:`` …) are notes for the same.

The same notation scripts a server against which a client is tried: ``C:`` is then what the client
must send, ``S:`` what it gets, and there are

- ``S-raw:`` for octets that are no reply, ``S-closed`` for a server that hangs up, ``C-closed``
  for a client that must have, ``C-silent`` for one that must not have sent any more;
- ``connection: 192.0.2.2`` for a connection that the client must open next.

In octets that are sent or stored ``\r \n \0 \t \\ \xNN`` are what they are in Python, and
``\(text*300)`` is a repetition. A trailing ``\`` with nothing after it keeps blanks before it.

The reader knows no transport: `Dialogue.steps` is a list of values, and `Expect.mismatch` says what
is wrong with a reply.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from postroom.wire.replies import Reply

_LINE: Final = re.compile(r"(?P<key>[A-Za-z][A-Za-z-]*)(?:\*(?P<times>[0-9]+))?:(?: (?P<rest>.*))?")
_ESCAPE: Final = re.compile(
    rb"\\(?:(?P<plain>[rn0t\\])|x(?P<hex>[0-9a-fA-F]{2})|\((?P<text>[^*)]*)\*(?P<times>[0-9]+)\)|$)"
)
_PLAIN: Final = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"t": b"\t", b"\\": b"\\"}
_REPLY: Final = re.compile(
    r"(?P<code>[2-5x][0-9x]{2}(?:/[2-5x][0-9x]{2})*)(?P<more>-?)"
    r"(?: ?(?P<enhanced>[245x]\.(?:x|[0-9]+)\.(?:x|[0-9]+)))?(?: ?(?P<text>.*))?"
)
_NOTES: Final = frozenset("deviation needs ours outcome over role strict test".split())


class TranscriptError(ValueError):
    """A file that is no transcript; the message names the file's line."""


@dataclass(frozen=True, slots=True)
class Send:
    """The client sends these octets."""

    line: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """The server answers.

    Attributes:
        line: where the transcript says so.
        code: the reply's code, as a pattern.
        enhanced: its enhanced code, as a pattern; None for any or none.
        text: must occur in the reply's text.
        lines: the reply's whole text, None where `text` is all that counts.
        has: keywords, each with its words, of which the reply must have a line.
        lacks: keywords of which it must have none.
        only: the keywords that lines may begin with, the first line apart; empty for any.
        count: how many lines it must have, None for any number.
        like: a regular expression for its first line.
        line_like: one for any of its lines.
        or_closed: instead of answering, the server may close.
    """

    line: int
    code: str
    enhanced: str | None = None
    text: str = ""
    lines: tuple[str, ...] | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    count: int | None = None
    like: str = ""
    line_like: str = ""
    or_closed: bool = False

    def mismatch(self, reply: Reply) -> str | None:
        """Return how a reply differs from what is expected; None if it does not."""
        if not any(_fits(code, str(reply.code)) for code in self.code.split("/")):
            return f"expected {self.code}, got {reply}"
        if self.enhanced is not None and not _fits_enhanced(self.enhanced, reply.enhanced):
            return f"expected {self.code} {self.enhanced}, got {reply}"
        if self.lines is not None and reply.text != self.lines:
            return f"expected the lines {self.lines}, got {reply.text}"
        if self.text not in " ".join(reply.text):
            return f"expected the text {self.text!r}, got {reply}"
        return self._wrong_lines(reply)

    def _wrong_lines(self, reply: Reply) -> str | None:
        keywords = [line.upper().split() for line in reply.text if line.strip()]
        for wanted in self.has:
            name, *rest = wanted.upper().split()
            if not any(words[0] == name and set(rest) <= set(words) for words in keywords):
                return f"expected a line {wanted}, got {reply}"
        for unwanted in self.lacks:
            if any(words[0] == unwanted.upper() for words in keywords):
                return f"expected no line {unwanted}, got {reply}"
        for words in keywords[1:] if self.only else ():
            if words[0] not in self.only and not words[0].startswith("X"):
                return f"expected no line {words[0]}, got {reply}"
        if self.like and re.fullmatch(self.like, reply.text[0]) is None:
            return f"expected a first line like {self.like}, got {reply}"
        if self.line_like and not any(re.fullmatch(self.line_like, line) for line in reply.text):
            return f"expected a line like {self.line_like}, got {reply}"
        if self.count is not None and len(reply.text) != self.count:
            return f"expected lines: {self.count}, got {reply.text}"
        return None


def _fits(pattern: str, code: str) -> bool:
    return all(wanted in ("x", digit) for wanted, digit in zip(pattern, code, strict=True))


def _fits_enhanced(pattern: str, enhanced: str | None) -> bool:
    parts = (enhanced or "..").split(".")
    return enhanced is not None and all(
        wanted in ("x", part) for wanted, part in zip(pattern.split("."), parts, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Say:
    """A scripted server sends these octets."""

    line: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """The run waits for some seconds."""

    line: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The server has closed the connection, or the client where it says so."""

    line: int
    by_client: bool = False


@dataclass(frozen=True, slots=True)
class StartTLS:
    """Both sides negotiate TLS; if they need not, a failure ends the dialogue."""

    line: int
    must: bool = True


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """The client opens a connection to this address."""

    line: int
    address: str


@dataclass(frozen=True, slots=True)
class ExpectedMessage:
    """A message that must have been stored.

    Attributes:
        content: exactly.
        envelope: sender and recipients in angle brackets, None for any.
    """

    content: bytes
    envelope: str | None


Step = Send | Expect | Wait | Closed | StartTLS | Say | OpenConnection


@dataclass(slots=True)
class Dialogue:
    """One dialogue.

    Attributes:
        title: what it shows.
        settings: of ``with:``.
        notes: of the other keys in small letters.
        steps: in order.
        storage: what must have been stored at the end, in order.
    """

    title: str
    settings: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    storage: list[ExpectedMessage] = field(default_factory=list)


def unescape(text: str) -> bytes:
    r"""Return the octets of a text with escapes: ``a\r\n`` is five characters and three octets.

    Raises:
        ValueError: a backslash that escapes nothing.
    """
    octets = text.encode("utf-8")
    if b"\\" in _ESCAPE.sub(b"", octets):
        raise ValueError(f"an unknown escape in {text!r}")
    return _ESCAPE.sub(_unescaped, octets)


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match["plain"] is not None:
        return _PLAIN[match["plain"]]
    if match["hex"] is not None:
        return bytes.fromhex(match["hex"].decode("ascii"))
    return match["text"] * int(match["times"]) if match["text"] is not None else b""


def read_transcript(text: str) -> Iterator[Dialogue]:
    """Read the dialogues of a file.

    Raises:
        TranscriptError: what is wrong, and in which line.
    """
    prologue: list[tuple[int, str]] = []
    title, lines = None, prologue
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            if title is not None:
                yield _read_dialogue(title, lines)
            title, lines = line[3:].strip(), list(prologue)
        elif line.strip() and not line.startswith("#"):
            lines.append((number, line))
    yield _read_dialogue(title or "", lines)


def _read_dialogue(title: str, lines: list[tuple[int, str]]) -> Dialogue:
    reading = _Reading(Dialogue(title))
    for number, line in lines:
        try:
            reading.take(number, line)
        except ValueError as error:
            raise TranscriptError(f"line {number}: {error}") from None
    return reading.dialogue


class _Reading:
    """A dialogue as far as it was read."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self._envelope: str | None = None
        self._reply_lines: tuple[str, ...] = ()

    def take(self, number: int, line: str) -> None:
        """Parse one line."""
        if line == "afresh":
            self.dialogue.steps.clear()
            return
        if line in _BARE:
            self.dialogue.steps.append(_BARE[line](number))
            return
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of a transcript: {line!r}")
        key, rest, times = match["key"], match["rest"] or "", int(match["times"] or 1)
        if key in _STEPS:
            self.dialogue.steps += [_STEPS[key](number, rest)] * times
        elif key in ("S", "S-or-closed"):
            expect = self._expectation(number, rest, or_closed=key != "S")
            self.dialogue.steps += [expect] * times if expect is not None else []
        elif key.startswith("S-"):
            self._qualify(key, rest)
        else:
            self._note(key, rest, times)

    def _note(self, key: str, rest: str, times: int) -> None:
        """Parse a line that is no step."""
        if key == "with":
            self.dialogue.settings.update(dict(word.split("=", 1) for word in rest.split()))
        elif key == "envelope":
            self._envelope = rest
        elif key == "stored":
            self.dialogue.storage += [ExpectedMessage(unescape(rest), self._envelope)] * times
            self._envelope = None
        elif key in _NOTES:
            self.dialogue.notes[key] = rest
        else:
            raise ValueError(f"unknown key {key!r}")

    def _qualify(self, key: str, text: str) -> None:
        """Add a condition to the reply that was expected last."""
        steps = self.dialogue.steps
        if not steps or not isinstance(steps[-1], Expect):
            raise ValueError(f"{key} without a reply before it")
        if key not in _QUALITIES:
            raise ValueError(f"unknown key {key!r}")
        steps[-1] = _QUALITIES[key](steps[-1], text)

    def _expectation(self, number: int, text: str, or_closed: bool) -> Expect | None:
        """Read the right side of ``S:``; None within a reply of several lines."""
        match = _REPLY.fullmatch(text)
        if match is None:
            raise ValueError(f"not a reply: {text!r}")
        code, enhanced, words = match["code"], match["enhanced"], match["text"] or ""
        if match["more"]:
            self._reply_lines += (words,)
            return None
        if self._reply_lines:
            lines, self._reply_lines = (*self._reply_lines, words), ()
            return Expect(number, code, enhanced, lines=lines)
        return Expect(number, code, enhanced, words, or_closed=or_closed)


_BARE: Final[dict[str, Callable[[int], Step]]] = {
    "S-closed": Closed,
    "C-closed": lambda number: Closed(number, by_client=True),
    "C-silent": lambda number: Send(number, b""),
    "TLS": StartTLS,
    "TLS-or-closed": lambda number: StartTLS(number, must=False),
}
_QUALITIES: Final[dict[str, Callable[[Expect, str], Expect]]] = {
    "S-has": lambda expect, text: replace(expect, has=(*expect.has, text)),
    "S-lacks": lambda expect, text: replace(expect, lacks=(*expect.lacks, text)),
    "S-only": lambda expect, text: replace(expect, only=tuple(text.split())),
    "S-like": lambda expect, text: replace(expect, like=text),
    "S-line": lambda expect, text: replace(expect, line_like=text),
    "S-lines": lambda expect, text: replace(expect, count=int(text)),
}
_STEPS: Final[dict[str, Callable[[int, str], Step]]] = {
    "C": lambda number, text: Send(number, unescape(text) + b"\r\n"),
    "C-raw": lambda number, text: Send(number, unescape(text)),
    "S-raw": lambda number, text: Say(number, unescape(text)),
    "wait": lambda number, text: Wait(number, float(text)),
    "connection": OpenConnection,
}
