"""Counts of what accounts send in a day, on either database."""

from typing import Any

from sqlalchemy import Engine, select
from twisted.trial.unittest import SynchronousTestCase

from postroom.database import migrate, open_database
from postroom.directory.sending_counts import SQLSendingCounts
from postroom.directory.tables import account_use
from postroom.envelope import AccountLimits
from tests.database.postgresql import new_postgresql_url
from tests.directory.support import InlinePool, InlineReactor, fresh_database

NOON = 20_000 * 86_400 + 43_200.0


class CountsContract:
    engine: Engine

    def make(self) -> None:
        self.now = NOON
        given: Any = (InlineReactor(), InlinePool())
        self.counts = SQLSendingCounts(self.engine, *given, lambda: self.now)

    def spend(
        self: Any, messages: int | None, recipients: int | None, now: int, address: str = "joe@a"
    ) -> bool:
        limits = AccountLimits(messages_per_day=messages, recipients_per_day=recipients)
        result: bool = self.successResultOf(self.counts.spend(address, limits, now))
        return result

    def test_messages_are_limited(self: Any) -> None:
        self.assertEqual([self.spend(2, None, 50) for _ in range(4)], [True, True, False, False])

    def test_recipients_are_limited_and_one_too_many_counts_nothing(self: Any) -> None:
        answers = [self.spend(None, 10, now) for now in (6, 5, 4, 1)]
        self.assertEqual(answers, [True, False, True, False])

    def test_each_account_has_its_own(self: Any) -> None:
        self.assertTrue(self.spend(1, None, 1))
        self.assertTrue(self.spend(1, None, 1, "ann@a"))

    def test_a_new_day_begins_at_midnight_and_the_old_one_is_forgotten(self: Any) -> None:
        self.assertTrue(self.spend(1, None, 1))
        self.now += 43_199
        self.assertFalse(self.spend(1, None, 1))
        self.now += 1
        self.assertTrue(self.spend(1, None, 1))
        with self.engine.connect() as connection:
            self.assertEqual(connection.scalars(select(account_use.c.day)).all(), [20_001])

    def test_counts_outlive_the_process(self: Any) -> None:
        self.assertTrue(self.spend(1, None, 1))
        self.make()
        self.assertFalse(self.spend(1, None, 1))


class SqliteTests(CountsContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        self.make()


class PostgresqlTests(CountsContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = open_database(new_postgresql_url())
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)
        self.make()
