"""A server in memory: the real protocol and factory, a clock that we turn, a delivery that records.

`Scene` is one listener. `Scene.connect` gives a `Peer`, the client's end of one connection, whose
transport behaves as a socket does: nothing is delivered while the server has paused it, and nothing
is sent after it was closed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from postroom.envelope import Envelope, SessionFacts
from postroom.interfaces import (
    IDeliveryTransaction,
    IInquiries,
    IQueueFlush,
    ITransactionDelivery,
)
from postroom.server.authentication import Authentication, LoginParts
from postroom.server.connections import Connections
from postroom.server.factory import ServerFactory
from postroom.server.limits import Limits, ListenerSettings
from postroom.server.listener import Environment
from postroom.server.protocol import SMTPServerProtocol
from postroom.server.sasl.available import mechanisms_named
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox, PathError, parse_mailbox
from postroom.wire.replies import Reply, reply
from postroom.wire.reply_reader import ReplyReader

HOSTNAME = "mx.here.example"
LOCAL_DOMAIN = "here.example"
USER, PASSWORD = b"user@here.example", b"correct horse"
STORED = reply(250, "2.0.0", "Stored")
NO_SUCH_USER = reply(550, "5.1.1", "No such user")
NO_RELAYING = reply(550, "5.7.1", "Relaying denied")

NOW = 1_800_000_000.0
LISTS = {
    b"staff": (Mailbox(b"user", b"here.example"), Mailbox(b"boss", b"there.example")),
    b"international": (Mailbox("jürgen".encode(), b"here.example"),),
}

PATIENT = Limits(errors_before_delay=1_000_000, errors=1_000_000, idle_commands=1_000_000)
"""Limits for dialogues that are about something else."""


@dataclass
class Stored:
    """A message that was committed."""

    sender: Mailbox | None
    recipients: tuple[Mailbox, ...]
    content: bytes
    facts: SessionFacts


class Late:
    """Answers that come later: each is a Deferred that fires when the clock next turns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, point: str, make: Callable[[], object]) -> object:
        d: Deferred[object] = Deferred()

        def fire() -> None:
            if not d.called:  # else it was cancelled
                maybeDeferred(make).chainDeferred(d)

        self._clock.callLater(0, fire)
        return d


@dataclass
class Held:
    """An answer that a test gives when it likes, if ever."""

    point: str
    make: Callable[[], object]
    deferred: "Deferred[Any]" = field(default_factory=Deferred)

    def give(self) -> None:
        maybeDeferred(self.make).chainDeferred(self.deferred)


@implementer(IQueueFlush)
class World:
    """What stands behind the server: users, mail, and how promptly it answers.

    Attributes:
        answer: takes the name of an extension point and what would answer; gives the answer.
        calls: what was asked, in order.
        stored: what was committed.
        held: answers that tests have yet to give, with `hold`.
    """

    def __init__(self) -> None:
        self.answer: Callable[[str, Callable[[], object]], object] = lambda _, make: make()
        self.calls: list[str] = []
        self.stored: list[Stored] = []
        self.held: deque[Held] = deque()
        self.logouts = 0
        self.anonymous = True
        self.login_error: Exception | None = None
        self.commit_with: Callable[[Stored], Sequence[Reply]] | None = None

    def hold(self, *points: str) -> None:
        """From now on keep these answers back."""
        others = self.answer

        def answer(point: str, make: Callable[[], object]) -> object:
            if point not in points:
                return others(point, make)
            held = Held(point, make)
            self.held.append(held)
            return held.deferred

        self.answer = answer

    def flush_domain(self, domain: str, subdomains: bool) -> object:
        """Answer ETRN; see `IQueueFlush`."""
        self.calls.append(f"flush {'@' if subdomains else ''}{domain}")
        waiting = {"here.example": 3, "empty.example": 0}.get(domain)
        return self.answer("flush", lambda: waiting)

    def fail(self, point: str, error: Exception) -> None:
        """From now on raise at this point."""
        others = self.answer

        def answer(asked: str, make: Callable[[], object]) -> object:
            if asked == point:
                raise error
            return others(asked, make)

        self.answer = answer


@implementer(ITransactionDelivery, IInquiries)
class Delivery:
    """One session's avatar."""

    def __init__(self, world: World, facts: SessionFacts, user: object) -> None:
        self.world = world
        self.facts = facts
        self.user = user

    def validate_sender(self, envelope: Envelope) -> object:
        sender = envelope.mail.reverse_path
        self.world.calls.append(f"sender {sender or '<>'}")
        refused = sender is not None and sender.local_part == b"unwelcome"
        answer = reply(550, "5.7.1", "Not welcome") if refused else None
        return self.world.answer("sender", lambda: answer)

    def validate_recipient(self, envelope: Envelope, rcpt: Rcpt) -> object:
        self.world.calls.append(f"recipient {rcpt.forward_path}")
        return self.world.answer("recipient", lambda: self._route(envelope, rcpt.forward_path))

    def _route(self, envelope: Envelope, mailbox: Mailbox) -> object:
        if mailbox.domain_key in (LOCAL_DOMAIN, ""):
            return NO_SUCH_USER if mailbox.local_part.startswith(b"unknown") else "local"
        return "queue" if envelope.session.identity is not None else NO_RELAYING

    def verify(self, text: bytes) -> object:
        try:
            found = parse_mailbox(text.strip(b"<>"))
        except PathError:
            found = None
        known = found is not None and found.domain_key == LOCAL_DOMAIN
        return self.world.answer("verify", lambda: found if known else None)

    def expand(self, text: bytes) -> object:
        return self.world.answer("expand", lambda: LISTS.get(text))

    def begin(self, envelope: Envelope) -> object:
        self.world.calls.append("begin")
        return self.world.answer("begin", lambda: Transaction(self.world, envelope))


@implementer(IDeliveryTransaction)
class Transaction:
    """One message on its way in."""

    def __init__(self, world: World, envelope: Envelope) -> None:
        self.world = world
        self.envelope = envelope
        self.chunks: list[bytes] = []
        self.over = False

    def write(self, chunk: bytes) -> object:
        assert not self.over, "written to after its end"
        assert chunk, "an empty chunk"
        self.chunks.append(chunk)
        return self.world.answer("write", lambda: None)

    def commit(self) -> object:
        assert not self.over, "committed after its end"
        self.over = True
        self.world.calls.append("commit")
        return self.world.answer("commit", self._store)

    def _store(self) -> object:
        recipients = tuple(each.rcpt.forward_path for each in self.envelope.recipients)
        sender, content = self.envelope.mail.reverse_path, b"".join(self.chunks)
        stored = Stored(sender, recipients, content, self.envelope.session)
        if self.world.commit_with is not None:
            return self.world.commit_with(stored)
        self.world.stored.append(stored)
        return [STORED] * len(recipients)

    def abort(self) -> None:
        assert not self.over, "aborted after its end"
        self.over = True
        self.world.calls.append("abort")


@implementer(IRealm)
class Realm:
    def __init__(self, world: World) -> None:
        self._world = world

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Any:
        def log_out() -> None:
            self._world.logouts += 1

        self._world.calls.append(f"login {avatar_id!r}")
        return ITransactionDelivery, Delivery(self._world, mind, avatar_id), log_out


class Checker(InMemoryUsernamePasswordDatabaseDontUse):
    """Two users; it answers as the world does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.addUser(USER, PASSWORD)
        self._world = world

    def requestAvatarId(self, credentials: Any) -> Any:
        if self._world.login_error is not None:
            raise self._world.login_error
        return self._world.answer(
            "login", lambda: super(Checker, self).requestAvatarId(credentials)
        )


class Anonymous(AllowAnonymousAccess):
    def __init__(self, world: World) -> None:
        self._world = world

    def requestAvatarId(self, credentials: Any) -> Any:
        return self._world.answer(
            "anonymous", lambda: super(Anonymous, self).requestAvatarId(credentials)
        )


class Transport(StringTransport):
    """A socket as the server's end sees it.

    Attributes:
        writes: what was handed over, write by write.
        aborted: it was cut off, not closed.
        tls: what STARTTLS was started with.
    """

    def __init__(self, address: Any) -> None:
        super().__init__(peerAddress=address)
        self.writes: list[bytes] = []
        self.aborted = False
        self.tls: object = None
        self.shakes_hands = False
        self.no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def write(self, data: bytes) -> None:
        if not self.disconnecting:
            self.writes.append(data)
            super().write(data)

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True

    def startTLS(self, context: object, normal: bool = True) -> None:
        self.tls = context
        self.shakes_hands = True
        directlyProvides(self, ISSLTransport)

    def shake_hands(self) -> None:
        """Complete the handshake, if one is due."""
        if self.shakes_hands:
            self.shakes_hands = False
            self.protocol.handshakeCompleted()

    def getHandle(self) -> "Transport":
        return self

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def get_cipher_bits(self) -> int:
        return 256


class Peer:
    """The client's end of one connection.

    Attributes:
        replies: every reply so far that was not taken, in order.
    """

    def __init__(self, protocol: Any, address: Any, clock: Clock, tls: bool = False) -> None:
        self.protocol = protocol
        self.transport = Transport(address)
        self.transport.protocol = protocol
        if tls:
            self.transport.startTLS(None)
        self._clock = clock
        self._inbox: deque[bytes] = deque()
        self._reader = ReplyReader(max_octets=1_000_000)
        self._unread = b""
        self._received: deque[Reply] = deque()
        protocol.makeConnection(self.transport)

    def send(self, octets: bytes) -> None:
        """Send one segment."""
        self._inbox.append(octets)
        self._deliver()

    def _deliver(self) -> None:
        while self._inbox and self.transport.producerState == "producing":
            if self.transport.disconnecting:
                return
            self.transport.shake_hands()
            self.protocol.dataReceived(self._inbox.popleft())

    def settle(self) -> None:
        """Let what is due happen, until nothing is."""
        for _ in range(10_000):
            self._deliver()
            due = [
                call
                for call in self._clock.getDelayedCalls()
                if call.getTime() <= self._clock.seconds()
            ]
            if not due:
                return
            self._clock.advance(0)
        raise AssertionError("it goes on for ever")

    def say(self, line: bytes | str) -> Reply:
        """Send a line, and give the one reply to it."""
        self.send((line.encode("ascii") if isinstance(line, str) else line) + b"\r\n")
        self.settle()
        return self.hear()

    def hear(self) -> Reply:
        """Give the next reply."""
        self._read()
        if not self._received:
            raise AssertionError("no reply came")
        return self._received.popleft()

    def hear_all(self) -> list[Reply]:
        """Give every reply that has come."""
        self._read()
        replies = list(self._received)
        self._received.clear()
        return replies

    def _read(self) -> None:
        octets, self.output = self._unread + self.transport.value(), self.transport.clear()
        *lines, self._unread = octets.split(b"\r\n")
        for line in lines:
            assert len(line) <= 510, "a reply line of more than 512 octets"
            complete = self._reader.feed(line)
            if complete is not None:
                self._received.append(complete)

    def lose(self) -> None:
        """End the connection from this side."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        """True once the server has closed."""
        return bool(self.transport.disconnecting)


def settings(**changes: Any) -> ListenerSettings:
    """Settings of a listener, those of a patient mx that may be hurried, but for the changes."""
    return replace(ListenerSettings("mx", HOSTNAME, PATIENT, synchronised=False), **changes)


class Scene:
    """One listener in memory."""

    def __init__(
        self,
        listener: ListenerSettings | None = None,
        *,
        tls: object = "a context",
        limit: int = 1000,
    ) -> None:
        self.clock = Clock()
        self.world = World()
        self.portal = Portal(Realm(self.world), [Checker(self.world)])
        self.portal.registerChecker(Anonymous(self.world))
        self.settings = listener or settings()
        limits = self.settings.limits
        self.connections = Connections(self.clock, limit, limits.stress_timeout_seconds)
        self.room_octets = 10**12
        self.factory = ServerFactory(
            self.clock,
            self.portal,
            self.settings,
            self.connections,
            tls,  # type: ignore[arg-type]
            environment=Environment(
                has_room=lambda octets: octets <= self.room_octets,
                flush=self.world,
                now=lambda: NOW,
            ),
        )

    def log_in_with(self, parts: LoginParts) -> None:
        """Have logins made with more than a portal."""
        self.factory.listener.authentication = Authentication(
            self.clock,
            self.portal,
            mechanisms_named(self.settings.mechanisms),
            HOSTNAME,
            parts,
        )

    def answer_late(self) -> None:
        """Have every extension point answer with a Deferred that fires in the next turn."""
        self.world.answer = Late(self.clock)

    def connect(self, host: str = "192.0.2.1", *, tls: bool = False, greeted: bool = True) -> Peer:
        """Open a connection; the greeting is taken off."""
        kind = IPv6Address if ":" in host else IPv4Address
        address = kind("TCP", host, 40_000)
        peer = Peer(self.factory.buildProtocol(address), address, self.clock, tls)
        if greeted:
            assert isinstance(peer.protocol, SMTPServerProtocol)
            assert peer.hear().code == 220
        return peer

    def in_transaction(self, *, rcpts: int = 1, **options: Any) -> Peer:
        """Open a connection and get as far as RCPT."""
        peer = self.connect(**options)
        assert peer.say("EHLO client.example").code == 250
        assert peer.say("MAIL FROM:<a@there.example>").code == 250
        for number in range(rcpts):
            assert peer.say(f"RCPT TO:<user{number}@{LOCAL_DOMAIN}>").code == 250
        return peer

    def in_content(self, **options: Any) -> Peer:
        """Open a connection and get as far as 354."""
        peer = self.in_transaction(**options)
        assert peer.say("DATA").code == 354
        return peer

    def wait(self, seconds: float, *peers: Peer) -> None:
        """Let time pass, the sweep at work."""
        running = self.connections._sweep.running
        if not running:
            self.connections.start()
        whole, rest = divmod(seconds, 1)
        self.clock.pump([1.0] * int(whole) + ([rest] if rest else []))
        if not running:
            self.connections.stop()
        for peer in peers:
            peer.settle()
