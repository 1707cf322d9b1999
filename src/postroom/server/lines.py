"""A `LineReceiver` for a protocol whose peer may talk while we think.

It keeps `LineReceiver`'s interface (`lineReceived`, `rawDataReceived`, the two modes, pausing) and
differs in how it moves octets:

- Replies gather in `say` and leave in one write when the input that caused them is used up, so a
  pipelined group gets its replies in one segment (RFC 2920 s3.2).
- Pausing stops our own loop at once, but the transport only when the peer really sends more. A peer
  that waits for its reply costs no system calls, and one that hangs up is noticed.
- A line ends with CRLF. A bare LF within one is the end of the session (`bareNewlineReceived`), for
  a peer that ends its lines so would wait for ever; unless it is one of those for whom any LF ends
  a line (`takes_bare_newlines`).
- A line that is too long is dropped up to its end, and `lineLengthExceeded` told once. What follows
  its end is a line again, and what belongs to it never is. One that goes on for ever is the end.
- Replies go to a plain socket directly, and through the transport only when it is full.
- Whoever sends and sends and takes no replies is not read from until he does (`_Outflow`): what we
  have to say to one peer stays small.
- A peer may say its last word, QUIT for instance, and close its side before it has heard anything
  (Exim does): what it has sent is answered before we close ours.
- The work is linear in the input, however it is cut.

Who controls the input: the peer, every octet and every chunk border.
"""

from typing import Final, cast

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from postroom.direct_socket import DirectSocket

_CR: Final = 0x0D


@implementer(IPushProducer)
class _Outflow:
    """What a transport tells to wait while it has too much to write."""

    def __init__(self, stream: "LineStream") -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        """Read no more."""
        self._stream.congested = True

    def resumeProducing(self) -> None:
        """Read again."""
        self._stream.congested = False
        if not self._stream.paused:
            self._stream.go_on()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, and the protocol hears of it."""


@implementer(IHalfCloseableProtocol)
class LineStream(LineReceiver):
    """Lines and raw octets in, replies out.

    Attributes:
        MAX_LENGTH: the longest line, CRLF not counted.
        MAX_DROPPED: how much of one over-long line is read away before `lineEndless` is told.
        finished: True once we have hung up; nothing that arrives after that is looked at.
        congested: True while the transport has more to write than it likes.
        takes_bare_newlines: True if any LF ends a line, with a CR before it or without.
        transport: the connection.
    """

    transport: ITCPTransport

    delimiter = b"\r\n"
    MAX_LENGTH = 4094
    MAX_DROPPED = 65_536
    finished = False
    congested = False
    takes_bare_newlines = False

    _buffer = b""
    _at = 0
    _transport_paused = False
    _dropped = 0  # octets of the over-long line under way; 0 if there is none
    # Between two segments a connection holds no list: thousands of them are idle.
    _said: list[bytes] | None = None
    _direct: DirectSocket | None = None
    _outflow: _Outflow | None = None
    _input_over = False

    def say(self, octets: bytes) -> None:
        """Send octets, together with whatever else this segment gives rise to.

        While input is held they wait for `go_on` or `finish`.
        """
        if self._said is None:
            self._said = [octets]
        else:
            self._said.append(octets)
        if not (self._busyReceiving or self.paused):
            self._flush()

    def _flush(self) -> None:
        said, self._said = self._said, None
        if said is None:
            return
        octets = said[0] if len(said) == 1 else b"".join(said)
        if self._direct is not None:
            octets = self._direct.send(octets)
        if octets:
            if self._outflow is None and not self.finished:
                self._outflow = _Outflow(self)
                cast(IConsumer, self.transport).registerProducer(self._outflow, True)
            self.transport.write(octets)

    def send_directly(self) -> None:
        """Write to the plain socket from now on; call it before anything is written."""
        self._direct = DirectSocket(self.transport)

    def send_through_transport(self) -> None:
        """End `send_directly`, as TLS must."""
        self._direct = None

    @property
    def has_input(self) -> bool:
        """True if something has arrived that was not looked at."""
        return self._at < len(self._buffer)

    def peeks(self) -> bool:
        """Tell whether something waits in a plain socket already; asks the kernel."""
        return self._direct is not None and self._direct.has_input()

    def finish(self) -> None:
        """Send what was said, then hang up."""
        if not self.finished:
            self.finished = True
            self._flush()
            self._end_outflow()
            self.transport.loseConnection()

    def _end_outflow(self) -> None:
        """Let the transport close, or change, without asking us for more."""
        if self._outflow is not None:
            self._outflow = None
            self.congested = False
            cast(IConsumer, self.transport).unregisterProducer()

    def hold(self) -> None:
        """Take no more input until `go_on`; what arrives meanwhile waits."""
        self.paused = True

    def go_on(self) -> None:
        """Take up input again where `hold` left it."""
        self.paused = False
        if self.congested or self.finished:  # the transport says when, if ever
            self._flush()
            return
        if self._transport_paused and not self._input_over:
            self._transport_paused = False
            cast(IPushProducer, self.transport).resumeProducing()
        if not self._busyReceiving:
            self.dataReceived(b"")

    def clearLineBuffer(self) -> bytes:
        """Throw away what has arrived and was not used; give it back."""
        rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return rest

    def setRawMode(self) -> None:
        """Give what comes next to `rawDataReceived`."""
        self.line_mode = 0

    def setLineMode(self, extra: bytes = b"") -> None:
        """Go back to lines, first of octets that `rawDataReceived` was given and did not want."""
        self.line_mode = 1
        self._buffer, self._at = extra + self._buffer[self._at :], 0

    def dataReceived(self, data: bytes) -> None:
        """Take a segment; the transport calls this."""
        if self.finished:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self._busyReceiving or self.paused or self.congested:
            if data and not self._transport_paused:
                self._transport_paused = True
                cast(IPushProducer, self.transport).pauseProducing()
            return
        self._busyReceiving = True
        try:
            self._consume()
        finally:
            self._busyReceiving = False
            self._flush()
        if self._input_over:
            self._finish_when_idle()

    def readConnectionLost(self) -> None:
        """Take note that the peer sends no more; the transport calls this."""
        self._input_over = True
        if not self._busyReceiving:
            self._finish_when_idle()

    def writeConnectionLost(self) -> None:
        """Do nothing: we close both sides at once."""

    def _finish_when_idle(self) -> None:
        if not (self.paused or self.congested):
            self.finish()

    def _consume(self) -> None:
        while self._at < len(self._buffer) and not (self.paused or self.finished or self.congested):
            if not self.line_mode:
                self.rawDataReceived(self.clearLineBuffer())
            elif not self._consume_line():
                break
        if self._at:
            self._buffer, self._at = self._buffer[self._at :], 0

    def _consume_line(self) -> bool:
        """Deliver one line if there is a whole one."""
        start, end = self._at, self._buffer.find(b"\n", self._at)
        if end < 0:
            self._bound_unfinished_line()
            return False
        self._at = end + 1
        if end > start and self._buffer[end - 1] == _CR:
            line = self._buffer[start : end - 1]
        elif self.takes_bare_newlines:
            line = self._buffer[start:end]
        else:
            if end - start > self.MAX_LENGTH + 1 and not self._dropped:
                self.lineLengthExceeded(self._buffer[start:end])
            self.bareNewlineReceived()
            return False
        if self._dropped:
            self._dropped = 0
        elif len(line) > self.MAX_LENGTH:
            self.lineLengthExceeded(line)
        else:
            self.lineReceived(line)
        return True

    def _bound_unfinished_line(self) -> None:
        """Keep no more of an over-long line than the CR that may belong to its end."""
        rest = self._buffer[self._at :]
        if not self._dropped:
            if len(rest) <= self.MAX_LENGTH + 1:
                return
            self.lineLengthExceeded(rest)
        kept = b"\r" if rest.endswith(b"\r") else b""
        self._buffer, self._at = kept, 0
        self._dropped += len(rest) - len(kept)
        if self._dropped > self.MAX_DROPPED:
            self.lineEndless()

    def bareNewlineReceived(self) -> None:
        """Hang up, after a line that ends with LF alone."""
        self.finish()

    def lineEndless(self) -> None:
        """Hang up, after too much of a line that does not end."""
        self.finish()
