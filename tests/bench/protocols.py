"""Commands and octets of content, in memory: Postroom, aiosmtpd and Twisted's ESMTP in one run.

    python -m tests.bench.protocols

No socket, no disk, no second process: each server's protocol is handed segments of 64 KiB, and
everything it is given is accepted and thrown away. Commands come in pipelined groups of MAIL, three
RCPTs and RSET; content after DATA, or in chunks of BDAT of 1 MiB, which the other two do not know.
Servers take turns, and each counts its best round of CPU time; read the ratios.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP as AiosmtpdSMTP  # noqa: N811
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP
from zope.interface import implementer

from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.server.connections import Connections
from postroom.server.factory import ServerFactory
from postroom.server.limits import Limits, ListenerSettings
from postroom.wire.builder import SmtpBuilder
from postroom.wire.replies import reply

SEGMENT, ROUNDS = 65_536, 3
GROUPS, COMMANDS_IN_GROUP = 4000, 5
CONTENT_OCTETS = 32 << 20
CHUNK_OCTETS = 1 << 20
LINES = ((b"X" * 70 + b". and a dot\r\n") * 800)[: SEGMENT - 2] + b"\r\n"
OK = reply(250, "2.0.0", "Ok")


class Discard:
    """Counts the replies in what a server writes."""

    def __init__(self) -> None:
        self.replies = 0

    def heard(self, octets: bytes) -> None:
        self.replies += octets.count(b"\n")


@implementer(IDeliveryTransaction)
class Transaction:
    """Throws content away."""

    def __init__(self, recipients: int) -> None:
        self._recipients = recipients

    def write(self, chunk: bytes) -> None:
        """Take a piece."""

    def commit(self) -> list[object]:
        return [OK] * self._recipients

    def abort(self) -> None:
        """Do nothing."""


@implementer(ITransactionDelivery)
class Delivery:
    """Accepts everything."""

    def validate_sender(self, envelope: Any) -> None:
        return None

    def validate_recipient(self, envelope: Any, rcpt: Any) -> str:
        return "here"

    def begin(self, envelope: Any) -> Transaction:
        return Transaction(len(envelope.recipients))


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Any:
        return ITransactionDelivery, Delivery(), lambda: None


class Transport(StringTransport):
    """Counts replies, and forgets them."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "127.0.0.1", 4000))
        self.discard = Discard()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""

    def write(self, data: bytes) -> None:
        self.discard.heard(data)

    def writeSequence(self, data: Any) -> None:
        self.discard.heard(b"".join(data))


class Server:
    """One session: `feed` hands it octets, `replies` counts what it has said."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: Any = self.build()
        self.protocol.makeConnection(self.transport)

    def build(self) -> Any:
        raise NotImplementedError

    def feed(self, octets: bytes) -> None:
        self.protocol.dataReceived(octets)

    def settle(self) -> None:
        """Let it say all that it has to say."""

    def wait_for(self, replies: int) -> None:
        assert self.transport.discard.replies >= replies, self.transport.discard.replies

    @property
    def replies(self) -> int:
        return self.transport.discard.replies

    def close(self) -> None:
        """Do nothing."""


class Ours(Server):
    """Postroom's server protocol."""

    chunking = True

    def build(self) -> Any:
        many = 10**9
        limits = replace(Limits(), errors=many, idle_commands=many, message_octets=1 << 40)
        settings = ListenerSettings("mx", "mx.example", limits)
        clock = Clock()
        connections = Connections(clock, limits.connections, limits.stress_timeout_seconds)
        factory = ServerFactory(
            clock, Portal(Realm(), [AllowAnonymousAccess()]), settings, connections
        )
        return factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4000))


@implementer(IMessageSMTP)
class Message:
    """Throws lines away."""

    def lineReceived(self, line: bytes) -> None:
        """Take a line."""

    def eomReceived(self) -> "Deferred[None]":
        return succeed(None)

    def connectionLost(self) -> None:
        """Do nothing."""


@implementer(IMessageDelivery)
class TwistedDelivery:
    """Accepts everything."""

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: x"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return Message


class Twisted(Server):
    """ESMTP of twisted.mail."""

    chunking = False

    def build(self) -> Any:
        protocol = ESMTP()
        protocol.delivery = TwistedDelivery()
        protocol.timeout = None
        protocol.host = b"mx.example"
        return protocol


class AsyncioTransport(asyncio.Transport):
    """Counts replies, and forgets them."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 4000)})
        self.discard = Discard()

    def write(self, data: Any) -> None:
        self.discard.heard(bytes(data))

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Take no note: all is in memory already."""

    def resume_reading(self) -> None:
        """Take no note."""

    def close(self) -> None:
        """Do nothing."""


class Aiosmtpd(Server):
    """The protocol of aiosmtpd, on a loop of its own."""

    chunking = False

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.wire = AsyncioTransport()
        options = {"loop": self.loop, "data_size_limit": None, "command_call_limit": 10**9}
        self.protocol = AiosmtpdSMTP(Sink(), hostname="mx.example", **options)
        self.protocol.connection_made(self.wire)
        self.wait_for(1)

    def feed(self, octets: bytes) -> None:
        self.protocol.data_received(octets)

    def settle(self) -> None:
        for _ in range(100):
            self.loop.run_until_complete(asyncio.sleep(0))

    def wait_for(self, replies: int) -> None:
        async def wait() -> None:
            while self.wire.discard.replies < replies:
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    @property
    def replies(self) -> int:
        return self.wire.discard.replies

    def close(self) -> None:
        self.protocol._handler_coroutine.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


SERVERS: dict[str, Any] = {"postroom": Ours, "aiosmtpd": Aiosmtpd, "twisted": Twisted}


def segments(octets: bytes) -> Iterator[bytes]:
    for at in range(0, len(octets), SEGMENT):
        yield octets[at : at + SEGMENT]


def greeted(server: Server) -> int:
    """Send EHLO; gives how many lines were said by then."""
    server.feed(b"EHLO client.example\r\n")
    server.settle()
    return server.replies


def commands(server: Server) -> float:
    """Give the CPU seconds of a pipelined command."""
    group = SmtpBuilder().mail_from("ann@there.example")
    for name in ("a", "b", "c"):
        group.rcpt_to(f"{name}@here.example")
    octets = group.rset().build() * GROUPS
    said = greeted(server)
    begun = time.process_time()
    for segment in segments(octets):
        server.feed(segment)
    server.wait_for(said + GROUPS * COMMANDS_IN_GROUP)
    return (time.process_time() - begun) / (GROUPS * COMMANDS_IN_GROUP)


def _envelope(server: Server) -> int:
    said = greeted(server)
    server.feed(SmtpBuilder().mail_from("ann@there.example").rcpt_to("a@here.example").build())
    server.wait_for(said + 2)
    return said + 2


def data(server: Server) -> float:
    """Give the CPU seconds of an octet after DATA."""
    said = _envelope(server)
    server.feed(b"DATA\r\n")
    server.wait_for(said + 1)
    begun = time.process_time()
    for _ in range(CONTENT_OCTETS // SEGMENT):
        server.feed(LINES)
    server.feed(b".\r\n")
    server.wait_for(said + 2)
    return (time.process_time() - begun) / CONTENT_OCTETS


def bdat(server: Server) -> float:
    """Give the CPU seconds of an octet in chunks of BDAT."""
    said = _envelope(server)
    chunk = LINES * (CHUNK_OCTETS // SEGMENT)
    count = CONTENT_OCTETS // CHUNK_OCTETS
    begun = time.process_time()
    for number in range(1, count + 1):
        command = b"BDAT %d%s\r\n" % (CHUNK_OCTETS, b" LAST" if number == count else b"")
        server.feed(command)
        for segment in segments(chunk):
            server.feed(segment)
    server.wait_for(said + count)
    return (time.process_time() - begun) / CONTENT_OCTETS


def main() -> None:
    """Measure."""
    jobs: dict[str, tuple[Callable[[Server], float], str]] = {
        "pipelined commands": (commands, "µs a command"),
        "content after DATA": (data, "ns an octet"),
        "content in BDAT": (bdat, "ns an octet"),
    }
    for job, (work, unit) in jobs.items():
        best: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, make in SERVERS.items():
                if work is bdat and not make.chunking:
                    continue
                server = make()
                best[name] = min(best.get(name, 1e9), work(server))
                server.close()
        for name, seconds in best.items():
            scale = 1e6 if work is commands else 1e9
            rate = f"{1 / seconds:14,.0f} commands/s" if work is commands else ""
            ratio = seconds / best["postroom"]
            print(f"{job:20}{name:10}{seconds * scale:10.2f} {unit}{ratio:8.1f}{rate}", flush=True)


if __name__ == "__main__":
    main()
