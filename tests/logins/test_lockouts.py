"""Lock-outs in the database."""

import time

from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.logins import lockouts
from postroom.logins.guard import LOCKED_OUT, GuardSettings, Lockout, LoginGuard
from tests.directory.support import InlinePool, InlineReactor, fresh_database

SETTINGS = GuardSettings(failures_of_account=2, lockout_seconds=600)


class LockoutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        self.now = float(int(time.time()))
        self.reactor = InlineReactor()

    def daemon(self) -> LoginGuard:
        """Give the guard of one more process."""
        guard = LoginGuard(SETTINGS, time.time, str, lambda _: False, "a.example")
        shared = lockouts.SharedLockouts(
            guard,
            self.engine,
            self.reactor,  # type: ignore[arg-type]
            InlinePool(),  # type: ignore[arg-type]
        )
        shared.start()
        self.addCleanup(shared.stop)
        return guard

    def lock(self, guard: LoginGuard, name: bytes = b"joe") -> None:
        for _ in range(2):
            guard.failed("192.0.2.1", name)

    def is_locked(self, guard: LoginGuard) -> bool:
        return guard.refusal("192.0.2.1", b"joe") is LOCKED_OUT

    def test_one_process_locks_out_for_all_and_over_a_restart(self) -> None:
        one, other = self.daemon(), self.daemon()
        self.lock(one)
        self.assertTrue(self.is_locked(one))
        self.assertFalse(self.is_locked(other))
        self.reactor.advance(1)
        self.assertTrue(self.is_locked(other))
        self.assertTrue(self.is_locked(self.daemon()))

    def test_whoever_is_cleared_may_try_again_within_a_second(self) -> None:
        guard = self.daemon()
        self.lock(guard)
        self.reactor.advance(1)
        self.assertEqual(
            lockouts.clear_lockouts(self.engine, ["JOE@a.example"]), ("account:joe@a.example",)
        )
        self.assertTrue(self.is_locked(guard))
        self.reactor.advance(1)
        self.assertFalse(self.is_locked(guard))

    def test_what_is_over_is_neither_listed_nor_kept(self) -> None:
        over = Lockout("account:old@a.example", 9, self.now - 100, self.now - 50)
        lockouts.add_lockout(self.engine, over)
        self.assertEqual(lockouts.list_lockouts(self.engine, self.now), ())
        lasting = Lockout("address:192.0.2.1", 9, self.now, self.now + 50)
        lockouts.add_lockout(self.engine, lasting)
        lockouts.add_lockout(self.engine, lasting)
        self.assertEqual(lockouts.list_lockouts(self.engine, 0), (lasting,))

    def test_clearing_somebody_who_is_not_locked_out_clears_nobody(self) -> None:
        lasting = Lockout("address:192.0.2.1", 9, self.now, self.now + 500)
        lockouts.add_lockout(self.engine, lasting)
        error = self.assertRaises(
            UserError, lockouts.clear_lockouts, self.engine, ["192.0.2.1", "192.0.2.2"]
        )
        self.assertIn("192.0.2.2 is not locked out", str(error))
        self.assertEqual(lockouts.list_lockouts(self.engine, self.now), (lasting,))
        self.assertEqual(lockouts.clear_lockouts(self.engine, None), ("address:192.0.2.1",))

    def test_trouble_with_the_database_is_logged_once_and_forgives_nobody(self) -> None:
        guard = self.daemon()
        self.lock(guard)
        self.reactor.advance(1)
        for name in ("lockout", "lockout_revision"):
            with self.engine.begin() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO lost_{name}")
        self.reactor.pump([1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertTrue(self.is_locked(guard))
        self.lock(guard, b"zoe")
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertIs(guard.refusal("192.0.2.9", b"zoe"), LOCKED_OUT)
