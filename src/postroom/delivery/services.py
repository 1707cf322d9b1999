"""What the deliveries of all sessions share."""

from collections.abc import Callable
from dataclasses import dataclass

from postroom.delivery.committer import Committer
from postroom.delivery.quotas import Quotas
from postroom.delivery.routing import Router
from postroom.delivery.sending_limits import SendingLimits
from postroom.delivery.settings import DeliverySettings
from postroom.delivery.spool import SpoolArea
from postroom.interfaces import IQueue


@dataclass(frozen=True, slots=True)
class DeliveryServices:
    """What the deliveries of all sessions share.

    Attributes:
        settings: the site's.
        router: finds where mail goes.
        committer: writes Maildirs.
        spools: where content waits.
        queue: stores what is not for a Maildir.
        quotas: knows whether accounts have room.
        now: returns POSIX time, in seconds.
        sending: counts what accounts send; None if that is not limited.
    """

    settings: DeliverySettings
    router: Router
    committer: Committer
    spools: SpoolArea
    queue: IQueue
    quotas: Quotas
    now: Callable[[], float]
    sending: SendingLimits | None = None
