"""Quotas of local accounts: at RCPT, before anything is taken, and once more at the commit.

Theory: there are two looks, and neither puts the disk before the reactor.

- At RCPT `Quotas` says whether an account has room for a message of the announced size (one octet
  if the size was not announced). The figure comes from the Maildir's ``maildirsize``
  (`postroom.maildirs.usage`), read, or counted if that is due, in a thread; it is kept for
  `FRESH_SECONDS`, so that most answers cost a look-up in a dict. An account without a quota costs
  a comparison. A recipient is refused when every account behind it is full.
- At the commit `BatchQuotas` looks again, in the committer's thread: once a batch for each Maildir
  that has a quota it reads the record, and after the batch it appends one line for all messages
  together. So a size that was not announced, or was a lie, does not get past the quota. Nothing is
  counted there, for all mail would wait: if the record is missing the message is taken, and if it
  says "full" but is not to be trusted the refusal is a temporary one, and the next RCPT counts.

`DeliverySettings.over_quota` says whether a full mailbox is refused for now, 452, so that the
sender's server tries again for some days, or for good, 552.

Known limits: several processes that deliver to one Maildir may exceed its quota together, by what
each has in its batch. After the mailbox was emptied mail is refused for `FRESH_SECONDS` more.

RFC 3463 s3.3; RFC 1870 s6.3
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
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


class OverQuota(Refusal):
    """A message that a Maildir's quota has no room for."""


def quota_of(account: Account) -> Quota | None:
    """Give an account's quota; None if it has none."""
    limits = account.limits
    if limits.quota_octets is None and limits.quota_messages is None:
        return None
    return Quota.of(limits)


class Quotas:
    """Says whether accounts have room. Its methods belong to the reactor's thread."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFromThreads,
        pool: ThreadPool,
        settings: DeliverySettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Begin with nothing known.

        Args:
            reactor: where answers are given.
            pool: the threads that look at disks; the caller starts and stops it.
            settings: the site's.
            now: gives POSIX time, in seconds.
        """
        self._reactor = reactor
        self._pool = pool
        self._now = now
        self._full = full_reply(settings)
        self._figures: OrderedDict[tuple[str, Quota], tuple[float, Usage]] = OrderedDict()

    def refusal(
        self, accounts: Sequence[Account], size_octets: int
    ) -> "Reply | Deferred[Reply | None] | None":
        """Say whether a message can be taken for any of some accounts.

        Args:
            accounts: where one recipient's mail goes.
            size_octets: as announced; 0 if it was not.

        Returns:
            None if one of them has room, or has no quota; else 452 4.2.2 or 552 5.2.2. What cannot
            be looked at now is no reason to refuse: the commit will tell.
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
                self._log.failure("cannot see how full {maildir} is", Failure(), maildir=maildir)
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
    """Give the reply for a full mailbox."""
    return FULL if settings.over_quota == "permanent" else FULL_FOR_NOW


def _current(maildir: str, quota: Quota, more: Usage, now: float) -> Usage:
    """Look at a Maildir; one that is not there yet is empty. In a thread of the pool."""
    try:
        with usage.opened(maildir) as root:
            return usage.current(root, quota, more, now)
    except FileNotFoundError:
        return Usage()


class BatchQuotas:
    """What the messages of one batch do to the Maildirs that have a quota. For one thread."""

    def __init__(self, full: Reply) -> None:
        """Begin before the batch.

        Args:
            full: the reply when a Maildir is full beyond doubt.
        """
        self._full = full
        self._records: dict[str, usage.Record | None] = {}
        self._admitted: dict[str, Usage] = {}

    def admit(self, maildir: str, quota: Quota, size_octets: int) -> None:
        """Make sure that a message has room beside those that were admitted before.

        Raises:
            OverQuota: it has not.
        """
        more = self._admitted.get(maildir, Usage()).plus(size_octets, 1)
        record = self._record(maildir)
        if record is not None and record.quota == quota:
            whole = record.usage.plus(more.octets, more.messages)
            if not quota.holds(whole):
                certain = record.is_certain(quota, more, time.time())
                raise OverQuota(self._full if certain else FULL_FOR_NOW)
        self._admitted[maildir] = more

    @staticmethod
    def note(stored: Iterable[tuple[str, int]], messages: int = 1) -> None:
        """Append what was stored to the records of its Maildirs.

        Args:
            stored: the Maildir and the size of each message; negative if it was removed.
            messages: 1 for each, or -1.
        """
        sums: dict[str, Usage] = {}
        for maildir, size_octets in stored:
            sums[maildir] = sums.get(maildir, Usage()).plus(size_octets, messages)
        for maildir, added in sums.items():
            with suppress(OSError), usage.opened(maildir) as root:
                usage.append(root, added.octets, added.messages)

    def _record(self, maildir: str) -> "usage.Record | None":
        if maildir not in self._records:
            try:
                with usage.opened(maildir) as root:
                    self._records[maildir] = usage.read(root)
            except OSError:
                self._records[maildir] = None
        return self._records[maildir]
