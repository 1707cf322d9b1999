"""Protection against guessing of passwords: counting failures, delaying refusals, lock-outs.

Failures are counted twice: by the place of the client (an IPv4 address, an IPv6 /64), and by the
user name, whether an account has it or not, so that the counting reveals nothing. Counts are in
memory, expire, and are limited in number: the oldest are dropped first.

- Every refusal is sent `GuardSettings.refusal_seconds` after the client's line, so that the time of
  the check does not show. After a few failures the wait doubles each time.
- Too many failures lead to a lock-out for a time. A place is locked out for every name. A name is
  locked out for all places except those from which it recently logged in; otherwise an attacker
  could lock its owner out.
- During a lock-out every login is refused with 454, without a look-up or a hash.

A client that recently logged in from the same place and now fails is probably a program with an old
password. For a while its failures do not count against the place, which others may share.

Only lock-outs are stored (`postroom.logins.lockouts`); a successful login never writes.

Who controls the input: the peer, the name; the address is that of the connection.

Known limit: each process counts for itself; lock-outs are shared.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from twisted.logger import Logger
from zope.interface import implementer

from postroom.directory.addresses import login_address
from postroom.interfaces import ILoginGuard
from postroom.settings.declaring import setting
from postroom.wire.replies import Reply, reply

LOCKED_OUT: Final = reply(454, "4.7.0", "Too many failed logins, try again later")
_NAME_CHARACTERS: Final = 300

_V = TypeVar("_V")
_log = Logger()


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Guessing passwords made slow."""

    refusal_seconds: float = setting(
        1.0,
        """How long the refusal of a wrong login takes at least, counted from the client's line, so
        that the time it took to find out tells nothing.""",
        within=(0, 60),
    )
    failures_before_delay: int = setting(
        3,
        """Failures of a name, or from an address, after which each further one doubles
        refusal_seconds.""",
        within=(0, 1_000_000),
    )
    longest_delay_seconds: float = setting(
        30.0, "How long a refusal takes at most by such doubling.", within=(0, 240)
    )
    failures_of_account: int = setting(
        20,
        """Failures of one name that lock it out, except for those who have lately logged in with it
        from the same address.""",
        within=(1, 1_000_000),
    )
    failures_of_address: int = setting(
        50,
        "Failures from one IPv4 address or one IPv6 /64 that lock it out.",
        within=(1, 1_000_000),
    )
    forget_seconds: float = setting(3600.0, "How long a failure counts.", within=(1, 2_592_000))
    lockout_seconds: float = setting(
        900.0,
        """How long a lock-out lasts; "postroom lockout clear" ends it earlier.""",
        within=(1, 2_592_000),
    )
    remembered: int = setting(
        100_000,
        "How many names and addresses are counted at once. The oldest are forgotten first.",
        within=(100, 100_000_000),
    )


@dataclass(frozen=True, slots=True)
class Lockout:
    """A name or a place whose logins are refused for a while.

    Attributes:
        subject: ``account:`` and a name, or ``address:`` and an address or network.
        failures: how many there were.
        since: POSIX time, in seconds.
        until: POSIX time, in seconds.
    """

    subject: str
    failures: int
    since: float
    until: float


class _Recent(Generic[_V]):
    """A mapping of limited size, which drops what was set longest ago."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[str, _V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> _V | None:
        return self._values.get(key)

    def set(self, key: str, value: _V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)

    def drop(self, key: str) -> None:
        self._values.pop(key, None)


@implementer(ILoginGuard)
class LoginGuard:
    """Counts failures, and decides on delays and lock-outs.

    Attributes:
        store: called with each new lock-out, to share it with other processes.
        default_domain: of a name without one.
    """

    def __init__(
        self,
        settings: GuardSettings,
        now: Callable[[], float],
        place_of: Callable[[str], str],
        is_exempt: Callable[[str], bool],
        default_domain: str | None = None,
    ) -> None:
        """Start without failures.

        Args:
            settings: the site's.
            now: returns the POSIX time, in seconds.
            place_of: returns the place of an address: itself, or its /64.
            is_exempt: returns whether an address is never locked out or delayed further.
            default_domain: of a name without one.
        """
        self.store: Callable[[Lockout], object] = lambda _: None
        self.default_domain = default_domain
        self._settings = settings
        self._now = now
        self._place_of = place_of
        self._is_exempt = is_exempt
        self._failures: _Recent[tuple[int, float]] = _Recent(settings.remembered)
        self._trusted: _Recent[int] = _Recent(settings.remembered)
        self._locked: dict[str, float] = {}

    def refusal(self, client: str, username: bytes | None) -> Reply | None:
        """See `ILoginGuard.refusal`."""
        if not self._locked or self._is_exempt(client):
            return None
        place = self._place_of(client)
        if self._is_locked(f"address:{place}"):
            return LOCKED_OUT
        if username is None:
            return None
        name = self._name(username)
        if self._is_locked(f"account:{name}") and self._trusted.get(f"{name} {place}") is None:
            return LOCKED_OUT
        return None

    def failed(self, client: str, username: bytes) -> float:
        """See `ILoginGuard.failed`."""
        settings = self._settings
        if self._is_exempt(client):
            return settings.refusal_seconds
        name, place = self._name(username), self._place_of(client)
        trusted = self._spend_trust(f"{name} {place}")
        counts = [self._count(f"account:{name}", settings.failures_of_account)]
        if not trusted:
            counts.append(self._count(f"address:{place}", settings.failures_of_address))
        excess = min(max(counts) - settings.failures_before_delay, 30)
        delay = settings.refusal_seconds * (1 << max(excess, 0))
        return max(min(delay, settings.longest_delay_seconds), settings.refusal_seconds)

    def succeeded(self, client: str, username: bytes) -> None:
        """See `ILoginGuard.succeeded`."""
        pair = f"{self._name(username)} {self._place_of(client)}"
        self._trusted.set(pair, self._settings.failures_of_account)

    def replace_lockouts(self, locked: Mapping[str, float]) -> None:
        """Replace the lock-outs by those that all processes share.

        The failures of those that are no longer locked out are forgotten.
        """
        for subject in self._locked.keys() - locked.keys():
            self._failures.drop(subject)
        self._locked = dict(locked)

    def _spend_trust(self, pair: str) -> bool:
        left = self._trusted.get(pair)
        if left is None:
            return False
        if left <= 1:
            self._trusted.drop(pair)
        else:
            self._trusted.set(pair, left - 1)
        return True

    def _count(self, subject: str, most: int) -> int:
        now, settings = self._now(), self._settings
        count, since = self._failures.get(subject) or (0, now)
        if now - since > settings.forget_seconds:
            count, since = 0, now
        count += 1
        self._failures.set(subject, (count, since))
        if count >= most and not self._is_locked(subject):
            self._lock(Lockout(subject, count, now, now + settings.lockout_seconds))
        return count

    def _lock(self, lockout: Lockout) -> None:
        self._locked[lockout.subject] = lockout.until
        self._failures.drop(lockout.subject)
        _log.warn(
            "{subject} is locked out for {seconds:.0f} seconds after {failures} failed logins",
            subject=lockout.subject,
            seconds=lockout.until - lockout.since,
            failures=lockout.failures,
        )
        self.store(lockout)

    def _is_locked(self, subject: str) -> bool:
        until = self._locked.get(subject)
        if until is None:
            return False
        if until > self._now():
            return True
        del self._locked[subject]
        return False

    def _name(self, username: bytes) -> str:
        """Return one name for all spellings of a user name, whatever the peer has sent."""
        known = login_address(username, self.default_domain)
        if known is not None:
            return known
        return ascii(username[:_NAME_CHARACTERS].lower())[2:-1][:_NAME_CHARACTERS]
