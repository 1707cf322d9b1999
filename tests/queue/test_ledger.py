"""Writing outcomes until the store has taken them."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from postroom.queue.ledger import Ledger
from postroom.queue.model import ClaimedRecipient, Done, Report
from tests.queue.samples import Content, new_message


def done(number: int) -> Done:
    return Done(ClaimedRecipient("id", number, new_message().recipients[0], 0))


class RecordingStore:
    """The one method of a store that a ledger uses."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int]] = []
        self.recorded: set[int] = set()
        self.poison: set[int] = set()
        self.waiting: list[Deferred[Sequence[object]]] | None = None

    def record(
        self, outcomes: Sequence[Done], reports: Sequence[Report] = ()
    ) -> Deferred[Sequence[object]]:
        numbers = [outcome.recipient.number for outcome in outcomes]
        self.calls.append((numbers, len(reports)))
        if self.poison & set(numbers):
            return fail(OSError("cannot be recorded"))
        self.recorded.update(numbers)
        if self.waiting is None:
            return succeed(())
        self.waiting.append(Deferred())
        return self.waiting[-1]


class LedgerTests(SynchronousTestCase):
    """Tests for batches and failures."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = RecordingStore()
        self.told: list[int] = []
        self.ledger = Ledger(self.store, self.clock, self.recorded)

    def recorded(self, outcomes: Sequence[Done], report: object, claimed: object) -> None:
        self.told.extend(outcome.recipient.number for outcome in outcomes)

    def test_what_gathers_during_a_commit_is_the_next_batch(self) -> None:
        self.store.waiting = []
        for number in range(5):
            self.ledger.enter([done(number)])
        self.assertEqual(self.store.calls, [([0], 0)])
        self.assertEqual(self.told, [])
        self.store.waiting[0].callback(())
        self.assertEqual(self.store.calls[1:], [([1, 2, 3, 4], 0)])
        self.assertEqual(self.told, [0])

    def test_a_report_is_recorded_with_its_own_outcomes_alone(self) -> None:
        self.store.waiting = []
        self.ledger.enter([done(0)])
        report = Report(new_message(sender=None), Content(b"x"))
        self.ledger.enter([done(1)])
        self.ledger.enter([done(2), done(3)], report)
        self.ledger.enter([done(4)])
        self.store.waiting[0].callback(())
        self.assertEqual(self.store.calls[1:], [([1, 4], 0), ([2, 3], 1)])

    def test_pauses_double_up_to_a_minute(self) -> None:
        self.store.poison = {0}
        self.ledger.enter([done(0)])
        pauses = []
        for _ in range(9):
            (call,) = self.clock.getDelayedCalls()
            pauses.append(call.getTime() - self.clock.seconds())
            self.clock.advance(pauses[-1])
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual(len(self.store.calls), 10)

    def test_one_that_cannot_be_recorded_does_not_block_the_others(self) -> None:
        self.store.waiting = []
        self.ledger.enter([done(0)])
        for number in range(1, 100):
            self.ledger.enter([done(number)])
        self.store.poison = {37}
        first, self.store.waiting = self.store.waiting, None
        first[0].callback(())
        self.clock.pump([1] * 1000)
        self.assertEqual(self.store.recorded, set(range(100)) - {37})
        self.assertEqual(self.ledger.backlog, 1)
        self.store.poison = set()
        self.clock.pump([1] * 61)
        self.assertEqual(sorted(self.told), list(range(100)))
        self.assertEqual(self.ledger.backlog, 0)

    def test_a_closed_ledger_leaves_nothing_running(self) -> None:
        self.store.poison = {0}
        self.ledger.enter([done(0)])
        self.ledger.close()
        self.ledger.enter([done(1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.store.calls), 1)
