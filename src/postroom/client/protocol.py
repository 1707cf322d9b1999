"""One connection to another mail server.

Theory of operation. A `ClientConnection` joins a transport to a `ClientSession`, which knows what
may be sent and which reply answers what. What stage of its life it is in, and what follows, is a
table: `postroom.client.connection_state`. First the session is initiated, by a coroutine
(`postroom.client.initiation`). Then message after message is sent: `deliver` starts one,
`dataReceived` drives its transactions without Deferreds, and the owner's `delivered` is called. In
the end, whatever the cause, the owner's `ended` is called exactly once, with the message that was
being sent.

Invariants:

- One message at a time. After `delivered` and after `ended` the connection has forgotten it.
- Replies that a recipient has got are kept whatever happens later. Recipients that the host did not
  decide on are left undecided when the connection ends, so that another host may be tried; but not
  after the final dot, when the message may have been accepted: then they get a temporary reply.
- The final dot is sent after the whole content, or not at all: if something is wrong with the
  content, the connection is aborted.
- One deadline for whatever is waited for (`postroom.client.deadline`).

Who controls the input: the remote server. What it sends goes through `ClientSession`; how long it
takes is bounded by a deadline for each reply, which octets that complete no reply do not move.

Known limits: the peer has to accept a piece of content (256 KiB) within `Timeouts.content_seconds`,
which is some 1,500 octets a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol as Contract
from typing import cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConnector,
    IConsumer,
    IHandshakeListener,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.client import failures
from postroom.client.connection_state import (
    OPEN,
    OVER,
    TLS_IS_TO_BLAME,
    Event,
    Stage,
    next_stage,
)
from postroom.client.content import ChunkStream, ContentStream, Stopped
from postroom.client.deadline import Deadline
from postroom.client.delivery import HostDelivery, SessionUsage
from postroom.client.esmtp_parameters import NextHop
from postroom.client.failures import HostFailed, SessionExhausted, TLSFailed
from postroom.client.initiation import initiate
from postroom.client.model import TLSMode
from postroom.client.outgoing_message import OutgoingMessage
from postroom.client.settings import ClientSettings
from postroom.client.target import Policy, Target
from postroom.client.tls import ClientContexts, check_name
from postroom.direct_socket import DirectSocket
from postroom.envelope import TLSFacts
from postroom.errors import LOCAL_ERROR, Refusal
from postroom.tls import handshake_error, tls_facts
from postroom.wire import encode
from postroom.wire.client_session import ClientPhase, ClientSession
from postroom.wire.errors import LocalViolation, RemoteViolation
from postroom.wire.offers import NO_LIMITS
from postroom.wire.replies import Reply


class IClientReactor(IReactorTCP, IReactorUNIX, IReactorTime):
    """The reactor, as connections need it."""


class ConnectionOwner(Contract):
    """Who gives a connection its messages."""

    def delivered(self, connection: "ClientConnection", message: OutgoingMessage) -> None:
        """Process the end of a message: its recipients are decided on, the connection is idle."""

    def ended(
        self,
        connection: "ClientConnection",
        message: OutgoingMessage | None,
        failure: HostFailed | None,
    ) -> None:
        """Process the end of a connection.

        Args:
            connection: it sends no more messages.
            message: the one that was being sent, perhaps with undecided recipients.
            failure: the reason; None if the connection was closed as planned.
        """


@dataclass(frozen=True)
class ConnectionContext:
    """What all connections of a sender share.

    Attributes:
        reactor: makes connections, and is the clock of all deadlines.
        settings: of the client.
        contexts: for TLS.
        times: how long to wait in each phase, in seconds.
        connections: all that have a socket, from the first SYN until it is closed.
        closed: called when one has left `connections`.
        now: returns POSIX time, in seconds.
    """

    reactor: IClientReactor
    settings: ClientSettings
    contexts: ClientContexts
    times: Mapping[ClientPhase, float]
    connections: "set[ClientConnection]"
    closed: Callable[[], None]
    now: Callable[[], float]


@implementer(IHandshakeListener)
class ClientConnection(Protocol):
    """An SMTP session as the client, from the TCP connection to QUIT.

    Attributes:
        target: the host's address.
        policy: how the host is spoken to.
        session: the state of the SMTP session; replaced by STARTTLS.
        tls: TLS facts; None in clear text.
        messages: how many messages were sent on it, or begun.
        connector: what makes the TCP connection.
        opened: fires with this connection when it is ready for mail; fails with `HostFailed`.
    """

    _log = Logger()

    def __init__(
        self, target: Target, policy: Policy, owner: ConnectionOwner, context: ConnectionContext
    ) -> None:
        """Create a connection; `postroom.client.connector.connect` opens it."""
        self.target = target
        self.policy = policy
        self.session = ClientSession()
        self.tls: TLSFacts | None = None
        self.messages = 0
        self.opened: Deferred[ClientConnection] = Deferred()
        self.connector: IConnector | None = None
        self._stage = Stage.CONNECTING
        self._remote = str(target)
        self._owner = owner
        self._context = context
        self._awaited_reply: Deferred[Reply] | None = None
        self._awaited_handshake: Deferred[None] | None = None
        self._message: OutgoingMessage | None = None
        self._delivery: HostDelivery | None = None
        self._stream: ContentStream | None = None
        self._usage = SessionUsage()
        times = context.times
        tick_seconds = max(1.0, min(times.values()))
        self._deadline = Deadline(context.reactor, tick_seconds, self._deadline_passed)

    @property
    def secure(self) -> bool:
        """True inside TLS."""
        return self.tls is not None

    def _step(self, event: Event) -> None:
        self._stage = next_stage(self._stage, event)

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Start the session's initiation."""
        transport = self.transport
        assert transport is not None
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self._direct = DirectSocket(transport)
        self._step(Event.CONNECTED)
        self._deadline.watch(self._seconds)
        hostname = self._context.settings.hostname.encode("ascii")
        initiation = Deferred.fromCoroutine(initiate(self, hostname))
        initiation.addCallbacks(self._initiated, self._not_initiated)

    def connect_failed(self, reason: Failure) -> None:
        """Report that there is no TCP connection."""
        self._step(Event.CLOSE)
        self._leave_context()
        why = reason.getErrorMessage().rstrip(".")
        self.opened.errback(HostFailed(failures.unreachable(self._remote, why)))

    def dataReceived(self, data: bytes) -> None:
        """Read replies, and do what follows from each."""
        if self._stage in OVER:
            if self._stage is Stage.QUITTING:  # the answer to QUIT, or nothing that matters
                self._lose()
            return
        answered = False
        try:
            self.session.receive(data)
            while self._stage not in OVER and (answer := self.session.next_answer()) is not None:
                answered = True
                self._answered(*answer)
            if answered and self._stage not in OVER:
                self._arm()
        except RemoteViolation as error:
            phase = self._phase
            self._abort(HostFailed(failures.not_smtp(self._remote, phase, str(error))))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default
        """End the session, if it is not over: the transport is gone."""
        self._deadline.stop()
        self._leave_context()
        if self._stage in OVER:
            return
        if self._stage is Stage.TLS_HANDSHAKE:
            reply = failures.tls_failed(
                self._remote, handshake_error(reason), self.policy.requiretls
            )
        else:
            reply = failures.lost(self._remote, self._phase)
        self._end(HostFailed(reply))

    def handshakeCompleted(self) -> None:
        """Check whom TLS was negotiated with, and go on with the session."""
        connection: SSL.Connection = self.transport.getHandle()  # type: ignore[union-attr]  # as TLS transports have
        problem = check_name(connection, self.target.name) if self._verified else None
        if problem is not None:
            reply = failures.tls_failed(self._remote, problem, self.policy.requiretls)
            self._abort(HostFailed(reply))
            return
        awaited, self._awaited_handshake = self._awaited_handshake, None
        if awaited is None:
            return
        self._step(Event.SECURED)
        self.tls = tls_facts(connection)
        awaited.callback(None)

    # What the initiation calls (`postroom.client.initiation.HostDialogue`).

    async def answer(self) -> Reply:
        """Wait for the reply to what was sent last.

        Raises:
            HostFailed: there will be none.
        """
        self._awaited_reply = Deferred()
        self._arm()
        return await self._awaited_reply

    async def ask(self, phase: ClientPhase, line: bytes) -> Reply:
        """Send a command and wait for its reply.

        Raises:
            HostFailed: there will be none.
        """
        self._send(self.session.command(phase, line))
        return await self.answer()

    async def start_tls(self) -> None:
        """Negotiate TLS, with the checks that the policy asks for.

        After STARTTLS the session is replaced: nothing that was said in clear text is kept.

        Raises:
            HostFailed: there is no TLS, and the connection is over.
            ReplyViolation: the host has sent more than the reply to STARTTLS.

        RFC 3207 s4.2
        """
        if self.session.phase is ClientPhase.HANDSHAKE:
            self.session = self.session.secured()
        self._awaited_handshake = Deferred()
        self._step(Event.START_TLS)
        self._arm()
        creator = self._context.contexts.creator(self.target.name, self._verified)
        cast(ITLSTransport, self._direct.transport()).startTLS(creator)
        await self._awaited_handshake

    @property
    def _verified(self) -> bool:
        return self.policy.tls in (TLSMode.REQUIRED, TLSMode.IMPLICIT)

    def _initiated(self, _: None) -> None:
        self._step(Event.OPENED)
        self._hop = NextHop(
            self._remote,
            self.session.capabilities,
            self.secure,
            self.policy.user is not None,
            self.policy.lmtp,
        )
        self._arm()
        self.opened.callback(self)

    def _not_initiated(self, failure: Failure) -> None:
        """Send QUIT if the host still listens, and report why it cannot be used."""
        error = failure.value
        if self._stage not in OVER:
            if isinstance(error, HostFailed):
                self._say_goodbye()
            else:
                self._cut()
        if isinstance(error, RemoteViolation):
            error = HostFailed(failures.not_smtp(self._remote, ClientPhase.STARTTLS, str(error)))
        elif not isinstance(error, HostFailed):
            self._log.failure("Session with {remote} not begun", failure, remote=self._remote)
            error = HostFailed(LOCAL_ERROR)
        self.opened.errback(error)

    def _leave_context(self) -> None:
        self._context.connections.discard(self)
        self._context.closed()

    # Work.

    def deliver(self, message: OutgoingMessage) -> None:
        """Send a message to its undecided recipients; `delivered` or `ended` of the owner follows.

        The connection must have been opened and be idle.
        """
        self._step(Event.MESSAGE)
        self._message = message
        self.messages += 1
        message.remote = self._remote
        message.tls = self.tls
        try:
            first = message.outgoing.source.chunk(0)
        except Exception:
            self._content_failed(Failure(), message)
            return
        if isinstance(first, Deferred):
            self._arm()
            first.addCallback(self._begin, message)
            first.addErrback(self._content_failed, message)
        else:
            self._begin(first, message)

    def is_exhausted(self, messages: int) -> bool:
        """Return whether no further message may be sent: by our limit, or by the host's.

        Args:
            messages: how many messages one connection is used for.
        """
        if self.messages >= messages:
            return True
        limits = self.session.capabilities.limits
        return limits is not NO_LIMITS and self._usage.is_exhausted(limits)

    def quit(self) -> None:
        """Close an idle connection."""
        if self._stage not in OVER:
            self._say_goodbye()
            self._owner.ended(self, None, None)

    def abort(self, reply: Reply) -> None:
        """Close at once, whatever is under way."""
        if self._stage is Stage.CONNECTING:
            assert self.connector is not None
            self.connector.stopConnecting()
        else:
            self._abort(HostFailed(reply))

    def _forget_message(self) -> None:
        self._message = None
        self._delivery = None
        self._stream = None

    def _begin(self, first: bytes, message: OutgoingMessage) -> None:
        """Check whether the message can be sent at all, and send the first envelope."""
        if message is not self._message:
            return
        settings = self._context.settings
        self._delivery = delivery = HostDelivery(message, self._hop, settings, self._usage)
        try:
            delivery.prepare(first, self._context.now())
            if message.open:
                self._transact(message, delivery)
                return
        except Refusal as refusal:
            message.settle(refusal.reply)
        except LocalViolation as error:
            self._log.failure("Message {id} cannot be sent", id=message.outgoing.message.id)
            message.settle(failures.unsendable(str(error)))
        # Not from within `deliver`, or the owner would call it again from there, and again.
        self._context.reactor.callLater(0, self._finished, message)

    def _transact(self, message: OutgoingMessage, delivery: HostDelivery) -> None:
        """Start the next transaction, or leave it to another connection."""
        octets = delivery.transact(self.session)
        if octets:
            self._send(octets)
            self._arm()
            return
        self._forget_message()
        self._say_goodbye()
        self._owner.ended(self, message, SessionExhausted(failures.exhausted(self._remote)))

    def _answered(self, phase: ClientPhase, reply: Reply) -> None:
        """Process a reply to a command of this phase."""
        self._step(Event.REPLY)
        if reply.code == 421 or phase is ClientPhase.IDLE:
            self._end(HostFailed(reply, answered=True))
            self._lose()
        elif phase is ClientPhase.CONTENT:  # refused before its end
            assert self._delivery is not None
            self._delivery.settle(reply)
            self._abort(HostFailed(reply, answered=True))
        elif self._stream is not None:
            self._stream.chunk_answered()
        elif self._awaited_reply is not None:
            awaited, self._awaited_reply = self._awaited_reply, None
            awaited.callback(reply)
        elif not self.session.awaiting:
            self._advance()

    def _advance(self) -> None:
        """Send what comes next in the transaction: commands, or content; or end it."""
        octets = self.session.proceed()
        if octets:
            self._send(octets)
        elif self.session.transaction is not None:
            self._send_content()
        else:
            self._transaction_over()

    def _transaction_over(self) -> None:
        message, delivery = self._message, self._delivery
        assert message is not None
        assert delivery is not None
        delivery.keep_replies()
        if message.open:
            self._transact(message, delivery)
        else:
            self._finished(message)

    def _finished(self, message: OutgoingMessage) -> None:
        if self._stage in OVER or message is not self._message:
            return
        self._step(Event.DELIVERED)
        self._forget_message()
        self._arm()
        self._owner.delivered(self, message)

    # Content.

    def _send_content(self) -> None:
        delivery = self._delivery
        assert delivery is not None
        payload = delivery.payload
        if payload is None:
            self._stream_content(delivery)
            return
        if delivery.chunked:
            self._send(self.session.chunk(len(payload), last=True) + payload)
        else:
            self._send(payload)
            self.session.content_sent()
        self._arm()

    def _stream_content(self, delivery: HostDelivery) -> None:
        consumer = cast(IConsumer, self._direct.transport())
        source, encoder = delivery.message.outgoing.source, delivery.encoder()
        seven_bit_for = self._remote if delivery.seven_bit else None
        stream = ContentStream(consumer, source, encoder, seven_bit_for, self._arm)
        if delivery.chunked:
            stream = ChunkStream(consumer, source, encoder, seven_bit_for, self._arm, self.session)
            self._stream = stream
        self._arm()
        sending = Deferred.fromCoroutine(stream.run(delivery.first))
        sending.addCallback(self._content_sent, delivery)
        sending.addErrback(self._content_failed, delivery.message)

    def _content_sent(self, _: None, delivery: HostDelivery) -> None:
        if self._stage in OVER or delivery is not self._delivery:
            return
        self._stream = None
        if not delivery.chunked:
            self.session.content_sent()
        elif not self.session.awaiting:
            self._advance()
        self._arm()

    def _content_failed(self, failure: Failure, message: OutgoingMessage) -> None:
        """Abort: the content could not be read, or must not be sent, so it must not be ended."""
        if failure.check(Stopped) or self._stage in OVER or message is not self._message:
            return
        error = failure.value
        if not isinstance(error, Refusal):
            self._log.failure(
                "Reading message {id} failed", failure, id=message.outgoing.message.id
            )
        reply = error.reply if isinstance(error, Refusal) else LOCAL_ERROR
        if self._delivery is not None:
            self._delivery.keep_replies()
        message.settle(reply)
        self._abort(HostFailed(reply))

    # Time.

    @property
    def _phase(self) -> ClientPhase:
        """What is waited for."""
        if self._stage is Stage.TLS_HANDSHAKE:
            return ClientPhase.HANDSHAKE
        phase = self.session.phase
        # While the first piece of content is being fetched nothing has been sent yet.
        return (
            ClientPhase.CONTENT
            if phase is ClientPhase.IDLE and self._stage is Stage.SENDING
            else phase
        )

    @property
    def _seconds(self) -> float:
        return self._context.times[self._phase]

    def _arm(self) -> None:
        self._deadline.move(self._seconds)

    def _deadline_passed(self) -> None:
        if self._stage in OVER:
            self._cut()
        elif self._stage is Stage.IDLE:
            self.quit()
        else:
            self._abort(HostFailed(failures.timed_out(self._remote, self._phase)))

    # The end.

    def _send(self, octets: bytes) -> None:
        self._direct.write(octets)

    def _say_goodbye(self) -> None:
        """Send QUIT if nothing is unanswered, and close when it is answered."""
        if self.session.awaiting or self._stage is Stage.TLS_HANDSHAKE:
            self._lose()
            return
        self._step(Event.QUIT)
        self._send(self.session.command(ClientPhase.QUIT, encode.QUIT))
        self._deadline.watch(self._seconds)

    def _lose(self) -> None:
        """Close, without waiting for ever for a peer that does not read."""
        assert self.transport is not None
        self._step(Event.CLOSE)
        self._deadline.watch(self._context.times[ClientPhase.QUIT])
        self.transport.loseConnection()

    def _cut(self) -> None:
        assert self.transport is not None
        self._step(Event.CLOSE)
        cast(ITCPTransport, self.transport).abortConnection()

    def _abort(self, failure: HostFailed) -> None:
        self._end(failure)
        self._cut()

    def _end(self, failure: HostFailed) -> None:
        """End the session, and report the failure to whoever waits for something."""
        stage, phase = self._stage, self._phase
        if stage in OVER:
            return
        self._step(Event.CLOSE)
        starting_tls = phase is ClientPhase.STARTTLS and not failure.answered
        if starting_tls or stage in TLS_IS_TO_BLAME:
            failure = TLSFailed(failure.reply, failure.answered)
        reply, self._awaited_reply = self._awaited_reply, None
        handshake, self._awaited_handshake = self._awaited_handshake, None
        if reply is not None:
            reply.errback(failure)
        if handshake is not None:
            handshake.errback(failure)
        if stage in OPEN:
            self._end_message(phase, failure)

    def _end_message(self, phase: ClientPhase, failure: HostFailed) -> None:
        """Return the message that was being sent to the owner, with the replies that it has got."""
        message = self._message
        if self._delivery is not None:
            if phase is ClientPhase.FINAL_DOT:
                self._delivery.settle(failure.reply)
            self._delivery.keep_replies()
        self._forget_message()
        self._owner.ended(self, message, failure)
