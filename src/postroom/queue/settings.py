"""The relay's configuration, as plain values.

Every figure is the default of the setting of the same name.
"""

from dataclasses import dataclass, field

from postroom.queue.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What an administrator may set.

    Attributes:
        hostname: ours, as reports show it.
        schedule: of the attempts.
        per_destination: messages under way to one destination at once, 1 or more.
        in_all: messages under way at once, 1 or more.
        fetched: recipients fetched from the store and not finished, at once, 1 or more.
        memory_octets: content kept in memory of messages just accepted.
        memory_messages: how many messages just accepted are under way or wait in memory.
        stop_seconds: how long `Relay.stop` waits for transactions under way.
        delay_report_seconds: the age at which the sender of a message is told, once, that it is
            late; 0 for never.
        reports_per_sender_hour: how many reports one address gets in an hour.
    """

    hostname: str
    schedule: Schedule = field(default_factory=Schedule)
    per_destination: int = 20
    in_all: int = 500
    fetched: int = 2000
    memory_octets: int = 64 * 1024 * 1024
    memory_messages: int = 20_000
    stop_seconds: float = 30.0
    delay_report_seconds: float = 4 * 3600
    reports_per_sender_hour: int = 100
