"""A server session: which command may come now, and how it is answered.

The law of this file is *one verdict per command, in order*. `ServerSession.receive` accepts a line
and leaves the session paused; only `answer` resumes it. The caller cannot run ahead of a late
verdict, so no reply can overtake another, however slow a policy or a disk is.

The session owns no transport, no clock and no envelope. It says what its `phase` is; an envelope is
open exactly while the phase is one of `state.IN_TRANSACTION`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from postroom.wire.commands import COMMAND_LINE_OCTETS, Bdat, Command, Mail
from postroom.wire.errors import LocalViolation, SyntaxViolation
from postroom.wire.grammar import BAD_CHUNK, VERBS, Syntax, parse_command
from postroom.wire.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS, Parameter
from postroom.wire.replies import Reply, reply
from postroom.wire.state import (
    AFTER_FAILURE,
    END_OF_CONTENT,
    EXTENSION_NEEDS_EHLO,
    IN_TRANSACTION,
    INTERMEDIATE,
    LAST_CHUNK,
    NO_RECIPIENTS,
    NO_SERVICE,
    RESPONSE,
    STEPS,
    STEPS_WITHOUT_GREETING,
    Phase,
)
from postroom.wire.tolerance import ALL, Tolerance, Tolerances

TLS_FIRST: Final = reply(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_FIRST: Final = reply(530, "5.7.0", "Authentication required")
AUTH_NEEDS_TLS: Final = reply(538, "5.7.11", "Encryption required for AUTH, send STARTTLS")
AUTH_DONE: Final = reply(503, "5.5.1", "Already authenticated")
NOT_OFFERED: Final = reply(502, "5.5.1", "Command not implemented here")
LINE_TOO_LONG: Final = reply(500, "5.5.2", "Line too long")
RESPONSE_TOO_LONG: Final = reply(500, "5.5.6", "Authentication exchange line is too long")
TLS_ACTIVE: Final = reply(503, "5.5.1", "TLS is already active")

NOT_BINARY: Final = reply(503, "5.6.1", "Content declared as BINARYMIME comes by BDAT only")

EXTENSION_OF: Final[Mapping[str, str]] = {
    "AUTH": "AUTH",
    "BDAT": "CHUNKING",
    "ETRN": "ETRN",
    "EXPN": "EXPN",
    "STARTTLS": "STARTTLS",
    "XCLIENT": "XCLIENT",
    "XFORWARD": "XFORWARD",
}
"""The extension that brings a verb: it exists only where EHLO has offered that."""

LAST_IN_GROUP: Final = frozenset(
    (
        *("EHLO", "HELO", "LHLO", "DATA", "VRFY", "EXPN", "NOOP"),  # RFC 2920 s3.1
        *("AUTH", "STARTTLS", "ETRN", "XCLIENT"),  # what follows depends on what they bring
    )
)
"""The verbs after which a client must wait for the reply before it sends anything more."""

_NOTHING: Final[Mapping[str, str]] = {}
_NO_COMMAND: Final = "?"
"""Pending after a line that was refused here: its answer moves nothing."""

_LOST_COUNT: Final = "BDAT ?"
"""Pending after a chunk of unknown length: its answer is the last one."""


@dataclass(frozen=True)
class Capabilities:
    """What a session offers now, and what it requires before it accepts mail.

    EHLO's reply and the legality of AUTH and STARTTLS both come from `extensions`, so that what is
    announced and what works are one thing.

    Attributes:
        hostname: ours, in the reply to EHLO.
        extensions: EHLO keyword to arguments, in the order of the reply.
        barred: verbs that are refused for now whatever the phase, each with its reply.
        tolerate: what commands may deviate in.
        mail_parameters: the parameters of MAIL that are known here.
        rcpt_parameters: those of RCPT.
        no_recipients: the reply to content before any recipient was taken.
    """

    hostname: str
    extensions: Mapping[str, str] = field(default_factory=dict)
    barred: Mapping[str, Reply] = field(default_factory=dict)
    tolerate: Tolerances = ALL
    mail_parameters: Mapping[str, Parameter[Any]] = field(default_factory=lambda: MAIL_PARAMETERS)
    rcpt_parameters: Mapping[str, Parameter[Any]] = field(default_factory=lambda: RCPT_PARAMETERS)
    no_recipients: Reply = NO_RECIPIENTS

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

    @cached_property
    def verbs(self) -> tuple[str, ...]:
        """The verbs that are of use after EHLO, as HELP lists them. RFC 5321 s4.2.4."""
        return tuple(
            verb
            for verb in VERBS
            if verb not in self.barred
            and (verb not in EXTENSION_OF or EXTENSION_OF[verb] in self.extensions)
        )

    @cached_property
    def help_reply(self) -> Reply:
        """The reply to HELP without a topic. RFC 5321 s4.1.1.8."""
        return Reply(214, ("Commands: " + " ".join(self.verbs), "See RFC 5321"), "2.0.0")

    @cached_property
    def syntax(self) -> Syntax:
        """The syntax of commands after EHLO."""
        return Syntax(
            self.extensions,
            self.tolerate,
            False,
            self.mail_parameters,
            self.rcpt_parameters,
        )


@dataclass(frozen=True, slots=True)
class Response:
    """A client's line within AUTH, still in base64.

    RFC 4954 s4
    """

    verb = RESPONSE
    line: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A BDAT command, whose octets must be read before it is answered.

    Attributes:
        octets: how many.
        last: True if the message ends with them.
        refusal: the reply that is to be given after them, if the chunk is out of place.

    RFC 3030 s2
    """

    verb = "BDAT"
    octets: int
    last: bool
    refusal: Reply | None = None


class ServerSession:
    """The state of one session, from the greeting or from a TLS handshake on.

    Attributes:
        phase: where the session stands.
        extended: True after EHLO or LHLO, False after HELO.
        in_transaction: True while an envelope is open.
        verb: the verb of the last line, as far as it had one; empty before, for responses and for
            content.
        content_after_refusal: True if the last line was no command, and the one before it a DATA
            that was refused: a client that sends its content all the same.

    RFC 5321 s4.1.4, s4.3.2; RFC 3207 s4.2
    """

    __slots__ = (
        *("_mail", "_pending", "_steps", "_syntax", "_table"),
        *("content_after_refusal", "capabilities", "extended", "in_transaction", "phase", "verb"),
    )

    def __init__(self, capabilities: Capabilities, phase: Phase = Phase.GREETING) -> None:
        """Create a session: in GREETING, or in HELLO after STARTTLS."""
        self._pending: str | None = None
        self._mail: Mail | None = None
        self.extended = self.content_after_refusal = False
        self.verb = ""
        tolerant = Tolerance.MISSING_GREETING in capabilities.tolerate
        self._table = STEPS_WITHOUT_GREETING if tolerant else STEPS
        self._move(phase)
        self.offer(capabilities)

    def offer(self, capabilities: Capabilities) -> None:
        """Replace what is offered from now on, as when a client has logged in."""
        self.capabilities = capabilities
        # Without EHLO nothing was offered, so no parameter exists.
        self._syntax = (
            capabilities.syntax if self.extended else Syntax(_NOTHING, capabilities.tolerate)
        )

    def greet(self, greeting: Reply) -> bytes:
        """Return the octets of the greeting; after a negative one only QUIT is allowed.

        RFC 5321 s3.1
        """
        self._move(Phase.HELLO if greeting.positive else Phase.TURNED_AWAY)
        return greeting.wire

    def receive(self, line: bytes) -> Command | Response | Chunk | Reply:
        """Parse and check a line; the session is then paused until `answer`.

        Args:
            line: without its CRLF, its length already bounded.

        Returns:
            What the peer wants, if it may want it now; else the reply that refuses it, which is to
            be given to `answer` like any verdict. A `Chunk` is given in either case.

        Raises:
            LocalViolation: the command before was not answered, or no command can come now.
        """
        if self._pending is not None:
            raise LocalViolation(f"{self._pending} is still unanswered")
        if self.phase is Phase.CHALLENGE:
            self._pending, self.verb = RESPONSE, ""
            return Response(line)
        self._pending = _NO_COMMAND
        # AUTH may carry a token; its own limit is the framing's.
        if len(line) > COMMAND_LINE_OCTETS - 2 and line[:5].upper() != b"AUTH ":
            self.verb = ""
            return LINE_TOO_LONG
        try:
            command = parse_command(line, self._syntax)
        except SyntaxViolation as violation:
            return self._misread(line, violation.reply)
        self.verb = verb = command.verb
        refusal = self._refusal(verb)
        if verb == "BDAT":
            assert isinstance(command, Bdat)
            return self._receive_chunk(command, refusal)
        if refusal is not None:
            return refusal
        if verb == "MAIL":
            assert isinstance(command, Mail)
            self._mail = command
        self._pending = verb
        return command

    def _misread(self, line: bytes, refusal: Reply) -> Reply:
        """Return the refusal of a line that could not be parsed.

        A chunk whose length nobody knows cannot be told from the commands after it: the end.
        """
        word = line.partition(b" ")[0].decode("ascii", "replace").upper()
        known = word if word in VERBS else ""
        self.content_after_refusal, self.verb = self.verb == "DATA" and not known, known
        if self.phase is Phase.TURNED_AWAY:
            return NO_SERVICE
        if refusal is BAD_CHUNK and self.extended and "CHUNKING" in self._syntax.offered:
            self._pending = _LOST_COUNT
        return refusal

    def _refusal(self, verb: str) -> Reply | None:
        """Return the refusal of a well-formed command; None if it may come now."""
        barred = self.capabilities.barred.get(verb)
        if barred is not None and self.phase is not Phase.TURNED_AWAY:
            return barred
        step = self._steps.get(verb)
        if step is None:
            self._pending = None
            raise LocalViolation(f"no command can come {self.phase.value}")
        if isinstance(step, Reply):
            return self.capabilities.no_recipients if step is NO_RECIPIENTS else step
        extension = EXTENSION_OF.get(verb)
        if extension is not None and extension not in self._offered_to(verb):
            return NOT_OFFERED if self.extended or verb == "EXPN" else EXTENSION_NEEDS_EHLO
        if verb == "DATA" and self._mail is not None and _is_binary(self._mail):
            return NOT_BINARY
        return None

    def _offered_to(self, verb: str) -> Mapping[str, str]:
        """Return the extensions that a verb may belong to: without EHLO none but STARTTLS."""
        if verb == "STARTTLS" and self._table is STEPS_WITHOUT_GREETING:
            return self.capabilities.extensions
        return self._syntax.offered

    def _receive_chunk(self, command: Bdat, refusal: Reply | None) -> Chunk | Reply:
        """Return the chunk of a BDAT; where CHUNKING is not offered, only the refusal."""
        if refusal is None:
            self._pending = LAST_CHUNK if command.last else "BDAT"
        elif "CHUNKING" not in self._syntax.offered:
            return refusal
        return Chunk(command.octets, command.last, refusal)

    def receive_too_long(self, line: bytes) -> Reply:
        """Refuse a line that is longer than allowed, as `receive` refuses one.

        Args:
            line: the line, or its beginning.

        RFC 5321 s4.5.3.1.4; RFC 4954 s4, s6
        """
        if self._pending is not None:
            raise LocalViolation(f"{self._pending} is still unanswered")
        self.verb = ""
        if self.phase is Phase.CHALLENGE:
            self._pending = RESPONSE
            return RESPONSE_TOO_LONG
        self._pending = _NO_COMMAND
        return RESPONSE_TOO_LONG if line[:5].upper() == b"AUTH " else LINE_TOO_LONG

    def end_of_content(self) -> None:
        """Record that the content ended; the session is paused until `answer`."""
        if self._pending is not None or self.phase is not Phase.CONTENT:
            raise LocalViolation("no content was under way")
        self._pending, self.verb = END_OF_CONTENT, ""

    def answer(self, verdict: Reply) -> bytes:
        """Apply the verdict on what was received last, and continue.

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
            if verb in ("EHLO", "HELO", "LHLO"):
                self.extended = verb != "HELO"
                self.offer(self.capabilities)
            elif verb == "MAIL" and self._mail is not None and "SMTPUTF8" in self._mail.parameters:
                self._syntax = replace(self._syntax, utf8=True)
        elif verb in AFTER_FAILURE:
            self._move(AFTER_FAILURE[verb])
        elif verb is _LOST_COUNT:
            self._move(Phase.CLOSED)
        elif verb == "MAIL":
            self._mail = None

    def _move(self, phase: Phase) -> None:
        self.phase = phase
        self._steps = self._table.get(phase, {})
        self.in_transaction = phase in IN_TRANSACTION
        if self._mail is not None and not self.in_transaction:
            self._mail = None
            if self._syntax.utf8:
                self._syntax = replace(self._syntax, utf8=False)

    @property
    def waiting(self) -> bool:
        """True while a verdict is owed."""
        return self._pending is not None

    @property
    def ends_group(self) -> bool:
        """True if nothing may follow the last line before its reply.

        Without EHLO there is no pipelining at all, but what follows the content always may.

        RFC 2920 s3.1
        """
        if not self.extended:
            return self._pending is not END_OF_CONTENT
        return self.verb in LAST_IN_GROUP


def _is_binary(mail: Mail) -> bool:
    return (mail.parameters.get("BODY") or "").upper() == "BINARYMIME"
