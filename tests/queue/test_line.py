"""The line before a destination: priorities, and nobody waits for ever."""

from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from postroom.envelope import NewMessage
from postroom.queue.line import Line
from tests.queue.samples import new_message


@dataclass
class Job:
    message: NewMessage


def line_of(*priorities: int) -> Line[Job]:
    line: Line[Job] = Line()
    for priority in priorities:
        line.append(Job(new_message(priority=priority)))
    return line


def order(line: Line[Job]) -> list[int]:
    return [line.popleft().message.priority for _ in range(len(line))]


class LineTests(SynchronousTestCase):
    def test_equals_go_in_the_order_in_which_they_came(self) -> None:
        line: Line[Job] = Line()
        jobs = [Job(new_message()) for _ in range(10)]
        for job in jobs:
            line.append(job)
        self.assertEqual(list(line), jobs)
        self.assertEqual([line.popleft() for _ in jobs], jobs)
        self.assertFalse(line)

    def test_the_higher_priority_goes_first(self) -> None:
        self.assertEqual(order(line_of(0, -9, 9)), [9, 0, -9])
        self.assertEqual([job.message.priority for job in line_of(0, -9, 9)], [9, 0, -9])

    def test_every_fourth_turn_is_for_who_has_waited_longest(self) -> None:
        line = line_of(-9, *[9] * 100)
        self.assertEqual([line.popleft().message.priority for _ in range(5)], [9, 9, 9, -9, 9])

    def test_its_length_is_known(self) -> None:
        line = line_of(1, 2, 3)
        for left in (2, 1, 0):
            line.popleft()
            self.assertEqual(len(line), left)
