"""The order in which the parts of the daemon start and stop."""

from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from postroom.service.ordered_services import OrderedServices, Part


class OrderedServicesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[str] = []
        self.stopping: dict[str, Deferred[None]] = {}
        self.clock = Clock()
        self.services = OrderedServices(self.clock, limit_seconds=10)
        for name in ("store", "relay", "ports"):
            part = Part(name, self.noting(f"{name} starts"), self.stopper(name))
            self.services.addService(part)  # type: ignore[no-untyped-call]

    def noting(self, event: str) -> "NoteEvent":
        return NoteEvent(self.events, event)

    def stopper(self, name: str) -> "Stopper":
        self.stopping[name] = Deferred()
        return Stopper(self.events, f"{name} stops", self.stopping[name])

    def start_and_stop(self) -> "Deferred[None]":
        self.services.startService()  # type: ignore[no-untyped-call]
        self.events.clear()
        return self.services.stopService()

    def test_is_a_collection_of_services(self) -> None:
        verifyObject(IServiceCollection, self.services)
        self.assertEqual(self.services.getServiceNamed("relay").name, "relay")  # type: ignore[no-untyped-call]

    def test_starts_in_order(self) -> None:
        self.services.startService()  # type: ignore[no-untyped-call]
        self.assertEqual(self.events, ["store starts", "relay starts", "ports starts"])

    def test_each_stops_only_after_the_one_behind_it(self) -> None:
        stopped = self.start_and_stop()
        self.assertEqual(self.events, ["ports stops"])
        self.stopping["ports"].callback(None)
        self.assertEqual(self.events, ["ports stops", "relay stops"])
        self.stopping["relay"].callback(None)
        self.assertEqual(self.events, ["ports stops", "relay stops", "store stops"])
        self.assertNoResult(stopped)
        self.stopping["store"].callback(None)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertFalse(self.services.running)

    def test_a_failure_is_logged_and_the_next_one_is_stopped(self) -> None:
        stopped = self.start_and_stop()
        self.stopping["ports"].errback(OSError("no"))
        self.assertEqual(self.events[-1], "relay stops")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.stopping["relay"].callback(None)
        self.stopping["store"].callback(None)
        self.successResultOf(stopped)

    def test_one_that_does_not_stop_in_time_is_given_up(self) -> None:
        self.start_and_stop()
        self.clock.advance(9)
        self.assertEqual(self.events, ["ports stops"])
        self.clock.advance(1)
        self.assertEqual(self.events, ["ports stops", "relay stops"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class NoteEvent:
    """Notes an event when it is called."""

    def __init__(self, events: list[str], event: str) -> None:
        self._events = events
        self._event = event

    def __call__(self) -> object:
        self._events.append(self._event)
        return None


class Stopper(NoteEvent):
    """Notes the event, and returns a Deferred that the test fires."""

    def __init__(self, events: list[str], event: str, stopped: "Deferred[None]") -> None:
        super().__init__(events, event)
        self._stopped = stopped

    def __call__(self) -> object:
        super().__call__()
        return self._stopped
