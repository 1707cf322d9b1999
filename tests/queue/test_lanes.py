"""How much may be asked of one destination."""

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.model import Destination, Sent, SmartHost
from postroom.queue.lanes import LONGEST_HOLD_SECONDS, Lane
from postroom.wire.replies import Reply, reply
from tests.queue.rig import BUSY, OK, REMOTE, UNREACHABLE

DEAD = Sent([UNREACHABLE])


class LaneTests(SynchronousTestCase):
    """Tests for the window, the hold and the turns."""

    def setUp(self) -> None:
        self.lane = Lane(Destination("example.net"), 20)

    def heed(self, answer: Reply | Sent, now: float = 0) -> float | None:
        sent = answer if isinstance(answer, Sent) else Sent([answer], REMOTE)
        return self.lane.heed(sent, now, now)

    def test_success_opens_the_window_one_by_one_up_to_the_limit(self) -> None:
        seen = [self.lane.window]
        for _ in range(20):
            self.heed(OK)
            seen.append(self.lane.window)
        self.assertEqual(seen[:4], [5, 6, 7, 8])
        self.assertEqual(seen[-1], 20)

    def test_any_answer_of_a_host_counts_as_success(self) -> None:
        self.heed(BUSY)
        self.assertEqual(self.lane.window, 6)

    def test_a_host_under_strain_has_its_window_halved_but_never_closed(self) -> None:
        for answer, window in (
            (reply(421, "4.3.2", "Going down"), 2),
            (reply(451, "4.4.2", "Lost connection"), 1),
            (reply(421, None, "Busy"), 1),
        ):
            self.assertIsNone(self.heed(answer))
            self.assertEqual(self.lane.window, window)

    def test_a_destination_out_of_reach_is_held_for_twice_as_long_each_time(self) -> None:
        now, holds = 0.0, []
        for _ in range(6):
            holds.append(self.heed(DEAD, now))
            self.assertTrue(self.lane.suspended(now))
            now += holds[-1]
            self.assertFalse(self.lane.suspended(now))
        self.assertEqual(holds, [15, 30, 60, 120, 240, 240])

    def test_failures_under_way_when_the_hold_began_do_not_lengthen_it(self) -> None:
        self.assertEqual([self.heed(DEAD, now) for now in (0, 0, 1, 14)], [15, None, None, None])

    def test_one_probe_goes_out_after_a_hold(self) -> None:
        self.heed(DEAD, 0)
        self.assertFalse(self.lane.suspended(15))
        self.lane.active = 1
        self.assertTrue(self.lane.suspended(15))
        self.heed(BUSY, 16)
        self.assertFalse(self.lane.suspended(16))

    def test_trouble_of_our_own_holds_nothing(self) -> None:
        self.assertIsNone(self.heed(Sent([reply(451, "4.3.0", "Local error")])))
        self.assertIsNone(self.heed(Sent([reply(550, "5.1.2", "No such domain")])))
        self.assertFalse(self.lane.suspended(0))

    def test_a_clock_set_back_ends_a_hold(self) -> None:
        self.heed(DEAD, 1_000_000)
        self.assertTrue(self.lane.suspended(1_000_000))
        self.assertFalse(self.lane.suspended(0))

    def test_short_outages_are_not_counted_and_long_ones_are(self) -> None:
        now, uncounted = 0.0, []
        while (seconds := self.put_back_after_failing(now)) is not None:
            uncounted.append(seconds)
            now += seconds
        self.assertEqual(uncounted, [15, 30, 60, 120])
        self.assertLess(sum(uncounted), 2 * LONGEST_HOLD_SECONDS)

    def put_back_after_failing(self, now: float) -> float | None:
        self.heed(DEAD, now)
        return self.lane.put_back_seconds(now)

    def test_what_comes_while_a_probe_is_out_waits_for_the_next_hold(self) -> None:
        self.heed(DEAD, 0)
        self.lane.active = 1
        self.assertEqual(self.lane.put_back_seconds(20), 15)

    def test_turns_follow_each_other_at_the_lanes_pace(self) -> None:
        for _ in range(50):
            self.lane.heed(Sent([OK], REMOTE), 0, 40)
        turns = [self.lane.turn_seconds(100) for _ in range(20)]
        gaps = {round(later - earlier, 1) for earlier, later in pairwise(turns)}
        self.assertEqual(gaps, {1.0})  # 20 at once, 40 seconds each, believed twice as fast

    def test_an_unmeasured_lane_does_not_have_its_messages_back_at_once(self) -> None:
        self.assertGreaterEqual(self.lane.turn_seconds(0), 5)

    def test_turns_begin_anew_when_the_clock_is_set_back(self) -> None:
        self.lane.turn_seconds(1_000_000)
        self.assertLess(self.lane.turn_seconds(0), 60)

    def test_a_lane_has_a_name_for_the_log(self) -> None:
        smarthost = Destination(
            "", SmartHost("relay.example.net", 587, user="u", password="secret")
        )
        self.assertEqual(
            [str(Lane(where, 1)) for where in (None, Destination("example.net"), smarthost)],
            ["local", "example.net", "relay.example.net:587"],
        )
