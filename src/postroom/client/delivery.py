"""The delivery of one message over one connection: its transactions, one after the other.

A `HostDelivery` decides what is sent: which recipients come next, with which parameters
(`postroom.client.esmtp_parameters`), and how the content is encoded. It keeps to the host's limits,
and touches no transport. When a transaction is over, its replies are stored in the message.

Invariants: a recipient that the host must not have the message for is never named to it. Replies
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
    """What a session has used of its host's limits.

    Attributes:
        messages: MAIL commands sent.
        domains: different domains of recipients sent.

    RFC 9422 s4
    """

    __slots__ = ("domains", "messages")

    def __init__(self) -> None:
        """Begin with nothing used."""
        self.messages = 0
        self.domains: set[bytes] = set()

    def is_exhausted(self, limits: HostLimits) -> bool:
        """Return whether no further MAIL may be sent."""
        return 0 < limits.messages <= self.messages


class HostDelivery:
    """One attempt on one connection.

    Attributes:
        message: the message and its recipients.
        transaction: the running one.
        payload: the whole content as it is sent, if it is in one piece; else None.
        first: its first piece as it was read, if there are several.
        seven_bit: True if no 8-bit octet may be sent.
    """

    __slots__ = (
        "_asks",
        "_hop",
        "_parameters",
        "_places",
        "_quiet",
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
        """Take the parts; `prepare` comes next."""
        self.message = message
        self.transaction: Transaction | None = None
        self.payload: bytes | None = None
        self.first = b""
        self.seven_bit = "8BITMIME" not in hop.capabilities and not settings.eight_bit_anyway
        self._hop = hop
        self._settings = settings
        self._usage = usage
        self._asks = False  # True if a recipient has parameters
        self._places: Sequence[int] = ()
        self._quiet: frozenset[int] = frozenset()  # places that go from the null sender
        self._parameters: ESMTPParameters

    @property
    def chunked(self) -> bool:
        """True if the content goes by BDAT."""
        return self._parameters.chunked

    def encoder(self) -> TextEncoder:
        """Make what the content passes through."""
        if self._parameters.binary:
            return BinaryEncoder()
        encoder = TextEncoder() if self._parameters.chunked else DotEncoder()
        longest_line = self._settings.text_line_octets
        return FoldingEncoder(encoder, longest_line) if longest_line else encoder

    def prepare(self, first: bytes, now: float) -> None:
        """Look whether the message can be sent at all, and for whom.

        Args:
            first: the content, or the first piece of it.
            now: POSIX time.

        Raises:
            Refusal: it cannot.
        """
        outgoing = self.message.outgoing
        self._parameters = parameters_for(outgoing, first, self._hop, self._settings, now)
        replies = self.message.replies
        for place, rcpt in enumerate(outgoing.message.recipients):
            if (rcpt.parameters or not rcpt.forward_path.is_ascii) and replies[place] is None:
                replies[place] = recipient_refusal(rcpt, self._hop)
                if outgoing.message.sender is not None and hides_sender(rcpt, self._hop):
                    self._quiet |= {place}
        if len(first) < outgoing.source.size_octets:
            self.first = first
            return
        encoder = self.encoder()
        try:
            self.payload = encoder.feed(first) + encoder.finish()
        except LocalViolation as error:
            raise Refusal(failures.unclean(str(error))) from None

    def transact(self, session: ClientSession) -> bytes:
        """Begin a transaction for the recipients that come next.

        Returns:
            What to send; empty if the host takes no more in this session, so that another
            connection is needed.

        Raises:
            LocalViolation: an address or a parameter cannot be sent.

        RFC 5321 s3.3, s4.5.3.1.8; RFC 9422 s4; RFC 3461 s5.2.2
        """
        limits = self._hop.capabilities.limits
        if limits is NO_LIMITS:
            self._places = self.message.undecided(self._settings.recipients_per_transaction)
        else:
            self._places = self._next(limits)
            if not self._places or self._usage.is_exhausted(limits):
                return b""
        envelope, parameters = self.message.outgoing.message, self._parameters
        sender = self._sender_of_next(envelope.sender) if self._quiet else envelope.sender
        rcpts = []
        for place in self._places:
            rcpt = envelope.recipients[place]
            if rcpt.parameters:
                self._asks = True
                told = rcpt_parameters(rcpt, self._hop, self._settings)
                rcpts.append(encode.rcpt(rcpt.forward_path, told, parameters.utf8))
            else:
                rcpts.append(encode.rcpt(rcpt.forward_path, utf8=parameters.utf8))
            if limits.domains:
                self._usage.domains.add(rcpt.forward_path.domain.lower())
        verdicts = Verdicts.ONE
        if len(rcpts) > 1 or self._hop.lmtp:
            verdicts = verdicts_for(self._hop, len(rcpts), self._settings)
        told = (
            parameters.mail | {"PRDR": None} if verdicts is Verdicts.ANNOUNCED else parameters.mail
        )
        mail = encode.mail(sender, told)
        self.transaction = Transaction(mail, rcpts, parameters.chunked, verdicts)
        self._usage.messages += 1
        return session.begin(self.transaction)

    def _sender_of_next(self, sender: Mailbox | None) -> Mailbox | None:
        """Keep those of the chosen recipients that share the first one's sender; give that."""
        quiet = self._places[0] in self._quiet
        self._places = [place for place in self._places if (place in self._quiet) is quiet]
        return None if quiet else sender

    def _next(self, limits: HostLimits) -> Sequence[int]:
        """Choose the undecided recipients that fit into the limits, ours and the host's."""
        most = self._settings.recipients_per_transaction
        if limits.recipients:
            most = min(most, limits.recipients)
        if not limits.domains:
            return self.message.undecided(most)
        domains = set(self._usage.domains)
        chosen: list[int] = []
        for place in self.message.undecided(len(self.message.replies)):
            domain = self.message.outgoing.message.recipients[place].forward_path.domain.lower()
            if len(chosen) < most and (domain in domains or len(domains) < limits.domains):
                domains.add(domain)
                chosen.append(place)
        return chosen

    def settle(self, reply: Reply) -> None:
        """Give this reply to every recipient of the running transaction that has none."""
        if self.transaction is not None:
            self.transaction.settle(reply)

    def keep_replies(self) -> None:
        """Enter the transaction's replies into the message.

        Recipients beyond the host's own limit stay undecided if others went through: they go in
        another transaction at once, with fewer of them each time (RFC 5321 s4.5.3.1.10).
        """
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return
        progress = any(reply and reply.code < 400 for reply in transaction.replies)
        reports = not self._asks or "DSN" in self._hop.capabilities
        message = self.message
        for place, reply in zip(self._places, transaction.replies, strict=True):
            if not (progress and reply is not None and _is_too_many(reply)):
                message.replies[place] = reply
                if not reports and reply is not None and reply.code < 400:
                    message.unaware |= {place}


def _is_too_many(reply: Reply) -> bool:
    """Tell "too many recipients" from "mailbox full", which is 452 too. RFC 3463 s3.6."""
    return reply.code == 452 and reply.enhanced in (None, "4.5.3")
