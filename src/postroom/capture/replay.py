"""A captured session once more: the client's side is sent to a server, whose replies are compared.

What the client said in one go is sent in one go, and as many replies are waited for as the first
server gave. What the second server does not ask for is left out: content without 354, a response
without 334. What follows STARTTLS is nowhere in the capture, so the replay ends before it.

Everything is sent as it was captured, secrets included: a session with AUTH in clear text logs in
at the server that it is replayed to.

Times are bounded: each connect, each send and each reply by ``timeout_seconds``.

Who controls the input: the capture, and the server that answers.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from postroom.capture.entries import Entry
from postroom.capture.sessions import Session
from postroom.errors import UserError
from postroom.wire import encode
from postroom.wire.codes import REPLY_AUTH_INPUT, REPLY_DATA_INPUT
from postroom.wire.errors import ReplyViolation
from postroom.wire.layer import SmtpLayer
from postroom.wire.replies import Reply, ReplyReader
from postroom.wire.stream import Mode
from postroom.wire.verbs import CMD_STARTTLS

LINE_OCTETS: Final = 8192
"""A longer reply line ends the replay."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a replay.

    Attributes:
        speaker: "C" or "S", or "-" for what is said about the replay.
        lines: what was captured, as it may be shown.
        heard: the reply that came now, None where none was waited for.
        differs: True if its code or its enhanced code is another one.
    """

    speaker: str
    lines: tuple[str, ...]
    heard: Reply | None = None
    differs: bool = False


class _Peer:
    """The server, on a blocking socket."""

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        self._name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout_seconds)
        except OSError as error:
            raise UserError(f"{self._name}: {error.strerror or error}") from None
        self._unread = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        try:
            self._socket.sendall(octets)
        except OSError as error:
            raise UserError(f"{self._name}: {error.strerror or error}") from None

    def hear(self) -> Reply | None:
        """Wait for a reply; None if the server has closed."""
        reader = ReplyReader()
        while True:
            line = self._line()
            if line is None:
                return None
            try:
                reply = reader.feed(line)
            except ReplyViolation as violation:
                raise UserError(f"{self._name}: {violation}") from None
            if reply is not None:
                return reply

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._unread:
            if len(self._unread) > LINE_OCTETS:
                raise UserError(f"{self._name}: a reply line longer than {LINE_OCTETS} octets")
            try:
                octets = self._socket.recv(65_536)
            except TimeoutError:
                raise UserError(f"{self._name}: no reply in time") from None
            except OSError:
                return None
            if not octets:
                return None
            self._unread += octets
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line


def replay(session: Session, host: str, port: int, timeout_seconds: float) -> Iterator[Step]:
    """Send a session's client side to a server.

    Args:
        session: heard with its octets kept.
        host: where to.
        port: where to.
        timeout_seconds: for each thing that is waited for.

    Raises:
        UserError: the session is not whole, or the server cannot be talked to.
    """
    if not session.conversation.complete:
        raise UserError(f"session {session.number} is not whole, it cannot be replayed")
    peer = _Peer(host, port, timeout_seconds)
    try:
        yield from _Replay(peer).steps(session.conversation.entries)
    finally:
        peer.close()


class _Replay:
    """How far a replay has come."""

    def __init__(self, peer: _Peer) -> None:
        self._peer = peer
        self._last_code = 0
        self._left_out = 0

    def steps(self, entries: list[Entry]) -> Iterator[Step]:
        for entry in entries:
            shown = tuple(entry.lines)
            if entry.speaker == "C":
                layer = SmtpLayer(entry.octets, is_response=False)
                if entry.mode is Mode.COMMANDS and layer.command == CMD_STARTTLS:
                    yield Step("-", ("[STARTTLS: what follows is not in the capture]",))
                    self._peer.send(encode.QUIT)
                    return
                yield self._say(entry, shown)
            elif entry.speaker == "S":
                if self._left_out:
                    self._left_out -= 1
                    continue
                step = self._hear(entry, shown)
                yield step
                if step.heard is None:
                    yield Step("-", ("[the server has closed]",))
                    return

    def _say(self, entry: Entry, shown: tuple[str, ...]) -> Step:
        wanted = _asked_for(entry)
        if wanted is not None and self._last_code != wanted:
            self._left_out += 1
            return Step("-", (f"[left out, for the server did not say {wanted}]",))
        self._peer.send(entry.octets)
        return Step("C", shown)

    def _hear(self, entry: Entry, shown: tuple[str, ...]) -> Step:
        reply = self._peer.hear()
        before = SmtpLayer(entry.octets, is_response=True)
        self._last_code = reply.code if reply is not None else 0
        same = reply is not None and (reply.code, reply.enhanced) == (
            before.reply_code,
            before.enhanced_code,
        )
        return Step("S", shown, reply, not same)


def _asked_for(entry: Entry) -> int | None:
    """Say which reply must have come before something is sent; None for a command or a chunk."""
    if entry.mode is Mode.CONTENT:
        return REPLY_DATA_INPUT
    return REPLY_AUTH_INPUT if entry.mode is Mode.RESPONSE else None
