"""Runs a dialogue with a server, in memory or through a socket.

A `DialogueRun` takes the steps of a `transcript.Dialogue` in order, its octets cut into segments
in one way (`Cut`), and raises `Mismatch` where the server does something else. It reaches a server
through a `DialogueConnection`: in memory (for our own tests), or through a socket
(`conformance.sockets`).
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Protocol

from postroom.testing.transcript import (
    Closed,
    Dialogue,
    Expect,
    OpenConnection,
    Say,
    Send,
    StartTLS,
    Step,
    Wait,
)
from postroom.wire.replies import Reply


class Cut(Enum):
    """The way in which the client's octets are cut into segments."""

    LINES = "line by line"
    GROUPS = "all that comes before a reply is waited for at once"
    OCTETS = "octet by octet"
    WHOLE = "all of it at once"


class Silence(Exception):
    """No reply came; the message says what came instead."""


class Mismatch(AssertionError):
    """The server did not do what the dialogue says."""


class _OverEarly(Exception):
    """The server has closed where it may."""


class DialogueConnection(Protocol):
    """A connection to a server, with its greeting unread."""

    def send(self, octets: bytes) -> None:
        """Send a segment; drop it if the server has closed."""

    def hear(self) -> Reply:
        """Return the next reply.

        Raises:
            Silence: none came in time, or something that is none.
        """

    def start_tls(self) -> None:
        """Negotiate TLS as the client.

        Raises:
            Silence: the server does not.
        """

    def wait(self, seconds: float) -> None:
        """Wait for some seconds."""

    def closes(self) -> bool:
        """Return whether the server has closed, or closes shortly."""

    def leftovers(self, *, closed: bool, within: bool) -> Sequence[Reply]:
        """Return the unsolicited replies, at the end.

        Args:
            closed: the server was seen to close.
            within: the server is left within content or AUTH, where it reads no commands.

        Raises:
            Silence: the server has closed without having been asked to.
        """

    def lose(self) -> None:
        """Close the connection from this side."""


class DialogueRun:
    """One run of a dialogue with a server.

    Attributes:
        checks_enhanced: compare enhanced status codes; False for a server that gives none.
    """

    checks_enhanced = True

    def __init__(self, dialogue: Dialogue, line: DialogueConnection, cut: Cut = Cut.GROUPS) -> None:
        """Store the dialogue, the connection, and how to cut segments."""
        self.dialogue = dialogue
        self.line = line
        self.cut = cut
        self._unsent = b""
        self._waiting_for: list[Expect] = []
        self._last_code = ""

    def run(self) -> None:
        """Run the dialogue.

        Raises:
            Mismatch: where the server differs from it.
        """
        steps = self.dialogue.steps
        if not (steps and isinstance(steps[0], Expect)):
            self._hear(Expect(0, "220"))
        try:
            for step in steps:
                self._take(step)
            self._flush()
            self._hear_expected()
        except _OverEarly:
            self.line.lose()
        else:
            self._check_end()

    def _take(self, step: Step) -> None:
        if isinstance(step, Send):
            self._unsent += step.octets
            if self.cut is Cut.LINES:
                self._flush()
        elif isinstance(step, Expect):
            self._expect(step)
        elif isinstance(step, Wait):
            self._flush()
            self.line.wait(step.seconds)
        elif isinstance(step, StartTLS):
            self._start_tls(step)
        elif isinstance(step, Closed) and not step.by_client:
            self._close(step)
        else:
            assert isinstance(step, Closed | Say | OpenConnection)
            raise self.mismatch(step.line, "this is for a scripted server")

    def _flush(self) -> None:
        octets, self._unsent = self._unsent, b""
        if self.cut is Cut.OCTETS:
            for at in range(len(octets)):
                self.line.send(octets[at : at + 1])
        elif octets:
            self.line.send(octets)

    def _expect(self, step: Expect) -> None:
        self._waiting_for.append(step)
        if self.cut is not Cut.WHOLE:
            self._flush()
            self._hear_expected()

    def _hear_expected(self) -> None:
        expected, self._waiting_for = self._waiting_for, []
        for step in expected:
            self._hear(step)

    def _hear(self, step: Expect) -> None:
        try:
            reply = self.line.hear()
        except Silence as silence:
            if step.or_closed and self.line.closes():
                raise _OverEarly from None
            raise self.mismatch(step.line, f"expected {step.code}, but {silence}") from None
        if not self.checks_enhanced:
            step = replace(step, enhanced=None)
        wrong = step.mismatch(reply) or self.wrong_form(reply, step)
        if wrong is not None:
            raise self.mismatch(step.line, wrong)
        self._last_code = str(reply.code)

    def wrong_form(self, reply: Reply, step: Expect) -> str | None:
        """Return the fault of a reply; for subclasses that know more about the server."""
        return None

    def _start_tls(self, step: StartTLS) -> None:
        self._flush()
        self._hear_expected()
        if not step.must and self._last_code[:1] == "5":
            raise _OverEarly
        try:
            self.line.start_tls()
        except Silence as silence:
            if not step.must:
                raise _OverEarly from None
            raise self.mismatch(step.line, str(silence)) from None

    def _close(self, step: Closed) -> None:
        self._flush()
        self._hear_expected()
        if not self.line.closes():
            raise self.mismatch(step.line, "the server should have closed")

    def _check_end(self) -> None:
        closed = any(isinstance(step, Closed) for step in self.dialogue.steps)
        try:
            extra = self.line.leftovers(closed=closed, within=self._last_code[:1] == "3")
        except Silence as silence:
            raise self.mismatch(0, str(silence)) from None
        if extra:
            raise self.mismatch(0, f"replies too many: {[str(each) for each in extra]}")
        self.line.lose()

    def mismatch(self, line: int, what: str) -> Mismatch:
        """Make the exception that says what differs, and where."""
        place = f"line {line}: " if line else ""
        return Mismatch(f"{self.dialogue.title} ({self.cut.value}): {place}{what}")
