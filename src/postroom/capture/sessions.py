"""SMTP sessions among the connections of a capture.

A connection to a port of SMTP is one, and so is one to any other port whose server says a reply
first and whose client then greets with EHLO, HELO or LHLO. Until that is known what is heard of it
waits; it is a line or two. Other traffic is forgotten at once.

Who controls the input: whoever made the capture.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from postroom.capture.conversation import Conversation
from postroom.capture.files import Endpoint, Segment
from postroom.capture.tcp import Connection, Delivery
from postroom.wire.layer import SMTP_MIN_HEADER_LEN, SmtpLayer, is_smtp_payload
from postroom.wire.ports import SMTP_PORTS
from postroom.wire.verbs import CMD_EHLO, CMD_HELO, CMD_LHLO

_GREETINGS = frozenset({CMD_EHLO, CMD_HELO, CMD_LHLO})


@dataclass(slots=True)
class Session:
    """One SMTP session.

    Attributes:
        number: from 1 on, in the order in which sessions begin.
        client: who opened the connection.
        server: whom it was opened to.
        began: when, in seconds since 1970.
        ended: when the last thing was heard.
        conversation: what was said.
    """

    number: int
    client: Endpoint
    server: Endpoint
    began: float
    ended: float
    conversation: Conversation


@dataclass(slots=True)
class _Stream:
    """A connection that is followed; without a session as long as it may be something else."""

    connection: Connection
    began: float
    session: Session | None = None
    undecided: list[Delivery] = field(default_factory=list)
    foreign: bool = False


class Sessions:
    """Takes the segments of a capture, gives the sessions in it.

    Attributes:
        found: so far, in the order in which they began to be SMTP.
    """

    def __init__(self, ports: Collection[int] = (), keep_octets: bool = False) -> None:
        """Begin with none.

        Args:
            ports: to be taken for SMTP besides `SMTP_PORTS`.
            keep_octets: keep what was said, for a replay.
        """
        self.found: list[Session] = []
        self._ports = frozenset((*SMTP_PORTS, *ports))
        self._keep = keep_octets
        self._streams: dict[frozenset[Endpoint], _Stream] = {}

    def take(self, segment: Segment) -> None:
        """Take the next segment."""
        key = frozenset((segment.source, segment.destination))
        stream = self._streams.get(key)
        opens = segment.syn and segment.acknowledged is None
        if stream is not None and opens and (stream.connection.over or stream.connection.begun):
            self._finish(stream)  # the ports are used anew
            stream = None
        if stream is None:
            stream = self._begin(segment)
            if stream is None:
                return
            self._streams[key] = stream
        if not stream.foreign:
            for delivery in stream.connection.take(segment):
                self._hear(stream, delivery)

    def finish(self) -> None:
        """Take note of the end of the capture."""
        for stream in self._streams.values():
            self._finish(stream)
        self._streams.clear()

    def _begin(self, segment: Segment) -> _Stream | None:
        """Follow a new connection, once it is clear who the client is."""
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
        stream = _Stream(Connection(client, server, segment.syn), segment.time)
        if server.port in self._ports:
            self._recognise(stream)
        return stream

    def _recognise(self, stream: _Stream) -> Session:
        connection = stream.connection
        conversation = Conversation(connection.from_start, self._keep)
        number = len(self.found) + 1
        began = stream.began
        session = Session(number, connection.client, connection.server, began, began, conversation)
        self.found.append(session)
        stream.session = session
        return session

    def _hear(self, stream: _Stream, delivery: Delivery) -> None:
        if stream.foreign:
            return
        session = stream.session
        if session is None:
            stream.undecided.append(delivery)
            if not self._decide(stream, delivery):
                return
            session = self._recognise(stream)
            for each in stream.undecided:
                _tell(session, each)
            stream.undecided.clear()
        else:
            _tell(session, delivery)

    def _decide(self, stream: _Stream, delivery: Delivery) -> bool:
        """Say whether this is SMTP for certain; give up on what cannot be."""
        layer = SmtpLayer(delivery.octets, is_response=not delivery.from_client)
        if delivery.from_client and layer.command in _GREETINGS:
            return True
        likely = is_smtp_payload(delivery.octets) or len(delivery.octets) < SMTP_MIN_HEADER_LEN
        if delivery.lost or delivery.from_client or not likely or len(stream.undecided) > 9:
            stream.foreign = True
            stream.undecided.clear()
        return False

    def _finish(self, stream: _Stream) -> None:
        if stream.foreign:
            return
        for delivery in stream.connection.finish():
            self._hear(stream, delivery)
        if stream.session is not None:
            session = stream.session
            session.conversation.end(session.ended, stream.connection.reset)


def _tell(session: Session, delivery: Delivery) -> None:
    session.ended = delivery.time
    if delivery.lost:
        session.conversation.lose(delivery.time, delivery.from_client, delivery.lost)
    else:
        session.conversation.hear(delivery.time, delivery.from_client, delivery.octets)
