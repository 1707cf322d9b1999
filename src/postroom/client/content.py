"""Sending content piece by piece, never faster than the peer accepts it.

A `ContentStream` is the transport's push producer for the time of one message: when the transport's
buffer is full no piece is fetched until it has been emptied. So at most one piece of 256 KiB waits,
whatever the length of the message.

After DATA the pieces follow one another, and the final dot ends them. A `ChunkStream` sends a BDAT
before each piece, and stops while too many of them are unanswered. It ends when one is refused.

Content that is in memory as one piece is not sent from here: it is one write.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from postroom.client import failures
from postroom.errors import Refusal
from postroom.interfaces import IChunkSource
from postroom.later import result_of
from postroom.wire.client_session import ClientSession
from postroom.wire.encode import TextEncoder
from postroom.wire.errors import LocalViolation

_CHUNKS_AHEAD: Final = 4
"""How many chunks may be unanswered where PIPELINING is offered (RFC 3030 s4.2)."""


class Stopped(Exception):
    """The connection went away while content was being sent."""


@implementer(IPushProducer)
class ContentStream:
    """Sends one message's content in pieces, for DATA."""

    def __init__(
        self,
        consumer: IConsumer,
        source: IChunkSource,
        encoder: TextEncoder,
        seven_bit_for: str | None,
        progress: Callable[[], None],
    ) -> None:
        """Create a stream; nothing is sent before `run`.

        Args:
            consumer: the transport.
            source: the content.
            encoder: encodes it for the wire.
            seven_bit_for: the name of the host if it accepts no 8-bit content; else None.
            progress: called whenever the transport's buffer has been emptied.
        """
        self._consumer = consumer
        self._source = source
        self._seven_bit_for = seven_bit_for
        self._progress = progress
        self._encoder = encoder
        self._paused = False
        self._stopped = False
        self._resumed: Deferred[None] | None = None

    async def run(self, first: bytes) -> None:
        """Send all of the content, and its end.

        Args:
            first: piece 0, which was fetched before.

        Raises:
            Refusal: the content must not be sent, or is not complete. The caller must abort the
                connection, so that what was sent is not taken for the whole.
            Stopped: the connection was lost.

        RFC 5321 s4.1.1.4, s4.5.2
        """
        self._consumer.registerProducer(self, True)
        index, sent, chunk = 0, 0, first
        while chunk and not self._refused:
            sent += len(chunk)
            self._write(self._encoded(chunk), sent >= self._source.size_octets)
            index += 1
            await self._wait_for_room()
            chunk = await result_of(self._source.chunk(index))
        if self._stopped:
            raise Stopped
        if sent < self._source.size_octets and not self._refused:
            raise Refusal(failures.INCOMPLETE)
        self._end()
        self._consumer.unregisterProducer()

    @property
    def _refused(self) -> bool:
        """True if the host has refused the content before its end."""
        return False

    def _write(self, octets: bytes, last: bool) -> None:
        self._consumer.write(octets)

    def _end(self) -> None:
        self._consumer.write(self._finish())

    def chunk_answered(self) -> None:
        """Continue, when the host has answered a chunk."""

    def _encoded(self, chunk: bytes) -> bytes:
        if self._stopped:
            raise Stopped
        if self._seven_bit_for is not None and not chunk.isascii():
            raise Refusal(failures.no_8bit(self._seven_bit_for))
        try:
            return self._encoder.feed(chunk)
        except LocalViolation as error:
            raise Refusal(failures.unclean(str(error))) from None

    def _finish(self) -> bytes:
        try:
            return self._encoder.finish()
        except LocalViolation as error:
            raise Refusal(failures.unclean(str(error))) from None

    async def _wait_for_room(self) -> None:
        """Wait until more may be written."""
        while (self._paused or self._full) and not self._stopped and not self._refused:
            self._resumed = Deferred()
            await self._resumed

    @property
    def _full(self) -> bool:
        """True while too many chunks are unanswered."""
        return False

    def pauseProducing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Write again: the transport's buffer is empty."""
        self._paused = False
        self._progress()
        self._wake()

    def stopProducing(self) -> None:
        """Stop: the connection is lost."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)


class ChunkStream(ContentStream):
    """Sends one message's content in chunks, for BDAT.

    RFC 3030 s2, s4.2
    """

    def __init__(
        self,
        consumer: IConsumer,
        source: IChunkSource,
        encoder: TextEncoder,
        seven_bit_for: str | None,
        progress: Callable[[], None],
        session: ClientSession,
    ) -> None:
        """Create a stream; see `ContentStream`.

        Args:
            consumer: the transport.
            source: the content.
            encoder: encodes it for the wire.
            seven_bit_for: the name of the host if it accepts no 8-bit content; else None.
            progress: called whenever the transport's buffer has been emptied.
            session: returns the commands.
        """
        super().__init__(consumer, source, encoder, seven_bit_for, progress)
        self._session = session
        self._ahead = _CHUNKS_AHEAD if "PIPELINING" in session.capabilities else 1

    @property
    def _refused(self) -> bool:
        transaction = self._session.transaction
        return transaction is None or not transaction.wanted

    @property
    def _full(self) -> bool:
        return self._session.unanswered_chunks >= self._ahead

    def _write(self, octets: bytes, last: bool) -> None:
        if last:
            octets += self._finish()
        elif not octets:  # the encoder holds all of it back
            return
        self._consumer.write(self._session.chunk(len(octets), last))
        self._consumer.write(octets)

    def _end(self) -> None:
        """Do nothing: the last chunk was the end."""

    def chunk_answered(self) -> None:
        """Continue, or stop if the chunk was refused."""
        self._wake()
