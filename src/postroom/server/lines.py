"""A `LineReceiver` for a server whose peer may send more before it has its reply.

It keeps `LineReceiver`'s interface (`lineReceived`, `rawDataReceived`, the two modes, pausing) and
differs in how it moves octets:

- Replies are collected by `send_reply` and written at once when the input that caused them is used
  up. So the replies to a pipelined group leave in one segment (RFC 2920 s3.2).
- Pausing stops our own loop at once, but the transport only when the peer really sends more. A peer
  that waits for its reply costs no system calls, and it is noticed when it disconnects.
- A line ends with CRLF. A bare LF in a line ends the session (`bareNewlineReceived`): a peer that
  ends its lines with LF would wait for ever. From some networks any LF ends a line
  (`takes_bare_newlines`).
- A line that is too long is dropped up to its end, and `lineLengthExceeded` is called once. No part
  of it is ever read as a line of its own. A line that does not end closes the connection.
- Replies are written to the plain socket, and through the transport only when the socket is full.
- A peer that sends on and on without reading its replies is not read from until it has read them
  (`_Outflow`). So the replies that wait for one peer stay small.
- A peer may send its last command and close its side before it has read any reply, as Exim does
  with QUIT. All that it has sent is answered before we close ours.
- The work is linear in the input, however that is cut into segments.

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
    """The producer that a transport pauses while it has too much to write."""

    def __init__(self, stream: "LineStream") -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        """Stop reading from the peer."""
        self._stream.congested = True

    def resumeProducing(self) -> None:
        """Read from the peer again."""
        self._stream.congested = False
        if not self._stream.paused:
            self._stream.resume_input()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` sees to the rest."""


@implementer(IHalfCloseableProtocol)
class LineStream(LineReceiver):
    """Reads lines and raw octets, and writes replies.

    Attributes:
        MAX_LENGTH: the longest line, CRLF not counted.
        MAX_DROPPED: how many octets of one over-long line are dropped before `lineEndless` is
            called.
        finished: True once we have closed the connection; nothing that arrives later is read.
        congested: True while the transport has too much to write.
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
    _dropped = 0  # octets of an over-long line that has not ended; 0 if there is none
    # Between two segments a connection holds no list: thousands of them are idle.
    _replies: list[bytes] | None = None
    _direct: DirectSocket | None = None
    _outflow: _Outflow | None = None
    _input_over = False

    def send_reply(self, octets: bytes) -> None:
        """Send a reply, together with the others that one segment of input causes.

        While input is paused it waits for `resume_input` or `finish`.
        """
        if self._replies is None:
            self._replies = [octets]
        else:
            self._replies.append(octets)
        if not (self._busyReceiving or self.paused):
            self._flush()

    def _flush(self) -> None:
        replies, self._replies = self._replies, None
        if replies is None:
            return
        octets = replies[0] if len(replies) == 1 else b"".join(replies)
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
        """True if something has arrived that was not read yet."""
        return self._at < len(self._buffer)

    def has_input_in_kernel(self) -> bool:
        """Return whether something waits in the plain socket; asks the kernel."""
        return self._direct is not None and self._direct.has_input()

    def finish(self) -> None:
        """Send the replies that wait, then close the connection."""
        if not self.finished:
            self.finished = True
            self._flush()
            self._end_outflow()
            self.transport.loseConnection()

    def _end_outflow(self) -> None:
        """Unregister the producer, so that the transport can close or start TLS."""
        if self._outflow is not None:
            self._outflow = None
            self.congested = False
            cast(IConsumer, self.transport).unregisterProducer()

    def pause_input(self) -> None:
        """Process no more input until `resume_input`; what arrives meanwhile waits."""
        self.paused = True

    def resume_input(self) -> None:
        """Process input again, from where `pause_input` left it."""
        self.paused = False
        if self.congested or self.finished:  # the transport resumes it, if ever
            self._flush()
            return
        if self._transport_paused and not self._input_over:
            self._transport_paused = False
            cast(IPushProducer, self.transport).resumeProducing()
        if not self._busyReceiving:
            self.dataReceived(b"")

    def clearLineBuffer(self) -> bytes:
        """Remove what has arrived and was not processed, and return it."""
        rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return rest

    def setRawMode(self) -> None:
        """Pass what comes next to `rawDataReceived`."""
        self.line_mode = 0

    def setLineMode(self, extra: bytes = b"") -> None:
        """Read lines again, first from octets that `rawDataReceived` has not used."""
        self.line_mode = 1
        self._buffer, self._at = extra + self._buffer[self._at :], 0

    def dataReceived(self, data: bytes) -> None:
        """Process a segment; the transport calls this."""
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
        """Close when all is answered: the peer sends no more; the transport calls this."""
        self._input_over = True
        if not self._busyReceiving:
            self._finish_when_idle()

    def writeConnectionLost(self) -> None:
        """Do nothing: both sides are closed at once."""

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
        """Process one line; return False if there is no complete one."""
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
        # What ends here may be the rest of an over-long line, which is dropped with its beginning.
        if self._dropped:
            self._dropped = 0
        elif len(line) > self.MAX_LENGTH:
            self.lineLengthExceeded(line)
        else:
            self.lineReceived(line)
        return True

    def _bound_unfinished_line(self) -> None:
        """Drop an over-long line, except for a CR that may belong to its end."""
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
        """Close the connection, after a line that ends with LF alone."""
        self.finish()

    def lineEndless(self) -> None:
        """Close the connection, after too much of a line that does not end."""
        self.finish()
