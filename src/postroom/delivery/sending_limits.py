"""What an account may send: the largest message, and how many messages and recipients a day.

The size is checked twice: at MAIL by what the client announces, and by what it is while the content
comes. The daily limits are checked before the content, by counts that outlive this process
(`ISendingCounts`). A message counts from then on, even if it is not stored in the end, so that
breaking off does not evade the limits. Most accounts have no limits, and cost a look-up in a dict.

Who controls the input: the peer, who has logged in; the administrator, the limits.
"""

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from postroom.envelope import UNLIMITED, Account, AccountLimits, Envelope
from postroom.errors import Refusal, Unavailable
from postroom.interfaces import IDeliveryTransaction, IDirectory, ISendingCounts
from postroom.later import chain, result_of
from postroom.revision_cache import RevisionCache
from postroom.wire.replies import Reply, reply

TOO_LARGE: Final = reply(552, "5.3.4", "The message exceeds your size limit")
ENOUGH_TODAY: Final = reply(451, "4.7.1", "Your daily sending limit is reached")
ACCOUNT_UNKNOWN: Final = reply(451, "4.4.3", "Cannot look your account up now, try again later")
_KEPT: Final = 10_000

Begun = IDeliveryTransaction | Deferred[IDeliveryTransaction]


class SendingLimits:
    """Holds those who have logged in to the limits of their accounts."""

    def __init__(self, directory: IDirectory, counts: ISendingCounts) -> None:
        """Create it from where limits are set and where messages are counted."""
        self._directory = directory
        self._counts = counts
        self._limits: RevisionCache[str, AccountLimits] = RevisionCache(directory.revision, _KEPT)

    def check_size(self, user: str, size_octets: int) -> "Reply | Deferred[Reply | None] | None":
        """Check the size that MAIL announces against the account's limit.

        Args:
            user: who has logged in.
            size_octets: as in MAIL; 0 if that has no SIZE.

        Raises:
            Refusal: 451 4.4.3, the directory is down.

        RFC 1870 s6.1
        """
        return chain(self._limits_of(user), _judge_size, size_octets)

    def begin(self, user: str, envelope: Envelope, begin: Callable[[], Begun]) -> Begun:
        """Count a message, and begin it if it may be sent.

        Args:
            user: who has logged in.
            envelope: complete.
            begin: begins the message.

        Raises:
            Refusal: 451 4.7.1, the account has sent enough today.
        """
        limits = self._limits_of(user)
        if limits is UNLIMITED:
            return begin()
        return Deferred.fromCoroutine(self._begin(user, limits, envelope, begin))

    async def _begin(
        self,
        user: str,
        known: "AccountLimits | Deferred[AccountLimits]",
        envelope: Envelope,
        begin: Callable[[], Begun],
    ) -> IDeliveryTransaction:
        limits = await result_of(known)
        counted = limits.messages_per_day is not None or limits.recipients_per_day is not None
        if counted and not await self._counts.spend(user, limits, len(envelope.recipients)):
            raise Refusal(ENOUGH_TODAY)
        transaction: IDeliveryTransaction = await result_of(begin())
        if limits.message_octets is None:
            return transaction
        return SizedMessage(transaction, limits.message_octets)

    def _limits_of(self, user: str) -> "AccountLimits | Deferred[AccountLimits]":
        known = self._limits.get(user)
        if known is not None:
            return known
        return Deferred.fromCoroutine(self._look_up(user))

    async def _look_up(self, user: str) -> AccountLimits:
        revision = self._limits.revision()
        try:
            found = await maybeDeferred(self._directory.find_address, user)
        except Unavailable:
            raise Refusal(ACCOUNT_UNKNOWN) from None
        limits = found.limits if isinstance(found, Account) else UNLIMITED
        if limits == UNLIMITED:
            limits = UNLIMITED  # this one, so that it is known at sight
        self._limits.keep(user, limits, revision)
        return limits


def _judge_size(limits: AccountLimits, size_octets: int) -> Reply | None:
    largest = limits.message_octets
    return TOO_LARGE if largest is not None and size_octets > largest else None


@implementer(IDeliveryTransaction)
class SizedMessage:
    """A message that may not grow beyond a size."""

    def __init__(self, transaction: IDeliveryTransaction, largest_octets: int) -> None:
        """Create it, before the content."""
        self._transaction = transaction
        self._left = largest_octets

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """See `IDeliveryTransaction`.

        Raises:
            Refusal: 552 5.3.4 it is too large.
        """
        self._left -= len(chunk)
        if self._left < 0:
            raise Refusal(TOO_LARGE)
        return self._transaction.write(chunk)

    def commit(self) -> "Sequence[Reply] | Deferred[Sequence[Reply]]":
        """See `IDeliveryTransaction`."""
        return self._transaction.commit()

    def abort(self) -> None:
        """See `IDeliveryTransaction`."""
        self._transaction.abort()
