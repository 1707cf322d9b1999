"""Runs dialogues against the real server, in memory.

Each dialogue is run with its octets cut in four ways, and each of these with a delivery that
answers at once and with one that answers later: the replies and what is stored must be the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from ipaddress import ip_network
from pathlib import Path

from twisted.internet.interfaces import ISSLTransport

from postroom.server.limits import Limits, ListenerSettings
from postroom.testing.conformance.examination import through_starttls
from postroom.testing.conversation import Cut, DialogueRun, Silence
from postroom.testing.transcript import Dialogue, Expect, read_transcript
from postroom.wire.replies import Reply
from postroom.wire.tolerance import ALL, NONE, Tolerance
from tests.server.scene import HOSTNAME, PATIENT, Peer, Scene, settings

TRANSCRIPTS = Path(__file__).parent / "transcripts"
_NUMBERS = {each.name: each.type for each in fields(Limits)}
_NETWORKS = [each.name for each in fields(ListenerSettings) if each.name.endswith("_networks")]
_SWITCHES = ("prdr", "vrfy", "expn", "synchronised", "binarymime")
_WORDS = ("extensions_off", "unwanted_solicitations")


def dialogues(path: Path) -> Iterator[Dialogue]:
    """Give the dialogues of a file."""
    return read_transcript(path.read_text(encoding="utf-8"))


def listener_of(dialogue: Dialogue) -> ListenerSettings:
    """Make the settings that a dialogue asks for."""
    listener, limits = settings(), PATIENT
    for key, value in dialogue.settings.items():
        if key in _NUMBERS:
            limits = replace(limits, **{key: float(value) if "." in value else int(value)})
        elif key in _NETWORKS:
            listener = replace(listener, **{key: [ip_network(value)]})
        elif key in _SWITCHES:
            listener = replace(listener, **{key: value == "yes"})
        elif key in _WORDS:
            listener = replace(listener, **{key: value.split(",")})
        elif key == "hold_seconds":
            listener = replace(listener, hold_seconds=int(value))
        elif key == "strict":
            if value == "yes":
                listener = replace(listener, tolerate=NONE, bare_newline="refuse")
                limits = replace(limits, text_line_octets=998)
        elif key == "without":
            refused = frozenset(map(Tolerance, value.split(",")))
            listener = replace(listener, tolerate=ALL - refused)
        elif key in ("bare_newline", "origin"):
            listener = replace(listener, **{key: value})
        elif key == "role":
            listener = replace(listener, role=value)
        elif key != "tls":
            raise ValueError(f"{dialogue.title}: unknown setting {key}")
    return replace(listener, limits=limits)


class MemoryLine:
    """A connection to a scene's server."""

    def __init__(self, scene: Scene, peer: Peer) -> None:
        self.scene = scene
        self.peer = peer
        self._secure = self._negotiates()
        self._spoilt = False

    def _negotiates(self) -> bool:
        return ISSLTransport.providedBy(self.peer.transport)

    def send(self, octets: bytes) -> None:
        if self._negotiates() and not self._secure:
            self._spoilt = True  # the server waits for a handshake, and this is none
            return
        self.peer.send(octets)
        self.peer.settle()

    def hear(self) -> Reply:
        self.peer.settle()
        try:
            return self.peer.hear()
        except AssertionError as error:
            raise Silence(str(error)) from None

    def start_tls(self) -> None:
        if not self._negotiates() or self._spoilt:
            raise Silence("the server does not negotiate TLS")
        self._secure = True

    def wait(self, seconds: float) -> None:
        self.scene.wait(seconds, self.peer)

    def closes(self) -> bool:
        return self.peer.closed

    def leftovers(self, *, closed: bool, within: bool) -> Sequence[Reply]:
        if self.peer.closed and not closed:
            raise Silence("the server closed")
        return self.peer.hear_all()

    def lose(self) -> None:
        self.peer.lose()


class MemoryRun(DialogueRun):
    """A conversation with a scene's server, of which more is known than its replies.

    Attributes:
        strict: every reply after the greeting must have the form that ours have.
        synchronised: the client is cut off if it does not wait for its turn.
    """

    strict = True
    synchronised = False

    def __init__(self, dialogue: Dialogue, cut: Cut, late: bool, tls: bool = False) -> None:
        listener = listener_of(dialogue)
        self.scene = Scene(
            replace(listener, synchronised=listener.synchronised or self.synchronised)
        )
        if late:
            self.scene.answer_late()
        tls = tls or dialogue.settings.get("tls") == "yes"
        peer = self.scene.connect(tls=tls, greeted=False)
        super().__init__(dialogue, MemoryLine(self.scene, peer), cut)

    def wrong_form(self, reply: Reply, step: Expect) -> str | None:
        return wrong_form(reply) if step.line and self.strict else None

    def run(self) -> None:
        """Go through the dialogue, and look at what was stored.

        Raises:
            Mismatch: where the server differs from it.
        """
        super().run()
        self.check_storage()

    def check_storage(self) -> None:
        stored, wanted = self.scene.world.stored, self.dialogue.storage
        found = [each.content for each in stored]
        if found != [each.content for each in wanted]:
            raise self.mismatch(0, f"stored {[content[:300] for content in found]}")
        for message, want in zip(stored, wanted, strict=True):
            paths = (message.sender or "", *message.recipients)
            envelope = " ".join(f"<{path}>" for path in paths)
            if want.envelope is not None and envelope != want.envelope:
                raise self.mismatch(0, f"the envelope was {envelope}")


def wrong_form(reply: Reply) -> str | None:
    """Say what is wrong with any reply after the greeting: RFC 2034 s3, RFC 5321 s4.2."""
    hello = reply.code in (220, 250) and reply.text[0].split()[:1] == [HOSTNAME]
    if reply.code in (334, 353, 354) or hello:
        return None if reply.enhanced is None else f"an enhanced code where none belongs: {reply}"
    return None if reply.enhanced is not None else f"no enhanced code: {reply}"


def run(dialogue: Dialogue, *, over_tls: bool = False) -> None:
    """Run a dialogue in every way.

    One that does not say whether the server is strict must be the same if it tolerates all that it
    can, and if it tolerates nothing.

    Args:
        dialogue: which.
        over_tls: it is the same over TLS, so it is had through STARTTLS and within TLS, too.

    Raises:
        Mismatch: where the server differs from it.
    """
    if "strict" not in dialogue.settings:
        _run(replace(dialogue, settings={**dialogue.settings, "strict": "yes"}), over_tls=False)
    _run(dialogue, over_tls=over_tls)


def _run(dialogue: Dialogue, *, over_tls: bool) -> None:
    cuts = list(Cut)
    if dialogue.settings.get("synchronised") == "yes":  # then all at once is what is refused
        cuts.remove(Cut.WHOLE)
    for cut in cuts:
        for late in (False, True):
            MemoryRun(dialogue, cut, late).run()
    if over_tls:
        for cut in (Cut.GROUPS, Cut.OCTETS):
            MemoryRun(dialogue, cut, late=True, tls=True).run()
            MemoryRun(through_starttls(dialogue), cut, late=False).run()
