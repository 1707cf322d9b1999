"""Where a recipient's mail goes: accounts, aliases, catch-alls, postmaster, and everybody else.

Theory: the router turns one mailbox into a `Route`, which names the accounts that get a copy and
the addresses to be queued. An address is looked up whole, then without its tag (``user+tag``), then
as postmaster, then as the domain's catch-all. Aliases are followed breadth first; an address that
was met before is not followed again, so no loop can run, and depth and number are limited besides.

Routes are kept while `IDirectory.revision` stays the same: on the hot path resolving is one
look-up in a dict and makes no Deferred. Refusals are not kept, so that guessing addresses fills no
memory and a new account takes mail at once. Whether a domain is ours is kept either way, as a
route is. Look-ups of the same mailbox that run at the same time share one.

Everything is compared in lower-case ASCII. A local part is only octets: ``a%b`` and ``c!d`` are
names, no routes, and ``"a b"`` is as good a name as any. An address literal, or a domain that looks
like an address, is local exactly if the directory lists it.

Who controls the input: the peer, the mailbox; the administrator, all that the directory says. A
directory that cannot be asked makes 451 4.4.3, never "no such user".

Known limit: an alias's targets that no longer exist are left out, with a warning, as long as one
target is left.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.delivery.settings import DeliverySettings
from postroom.envelope import DISCARD, Account, Alias, Domain
from postroom.interfaces import IDirectory
from postroom.wire.paths import Mailbox, PathError, parse_mailbox
from postroom.wire.replies import Reply, reply

UNKNOWN_USER: Final = reply(550, "5.1.1", "No such user here")
DISABLED: Final = reply(450, "4.2.1", "Mailbox disabled for now")
DIRECTORY_DOWN: Final = reply(451, "4.4.3", "Cannot look the recipient up now, try again later")
MISCONFIGURED: Final = reply(451, "4.3.5", "This address is misconfigured here, try again later")

_POSTMASTER: Final = b"postmaster"
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Route:
    """Where one recipient's mail goes; nowhere at all if it is discarded.

    Attributes:
        accounts: each gets a copy in its Maildir.
        queued: each gets a copy through the queue.
        foreign: True if the recipient's own domain is not ours, so that only those who may relay
            can write to it. An alias of ours may lead away all the same.
    """

    accounts: tuple[Account, ...] = ()
    queued: tuple[Mailbox, ...] = ()
    foreign: bool = False


Resolved = Route | Reply


class Router:
    """Resolves recipients by a directory."""

    _log = Logger()

    def __init__(self, directory: IDirectory, settings: DeliverySettings) -> None:
        """Begin with nothing known."""
        self._directory = directory
        self._settings = settings
        self._separator = settings.sub_address_separator.encode("ascii")
        self._revision: int | None = None
        self._routes: OrderedDict[Mailbox, Route] = OrderedDict()
        self._domains: OrderedDict[str, Domain | None] = OrderedDict()
        self._running: dict[Mailbox, list[Deferred[Resolved]]] = {}

    def resolve(self, mailbox: Mailbox) -> "Resolved | Deferred[Resolved]":
        """Say where mail for a mailbox goes.

        Args:
            mailbox: as in RCPT; the bare ``postmaster`` has an empty domain.

        Returns:
            A route; or a reply: 550 5.1.1 nobody here, 450 4.2.1 the account is disabled (for now:
            mail that waits is not lost if it is enabled again), 451 4.4.3 the directory is down,
            451 4.3.5 an alias leads nowhere. Never fails.

        RFC 5321 s3.4, s3.6, s4.5.1
        """
        self._check_revision()
        route = self._routes.get(mailbox)
        if route is not None:
            self._routes.move_to_end(mailbox)
            return route
        # Each caller has a Deferred of its own: giving up on one leaves the others alone.
        later: Deferred[Resolved] = Deferred()
        waiting = self._running.setdefault(mailbox, [])
        waiting.append(later)
        if len(waiting) > 1:
            return later
        found: list[Resolved] = []
        lookup = Deferred.fromCoroutine(self._look_up(mailbox, self._revision))
        lookup.addBoth(self._share, mailbox, found)
        return found[0] if found else later

    def _check_revision(self) -> None:
        revision = self._directory.revision()
        if revision != self._revision:
            self._revision = revision
            self._routes.clear()
            self._domains.clear()

    def _share(self, result: "Resolved | Failure", mailbox: Mailbox, found: list[Resolved]) -> None:
        """Give the result to all who wait for it; a failure is the directory's, or ours."""
        if isinstance(result, Failure):
            self._log.failure("cannot look {mailbox} up", result, mailbox=str(mailbox))
            result = DIRECTORY_DOWN
        found.append(result)
        for waiting in self._running.pop(mailbox):
            waiting.callback(result)

    async def _look_up(self, mailbox: Mailbox, revision: int | None) -> Resolved:
        domain_name = mailbox.domain_key or (self._settings.postmaster_domain or "")
        domain = await self._find_domain(domain_name, revision)
        if domain is None and mailbox.domain:
            return Route(queued=(mailbox,), foreign=True)
        resolved = await self._expand(mailbox, domain, revision)
        # What was looked up while the directory changed may be stale already.
        if isinstance(resolved, Route) and revision == self._revision:
            _keep(self._routes, mailbox, resolved, self._settings.cached_routes)
        return resolved

    async def _find_domain(self, name: str, revision: int | None) -> Domain | None:
        try:
            return self._domains[name]
        except KeyError:
            domain = await maybeDeferred(self._directory.find_domain, name) if name else None
        if revision == self._revision:
            _keep(self._domains, name, domain, self._settings.cached_routes)
        return domain

    async def _expand(
        self, mailbox: Mailbox, domain: Domain | None, revision: int | None
    ) -> Resolved:
        """Follow a local mailbox to the accounts and foreign addresses behind it."""
        entry = await self._find_local(mailbox, domain)
        if entry is None:
            return MISCONFIGURED if _is_postmaster(mailbox) else UNKNOWN_USER
        if isinstance(entry, Account):
            return Route(accounts=(entry,)) if entry.enabled else DISABLED
        found = _Expansion(self._settings.alias_targets)
        level: Sequence[str] = entry.targets
        for _ in range(self._settings.alias_depth):
            level = await self._expand_level(level, found, revision)
            if not level:
                return found.resolved()
        self._log.warn("alias {address} leads on and on", address=entry.address)
        return MISCONFIGURED

    async def _expand_level(
        self, targets: Sequence[str], found: "_Expansion", revision: int | None
    ) -> Sequence[str]:
        """Take one step from every target; gives the targets of the aliases met."""
        further: list[str] = []
        for text in targets:
            if not found.is_new(text):
                continue
            if text.lower() == DISCARD:
                found.discards = True
                continue
            try:
                target = parse_mailbox(text.encode("utf-8"))
            except PathError as error:
                self._log.warn("alias target {target}: {error}", target=text, error=str(error))
                continue
            domain = await self._find_domain(target.domain_key, revision)
            if domain is None:
                found.queued[str(target)] = target
                continue
            entry = await self._find_local(target, domain)
            if isinstance(entry, Alias):
                further += entry.targets
            elif entry is None:
                self._log.warn("alias target {target} does not exist", target=text)
            else:
                found.add_account(entry)
        return further

    async def _find_local(self, mailbox: Mailbox, domain: Domain | None) -> Account | Alias | None:
        """Look a mailbox of a local domain up in every way that may find it."""
        for address in self._addresses(mailbox, domain):
            entry: Account | Alias | None
            entry = await maybeDeferred(self._directory.find_address, address)
            if entry is not None:
                return entry
        if domain is not None and domain.catch_all is not None:
            # Followed like an alias, so that it may lead anywhere and not round in circles.
            return Alias(str(mailbox), (domain.catch_all,))
        first = self._settings.postmaster_domain
        if _is_postmaster(mailbox) and first and (domain is None or domain.name != first):
            return Alias(str(mailbox), (f"postmaster@{first}",))
        return None

    def _addresses(self, mailbox: Mailbox, domain: Domain | None) -> list[str]:
        local = mailbox.local_part.lower()
        addresses = []
        if domain is not None:
            name = domain.name.encode("ascii", "replace")
            addresses.append(str(Mailbox(local, name)))
            if self._separator and local.find(self._separator) > 0:
                user = local.partition(self._separator)[0]
                addresses.append(str(Mailbox(user, name)))
        if _is_postmaster(mailbox) and self._settings.postmaster_domain:
            addresses.append(f"postmaster@{self._settings.postmaster_domain}")
        return addresses


class _Expansion:
    """What following an alias has found so far."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._met: set[str] = set()
        self._disabled = False
        self.accounts: dict[str, Account] = {}
        self.queued: dict[str, Mailbox] = {}
        self.discards = False

    def is_new(self, target: str) -> bool:
        """Say whether a target is to be followed: met for the first time, and not one too many."""
        if target in self._met:
            return False
        self._met.add(target)
        self._left -= 1
        return self._left >= 0

    def add_account(self, account: Account) -> None:
        """Add a copy for an account; for a disabled one it waits in the queue."""
        if account.enabled:
            self.accounts[account.address] = account
        else:
            self._disabled = True
            self.queued[account.address] = parse_mailbox(account.address.encode("ascii"))

    def resolved(self) -> Resolved:
        """Give the outcome."""
        if self._left < 0:
            return MISCONFIGURED
        if self._disabled and not self.accounts and len(self.queued) == 1:
            return DISABLED
        if not self.accounts and not self.queued and not self.discards:
            return MISCONFIGURED
        return Route(tuple(self.accounts.values()), tuple(self.queued.values()))


def _is_postmaster(mailbox: Mailbox) -> bool:
    return mailbox.local_part.lower() == _POSTMASTER


def _keep(kept: "OrderedDict[_K, _V]", key: _K, value: _V, capacity: int) -> None:
    kept[key] = value
    if len(kept) > capacity:
        kept.popitem(last=False)
