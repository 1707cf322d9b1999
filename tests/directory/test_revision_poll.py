"""A number that is read once a second."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from postroom.directory.revision_poll import RevisionPoll


class RevisionPollTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.number: object = 1
        self.changes = 0
        self.fault: Exception | None = None
        self.told: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").endswith("RevisionPoll"):
            self.told.append(formatEvent(event))

    def read(self) -> Deferred[object]:
        return fail(self.number) if isinstance(self.number, Exception) else succeed(self.number)

    def changed(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.changes += 1

    def poll(self, known: object = None, *, now: bool = True) -> RevisionPoll:
        poll = RevisionPoll("the number", self.clock, self.read, self.changed, known)
        poll.start(now=now)
        self.addCleanup(poll.stop)
        return poll

    def test_the_first_number_is_a_change(self) -> None:
        self.poll()
        self.assertEqual(self.changes, 1)

    def test_a_number_that_is_known_is_none(self) -> None:
        self.poll(known=1)
        self.assertEqual(self.changes, 0)

    def test_each_other_number_is_one_within_a_second(self) -> None:
        self.poll(now=False)
        self.assertEqual(self.changes, 0)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.changes, 1)
        self.number = 2
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.changes, 2)

    def test_a_change_that_could_not_be_followed_comes_again(self) -> None:
        self.fault = ValueError("not now")
        self.poll()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.fault = None
        self.clock.advance(1)
        self.assertEqual(self.changes, 1)

    def test_trouble_that_is_foreseen_is_one_line_and_so_is_its_end(self) -> None:
        self.poll(known=1)
        self.number = OSError("disk on fire")
        self.clock.pump([1, 1, 1])
        self.number = 1
        self.clock.pump([1, 1, 1])
        self.assertEqual(
            self.told, ["Cannot read the number: disk on fire", "Reading the number works again"]
        )
        self.assertEqual(self.changes, 0)

    def test_after_stop_nothing_is_read(self) -> None:
        self.poll().stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
