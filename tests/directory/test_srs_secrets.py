"""The secrets of rewritten senders: made, rotated, known to all nodes."""

from sqlalchemy.exc import OperationalError
from twisted.trial.unittest import SynchronousTestCase

from postroom.directory.srs_secrets import (
    DAY_SECONDS,
    READ_SECONDS,
    SETTLE_SECONDS,
    Rotation,
    SRSSecrets,
    read_secrets,
)
from tests.directory.support import InlinePool, InlineReactor, fresh_database

ROTATION = Rotation(rotation_days=90, lifetime_days=21)


class ReadingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        self.now = 1_800_000_000.0

    def read(self, days: float = 0, rotation: Rotation = ROTATION) -> tuple[bytes, ...]:
        self.now += days * DAY_SECONDS
        return read_secrets(self.engine, rotation, self.now)

    def test_the_first_signs_at_once_and_stays(self) -> None:
        first = self.read()
        self.assertEqual((len(first), len(first[0])), (1, 32))
        self.assertEqual(self.read(89), first)

    def test_a_new_one_is_known_before_it_signs(self) -> None:
        (old,) = self.read()
        both = self.read(91)
        self.assertEqual((both[0], len(both)), (old, 2))
        self.now += SETTLE_SECONDS
        self.assertEqual(self.read(), (both[1], old))

    def test_an_old_one_goes_when_nothing_it_signed_is_answered_any_more(self) -> None:
        (old,) = self.read()
        self.read(91)
        self.assertIn(old, self.read(20))
        self.assertNotIn(old, self.read(71))

    def test_one_may_be_kept_for_ever(self) -> None:
        forever = Rotation(rotation_days=0)
        self.assertEqual(self.read(rotation=forever), self.read(5000, forever))


class DaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        self.reactor = InlineReactor()
        first = read_secrets(self.engine, ROTATION, 0)
        self.secrets = SRSSecrets(
            self.engine,
            ROTATION,
            first,
            self.reactor,  # type: ignore[arg-type]
            InlinePool(),  # type: ignore[arg-type]
            self.reactor.seconds,
        )
        self.secrets.start()
        self.addCleanup(self.secrets.stop)

    def test_another_nodes_new_secret_is_taken_up_before_it_signs_there(self) -> None:
        self.assertLess(READ_SECONDS, SETTLE_SECONDS)
        read_secrets(self.engine, ROTATION, 91 * DAY_SECONDS)
        self.assertEqual(len(self.secrets()), 1)
        self.reactor.advance(READ_SECONDS)
        self.assertEqual(len(self.secrets()), 2)

    def test_a_database_that_is_down_leaves_what_is_known(self) -> None:
        before = self.secrets()
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE srs_secret RENAME TO lost")
        self.reactor.advance(READ_SECONDS)
        self.assertEqual(self.secrets(), before)
        self.assertEqual(len(self.flushLoggedErrors(OperationalError)), 1)
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE lost RENAME TO srs_secret")
        read_secrets(self.engine, ROTATION, 91 * DAY_SECONDS)
        self.reactor.advance(READ_SECONDS)
        self.assertEqual(len(self.secrets()), 2)
