"""When a recipient is tried again, and when it is given up.

The first steps are short, since most failures pass in minutes; each is ``factor`` times the one
before until the longest is reached, and that one repeats until the lifetime is over. With the
defaults a recipient is tried after 0, 5, 15, 35, 75 and 155 minutes and then every two hours: 65
times in five days. The time of the next attempt is stored with the recipient, so that a changed
setting moves only attempts that have not been planned yet.

Nothing here reads a clock. POSIX time comes in as an argument, and it may be wrong, for a machine
may start before its clock is set:

- *Clock ahead.* By its age alone every message of the queue would be over the lifetime at once, and
  the whole queue would be bounced. So age is not enough: a recipient must also have been tried as
  often as this schedule does within half the lifetime (`least_attempts`, 34 with the defaults). A
  jump makes one attempt early; the others come only with time that has really passed. Whatever a
  clock does in one jump, nothing is given up in its first half lifetime, but for one step and the
  jitter.
- *Clock behind.* Ages become small or negative, and nothing is given up too early. A next attempt
  planned by the old time lies too far ahead: the store takes whatever lies further ahead than
  `longest_step_seconds` as due.

The price is paid after an outage of our own: a message that could not be tried for days is kept
beyond its lifetime until it has had its attempts. That is what its sender would want.

Who controls the input: the settings; nothing here comes from a peer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from postroom.settings.declaring import setting

_LONG_ENOUGH = 1000
"""No schedule asks for more attempts than this, however short its steps are."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When mail that could not be sent is tried again, and when it is given up.

    RFC 5321 s4.5.4.1
    """

    first_seconds: float = setting(300, "From the first attempt to the second.", within=(1, 86_400))
    factor: float = setting(
        2.0, "How many times as long each step is as the one before.", within=(1, 100)
    )
    longest_seconds: float = setting(
        7200, "No step is longer than this; the longest one repeats.", within=(1, 604_800)
    )
    lifetime_seconds: float = setting(
        5 * 86_400,
        """The age at which a message is returned to its sender, if it has had a fair number of
        attempts.""",
        within=(0, 31_536_000),
        rfc="RFC 5321 s4.5.4.1",
    )
    jitter: float = setting(
        0.1,
        """Each step is longer or shorter by up to this share of it, so that messages that failed
        together are not tried again together.""",
        within=(0, 0.9),
    )

    def __post_init__(self) -> None:
        """Check that the schedule neither spins nor never ends.

        Raises:
            ValueError: an attribute is out of its range; the text names it.
        """
        if not 0 < self.first_seconds <= self.longest_seconds:
            raise ValueError("first_seconds must be above 0 and at most longest_seconds")
        if self.factor < 1:
            raise ValueError("factor must be 1 or more")
        if self.lifetime_seconds < 0:
            raise ValueError("lifetime_seconds must not be negative")
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter must be 0 or more and below 1")

    @property
    def longest_step_seconds(self) -> float:
        """The furthest ahead that a next attempt ever lies: the longest step and its jitter."""
        return self.longest_seconds * (1 + self.jitter)

    @cached_property
    def least_attempts(self) -> int:
        """How many attempts must have been made before a message is given up; at least 1."""
        attempts, elapsed = 1, self.step_seconds(1)
        while elapsed <= self.lifetime_seconds / 2 and attempts < _LONG_ENOUGH:
            attempts += 1
            elapsed += self.step_seconds(attempts)
        return attempts

    def step_seconds(self, attempts: int) -> float:
        """Return the step that follows the attempt of that number, without jitter.

        Args:
            attempts: how many have been made, 1 or more.
        """
        try:
            return min(self.first_seconds * self.factor ** (attempts - 1), self.longest_seconds)
        except OverflowError:
            return self.longest_seconds

    def next_attempt_at(self, attempts: int, now: float, random: Callable[[], float]) -> float:
        """Return when to try again.

        Args:
            attempts: how many have been made, the one that just failed included.
            now: POSIX time.
            random: returns numbers from 0 to below 1.

        Returns:
            POSIX time.

        RFC 5321 s4.5.4.1
        """
        return now + self.step_seconds(attempts) * (1 + self.jitter * (2 * random() - 1))

    def expired(self, attempts: int, received_at: float, now: float) -> bool:
        """Return whether to give up, after an attempt that failed for now.

        Args:
            attempts: how many have been made, the one that just failed included.
            received_at: POSIX time of the message's acceptance.
            now: POSIX time.

        RFC 5321 s4.5.4.1
        """
        return now - received_at >= self.lifetime_seconds and attempts >= self.least_attempts
