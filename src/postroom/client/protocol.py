"""One connection to another mail server.

Theory of operation. A `ClientConnection` joins a transport to a `ClientSession`, which knows what
may be sent and what a reply belongs to. Its life has three parts. First the initiation, a coroutine
(`postroom.client.initiation`). Then message after message: `deliver` starts one, `dataReceived`
drives its transactions without Deferreds, and the owner hears `delivered`. In the end, whatever the
cause, the owner hears `ended` exactly once, with the attempt that was running.

Invariants:
- One attempt at a time. After `delivered` and after `ended` the connection knows nothing of it.
- Replies that a recipient has got are kept whatever happens later. Recipients that the host did not
  decide on are left undecided when the connection ends, so that another host may be tried; but not
  after the final dot, when the message may have been taken: then they get a temporary reply.
- The final dot is sent after the whole content, or not at all: trouble in the content aborts the
  connection.
- One DelayedCall for each connection, which looks every few seconds whether the deadline has
  passed. Deadlines are set by assigning a number.

Who controls the input: the remote server. What it says goes through `ClientSession`; how long it
takes is bounded by a deadline for each reply, which octets that complete no reply do not extend.

Known limits: a piece of content (256 KiB) has to be taken within `Timeouts.content_seconds`, which
is some 1,500 octets a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol as Contract
from typing import cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.client import failures
from postroom.client.content import ChunkStream, ContentStream, Stopped
from postroom.client.delivery import HostDelivery, SessionUsage
from postroom.client.esmtp_parameters import NextHop
from postroom.client.failures import HostFailed, TLSFailed
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
from postroom.wire.client_session import ClientSession, Phase
from postroom.wire.errors import LocalViolation, RemoteViolation
from postroom.wire.offers import NO_LIMITS
from postroom.wire.replies import Reply


class IClientReactor(IReactorTCP, IReactorUNIX, IReactorTime):
    """What connections need of the reactor."""


class ConnectionOwner(Contract):
    """Who gives a connection its work."""

    def delivered(self, connection: "ClientConnection", message: OutgoingMessage) -> None:
        """The attempt's recipients are all decided on; the connection is free."""

    def ended(
        self,
        connection: "ClientConnection",
        message: OutgoingMessage | None,
        failure: HostFailed | None,
    ) -> None:
        """The connection is over.

        Args:
            connection: it takes no more work.
            message: what was running, perhaps with undecided recipients.
            failure: why; None if it was closed as planned.
        """


@dataclass(frozen=True)
class ConnectionContext:
    """What all connections of a sender share.

    Attributes:
        reactor: the clock of all deadlines too.
        settings: of the client.
        contexts: for TLS.
        times: how long to wait in each phase, in seconds.
        connections: all that have a socket, from the first SYN until it is closed.
        closed: called when one has left `connections`.
        now: POSIX time.
    """

    reactor: IClientReactor
    settings: ClientSettings
    contexts: ClientContexts
    times: Mapping[Phase, float]
    connections: "set[ClientConnection]"
    closed: Callable[[], None]
    now: Callable[[], float]


@implementer(IHandshakeListener)
class ClientConnection(Protocol):
    """An SMTP session as the client, from the TCP connection to QUIT.

    Attributes:
        target: where it goes.
        policy: on which parameters.
        session: what was said and what may be said.
        secure: True inside TLS.
        tls: TLS facts; None in clear text.
        messages: how many attempts it was given.
        spent: True if it ended because the host takes no more in one session.
        connector: what makes the TCP connection.
        opened: fires with this connection when it is ready for mail; fails with `HostFailed`.
    """

    _log = Logger()

    def __init__(
        self, target: Target, policy: Policy, owner: ConnectionOwner, context: ConnectionContext
    ) -> None:
        """Prepare a connection; `connect` makes it."""
        self.target = target
        self.policy = policy
        self.session = ClientSession()
        self.secure = False
        self.tls: TLSFacts | None = None
        self.messages = 0
        self.spent = False
        self.opened: Deferred[ClientConnection] = Deferred()
        self.connector: IConnector | None = None
        self._remote = str(target)
        self._owner = owner
        self._context = context
        self._ready = False
        self._over = False
        self._quitting = False
        # True from STARTTLS until something was said inside: what fails then is TLS's fault.
        self._upgrading = False
        self._waiting: Deferred[Reply] | None = None
        self._handshake: Deferred[None] | None = None
        self._message: OutgoingMessage | None = None
        self._delivery: HostDelivery | None = None
        self._stream: ContentStream | None = None
        self._usage = SessionUsage()
        self._clock = context.reactor
        self._times = context.times
        self._tick = max(1.0, min(self._times.values()))
        self._deadline = 0.0
        self._alarm: IDelayedCall | None = None

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Begin the introduction."""
        transport = self.transport
        assert transport is not None
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self._direct = DirectSocket(transport)
        self._arm()
        self._check_deadline()
        hostname = self._context.settings.hostname.encode("ascii")
        initiation = Deferred.fromCoroutine(initiate(self, hostname))
        initiation.addCallbacks(self._initiated, self._not_initiated)

    def connect_failed(self, reason: Failure) -> None:
        """There is no TCP connection."""
        self._over = True
        self._closed()
        why = reason.getErrorMessage().rstrip(".")
        self.opened.errback(HostFailed(failures.unreachable(self._remote, why)))

    def dataReceived(self, data: bytes) -> None:
        """Take what the server says."""
        if self._over:
            self._farewell()
            return
        answered = False
        try:
            self.session.receive(data)
            while not self._over and (answer := self.session.next_answer()) is not None:
                answered = True
                self._answered(*answer)
            if answered and not self._over:
                self._arm()
        except RemoteViolation as error:
            phase = self._phase
            self._abort(HostFailed(failures.not_smtp(self._remote, phase, str(error))))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default
        """The transport is gone, by whosever will."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._closed()
        if self._over:
            return
        phase = self._phase
        if phase is Phase.HANDSHAKE:
            self._end(HostFailed(self._no_tls(handshake_error(reason))))
        else:
            self._end(HostFailed(failures.lost(self._remote, phase)))

    def handshakeCompleted(self) -> None:
        """TLS is there; see to whom."""
        connection: SSL.Connection = self.transport.getHandle()  # type: ignore[union-attr]  # as TLS transports have
        problem = check_name(connection, self.target.name) if self._verified else None
        if problem is not None:
            self._abort(HostFailed(self._no_tls(problem)))
            return
        handshake, self._handshake = self._handshake, None
        if handshake is None:
            return
        self.secure = True
        self.tls = tls_facts(connection)
        self._arm()
        handshake.callback(None)

    # What the introduction calls.

    async def answer(self) -> Reply:
        """Wait for the reply to what was sent last.

        Raises:
            HostFailed: there will be none.
        """
        self._waiting = Deferred()
        return await self._waiting

    async def ask(self, phase: Phase, line: bytes) -> Reply:
        """Send a command and wait for its reply.

        Raises:
            HostFailed: there will be none.
        """
        self._send(self.session.command(phase, line))
        return await self.answer()

    async def start_tls(self) -> None:
        """Negotiate TLS, with the checks that the policy asks for.

        Raises:
            HostFailed: there is no TLS, and the connection is over.
        """
        self._handshake = Deferred()
        self._upgrading = self.policy.tls is TLSMode.OPPORTUNISTIC
        self._arm()
        creator = self._context.contexts.creator(self.target.name, self._verified)
        cast(ITLSTransport, self._direct.transport()).startTLS(creator)
        await self._handshake

    def _no_tls(self, why: str) -> Reply:
        """Say that TLS failed; for good, if the message may not go there otherwise."""
        make = failures.no_tls if self.policy.requiretls else failures.tls_failed
        return make(self._remote, why)

    @property
    def _verified(self) -> bool:
        return self.policy.tls in (TLSMode.REQUIRED, TLSMode.IMPLICIT)

    def _initiated(self, _: None) -> None:
        self._ready = True
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
        """Leave politely if the host still listens, and say why it is of no use."""
        error = failure.value
        if not self._over:
            self._over = True
            if isinstance(error, HostFailed):
                self._say_goodbye()
            else:
                self._cut()
        if isinstance(error, RemoteViolation):
            error = HostFailed(failures.not_smtp(self._remote, Phase.STARTTLS, str(error)))
        elif not isinstance(error, HostFailed):
            self._log.failure("Introduction to {remote} failed", failure, remote=self._remote)
            error = HostFailed(LOCAL_ERROR)
        self.opened.errback(error)

    def _closed(self) -> None:
        self._context.connections.discard(self)
        self._context.closed()

    # Work.

    def deliver(self, message: OutgoingMessage) -> None:
        """Send a message to its undecided recipients; `delivered` or `ended` of the owner follows.

        The connection must have been opened and be free.
        """
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

    def worn(self, messages: int) -> bool:
        """Say whether the connection takes no further attempt: it had so many, or its host's."""
        if self.messages >= messages:
            return True
        limits = self.session.capabilities.limits
        return limits is not NO_LIMITS and self._usage.spent(limits)

    def quit(self) -> None:
        """Close a free connection."""
        if not self._over:
            self._over = True
            self._say_goodbye()
            self._owner.ended(self, None, None)

    def abort(self, reply: Reply) -> None:
        """Close at once, whatever is running."""
        if self.transport is None:
            assert self.connector is not None
            self.connector.stopConnecting()
        else:
            self._abort(HostFailed(reply))

    def _forget(self) -> None:
        """Be free: nothing of the last message is left."""
        self._message = None
        self._delivery = None
        self._stream = None

    def _begin(self, first: bytes, message: OutgoingMessage) -> None:
        """Look whether the message can be sent at all, and send the first envelope."""
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
        self._clock.callLater(0, self._finished, message)

    def _transact(self, message: OutgoingMessage, delivery: HostDelivery) -> None:
        """Begin the next transaction, or leave it to another connection."""
        octets = delivery.transact(self.session)
        if octets:
            self._send(octets)
            return
        self._over = self.spent = True
        self._forget()
        self._say_goodbye()
        self._owner.ended(self, message, HostFailed(failures.spent(self._remote), answered=True))

    def _answered(self, phase: Phase, reply: Reply) -> None:
        """Go on after a reply."""
        self._upgrading = self._upgrading and not self.secure
        if reply.code == 421 or phase is Phase.IDLE:
            self._end(HostFailed(reply, answered=True))
            self._lose()
        elif phase is Phase.CONTENT:  # refused before its end
            assert self._delivery is not None
            self._delivery.settle(reply)
            self._abort(HostFailed(reply, answered=True))
        elif self._stream is not None:
            self._stream.heard()
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(reply)
        elif not self.session.awaiting:
            self._advance()

    def _advance(self) -> None:
        """Do what comes next in the transaction: commands, content, or its end."""
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
        if self._over or message is not self._message:
            return
        self._forget()
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
        if self._over or delivery is not self._delivery:
            return
        self._stream = None
        if not delivery.chunked:
            self.session.content_sent()
        elif not self.session.awaiting:
            self._advance()
        self._arm()

    def _content_failed(self, failure: Failure, message: OutgoingMessage) -> None:
        """The content could not be read, or must not be sent: never end it."""
        if failure.check(Stopped) or self._over or message is not self._message:
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
    def _phase(self) -> Phase:
        """What is waited for."""
        if self._handshake is not None:
            return Phase.HANDSHAKE
        phase = self.session.phase
        # While the first piece of content is being fetched nothing has been said yet.
        return Phase.CONTENT if phase is Phase.IDLE and self._message is not None else phase

    def _arm(self) -> None:
        self._deadline = self._clock.seconds() + self._times[self._phase]

    def _check_deadline(self) -> None:
        """Look whether the deadline has passed, and look again before the next can."""
        remaining = self._deadline - self._clock.seconds()
        if remaining > 0:
            delay = min(remaining, self._tick)
            self._alarm = self._clock.callLater(delay, self._check_deadline)
            return
        self._alarm = None
        if self._over:
            self._cut()
        elif self._ready and self._message is None:
            self.quit()
        else:
            self._abort(HostFailed(failures.timed_out(self._remote, self._phase)))

    # The end.

    def _send(self, octets: bytes) -> None:
        self._direct.write(octets)

    def _say_goodbye(self) -> None:
        """Send QUIT if nothing is unanswered, and close when it is answered."""
        if self.session.awaiting or self._handshake is not None:
            self._lose()
            return
        self._quitting = True
        self._send(self.session.command(Phase.QUIT, encode.QUIT))
        self._arm()
        if self._alarm is None:
            self._check_deadline()

    def _farewell(self) -> None:
        """Whatever comes after QUIT is its answer, or nothing that matters."""
        if self._quitting:
            self._lose()

    def _lose(self) -> None:
        """Close, without waiting for ever for a peer that does not read."""
        assert self.transport is not None
        self._deadline = self._clock.seconds() + self._times[Phase.QUIT]
        if self._alarm is None:
            self._check_deadline()
        self.transport.loseConnection()

    def _cut(self) -> None:
        assert self.transport is not None
        cast(ITCPTransport, self.transport).abortConnection()

    def _abort(self, failure: HostFailed) -> None:
        self._end(failure)
        self._cut()

    def _end(self, failure: HostFailed) -> None:
        """End the session, and tell whoever waits for something."""
        if self._over:
            return
        self._over = True
        phase = self._phase
        if self._upgrading or (phase is Phase.STARTTLS and not failure.answered):
            failure = TLSFailed(failure.reply)
        waiting, self._waiting = self._waiting, None
        handshake, self._handshake = self._handshake, None
        if waiting is not None:
            waiting.errback(failure)
        if handshake is not None:
            handshake.errback(failure)
        if not self._ready:
            return
        message = self._message
        if self._delivery is not None:
            if phase is Phase.FINAL_DOT:
                self._delivery.settle(failure.reply)
            self._delivery.keep_replies()
        self._forget()
        self._owner.ended(self, message, failure)


class _ConnectionFactory(ClientFactory):
    """Hands one prepared connection to the reactor."""

    noisy = False

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:
        return self._connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._connection.connect_failed(reason)


def connect(
    target: Target, policy: Policy, owner: ConnectionOwner, context: ConnectionContext
) -> "Deferred[ClientConnection]":
    """Connect to a host and initiate ourselves.

    Returns:
        The connection, ready for mail and free; fails with `HostFailed`.

    RFC 5321 s3.1
    """
    connection = ClientConnection(target, policy, owner, context)
    sources = context.settings.source_addresses
    source = next((each for each in sources if (":" in each) == (":" in target.address)), None)
    context.connections.add(connection)
    seconds = context.settings.timeouts.connect_seconds
    if target.port == 0:
        connection.connector = context.reactor.connectUNIX(
            target.address, _ConnectionFactory(connection), seconds
        )
        return connection.opened
    connection.connector = context.reactor.connectTCP(
        target.address,
        target.port,
        _ConnectionFactory(connection),
        seconds,
        (source, 0) if source is not None else None,
    )
    return connection.opened
