"""Many messages at once: reuse, limits, order, dead hosts, stopping."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.model import Destination
from tests.client.parts import CLOSE, SILENCE, SMARTHOST, TableResolver, World, outgoing

TWO = TableResolver({"d.example": [(1, "a"), (2, "b")]}, {"a": ["192.0.2.1"], "b": ["192.0.2.2"]})
DOMAIN = Destination("d.example")


class PoolCase(SynchronousTestCase):
    def code(self, sending) -> int:  # type: ignore[no-untyped-def]
        (reply,) = self.successResultOf(sending).replies
        return reply.code


class ReuseTests(PoolCase):
    def test_a_connection_serves_message_after_message_without_rset(self) -> None:
        world = World()
        for _ in range(5):
            self.assertEqual(self.code(world.send()), 250)
        (peer,) = world.peers
        self.assertEqual(
            [line.split()[0] for line in peer.commands], ["EHLO"] + ["MAIL", "RCPT", "DATA"] * 5
        )

    def test_a_connection_ends_with_quit_after_its_share_of_messages(self) -> None:
        world = World(messages_per_connection=2)
        for _ in range(5):
            self.assertEqual(self.code(world.send()), 250)
        self.assertEqual(len(world.peers), 3)
        self.assertEqual([peer.commands[-1] == "QUIT" for peer in world.peers], [True, True, False])

    def test_messages_go_side_by_side_up_to_the_limit_and_then_in_order(self) -> None:
        world = World(
            peers=lambda _: {"answers": {"CONTENT": [SILENCE]}}, connections_per_destination=3
        )
        sendings = [world.sender.send(SMARTHOST, outgoing(f"r{n}@x")) for n in range(6)]
        world.pump()
        self.assertEqual(len(world.peers), 3)
        for n in range(6):
            peer = world.peers[n % 3]
            self.assertIn(f"RCPT TO:<r{n}@x>", peer.commands[-2])
            peer.hung = False
            peer.hear(b"250 ok\r\n")
            world.pump()
            self.assertEqual(self.code(sendings[n]), 250)

    def test_destinations_do_not_share_connections(self) -> None:
        world = World(TWO)
        world.send()
        world.send(DOMAIN)
        self.assertEqual(len(world.peers), 2)

    def test_a_kept_connection_that_the_host_closed_costs_nothing(self) -> None:
        for gone in (CLOSE, "421 4.4.2 idle too long"):
            world = World(peers=lambda _, gone=gone: {"answers": {"MAIL": ["250 ok", gone]}})
            self.assertEqual([self.code(world.send()) for _ in range(2)], [250, 250])
            self.assertEqual(len(world.peers), 2)

    def test_a_kept_connection_that_hears_421_is_closed_and_not_used(self) -> None:
        world = World()
        world.send()
        world.peers[0].hear(b"421 4.3.2 restarting\r\n")
        self.assertTrue(world.peers[0].transport.closed)
        self.assertEqual(self.code(world.send()), 250)
        self.assertEqual(len(world.peers), 2)

    def test_connections_in_all_are_limited_and_idle_ones_make_room(self) -> None:
        hosts = {f"d{n}.example": [f"192.0.2.{n}"] for n in range(5)}
        world = World(TableResolver({}, hosts), connections=2)
        sendings = [world.sender.send(Destination(name), outgoing()) for name in hosts]
        world.pump()
        self.assertEqual([self.code(each) for each in sendings], [250] * 5)
        self.assertLessEqual(sum(not peer.transport.closed for peer in world.peers), 2)
        self.assertEqual(world.peers[0].commands[-1], "QUIT")

    def test_a_message_does_not_wait_for_a_connection_that_is_only_kept(self) -> None:
        hosts = {f"d{n}.example": [f"192.0.2.{n}"] for n in range(3)}
        world = World(TableResolver({}, hosts), connections=2)
        for name in hosts:
            self.assertEqual(self.code(world.send(Destination(name))), 250)

    def test_nothing_is_left_when_nothing_is_sent(self) -> None:
        world = World()
        for n in range(20):
            world.sender.send(SMARTHOST, outgoing(f"r{n}@x"))
        world.pump()
        world.advance(60)
        self.assertEqual(world.sender._lanes, {})
        self.assertEqual(world.sender._connections, 0)
        self.assertEqual(world.reactor.getDelayedCalls(), [])


class HostTests(PoolCase):
    def test_a_host_that_cannot_be_reached_is_passed_over_for_a_minute(self) -> None:
        alive = {"192.0.2.2": {}}
        world = World(TWO, alive.get, messages_per_connection=1)
        for _ in range(3):
            self.assertEqual(self.code(world.send(DOMAIN)), 250)
        self.assertEqual(world.addresses, ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"])
        world.advance(61)
        alive["192.0.2.1"] = {}
        world.send(DOMAIN)
        self.assertEqual(world.addresses[-1], "192.0.2.1")

    def test_a_thousand_messages_to_a_dead_host_cost_one_try(self) -> None:
        world = World(peers=lambda _: None, connections_per_destination=1)
        sendings = [world.sender.send(SMARTHOST, outgoing()) for _ in range(1000)]
        world.pump()
        world.advance(5)
        replies = {self.successResultOf(each).replies[0] for each in sendings}
        self.assertEqual({(each.code, each.enhanced) for each in replies}, {(451, "4.4.1")})
        self.assertEqual(len(world.addresses), 1)

    def test_refusal_is_permanent_only_if_every_host_says_so(self) -> None:
        for second, expected in (("554 5.7.1 no", 554), ("450 busy", 450), (None, 451)):
            how = {
                "192.0.2.1": {"answers": {"GREETING": "554 5.7.1 no service"}},
                "192.0.2.2": second and {"answers": {"GREETING": second}},
            }
            self.assertEqual(self.code(World(TWO, how.get).send(DOMAIN)), expected)

    def test_at_most_so_many_addresses_are_tried(self) -> None:
        hosts = {"d.example": [f"192.0.2.{n}" for n in range(20)]}
        world = World(TableResolver({}, hosts), lambda _: None, addresses_per_host=20, tries=4)
        self.assertEqual(self.code(world.send(DOMAIN)), 451)
        self.assertEqual(len(world.addresses), 4)

    def test_a_message_that_every_host_drops_ends(self) -> None:
        world = World(TWO, lambda _: {"answers": {"RCPT": CLOSE}})
        sending = world.send(DOMAIN)
        world.advance(10)
        self.assertEqual(self.code(sending), 451)
        self.assertEqual(world.addresses, ["192.0.2.1", "192.0.2.2"])

    def test_a_host_that_allows_one_connection_gets_all_messages_over_one_at_a_time(self) -> None:
        def describe(_: str) -> dict[str, object]:
            free = all(peer.transport.closed for peer in world.peers)
            return {"answers": {} if free else {"GREETING": "421 4.7.0 too many connections"}}

        world = World(peers=describe, connections_per_destination=10, messages_per_connection=5)
        self.assertEqual(self.code(world.send()), 250)
        sendings = [world.sender.send(SMARTHOST, outgoing(f"r{n}@x")) for n in range(30)]
        world.pump()
        world.advance(5)
        self.assertEqual({self.code(each) for each in sendings}, {250})

    def test_a_message_that_breaks_connections_does_not_break_them_all(self) -> None:
        world = World(connections_per_destination=5)
        for each in [world.sender.send(SMARTHOST, outgoing()) for _ in range(5)]:
            world.pump()
            self.assertEqual(self.code(each), 250)
        for peer in world.peers:
            peer.answers["RCPT"] = CLOSE
        world._describe = lambda _: {"answers": {"RCPT": CLOSE}}
        self.assertEqual(self.code(world.send()), 451)
        self.assertEqual(sum(not peer.transport.closed for peer in world.peers), 4)

    def test_the_source_address_is_of_the_targets_family(self) -> None:
        world = World(source_addresses=("198.51.100.7", "2001:db8::7"))
        world.sender.send(SMARTHOST, outgoing())
        self.assertEqual(world.reactor.tcpClients[0][4], ("198.51.100.7", 0))


class StopTests(PoolCase):
    def test_stopping_finishes_what_runs_and_gives_back_what_waits(self) -> None:
        world = World(
            peers=lambda _: {"answers": {"CONTENT": SILENCE}}, connections_per_destination=1
        )
        running, waiting = world.send(), world.send()
        stopped = world.sender.stop(30)
        (reply,) = self.successResultOf(waiting).replies
        self.assertEqual((reply.code, reply.enhanced), (451, "4.3.2"))
        self.assertNoResult(stopped)
        world.peers[0].hung = False
        world.peers[0].hear(b"250 ok\r\n")
        self.assertEqual(self.code(running), 250)
        self.assertNoResult(stopped)
        world.pump()
        self.successResultOf(stopped)
        self.assertEqual(world.peers[0].commands[-1], "QUIT")
        self.assertEqual(self.code(world.send()), 451)

    def test_what_is_not_finished_at_the_deadline_is_cut(self) -> None:
        world = World(peers=lambda _: {"answers": {"CONTENT": SILENCE}})
        running = world.send()
        stopped = world.sender.stop(30)
        world.advance(31)
        self.successResultOf(stopped)
        self.assertEqual(self.code(running), 451)
        self.assertTrue(world.peers[0].transport.closed)

    def test_stopping_without_work_is_done_at_once(self) -> None:
        self.successResultOf(World().sender.stop(30))
