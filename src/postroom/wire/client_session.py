"""A session as the client sees it: what may be sent when, and which reply belongs to what.

Theory of operation. A `ClientSession` is told the octets that came (`receive`) and asked for the
replies in them, one by one (`next_answer`); it is asked for the octets of each command before they
are sent, and so knows what is unanswered. Commands are answered in order (RFC 2920 s3.2), hence a
queue of phases is all the matching there is. What the server knows of us is one `State`, and every
step between states is a line of `_STEPS`.

A `Transaction` is one MAIL with its RCPTs and DATA. Where PIPELINING was offered they leave as one
group; else each waits for the answer to the one before. `proceed` gives what comes next, until it
is the turn of the content, or the transaction is over; it also cleans up after transactions that
did not reach the final dot, with a lone dot (354 although nobody was accepted) or RSET.

Invariants:
- A reply that answers nothing ends the session (`ReplyViolation`), unless it is negative: a server
  may say 421 at any time, or refuse content before its end.
- What STARTTLS was learnt before is forgotten by replacement: `secured` gives a new session, and
  refuses if the server has said more than its 220 (RFC 3207 s4.2, CVE-2021-38371 and its kin).
- The same octets give the same answers however they are cut into segments.

Who controls the input: the remote server, every octet of it.
"""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from postroom.wire import encode
from postroom.wire.errors import LocalViolation, ReplyViolation
from postroom.wire.replies import Reply, ReplyReader

REPLY_LINE_OCTETS: Final = 4096
"""The longest reply line that is read; some servers pass the 512 of RFC 5321 s4.5.3.1.5."""


_2YZ, _2YZ_3YZ, _354, _NOTHING = range(200, 300), range(200, 400), range(354, 355), range(0)


class Phase(Enum):
    """What a client waits for: how to say it, how long, and what success is.

    The time is that of RFC 5321 s4.5.3.2 where it names one.

    Attributes:
        phrase: completes "lost connection with …" and "… timed out".
        timeout_seconds: how long to wait by default.
        success: the codes of success: by the first digit (RFC 5321 s4.2.1), but content is sent
            after 354 alone. Any other positive reply means that the two sides no longer speak of
            the same command.
    """

    GREETING = ("while waiting for the greeting", 300.0, _2YZ)
    EHLO = ("while sending EHLO", 300.0, _2YZ)
    HELO = ("while sending HELO", 300.0, _2YZ)
    STARTTLS = ("while sending STARTTLS", 300.0, _2YZ)
    HANDSHAKE = ("during the TLS handshake", 60.0, _NOTHING)
    AUTH = ("while logging in", 300.0, _2YZ_3YZ)
    MAIL = ("while sending MAIL FROM", 300.0, _2YZ)
    RCPT = ("while sending RCPT TO", 300.0, _2YZ)
    DATA = ("while sending DATA", 120.0, _354)
    CONTENT = ("while sending the content", 180.0, _NOTHING)
    FINAL_DOT = ("after the final dot: the message may be sent twice", 600.0, _2YZ)
    RSET = ("while sending RSET", 20.0, _2YZ)
    QUIT = ("while sending QUIT", 20.0, _2YZ)
    IDLE = ("while idle", 10.0, _NOTHING)

    def __init__(self, phrase: str, timeout_seconds: float, success: range) -> None:
        """Spread the table's line."""
        self.phrase = phrase
        self.timeout_seconds = timeout_seconds
        self.success = success

    __hash__ = object.__hash__  # members are single; Enum's own takes a tenth of a reply's time


class State(Enum):
    """What the server knows of us."""

    CONNECTED = "connected, not greeted"
    GREETED = "greeted, no EHLO yet"
    READY = "ready for mail"
    SECURING = "TLS is being negotiated"
    ENVELOPE = "in a transaction"
    CONTENT = "taking content"

    __hash__ = object.__hash__


# The step that a positive answer makes. A command that has no line for a state is not sent in it.
_STEPS: Final[dict[tuple[State, Phase], State]] = {
    (State.CONNECTED, Phase.GREETING): State.GREETED,
    (State.GREETED, Phase.EHLO): State.READY,
    (State.GREETED, Phase.HELO): State.READY,
    (State.READY, Phase.STARTTLS): State.SECURING,
    (State.READY, Phase.AUTH): State.READY,
    (State.READY, Phase.MAIL): State.ENVELOPE,
    (State.ENVELOPE, Phase.RCPT): State.ENVELOPE,
    (State.ENVELOPE, Phase.DATA): State.CONTENT,
    # In a group whose MAIL was refused the others follow nonetheless, and some server says yes.
    (State.READY, Phase.RCPT): State.ENVELOPE,
    (State.READY, Phase.DATA): State.CONTENT,
    # The final dot ends the transaction whatever its answer is.
    (State.CONTENT, Phase.FINAL_DOT): State.READY,
    (State.ENVELOPE, Phase.RSET): State.READY,
}

# ehlo-line    = ehlo-keyword *( SP ehlo-param )
# ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")              RFC 5321 s4.1.1.1
_EHLO_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?: +(.*))?")
_NUMBER = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the last EHLO offered.

    Attributes:
        extensions: keyword in upper case to its parameters, in one string.

    RFC 5321 s4.1.1.1
    """

    extensions: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, keyword: str) -> bool:
        """Tell whether an extension was offered; the keyword in upper case."""
        return keyword in self.extensions

    @property
    def size_octets(self) -> int:
        """The largest message taken, 0 if the host names no limit. RFC 1870 s4."""
        words = self.extensions.get("SIZE", "").split()
        return int(words[0]) if words and _NUMBER.fullmatch(words[0]) else 0

    @property
    def mechanisms(self) -> frozenset[str]:
        """SASL mechanisms, in upper case. RFC 4954 s3."""
        return frozenset(self.extensions.get("AUTH", "").upper().split())


NO_CAPABILITIES: Final = Capabilities()


def capabilities_of(reply: Reply) -> Capabilities:
    """Read the reply to EHLO; a line that is no keyword is passed over.

    RFC 5321 s4.1.1.1
    """
    matches = (_EHLO_LINE.fullmatch(line.rstrip(" ")) for line in reply.text[1:])
    return Capabilities({match[1].upper(): match[2] or "" for match in matches if match})


class Transaction:
    """One message to some recipients of one host, and what became of each.

    Attributes:
        replies: one for each RCPT, in order; None as long as nothing has refused that recipient
            and the content is not answered.

    RFC 5321 s3.3
    """

    __slots__ = ("_answered", "mail", "rcpts", "replies")

    def __init__(self, mail: bytes, rcpts: Sequence[bytes]) -> None:
        """Take the command lines, at least one RCPT."""
        self.mail = mail
        self.rcpts = rcpts
        self.replies: list[Reply | None] = [None] * len(rcpts)
        self._answered = 0

    @property
    def wanted(self) -> bool:
        """True while a recipient is there that nothing has refused."""
        return None in self.replies

    def settle(self, reply: Reply) -> None:
        """Give this reply to every recipient that has none."""
        self.replies = [reply if had is None else had for had in self.replies]

    def take(self, phase: Phase, reply: Reply) -> None:
        """Learn the answer to one of the transaction's commands.

        421 before the final dot decides nothing: the host closes, another one may take the message.
        """
        if reply.code == 421 and phase is not Phase.FINAL_DOT:
            return
        if phase is Phase.RCPT:
            if reply.code >= 400 and self.replies[self._answered] is None:
                self.replies[self._answered] = _of_recipient(reply)
            self._answered += 1
        elif reply.code >= 400 or phase is Phase.FINAL_DOT:
            self.settle(reply)

    def following(self) -> tuple[Phase, bytes] | None:
        """Say which command comes after those answered; None if no further one makes sense."""
        if not self.wanted:
            return None
        if self._answered < len(self.rcpts):
            return Phase.RCPT, self.rcpts[self._answered]
        return Phase.DATA, encode.DATA


def _of_recipient(reply: Reply) -> Reply:
    """Read 552 to RCPT as 452, "too many recipients". RFC 5321 s4.5.3.1.10."""
    if reply.code != 552:
        return reply
    enhanced = "4" + reply.enhanced[1:] if reply.enhanced else None
    return Reply(452, reply.text, enhanced)


def _start_of(reply: Reply) -> bytes:
    return str(reply).encode("ascii", "replace")[:80]


class ClientSession:
    """One session's order of events.

    Attributes:
        state: what the server knows of us.
        capabilities: of the last EHLO.
        transaction: the running one.
    """

    __slots__ = (
        "_awaited",
        "_known",
        "_lines",
        "_reader",
        "_rest",
        "capabilities",
        "state",
        "transaction",
    )

    def __init__(self, state: State = State.CONNECTED) -> None:
        """Begin, by default, before the greeting."""
        self.state = state
        self.capabilities = NO_CAPABILITIES
        self.transaction: Transaction | None = None
        self._awaited = deque([Phase.GREETING] if state is State.CONNECTED else [])
        self._reader = ReplyReader()
        # Servers say the same few things again and again: short replies are read once.
        self._known: dict[bytes, Reply] = {}
        self._lines: deque[bytes] = deque()
        self._rest = b""

    @property
    def awaiting(self) -> bool:
        """True while something that was sent is unanswered."""
        return bool(self._awaited)

    @property
    def phase(self) -> Phase:
        """What is waited for now: the oldest unanswered command, or else what we do ourselves."""
        if self._awaited:
            return self._awaited[0]
        if self.state is State.SECURING:
            return Phase.HANDSHAKE
        return Phase.CONTENT if self.state is State.CONTENT else Phase.IDLE

    def receive(self, octets: bytes) -> None:
        """Take octets from the server, cut anywhere."""
        *lines, self._rest = (self._rest + octets).split(b"\r\n")
        self._lines.extend(lines)

    def next_answer(self) -> tuple[Phase, Reply] | None:
        """Give the next complete reply, and the phase of the command that it answers.

        Call until it gives None: replies that came before an offence are given before it is raised.
        `Phase.CONTENT` and `Phase.IDLE` mark a negative reply to nothing in particular; the server
        will close, or has lost the thread.

        Raises:
            ReplyViolation: the peer does not speak SMTP; close the connection.

        RFC 5321 s4.2; RFC 2920 s3.1
        """
        while self._lines:
            reply = self._read(self._lines.popleft())
            if reply is not None:
                return self._match(reply), reply
        if len(self._rest) > REPLY_LINE_OCTETS or b"\n" in self._rest:
            raise ReplyViolation("a reply line without CRLF", self._rest)
        return None

    def _read(self, line: bytes) -> Reply | None:
        """Read a line; gives the reply that it ends."""
        reply = self._known.get(line)
        if reply is not None and not self._reader.within:
            return reply
        if len(line) > REPLY_LINE_OCTETS:
            raise ReplyViolation("an over-long reply line", line)
        single = not self._reader.within
        reply = self._reader.feed(line)
        if reply is not None and single and len(line) <= 64 and len(self._known) < 16:
            self._known[line] = reply
        return reply

    def _match(self, reply: Reply) -> Phase:
        """Find the command that a reply answers, and make the step that it means."""
        if not self._awaited:
            if reply.code < 400:
                raise ReplyViolation("a reply to nothing", _start_of(reply))
            return self.phase
        phase = self._awaited[0]
        if reply.code < 400 and reply.code not in phase.success:
            raise ReplyViolation("a reply to something else", _start_of(reply))
        if phase is Phase.RSET and reply.code >= 400:
            raise ReplyViolation("RSET was refused", _start_of(reply))
        self._awaited.popleft()
        if reply.code < 400 or phase is Phase.FINAL_DOT:
            self.state = _STEPS.get((self.state, phase), self.state)
        if phase is Phase.EHLO and reply.code < 400:
            self.capabilities = capabilities_of(reply)
        if self.transaction is not None:
            self.transaction.take(phase, reply)
        return phase

    def command(self, phase: Phase, line: bytes) -> bytes:
        """Note that a command is sent on its own; gives the line back.

        Raises:
            LocalViolation: it is out of sequence.

        RFC 5321 s4.1.4
        """
        legal = phase is Phase.QUIT or (self.state, phase) in _STEPS
        if self._awaited or not legal:
            raise LocalViolation(f"{phase.name} does not come when {self.state.value}")
        self._awaited.append(phase)
        return line

    def secured(self) -> "ClientSession":
        """Give the session that begins when TLS has been negotiated: nothing of this one is left.

        Raises:
            ReplyViolation: something came in clear text after the 220, to be taken for a reply
                inside TLS (command injection); close the connection.

        RFC 3207 s4.2
        """
        if self._lines or self._rest or self._reader.within:
            raise ReplyViolation("text after the reply to STARTTLS", self._rest)
        return ClientSession(State.GREETED)

    def begin(self, transaction: Transaction) -> bytes:
        """Begin a transaction; gives its whole first group.

        Raises:
            LocalViolation: the session is not ready for mail.

        RFC 2920 s3.1; RFC 5321 s3.3
        """
        line = self.command(Phase.MAIL, transaction.mail)
        self.transaction = transaction
        if "PIPELINING" not in self.capabilities:
            return line
        self._awaited.extend([Phase.RCPT] * len(transaction.rcpts))
        self._awaited.append(Phase.DATA)
        return b"".join((line, *transaction.rcpts, encode.DATA))

    def proceed(self) -> bytes:
        """Give what the transaction sends next, now that nothing is unanswered.

        Returns:
            Octets to send; empty if it is the content's turn (`state` is `State.CONTENT`) or if the
            transaction is over (`transaction` is None).

        RFC 2920 s3.1; RFC 5321 s4.1.1.5
        """
        transaction = self.transaction
        if transaction is None:
            return b""
        if self.state is State.CONTENT:
            if transaction.wanted:
                return b""
            return self.command(Phase.FINAL_DOT, encode.END_OF_DATA)
        following = transaction.following()
        if following is not None:
            return self.command(*following)
        if self.state is State.ENVELOPE:
            return self.command(Phase.RSET, encode.RSET)
        self.transaction = None
        return b""

    def content_sent(self) -> None:
        """Note that the final dot is on its way."""
        self.command(Phase.FINAL_DOT, b"")
