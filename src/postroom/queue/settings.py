"""The settings of the relay."""

from dataclasses import dataclass, field

from postroom.queue.schedule import Schedule
from postroom.settings.declaring import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """The queue of mail on its way out.

    Attributes:
        hostname: ours, as reports show it.
        schedule: of the attempts.
        per_destination: messages under way to one destination at once, 1 or more.
        stop_seconds: how long `Relay.stop` waits for transactions under way.
    """

    hostname: str
    schedule: Schedule = field(default_factory=Schedule)
    per_destination: int = 20
    in_all: int = setting(500, "Messages that are sent at the same time.", within=(1, 100_000))
    fetched: int = setting(
        2000,
        """How many recipients may be fetched from the store and not finished at the same time. What
        waits beyond them costs no memory.""",
        within=(1, 1_000_000),
    )
    memory_octets: int = setting(
        64 * 1024 * 1024,
        "How much content of messages just accepted is kept in memory until it is sent.",
        within=(0, 68_719_476_736),
    )
    memory_messages: int = setting(
        20_000,
        "How many messages just accepted may be under way or wait in memory.",
        within=(0, 10_000_000),
    )
    stop_seconds: float = 30.0
    delay_report_seconds: float = setting(
        4 * 3600,
        """The age at which the sender of a message is told, once for each recipient, that it is
        delayed, unless NOTIFY forbids it. 0 for never.""",
        within=(0, 31_536_000),
    )
    reports_per_sender_hour: int = setting(
        100,
        """How many reports one address gets in an hour. Beyond them reports of failure come later,
        and all others never.""",
        within=(1, 1_000_000),
    )
