"""The client's side of a session: what may be sent when, and which reply answers which command.

Theory of operation. `ClientSession.receive` accepts the octets that came, and `next_answer` returns
the replies in them, one by one. The octets of every command come from the session too, so it knows
which commands are unanswered. Replies come in the order of the commands (RFC 2920 s3.2), so a queue
of phases is enough to match them. One `State` says how far the two sides have come, and every step
between states is a line of `_STEPS`.

A `Transaction` is one MAIL with its RCPTs and DATA. Where PIPELINING was offered they are sent as
one group; otherwise each waits for the answer to the one before. `proceed` returns what comes next,
until the content is due or the transaction is over. It also ends a transaction that did not reach
the final dot: with RSET, or with a lone dot if the server answered 354 although it had accepted no
recipient.

Content goes in one of two ways: after DATA and 354, with the final dot, or in chunks, each behind
its BDAT and answered (RFC 3030 s2). The last chunk takes the place of the final dot. A chunk that
is refused ends the transaction: the client reads the replies that are still due and sends RSET.

Invariants:
- A reply that answers nothing ends the session (`ReplyViolation`), unless it is negative: a server
  may send 421 at any time, or refuse content before its end.
- What was learnt before STARTTLS is dropped by replacement: `secured` returns a new session, and
  refuses if the server has sent more than its 220 (RFC 3207 s4.2, CVE-2021-38371 and the like).
- The same octets give the same answers however they are cut into segments.

Who controls the input: the remote server, every octet of it.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final

from postroom.wire import encode
from postroom.wire.errors import LocalViolation, ReplyViolation
from postroom.wire.offers import NO_HOST_CAPABILITIES, host_capabilities
from postroom.wire.replies import Reply
from postroom.wire.reply_reader import ReplyReader

REPLY_LINE_OCTETS: Final = 4096
"""The longest reply line that is read; some servers pass the 512 of RFC 5321 s4.5.3.1.5."""


_2YZ, _2YZ_3YZ, _354, _NOTHING = range(200, 300), range(200, 400), range(354, 355), range(0)


class ClientPhase(Enum):
    """What a client waits for, with its wording and its success codes.

    Attributes:
        phrase: completes "lost connection with …" and "… timed out".
        success: the codes of success: by the first digit (RFC 5321 s4.2.1), but content is sent
            after 354 alone. Any other positive reply means that the two sides no longer speak of
            the same command.
    """

    GREETING = ("while waiting for the greeting", _2YZ)
    EHLO = ("while sending EHLO", _2YZ)
    HELO = ("while sending HELO", _2YZ)
    STARTTLS = ("while sending STARTTLS", _2YZ)
    HANDSHAKE = ("during the TLS handshake", _NOTHING)
    AUTH = ("while logging in", _2YZ_3YZ)
    MAIL = ("while sending MAIL FROM", _2YZ)
    RCPT = ("while sending RCPT TO", _2YZ)
    DATA = ("while sending DATA", _354)
    CONTENT = ("while sending the content", _NOTHING)
    CHUNK = ("while sending BDAT", _2YZ)
    FINAL_DOT = ("after the final dot: the message may be sent twice", _2YZ)
    RSET = ("while sending RSET", _2YZ)
    QUIT = ("while sending QUIT", _2YZ)
    IDLE = ("while idle", _NOTHING)

    def __init__(self, phrase: str, success: range) -> None:
        """Store the columns of the table as attributes."""
        self.phrase = phrase
        self.success = success

    __hash__ = object.__hash__  # members are single; Enum's own takes a tenth of a reply's time


class State(Enum):
    """How far the server and we have come."""

    CONNECTED = "connected, not greeted"
    GREETED = "greeted, no EHLO yet"
    READY = "ready for mail"
    SECURING = "TLS is being negotiated"
    ENVELOPE = "in a transaction"
    CONTENT = "taking content"

    __hash__ = object.__hash__


# The step that a positive answer makes. A command that has no line for a state is not sent in it.
_STEPS: Final[dict[tuple[State, ClientPhase], State]] = {
    (State.CONNECTED, ClientPhase.GREETING): State.GREETED,
    (State.GREETED, ClientPhase.EHLO): State.READY,
    (State.GREETED, ClientPhase.HELO): State.READY,
    (State.READY, ClientPhase.STARTTLS): State.SECURING,
    (State.READY, ClientPhase.AUTH): State.READY,
    (State.READY, ClientPhase.MAIL): State.ENVELOPE,
    (State.ENVELOPE, ClientPhase.RCPT): State.ENVELOPE,
    (State.ENVELOPE, ClientPhase.DATA): State.CONTENT,
    # In a group whose MAIL was refused the others follow nonetheless, and some server says yes.
    (State.READY, ClientPhase.RCPT): State.ENVELOPE,
    (State.READY, ClientPhase.DATA): State.CONTENT,
    # The final dot ends the transaction whatever its answer is; a last chunk only if it is taken.
    (State.CONTENT, ClientPhase.FINAL_DOT): State.READY,
    (State.ENVELOPE, ClientPhase.CHUNK): State.ENVELOPE,
    (State.ENVELOPE, ClientPhase.FINAL_DOT): State.READY,
    (State.ENVELOPE, ClientPhase.RSET): State.READY,
}


class Verdicts(Enum):
    """How a server answers the end of the content."""

    ONE = "one reply for all recipients"
    EACH = "a reply for each recipient that was accepted"
    """LMTP. RFC 2033 s4.2."""
    ANNOUNCED = "353, a reply for each recipient, and one that sums up; or one for all"
    """PRDR, where MAIL asked for it. draft-hall-prdr s3."""


class Transaction:
    """One message to some recipients of one host, with the reply for each recipient.

    Attributes:
        replies: one for each RCPT, in order; None as long as nothing has refused that recipient
            and the content is not answered.
        chunked: True if the content goes by BDAT.

    RFC 5321 s3.3
    """

    __slots__ = (
        "_answered",
        "_ended",
        "_judged",
        "_verdicts",
        "chunked",
        "mail",
        "rcpts",
        "replies",
    )

    def __init__(
        self,
        mail: bytes,
        rcpts: Sequence[bytes],
        chunked: bool = False,
        verdicts: Verdicts = Verdicts.ONE,
    ) -> None:
        """Store the command lines (at least one RCPT) and how content is sent and answered."""
        self.mail = mail
        self.rcpts = rcpts
        self.replies: list[Reply | None] = [None] * len(rcpts)
        self.chunked = chunked
        self._verdicts = verdicts
        self._answered = 0
        self._ended = False
        # What was said of each accepted recipient after 353; None before it.
        self._judged: list[Reply] | None = None

    @property
    def wanted(self) -> bool:
        """True while a recipient is there that nothing has refused."""
        return None in self.replies

    def settle(self, reply: Reply) -> None:
        """Assign this reply to every recipient that has none."""
        self.replies = [reply if had is None else had for had in self.replies]

    def take(self, phase: ClientPhase, reply: Reply) -> None:
        """Record the answer to one of the transaction's commands.

        421 before the final dot decides nothing: the host closes, another one may take the message.
        """
        if reply.code == 421 and phase is not ClientPhase.FINAL_DOT:
            return
        if phase is ClientPhase.RCPT:
            if reply.code >= 400 and self.replies[self._answered] is None:
                self.replies[self._answered] = _of_recipient(reply)
            self._answered += 1
        elif phase is ClientPhase.FINAL_DOT:
            self._judge(reply)
        elif reply.code >= 400:
            self.settle(reply)

    def _judge(self, reply: Reply) -> None:
        """Record a reply to the end of the content."""
        if self._verdicts is Verdicts.EACH and reply.code != 421 and None in self.replies:
            self.replies[self.replies.index(None)] = reply
        elif self._judged is None:
            if reply.code == 353:
                self._judged = []
            else:
                self.settle(reply)
        elif len(self._judged) < self.replies.count(None) and reply.code != 421:
            self._judged.append(reply)
        else:
            self._sum_up(reply)

    def _sum_up(self, reply: Reply) -> None:
        """The reply after those for each: if it is negative, nobody got the message."""
        for judgement in self._judged or ():
            decided = judgement if judgement.code >= 400 or reply.code < 400 else reply
            self.replies[self.replies.index(None)] = decided
        self.settle(reply)

    def announces(self, reply: Reply) -> bool:
        """Return whether this reply to the end of content announces one reply per recipient."""
        return reply.code == 353 and self._verdicts is Verdicts.ANNOUNCED and self._judged is None

    @property
    def awaits_chunks(self) -> bool:
        """True when it is the turn of the content and it goes by BDAT."""
        ready = self.chunked and not self._ended and self._answered == len(self.rcpts)
        return ready and self.wanted

    def end_chunks(self) -> None:
        """Record that the last chunk was sent."""
        self._ended = True

    def following(self) -> tuple[ClientPhase, bytes] | None:
        """Return the next command to send, or None if no further command makes sense."""
        if not self.wanted:
            return None
        if self._answered < len(self.rcpts):
            return ClientPhase.RCPT, self.rcpts[self._answered]
        return None if self.chunked else (ClientPhase.DATA, encode.DATA)


def _of_recipient(reply: Reply) -> Reply:
    """Read 552 to RCPT as 452, "too many recipients". RFC 5321 s4.5.3.1.10."""
    if reply.code != 552:
        return reply
    enhanced = "4" + reply.enhanced[1:] if reply.enhanced else None
    return Reply(452, reply.text, enhanced)


def _start_of(reply: Reply) -> bytes:
    return str(reply).encode("ascii", "replace")[:80]


class ClientSession:
    """The order of commands and replies in one session.

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
        """Create a session, by default one that waits for the greeting."""
        self.state = state
        self.capabilities = NO_HOST_CAPABILITIES
        self.transaction: Transaction | None = None
        self._awaited = deque([ClientPhase.GREETING] if state is State.CONNECTED else [])
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
    def phase(self) -> ClientPhase:
        """The oldest unanswered command; without one, the step that is ours to make."""
        if self._awaited:
            return self._awaited[0]
        if self.state is State.SECURING:
            return ClientPhase.HANDSHAKE
        if self.state is State.CONTENT:
            return ClientPhase.CONTENT
        transaction = self.transaction
        if transaction is not None and transaction.chunked and self._awaits_chunks(transaction):
            return ClientPhase.CONTENT
        return ClientPhase.IDLE

    def _awaits_chunks(self, transaction: Transaction) -> bool:
        return self.state is State.ENVELOPE and transaction.awaits_chunks

    def receive(self, octets: bytes) -> None:
        """Accept octets from the server, cut anywhere."""
        *lines, self._rest = (self._rest + octets).split(b"\r\n")
        self._lines.extend(lines)

    def next_answer(self) -> tuple[ClientPhase, Reply] | None:
        """Return the next complete reply, and the phase of the command that it answers.

        Call until it returns None. Replies that came before a violation are returned before it is
        raised. `ClientPhase.CONTENT` and `ClientPhase.IDLE` mark a negative reply that answers no
        command: the server is about to close, or is out of step.

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

    def _match(self, reply: Reply) -> ClientPhase:
        """Find the command that a reply answers, and change the state accordingly."""
        if not self._awaited:
            if reply.code < 400:
                raise ReplyViolation("a reply to nothing", _start_of(reply))
            return self.phase
        phase, transaction = self._awaited[0], self.transaction
        if reply.code < 400 and reply.code not in phase.success:
            final = phase is ClientPhase.FINAL_DOT and transaction is not None
            if not (final and transaction is not None and transaction.announces(reply)):
                raise ReplyViolation("a reply to something else", _start_of(reply))
        if phase is ClientPhase.RSET and reply.code >= 400:
            raise ReplyViolation("RSET was refused", _start_of(reply))
        if transaction is not None:
            transaction.take(phase, reply)
            if phase is ClientPhase.FINAL_DOT and transaction.wanted:
                return phase  # more replies follow
        self._awaited.popleft()
        if reply.code < 400 or (phase is ClientPhase.FINAL_DOT and self.state is State.CONTENT):
            self.state = _STEPS.get((self.state, phase), self.state)
        if phase is ClientPhase.EHLO and reply.code < 400:
            self.capabilities = host_capabilities(reply)
        return phase

    def command(self, phase: ClientPhase, line: bytes) -> bytes:
        """Record that a command is sent on its own; return its line.

        Raises:
            LocalViolation: it is out of sequence.

        RFC 5321 s4.1.4
        """
        legal = phase is ClientPhase.QUIT or (self.state, phase) in _STEPS
        if self._awaited or not legal:
            raise LocalViolation(f"{phase.name} does not come when {self.state.value}")
        self._awaited.append(phase)
        return line

    def secured(self) -> "ClientSession":
        """Return the session that starts after the TLS handshake; it keeps nothing of this one.

        Raises:
            ReplyViolation: something came in clear text after the 220, to be taken for a reply
                inside TLS (command injection); close the connection.

        RFC 3207 s4.2
        """
        if self._lines or self._rest or self._reader.within:
            raise ReplyViolation("text after the reply to STARTTLS", self._rest)
        return ClientSession(State.GREETED)

    def begin(self, transaction: Transaction) -> bytes:
        """Start a transaction; return its first group of commands.

        Raises:
            LocalViolation: the session is not ready for mail.

        RFC 2920 s3.1; RFC 5321 s3.3
        """
        line = self.command(ClientPhase.MAIL, transaction.mail)
        self.transaction = transaction
        if "PIPELINING" not in self.capabilities:
            return line
        self._awaited.extend([ClientPhase.RCPT] * len(transaction.rcpts))
        if transaction.chunked:
            return b"".join((line, *transaction.rcpts))
        self._awaited.append(ClientPhase.DATA)
        return b"".join((line, *transaction.rcpts, encode.DATA))

    def proceed(self) -> bytes:
        """Return what the transaction sends next, now that every command is answered.

        Returns:
            Octets to send; empty if the content is due (`phase` is `ClientPhase.CONTENT`) or if
            the transaction is over (`transaction` is None).

        RFC 2920 s3.1; RFC 5321 s4.1.1.5
        """
        transaction = self.transaction
        if transaction is None:
            return b""
        if self.state is State.CONTENT:
            if transaction.wanted:
                return b""
            return self.command(ClientPhase.FINAL_DOT, encode.END_OF_DATA)
        if transaction.chunked and self._awaits_chunks(transaction):
            return b""
        following = transaction.following()
        if following is not None:
            return self.command(*following)
        if self.state is State.ENVELOPE:
            return self.command(ClientPhase.RSET, encode.RSET)
        self.transaction = None
        return b""

    def chunk(self, octets: int, last: bool) -> bytes:
        """Return the command that precedes a chunk; earlier commands may be unanswered.

        Raises:
            LocalViolation: it is not the turn of a chunk.

        RFC 3030 s2
        """
        transaction = self.transaction
        if transaction is None or not self._awaits_chunks(transaction):
            raise LocalViolation(f"BDAT does not come when {self.state.value}")
        if last:
            transaction.end_chunks()
        self._awaited.append(ClientPhase.FINAL_DOT if last else ClientPhase.CHUNK)
        return encode.bdat(octets, last)

    @property
    def unanswered_chunks(self) -> int:
        """The number of chunks that were sent and are not answered."""
        return self._awaited.count(ClientPhase.CHUNK)

    def content_sent(self) -> None:
        """Record that the final dot was sent."""
        self.command(ClientPhase.FINAL_DOT, b"")
