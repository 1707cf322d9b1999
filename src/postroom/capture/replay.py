"""Replays a captured session: sends the client's side to a server and compares the replies.

What the client sent in one segment is sent in one segment. Then the replay waits for as many
replies as the first server gave, except unsolicited ones (such as 421 from a server that shuts
down). What the second server does not request is left out: content without 354, a response without
334. The replay ends before a STARTTLS that was accepted, because the capture has nothing readable
behind it.

A server may close at any time. What it sent before is read even when nothing can be sent to it any
more.

Everything is sent as it was captured, secrets included: a session with AUTH in clear text logs in
at the server that it is replayed to.

Times are bounded: each connect, each send and each reply by ``timeout_seconds``.

Who controls the input: the capture, and the server that answers.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from postroom.capture.entries import END, NOTHING, RESPONSE, ConversationEntry
from postroom.capture.sessions import CapturedSession
from postroom.errors import UserError
from postroom.wire import encode
from postroom.wire.codes import (
    REPLY_AUTH_INPUT,
    REPLY_DATA_INPUT,
    REPLY_RECIPIENTS_FOLLOW,
    REPLY_SERVICE_READY,
)
from postroom.wire.commands import Bdat
from postroom.wire.errors import ReplyViolation
from postroom.wire.layer import SmtpLayer
from postroom.wire.replies import Reply
from postroom.wire.reply_reader import ReplyReader
from postroom.wire.stream import Mode
from postroom.wire.verbs import CMD_LHLO, CMD_MAIL, CMD_RCPT, CMD_STARTTLS

LINE_OCTETS: Final = 8192
"""A longer reply line ends the replay."""


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """One step of a replay.

    Attributes:
        speaker: "C" or "S", or "-" for a remark about the replay.
        lines: what was captured, as it may be shown.
        heard: the reply of this replay, None where none was due.
        differs: True if its code or enhanced code differs from the captured one.
        cut_short: True for the last step of a replay that did not come to the session's end.
    """

    speaker: str
    lines: tuple[str, ...]
    heard: Reply | None = None
    differs: bool = False
    cut_short: bool = False


class _ReplayServer:
    """The connection to the server, a blocking socket.

    Attributes:
        broken: why no more can be sent, None as long as it can.
        lost: why no more can be read, None if the server has only closed.
    """

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        self._name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout_seconds)
        except (OSError, UnicodeError) as error:
            raise UserError(f"{self._name}: {_reason(error)}") from None
        self._unread = b""
        self.broken: str | None = None
        self.lost: str | None = None

    def close(self) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> str | None:
        """Send octets; return why that fails, or None. Earlier replies can still be read."""
        try:
            self._socket.sendall(octets)
        except OSError as error:
            self.broken = _reason(error)
        return self.broken

    def read_reply(self) -> Reply | None:
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
            except OSError as error:
                self.lost = _reason(error)
                return None
            if not octets:
                return None
            self._unread += octets
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line


def _reason(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def replay(
    session: CapturedSession, host: str, port: int, timeout_seconds: float
) -> Iterator[ReplayStep]:
    """Send a session's client side to a server.

    A server that closes early, or a connection that breaks, is the last step; see
    `ReplayStep.cut_short`.

    Args:
        session: heard with its octets kept.
        host: where to.
        port: where to.
        timeout_seconds: for each thing that is waited for.

    Raises:
        UserError: the session is not whole, the server cannot be reached, says nothing in time, or
            says what is no reply.
    """
    if not session.conversation.complete:
        raise UserError(f"session {session.number} is not whole, it cannot be replayed")
    peer = _ReplayServer(host, port, timeout_seconds)
    try:
        yield from _Replay(peer, session.conversation.entries).steps()
    finally:
        peer.close()


class _Replay:
    """The progress of a replay.

    A server owes one reply to the end of content, but in LMTP and PRDR one for each recipient that
    it has accepted: which need not be those that the first server accepted.
    """

    def __init__(self, peer: _ReplayServer, entries: list[ConversationEntry]) -> None:
        self._peer = peer
        self._entries = entries
        self._last_code = 0
        self._heard = True  # whether the server has had its say since something was sent
        self._responses_left_out = 0
        self._is_lmtp = False
        self._recipients = 0
        self._ends = 0  # of contents, to which the server has said nothing yet
        self._owed = 0  # replies to the end to which it has begun to reply
        self._over = False

    def steps(self) -> Iterator[ReplayStep]:
        for position, entry in enumerate(self._entries):
            if entry.speaker == "C":
                yield from self._say(entry, position)
            elif entry.speaker == "S":
                yield from self._hear(entry)
            if self._over:
                return
        if self._peer.broken is not None:
            yield from self._last_words()

    def _say(self, entry: ConversationEntry, position: int) -> Iterator[ReplayStep]:
        if self._peer.broken is not None:
            return  # as was said when it broke
        wanted = _asked_for(entry)
        if wanted is not None and self._heard and self._last_code != wanted:
            self._responses_left_out += entry.mode is Mode.RESPONSE
            yield ReplayStep("-", (f"[left out: the server did not reply {wanted}]",))
            return
        command = _command(entry)
        if command == CMD_STARTTLS and not self._was_refused(position):
            yield ReplayStep("-", ("[STARTTLS: what follows is not in the capture]",))
            self._peer.send(encode.QUIT)
            self._over = True
            return
        self._heard = False
        broken = self._peer.send(entry.octets)
        yield ReplayStep("C", tuple(entry.lines))
        if broken is not None:
            yield ReplayStep("-", (f"[not sent, or not all of it: {broken}]",))
        self._is_lmtp = self._is_lmtp or command == CMD_LHLO
        self._ends += _ends_content(entry)

    def _was_refused(self, position: int) -> bool:
        """Return whether STARTTLS was refused, so that what follows it is in the capture."""
        later = self._entries[position:]
        replies = (each for each in later if each.speaker == "S" and each.answers == CMD_STARTTLS)
        reply = next(replies, None)
        return reply is not None and _view(reply).reply_code != REPLY_SERVICE_READY

    def _hear(self, entry: ConversationEntry) -> Iterator[ReplayStep]:
        shown = tuple(entry.lines)
        if entry.answers == NOTHING:
            yield ReplayStep("-", (f"[unsolicited reply, not waited for: {shown[0]}]",))
        elif entry.answers == RESPONSE and self._responses_left_out:
            self._responses_left_out -= 1
        elif entry.answers == END and not self._is_owed():
            yield ReplayStep("-", (f"[left out: the server owes no reply: {shown[0]}]",))
        else:
            if entry.answers != END:
                yield from self._more_of_what_is_owed()
            reply = self._peer.read_reply()
            yield ReplayStep("S", shown, reply, reply is None or not _is_same(entry, reply))
            yield from self._go_on(entry.answers, reply)

    def _is_owed(self) -> bool:
        """Return whether the server still owes a reply to the end of content."""
        if not self._owed and self._ends:
            self._ends -= 1
            self._owed = max(self._recipients, 1) if self._is_lmtp else 1
        return self._owed > 0

    def _go_on(self, answers: str | None, reply: Reply | None) -> Iterator[ReplayStep]:
        """Yield the steps that follow from a reply."""
        self._heard, self._last_code = True, reply.code if reply is not None else 0
        if reply is None:
            yield self._closed()
        elif answers == END:
            follow = reply.code == REPLY_RECIPIENTS_FOLLOW  # one for each, and one for all
            self._owed = self._recipients + 1 if follow else self._owed - 1
        elif answers == CMD_RCPT:
            self._recipients += reply.positive
        elif answers == CMD_MAIL:
            self._recipients = 0
        elif answers == CMD_STARTTLS and reply.code == REPLY_SERVICE_READY:
            self._over = True
            yield ReplayStep(
                "-", ("[TLS would begin here, unlike in the capture]",), cut_short=True
            )

    def _more_of_what_is_owed(self) -> Iterator[ReplayStep]:
        """Read the replies for recipients that only this server accepted."""
        while self._owed and self._is_lmtp:
            reply = self._peer.read_reply()
            if reply is None:
                return
            self._owed -= 1
            yield ReplayStep("-", (f"[for a recipient that was not accepted before: {reply}]",))

    def _last_words(self) -> Iterator[ReplayStep]:
        """Read what the server sent before sending to it failed."""
        while (reply := self._peer.read_reply()) is not None:
            yield ReplayStep("-", (f"[further reply: {reply}]",))
        yield self._closed()

    def _closed(self) -> ReplayStep:
        self._over = True
        lost = self._peer.lost
        said = f"[the connection is lost: {lost}]" if lost else "[the server has closed]"
        return ReplayStep("-", (said,), cut_short=True)


def _view(entry: ConversationEntry) -> SmtpLayer:
    return SmtpLayer(entry.octets, is_response=entry.speaker == "S")


def _command(entry: ConversationEntry) -> str | None:
    return _view(entry).command if entry.mode is Mode.COMMANDS else None


def _ends_content(entry: ConversationEntry) -> bool:
    """Return whether the server answers this for each recipient in LMTP. RFC 2033 s4.2."""
    if entry.mode is Mode.CONTENT:
        return True
    command = _view(entry).parsed if entry.mode is Mode.COMMANDS else None
    return isinstance(command, Bdat) and command.last


def _is_same(entry: ConversationEntry, reply: Reply) -> bool:
    before = _view(entry)
    return (reply.code, reply.enhanced) == (before.reply_code, before.enhanced_code)


def _asked_for(entry: ConversationEntry) -> int | None:
    """Return the reply code that must come before this is sent; None for commands and chunks."""
    if entry.mode is Mode.CONTENT:
        return REPLY_DATA_INPUT
    return REPLY_AUTH_INPUT if entry.mode is Mode.RESPONSE else None
