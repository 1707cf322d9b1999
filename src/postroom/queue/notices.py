"""The reports that a sender gets: for which actions, and how many.

    NOTIFY of the recipient      failed   delayed   delivered, relayed, expanded
    -------------------------    ------   -------   ----------------------------
    not given                    yes      yes       no
    NEVER                        no       no        no
    a list with FAILURE          yes
    a list with DELAY                     yes
    a list with SUCCESS                             yes, if we trust the sender

A report of success to a forged sender is mail to somebody who never wrote. So SUCCESS counts only
for messages of those who may relay here (`Trait.TRUSTED`): after a login, or from the relay
networks. From others it is ignored, and the rest of the list counts.

The reports to a sender are limited by the hour. Reports of failure beyond the limit are not
dropped, because accepted mail must not vanish without a report (RFC 5321 s6.1): their recipients
wait, and fail again later. Reports of success and delay are dropped.

Who controls the input: whoever sent the message.

RFC 3461 s4.1, s5.2; RFC 2852 s4
"""

from collections.abc import Mapping
from typing import Final

from postroom.envelope import Action, NewMessage, Trait
from postroom.wire.commands import Rcpt
from postroom.wire.parameters import BY, HOLDFOR, HOLDUNTIL, NOTIFY
from postroom.wire.paths import Mailbox

HOUR_SECONDS: Final = 3600.0
_SENDERS: Final = 10_000

_WORDS: Final[Mapping[Action, str]] = {
    Action.FAILED: "FAILURE",
    Action.DELAYED: "DELAY",
    Action.DELIVERED: "SUCCESS",
    Action.RELAYED: "SUCCESS",
    Action.EXPANDED: "SUCCESS",
}


def wants(message: NewMessage, rcpt: Rcpt, action: Action) -> bool:
    """Return whether an action on a recipient is reported to the sender of its message.

    RFC 3461 s4.1, s5.2
    """
    if message.sender is None:
        return False
    word = _WORDS[action]
    notify = NOTIFY.of(rcpt.parameters) if rcpt.parameters else None
    if action is Action.RELAYED and traced(message):
        return notify is None or "NEVER" not in notify
    if word == "SUCCESS" and not message.traits & Trait.TRUSTED:
        return False
    return word != "SUCCESS" if notify is None else word in notify


def released_at(message: NewMessage) -> float:
    """Return when attempts could start: when the message came, or when its hold was over.

    RFC 4865 s4
    """
    if not message.parameters:
        return message.received_at
    seconds = HOLDFOR.of(message.parameters)
    if seconds is not None:
        return message.received_at + seconds
    return max(HOLDUNTIL.of(message.parameters) or 0.0, message.received_at)


def traced(message: NewMessage) -> bool:
    """Return whether the sender wants a report of relaying itself. RFC 2852 s4."""
    if not message.parameters or not message.traits & Trait.TRUSTED:
        return False
    by = BY.of(message.parameters)
    return by is not None and by.traced


class ReportLimit:
    """Counts the reports of each sender."""

    def __init__(self, per_hour: int) -> None:
        """Create it with no report counted.

        Args:
            per_hour: how many each sender gets.
        """
        self._per_hour = per_hour
        self._given: dict[Mailbox, tuple[float, int]] = {}

    def allow(self, sender: Mailbox, now: float) -> bool:
        """Count one more report; return False if that is too many."""
        began, given = self._given.get(sender, (now, 0))
        if not began <= now < began + HOUR_SECONDS:  # over, or the clock was set back
            began, given = now, 0
        if given >= self._per_hour:
            return False
        if sender not in self._given and len(self._given) >= _SENDERS:
            del self._given[next(iter(self._given))]
        self._given[sender] = began, given + 1
        return True
