"""What an account may send, and how much of it."""

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.delivery.sending_limits import (
    ACCOUNT_UNKNOWN,
    ENOUGH_TODAY,
    TOO_LARGE,
    SendingLimits,
    SizedMessage,
)
from postroom.envelope import Account, AccountLimits, Domain
from postroom.errors import Refusal, Unavailable
from postroom.interfaces import IDeliveryTransaction, ISendingCounts
from tests.delivery.support import MemoryDirectory, envelope

FREE = Account("free@here.example", "/free")
SMALL = Account("small@here.example", "/small", limits=AccountLimits(message_octets=100))
SOME = Account("some@here.example", "/some", limits=AccountLimits(messages_per_day=1))


@implementer(IDeliveryTransaction)
class Message:
    def __init__(self) -> None:
        self.content = b""

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def commit(self) -> list[Any]:
        return []

    def abort(self) -> None:
        self.content = b"aborted"


@implementer(ISendingCounts)
class Counts:
    def __init__(self) -> None:
        self.asked: list[tuple[str, AccountLimits, int]] = []
        self.answer = True

    def spend(self, address: str, limits: AccountLimits, recipients: int) -> "Deferred[bool]":
        self.asked.append((address, limits, recipients))
        return succeed(self.answer)


class SendingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = MemoryDirectory([Domain("here.example")], FREE, SMALL, SOME)
        self.counts = Counts()
        verifyObject(ISendingCounts, self.counts)
        self.sending = SendingLimits(self.directory, self.counts)
        self.message = Message()

    def size(self, account: Account, octets: int) -> object:
        asked = maybeDeferred(self.sending.check_size, account.address, octets)
        return self.successResultOf(asked)

    def begin(self, account: Account, recipients: int = 1) -> "Deferred[Any]":
        made = envelope(*((f"r{n}@there.example", None) for n in range(recipients)))
        return maybeDeferred(self.sending.begin, account.address, made, lambda: self.message)


class Sizes(SendingCase):
    def test_are_judged_when_they_are_announced(self) -> None:
        self.assertIsNone(self.size(SMALL, 100))
        self.assertEqual(self.size(SMALL, 101), TOO_LARGE)
        self.assertIsNone(self.size(FREE, 1_000_000))

    def test_are_judged_as_they_are(self) -> None:
        begun = self.successResultOf(self.begin(SMALL))
        verifyObject(IDeliveryTransaction, begun)
        begun.write(b"x" * 60)
        begun.write(b"x" * 40)
        self.assertEqual(self.assertRaises(Refusal, begun.write, b"x").reply, TOO_LARGE)
        self.assertEqual(len(self.message.content), 100)
        begun.abort()
        self.assertEqual(self.message.content, b"aborted")

    def test_a_message_that_is_small_enough_is_stored(self) -> None:
        begun = SizedMessage(self.message, 10)
        begun.write(b"x" * 10)
        self.assertEqual(begun.commit(), [])


class Counting(SendingCase):
    def test_is_for_accounts_with_a_limit_only(self) -> None:
        for account in (FREE, SMALL):
            self.successResultOf(self.begin(account))
        self.assertEqual(self.counts.asked, [])
        self.assertIs(self.successResultOf(self.begin(SOME, 3)), self.message)
        self.assertEqual(self.counts.asked, [(SOME.address, SOME.limits, 3)])

    def test_refuses_for_now_what_is_too_much(self) -> None:
        self.counts.answer = False
        failure = self.failureResultOf(self.begin(SOME), Refusal)
        self.assertEqual(failure.value.reply, ENOUGH_TODAY)
        self.assertTrue(ENOUGH_TODAY.temporary)


class LookingUp(SendingCase):
    def test_happens_once_and_again_after_a_change(self) -> None:
        for _ in range(3):
            self.size(FREE, 1)
            self.successResultOf(self.begin(FREE))
        self.assertEqual(self.directory.asked, [FREE.address])
        self.directory.entries[FREE.address] = Account(
            FREE.address, "/free", limits=AccountLimits(message_octets=1)
        )
        self.directory.number += 1
        self.assertEqual(self.size(FREE, 2), TOO_LARGE)

    def test_costs_no_deferred_where_it_is_known(self) -> None:
        self.size(FREE, 1)
        self.assertIsNone(self.sending.check_size(FREE.address, 1))
        self.assertIs(
            self.sending.begin(FREE.address, envelope(), lambda: self.message), self.message
        )

    def test_somebody_whom_the_directory_does_not_know_has_no_limits(self) -> None:
        self.assertIsNone(self.size(Account("plugin@there.example", "/"), 1_000_000))

    def test_a_directory_that_is_down_refuses_for_now(self) -> None:
        self.directory.down = Unavailable("down")
        asked = maybeDeferred(self.sending.check_size, FREE.address, 1)
        self.assertEqual(self.failureResultOf(asked, Refusal).value.reply, ACCOUNT_UNKNOWN)
