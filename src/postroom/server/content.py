"""DATA and BDAT: a message's content, from the command that announces it to the last reply.

An `Intake` stands between the session and a `Reception` while content is on its way. It sets the
time by which more has to come, lets the peer wait while the disk is slow, and at the end asks for
the verdict. After DATA it lives from 354 to the final dot; for BDAT from the first chunk to the
last, or to whatever ends the transaction before.

A chunk's octets are taken off the stream before the chunk is answered, whatever the answer is: the
command, the phase or the delivery may be against it, and they still are no commands (RFC 3030 s2).

LMTP and PRDR want a reply for each recipient (`per_recipient`); else one has to be true for all.

Who controls the input: the peer.
"""

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from postroom.envelope import Envelope
from postroom.interfaces import IDeliveryTransaction
from postroom.server.reception import ChunkReception, Reception
from postroom.server.verdicts import Spread, for_lmtp, for_prdr, one_for_all, settled, then
from postroom.wire.data import BareNewlineDecoder, ChunkDecoder, DotDecoder
from postroom.wire.parameters import BODY, PRDR
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Chunk

if TYPE_CHECKING:
    from postroom.server.protocol import SMTPServerProtocol

START_INPUT: Final = reply(354, None, "End data with <CR><LF>.<CR><LF>")
CHUNK_TAKEN: Final = reply(250, "2.0.0", "Chunk taken")
ENDLESS: Final = reply(421, "4.3.4", "Message without end, closing connection")


class Intake:
    """One message's content on its way in.

    Attributes:
        reception: where it goes.
        chunk: the BDAT command whose octets are under way or were the last; None after DATA.
    """

    __slots__ = ("_last_write", "_server", "_since", "chunk", "reception")

    def __init__(self, server: "SMTPServerProtocol", reception: Reception) -> None:
        """Begin to count the time."""
        self._server = server
        self._since = server.factory.seconds()
        self._last_write: Deferred[None] | None = None
        self.reception = reception
        self.chunk: Chunk | None = None

    def deadline(self, now: float) -> float:
        """Give the time by which more must have come.

        It is a time of silence. While the server is short of connections, content that drips must
        keep up a minimum rate besides.

        RFC 5321 s4.5.3.2.5
        """
        limits = self._server.limits
        if limits.data_minimum_rate and self._server.factory.under_stress:
            by_rate = self._since + self.reception.octets / limits.data_minimum_rate
            now = min(now, by_rate)
        return now + limits.data_timeout_seconds

    def feed(self, data: bytes) -> bool:
        """Take octets of the stream.

        Returns:
            True once the content, or the chunk, has ended.
        """
        server, reception = self._server, self.reception
        try:
            held = reception.feed(data)
        except Exception:
            reception.refuse(server.excuse(Failure()))
            held = None
        if reception.ended:
            self._last_write = held
            return True
        if reception.endless:
            server.hang_up(ENDLESS)
        elif held is None:
            server.deadline = self.deadline(server.factory.seconds())
        else:
            self._hold(held)
        return False

    def _hold(self, held: "Deferred[None]") -> None:
        """Let the peer wait for our disk; the time is not counted against it."""
        server = self._server
        server.hold()
        held_since = server.factory.seconds()
        server.deadline = held_since + server.limits.verdict_timeout_seconds

        def release(result: object) -> None:
            if server.finished:
                return
            if isinstance(result, Failure):
                self._refuse(result)
            now = server.factory.seconds()
            self._since += now - held_since
            server.deadline = self.deadline(now)
            server.go_on()

        held.addBoth(release)

    def take(self, chunk: Chunk) -> object:
        """Begin to take a chunk's octets; gives the verdict if there is one already."""
        server, reception = self._server, self.reception
        assert isinstance(reception, ChunkReception)  # BDAT never follows DATA
        server.intake, self.chunk = self, chunk
        if not reception.begin_chunk(chunk.octets):
            server.parts = True
            return reception.refusal
        if not chunk.octets:
            return self.end()
        server.setRawMode()
        return None

    def end(self) -> object:
        """Give the verdict on the content, or on the chunk, now that it has ended."""
        server, chunk = self._server, self.chunk
        if chunk is not None and not chunk.last and chunk.refusal is None:
            return then(self._written(), self._chunk_taken)
        server.intake = None
        if chunk is not None and chunk.refusal is not None:
            return chunk.refusal
        server.begin_to_store()
        if chunk is None and self._last_write is None:  # as nearly always
            return self._commit(None)
        return then(self._written(), self._finish)

    def _chunk_taken(self, _: object) -> Reply:
        return self.reception.refusal or CHUNK_TAKEN

    def _finish(self, _: object) -> object:
        try:
            self._last_write = self.reception.finish()
        except Exception:
            self._refuse(Failure())
        return then(self._written(), self._commit)

    def _commit(self, _: object) -> object:
        if self.reception.refusal is not None:
            return self.reception.refusal
        results = settled(self.reception.commit())
        return results if self._server.spread is not None else then(results, one_for_all)

    def _written(self) -> "Deferred[None] | None":
        """Wait for the piece that was written last; what went wrong with it is the refusal."""
        last, self._last_write = self._last_write, None
        return last.addErrback(self._refuse) if last is not None else None

    def _refuse(self, failure: Failure) -> None:
        self.reception.refuse(self._server.excuse(failure))


def data(server: "SMTPServerProtocol", _: object) -> object:
    """DATA: ask the delivery, then take content. RFC 5321 s4.1.1.4."""
    envelope, delivery = server.open_transaction()
    return then(settled(delivery.begin(envelope)), _content_begins, server)


def _content_begins(transaction: IDeliveryTransaction, server: "SMTPServerProtocol") -> Reply:
    rules = server.factory.text_rules
    decoder = BareNewlineDecoder(rules) if server.takes_bare_newlines else DotDecoder(rules)
    server.intake = Intake(server, Reception(transaction, server.limits, decoder))
    server.setRawMode()
    return START_INPUT


def bdat(server: "SMTPServerProtocol", chunk: Chunk) -> object:
    """BDAT: take a chunk off the stream, and answer it then. RFC 3030 s2."""
    if chunk.refusal is not None:
        return _refused(server, chunk.refusal).take(chunk)
    if server.intake is not None:
        return server.intake.take(chunk)
    envelope, delivery = server.open_transaction()
    try:
        transaction = settled(delivery.begin(envelope))
    except Exception:
        return _refused(server, server.excuse(Failure())).take(chunk)
    if isinstance(transaction, Deferred):
        return transaction.addCallbacks(
            lambda begun: _chunks_begin(begun, server).take(chunk),
            lambda failure: _refused(server, server.excuse(failure)).take(chunk),
        )
    return _chunks_begin(transaction, server).take(chunk)


def _chunks_begin(transaction: object, server: "SMTPServerProtocol") -> Intake:
    envelope, _ = server.open_transaction()
    binary = BODY.of(envelope.mail.parameters) == "BINARYMIME"
    rules = server.factory.text_rules
    if server.takes_bare_newlines:
        rules = rules._replace(refuse_bare_newline=False)
    begun = cast(IDeliveryTransaction, transaction)
    return Intake(server, ChunkReception(begun, server.limits, ChunkDecoder(rules, binary)))


def _refused(server: "SMTPServerProtocol", refusal: Reply) -> Intake:
    """Make an intake that only reads away."""
    reception = ChunkReception(None, server.limits, ChunkDecoder())
    reception.refuse(refusal)
    return Intake(server, reception)


def per_recipient(role: str, envelope: Envelope) -> Spread | None:
    """Say how the verdict on a message becomes its replies; None if it is a single one.

    RFC 2033 s4.2
    """
    if role == "lmtp":
        return partial(for_lmtp, len(envelope.recipients))
    if PRDR.keyword in envelope.mail.parameters:
        return partial(for_prdr, len(envelope.recipients))
    return None
