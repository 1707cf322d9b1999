"""The content of one message, from the stream into a delivery transaction.

Content is decoded as it arrives, counted, and passed on piece by piece. If it turns out to be
unfit or too large, its delivery transaction is aborted at once, and the rest is read and dropped up
to its end: only there the refusal is sent (RFC 5321 s4.1.1.4; RFC 3030 s2). The limit on a message
holds for the octets as they came and for those that the decoder makes of them.

After DATA there is one object from 354 to the final dot. For BDAT there is one from the first chunk
to the last, or to whatever ends the transaction before. The octets of a chunk are read before the
chunk is answered, even if the command, the phase or the delivery refuses it: they are no commands
(RFC 3030 s2). Chunks are collected into pieces of some size: a peer that sends a million chunks of
one octet must not make a million pieces.

Who controls the input: the peer.
"""

from collections.abc import Sequence
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from postroom.interfaces import IDeliveryTransaction
from postroom.later import chain, now_or_later
from postroom.server.session import Session
from postroom.server.verdicts import one_for_all
from postroom.wire.data import ChunkDecoder, DotDecoder, Flaw
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Chunk

TOO_BIG: Final = reply(552, "5.3.4", "Message exceeds the size limit")
CHUNK_ACCEPTED: Final = reply(250, "2.0.0", "Chunk accepted")
_REFUSALS: Final = {
    Flaw.BARE_CR_OR_LF: reply(550, "5.5.2", "Bare CR or LF in the content, lines end with CRLF"),
    Flaw.NUL: reply(550, "5.5.2", "NUL in the content"),
    Flaw.LONG_LINE: reply(550, "5.5.2", "Line too long in the content"),
}
_PIECE_OCTETS: Final = 16_384


class IncomingContent:
    """The content of one message, as it is received after DATA.

    Attributes:
        refusal: why the message will be refused, or None.
    """

    __slots__ = (
        *("_decoded", "_decoder", "_last_write", "_limits", "_session", "_since", "_transaction"),
        "refusal",
    )

    def __init__(
        self,
        session: Session,
        transaction: IDeliveryTransaction | None,
        decoder: DotDecoder | ChunkDecoder,
    ) -> None:
        """Create it right before 354; without a transaction, content is read and dropped."""
        self._session = session
        self._limits = session.listener.settings.limits
        self._since = session.listener.seconds()
        self._transaction = transaction
        self._decoder = decoder
        self._decoded = 0
        self._last_write: Deferred[None] | None = None
        self.refusal: Reply | None = None

    # Octets

    @property
    def octets(self) -> int:
        """The number of octets so far: as they came, or as they were decoded, whichever is more.

        What is dropped counts as well: a peer cannot go on for ever after a flaw.
        """
        return max(self._decoded, self._decoder.raw_octets)

    @property
    def ended(self) -> bool:
        """True once the end of the content, or of the chunk, has come."""
        return self._decoder.ended

    @property
    def rest(self) -> bytes:
        """What the peer sent after the end."""
        return self._decoder.rest

    @property
    def endless(self) -> bool:
        """True if a refused message is more than twice as long as one may be."""
        return self.refusal is not None and self.octets > 2 * self._limits.message_octets

    def feed(self, data: bytes) -> "Deferred[None] | None":
        """Process octets of the stream.

        Returns:
            A Deferred if no more is to be read until it fires, because the disk is slow.
        """
        try:
            held = self._take(data)
        except Exception:
            self._refuse_for(Failure())
            return None
        if self._decoder.ended:
            self._last_write = held
            return None
        return held

    def _take(self, data: bytes) -> "Deferred[None] | None":
        content = self._decoder.feed(data)
        self._check(content)
        if content and self._transaction is not None:
            return self._transaction.write(content)
        return None

    def _check(self, content: bytes) -> None:
        """Count decoded content, and refuse the message for a flaw or for its size."""
        self._decoded += len(content)
        if self.refusal is not None:
            return
        flaw = self._decoder.flaw
        if flaw is not None:
            self.refuse(_REFUSALS[flaw])
        elif self.octets > self._limits.message_octets:
            self.refuse(TOO_BIG)

    # Time

    def deadline(self, now: float) -> float:
        """Return the time by which more must have come.

        It limits a silence. While the server is short of connections, slow content must keep up a
        minimum rate, too.

        RFC 5321 s4.5.3.2.5
        """
        limits = self._limits
        if limits.data_minimum_rate and self._session.listener.under_stress:
            by_rate = self._since + self.octets / limits.data_minimum_rate
            now = min(now, by_rate)
        return now + limits.data_timeout_seconds

    def resume(self, held_seconds: float, result: object) -> None:
        """Accept content again after a pause, which is not counted against the peer.

        Args:
            held_seconds: how long nothing was read.
            result: of the write; a Failure refuses the message.
        """
        self._since += held_seconds
        if isinstance(result, Failure):
            self._refuse_for(result)

    # The end

    def refuse(self, refusal: Reply) -> None:
        """Drop the content; its end is answered with the refusal."""
        self.refusal = refusal
        self.abort()

    def _refuse_for(self, failure: Failure) -> None:
        self.refuse(self._session.reply_for_failure(failure))

    def abort(self) -> None:
        """Drop the content: the peer, the session or the message is gone."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()

    def end(self) -> object:
        """Commit the content; return the verdict on the message, or a Deferred of it."""
        self._session.state.end_of_content()
        self._session.content_ended(None)
        if self._last_write is None:  # as nearly always
            return self._commit(None)
        return chain(self._written(), self._commit)

    def _commit(self, _: object) -> object:
        if self.refusal is not None:
            return self.refusal
        transaction, self._transaction = self._transaction, None
        assert transaction is not None  # a refused message is not committed
        results = now_or_later(transaction.commit())
        if self._session.wants_each_result:
            return results
        if isinstance(results, Deferred):
            return results.addCallback(one_for_all)
        return one_for_all(cast(Sequence[Reply], results))

    def _written(self) -> "Deferred[None] | None":
        """Return what the last write waits for; if it fails, the message is refused."""
        last, self._last_write = self._last_write, None
        return last.addErrback(self._refuse_for) if last is not None else None


class IncomingChunks(IncomingContent):
    """The content of one message, as it is received by BDAT.

    RFC 3030 s2
    """

    __slots__ = ("_chunk", "_chunks", "_piece")

    def __init__(
        self, session: Session, transaction: IDeliveryTransaction | None, decoder: ChunkDecoder
    ) -> None:
        """Create it before the first chunk; without a transaction, chunks are read and dropped."""
        super().__init__(session, transaction, decoder)
        self._chunks = decoder
        self._chunk: Chunk | None = None
        self._piece = bytearray()

    def begin_chunk(self, chunk: Chunk) -> object:
        """Expect the octets of a chunk.

        Returns:
            The verdict if there is one already, or a Deferred of it; None if octets must come
            first.
        """
        self._session.receive_content(self)
        self._chunk = chunk
        self._chunks.begin(chunk.octets)
        most, total = self._limits.message_octets, self.octets + chunk.octets
        if total > most and self.refusal is None:
            self.refuse(TOO_BIG)
        if total > 2 * most:  # more than is worth reading
            self._session.close_after_reply()
            return self.refusal
        return None if chunk.octets else self.end()

    def end(self) -> object:
        """End the chunk; return the verdict on it, or on the message if it was the last."""
        chunk = self._chunk
        assert chunk is not None  # `begin_chunk` was called
        if not chunk.last and chunk.refusal is None:
            return chain(self._written(), self._chunk_taken)
        self._session.content_ended(chunk)
        if chunk.refusal is not None:
            return chunk.refusal
        return chain(self._written(), self._finish)

    def _chunk_taken(self, _: object) -> Reply:
        return self.refusal or CHUNK_ACCEPTED

    def _finish(self, _: object) -> object:
        """Write what the decoder has kept back, and commit."""
        try:
            content = self._chunks.finish()
            self._check(content)
            self._last_write = self._gather(content, 0)
        except Exception:
            self._refuse_for(Failure())
        return chain(self._written(), self._commit)

    def abort(self) -> None:
        """Drop the content, as `IncomingContent.abort` does."""
        self._piece = bytearray()
        super().abort()

    def _take(self, data: bytes) -> "Deferred[None] | None":
        content = self._chunks.feed(data)
        self._check(content)
        return self._gather(content, _PIECE_OCTETS)

    def _gather(self, octets: bytes, enough: int) -> "Deferred[None] | None":
        """Collect octets, and write them once there are enough."""
        if self._transaction is None:
            return None
        if self._piece:
            self._piece += octets
            octets = bytes(self._piece) if len(self._piece) >= enough else b""
        elif len(octets) < enough:
            self._piece += octets
            octets = b""
        if not octets:
            return None
        self._piece = bytearray()
        return self._transaction.write(octets)
