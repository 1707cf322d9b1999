"""The realms, and the whole table of adapters.

The avatar that a portal with this realm returns for a session is its `SessionDelivery`. After a
login it may write to any domain; without one to local domains, and from the relay networks to any.

The avatars of another realm may provide Twisted's `IMessageDelivery` or `IMessageDeliveryFactory`
instead: adapters to `ITransactionDelivery` are registered here. For avatars of a third kind,
register one more.

A site may replace our deliveries by its own (`SiteRealm`), by the same adapters.

The other way round, `twisted.mail.smtp.ESMTP` asks a portal for `IMessageDelivery`. This realm
returns it, and there is an adapter to it from any `ITransactionDelivery`: so ESMTP delivers to our
Maildirs and our queue.

`twisted.mail.smtp` is a large module that only such avatars need: it is imported with the first of
them.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.components import registerAdapter
from zope.interface import Interface, implementer

from postroom.delivery.inquiries import DirectoryInquiries
from postroom.delivery.services import DeliveryServices
from postroom.delivery.session_delivery import SessionDelivery
from postroom.delivery.submission import SubmissionRules, SubmittedDelivery
from postroom.envelope import SessionFacts
from postroom.interfaces import IIdentified, IInquiries, ITransactionDelivery


@implementer(IRealm)
class MailRealm:
    """Makes the deliveries of sessions."""

    def __init__(
        self, services: DeliveryServices, submission: SubmissionRules | None = None
    ) -> None:
        """Create the realm.

        Args:
            services: for every session.
            submission: what the mail of those who have logged in is judged by; None for nothing.
        """
        self._services = services
        self._submission = submission

    def requestAvatar(
        self,
        avatarId: object,  # noqa: N803  # cred passes it by this name
        mind: object,
        *interfaces: type[Interface],
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        """Make a session's avatar.

        Args:
            avatarId: what the checker returned; cred's ``ANONYMOUS`` for a session without login.
            mind: the session's `SessionFacts`; only `ITransactionDelivery` needs it.
            interfaces: `ITransactionDelivery` or `IMessageDelivery` must be among them; if both
                are, it is the former.

        Raises:
            NotImplementedError: neither is; cred asks for this exception.

        RFC 4954 s4
        """
        user = _name_of(avatarId)
        if ITransactionDelivery in interfaces:
            if not isinstance(mind, SessionFacts):
                raise TypeError("the mind of a mail session is its SessionFacts")
            return ITransactionDelivery, self._delivery_for(mind, user), _logout
        if IMessageDelivery in interfaces:
            from postroom.delivery.esmtp_delivery import ESMTPDelivery

            # ESMTP has no mind: what is known of the session comes with each message.
            avatar = ESMTPDelivery(lambda facts: self._delivery_for(facts, user), user)
            return IMessageDelivery, avatar, _logout
        raise NotImplementedError("this realm has only ITransactionDelivery and IMessageDelivery")

    def _delivery_for(self, facts: SessionFacts, user: str | None) -> SessionDelivery:
        if user is None or self._submission is None:
            return SessionDelivery(self._services, facts, user)
        return SubmittedDelivery(self._services, facts, user, self._submission)


@implementer(IRealm)
class SiteRealm:
    """Returns the site's own delivery for every session, with or without a login."""

    def __init__(self, make_delivery: Callable[[], ITransactionDelivery]) -> None:
        """Create the realm with a function that returns the delivery of a session."""
        self._make_delivery = make_delivery

    def requestAvatar(
        self,
        avatarId: object,  # noqa: N803  # cred passes it by this name
        mind: object,
        *interfaces: type[Interface],
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        """Make a session's avatar; see `MailRealm.requestAvatar`.

        Raises:
            NotImplementedError: `ITransactionDelivery` is not among the interfaces.
        """
        if ITransactionDelivery not in interfaces:
            raise NotImplementedError("this realm has only ITransactionDelivery")
        delivery, user = self._make_delivery(), _name_of(avatarId)
        if user is None or IIdentified.providedBy(delivery):
            return ITransactionDelivery, delivery, _logout
        return ITransactionDelivery, _IdentifiedAvatar(delivery, user), _logout


@implementer(IIdentified)
class _IdentifiedAvatar:
    """Wraps a delivery that does not know itself who has logged in."""

    def __init__(self, delivery: ITransactionDelivery, user: str) -> None:
        self.delivery = delivery
        self._user = user

    def identity(self) -> str:
        """See `IIdentified`."""
        return self._user


def _name_of(avatar_id: object) -> str | None:
    """Return the name that a checker returned; checkers do not agree on bytes or text."""
    if avatar_id == ANONYMOUS:
        return None
    return avatar_id.decode("utf-8", "replace") if isinstance(avatar_id, bytes) else str(avatar_id)


def _logout() -> None:
    """Nothing outlives the session."""


def _adapt_delivery(delivery: Any) -> Any:
    from postroom.delivery.twisted_adapter import TwistedDelivery

    return TwistedDelivery(lambda: delivery)


def _adapt_factory(factory: Any) -> Any:
    from postroom.delivery.twisted_adapter import TwistedDelivery

    return TwistedDelivery(factory.getMessageDelivery)


def _adapt_for_esmtp(delivery: Any) -> Any:
    from postroom.delivery.esmtp_delivery import ESMTPDelivery

    identified = IIdentified.providedBy(delivery)
    return ESMTPDelivery(lambda _: delivery, delivery.identity() if identified else None)


registerAdapter(DirectoryInquiries, SessionDelivery, IInquiries)
registerAdapter(_adapt_delivery, IMessageDelivery, ITransactionDelivery)
registerAdapter(_adapt_factory, IMessageDeliveryFactory, ITransactionDelivery)
registerAdapter(attrgetter("delivery"), _IdentifiedAvatar, ITransactionDelivery)
registerAdapter(_adapt_for_esmtp, ITransactionDelivery, IMessageDelivery)
