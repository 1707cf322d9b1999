"""Runs dialogues against the real server, in memory.

Each dialogue is run with its octets cut in four ways, and each of these with a delivery that
answers at once and with one that answers later: the replies and what is stored must be the same.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from enum import Enum
from ipaddress import ip_network
from pathlib import Path

from postroom.server.limits import Limits, ListenerSettings
from postroom.testing.transcript import Closed, Dialogue, Expect, Send, Wait, read_transcript
from postroom.wire.replies import Reply
from tests.server.scene import HOSTNAME, PATIENT, Peer, Scene

TRANSCRIPTS = Path(__file__).parent / "transcripts"
_NUMBERS = {each.name: each.type for each in fields(Limits)}
_NETWORKS = ("clear_text_auth_networks", "normalise_networks", "unlimited_networks")


class Cut(Enum):
    """How what the client sends is cut into segments."""

    LINES = "line by line"
    GROUPS = "all that comes before a reply is waited for at once"
    OCTETS = "octet by octet"
    WHOLE = "all of it at once"


def dialogues(path: Path) -> Iterator[Dialogue]:
    """Give the dialogues of a file."""
    return read_transcript(path.read_text(encoding="utf-8"))


def listener_of(dialogue: Dialogue) -> ListenerSettings:
    """Make the settings that a dialogue asks for."""
    listener, limits = ListenerSettings("mx", HOSTNAME), PATIENT
    for key, value in dialogue.settings.items():
        if key in _NUMBERS:
            limits = replace(limits, **{key: float(value) if "." in value else int(value)})
        elif key in _NETWORKS:
            listener = replace(listener, **{key: [ip_network(value)]})
        elif key == "space_after_colon":
            listener = replace(listener, space_after_colon=value == "yes")
        elif key == "role":
            listener = replace(listener, role=value)
        elif key != "tls":
            raise ValueError(f"{dialogue.title}: unknown setting {key}")
    return replace(listener, limits=limits)


class Mismatch(AssertionError):
    """The server did something else than the dialogue says."""


class Run:
    """One run of one dialogue."""

    def __init__(self, dialogue: Dialogue, cut: Cut, late: bool) -> None:
        self.dialogue = dialogue
        self.cut = cut
        self.scene = Scene(listener_of(dialogue))
        if late:
            self.scene.answer_late()
        self.peer: Peer = self.scene.connect(tls=dialogue.settings.get("tls") == "yes")
        self._unsent = b""
        self._waiting_for: list[Expect] = []

    def run(self) -> None:
        """Go through the dialogue.

        Raises:
            Mismatch: where the server differs from it.
        """
        for step in self.dialogue.steps:
            if isinstance(step, Send):
                self._unsent += step.octets
                if self.cut is Cut.LINES:
                    self._flush()
            elif isinstance(step, Expect):
                self._expect(step)
            elif isinstance(step, Wait):
                self._flush()
                self.scene.wait(step.seconds, self.peer)
            else:
                self._close(step)
        self._flush()
        self._hear_expected()
        self._check_end()

    def _flush(self) -> None:
        octets, self._unsent = self._unsent, b""
        if self.cut is Cut.OCTETS:
            for at in range(len(octets)):
                self.peer.send(octets[at : at + 1])
                self.peer.settle()
        elif octets:
            self.peer.send(octets)
        self.peer.settle()

    def _expect(self, step: Expect) -> None:
        self._waiting_for.append(step)
        if self.cut is not Cut.WHOLE:
            self._flush()
            self._hear_expected()

    def _hear_expected(self) -> None:
        expected, self._waiting_for = self._waiting_for, []
        for step in expected:
            try:
                reply = self.peer.hear()
            except AssertionError as error:
                raise self._mismatch(step.line, f"expected {step.code}, but {error}") from None
            wrong = step.mismatch(reply) or wrong_form(reply)
            if wrong is not None:
                raise self._mismatch(step.line, wrong)

    def _close(self, step: Closed) -> None:
        self._flush()
        self._hear_expected()
        if not self.peer.closed:
            raise self._mismatch(step.line, "the server should have closed")

    def _check_end(self) -> None:
        extra = self.peer.hear_all()
        if extra:
            raise self._mismatch(0, f"replies too many: {[str(each) for each in extra]}")
        closes = any(isinstance(step, Closed) for step in self.dialogue.steps)
        if self.peer.closed != closes:
            raise self._mismatch(0, "the server closed" if self.peer.closed else "it did not close")
        self.peer.lose()
        stored, wanted = self.scene.world.stored, self.dialogue.storage
        found = [each.content for each in stored]
        if found != [each.content for each in wanted]:
            raise self._mismatch(0, f"stored {[content[:300] for content in found]}")
        for message, want in zip(stored, wanted, strict=True):
            paths = (message.sender or "", *message.recipients)
            envelope = " ".join(f"<{path}>" for path in paths)
            if want.envelope is not None and envelope != want.envelope:
                raise self._mismatch(0, f"the envelope was {envelope}")

    def _mismatch(self, line: int, what: str) -> Mismatch:
        place = f"line {line}: " if line else ""
        return Mismatch(f"{self.dialogue.title} ({self.cut.value}): {place}{what}")


def wrong_form(reply: Reply) -> str | None:
    """Say what is wrong with any reply after the greeting: RFC 2034 s3, RFC 5321 s4.2."""
    hello = reply.code == 250 and reply.text[0] == HOSTNAME
    if reply.code in (334, 354) or hello:
        return None if reply.enhanced is None else f"an enhanced code where none belongs: {reply}"
    return None if reply.enhanced is not None else f"no enhanced code: {reply}"


def run(dialogue: Dialogue) -> None:
    """Run a dialogue in every way.

    Raises:
        Mismatch: where the server differs from it.
    """
    for cut in Cut:
        for late in (False, True):
            Run(dialogue, cut, late).run()
