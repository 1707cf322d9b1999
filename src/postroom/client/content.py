"""Content on its way out, piece by piece, never faster than the peer takes it.

A `ContentStream` is the transport's push producer for the time of one message: when the transport's
buffer is full no piece is fetched until it has been emptied. So at most one piece of 256 KiB waits,
whatever the length of the message.

Behind DATA the pieces follow one another and the final dot ends them. A `ChunkStream` sends each
behind a BDAT of its own, and no more of them than the host may leave unanswered; when one is
refused it sends no further one, and it is over.

Content that lies in memory as one piece does not come here: it is one write.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from postroom.client import failures
from postroom.errors import Refusal
from postroom.interfaces import IChunkSource
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
        """Prepare; nothing is sent before `run`.

        Args:
            consumer: the transport.
            source: the content.
            encoder: what it passes through.
            seven_bit_for: the name of a host that takes no 8-bit content; None if it does.
            progress: called whenever the peer has taken what was waiting.
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
        """Send everything, the end too.

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
        while chunk and not self._refused:
            sent += len(chunk)
            self._write(self._encoded(chunk), sent >= self._source.size_octets)
            index += 1
            await self._room()
            got = self._source.chunk(index)
            chunk = await got if isinstance(got, Deferred) else got
        if self._stopped:
            raise Stopped
        if sent < self._source.size_octets and not self._refused:
            raise Refusal(failures.INCOMPLETE)
        self._end()
        self._consumer.unregisterProducer()

    @property
    def _refused(self) -> bool:
        """True if the host wants no more of the content."""
        return False

    def _write(self, octets: bytes, last: bool) -> None:
        self._consumer.write(octets)

    def _end(self) -> None:
        self._consumer.write(self._finish())

    def chunk_answered(self) -> None:
        """Called when the host has answered a chunk."""

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

    async def _room(self) -> None:
        """Wait until the transport takes more."""
        while (self._paused or self._full) and not self._stopped and not self._refused:
            self._resumed = Deferred()
            await self._resumed

    @property
    def _full(self) -> bool:
        """True while the host must answer first."""
        return False

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
        """Prepare; see `ContentStream`.

        Args:
            consumer: the transport.
            source: the content.
            encoder: what it passes through.
            seven_bit_for: the name of a host that takes no 8-bit content; None if it does.
            progress: called whenever the peer has taken what was waiting.
            session: gives the commands.
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
        elif not octets:  # all of it was held back
            return
        self._consumer.write(self._session.chunk(len(octets), last))
        self._consumer.write(octets)

    def _end(self) -> None:
        """The last chunk was the end."""

    def chunk_answered(self) -> None:
        """Go on, or stop if the chunk was refused."""
        self._wake()
