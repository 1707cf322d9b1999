"""Tests for `postroom.server.connections`."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from postroom.server.connections import Connections, peer_key


class Stub:
    """A session that writes down what it is told."""

    def __init__(self, deadline: float = 1000, idle_since: float = 0, waits: bool = True) -> None:
        self.deadline = deadline
        self.idle_since = idle_since
        self.told: list[str] = []
        self._waits = waits

    def expire(self, now: float) -> None:
        self.told.append("expire")
        self.deadline = now + 10

    def shut_down(self) -> None:
        self.told.append("shut down")

    def cut_off(self) -> None:
        self.told.append("cut off")

    def expects_command(self) -> bool:
        return self._waits


class ConnectionsTests(SynchronousTestCase):
    """Tests for `Connections`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connections = Connections(self.clock, 10, 10)
        self.connections.start()
        self.addCleanup(self.connections.stop)

    def add(self, session: Stub, client: str = "192.0.2.1") -> Stub:
        self.connections.add(session, client)
        return session

    def test_sessions_are_counted_in_all_and_by_peer(self) -> None:
        one, two, three = Stub(), Stub(), Stub()
        self.add(one, "192.0.2.1")
        self.add(two, "192.0.2.1")
        self.add(three, "192.0.2.2")
        self.assertEqual(len(self.connections), 3)
        self.assertEqual(self.connections.count_from("192.0.2.1"), 2)
        for session, client in ((one, "192.0.2.1"), (two, "192.0.2.1"), (three, "192.0.2.2")):
            self.connections.remove(session, client)
            self.connections.remove(session, client)
        self.assertEqual(len(self.connections), 0)
        self.assertEqual(self.connections._by_peer, {})

    def test_an_ipv6_network_of_64_bits_is_one_peer(self) -> None:
        self.add(Stub(), "2001:db8::1")
        self.assertEqual(self.connections.count_from("2001:db8::ffff"), 1)
        self.assertEqual(self.connections.count_from("2001:db8:0:1::1"), 0)

    def test_full(self) -> None:
        for _ in range(9):
            self.add(Stub())
        self.assertFalse(self.connections.full)
        self.add(Stub())
        self.assertTrue(self.connections.full)

    def test_the_sweep_ends_what_has_waited_too_long(self) -> None:
        early, late = self.add(Stub(deadline=2)), self.add(Stub(deadline=5))
        self.clock.pump([1] * 3)
        self.assertEqual((early.told, late.told), (["expire"], []))
        self.clock.pump([1] * 3)
        self.assertEqual(late.told, ["expire"])

    def test_one_sessions_trouble_does_not_end_the_sweep(self) -> None:
        def fail(now: float) -> None:
            raise RuntimeError("trouble")

        bad, good = self.add(Stub(deadline=1)), self.add(Stub(deadline=3))
        bad.expire = fail  # type: ignore[method-assign]
        self.clock.pump([1] * 4)
        self.assertEqual(good.told, ["expire"])
        self.assertTrue(self.flushLoggedErrors(RuntimeError))

    def test_in_a_crowd_those_who_keep_it_waiting_go_first(self) -> None:
        idle, busy = self.add(Stub()), self.add(Stub(waits=False))
        for _ in range(6):
            self.add(Stub(idle_since=1000))
        self.clock.pump([1] * 30)
        self.assertEqual(idle.told, [])
        self.add(Stub(idle_since=1000))
        self.clock.pump([1])
        self.assertEqual((idle.told, busy.told), (["expire"], []))

    def test_in_a_crowd_there_are_still_ten_seconds(self) -> None:
        for _ in range(9):
            self.add(Stub(idle_since=5))
        idle = self.add(Stub())
        self.clock.pump([1] * 9)
        self.assertEqual(idle.told, [])
        self.clock.pump([1])
        self.assertEqual(idle.told, ["expire"])

    def test_draining_tells_every_session_and_waits_for_the_last(self) -> None:
        sessions = [self.add(Stub()) for _ in range(3)]
        drained = self.connections.drain()
        self.assertTrue(self.connections.draining)
        self.assertEqual([session.told for session in sessions], [["shut down"]] * 3)
        for session in sessions:
            self.assertNoResult(drained)
            self.connections.remove(session, "192.0.2.1")
        self.successResultOf(drained)

    def test_draining_without_sessions_is_done(self) -> None:
        self.successResultOf(self.connections.drain())

    def test_a_session_may_be_gone_before_it_was_told(self) -> None:
        session = self.add(Stub())
        session.shut_down = lambda: self.connections.remove(session, "192.0.2.1")  # type: ignore[method-assign]
        self.successResultOf(self.connections.drain())

    def test_whoever_is_left_is_cut_off(self) -> None:
        session = self.add(Stub())
        self.connections.drain()
        self.connections.abort()
        self.assertEqual(session.told, ["shut down", "cut off"])

    def test_the_sweep_may_be_stopped_twice(self) -> None:
        self.connections.stop()
        self.connections.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PeerTests(SynchronousTestCase):
    """Tests for `peer_key`."""

    def test_keys(self) -> None:
        for client, key in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("unix", "unix"),
        ):
            self.assertEqual(peer_key(client), key)
