"""Decides when a certificate is ordered, renewed, and retried after a failure.

A certificate is renewed when two thirds of its life have passed, a little later by chance, so that
servers set up together do not come back together. It is renewed at once when its names are not
exactly those of the settings. A failed order is retried after ten minutes, then after twice as long
each time, up to half a day. A restart of the daemon does not shorten that wait, because ACME
servers limit failures; ``postroom tls renew`` does.

The state is a small file beside the certificate: the last attempt, its result, the next attempt. It
is for people, for the command, and for the next start; losing it does no harm.

    nothing, or another's names  -> due now
    valid                        -> due at two thirds of its life
    failed n times               -> due 10 min * 2^(n-1) after the last attempt

Who controls the input: the clock. An attempt is at most an hour away from the next look at it, so
that a clock that is set, or a machine that slept, delays it by no more than that.
"""

import datetime
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from postroom.certificates.identity import Identity, write_private
from postroom.errors import UserError

FIRST_RETRY: Final = datetime.timedelta(minutes=10)
LONGEST_RETRY: Final = datetime.timedelta(hours=12)
LONGEST_LOOK_SECONDS: Final = 3600.0
_JITTER: Final = 0.2
_AGE: Final = 2 / 3
_SPREAD: Final = 1 / 48


@dataclass(frozen=True, slots=True)
class Attempts:
    """The results of the attempts to get a certificate.

    Attributes:
        last: when one was made; ISO 8601, None before the first.
        error: why it failed; None if it did not.
        failures: how many failed since the last success.
        next: when the next is due; ISO 8601.
    """

    last: str | None = None
    error: str | None = None
    failures: int = 0
    next: str | None = None


def read_attempts(path: Path) -> Attempts:
    """Read the note; one that is missing or damaged says that nothing was tried."""
    try:
        found: Any = Attempts(**json.loads(path.read_bytes()))
        moments = [found.last, found.next]
        dated = all(datetime.datetime.fromisoformat(each).tzinfo for each in moments if each)
    except (OSError, ValueError, TypeError):
        return Attempts()
    fits = dated and isinstance(found.failures, int) and isinstance(found.error, str | None)
    return found if fits else Attempts()


def write_attempts(path: Path, attempts: Attempts) -> None:
    """Write the note.

    Raises:
        UserError: it cannot be written.
    """
    write_private(path, json.dumps(asdict(attempts), indent=2).encode())


def half_way(identity: Identity) -> datetime.datetime:
    """Return the time at which two thirds of a certificate's life have passed."""
    return identity.begins_at + (identity.expires_at - identity.begins_at) * _AGE


def covers(identity: Identity, domains: Sequence[str]) -> bool:
    """Return whether a certificate is for exactly these names."""
    return set(identity.names) == set(domains)


class Plan:
    """Decides when to order.

    Attributes:
        attempts: the results so far.
        due: when the next is due.
    """

    def __init__(
        self,
        domains: Sequence[str],
        attempts: Attempts,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Store the names, the results of an earlier run, and a source of numbers from 0 to 1."""
        self._domains = domains
        self._chance = chance
        self.attempts = attempts
        self.due: datetime.datetime | None = None

    def look_at(self, identity: Identity | None, now: datetime.datetime) -> None:
        """Set `due` by the certificate in use, as after a start."""
        promised = self.attempts.next
        if self.attempts.failures and promised is not None:
            # No further than any step is: the clock may have been wrong when it was written.
            due = datetime.datetime.fromisoformat(promised)
            self.due = min(due, now + LONGEST_RETRY * (1 + _JITTER))
        elif identity is None or not covers(identity, self._domains):
            self.due = now
        else:
            life = identity.expires_at - identity.begins_at
            self.due = half_way(identity) + life * _SPREAD * self._chance()

    def succeeded(self, identity: Identity, now: datetime.datetime) -> Attempts:
        """Record that there is a new certificate."""
        self.attempts = Attempts(last=now.isoformat())
        self.look_at(identity, now)
        return self._noted()

    def failed(self, error: UserError, now: datetime.datetime) -> Attempts:
        """Record that an attempt failed."""
        failures = self.attempts.failures + 1
        wait = min(FIRST_RETRY * 2 ** min(failures - 1, 20), LONGEST_RETRY)
        self.due = now + wait * (1 + _JITTER * (2 * self._chance() - 1))
        self.attempts = Attempts(now.isoformat(), str(error), failures)
        return self._noted()

    def _noted(self) -> Attempts:
        assert self.due is not None  # just set
        old = self.attempts
        self.attempts = Attempts(old.last, old.error, old.failures, self.due.isoformat())
        return self.attempts

    def seconds_until_due(self, now: datetime.datetime) -> float:
        """Return how long to sleep before the next check."""
        assert self.due is not None  # `look_at` comes first
        return min(max((self.due - now).total_seconds(), 0.0), LONGEST_LOOK_SECONDS)
