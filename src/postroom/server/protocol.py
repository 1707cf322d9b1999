"""The SMTP server protocol: it moves octets and waits for verdicts.

What a line means and whether it is legal now is `wire`'s to say; what becomes of mail is the
delivery's. Here a command is taken to whoever decides on it, the verdict is awaited, given to the
session, and sent. The path of any command is `lineReceived`, its line in `_ACTIONS`, `_answer`.

Invariants:

- One verdict per command, in order. While one is awaited the input is held (`_await`).
- Every wait has an end: `deadline` is set whenever the session waits for the peer or for a verdict,
  and the factory's sweep calls `expire` when it has passed.
- The envelope exists exactly while the session is in a transaction; it is dropped, never cleared.
- An exception of an extension point is ours: 451 with a receipt that the log has too.

Who controls the input: the peer, until `wire` has read it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    ISSLTransport,
    ITLSTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.envelope import Envelope, SessionFacts, new_queue_id
from postroom.errors import Refusal, reply_for
from postroom.interfaces import ITransactionDelivery
from postroom.server import content, information, transactions, trust
from postroom.server.authentication import AUTHENTICATED, Exchange, Login
from postroom.server.connections import unmapped
from postroom.server.lines import LineStream
from postroom.server.tls import channel_binding, facts_of, failure_text
from postroom.server.verdicts import Spread, settled, then
from postroom.wire.commands import AUTH_LINE_OCTETS, Auth, Hello, Helo
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Chunk, Response, ServerSession
from postroom.wire.state import Phase

if TYPE_CHECKING:
    from postroom.server.factory import ServerFactory

_START_TLS: Final = reply(220, "2.0.0", "Ready to start TLS")
_TLS_UNAVAILABLE: Final = reply(454, "4.7.0", "TLS not available")
_TOO_MANY_HANDSHAKES: Final = reply(454, "4.7.0", "Too many TLS handshakes, try again later")
_VERDICT_OVERDUE: Final = reply(451, "4.3.0", "No answer in time, try again later")
_TIMED_OUT: Final = reply(421, "4.4.2", "Timeout, closing connection")
_TOO_MANY_ERRORS: Final = reply(421, "4.7.0", "Too many errors, closing connection")
_TOO_MUCH_IDLING: Final = reply(421, "4.7.0", "Too many commands without mail, closing connection")
_LINE_WITHOUT_END: Final = reply(421, "4.7.0", "Line without end, closing connection")
SHUTTING_DOWN: Final = reply(421, "4.3.2", "Service shutting down, closing connection")

BARE_NEWLINE: Final = reply(500, "5.5.2", "Lines end with CRLF, closing connection")
TALKED_FIRST: Final = reply(554, "5.5.0", "You talk before the greeting, closing connection")
OUT_OF_STEP: Final = reply(554, "5.5.0", "You did not wait for a reply, closing connection")

LINGER_SECONDS: Final = 10
"""How long a peer may take to close after we have said good-bye."""

_log = Logger()


@implementer(IHandshakeListener)
class SMTPServerProtocol(LineStream):
    """One session.

    Attributes:
        facts: what is known of the session; replaced, never changed.
        session: the meaning of what is said; replaced by STARTTLS.
        peer: who has connected, whatever XCLIENT says.
        deadline: when the wait that is under way has lasted too long, on the reactor's clock.
        idle_since: when the peer was last answered.
        delivery: what becomes of the session's mail; None before the first login.
        envelope: the open transaction's; None without one.
        intake: the content that is under way; None without any.
        spread: makes several replies of the next verdict; None for the usual one.
        destination: the IP address that the client connected to, if a proxy has told it; None for
            the one that the connection came in on.
        idle_commands: commands since the last message that moved no mail.
        parts: whether the session ends with the next answer.
    """

    MAX_LENGTH = AUTH_LINE_OCTETS - 2

    delivery: ITransactionDelivery | None = None
    envelope: Envelope | None = None
    intake: content.Intake | None = None
    spread: Spread | None = None
    destination: str | None = None
    idle_commands = 0
    parts = False
    _logout: Callable[[], object] | None = None
    _storing = False
    _strict = False
    _exchange: Exchange | None = None
    _awaited: "Deferred[Any] | None" = None
    _penalty: IDelayedCall | None = None
    _shakes_hands = False
    _errors = 0
    _excess = 0

    def __init__(self, factory: "ServerFactory", client: str, client_port: int) -> None:
        """Take the factory and the peer's address; the session begins with the connection."""
        self.factory = factory
        self.peer = client
        self.facts = SessionFacts(factory.settings.role, client, client_port)
        self.limits = factory.settings.limits
        self.deadline = self.idle_since = factory.seconds()

    # The connection

    def connectionMade(self) -> None:
        """Greet the peer, or turn it away."""
        self.factory.opened(self)
        self._begin_session(Phase.GREETING, ISSLTransport.providedBy(self.transport))
        self.transport.setTcpNoDelay(True)
        self.send_directly()
        self._strict = self.factory.must_wait(self.peer)
        self.takes_bare_newlines = self.factory.takes_bare_newlines(self.peer)
        delay = self.factory.settings.greeting_delay_seconds if self._strict else 0
        if self._strict and self.peeks():
            self._turn_away()
        elif delay:
            self.hold()
            self.deadline = self.factory.seconds() + delay + self.limits.command_timeout_seconds
            self._penalty = self.factory.call_later(delay, self._greet_late)
        else:
            self._octets_out(self.session.greet(self.factory.greeting))
        if self._over_tls:
            self._expect_handshake()

    def _greet_late(self) -> None:
        """Greet a peer that has kept quiet until now."""
        self._penalty = None
        if self.finished:
            return
        if self.has_input:
            self._turn_away()
        else:
            self._octets_out(self.session.greet(self.factory.greeting))
            if self._shakes_hands:
                self._expect_handshake()
            self.go_on()

    def _turn_away(self) -> None:
        """End the session of a peer that talked before the greeting. RFC 5321 s3.1, s4.3.1."""
        self._note_refusal(TALKED_FIRST)
        self._octets_out(self.session.greet(TALKED_FIRST))
        self.finish()

    def _begin_session(self, phase: Phase, over_tls: bool) -> None:
        self._over_tls = over_tls
        self.session = ServerSession(self._capabilities(), phase)

    def _octets_out(self, octets: bytes) -> None:
        self.idle_since = now = self.factory.seconds()
        intake = self.intake
        self.deadline = (
            now + self.limits.command_timeout_seconds if intake is None else intake.deadline(now)
        )
        self.say(octets)

    def finish(self) -> None:
        """Hang up; the peer has a little time to take what was said and close."""
        self.deadline = self.factory.seconds() + LINGER_SECONDS
        super().finish()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Let go of everything; a message that is being stored is stored all the same."""
        self.finished = True
        if self._shakes_hands:
            self._note_failed_handshake(reason)
        try:
            if self._penalty is not None:
                self._penalty.cancel()
            if self._awaited is not None and not self._storing:
                self._awaited.cancel()
            if self.intake is not None:
                self.intake.reception.abort()
            if self._logout is not None:
                self._logout()
        finally:  # last, for whoever waits for the sessions to end
            self.factory.closed(self)

    def expire(self, now: float) -> None:
        """End a wait that has lasted too long; the factory's sweep calls this."""
        self.deadline = now + LINGER_SECONDS
        if self.finished or self._shakes_hands:
            self.transport.abortConnection()
        elif self._awaited is not None and self.session.waiting:
            self._awaited.cancel()
        else:
            self.hang_up(_TIMED_OUT)

    def expects_command(self) -> bool:
        """Tell whether nothing but the next command is waited for."""
        busy = self.session.waiting or self.session.phase is Phase.CONTENT
        return not (self.finished or busy)

    def shut_down(self) -> None:
        """Say 421 now if nothing is under way, else after what is."""
        if self._shakes_hands:
            self.transport.abortConnection()
        elif self.expects_command() and not self.session.in_transaction:
            self.hang_up(SHUTTING_DOWN)

    def cut_off(self) -> None:
        """Say 421 whatever is under way, and close without waiting for the peer."""
        if not self.finished:
            self.hang_up(SHUTTING_DOWN)
        self.transport.abortConnection()

    def hang_up(self, farewell: Reply) -> None:
        """Say 421 and close. The text begins with our name: RFC 5321 s4.2.3."""
        self.say(self.factory.farewell(farewell).wire)
        self.finish()

    # Commands and verdicts

    def lineReceived(self, line: bytes) -> None:
        """Take a command, or a response within AUTH."""
        try:
            received = self.session.receive(line)
        except Exception:  # of a parameter that somebody else's extension reads
            received = self.excuse(Failure())
        if isinstance(received, Reply):
            if self.session.astray and self._must_wait():
                received, self.parts = OUT_OF_STEP, True
            self._answer(received)
        else:
            self._decide(_ACTIONS[received.verb], received)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line longer than any may be."""
        self._answer(self.session.receive_too_long(line))

    def lineEndless(self) -> None:
        """Hang up on a peer that sends no line end."""
        self.hang_up(_LINE_WITHOUT_END)

    def bareNewlineReceived(self) -> None:
        """Refuse a line that ends with LF alone, and close: whatever follows it is dropped."""
        self._note_refusal(BARE_NEWLINE)
        self.say(BARE_NEWLINE.wire)
        self.finish()

    def _decide(self, action: Callable[..., object], *args: object) -> None:
        verdict: Any
        try:
            verdict = action(self, *args)
            if not isinstance(verdict, Reply):
                verdict = settled(verdict)
        except Exception:
            verdict = self.excuse(Failure())
        if isinstance(verdict, Reply):
            self._answer(verdict)
        elif isinstance(verdict, Deferred):
            self._await(verdict)
        elif verdict is not None:  # else a chunk is on its way, and is answered after it
            self._answer(verdict)

    def _await(self, verdict: "Deferred[Any]") -> None:
        self.hold()
        self.deadline = self.factory.seconds() + self.limits.verdict_timeout_seconds
        self._awaited = verdict
        verdict.addErrback(self.excuse).addCallback(self._late_answer)

    def _late_answer(self, verdict: "Reply | Sequence[Reply] | None") -> None:
        self._awaited = None
        if not self.finished:
            if verdict is not None:
                self._answer(verdict)
            if self._penalty is None:
                self.go_on()

    def excuse(self, failure: Failure) -> Reply:
        """Make a reply of an exception; what was not meant for the peer goes to the log."""
        error = cast(BaseException, failure.value)
        if isinstance(error, Refusal):
            return error.reply
        if isinstance(error, CancelledError):
            return _VERDICT_OVERDUE
        receipt = new_queue_id()
        _log.failure(
            "no answer to {client}, receipt {receipt}",
            failure,
            client=self.facts.client,
            receipt=receipt,
        )
        answer = reply_for(error)
        return Reply(answer.code, (f"{answer.text[0]} (receipt {receipt})",), answer.enhanced)

    def _answer(self, verdict: Reply | Sequence[Reply]) -> None:
        """Give the peer the verdict on its last command."""
        if self._strict and self.has_input and self.session.ends_group and self._must_wait():
            verdict, self.parts, self.spread = OUT_OF_STEP, True, None
        before = b""
        if self.spread is not None:
            spread, self.spread = self.spread, None
            *firsts, verdict = spread(verdict)
            before = b"".join(each.wire for each in firsts)
        assert isinstance(verdict, Reply)
        if verdict.code == 421:
            named: Reply = self.factory.farewell(verdict)
            verdict = named
        octets = before + self.session.answer(verdict)
        failed = verdict.code >= 400
        if self._storing:
            self._storing = False
            if not failed:
                self._errors = self._excess = 0
        if failed:
            if not self._forgiven(verdict):
                self._errors += 1
            self._note_refusal(verdict)
        if self.envelope is not None and not self.session.in_transaction:
            self._end_transaction()
        if failed and self._errors > self.limits.errors_before_delay and verdict.code != 421:
            self._delay(octets, verdict)
        else:
            self._octets_out(octets)
            self._after_answer(verdict)

    def _must_wait(self) -> bool:
        """Tell whether the session ends if the peer does not wait for a reply where it has to."""
        return self._strict and self.facts.identity is None

    def _end_transaction(self) -> None:
        """Drop the envelope, and chunks of which no last one has come."""
        self.envelope = None
        if self.facts.forwarded:
            self.facts = replace(self.facts, forwarded="")
        if self.intake is not None:
            self.intake.reception.abort()
            self.intake = None

    def _after_answer(self, verdict: Reply) -> None:
        if verdict.code == 421 or self.parts or self.session.phase is Phase.CLOSED:
            self.finish()
        elif self._errors >= self.limits.errors:
            self.hang_up(_TOO_MANY_ERRORS)
        elif self.idle_commands > self.limits.idle_commands:
            self.hang_up(_TOO_MUCH_IDLING)
        elif self.session.phase is Phase.HANDSHAKE:
            self._start_tls()
        elif self.session.phase is Phase.RESTART:
            self._begin_session(Phase.HELLO, self._over_tls)
        elif self.factory.draining and not self.session.in_transaction:
            self.hang_up(SHUTTING_DOWN)

    def _forgiven(self, verdict: Reply) -> bool:
        """Let a peer offer more recipients than fit, or it would never get to DATA.

        RFC 5321 s4.5.3.1.10
        """
        if verdict is not transactions.TOO_MANY_RECIPIENTS:
            return False
        self._excess += 1
        return self._excess <= self.limits.recipients

    def _note_refusal(self, verdict: Reply) -> None:
        _log.info(
            "refused client={client} helo={helo} sender={sender} reply={reply}",
            client=self.facts.client,
            helo=self.facts.helo,
            sender=self.envelope.mail.reverse_path if self.envelope else None,
            reply=str(verdict),
        )

    def _delay(self, octets: bytes, verdict: Reply) -> None:
        """Make a peer that errs on and on wait for its reply."""
        self.hold()
        self.deadline = self.factory.seconds() + self.limits.command_timeout_seconds
        self._penalty = self.factory.call_later(1, self._end_penalty, octets, verdict)

    def _end_penalty(self, octets: bytes, verdict: Reply) -> None:
        self._penalty = None
        if self.finished:
            return
        self._octets_out(octets)
        self._after_answer(verdict)
        if not self.finished:
            self.go_on()

    # Greeting

    def _capabilities(self) -> Any:
        return self.factory.capabilities(self.facts, self._over_tls, self.peer)

    def _hello(self, command: Hello) -> Reply:
        self.idle_commands += 1
        self._shakes_hands = False  # a transport in between may not have told
        old, extended = self.facts, not isinstance(command, Helo)
        self.facts = SessionFacts(
            old.role,
            old.client,
            old.client_port,
            command.domain,
            extended,
            facts_of(self._connection()) if self._over_tls else None,
            old.identity,
        )
        if self._over_tls:  # which has told by now who the client is
            self.session.offer(self._capabilities())
        capabilities = self.session.capabilities
        return capabilities.ehlo_reply if extended else capabilities.helo_reply

    def is_own_address(self, address: str) -> bool:
        """Tell whether an IP address is this host's, as far as this session goes."""
        if self.destination is not None:
            local = self.destination
        else:
            local = unmapped(getattr(self.transport.getHost(), "host", ""))
        return address == local or self.factory.is_own_address(address)

    def begin_as(self, facts: SessionFacts, login: Login | None) -> None:
        """Be somebody else from the next greeting on, who may have logged in elsewhere."""
        self._log_out()
        if login is not None:
            self.take_delivery(login)
            facts = replace(facts, identity=login.identity)
        self.facts = facts
        self.takes_bare_newlines = self.factory.takes_bare_newlines(facts.client)

    # Content

    def open_transaction(self) -> tuple[Envelope, ITransactionDelivery]:
        """Give the open envelope and the delivery; the phase says that both are there."""
        assert self.envelope is not None
        assert self.delivery is not None
        return self.envelope, self.delivery

    def rawDataReceived(self, data: bytes) -> None:
        """Take content."""
        intake = self.intake
        assert intake is not None  # raw mode begins and ends with it
        if intake.feed(data):
            self.setLineMode(intake.reception.rest)
            if intake.chunk is None:
                self.session.end_of_content()
            self._decide(SMTPServerProtocol._content_ended, intake)

    def _content_ended(self, intake: content.Intake) -> object:
        return intake.end()

    def begin_to_store(self) -> None:
        """Take note that all content is there: from now on the peer may go, the message stays."""
        envelope, _ = self.open_transaction()
        self._storing = True
        self.idle_commands = 0
        self.spread = content.per_recipient(self.facts.role, envelope)

    # Authentication

    def _auth(self, command: Auth) -> object:
        self.idle_commands += 1
        self._exchange = self.factory.authentication.exchange(
            command.mechanism, self.facts, self.transport
        )
        return then(settled(self._exchange.begin(command.initial_response)), self._authenticated)

    def _auth_response(self, response: Response) -> object:
        assert self._exchange is not None  # the phase says so
        return then(settled(self._exchange.take(response.line)), self._authenticated)

    def _authenticated(self, outcome: Reply | Login) -> Reply:
        if isinstance(outcome, Reply):
            return outcome
        self._exchange = None
        self.take_delivery(outcome)
        old = self.facts
        self.facts = SessionFacts(
            old.role,
            old.client,
            old.client_port,
            old.helo,
            old.extended,
            old.tls,
            outcome.identity,
            old.forwarded,
        )
        self.session.offer(self._capabilities())
        return AUTHENTICATED

    def take_delivery(self, login: Login) -> ITransactionDelivery:
        """Let a login decide what becomes of the session's mail."""
        self._log_out()
        self._logout = login.log_out
        self.delivery = login.delivery
        return login.delivery

    def _log_out(self) -> None:
        logout, self._logout = self._logout, None
        self.delivery = self._exchange = None
        if logout is not None:
            logout()

    # TLS

    def _starttls(self, _: object) -> Reply:
        if self.factory.tls is None:
            return _TLS_UNAVAILABLE
        return (
            _START_TLS if self.factory.takes_handshake(self.facts.client) else _TOO_MANY_HANDSHAKES
        )

    def _start_tls(self) -> None:
        """Upgrade: what came in clear text is thrown away, the session is a new one.

        RFC 3207 s4.2
        """
        self._flush()
        self._end_outflow()
        self.clearLineBuffer()
        self.send_through_transport()
        cast(ITLSTransport, self.transport).startTLS(self.factory.tls)
        self._log_out()
        self.facts = SessionFacts(self.facts.role, self.facts.client, self.facts.client_port)
        # A transport that stands between us and the socket would not know of it.
        self._begin_session(Phase.HELLO, over_tls=True)
        self._expect_handshake()

    def _expect_handshake(self) -> None:
        self._shakes_hands = True
        self.deadline = self.factory.seconds() + self.limits.handshake_timeout_seconds

    def handshakeCompleted(self) -> None:
        """Begin to wait for commands; the transport calls this when TLS stands."""
        self._shakes_hands = False
        self.deadline = self.factory.seconds() + self.limits.command_timeout_seconds
        self.facts = replace(self.facts, tls=facts_of(self._connection()))

    def _note_failed_handshake(self, reason: Failure | None) -> None:
        _log.info(
            "TLS handshake failed client={client} reason={reason}",
            client=self.facts.client,
            reason=failure_text(reason),
        )

    def _connection(self) -> Any:
        """Give OpenSSL's end of the TLS connection."""
        return cast(Any, self.transport).getHandle()

    def channel_binding(self, kind: str) -> bytes | None:
        """Give the data that bind a login to this TLS connection; None where there are none.

        RFC 5056 s2
        """
        return channel_binding(self._connection(), kind) if self._over_tls else None


_ACTIONS: Final[dict[str, Callable[..., object]]] = {
    "EHLO": SMTPServerProtocol._hello,
    "HELO": SMTPServerProtocol._hello,
    "LHLO": SMTPServerProtocol._hello,
    "MAIL": transactions.mail,
    "RCPT": transactions.rcpt,
    "DATA": content.data,
    Chunk.verb: content.bdat,
    "RSET": information.noop,
    "NOOP": information.noop,
    "QUIT": information.quit_,
    "VRFY": information.vrfy,
    "EXPN": information.expn,
    "HELP": information.help_,
    "ETRN": information.etrn,
    "AUTH": SMTPServerProtocol._auth,
    Response.verb: SMTPServerProtocol._auth_response,
    "STARTTLS": SMTPServerProtocol._starttls,
    "XCLIENT": trust.xclient,
    "XFORWARD": trust.xforward,
}
