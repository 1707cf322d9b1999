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

from postroom.envelope import Envelope, Recipient, SessionFacts, new_queue_id
from postroom.errors import Refusal, reply_for
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.server.authentication import AUTHENTICATED, Exchange, Login
from postroom.server.lines import LineStream
from postroom.server.reception import TOO_BIG, Reception
from postroom.server.tls import channel_binding, facts_of, failure_text
from postroom.server.verdicts import RECIPIENT_OK, SENDER_OK, one_for_all, settled, then
from postroom.wire.commands import (
    AUTH_LINE_OCTETS,
    Auth,
    Ehlo,
    Helo,
    Help,
    Mail,
    Rcpt,
    Vrfy,
)
from postroom.wire.grammar import VERBS
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Response, ServerSession
from postroom.wire.state import Phase

if TYPE_CHECKING:
    from postroom.server.factory import ServerFactory

_OK: Final = reply(250, "2.0.0", "Ok")
_BYE: Final = reply(221, "2.0.0", "Bye")
_START_INPUT: Final = reply(354, None, "End data with <CR><LF>.<CR><LF>")
_START_TLS: Final = reply(220, "2.0.0", "Ready to start TLS")
_TLS_UNAVAILABLE: Final = reply(454, "4.7.0", "TLS not available")
_TOO_MANY_HANDSHAKES: Final = reply(454, "4.7.0", "Too many TLS handshakes, try again later")
_CANNOT_VERIFY: Final = reply(252, "2.0.0", "Cannot verify, send RCPT to try delivery")
_NOT_OFFERED: Final = ("BDAT", "LHLO", "EXPN", "ETRN", "XCLIENT", "XFORWARD")
_OFFERED: Final = [verb for verb in VERBS if verb not in _NOT_OFFERED]
_HELP: Final = reply(214, "2.0.0", "Commands: " + " ".join(_OFFERED), "See RFC 5321")
_TOO_MANY_RECIPIENTS: Final = reply(452, "4.5.3", "Too many recipients")
_VERDICT_OVERDUE: Final = reply(451, "4.3.0", "No answer in time, try again later")
_TIMED_OUT: Final = reply(421, "4.4.2", "Timeout, closing connection")
_TOO_MANY_ERRORS: Final = reply(421, "4.7.0", "Too many errors, closing connection")
_TOO_MUCH_IDLING: Final = reply(421, "4.7.0", "Too many commands without mail, closing connection")
_LINE_WITHOUT_END: Final = reply(421, "4.7.0", "Line without end, closing connection")
_ENDLESS: Final = reply(421, "4.3.4", "Message without end, closing connection")
SHUTTING_DOWN: Final = reply(421, "4.3.2", "Service shutting down, closing connection")

LINGER_SECONDS: Final = 10
"""How long a peer may take to close after we have said good-bye."""

_log = Logger()


@implementer(IHandshakeListener)
class SMTPServerProtocol(LineStream):
    """One session.

    Attributes:
        facts: what is known of the session; replaced, never changed.
        session: the meaning of what is said; replaced by STARTTLS.
        deadline: when the wait that is under way has lasted too long, on the reactor's clock.
        idle_since: when the peer was last answered.
    """

    MAX_LENGTH = AUTH_LINE_OCTETS - 2

    _delivery: ITransactionDelivery | None = None
    _logout: Callable[[], object] | None = None
    _envelope: Envelope | None = None
    _reception: Reception | None = None
    _exchange: Exchange | None = None
    _awaited: "Deferred[Any] | None" = None
    _penalty: IDelayedCall | None = None
    _shakes_hands = False
    _errors = 0
    _excess = 0
    _idle_commands = 0
    _content_since = 0.0

    def __init__(self, factory: "ServerFactory", client: str, client_port: int) -> None:
        """Take the factory and the peer's address; the session begins with the connection."""
        self.factory = factory
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
        self._octets_out(self.session.greet(self.factory.greeting))
        if self._over_tls:
            self._expect_handshake()

    def _begin_session(self, phase: Phase, over_tls: bool) -> None:
        self._over_tls = over_tls
        self.session = ServerSession(self._capabilities(), phase)

    def _octets_out(self, octets: bytes) -> None:
        self.idle_since = now = self.factory.seconds()
        limits = self.limits
        self.deadline = now + (
            limits.command_timeout_seconds
            if self._reception is None
            else limits.data_timeout_seconds
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
            if self._awaited is not None and self.session.phase is not Phase.CONTENT:
                self._awaited.cancel()
            if self._reception is not None:
                self._reception.abort()
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
            self._hang_up(_TIMED_OUT)

    def expects_command(self) -> bool:
        """Tell whether nothing but the next command is waited for."""
        busy = self.session.waiting or self.session.phase is Phase.CONTENT
        return not (self.finished or busy)

    def shut_down(self) -> None:
        """Say 421 now if nothing is under way, else after what is."""
        if self.expects_command() and not self.session.in_transaction:
            self._hang_up(SHUTTING_DOWN)

    def cut_off(self) -> None:
        """Say 421 whatever is under way, and close without waiting for the peer."""
        if not self.finished:
            self._hang_up(SHUTTING_DOWN)
        self.transport.abortConnection()

    def _hang_up(self, farewell: Reply) -> None:
        self.say(farewell.wire)
        self.finish()

    # Commands and verdicts

    def lineReceived(self, line: bytes) -> None:
        """Take a command, or a response within AUTH."""
        received = self.session.receive(line)
        if isinstance(received, Reply):
            self._answer(received)
        else:
            self._decide(_ACTIONS[received.verb], received)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line longer than any may be."""
        self._answer(self.session.receive_too_long(line))

    def lineEndless(self) -> None:
        """Hang up on a peer that sends no line end."""
        self._hang_up(_LINE_WITHOUT_END)

    def _decide(self, action: Callable[..., object], *args: object) -> None:
        try:
            verdict = action(self, *args)
            if not isinstance(verdict, Reply):
                verdict = settled(verdict)
        except Exception:
            verdict = self._excuse(Failure())
        if isinstance(verdict, Reply):
            self._answer(verdict)
        else:
            self._await(cast("Deferred[Reply]", verdict))

    def _await(self, verdict: "Deferred[Reply]") -> None:
        self.hold()
        self.deadline = self.factory.seconds() + self.limits.verdict_timeout_seconds
        self._awaited = verdict
        verdict.addErrback(self._excuse).addCallback(self._late_answer)

    def _late_answer(self, verdict: Reply) -> None:
        self._awaited = None
        if not self.finished:
            self._answer(verdict)
            if self._penalty is None:
                self.go_on()

    def _excuse(self, failure: Failure) -> Reply:
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

    def _answer(self, verdict: Reply) -> None:
        """Give the peer the verdict on its last command."""
        octets = self.session.answer(verdict)
        failed = verdict.code >= 400
        if failed:
            if not self._forgiven(verdict):
                self._errors += 1
            self._note_refusal(verdict)
        if not self.session.in_transaction:
            self._envelope = None
        if failed and self._errors > self.limits.errors_before_delay and verdict.code != 421:
            self._delay(octets, verdict)
        else:
            self._octets_out(octets)
            self._after_answer(verdict)

    def _after_answer(self, verdict: Reply) -> None:
        if verdict.code == 421 or self.session.phase is Phase.CLOSED:
            self.finish()
        elif self._errors >= self.limits.errors:
            self._hang_up(_TOO_MANY_ERRORS)
        elif self._idle_commands > self.limits.idle_commands:
            self._hang_up(_TOO_MUCH_IDLING)
        elif self.session.phase is Phase.HANDSHAKE:
            self._start_tls()
        elif self.factory.draining and not self.session.in_transaction:
            self._hang_up(SHUTTING_DOWN)

    def _forgiven(self, verdict: Reply) -> bool:
        """Let a peer offer more recipients than fit, or it would never get to DATA.

        RFC 5321 s4.5.3.1.10
        """
        if verdict is not _TOO_MANY_RECIPIENTS:
            return False
        self._excess += 1
        return self._excess <= self.limits.recipients

    def _note_refusal(self, verdict: Reply) -> None:
        _log.info(
            "refused client={client} helo={helo} sender={sender} reply={reply}",
            client=self.facts.client,
            helo=self.facts.helo,
            sender=self._envelope.mail.reverse_path if self._envelope else None,
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
        return self.factory.capabilities(self.facts, self._over_tls)

    def _ehlo(self, command: Ehlo | Helo) -> Reply:
        self._idle_commands += 1
        self._shakes_hands = False  # a transport in between may not have told
        old, extended = self.facts, isinstance(command, Ehlo)
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

    # The transaction

    def _mail(self, command: Mail) -> object:
        if command.size_octets > self.limits.message_octets:
            return TOO_BIG
        if self._delivery is None:
            nobody = self.factory.authentication.anonymous(self.facts)
            return then(settled(nobody), self._mail_of_nobody, command)
        return self._mail_with(self._delivery, command)

    def _mail_of_nobody(self, login: Login, command: Mail) -> object:
        return self._mail_with(self._take_delivery(login), command)

    def _mail_with(self, delivery: ITransactionDelivery, command: Mail) -> object:
        envelope = Envelope(new_queue_id(), self.facts, command)
        return then(settled(delivery.validate_sender(envelope)), self._sender_judged, envelope)

    def _sender_judged(self, refusal: Reply | None, envelope: Envelope) -> Reply:
        if refusal is not None and not refusal.positive:
            return refusal
        self._envelope = envelope
        return SENDER_OK

    def _rcpt(self, command: Rcpt) -> object:
        envelope, delivery = self._open_transaction()
        if len(envelope.recipients) >= self.limits.recipients:
            return _TOO_MANY_RECIPIENTS
        route = settled(delivery.validate_recipient(envelope, command))
        return then(route, self._recipient_judged, envelope, command)

    def _recipient_judged(self, route: object, envelope: Envelope, command: Rcpt) -> Reply:
        if isinstance(route, Reply) and not route.positive:
            return route
        envelope.recipients.append(Recipient(command, route))
        return RECIPIENT_OK

    def _data(self, _: object) -> object:
        envelope, delivery = self._open_transaction()
        return then(settled(delivery.begin(envelope)), self._content_begins)

    def _content_begins(self, transaction: IDeliveryTransaction) -> Reply:
        normalise = self.factory.normalises(self.facts.client)
        self._reception = Reception(transaction, self.limits, normalise)
        self._content_since = self.factory.seconds()
        self.setRawMode()
        return _START_INPUT

    def _open_transaction(self) -> tuple[Envelope, ITransactionDelivery]:
        # The phase says that both are there.
        assert self._envelope is not None
        assert self._delivery is not None
        return self._envelope, self._delivery

    # Content

    def rawDataReceived(self, data: bytes) -> None:
        """Take content."""
        reception = self._reception
        assert reception is not None  # raw mode begins and ends with it
        try:
            held = reception.feed(data)
        except Exception:
            reception.refuse(self._excuse(Failure()))
            held = None
        if reception.ended:
            self._content_ends(reception, held)
        elif reception.endless:
            self._hang_up(_ENDLESS)
        elif held is None:
            self._expect_content(reception)
        else:
            self._hold_content(reception, held)

    def _expect_content(self, reception: Reception) -> None:
        """Set the time by which more must have come: RFC 5321 s4.5.3.2.5, and a minimum rate."""
        patience = self.limits.data_timeout_seconds
        by_rate = self._content_since + reception.octets / self.limits.data_minimum_rate
        self.deadline = min(self.factory.seconds(), by_rate) + patience

    def _hold_content(self, reception: Reception, held: "Deferred[None]") -> None:
        """Let the peer wait for our disk; the time is not counted against it."""
        self.hold()
        held_since = self.factory.seconds()
        self.deadline = held_since + self.limits.verdict_timeout_seconds

        def release(result: object) -> None:
            if self.finished:
                return
            if isinstance(result, Failure):
                reception.refuse(self._excuse(result))
            self._content_since += self.factory.seconds() - held_since
            self._expect_content(reception)
            self.go_on()

        held.addBoth(release)

    def _content_ends(self, reception: Reception, held: "Deferred[None] | None") -> None:
        self.setLineMode(reception.rest)
        self._reception = None
        self.session.end_of_content()
        self._idle_commands = 0
        self._decide(SMTPServerProtocol._store, reception, held)

    def _store(self, reception: Reception, held: "Deferred[None] | None") -> object:
        if held is not None:
            return held.addErrback(
                lambda failure: reception.refuse(self._excuse(failure))
            ).addCallback(lambda _: self._store(reception, None))
        if reception.refusal is not None:
            return reception.refusal
        return then(settled(reception.commit()), self._stored)

    def _stored(self, results: Sequence[Reply]) -> Reply:
        verdict = one_for_all(results)
        if verdict.positive:
            self._errors = self._excess = 0
        return verdict

    # Authentication

    def _auth(self, command: Auth) -> object:
        self._idle_commands += 1
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
        self._take_delivery(outcome)
        old = self.facts
        self.facts = SessionFacts(
            old.role,
            old.client,
            old.client_port,
            old.helo,
            old.extended,
            old.tls,
            outcome.identity,
        )
        self.session.offer(self._capabilities())
        return AUTHENTICATED

    def _take_delivery(self, login: Login) -> ITransactionDelivery:
        if self._logout is not None:
            self._logout()
        self._logout = login.log_out
        self._delivery = login.delivery
        return login.delivery

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
        self.clearLineBuffer()
        self.send_through_transport()
        cast(ITLSTransport, self.transport).startTLS(self.factory.tls)
        if self._logout is not None:
            self._logout()
        self._delivery = self._logout = self._exchange = None
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

    # The rest

    def _idle(self, reply: Reply) -> Reply:
        self._idle_commands += 1
        return reply

    def _vrfy(self, _: Vrfy) -> Reply:
        return self._idle(_CANNOT_VERIFY)

    def _help(self, _: Help) -> Reply:
        return self._idle(_HELP)

    def _noop(self, _: object) -> Reply:
        return self._idle(_OK)

    def _quit(self, _: object) -> Reply:
        return _BYE


_ACTIONS: Final[dict[str, Callable[..., object]]] = {
    "EHLO": SMTPServerProtocol._ehlo,
    "HELO": SMTPServerProtocol._ehlo,
    "MAIL": SMTPServerProtocol._mail,
    "RCPT": SMTPServerProtocol._rcpt,
    "DATA": SMTPServerProtocol._data,
    "RSET": SMTPServerProtocol._noop,
    "NOOP": SMTPServerProtocol._noop,
    "QUIT": SMTPServerProtocol._quit,
    "VRFY": SMTPServerProtocol._vrfy,
    "HELP": SMTPServerProtocol._help,
    "AUTH": SMTPServerProtocol._auth,
    "STARTTLS": SMTPServerProtocol._starttls,
    Response.verb: SMTPServerProtocol._auth_response,
}
