"""Pieces that the client's tests are made of: sources, peers in memory, a resolver."""

from collections.abc import Callable, Sequence
from random import Random

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.client.model import Destination, Outgoing, SmartHost, TLSMode
from postroom.client.sender import Sender
from postroom.client.settings import ClientSettings
from postroom.envelope import NewMessage
from postroom.errors import Refusal
from postroom.interfaces import IChunkSource, IResolver
from postroom.wire.commands import Rcpt
from postroom.wire.paths import parse_mailbox

SILENCE = "silence"
CLOSE = "close"
MUTE = "mute"

CONTENT = b"Subject: hello\r\n\r\n.dots\r\n"
STUFFED = b"Subject: hello\r\n\r\n..dots\r\n.\r\n"

PIPELINING = ("PIPELINING", "SIZE 1000000", "8BITMIME", "ENHANCEDSTATUSCODES")
SMARTHOST = Destination("", SmartHost("192.0.2.1", 25, TLSMode.NEVER))


@implementer(IChunkSource)
class MemorySource:
    """Content in pieces, given at once or by Deferreds that the test fires."""

    def __init__(self, *pieces: bytes, later: bool = False) -> None:
        self.size_octets = sum(map(len, pieces))
        self._pieces = pieces
        self._later = later
        self.asked: list[tuple[int, Deferred[bytes]]] = []

    def chunk(self, index: int) -> "bytes | Deferred[bytes]":
        piece = self._pieces[index] if index < len(self._pieces) else b""
        if not self._later:
            return piece
        wanted: Deferred[bytes] = Deferred()
        self.asked.append((index, wanted))
        return wanted

    def give(self) -> None:
        """Answer the oldest question."""
        index, wanted = self.asked.pop(0)
        wanted.callback(self._pieces[index] if index < len(self._pieces) else b"")


def outgoing(
    *recipients: str,
    content: bytes = CONTENT,
    sender: str | None = "from@here.example",
    source: MemorySource | None = None,
    rcpt: dict[str, str | None] | None = None,
    **more: object,
) -> Outgoing:
    rcpts = tuple(
        Rcpt(parse_mailbox(each.encode()), rcpt or {})
        for each in recipients or ("to@there.example",)
    )
    reverse_path = parse_mailbox(sender.encode()) if sender else None
    message = NewMessage("id", reverse_path, rcpts, 0.0, **more)  # type: ignore[arg-type]
    return Outgoing(message, source or MemorySource(content))


@implementer(IResolver)
class TableResolver:
    """Answers from tables; what is in neither does not exist."""

    def __init__(
        self,
        mx: dict[str, Sequence[tuple[int, str]] | Refusal] | None = None,
        addresses: dict[str, Sequence[str] | Refusal] | None = None,
    ) -> None:
        self.mx = mx or {}
        self.addresses = addresses or {}

    def lookup_mx(self, domain: str) -> "Deferred[Sequence[tuple[int, str]]]":
        return _answer(self.mx.get(domain, []))

    def lookup_addresses(self, host: str) -> "Deferred[Sequence[str]]":
        return _answer(self.addresses.get(host, []))


def _answer(found):  # type: ignore[no-untyped-def]
    return fail(found) if isinstance(found, Refusal) else succeed(found)


class PeerTransport(StringTransport):
    """A StringTransport whose end reaches the protocol, as a socket's does."""

    def __init__(self, protocol: IProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.closed = False

    def startTLS(self, creator: object) -> None:
        """Do nothing: the test calls `handshakeCompleted`."""

    def getHandle(self) -> SSL.Connection:
        """Return a connection whose TLS stands still."""
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)

    def loseConnection(self) -> None:
        super().loseConnection()
        self.close()

    def abortConnection(self) -> None:
        self.aborted = True
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self.producer is not None:
                self.producer.stopProducing()
            self._protocol.connectionLost(Failure(error.ConnectionDone()))


class Peer:
    """A server in memory, driven by a table: what it answers to each verb.

    Keys are verbs, "GREETING" and "CONTENT", which also answers a last chunk. A value is a reply
    line, several joined by CRLF, `SILENCE`, `CLOSE`, or `MUTE` to go on without an answer; a list
    is used up one by one, its last for ever.
    """

    def __init__(
        self,
        protocol: IProtocol,
        answers: dict[str, str | list[str]] | None = None,
        extensions: Sequence[str] = PIPELINING,
        whole: bool = True,
    ) -> None:
        ehlo = ["peer.example", *extensions]
        lines = [f"250-{each}" for each in ehlo[:-1]] + [f"250 {ehlo[-1]}"]
        self.answers: dict[str, str | list[str]] = {
            "GREETING": "220 peer.example", "EHLO": "\r\n".join(lines), "HELO": "250 peer.example",
            "LHLO": "\r\n".join(lines), "BDAT": "250 2.0.0 more",
            "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "DATA": "354 go",
            "CONTENT": "250 2.0.0 queued", "RSET": "250 ok", "QUIT": "221 bye",
        } | (answers or {})  # fmt: skip
        self.whole = whole
        self.commands: list[str] = []
        self.writes: list[bytes] = []
        self.contents: list[bytes] = []
        self._buffer = b""
        self._in_content = False
        self.hung = False
        self.protocol = protocol
        self.transport = PeerTransport(protocol)
        protocol.makeConnection(self.transport)
        self._say("GREETING")
        self.pump()

    def pump(self) -> None:
        """Answer all there is to answer."""
        while octets := self.transport.value():
            self.transport.clear()
            self.writes.append(octets)
            self._buffer += octets
            while self._step():
                pass

    def _step(self) -> bool:
        if self.transport.closed or self.hung:
            return False
        if self._in_content:
            end = self._buffer.find(b"\r\n.\r\n")
            if self._buffer.startswith(b".\r\n"):
                end = -2
            elif end < 0:
                return False
            self.contents.append(self._buffer[: end + 5])
            self._buffer = self._buffer[end + 5 :]
            self._in_content = False
            self._say("CONTENT")
            return True
        line, mark, rest = self._buffer.partition(b"\r\n")
        if not mark:
            return False
        if line.startswith(b"BDAT "):
            return self._take_chunk(line, rest)
        self._buffer = rest
        self.commands.append(line.decode())
        verb = line.decode().split(" ")[0].upper()
        self._in_content = self._say(verb).startswith("354")
        return True

    def _take_chunk(self, line: bytes, rest: bytes) -> bool:
        octets, *last = line.split()[1:]
        if len(rest) < int(octets):
            return False
        self.commands.append(line.decode())
        self.contents.append(rest[: int(octets)])
        self._buffer = rest[int(octets) :]
        self._say("CONTENT" if last else "BDAT")
        return True

    def _say(self, key: str) -> str:
        answer = self.answers.get(key, "500 what")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer == CLOSE:
            self.transport.close()
        elif answer == SILENCE:
            self.hung = True
        elif answer != MUTE:
            self.hear(answer.encode("latin-1") + b"\r\n")
        return answer

    def hear(self, octets: bytes) -> None:
        """Have the client hear octets, whole or one by one."""
        for piece in [octets] if self.whole else [bytes([each]) for each in octets]:
            if not self.transport.closed:
                self.protocol.dataReceived(piece)


class World:
    """A sender, its clock, and peers for the connections that it makes."""

    def __init__(
        self,
        resolver: IResolver | None = None,
        peers: Callable[[str], dict[str, object] | None] | None = None,
        **settings: object,
    ) -> None:
        self.reactor = MemoryReactorClock()
        self.settings = ClientSettings("us.example", **settings)  # type: ignore[arg-type]
        self.sender = Sender(
            self.reactor,
            resolver or TableResolver(),
            self.settings,
            Random(1),
            self.reactor.seconds,
        )
        self.peers: list[Peer] = []
        self.addresses: list[str] = []
        self._describe = peers or (lambda _: {})

    def pump(self) -> None:
        """Let every connection be made, and every peer answer, until nothing happens."""
        moved = True
        while moved:
            moved = False
            self.reactor.advance(0)
            while self.reactor.tcpClients:
                moved = True
                host, _, factory, _, _ = self.reactor.tcpClients.pop(0)
                self.addresses.append(host)
                how = self._describe(host)
                if how is None:
                    factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
                else:
                    self.peers.append(Peer(factory.buildProtocol(None), **how))
            for peer in self.peers:
                if peer.transport.value() and not peer.transport.closed:
                    moved = True
                    peer.pump()

    def advance(self, seconds: float) -> None:
        """Let time pass in small steps."""
        while seconds > 0:
            self.reactor.advance(min(5.0, seconds))
            seconds -= 5.0
            self.pump()

    def send(self, destination: Destination = SMARTHOST, message: Outgoing | None = None):  # type: ignore[no-untyped-def]
        sending = self.sender.send(destination, message or outgoing())
        self.pump()
        return sending
