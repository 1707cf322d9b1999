"""The content of one message, from the stream into a delivery transaction.

A reception decodes what arrives, keeps count, and passes it on piece by piece. The limit on a
message holds for the octets as they came and for those that the decoder makes of them. Content
that turns out unfit or too large is let go of at once, its delivery transaction aborted, and the
rest is read away to the true end: only there does the peer hear of it (RFC 5321 s4.1.1.4; RFC 3030
s2).

What arrives in chunks is gathered into pieces of some size first: a peer that sends a million
chunks of one octet must not make a million pieces.
"""

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred

from postroom.interfaces import IDeliveryTransaction
from postroom.server.limits import Limits
from postroom.wire.data import ChunkDecoder, DotDecoder, Flaw
from postroom.wire.replies import Reply, reply

TOO_BIG: Final = reply(552, "5.3.4", "Message exceeds the size limit")
_REFUSALS: Final = {
    Flaw.BARE_CR_OR_LF: reply(550, "5.5.2", "Bare CR or LF in the content, lines end with CRLF"),
    Flaw.NUL: reply(550, "5.5.2", "NUL in the content"),
    Flaw.LONG_LINE: reply(550, "5.5.2", "Line too long in the content"),
}
_PIECE_OCTETS: Final = 16_384


class Reception:
    """One message on its way in after DATA.

    Attributes:
        refusal: why the message will be refused, or None.
    """

    __slots__ = ("_decoded", "_decoder", "_limit", "_transaction", "refusal")

    def __init__(
        self,
        transaction: IDeliveryTransaction | None,
        limits: Limits,
        decoder: DotDecoder | ChunkDecoder,
    ) -> None:
        """Begin right after 354; without a transaction content is only read away."""
        self._decoder = decoder
        self._decoded = 0
        self._limit = limits.message_octets
        self._transaction = transaction
        self.refusal: Reply | None = None

    @property
    def octets(self) -> int:
        """How much content there was so far: as it came, or as it was decoded, which is more.

        What is read away counts as well: a peer cannot go on for ever behind a flaw.
        """
        return max(self._decoded, self._decoder.raw_octets)

    def feed(self, data: bytes) -> "Deferred[None] | None":
        """Take octets of the stream; a Deferred asks the peer to be held until it fires."""
        chunk = self._decoder.feed(data)
        flaw = self._decoder.flaw
        if flaw is not None and self.refusal is None:
            self.refuse(_REFUSALS[flaw])
        self._decoded += len(chunk)
        if self.octets > self._limit and self.refusal is None:
            self.refuse(TOO_BIG)
        if chunk and self._transaction is not None:
            return self._transaction.write(chunk)
        return None

    @property
    def endless(self) -> bool:
        """True when a refused message goes on for longer than a taken one could."""
        return self.refusal is not None and self.octets > 2 * self._limit

    @property
    def ended(self) -> bool:
        """True once the end of the content, or of the chunk, was seen."""
        return self._decoder.ended

    @property
    def rest(self) -> bytes:
        """What the peer sent after the end."""
        return self._decoder.rest

    def refuse(self, refusal: Reply) -> None:
        """Let go of the content; the refusal is given at the end."""
        self.refusal = refusal
        self.abort()

    def abort(self) -> None:
        """Forget the content: the peer or the session is gone."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()

    def finish(self) -> "Deferred[None] | None":
        """Pass on what was kept back, at the end of the message; as `feed`."""
        return None

    def commit(self) -> "Sequence[Reply] | Deferred[Sequence[Reply]]":
        """Store the message, after its end; as `IDeliveryTransaction.commit`."""
        transaction, self._transaction = self._transaction, None
        assert transaction is not None  # a refused message is not committed
        return transaction.commit()


class ChunkReception(Reception):
    """One message on its way in by BDAT.

    RFC 3030 s2
    """

    __slots__ = ("_chunks", "_piece")

    def __init__(
        self,
        transaction: IDeliveryTransaction | None,
        limits: Limits,
        decoder: ChunkDecoder,
    ) -> None:
        """Begin before the first chunk; as `Reception`."""
        super().__init__(transaction, limits, decoder)
        self._chunks = decoder
        self._piece = bytearray()

    def begin_chunk(self, octets: int) -> bool:
        """Begin a chunk of so many octets.

        Returns:
            False if that is more than is worth reading away.
        """
        self._chunks.begin(octets)
        if self.octets + octets > self._limit and self.refusal is None:
            self.refuse(TOO_BIG)
        return self.octets + octets <= 2 * self._limit

    def feed(self, data: bytes) -> "Deferred[None] | None":
        """Take octets of a chunk; as `Reception.feed`."""
        return self._gather(self._chunks.feed(data), _PIECE_OCTETS)

    def finish(self) -> "Deferred[None] | None":
        """Pass on what was kept back; see `Reception.finish`."""
        return self._gather(self._chunks.finish(), 0)

    def abort(self) -> None:
        """See `Reception.abort`."""
        self._piece = bytearray()
        super().abort()

    def _gather(self, octets: bytes, enough: int) -> "Deferred[None] | None":
        flaw = self._chunks.flaw
        if flaw is not None and self.refusal is None:
            self.refuse(_REFUSALS[flaw])
        self._decoded += len(octets)
        if self.octets > self._limit and self.refusal is None:
            self.refuse(TOO_BIG)
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
