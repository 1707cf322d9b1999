"""Quotas of local accounts: at RCPT, before there is content, and again at the commit.

Theory: there are two looks, and neither puts the disk before the reactor.

- At RCPT `Quotas` checks whether an account has room for a message of the announced size (one octet
  if the size was not announced). The figure comes from the Maildir's ``maildirsize``
  (`postroom.maildirs.usage`), read, or counted if that is due, in a thread; it is kept for
  `FRESH_SECONDS`, so that most answers cost a look-up in a dict. An account without a quota costs
  a comparison. A recipient is refused when every account behind it is full.
- At the commit `BatchQuotas` looks again, in the committer's thread, when the files are written and
  their sizes known: once a batch for each Maildir that has a quota it reads the record, and after
  the batch it appends one line for all messages together. So neither a size that was not announced,
  nor an address whose other members have room, nor many sessions at once get past the quota. A
  Maildir without a record that settles the matter is counted there: mail waits for that, but once,
  for a count makes the record.

With `DeliverySettings.over_quota` a full mailbox is refused for now, 452, so that the sender's
server tries again for some days, or for good, 552.

Known limits: several processes that deliver to one Maildir, as Dovecot may beside us, may exceed
its quota together, by what each has in its batch. After the mailbox was emptied mail is refused for
`FRESH_SECONDS` more.

RFC 3463 s3.3; RFC 1870 s6.3
"""

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from postroom.delivery.settings import DeliverySettings
from postroom.envelope import Account
from postroom.errors import Refusal
from postroom.maildirs import usage
from postroom.maildirs.usage import Quota, Usage
from postroom.wire.replies import Reply, reply

FRESH_SECONDS: Final = 5.0
CACHED_FIGURES: Final = 10_000

FULL_FOR_NOW: Final = reply(452, "4.2.2", "Mailbox full, try again later")
FULL: Final = reply(552, "5.2.2", "Mailbox full")
_NOTHING: Final = Usage()


class OverQuota(Refusal):
    """A message that a Maildir's quota has no room for."""


def quota_of(account: Account) -> Quota | None:
    """Return an account's quota; None if it has none."""
    limits = account.limits
    if limits.quota_octets is None and limits.quota_messages is None:
        return None
    return Quota.of(limits)


class Quotas:
    """Knows whether accounts have room. Its methods belong to the reactor's thread."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFromThreads,
        pool: ThreadPool,
        settings: DeliverySettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create it with an empty cache.

        Args:
            reactor: where answers are given.
            pool: the threads that look at disks; the caller starts and stops it.
            settings: the site's.
            now: returns POSIX time, in seconds.
        """
        self._reactor = reactor
        self._pool = pool
        self._now = now
        self._full = full_reply(settings)
        self._figures: OrderedDict[tuple[str, Quota], tuple[float, Usage]] = OrderedDict()

    def refusal(
        self, accounts: Sequence[Account], size_octets: int
    ) -> "Reply | Deferred[Reply | None] | None":
        """Return the refusal of a message, if none of some accounts has room for it.

        Args:
            accounts: where one recipient's mail goes.
            size_octets: as announced; 0 if it was not.

        Returns:
            None if one of them has room, or has no quota; else 452 4.2.2 or 552 5.2.2. What cannot
            be looked at now is no reason to refuse: the commit checks it.
        """
        more = Usage(max(size_octets, 1), 1)
        unknown = []
        for account in accounts:
            quota = quota_of(account)
            if quota is None:
                return None
            found = self._figures.get((account.maildir, quota))
            if found is None or self._now() - found[0] > FRESH_SECONDS:
                unknown.append((account.maildir, quota))
            elif quota.holds(found[1].plus(more.octets, more.messages)):
                return None
        if unknown:
            return Deferred.fromCoroutine(self._look(unknown, more))
        return self._full if accounts else None

    async def _look(self, unknown: "Sequence[tuple[str, Quota]]", more: Usage) -> Reply | None:
        for maildir, quota in unknown:
            look = partial(_current, maildir, quota, more, self._now())
            try:
                found = await deferToThreadPool(self._reactor, self._pool, look)
            except OSError:
                self._log.failure(
                    "cannot find out the usage of {maildir}", Failure(), maildir=maildir
                )
                return None
            self._keep((maildir, quota), found)
            if quota.holds(found.plus(more.octets, more.messages)):
                return None
        return self._full

    def _keep(self, key: tuple[str, Quota], found: Usage) -> None:
        self._figures[key] = self._now(), found
        self._figures.move_to_end(key)
        if len(self._figures) > CACHED_FIGURES:
            self._figures.popitem(last=False)


def full_reply(settings: DeliverySettings) -> Reply:
    """Return the reply for a full mailbox."""
    return FULL if settings.over_quota == "permanent" else FULL_FOR_NOW


def _current(maildir: str, quota: Quota, more: Usage, now: float) -> Usage:
    """Return the usage of a Maildir; a missing one is empty. Runs in a thread."""
    try:
        with usage.opened(maildir) as root:
            return usage.current(root, quota, more, now)
    except FileNotFoundError:
        return Usage()


class BatchQuotas:
    """What the messages of one batch do to the Maildirs that have a quota. For one thread.

    A context: the Maildirs are held from its beginning to its end, when what was noted is added to
    their records. Two paths to one Maildir count as one.
    """

    def __init__(self, full: Reply, maildirs: Iterable[str]) -> None:
        """Create it, before the batch.

        Args:
            full: the reply when a Maildir is full.
            maildirs: paths of all those that have a quota.
        """
        self._full = full
        self._maildirs = maildirs
        self._tallies: dict[str, _Tally] = {}
        self._places: dict[tuple[int, int], _Tally] = {}
        self._held = ExitStack()

    def __enter__(self) -> "BatchQuotas":
        """Lock the Maildirs' counts."""
        directories = []
        for path in self._maildirs:
            with suppress(OSError):
                status = os.stat(path)
                directories.append(status)
                place = status.st_dev, status.st_ino
                self._tallies[path] = self._places.setdefault(place, _Tally(path))
        self._held.enter_context(usage.held(directories))
        return self

    def __exit__(self, *_: object) -> None:
        """Append what was noted to the records, then release the Maildirs."""
        with self._held:
            for tally in self._places.values():
                if tally.noted != _NOTHING:
                    with suppress(OSError), usage.opened(tally.path) as root:
                        usage.append(root, tally.noted.octets, tally.noted.messages)

    def admit(self, maildir: str, quota: Quota, size_octets: int) -> None:
        """Make sure that a message has room beside those that were admitted before.

        Raises:
            OverQuota: it has not.
            OSError: that cannot be known.
        """
        tally = self._tallies.get(maildir)
        if tally is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), maildir)
        after = tally.admitted.plus(size_octets, 1)
        if not quota.holds(tally.current(quota, after).plus(after.octets, after.messages)):
            raise OverQuota(self._full)
        tally.admitted = after

    def note(self, maildir: str, octets: int, messages: int) -> None:
        """Note that a message was stored, or with negative figures that it was removed."""
        tally = self._tallies.get(maildir)
        if tally is not None:
            tally.noted = tally.noted.plus(octets, messages)


@dataclass(slots=True)
class _Tally:
    """A Maildir in a batch.

    Attributes:
        path: the Maildir's.
        admitted: what may be stored.
        noted: what was stored or removed.
    """

    path: str
    admitted: Usage = _NOTHING
    noted: Usage = _NOTHING
    _found: tuple[Quota, Usage] | None = None

    def current(self, quota: Quota, after: Usage) -> Usage:
        """Return how full the Maildir was before the batch; count it before calling it full."""
        if self._found is not None:
            known, found = self._found
            if known == quota and quota.holds(found.plus(after.octets, after.messages)):
                return found
        with usage.opened(self.path) as root:
            found = usage.current(root, quota, after, time.time())
        self._found = quota, found
        return found
