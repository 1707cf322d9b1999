"""The SMTP server protocol: it moves octets, watches the time, and waits for verdicts.

What a line means and whether it is legal now is decided by `wire`; the state is in the `Session`;
what happens to mail is decided by the delivery. Here a command is passed to the function that
answers it, and its verdict is awaited, recorded in the session and sent. Every command takes the
same path: `lineReceived`, its function in the command table, `_answer`.

Invariants:

- One verdict per command, in order. While one is awaited the input is held (`_await`).
- Every wait has an end: `deadline` is set whenever the session waits for the peer or for a verdict,
  and a sweep over all connections calls `expire` when it has passed.
- An unexpected exception is a fault of ours: 451 with a receipt that is in the log, too.

Who controls the input: the peer, until `wire` has parsed it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    ISSLTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.envelope import SessionFacts
from postroom.later import now_or_later
from postroom.server.lines import LineStream
from postroom.server.listener import SHUTTING_DOWN, Listener
from postroom.server.session import Session
from postroom.server.verdicts import Verdict
from postroom.tls import handshake_error
from postroom.wire.commands import AUTH_LINE_OCTETS
from postroom.wire.replies import Reply, reply
from postroom.wire.state import Phase

TIMED_OUT: Final = reply(421, "4.4.2", "Timeout, closing connection")
TOO_MANY_ERRORS: Final = reply(421, "4.7.0", "Too many errors, closing connection")
TOO_MUCH_IDLING: Final = reply(421, "4.7.0", "Too many commands without mail, closing connection")
LINE_WITHOUT_END: Final = reply(421, "4.7.0", "Line without end, closing connection")
CONTENT_WITHOUT_END: Final = reply(421, "4.3.4", "Message without end, closing connection")
BARE_NEWLINE: Final = reply(500, "5.5.2", "Lines end with CRLF, closing connection")
TALKED_FIRST: Final = reply(554, "5.5.0", "Command sent before the greeting, closing connection")

LINGER_SECONDS: Final = 10
"""How long a peer may take to close after the last reply."""

PENALTY_SECONDS: Final = 1
"""How long a peer with too many errors waits for each further reply."""

_log = Logger()


@implementer(IHandshakeListener)
class SMTPServerProtocol(LineStream):
    """The connection of one session.

    Attributes:
        first_facts: what is known of the client before the session begins.
        session: the session; created when the connection is made.
        deadline: when the present wait has lasted too long, on the reactor's clock.
        idle_since: when the last reply was sent, on the same clock.
    """

    MAX_LENGTH = AUTH_LINE_OCTETS - 2

    session: Session
    _awaited: "Deferred[Any] | None" = None
    _penalty: IDelayedCall | None = None
    _in_handshake = False

    def __init__(
        self,
        listener: Listener,
        commands: Mapping[str, Callable[[Session, Any], object]],
        facts: SessionFacts,
        destination: str | None = None,
    ) -> None:
        """Create the protocol; the session is created when the connection is made.

        Args:
            listener: the listener that it came in on.
            commands: the function that answers each verb.
            facts: what is known of the client.
            destination: the IP address that the client connected to, if a proxy has sent it.
        """
        self._listener = listener
        self._commands = commands
        self.first_facts = facts
        self._destination = destination
        self._limits = listener.settings.limits
        self.deadline = self.idle_since = listener.seconds()

    # The connection

    def connectionMade(self) -> None:
        """Send the greeting, or refuse a peer that has not waited for it."""
        listener, facts = self._listener, self.first_facts
        self.session = session = Session(listener, facts, self.transport, self._destination)
        listener.opened(self, facts.client)
        over_tls = ISSLTransport.providedBy(self.transport)
        if over_tls:
            session.expect_tls()
        self.transport.setTcpNoDelay(True)
        self.send_directly()
        self.takes_bare_newlines = listener.takes_bare_newlines(facts.client)
        delay = listener.settings.greeting_delay_seconds if session.must_wait else 0
        if session.must_wait and self.has_input_in_kernel():
            self._refuse_early_talker()
        elif delay:
            self.pause_input()
            self.deadline = listener.seconds() + delay + self._limits.command_timeout_seconds
            self._penalty = listener.call_later(delay, self._greet_late)
        else:
            self._write_reply(session.state.greet(listener.greeting))
        if over_tls:
            self._await_handshake()

    def _greet_late(self) -> None:
        """Send the greeting to a peer that has waited for it."""
        self._penalty = None
        if self.finished:
            return
        if self.has_input:
            self._refuse_early_talker()
        else:
            self._write_reply(self.session.state.greet(self._listener.greeting))
            if self._in_handshake:
                self._await_handshake()
            self.resume_input()

    def _refuse_early_talker(self) -> None:
        """Refuse a peer that sent something before the greeting. RFC 5321 s3.1, s4.3.1."""
        self.session.log_refusal(TALKED_FIRST)
        self._write_reply(self.session.state.greet(TALKED_FIRST))
        self.finish()

    def _write_reply(self, octets: bytes) -> None:
        """Send a reply, and set the deadline for what the peer sends next."""
        self.idle_since = now = self._listener.seconds()
        incoming = self.session.incoming
        self.deadline = (
            now + self._limits.command_timeout_seconds
            if incoming is None
            else incoming.deadline(now)
        )
        self.send_reply(octets)

    def finish(self) -> None:
        """Close the connection; the peer has a little time to read the last reply and close."""
        self.deadline = self._listener.seconds() + LINGER_SECONDS
        super().finish()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Drop everything; a message that is being stored is stored all the same."""
        self.finished = True
        if self._in_handshake:
            self._log_failed_handshake(reason)
        try:
            if self._penalty is not None:
                self._penalty.cancel()
            if self._awaited is not None and not self.session.storing:
                self._awaited.cancel()
            self.session.lost()
        finally:  # last, because others wait for the sessions to end
            self._listener.closed(self, self.session.facts.client)

    def expire(self, now: float) -> None:
        """End a wait that has lasted too long; the sweep over all connections calls this."""
        self.deadline = now + LINGER_SECONDS
        if self.finished or self._in_handshake:
            self.transport.abortConnection()
        elif self._awaited is not None and self.session.state.waiting:
            self._awaited.cancel()
        else:
            self.hang_up(TIMED_OUT)

    def expects_command(self) -> bool:
        """Return whether the session waits for nothing but the next command."""
        state = self.session.state
        return not (self.finished or state.waiting or state.phase is Phase.CONTENT)

    def shut_down(self) -> None:
        """Send 421 now, or after the command or transaction that has begun."""
        if self._in_handshake:
            self.transport.abortConnection()
        elif self.expects_command() and not self.session.state.in_transaction:
            self.hang_up(SHUTTING_DOWN)

    def cut_off(self) -> None:
        """Send 421 at any point of the session, and close without waiting for the peer."""
        if not self.finished:
            self.hang_up(SHUTTING_DOWN)
        self.transport.abortConnection()

    def hang_up(self, farewell: Reply) -> None:
        """Send 421 and close. Its text begins with our name: RFC 5321 s4.2.3."""
        self.send_reply(self._listener.farewell(farewell).wire)
        self.finish()

    # Commands and verdicts

    def lineReceived(self, line: bytes) -> None:
        """Answer a command, or a response within AUTH."""
        session = self.session
        self._in_handshake = False  # a transport in between may not have reported it
        try:
            received = session.state.receive(line)
        except Exception:  # in the parser of a plugin's parameter
            received = session.reply_for_failure(Failure())
        if not isinstance(received, Reply):
            self._decide(self._commands[received.verb], session, received)
        elif session.state.content_after_refusal and session.must_wait:
            self._answer(session.refuse_haste())
        else:
            self._answer(received)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is longer than any command may be."""
        self._answer(self.session.state.receive_too_long(line))

    def lineEndless(self) -> None:
        """Close the connection of a peer that sends no line end."""
        self.hang_up(LINE_WITHOUT_END)

    def bareNewlineReceived(self) -> None:
        """Refuse a line that ends with LF alone, and close; whatever follows it is dropped."""
        self.session.log_refusal(BARE_NEWLINE)
        self.send_reply(BARE_NEWLINE.wire)
        self.finish()

    def _decide(self, decide: Callable[..., object], *args: object) -> None:
        """Call the function that decides, and answer with its verdict now or when it has come."""
        verdict: Any
        try:
            verdict = decide(*args)
            if not isinstance(verdict, Reply):
                verdict = now_or_later(verdict)
        except Exception:
            verdict = self.session.reply_for_failure(Failure())
        if isinstance(verdict, Reply):  # nearly always
            self._answer(verdict)
        elif isinstance(verdict, Deferred):
            self._await(verdict)
        else:
            self._apply(verdict)

    def _await(self, verdict: "Deferred[Any]") -> None:
        self.pause_input()
        self.deadline = self._listener.seconds() + self._limits.verdict_timeout_seconds
        self._awaited = verdict
        verdict.addErrback(self.session.reply_for_failure).addCallback(self._apply_late)

    def _apply_late(self, verdict: Verdict | None) -> None:
        self._awaited = None
        if not self.finished:
            self._apply(verdict)
            if self._penalty is None:
                self.resume_input()

    def _apply(self, verdict: Verdict | None) -> None:
        """Answer with a verdict; None means that the octets of a chunk come first."""
        if verdict is None:
            self.setRawMode()
        else:
            self._answer(verdict)

    def _answer(self, verdict: Verdict) -> None:
        """Send the replies to the last command, and do what follows from them."""
        session = self.session
        if session.must_wait and self.has_input and session.state.ends_group:
            verdict = session.refuse_haste()
        reply, octets = session.answer(verdict)
        late = session.errors > self._limits.errors_before_delay and reply.code >= 400
        if late and reply.code != 421:
            self._delay(octets, reply)
        else:
            self._send(octets, reply)

    def _send(self, octets: bytes, reply: Reply) -> None:
        self._write_reply(octets)
        session = self.session
        phase = session.state.phase
        if reply.code == 421 or session.closing or phase is Phase.CLOSED:
            self.finish()
        elif session.errors >= self._limits.errors:
            self.hang_up(TOO_MANY_ERRORS)
        elif session.idle_commands > self._limits.idle_commands:
            self.hang_up(TOO_MUCH_IDLING)
        elif phase is Phase.CONTENT:
            self.setRawMode()
        elif phase is Phase.HANDSHAKE:
            self._start_tls()
        elif phase is Phase.RESTART:
            session.restart()
            self.takes_bare_newlines = self._listener.takes_bare_newlines(session.facts.client)
        elif self._listener.draining and not session.state.in_transaction:
            self.hang_up(SHUTTING_DOWN)

    def _delay(self, octets: bytes, reply: Reply) -> None:
        """Send the reply later, to a peer with too many errors."""
        self.pause_input()
        self.deadline = self._listener.seconds() + self._limits.command_timeout_seconds
        self._penalty = self._listener.call_later(PENALTY_SECONDS, self._end_penalty, octets, reply)

    def _end_penalty(self, octets: bytes, reply: Reply) -> None:
        self._penalty = None
        if self.finished:
            return
        self._send(octets, reply)
        if not self.finished:
            self.resume_input()

    # Content

    def rawDataReceived(self, data: bytes) -> None:
        """Pass content on, as far as it goes."""
        incoming = self.session.incoming
        held = incoming.feed(data)
        if incoming.ended:
            self.setLineMode(incoming.rest)
            self._decide(incoming.end)
        elif incoming.endless:
            self.hang_up(CONTENT_WITHOUT_END)
        elif held is None:
            self.deadline = incoming.deadline(self._listener.seconds())
        else:
            self._wait_for_disk(held)

    def _wait_for_disk(self, held: "Deferred[None]") -> None:
        """Read no more until the disk has caught up."""
        self.pause_input()
        since = self._listener.seconds()
        self.deadline = since + self._limits.verdict_timeout_seconds
        held.addBoth(self._release, since)

    def _release(self, result: object, since: float) -> None:
        if self.finished:
            return
        now = self._listener.seconds()
        incoming = self.session.incoming
        incoming.resume(now - since, result)
        self.deadline = incoming.deadline(now)
        self.resume_input()

    # TLS

    def _start_tls(self) -> None:
        """Start TLS: what came in clear text is dropped, and the session starts afresh.

        RFC 3207 s4.2
        """
        self._flush()
        self._end_outflow()
        self.clearLineBuffer()
        self.send_through_transport()
        cast(Any, self.transport).startTLS(self._listener.tls)
        self.session.start_tls()
        self._await_handshake()

    def _await_handshake(self) -> None:
        self._in_handshake = True
        self.deadline = self._listener.seconds() + self._limits.handshake_timeout_seconds

    def handshakeCompleted(self) -> None:
        """Wait for commands from now on; the transport calls this when the handshake is done."""
        self._in_handshake = False
        self.deadline = self._listener.seconds() + self._limits.command_timeout_seconds
        self.session.handshake_done()

    def _log_failed_handshake(self, reason: Failure | None) -> None:
        _log.info(
            "TLS handshake failed client={client} reason={reason}",
            client=self.session.facts.client,
            reason=handshake_error(reason),
        )
