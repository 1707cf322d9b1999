r"""Dialogues as text: what the client sends, what the server must answer.

A file holds one or more dialogues, each under a title. What stands above the first title begins
each of them::

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
  hyphen expect a reply of exactly these lines.
- ``S-closed`` expects that the server has closed. A dialogue that does not say so fails if it has.
- ``wait: 1.5`` lets seconds pass.
- ``stored:`` expects one message of just this content to have been stored, in order; without it no
  message may have been.
- ``envelope:`` before it expects that message's ``<sender> <recipient> …``, as the server has them.
- ``with:`` gives settings for whoever runs the dialogue.

In octets that are sent or stored ``\r \n \0 \t \\ \xNN`` are what they are in Python, and
``\(text*300)`` is a repetition. A trailing ``\`` with nothing after it keeps blanks before it.

The reader knows no transport: `Dialogue.steps` is a list of values, and `Expect.mismatch` says what
is wrong with a reply.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from postroom.wire.replies import Reply

_LINE: Final = re.compile(r"(?P<key>[A-Za-z][A-Za-z-]*)(?:\*(?P<times>[0-9]+))?:(?: (?P<rest>.*))?")
_ESCAPE: Final = re.compile(
    rb"\\(?:(?P<plain>[rn0t\\])|x(?P<hex>[0-9a-fA-F]{2})|\((?P<text>[^*)]*)\*(?P<times>[0-9]+)\)|$)"
)
_PLAIN: Final = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"t": b"\t", b"\\": b"\\"}
_REPLY: Final = re.compile(
    r"(?P<code>[2-5][0-9]{2})(?P<more>-?)"
    r"(?: ?(?P<enhanced>[245]\.[0-9]+\.[0-9]+))?(?: ?(?P<text>.*))?"
)


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
        code: the reply's code.
        enhanced: its enhanced code, None for any or none.
        text: must occur in the reply's text.
        lines: the reply's whole text, None where `text` is all that counts.
    """

    line: int
    code: int
    enhanced: str | None = None
    text: str = ""
    lines: tuple[str, ...] | None = None

    def mismatch(self, reply: Reply) -> str | None:
        """Say how a reply differs from what is expected; None if it does not."""
        if reply.code != self.code:
            return f"expected {self.code}, got {reply}"
        if self.enhanced is not None and reply.enhanced != self.enhanced:
            return f"expected {self.code} {self.enhanced}, got {reply}"
        if self.lines is not None and reply.text != self.lines:
            return f"expected the lines {self.lines}, got {reply.text}"
        if self.text not in " ".join(reply.text):
            return f"expected the text {self.text!r}, got {reply}"
        return None


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    line: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The server has closed the connection."""

    line: int


@dataclass(frozen=True, slots=True)
class Storage:
    """A message that must have been stored.

    Attributes:
        content: exactly.
        envelope: sender and recipients in angle brackets, None for any.
    """

    content: bytes
    envelope: str | None


Step = Send | Expect | Wait | Closed


@dataclass(slots=True)
class Dialogue:
    """One dialogue.

    Attributes:
        title: what it shows.
        settings: of ``with:``.
        steps: in order.
        storage: what must have been stored at the end, in order.
    """

    title: str
    settings: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    storage: list[Storage] = field(default_factory=list)


def unescape(text: str) -> bytes:
    r"""Give the octets of a text with escapes: ``a\r\n`` is four characters and three octets.

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
        """Take one line."""
        if line == "S-closed":
            self.dialogue.steps.append(Closed(number))
            return
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of a transcript: {line!r}")
        key, rest, times = match["key"], match["rest"] or "", int(match["times"] or 1)
        steps = self.dialogue.steps
        if key in ("C", "C-raw"):
            steps += [Send(number, unescape(rest) + (b"\r\n" if key == "C" else b""))] * times
        elif key == "S":
            expect = self._expectation(number, rest)
            steps += [expect] * times if expect is not None else []
        elif key == "wait":
            steps.append(Wait(number, float(rest)))
        elif key == "with":
            self.dialogue.settings.update(dict(word.split("=", 1) for word in rest.split()))
        elif key == "envelope":
            self._envelope = rest
        elif key == "stored":
            self.dialogue.storage += [Storage(unescape(rest), self._envelope)] * times
            self._envelope = None
        else:
            raise ValueError(f"unknown key {key!r}")

    def _expectation(self, number: int, text: str) -> Expect | None:
        """Read the right side of ``S:``; None within a reply of several lines."""
        match = _REPLY.fullmatch(text)
        if match is None:
            raise ValueError(f"not a reply: {text!r}")
        code, enhanced, words = int(match["code"]), match["enhanced"], match["text"] or ""
        if match["more"]:
            self._reply_lines += (words,)
            return None
        if self._reply_lines:
            lines, self._reply_lines = (*self._reply_lines, words), ()
            return Expect(number, code, enhanced, lines=lines)
        return Expect(number, code, enhanced, words)
