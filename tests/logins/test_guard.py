"""Guessing made slow."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from postroom.interfaces import ILoginGuard
from postroom.logins.guard import LOCKED_OUT, GuardSettings, Lockout, LoginGuard
from postroom.server.connections import peer_key

SETTINGS = GuardSettings(
    refusal_seconds=1,
    failures_before_delay=2,
    longest_delay_seconds=10,
    failures_of_account=5,
    failures_of_address=8,
    forget_seconds=100,
    lockout_seconds=60,
    remembered=50,
)
HERE, THERE = "192.0.2.1", "198.51.100.1"


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.stored: list[Lockout] = []
        self.guard = LoginGuard(
            SETTINGS, lambda: self.now, peer_key, lambda client: client == "127.0.0.1", "a.example"
        )
        self.guard.store = self.stored.append

    def fail_times(self, count: int, client: str = HERE, name: bytes = b"joe") -> list[float]:
        return [self.guard.failed(client, name) for _ in range(count)]

    def is_locked(self, client: str = HERE, name: bytes | None = b"joe") -> bool:
        return self.guard.refusal(client, name) is LOCKED_OUT

    def test_it_provides_its_interface(self) -> None:
        verifyObject(ILoginGuard, self.guard)

    def test_the_wait_grows_up_to_a_limit(self) -> None:
        clients = [f"192.0.2.{number}" for number in range(9)]
        waits = [self.guard.failed(client, b"joe") for client in clients]
        self.assertEqual(waits, [1, 1, 2, 4, 8, 1, 1, 2, 4])  # begun anew when locked out

    def test_no_wait_is_longer_than_the_longest(self) -> None:
        waits = [self.guard.failed(HERE, b"%d" % number) for number in range(7)]
        self.assertEqual(waits, [1, 1, 2, 4, 8, 10, 10])

    def test_a_name_is_locked_out_from_everywhere(self) -> None:
        self.fail_times(4)
        self.assertFalse(self.is_locked())
        self.fail_times(1, THERE)
        self.assertTrue(self.is_locked())
        self.assertTrue(self.is_locked("203.0.113.9"))
        self.assertFalse(self.is_locked(name=b"zoe"))
        self.assertFalse(self.is_locked(name=None))
        self.assertEqual(self.stored, [Lockout("account:joe@a.example", 5, 1000, 1060)])

    def test_every_way_to_write_a_name_counts_as_one(self) -> None:
        for name in (b"joe", b"JOE", b"joe@a.example", b"Joe@A.Example", b'"joe"@a.example'):
            self.fail_times(1, name=name)
        self.assertTrue(self.is_locked())

    def test_a_name_that_nobody_has_is_locked_out_like_any_other(self) -> None:
        for name in (b"\xff\0" * 4000, b"", b"a b@"):
            self.guard = LoginGuard(SETTINGS, lambda: self.now, peer_key, lambda _: False)
            self.fail_times(5, name=name)
            self.assertTrue(self.is_locked(name=name), name)

    def test_an_address_is_locked_out_for_every_name_at_once(self) -> None:
        for number in range(8):
            self.fail_times(1, name=b"%d" % number)
        self.assertTrue(self.is_locked(name=None))
        self.assertTrue(self.is_locked(name=b"joe"))
        self.assertFalse(self.is_locked(THERE))
        self.assertEqual(self.stored[-1].subject, "address:192.0.2.1")

    def test_an_ipv6_64_is_one_address(self) -> None:
        for number in range(8):
            self.fail_times(1, f"2001:db8::{number}", b"%d" % number)
        self.assertTrue(self.is_locked("2001:db8::ffff", None))
        self.assertFalse(self.is_locked("2001:db8:0:1::1", None))
        self.assertEqual(self.stored[-1].subject, "address:2001:db8::/64")

    def test_a_lockout_ends(self) -> None:
        self.fail_times(5)
        self.now += 59
        self.assertTrue(self.is_locked())
        self.now += 2
        self.assertFalse(self.is_locked())
        self.assertEqual(self.fail_times(1), [10])  # of the address, which is counted still

    def test_failures_are_forgotten(self) -> None:
        self.fail_times(4)
        self.now += 101
        self.assertEqual(self.fail_times(4), [1, 1, 2, 4])
        self.assertFalse(self.is_locked())

    def test_its_owner_gets_in_from_where_they_were_before(self) -> None:
        self.guard.succeeded(HERE, b"joe")
        self.fail_times(5, THERE)
        self.assertTrue(self.is_locked(THERE))
        self.assertFalse(self.is_locked(HERE))

    def test_trust_is_spent_by_failures(self) -> None:
        self.guard.succeeded(HERE, b"joe")
        self.fail_times(5)
        self.assertTrue(self.is_locked())

    def test_an_old_password_somewhere_does_not_lock_its_neighbours_out(self) -> None:
        self.guard.succeeded(HERE, b"joe")
        for _ in range(4):
            self.fail_times(1)
        for number in range(7):
            self.fail_times(1, name=b"%d" % number)
        self.assertFalse(self.is_locked(name=b"zoe"))
        self.fail_times(1, name=b"one more")
        self.assertTrue(self.is_locked(name=b"zoe"))

    def test_exempt_addresses_are_never_locked_out_and_wait_the_least(self) -> None:
        self.assertEqual(set(self.fail_times(100, "127.0.0.1")), {1})
        self.assertFalse(self.is_locked("127.0.0.1"))
        self.fail_times(5)
        self.assertFalse(self.is_locked("127.0.0.1"))

    def test_whoever_is_cleared_begins_anew(self) -> None:
        self.fail_times(5)
        self.guard.replace_lockouts({})
        self.assertFalse(self.is_locked())
        self.guard.replace_lockouts({"account:joe@a.example": 1060})
        self.assertTrue(self.is_locked())

    def test_counts_are_bounded(self) -> None:
        for number in range(1000):
            self.guard.failed(f"10.0.{number // 250}.{number % 250}", b"%d" % number)
            self.guard.succeeded(f"10.0.{number // 250}.{number % 250}", b"%d" % number)
        self.assertLessEqual(len(self.guard._failures), 50)
        self.assertLessEqual(len(self.guard._trusted), 50)

    @given(st.lists(st.tuples(st.sampled_from([HERE, THERE, "unix", "x"]), st.binary())))
    def test_any_name_from_anywhere_gets_a_wait_within_bounds(
        self, tries: list[tuple[str, bytes]]
    ) -> None:
        for client, name in tries:
            self.assertTrue(1 <= self.guard.failed(client, name) <= 10)
            self.guard.refusal(client, name)
