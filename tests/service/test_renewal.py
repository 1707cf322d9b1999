"""Orders of certificates in the daemon, on a clock that we turn; orders are the tests' own."""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates import acme
from postroom.certificates.challenges import Challenges
from postroom.certificates.identity import Identity, write_private
from postroom.certificates.renewal import read_attempts
from postroom.certificates.self_signed import sign
from postroom.errors import UserError
from postroom.service.acme import note_file, request_file
from postroom.service.renewal import PATIENCE_SECONDS, Renewal
from postroom.service.settings import load_settings
from postroom.service.tls import now
from tests.certificates.test_renewal import DAY

NAME = "mx.example.org"


def certificate(*names: str, days: int) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    return Identity([sign(key, names, now(), now() + days * DAY)], key, "new.pem")


class Reactor(Clock):
    """A clock; calls from threads wait until `settle`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        self._calls.put(lambda: call(*args))

    def settle(self) -> None:
        """Wait for a thread's call, and make it."""
        self._calls.get(timeout=20)()


class FakeOrder:
    """An order that ends as the test says, when it says so."""

    def __init__(self, outcome: object, ends: threading.Event) -> None:
        self._outcome, self._ends = outcome, ends
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> Identity:
        self._ends.wait(20)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert isinstance(self._outcome, Identity)
        return self._outcome


class RenewalTests(SynchronousTestCase):
    """Tests for `Renewal`."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        (folder / "state" / "acme").mkdir(parents=True)
        path = folder / "p.toml"
        path.write_text(
            f'state_dir = "state"\n[tls.acme]\ndomains = ["{NAME}"]\nagree_to_terms = true\n'
        )
        self.settings = load_settings(path, {})
        self.file = folder / "state" / "acme" / "certificate.pem"
        self.reactor = Reactor()
        self.ends = threading.Event()
        self.ends.set()
        self.outcome: object = certificate(NAME, days=89)
        self.orders: list[FakeOrder] = []
        self.news = 0
        self.patch(acme, "Order", self.order)

    def order(self, *_: object) -> FakeOrder:
        made = FakeOrder(self.outcome, self.ends)
        self.orders.append(made)
        return made

    def start(self) -> Renewal:
        reactor: Any = self.reactor
        made = Renewal(reactor, self.settings, Challenges(), None, self.heard)
        made.start()
        return made

    def heard(self) -> None:
        self.news += 1

    def test_what_is_missing_is_ordered_at_once_and_told(self) -> None:
        self.start()
        self.reactor.advance(0)
        self.reactor.settle()
        self.assertEqual((len(self.orders), self.news), (1, 1))
        self.assertIsNone(read_attempts(note_file(self.settings)).error)

    def test_what_is_good_is_not(self) -> None:
        write_private(self.file, certificate(NAME, days=89).pem())
        self.start()
        self.reactor.advance(0)
        self.reactor.pump([3600.0] * 48)
        self.assertEqual(self.orders, [])

    def test_a_failure_is_tried_again_in_its_time(self) -> None:
        self.outcome = UserError("no")
        self.start()
        self.reactor.advance(0)
        self.reactor.settle()
        self.assertEqual((len(self.orders), self.news), (1, 0))
        note = read_attempts(note_file(self.settings))
        self.assertEqual((note.error, note.failures), ("no", 1))
        self.reactor.advance(400)
        self.assertEqual(len(self.orders), 1)
        (call,) = self.reactor.getDelayedCalls()
        self.assertLessEqual(call.getTime() - self.reactor.seconds(), 12 * 60)

    def test_a_request_is_taken_once_and_begins_one_order(self) -> None:
        write_private(self.file, certificate(NAME, days=89).pem())
        renewal = self.start()
        request_file(self.settings).touch()
        self.assertEqual([renewal.take_request(), renewal.take_request()], [True, False])
        self.ends.clear()
        for _ in range(3):
            renewal.renew_now()
        self.ends.set()
        self.reactor.settle()
        self.assertEqual((len(self.orders), self.news), (1, 1))

    def test_an_order_without_end_is_given_up_and_what_comes_of_it_is_no_matter(self) -> None:
        self.ends.clear()
        self.start()
        self.reactor.advance(0)
        with capturedLogs() as events:
            self.reactor.advance(PATIENCE_SECONDS)
        self.assertIn("no end in 900 seconds", formatEvent(events[0]))
        self.assertTrue(self.orders[0].stopped)
        (call,) = self.reactor.getDelayedCalls()
        self.assertGreater(call.getTime() - self.reactor.seconds(), 7 * 60)
        self.ends.set()
        self.reactor.settle()
        self.assertEqual(self.news, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [call])

    def test_what_nobody_foresaw_is_a_failure_like_others(self) -> None:
        self.outcome = ZeroDivisionError("what")
        self.start()
        self.reactor.advance(0)
        self.reactor.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_stopping_leaves_no_timer_and_tells_the_order(self) -> None:
        self.ends.clear()
        renewal = self.start()
        self.reactor.advance(0)
        self.successResultOf(renewal.stop())
        self.assertTrue(self.orders[0].stopped)
        self.ends.set()
        self.reactor.settle()
        self.assertEqual((self.news, self.reactor.getDelayedCalls()), (0, []))

    def test_authorities_that_cannot_be_read_are_told_at_the_start(self) -> None:
        for content, why in (
            ("junk", "no PEM certificate in it"),
            (None, "cannot be read: No such"),
        ):
            path = self.file.parent / "ca.pem"
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
            section = replace(self.settings.tls.acme, ca_file=path)
            tls = replace(self.settings.tls, acme=section)
            self.settings = replace(self.settings, tls=tls)
            error = self.assertRaises(UserError, self.start)
            self.assertIn(f"tls.acme.ca_file {path}: {why}", str(error))
