"""Several sources as one, and what is remembered of them."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from postroom.envelope import Account, Domain
from postroom.interfaces import IDirectory
from postroom.sources.source_chain import CachedDirectory, DirectoryChain
from tests.delivery.support import MemoryDirectory

A, B = Domain("a.example"), Domain("b.example")
JOE = Account("joe@a.example", "/first/joe")
OTHER_JOE = Account("joe@a.example", "/second/joe")
ANN = Account("ann@a.example", "/second/ann")


class InOrder(SynchronousTestCase):
    def setUp(self) -> None:
        self.first = MemoryDirectory([A], JOE)
        self.second = MemoryDirectory([Domain("a.example", "x@b.example"), B], OTHER_JOE, ANN)
        self.whole = DirectoryChain([self.first, self.second])
        verifyObject(IDirectory, self.whole)

    def test_the_first_that_knows_decides(self) -> None:
        found = self.successResultOf(self.whole.find_address("joe@a.example"))
        self.assertIs(found, JOE)
        self.assertEqual(self.second.asked, [])
        self.assertIs(self.successResultOf(self.whole.find_address("ann@a.example")), ANN)
        self.assertIs(self.successResultOf(self.whole.find_domain("a.example")), A)
        self.assertIs(self.successResultOf(self.whole.find_domain("b.example")), B)
        self.assertIsNone(self.successResultOf(self.whole.find_address("who@a.example")))

    def test_one_that_is_down_ends_the_look_up_though_a_later_one_would_know(self) -> None:
        self.first.down = OSError("down")
        self.failureResultOf(self.whole.find_address("ann@a.example"), OSError)
        self.failureResultOf(self.whole.find_domain("b.example"), OSError)
        self.assertEqual(self.second.asked, [])

    def test_one_that_is_down_does_not_matter_to_whom_an_earlier_one_knows(self) -> None:
        self.second.down = OSError("down")
        self.assertIs(self.successResultOf(self.whole.find_address("joe@a.example")), JOE)
        self.failureResultOf(self.whole.find_address("who@a.example"), OSError)

    def test_the_revision_changes_with_each(self) -> None:
        seen = {self.whole.revision()}
        for directory in (self.first, self.second, self.first):
            directory.number += 1
            seen.add(self.whole.revision())
        self.assertEqual(len(seen), 4)


class Remembering(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.directory = MemoryDirectory([A], JOE)
        self.cached = CachedDirectory(self.directory, self.clock, 60, 10)
        verifyObject(IDirectory, self.cached)
        self.cached.revision()

    def find(self, address: str) -> object:
        return self.successResultOf(self.cached.find_address(address))

    def test_what_there_is_is_asked_for_once_in_a_window(self) -> None:
        for _ in range(3):
            self.assertIs(self.find("joe@a.example"), JOE)
            self.assertIs(self.successResultOf(self.cached.find_domain("a.example")), A)
            self.clock.advance(19)
        self.assertEqual(self.directory.asked, ["joe@a.example", "a.example"])

    def test_what_changed_is_noticed_in_time_and_the_routing_told(self) -> None:
        before = self.cached.revision()
        self.find("joe@a.example")
        del self.directory.entries["joe@a.example"]
        self.clock.advance(59.9)
        self.assertIs(self.find("joe@a.example"), JOE)
        self.assertEqual(self.cached.revision(), before)
        self.clock.advance(0.1)
        self.assertNotEqual(self.cached.revision(), before)
        self.assertIsNone(self.find("joe@a.example"))

    def test_that_there_is_nobody_is_remembered_for_less(self) -> None:
        self.assertIsNone(self.find("new@a.example"))
        self.directory.entries["new@a.example"] = ANN
        self.clock.advance(9.9)
        self.assertIsNone(self.find("new@a.example"))
        self.clock.advance(0.1)
        self.assertIs(self.find("new@a.example"), ANN)

    def test_a_revision_of_the_source_forgets_all(self) -> None:
        before = self.cached.revision()
        self.find("joe@a.example")
        self.directory.number += 1
        self.assertNotEqual(self.cached.revision(), before)
        self.find("joe@a.example")
        self.assertEqual(self.directory.asked, ["joe@a.example"] * 2)

    def test_what_was_asked_before_a_change_is_not_remembered(self) -> None:
        self.directory.later = []
        asking = self.cached.find_address("joe@a.example")
        self.directory.number += 1
        self.directory.later.pop().callback(None)
        self.assertIs(self.successResultOf(asking), JOE)
        self.directory.later = None
        self.find("joe@a.example")
        self.assertEqual(len(self.directory.asked), 2)

    def test_a_failure_is_not_remembered(self) -> None:
        self.directory.down = OSError("down")
        self.failureResultOf(self.cached.find_address("joe@a.example"), OSError)
        self.directory.down = None
        self.assertIs(self.find("joe@a.example"), JOE)

    def test_nothing_may_be_remembered(self) -> None:
        cached = CachedDirectory(self.directory, self.clock, 0, 10)
        for _ in range(2):
            self.successResultOf(cached.find_address("joe@a.example"))
            self.successResultOf(cached.find_address("who@a.example"))
        self.assertEqual(len(self.directory.asked), 4)
