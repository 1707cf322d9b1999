"""The delivery of one message over one connection: its transactions, one after the other.

A `HostDelivery` decides what is sent: which recipients come next, with which parameters
(`postroom.client.esmtp_parameters`), and how the content is encoded. It keeps to the host's limits,
and touches no transport. When a transaction is over, its replies are stored in the message.

Invariants: a host never gets a RCPT for a recipient that it must not have the message for. Replies
that a recipient has got are kept whatever happens later.
"""

from collections.abc import Sequence

from postroom.client import failures
from postroom.client.esmtp_parameters import (
    ESMTPParameters,
    NextHop,
    hides_sender,
    parameters_for,
    rcpt_parameters,
    recipient_refusal,
    verdicts_for,
)
from postroom.client.outgoing_message import OutgoingMessage
from postroom.client.settings import ClientSettings
from postroom.errors import Refusal
from postroom.wire import encode
from postroom.wire.client_session import ClientSession, Transaction, Verdicts
from postroom.wire.encode import BinaryEncoder, DotEncoder, FoldingEncoder, TextEncoder
from postroom.wire.errors import LocalViolation
from postroom.wire.offers import NO_LIMITS, HostLimits
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply


class SessionUsage:
    """How much of its host's limits a session has used.

    Attributes:
        messages: how many MAIL commands were sent.
        domains: the domains of the recipients that were sent.

    RFC 9422 s4
    """

    __slots__ = ("domains", "messages")

    def __init__(self) -> None:
        """Create it for a new session."""
        self.messages = 0
        self.domains: set[bytes] = set()

    def is_exhausted(self, limits: HostLimits) -> bool:
        """Return whether no further MAIL may be sent."""
        return 0 < limits.messages <= self.messages


class HostDelivery:
    """The delivery of one message over one connection.

    Attributes:
        message: the message and its recipients.
        transaction: the present one; None before the first and between two.
        payload: the whole content, encoded, if it is one piece; else None.
        first: the first piece of the content, not encoded, if there are several.
        seven_bit: True if no 8-bit octet may be sent.
    """

    __slots__ = (
        "_from_null_sender",
        "_hop",
        "_indices",
        "_parameters",
        "_sent_parameters",
        "_settings",
        "_usage",
        "first",
        "message",
        "payload",
        "seven_bit",
        "transaction",
    )

    def __init__(
        self, message: OutgoingMessage, hop: NextHop, settings: ClientSettings, usage: SessionUsage
    ) -> None:
        """Create a delivery; `prepare` must be called next.

        Args:
            message: the message.
            hop: the host at the other end of the connection.
            settings: of the client.
            usage: of the connection.
        """
        self.message = message
        self.transaction: Transaction | None = None
        self.payload: bytes | None = None
        self.first = b""
        self.seven_bit = "8BITMIME" not in hop.capabilities and not settings.eight_bit_anyway
        self._hop = hop
        self._settings = settings
        self._usage = usage
        self._sent_parameters = False  # True once a recipient with parameters was sent
        self._indices: Sequence[int] = ()
        # The indices of recipients that get the message from the null sender.
        self._from_null_sender: frozenset[int] = frozenset()
        self._parameters: ESMTPParameters

    @property
    def chunked(self) -> bool:
        """True if the content goes by BDAT."""
        return self._parameters.chunked

    def encoder(self) -> TextEncoder:
        """Return a new encoder for the content."""
        if self._parameters.binary:
            return BinaryEncoder()
        encoder = TextEncoder() if self._parameters.chunked else DotEncoder()
        longest_line = self._settings.text_line_octets
        return FoldingEncoder(encoder, longest_line) if longest_line else encoder

    def prepare(self, first: bytes, now: float) -> None:
        """Check whether the message may be sent to the host, and for which recipients.

        Args:
            first: the content, or the first piece of it.
            now: POSIX time.

        Raises:
            Refusal: it may not.
        """
        outgoing = self.message.outgoing
        self._parameters = parameters_for(outgoing, first, self._hop, self._settings, now)
        replies = self.message.replies
        for index, rcpt in enumerate(outgoing.message.recipients):
            if (rcpt.parameters or not rcpt.forward_path.is_ascii) and replies[index] is None:
                replies[index] = recipient_refusal(rcpt, self._hop)
                if outgoing.message.sender is not None and hides_sender(rcpt, self._hop):
                    self._from_null_sender |= {index}
        if len(first) < outgoing.source.size_octets:
            self.first = first
            return
        encoder = self.encoder()
        try:
            self.payload = encoder.feed(first) + encoder.finish()
        except LocalViolation as error:
            raise Refusal(failures.unclean(str(error))) from None

    def transact(self, session: ClientSession) -> bytes:
        """Start a transaction for the recipients that come next.

        Returns:
            The commands to send; empty if the host accepts no more in this session, so that another
            connection is needed.

        Raises:
            LocalViolation: an address or a parameter cannot be sent.

        RFC 5321 s3.3, s4.5.3.1.8; RFC 9422 s4; RFC 3461 s5.2.2
        """
        # Most hosts announce no limits, and most recipients have no parameters: on that path
        # nothing is computed that is not sent.
        limits = self._hop.capabilities.limits
        if limits is NO_LIMITS:
            self._indices = self.message.undecided(self._settings.recipients_per_transaction)
        else:
            self._indices = self._next(limits)
            if not self._indices or self._usage.is_exhausted(limits):
                return b""
        envelope, parameters = self.message.outgoing.message, self._parameters
        sender = envelope.sender
        if self._from_null_sender:
            sender = self._sender_of_next(sender)
        rcpts = []
        for index in self._indices:
            rcpt = envelope.recipients[index]
            if rcpt.parameters:
                self._sent_parameters = True
                asked = rcpt_parameters(rcpt, self._hop, self._settings)
                rcpts.append(encode.rcpt(rcpt.forward_path, asked, parameters.utf8))
            else:
                rcpts.append(encode.rcpt(rcpt.forward_path, utf8=parameters.utf8))
            if limits.domains:
                self._usage.domains.add(rcpt.forward_path.domain.lower())
        verdicts = Verdicts.ONE
        if len(rcpts) > 1 or self._hop.lmtp:
            verdicts = verdicts_for(self._hop, len(rcpts), self._settings)
        mail_parameters = (
            parameters.mail | {"PRDR": None} if verdicts is Verdicts.ANNOUNCED else parameters.mail
        )
        mail = encode.mail(sender, mail_parameters)
        self.transaction = Transaction(mail, rcpts, parameters.chunked, verdicts)
        self._usage.messages += 1
        return session.begin(self.transaction)

    def _sender_of_next(self, sender: Mailbox | None) -> Mailbox | None:
        """Keep the chosen recipients that have the first one's sender; return that sender."""
        null_sender = self._indices[0] in self._from_null_sender
        self._indices = [
            index for index in self._indices if (index in self._from_null_sender) is null_sender
        ]
        return None if null_sender else sender

    def _next(self, limits: HostLimits) -> Sequence[int]:
        """Return the indices of undecided recipients that fit into our limits and the host's."""
        most = self._settings.recipients_per_transaction
        if limits.recipients:
            most = min(most, limits.recipients)
        if not limits.domains:
            return self.message.undecided(most)
        domains = set(self._usage.domains)
        chosen: list[int] = []
        for index in self.message.undecided(len(self.message.replies)):
            domain = self.message.outgoing.message.recipients[index].forward_path.domain.lower()
            if len(chosen) < most and (domain in domains or len(domains) < limits.domains):
                domains.add(domain)
                chosen.append(index)
        return chosen

    def settle(self, reply: Reply) -> None:
        """Assign a reply to every recipient of the present transaction that has none."""
        if self.transaction is not None:
            self.transaction.settle(reply)

    def keep_replies(self) -> None:
        """Store the transaction's replies in the message.

        Recipients beyond the host's own limit stay undecided if others were accepted: the next
        transaction follows at once, with fewer of them each time (RFC 5321 s4.5.3.1.10).
        """
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return
        progress = any(reply and reply.code < 400 for reply in transaction.replies)
        reports = not self._sent_parameters or "DSN" in self._hop.capabilities
        message = self.message
        for index, reply in zip(self._indices, transaction.replies, strict=True):
            if not (progress and reply is not None and _is_too_many(reply)):
                message.replies[index] = reply
                if not reports and reply is not None and reply.code < 400:
                    message.unaware |= {index}


def _is_too_many(reply: Reply) -> bool:
    """Return whether 452 means "too many recipients", not "mailbox full". RFC 3463 s3.6."""
    return reply.code == 452 and reply.enhanced in (None, "4.5.3")
