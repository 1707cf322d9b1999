"""When certificates are ordered."""

import datetime
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.identity import Identity
from postroom.certificates.renewal import (
    LONGEST_LOOK_SECONDS,
    Attempts,
    Plan,
    read_attempts,
    write_attempts,
)
from postroom.certificates.self_signed import sign
from postroom.errors import UserError

NOW = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)
NAMES = ("mx.example.org", "mail.example.org")


def certificate(*names: str, days: int = 89) -> Identity:
    """Make one that began a day ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Identity([sign(key, names, NOW, NOW + days * DAY)], key, "")


def plan(attempts: Attempts | None = None, chance: float = 0.5) -> Plan:
    return Plan(NAMES, attempts or Attempts(), lambda: chance)


class DueTests(SynchronousTestCase):
    """After a start."""

    def due(self, identity: Identity | None, chance: float = 0.5) -> datetime.datetime | None:
        made = plan(chance=chance)
        made.look_at(identity, NOW)
        return made.due

    def test_what_is_missing_or_for_other_names_is_due_now(self) -> None:
        for identity in (
            None,
            certificate("mx.example.org"),
            certificate(*NAMES, "third.example.org"),
            certificate("other.example.org"),
        ):
            self.assertEqual(self.due(identity), NOW)

    def test_a_certificate_is_due_when_two_thirds_of_its_life_have_passed_or_soon_after(
        self,
    ) -> None:
        for days, life in ((89, 90), (5, 6)):
            begins = NOW - DAY
            for chance, least, most in ((0.0, 2 / 3, 2 / 3), (1.0, 2 / 3, 0.69)):
                due = self.due(certificate(*NAMES, days=days), chance)
                assert due is not None
                age = (due - begins) / (life * DAY)
                self.assertTrue(least - 0.001 < age < most + 0.001, age)

    def test_the_order_of_names_does_not_matter(self) -> None:
        due = self.due(certificate(*NAMES[::-1]))
        assert due is not None
        self.assertGreater(due, NOW)

    def test_a_look_is_never_more_than_an_hour_away(self) -> None:
        made = plan()
        made.look_at(certificate(*NAMES), NOW)
        self.assertEqual(made.seconds_until_due(NOW), LONGEST_LOOK_SECONDS)
        assert made.due is not None
        self.assertEqual(made.seconds_until_due(made.due - MINUTE), 60)
        self.assertEqual(made.seconds_until_due(made.due + DAY), 0)


class FailureTests(SynchronousTestCase):
    """Orders that fail."""

    def test_each_wait_is_twice_as_long_up_to_half_a_day(self) -> None:
        made = plan()
        waits = []
        for _ in range(9):
            made.failed(UserError("no"), NOW)
            assert made.due is not None
            waits.append((made.due - NOW) / MINUTE)
        self.assertEqual(waits, [10, 20, 40, 80, 160, 320, 640, 720, 720])

    def test_waits_differ_by_chance(self) -> None:
        for chance, minutes in ((0.0, 8), (1.0, 12)):
            made = plan(chance=chance)
            made.failed(UserError("no"), NOW)
            self.assertEqual(made.due, NOW + minutes * MINUTE)

    def test_thousands_of_failures_are_no_overflow(self) -> None:
        made = plan(Attempts(failures=100_000, error="no"))
        made.failed(UserError("no"), NOW)
        self.assertEqual(made.due, NOW + datetime.timedelta(hours=12))

    def test_a_new_start_waits_as_long(self) -> None:
        attempts = plan().failed(UserError("no"), NOW)
        made = plan(attempts)
        made.look_at(None, NOW + MINUTE)
        self.assertEqual(made.due, NOW + 10 * MINUTE)

    def test_a_promise_of_a_wrong_clock_is_cut(self) -> None:
        attempts = plan().failed(UserError("no"), NOW + 1000 * DAY)
        made = plan(attempts)
        made.look_at(None, NOW)
        assert made.due is not None
        self.assertLess(made.due, NOW + DAY)

    def test_success_ends_it(self) -> None:
        made = plan()
        for _ in range(5):
            made.failed(UserError("no"), NOW)
        attempts = made.succeeded(certificate(*NAMES), NOW)
        self.assertEqual((attempts.failures, attempts.error), (0, None))
        assert made.due is not None
        self.assertGreater(made.due, NOW + 50 * DAY)
        made.failed(UserError("no"), NOW)
        self.assertEqual(made.due, NOW + 10 * MINUTE)


class NoteTests(SynchronousTestCase):
    """The note of what was tried."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "attempts.json"

    def test_what_is_written_is_read(self) -> None:
        attempts = plan().failed(UserError("no:\nreally"), NOW)
        write_attempts(self.path, attempts)
        self.assertEqual(read_attempts(self.path), attempts)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_one_that_is_missing_or_damaged_says_that_nothing_was_tried(self) -> None:
        self.assertEqual(read_attempts(self.path), Attempts())
        for content in (
            b"",
            b"{",
            b"[]",
            b"\xff",
            b'{"what": 1}',
            json.dumps({"next": "tomorrow"}).encode(),
            json.dumps({"next": "2026-01-01T00:00:00"}).encode(),
            json.dumps({"failures": "5"}).encode(),
            json.dumps({"error": 5}).encode(),
            json.dumps({"last": 5}).encode(),
        ):
            self.path.write_bytes(content)
            self.assertEqual(read_attempts(self.path), Attempts(), content)
