"""A server session: which command may come now, and what the peer hears.

The law of this file is *one verdict per command, in order*. `ServerSession.receive` takes a line
and leaves the session paused; only `answer` takes it on. Whoever drives it cannot run ahead of a
verdict that is late, so no reply can overtake another, however slow a policy or a disk is.

The session owns no transport, no clock and no envelope. It says what its `phase` is; an envelope is
open exactly while the phase is one of `state.IN_TRANSACTION`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from postroom.wire.commands import COMMAND_LINE_OCTETS, Command
from postroom.wire.errors import LocalViolation, SyntaxViolation
from postroom.wire.grammar import Syntax, parse_command
from postroom.wire.replies import Reply, reply
from postroom.wire.state import (
    AFTER_FAILURE,
    END_OF_CONTENT,
    EXTENSION_NEEDS_EHLO,
    IN_TRANSACTION,
    INTERMEDIATE,
    NO_SERVICE,
    RESPONSE,
    STEPS,
    Phase,
)

TLS_FIRST: Final = reply(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_FIRST: Final = reply(530, "5.7.0", "Authentication required")
AUTH_NEEDS_TLS: Final = reply(538, "5.7.11", "Encryption required for AUTH, send STARTTLS")
AUTH_DONE: Final = reply(503, "5.5.1", "Already authenticated")
NOT_OFFERED: Final = reply(502, "5.5.1", "Command not implemented here")
LINE_TOO_LONG: Final = reply(500, "5.5.2", "Line too long")
RESPONSE_TOO_LONG: Final = reply(500, "5.5.6", "Authentication exchange line is too long")
TLS_ACTIVE: Final = reply(503, "5.5.1", "TLS is already active")

_NOTHING: Final[Mapping[str, str]] = {}
_NO_COMMAND: Final = "?"
"""Pending after a line that was refused here: its answer moves nothing."""


@dataclass(frozen=True)
class Capabilities:
    """What a session offers now, and what it asks for before mail may flow.

    EHLO's reply and the legality of AUTH and STARTTLS both come from `extensions`, so that what is
    announced and what works are one thing.

    Attributes:
        hostname: ours, in the reply to EHLO.
        extensions: EHLO keyword to arguments, in the order of the reply.
        barred: verbs that are refused for now whatever the phase, each with its reply.
        space_after_colon: see `commands.Syntax`.
    """

    hostname: str
    extensions: Mapping[str, str] = field(default_factory=dict)
    barred: Mapping[str, Reply] = field(default_factory=dict)
    space_after_colon: bool = False

    @cached_property
    def ehlo_reply(self) -> Reply:
        """The reply to EHLO. RFC 5321 s4.1.1.1."""
        extensions = self.extensions.items()
        lines = [f"{name} {rest}" if rest else name for name, rest in extensions]
        return Reply(250, (self.hostname, *lines))

    @cached_property
    def helo_reply(self) -> Reply:
        """The reply to HELO. RFC 5321 s4.1.1.1."""
        return Reply(250, (self.hostname,))


@dataclass(frozen=True, slots=True)
class Response:
    """A client's line within AUTH, still in base64.

    RFC 4954 s4
    """

    verb = RESPONSE
    line: bytes


class ServerSession:
    """The meaning of one session, from the greeting on, or from a TLS handshake on.

    Attributes:
        phase: where the session stands.
        extended: True after EHLO, False after HELO.

    RFC 5321 s4.1.4, s4.3.2; RFC 3207 s4.2
    """

    __slots__ = ("_pending", "_steps", "_syntax", "capabilities", "extended", "phase")

    def __init__(self, capabilities: Capabilities, phase: Phase = Phase.GREETING) -> None:
        """Begin in GREETING, or in HELLO after STARTTLS."""
        self._pending: str | None = None
        self.extended = False
        self._move(phase)
        self.offer(capabilities)

    def offer(self, capabilities: Capabilities) -> None:
        """Change what is offered from now on, as when a client has logged in."""
        self.capabilities = capabilities
        # Without EHLO nothing was offered, so no parameter exists.
        offered = capabilities.extensions if self.extended else _NOTHING
        self._syntax = Syntax(offered, capabilities.space_after_colon)

    def greet(self, greeting: Reply) -> bytes:
        """Give the octets of the greeting; a negative one leaves the peer only QUIT.

        RFC 5321 s3.1
        """
        self._move(Phase.HELLO if greeting.positive else Phase.TURNED_AWAY)
        return greeting.wire

    def receive(self, line: bytes) -> Command | Response | Reply:
        """Take a line; the session is then paused until `answer`.

        Args:
            line: without its CRLF, its length already bounded.

        Returns:
            What the peer wants, if it may want it now; else the reply that refuses it, which is to
            be given to `answer` like any verdict.

        Raises:
            LocalViolation: the command before was not answered, or no command can come now.
        """
        if self._pending is not None:
            raise LocalViolation(f"{self._pending} is still unanswered")
        if self.phase is Phase.CHALLENGE:
            self._pending = RESPONSE
            return Response(line)
        self._pending = _NO_COMMAND
        # AUTH may carry a token; its own limit is the framing's.
        if len(line) > COMMAND_LINE_OCTETS - 2 and line[:5].upper() != b"AUTH ":
            return LINE_TOO_LONG
        try:
            command = parse_command(line, self._syntax)
        except SyntaxViolation as violation:
            return NO_SERVICE if self.phase is Phase.TURNED_AWAY else violation.reply
        verb = command.verb
        barred = self.capabilities.barred.get(verb)
        if barred is not None and self.phase is not Phase.TURNED_AWAY:
            return barred
        step = self._steps.get(verb)
        if step is None:
            self._pending = None
            raise LocalViolation(f"no command can come {self.phase.value}")
        if isinstance(step, Reply):
            return step
        if verb in ("AUTH", "STARTTLS"):
            if not self.extended:
                return EXTENSION_NEEDS_EHLO
            if verb not in self.capabilities.extensions:
                return NOT_OFFERED
        self._pending = verb
        return command

    def receive_too_long(self, line: bytes) -> Reply:
        """Take note of a line longer than any may be; as `receive` when it refuses.

        Args:
            line: the line, or its beginning.

        RFC 5321 s4.5.3.1.4; RFC 4954 s4, s6
        """
        if self._pending is not None:
            raise LocalViolation(f"{self._pending} is still unanswered")
        if self.phase is Phase.CHALLENGE:
            self._pending = RESPONSE
            return RESPONSE_TOO_LONG
        self._pending = _NO_COMMAND
        return RESPONSE_TOO_LONG if line[:5].upper() == b"AUTH " else LINE_TOO_LONG

    def end_of_content(self) -> None:
        """Take note that the content ended; the session is paused until `answer`."""
        if self._pending is not None or self.phase is not Phase.CONTENT:
            raise LocalViolation("no content was under way")
        self._pending = END_OF_CONTENT

    def answer(self, verdict: Reply) -> bytes:
        """Give the verdict on what was received last, and go on.

        Returns:
            The octets to send.

        Raises:
            LocalViolation: nothing was waiting for a verdict.
        """
        verb = self._pending
        if verb is None:
            raise LocalViolation("an answer without a command")
        self._pending = None
        if verb is not _NO_COMMAND:
            self._advance(verb, verdict)
        return verdict.wire

    def _advance(self, verb: str, verdict: Reply) -> None:
        if verdict.code in INTERMEDIATE:
            self._move(INTERMEDIATE[verdict.code])
        elif verdict.positive:
            step = self._steps[verb]
            assert isinstance(step, Phase)  # a Reply would have refused the verb
            self._move(step)
            if verb in ("EHLO", "HELO"):
                self.extended = verb == "EHLO"
                self.offer(self.capabilities)
        elif verb in AFTER_FAILURE:
            self._move(AFTER_FAILURE[verb])

    def _move(self, phase: Phase) -> None:
        self.phase = phase
        self._steps = STEPS.get(phase, {})

    @property
    def in_transaction(self) -> bool:
        """True while an envelope is open."""
        return self.phase in IN_TRANSACTION

    @property
    def waiting(self) -> bool:
        """True while a verdict is owed."""
        return self._pending is not None
