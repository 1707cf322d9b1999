"""Finds the SMTP sessions among the connections of a capture.

A connection to an SMTP port is one if it carries SMTP or TLS (see `recognition`). One without any
octets is none: a port scan, or a balancer's probe.

A connection to any other port is one if its server sends a reply first and its client then greets
with EHLO, HELO or LHLO. Until that is known its octets, a line or two, are kept. Other traffic is
dropped at once.

Who controls the input: the author of the capture.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from postroom.capture.conversation import Conversation
from postroom.capture.files import Endpoint, Segment
from postroom.capture.recognition import GREETINGS, Opening, StreamKind
from postroom.capture.tcp import StreamPart, TcpConnection
from postroom.wire.layer import SMTP_MIN_HEADER_LEN, SmtpLayer, is_smtp_payload
from postroom.wire.ports import SMTP_PORTS


@dataclass(slots=True)
class CapturedSession:
    """One SMTP session.

    Attributes:
        number: from 1 on, in the order in which sessions begin.
        client: who opened the connection.
        server: whom it was opened to.
        began: when, in seconds since 1970.
        ended: when the last octets came.
        conversation: what was sent.
    """

    number: int
    client: Endpoint
    server: Endpoint
    began: float
    ended: float
    conversation: Conversation


@dataclass(frozen=True, slots=True)
class Foreign:
    """A connection to an SMTP port that is no session.

    Attributes:
        client: who opened it.
        server: whom it was opened to.
        seen: what was sent, in one line.
    """

    client: Endpoint
    server: Endpoint
    seen: str

    def __str__(self) -> str:
        return f"{self.client} > {self.server}: {self.seen}"


@dataclass(slots=True)
class _TrackedConnection:
    """A connection that is tracked; it has a session once it is known to be SMTP.

    Attributes:
        opening: its first octets, on an SMTP port.
        undecided: the same, on any other port.
    """

    connection: TcpConnection
    began: float
    opening: Opening | None
    session: CapturedSession | None = None
    undecided: list[StreamPart] = field(default_factory=list)
    foreign: bool = False


class Sessions:
    """Turns the segments of a capture into sessions.

    Attributes:
        found: so far, in the order in which they began to be SMTP.
        foreign: connections to SMTP ports that turned out to be something else.
    """

    def __init__(self, ports: Collection[int] = (), keep_octets: bool = False) -> None:
        """Create a reader without sessions.

        Args:
            ports: counted as SMTP ports besides `SMTP_PORTS`.
            keep_octets: keep what was said, for a replay.
        """
        self.found: list[CapturedSession] = []
        self.foreign: list[Foreign] = []
        self._ports = frozenset((*SMTP_PORTS, *ports))
        self._keep = keep_octets
        self._streams: dict[frozenset[Endpoint], _TrackedConnection] = {}

    def take(self, segment: Segment) -> None:
        """Accept the next segment."""
        key = frozenset((segment.source, segment.destination))
        stream = self._streams.get(key)
        opens = segment.syn and segment.acknowledged is None
        if stream is not None and opens and (stream.connection.over or stream.connection.begun):
            self._finish(stream)  # the ports are reused
            stream = None
        if stream is None:
            stream = self._begin(segment)
            if stream is None:
                return
            self._streams[key] = stream
        if not stream.foreign:
            for delivery in stream.connection.take(segment):
                self._hear(stream, delivery)
        if stream.connection.reset and not stream.connection.begun:
            del self._streams[key]  # one of the many of a scan

    def finish(self) -> None:
        """Record the end of the capture."""
        for stream in self._streams.values():
            self._finish(stream)
        self._streams.clear()

    def _begin(self, segment: Segment) -> _TrackedConnection | None:
        """Track a new connection, once it is clear who the client is."""
        source, destination = segment.source, segment.destination
        if segment.syn:
            is_client = segment.acknowledged is None
        elif destination.port in self._ports or source.port in self._ports:
            is_client = destination.port in self._ports
        elif is_smtp_payload(segment.payload):
            is_client = not SmtpLayer(segment.payload).is_response
        else:
            return None
        client, server = (source, destination) if is_client else (destination, source)
        opening = Opening(segment.syn) if server.port in self._ports else None
        return _TrackedConnection(TcpConnection(client, server, segment.syn), segment.time, opening)

    def _recognise(self, stream: _TrackedConnection) -> CapturedSession:
        connection = stream.connection
        conversation = Conversation(connection.from_start, self._keep)
        number = len(self.found) + 1
        began = stream.began
        session = CapturedSession(
            number, connection.client, connection.server, began, began, conversation
        )
        self.found.append(session)
        stream.session = session
        return session

    def _hear(self, stream: _TrackedConnection, delivery: StreamPart) -> None:
        if stream.foreign:
            return
        if stream.session is not None:
            _tell(stream.session, delivery)
        elif stream.opening is not None:
            stream.opening.take(delivery)
            self._settle(stream, stream.opening)
        else:
            stream.undecided.append(delivery)
            if self._decide(stream, delivery):
                _tell_all(self._recognise(stream), stream.undecided)
                stream.undecided.clear()

    def _settle(self, stream: _TrackedConnection, opening: Opening) -> None:
        """Start a session, or record that there is none, once that is known."""
        if opening.kind is None:
            return
        if opening.kind is StreamKind.OTHER:
            ends = stream.connection.client, stream.connection.server
            self.foreign.append(Foreign(*ends, opening.seen()))
            stream.foreign = True
        else:
            session = self._recognise(stream)
            time = opening.deliveries[0].time
            if opening.forgotten_octets:
                session.conversation.pass_over(time, opening.forgotten_octets)
            if opening.within_tls:
                session.conversation.begin_within_tls(time)
            _tell_all(session, opening.deliveries)
        stream.opening = None

    def _decide(self, stream: _TrackedConnection, delivery: StreamPart) -> bool:
        """Return whether this is certainly SMTP; drop a connection that cannot be."""
        layer = SmtpLayer(delivery.octets, is_response=not delivery.from_client)
        if delivery.from_client and layer.command in GREETINGS:
            return True
        likely = is_smtp_payload(delivery.octets) or len(delivery.octets) < SMTP_MIN_HEADER_LEN
        if delivery.lost or delivery.from_client or not likely or len(stream.undecided) > 9:
            stream.foreign = True
            stream.undecided.clear()
        return False

    def _finish(self, stream: _TrackedConnection) -> None:
        if stream.foreign:
            return
        connection = stream.connection
        for delivery in connection.finish():
            self._hear(stream, delivery)
        if stream.opening is not None and stream.opening.deliveries:
            stream.opening.finish()
            self._settle(stream, stream.opening)
        if stream.session is not None:
            session = stream.session
            session.conversation.end(session.ended, connection.reset, connection.unheard)


def _tell_all(session: CapturedSession, deliveries: list[StreamPart]) -> None:
    for each in deliveries:
        _tell(session, each)


def _tell(session: CapturedSession, delivery: StreamPart) -> None:
    session.ended = delivery.time
    if delivery.lost:
        session.conversation.lose(delivery.time, delivery.from_client, delivery.lost)
    else:
        session.conversation.receive(delivery.time, delivery.from_client, delivery.octets)
