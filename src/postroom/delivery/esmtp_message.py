"""The content of a message that comes from `twisted.mail.smtp.ESMTP`, line by line.

Theory: ESMTP makes an `IMessage` for each recipient and passes every line to each of them. An
`IDeliveryTransaction` accepts the content once, for all recipients. So the messages of one envelope
share a `SharedMessage`. The lines of the first message are the content. The delivery's transaction
begins when all recipients are known, and is committed when every message has ended.

ESMTP may pass each message a Received field as soon as it is made, before it makes the next one.
Therefore the first line of each message is held back, and the content begins with the second. If
the first lines differ they are such fields, of which each names one recipient to all others: they
are left out. The delivery writes a Received field of its own anyway.

ESMTP cannot send every reply of a delivery. A refusal that comes while there are lines to read
reaches the peer with its own code. After the last line ESMTP sends 550 for every failure, and a
peer would give up a message that only has to wait: so for a temporary failure the session ends with
421 instead, which makes the peer send the message again.

Who controls the input: the peer, every octet of every line.
"""

from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageSMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.envelope import Envelope, Recipient
from postroom.errors import LOCAL_ERROR, Refusal, reply_for
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.wire.data import ChunkDecoder
from postroom.wire.replies import Reply

PIECE_OCTETS: Final = 16_384
"""Lines are gathered into pieces of about this size."""

_log = Logger()


class SharedMessage:
    """One message for several recipients.

    Attributes:
        has_begun: True once the delivery's transaction has begun: no recipient can be added.
    """

    def __init__(
        self, delivery: ITransactionDelivery, envelope: Envelope, protocol: Any, lock: DeferredLock
    ) -> None:
        """Create a message without recipients.

        Args:
            delivery: stores the message.
            envelope: of this message alone; its recipients are added by `add`.
            protocol: the session, which is paused while the delivery is slow.
            lock: held while the message is stored.
        """
        self.has_begun = False
        self._delivery = delivery
        self._envelope = envelope
        self._protocol = protocol
        self._lock = lock
        self._messages: list[RecipientMessage] = []
        self._lines: list[bytes] = []
        self._octets = 0
        self._in_header = True
        self._mender = ChunkDecoder()
        self._transaction: IDeliveryTransaction | None = None
        self._writing: Deferred[None] | None = None
        self._failure: Reply | None = None
        self._ended = False

    def add(self, recipient: Recipient) -> "RecipientMessage":
        """Return the message of one more recipient."""
        message = RecipientMessage(self)
        self._messages.append(message)
        self._envelope.recipients.append(recipient)
        return message

    def line_received(self, message: "RecipientMessage", line: bytes) -> None:
        """Add a line to the content.

        Args:
            message: whose line it is; only those of the first message count.
            line: without its CRLF.

        Raises:
            SMTPServerError: the delivery does not want the message.
        """
        if message is not self._messages[0]:
            return
        if not self.has_begun:
            self._begin()
        if self._failure is None:
            self._gather(line)
        if self._failure is not None:
            raise server_error(self._failure)

    def end_received(self) -> None:
        """Store the message if all recipients' messages have ended."""
        if all(message.result is not None for message in self._messages):
            self._ended = True
            self._hold(Deferred.fromCoroutine(self._store()))

    def lose(self) -> None:
        """Forget the content; too late once the message is being stored."""
        if not self._ended:
            self._give_up(LOCAL_ERROR)
            self._answer([LOCAL_ERROR] * len(self._messages))

    def _begin(self) -> None:
        """Start the content with the first line, unless it differs between the messages."""
        self.has_begun = True
        first = self._messages[0].first_line
        if first is not None and {each.first_line for each in self._messages} <= {first, None}:
            self._gather(first)

    def _gather(self, line: bytes) -> None:
        """Add a line; pass on what there is at the end of the header and when it is enough.

        Refusals that concern the header then come before the last line, after which ESMTP could no
        longer send them.
        """
        self._lines.append(line)
        self._octets += len(line) + 2
        ends_header = self._in_header and not line
        if ends_header:
            self._in_header = False
        if self._writing is None and (ends_header or self._octets >= PIECE_OCTETS):
            self._write()

    def _write(self) -> None:
        """Start to pass on what was gathered."""
        writing = self._writing = Deferred.fromCoroutine(self._pass_on())
        if writing.called:
            self._writing = None
            return
        self._hold(writing)

    def _hold(self, waiting: "Deferred[None]") -> None:
        """Read no further lines from the peer until a Deferred fires."""
        if waiting.called or not isinstance(self._protocol, smtp.SMTP):
            return
        transport: Any = self._protocol.transport
        transport.pauseProducing()

        def resume(result: object) -> object:
            transport.resumeProducing()
            return result

        waiting.addBoth(resume)

    async def _pass_on(self) -> None:
        """Write all lines to the delivery's transaction, also those that come meanwhile."""
        try:
            if self._transaction is None:
                begun: Any = await maybeDeferred(self._delivery.begin, self._envelope)
                if self._failure is not None:  # the connection was lost meanwhile
                    begun.abort()
                    return
                self._transaction = begun
            while self._lines and self._transaction is not None:
                piece = self._mended()
                held = self._transaction.write(piece) if piece else None
                if held is not None:
                    await held
        except Exception as error:
            self._give_up(reply_of(error))
        finally:
            self._writing = None

    def _mended(self) -> bytes:
        """Return the lines gathered so far, joined: with CRLF between, and without other CR or LF.

        ESMTP cuts lines at CRLF only, so a bare CR or LF is still in them.
        """
        piece = b"".join(line + b"\r\n" for line in self._lines)
        self._lines.clear()
        self._octets = 0
        self._mender.begin(len(piece))
        return self._mender.feed(piece)

    def _give_up(self, reply: Reply) -> None:
        """Store nothing; the peer gets this reply where ESMTP allows that."""
        if self._failure is None:
            self._failure = reply
        self._lines.clear()
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()

    async def _store(self) -> None:
        """Commit the message, and fire the result of each recipient's message."""
        async with self._lock:
            if self._writing is not None:
                await self._writing
            if not self.has_begun:
                self._begin()
            if self._failure is None:
                await self._pass_on()
            transaction, self._transaction = self._transaction, None
            if transaction is None:
                replies = [self._failure or LOCAL_ERROR] * len(self._messages)
            else:
                replies = await self._commit(transaction)
            self._answer(replies)

    async def _commit(self, transaction: IDeliveryTransaction) -> list[Reply]:
        """Return a reply for each recipient."""
        recipients = len(self._messages)
        try:
            committed: Any = await maybeDeferred(transaction.commit)
        except Exception as error:
            return [reply_of(error)] * recipients
        if len(committed) != recipients:
            _log.error("{count} replies for {of} recipients", count=len(committed), of=recipients)
            return [LOCAL_ERROR] * recipients
        return list(committed)

    def _answer(self, replies: list[Reply]) -> None:
        """Fire each message's result, or end the session if the peer is to come again.

        In the latter case ESMTP gets no result: it would send 550 after our 421.
        """
        temporary = next((each for each in replies if each.temporary), None)
        if temporary is not None and self._ended and isinstance(self._protocol, smtp.SMTP):
            transport: Any = self._protocol.transport
            self._protocol.sendCode(421, text_of(temporary).encode("ascii"))
            transport.loseConnection()
            return
        for message, reply in zip(self._messages, replies, strict=True):
            if message.result is None or message.result.called:
                continue
            if reply.positive:
                message.result.callback(text_of(reply))
            else:
                message.result.errback(server_error(reply))


@implementer(IMessageSMTP)
class RecipientMessage:
    """One recipient's message, as ESMTP knows it.

    Attributes:
        first_line: the first that it received; None before.
        result: what `eomReceived` returned; None before.
    """

    def __init__(self, shared: SharedMessage) -> None:
        """Create it, before the first line."""
        self.first_line: bytes | None = None
        self.result: Deferred[str] | None = None
        self._shared = shared

    def lineReceived(self, line: bytes) -> None:
        """Accept a line; see `IMessageSMTP`.

        Raises:
            SMTPServerError: the delivery does not want the message.
        """
        if self.first_line is None:
            self.first_line = line
        else:
            self._shared.line_received(self, line)

    def eomReceived(self) -> "Deferred[str]":
        """End the message; see `IMessageSMTP`.

        Returns:
            Fires once the message is stored for this recipient, and survives a power cut; fails
            with `SMTPServerError`. It never fires if the session was ended with 421.
        """
        if self.result is None:
            self.result = Deferred()
            self._shared.end_received()
        return self.result

    def connectionLost(self) -> None:
        """Forget the message, for all its recipients; see `IMessageSMTP`."""
        self._shared.lose()


def reply_of(error: Exception) -> Reply:
    """Return the reply for what a delivery raised; a fault, which no `Refusal` is, is logged."""
    if not isinstance(error, Refusal):
        _log.failure("a delivery failed", Failure(error))
    return reply_for(error)


def text_of(reply: Reply) -> str:
    """Return the text of a reply in ESMTP's form: ASCII, its enhanced code in front."""
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    text = "\n".join(prefix + line for line in reply.text)
    return text.encode("ascii", "replace").decode("ascii")


def server_error(reply: Reply) -> smtp.SMTPServerError:
    """Return the exception for a refusal of content; there ESMTP expects the text in octets."""
    return smtp.SMTPServerError(reply.code, text_of(reply).encode("ascii"))
