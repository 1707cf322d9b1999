"""When a recipient is tried again, and when it is given up."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.queue.schedule import Schedule

DAY = 86_400


class StepTests(SynchronousTestCase):
    """Tests for the time of the next attempt."""

    def test_steps_double_from_five_minutes_to_two_hours(self) -> None:
        steps = [Schedule().step_seconds(attempts) for attempts in range(1, 9)]
        self.assertEqual(steps, [300, 600, 1200, 2400, 4800, 7200, 7200, 7200])

    def test_the_jitter_stays_within_its_share_on_both_sides(self) -> None:
        schedule = Schedule(jitter=0.25)
        at = [schedule.next_attempt_at(1, 1000, lambda draw=d: draw) for d in (0, 0.5, 0.999999)]
        self.assertEqual(at[:2], [1225, 1300])
        self.assertAlmostEqual(at[2], 1375, places=2)

    def test_no_attempt_lies_further_ahead_than_the_longest_step(self) -> None:
        schedule = Schedule()
        for attempts in (1, 6, 7, 64, 5000):
            ahead = schedule.next_attempt_at(attempts, 0, lambda: 0.999999)
            self.assertLessEqual(ahead, schedule.longest_step_seconds)

    def test_what_would_spin_or_never_end_is_refused(self) -> None:
        for wrong in (
            {"first_seconds": 0},
            {"first_seconds": 10, "longest_seconds": 9},
            {"factor": 0.9},
            {"lifetime_seconds": -1},
            {"jitter": 1},
            {"jitter": -0.1},
        ):
            with self.assertRaises(ValueError, msg=str(wrong)) as raised:
                Schedule(**wrong)
            self.assertIn(next(iter(wrong)), str(raised.exception))


class ExpiryTests(SynchronousTestCase):
    """Tests for giving up."""

    def life(self, schedule: Schedule, jump_at: float | None = None, jump: float = 0) -> float:
        """Fail all of a recipient's attempts; return its true age when it expires."""
        age, attempts = 0.0, 0
        while True:
            attempts += 1
            clock = age + (jump if jump_at is not None and age >= jump_at else 0)
            if schedule.expired(attempts, 0, clock):
                return age
            step = schedule.next_attempt_at(attempts, 0, lambda: 0.5)
            # A jump within this step makes the attempt come at once.
            if jump_at is not None and age < jump_at <= age + step:
                step = jump_at - age
            age += step

    def test_a_recipient_is_given_up_after_five_days(self) -> None:
        age = self.life(Schedule())
        self.assertGreaterEqual(age, 5 * DAY)
        self.assertLess(age, 5 * DAY + Schedule().longest_step_seconds)

    def test_a_clock_six_days_ahead_ends_nothing_in_its_first_half(self) -> None:
        for hours in (0.1, 1, 6, 24, 48, 57):
            age = self.life(Schedule(), jump_at=hours * 3600, jump=6 * DAY)
            self.assertGreater(age, 2.5 * DAY - 2 * Schedule().longest_step_seconds, hours)

    def test_a_clock_set_back_ends_nothing_too_early(self) -> None:
        self.assertFalse(Schedule().expired(1000, received_at=6 * DAY, now=0))
        self.assertGreaterEqual(self.life(Schedule(), jump_at=DAY, jump=-6 * DAY), 5 * DAY)

    def test_age_without_attempts_is_not_enough(self) -> None:
        schedule = Schedule()
        self.assertFalse(schedule.expired(schedule.least_attempts - 1, 0, 100 * DAY))
        self.assertTrue(schedule.expired(schedule.least_attempts, 0, 100 * DAY))

    def test_attempts_without_age_are_not_enough(self) -> None:
        self.assertFalse(Schedule().expired(1000, 0, 5 * DAY - 1))

    def test_a_lifetime_of_nothing_gives_up_at_once(self) -> None:
        self.assertTrue(Schedule(lifetime_seconds=0).expired(1, 10, 10))

    def test_a_schedule_of_tiny_steps_does_not_ask_for_endless_attempts(self) -> None:
        schedule = Schedule(first_seconds=0.001, factor=1, longest_seconds=0.001)
        self.assertEqual(schedule.least_attempts, 1000)
