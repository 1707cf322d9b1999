"""Content on its way out, piece by piece, never faster than the peer takes it.

A `ContentStream` is the transport's push producer for the time of one message: when the transport's
buffer is full no piece is fetched until it has been emptied. So at most one piece of 256 KiB waits,
whatever the length of the message.

Content that lies in memory as one piece does not come here: it is one write.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from postroom.client import failures
from postroom.errors import Refusal
from postroom.interfaces import IChunkSource
from postroom.wire.encode import DotEncoder
from postroom.wire.errors import LocalViolation


class Stopped(Exception):
    """The connection went away while content was being sent."""


@implementer(IPushProducer)
class ContentStream:
    """Sends one message's content in pieces."""

    def __init__(
        self,
        consumer: IConsumer,
        source: IChunkSource,
        seven_bit_for: str | None,
        progress: Callable[[], None],
    ) -> None:
        """Prepare; nothing is sent before `run`.

        Args:
            consumer: the transport.
            source: the content.
            seven_bit_for: the name of a host that takes no 8-bit content; None if it does.
            progress: called whenever the peer has taken what was waiting.
        """
        self._consumer = consumer
        self._source = source
        self._seven_bit_for = seven_bit_for
        self._progress = progress
        self._encoder = DotEncoder()
        self._paused = False
        self._stopped = False
        self._resumed: Deferred[None] | None = None

    async def run(self, first: bytes) -> None:
        """Send everything, the final dot too.

        Args:
            first: piece 0, which has been fetched already.

        Raises:
            Refusal: the content must not be sent, or is not all there. What was sent must not be
                ended: abort the connection.
            Stopped: the connection was lost.

        RFC 5321 s4.1.1.4, s4.5.2
        """
        self._consumer.registerProducer(self, True)
        index, sent, chunk = 0, 0, first
        while chunk:
            sent += len(chunk)
            self._consumer.write(self._encoded(chunk))
            index += 1
            await self._room()
            got = self._source.chunk(index)
            chunk = await got if isinstance(got, Deferred) else got
        if self._stopped:
            raise Stopped
        if sent < self._source.size_octets:
            raise Refusal(failures.INCOMPLETE)
        self._consumer.write(self._end())
        self._consumer.unregisterProducer()

    def _encoded(self, chunk: bytes) -> bytes:
        if self._stopped:
            raise Stopped
        if self._seven_bit_for is not None and not chunk.isascii():
            raise Refusal(failures.no_8bit(self._seven_bit_for))
        try:
            return self._encoder.feed(chunk)
        except LocalViolation as error:
            raise Refusal(failures.unclean(str(error))) from None

    def _end(self) -> bytes:
        try:
            return self._encoder.finish()
        except LocalViolation as error:
            raise Refusal(failures.unclean(str(error))) from None

    async def _room(self) -> None:
        """Wait until the transport takes more."""
        if self._paused and not self._stopped:
            self._resumed = Deferred()
            await self._resumed

    def pauseProducing(self) -> None:
        """Called by the transport: its buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Called by the transport: its buffer is empty."""
        self._paused = False
        self._progress()
        self._wake()

    def stopProducing(self) -> None:
        """Called by the transport: the connection is lost."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)
