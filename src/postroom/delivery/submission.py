"""The mail of those who have logged in: sent as themselves, with one author.

`SubmittedDelivery` is the avatar of a session that has logged in. It does what any delivery does,
and before that asks `postroom.delivery.sender_permission` about MAIL FROM, and, where the settings
want it, about the From and Sender fields. On a submission listener it completes the header
(`postroom.delivery.completion`).

Who controls the input: the peer; it is known who it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from postroom.delivery.authors import AuthorScan
from postroom.delivery.completion import Completion
from postroom.delivery.sender_permission import SenderPermission
from postroom.delivery.services import DeliveryServices
from postroom.delivery.session_delivery import SessionDelivery
from postroom.delivery.settings import SubmissionSettings
from postroom.envelope import Envelope, SessionFacts
from postroom.errors import Refusal
from postroom.interfaces import IDeliveryTransaction
from postroom.later import chain, result_of
from postroom.wire.replies import Reply, reply

NOT_YOUR_ADDRESS: Final = reply(553, "5.7.1", "You are not allowed to send as this address")
NOT_YOUR_NAME: Final = reply(550, "5.7.1", "The From or Sender field is not one of your addresses")
NO_NULL_SENDER: Final = reply(553, "5.7.1", "The null sender is not allowed: use your own address")


@dataclass(frozen=True, slots=True)
class SubmissionRules:
    """What submitted mail is judged by.

    Attributes:
        settings: the site's.
        permission: knows who may send as which address.
    """

    settings: SubmissionSettings
    permission: SenderPermission


class SubmittedDelivery(SessionDelivery):
    """The avatar of a session that has logged in."""

    def __init__(
        self, services: DeliveryServices, facts: SessionFacts, user: str, rules: SubmissionRules
    ) -> None:
        """Create the avatar of a user, with the rules."""
        super().__init__(services, facts, user)
        self._login = user
        self._rules = rules
        if facts.role == "submission":
            self._completion = Completion.by(rules.settings, services.settings.hostname)

    def validate_sender(self, envelope: Envelope) -> Any:
        """Refuse a sender that is somebody else: 553 5.7.1; see `ITransactionDelivery`.

        RFC 6409 s6.1
        """
        sender, settings = envelope.mail.reverse_path, self._rules.settings
        if sender is None:
            return super().validate_sender(envelope) if settings.null_sender else NO_NULL_SENDER
        if not settings.own_senders:
            return super().validate_sender(envelope)
        allowed = self._rules.permission.may_send_as(self._login, sender)
        return chain(allowed, self._sender_judged, envelope)

    def _sender_judged(self, allowed: bool, envelope: Envelope) -> Any:
        return super().validate_sender(envelope) if allowed else NOT_YOUR_ADDRESS

    def begin(self, envelope: Envelope) -> "IDeliveryTransaction | Deferred[IDeliveryTransaction]":
        """Check the authors in the header on the way; see `ITransactionDelivery`."""
        return chain(super().begin(envelope), self._watched)

    def _watched(self, transaction: IDeliveryTransaction) -> IDeliveryTransaction:
        scan = AuthorScan(self._services.settings.header_octets)
        return SubmittedMessage(transaction, scan, self._login, self._rules)


@implementer(IDeliveryTransaction)
class SubmittedMessage:
    """A message whose authors are judged before it is stored."""

    def __init__(
        self,
        transaction: IDeliveryTransaction,
        scan: AuthorScan,
        user: str,
        rules: SubmissionRules,
    ) -> None:
        """Create it, before the content."""
        self._transaction = transaction
        self._scan = scan
        self._user = user
        self._rules = rules

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """See `IDeliveryTransaction`.

        Raises:
            Refusal: 550 5.6.0 several From or Sender fields.
        """
        self._scan.feed(chunk)
        return self._transaction.write(chunk)

    def abort(self) -> None:
        """See `IDeliveryTransaction`."""
        self._transaction.abort()

    def commit(self) -> "Sequence[Reply] | Deferred[Sequence[Reply]]":
        """See `IDeliveryTransaction`.

        Raises:
            Refusal: 550 5.7.1 From or Sender is somebody else, or cannot be read.
        """
        try:
            self._scan.end()
        except BaseException:
            self._transaction.abort()
            raise
        if not self._rules.settings.own_authors:
            return self._transaction.commit()
        return Deferred.fromCoroutine(self._commit_if_own())

    async def _commit_if_own(self) -> Sequence[Reply]:
        try:
            for author in self._scan.authors():
                allowed = self._rules.permission.may_send_as(self._user, author)
                if not await result_of(allowed):
                    raise Refusal(NOT_YOUR_NAME)
        except BaseException:
            self._transaction.abort()
            raise
        return await result_of(self._transaction.commit())
