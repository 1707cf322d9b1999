"""The avatar: what one session, logged in or not, may do with mail.

MAIL is checked against the account's limits, RCPT against the route of its recipient: whether the
session may relay, whether it may write to an alias, whether a mailbox has room. At DATA the routes
of all recipients are merged (`postroom.delivery.copies`), and a transaction accepts the content
(`postroom.delivery.transaction`).

Who controls the input: the peer, the envelope; the directory, the routes.
"""

from typing import Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from postroom.delivery.completion import Completion
from postroom.delivery.copies import Copies
from postroom.delivery.expansion import Route
from postroom.delivery.routing import Resolved
from postroom.delivery.services import DeliveryServices
from postroom.delivery.transaction import DiscardedMessage, MessageTransaction
from postroom.envelope import Envelope, SessionFacts
from postroom.interfaces import IDeliveryTransaction, IIdentified, ITransactionDelivery
from postroom.later import chain
from postroom.networks import in_networks
from postroom.wire.commands import Rcpt
from postroom.wire.parameters import RRVS
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

RELAYING_DENIED: Final = reply(550, "5.7.1", "Relaying denied")
LITERAL_ELSEWHERE: Final = reply(550, "5.1.2", "Mail for address literals is not relayed")
OWNER_CHANGED: Final = reply(550, "5.7.17", "The mailbox has changed its owner since then")
NOT_A_WRITER: Final = reply(550, "5.7.1", "You are not allowed to write to this address")


@implementer(ITransactionDelivery, IIdentified)
class SessionDelivery:
    """The avatar: what one session, logged in or not, may do with mail."""

    def __init__(self, services: DeliveryServices, facts: SessionFacts, user: str | None) -> None:
        """Decide once whether this session may write to other domains.

        Args:
            services: shared.
            facts: the session's.
            user: who has logged in, None for an anonymous session.
        """
        self._services = services
        self._user = user
        self._completion: Completion | None = None
        self.may_relay = facts.role != "lmtp" and (
            user is not None or in_networks(facts.client, tuple(services.settings.relay_networks))
        )

    @property
    def services(self) -> DeliveryServices:
        """What all deliveries share."""
        return self._services

    def identity(self) -> str | None:
        """See `IIdentified`."""
        return self._user

    def validate_sender(self, envelope: Envelope) -> "Reply | Deferred[Reply | None] | None":
        """Accept any sender; refuse a message that is larger than the account may send.

        RFC 1870 s6.1
        """
        if self._user is None or self._services.sending is None:
            return None
        return self._services.sending.check_size(self._user, envelope.mail.size_octets)

    def validate_recipient(self, envelope: Envelope, rcpt: Rcpt) -> "Resolved | Deferred[Resolved]":
        """Find the recipient's route; see `ITransactionDelivery` and `Router.resolve`.

        RFC 5321 s3.6.2, s7.9
        """
        resolved = self._services.router.resolve(rcpt.forward_path)
        return chain(resolved, self._permit, envelope.mail.size_octets, rcpt)

    def begin(self, envelope: Envelope) -> "IDeliveryTransaction | Deferred[IDeliveryTransaction]":
        """Merge the routes; see `ITransactionDelivery`.

        Raises:
            Refusal: 451 4.7.1, the account has sent enough today.
        """
        if self._user is None or self._services.sending is None:
            return self._begin(envelope)
        return self._services.sending.begin(self._user, envelope, lambda: self._begin(envelope))

    def _begin(self, envelope: Envelope) -> "IDeliveryTransaction | Deferred[IDeliveryTransaction]":
        copies = Copies.of(envelope)
        if not copies:
            return DiscardedMessage(envelope)
        if not copies.forwarded:
            sender = envelope.mail.reverse_path
            return self._transaction(envelope, copies, sender)
        return Deferred.fromCoroutine(self._begin_forwarding(envelope, copies))

    async def _begin_forwarding(self, envelope: Envelope, copies: Copies) -> IDeliveryTransaction:
        sender = await self._services.router.forwarding_sender(envelope.mail.reverse_path)
        return self._transaction(envelope, copies, sender)

    def _transaction(
        self, envelope: Envelope, copies: Copies, forwarding_sender: Mailbox | None
    ) -> "MessageTransaction":
        return MessageTransaction(
            self._services, envelope, copies, forwarding_sender, self.may_relay, self._completion
        )

    def _permit(
        self, resolved: Resolved, size_octets: int, rcpt: Rcpt
    ) -> "Resolved | Deferred[Resolved]":
        if not isinstance(resolved, Route):
            return resolved
        if rcpt.parameters and _has_changed_owner(resolved, rcpt):
            return OWNER_CHANGED
        if resolved.foreign and not self.may_relay:
            return RELAYING_DENIED
        if resolved.foreign and rcpt.forward_path.is_literal:
            return LITERAL_ELSEWHERE
        if not resolved.admits(self._user):
            return NOT_A_WRITER
        if not resolved.accounts or resolved.queued or resolved.forwarded:
            return resolved
        if self._services.settings.hands_over:  # whose quotas are known there alone
            return resolved
        refusal = self._services.quotas.refusal(resolved.accounts, size_octets)
        if refusal is None:  # as nearly always
            return resolved
        return chain(refusal, lambda reply: resolved if reply is None else reply)


def _has_changed_owner(route: Route, rcpt: Rcpt) -> bool:
    """Return whether an address went to another account after the sender last knew it.

    The age of aliases is not known, nor that of the accounts of some sources.

    RFC 7293 s4, s5
    """
    since = RRVS.of(rcpt.parameters)
    if since is None:
        return False
    address = str(rcpt.forward_path).lower()
    return any(
        account.created_at is not None
        and account.created_at > since.time
        and address in (account.address, *account.addresses)
        for account in route.accounts
    )
