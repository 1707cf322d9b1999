"""Where a recipient's mail goes: accounts, aliases, catch-alls, postmaster, and everybody else.

Theory: the router turns one mailbox into a `Route`, which names the accounts that get a copy and
the addresses to be queued. An alias domain is replaced by the domain that it stands for. An address
is looked up whole, then without its tag (``user+tag``, where the tag becomes
`Account.folder`, and that of an alias goes on to its targets: `postroom.delivery.tags`), then as
postmaster, then as the domain's catch-all. Aliases, groups and the forwards of accounts are
followed breadth first; an address that was met before is not followed
again, so no loop can run, and depth and number are limited besides.

Routes are kept while `IDirectory.revision` stays the same: on the hot path resolving is one
look-up in a dict and makes no Deferred. Refusals are not kept, so that guessing addresses fills no
memory and a new account gets mail at once. Whether a domain is ours is kept either way, as a
route is. Look-ups of the same mailbox that run at the same time share one.

Everything is compared in lower case, beyond ASCII by the rules of `postroom.international`. A local
part is only octets: ``a%b`` and ``c!d`` are names, no routes, and ``"a b"`` is as good a name as
any. An address literal, or a domain that looks like an address, is local exactly if the directory
lists it. The one exception are addresses that we made ourselves to forward mail
(`postroom.delivery.srs`): they stand for the sender within them.

``postmaster`` and ``abuse`` of every domain of ours reach somebody: without an account or an alias
of that name it is the domain's postmaster, then the one of `DeliverySettings.postmaster_domain`.

Who controls the input: the peer, the mailbox; the administrator, the directory. If the directory
does not answer, the reply is 451 4.4.3, never "no such user".

Known limit: an alias's targets that no longer exist are left out, with a warning, as long as one
target is left.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from postroom.delivery.expansion import Expansion, Route
from postroom.delivery.settings import DeliverySettings
from postroom.delivery.srs import Rewriting, SRSError
from postroom.delivery.tags import split_tag, with_tag
from postroom.envelope import DISCARD, Account, Alias, Domain, DomainKind, Entry, RelayRecipient
from postroom.errors import Unavailable
from postroom.interfaces import IDirectory
from postroom.international import address_key, ascii_name, local_key
from postroom.revision_cache import RevisionCache
from postroom.wire.paths import Mailbox, PathError, parse_mailbox
from postroom.wire.replies import Reply, reply

UNKNOWN_USER: Final = reply(550, "5.1.1", "No such user here")
DISABLED: Final = reply(450, "4.2.1", "Mailbox disabled for now")
DIRECTORY_DOWN: Final = reply(451, "4.4.3", "Cannot look the recipient up now, try again later")
MISCONFIGURED: Final = reply(451, "4.3.5", "This address is misconfigured here, try again later")

_POSTMASTER: Final = b"postmaster"
_ROLES: Final = frozenset((_POSTMASTER, b"abuse"))


Resolved = Route | Reply


class Router:
    """Resolves recipients by a directory."""

    _log = Logger()

    def __init__(
        self, directory: IDirectory, settings: DeliverySettings, srs: Rewriting | None = None
    ) -> None:
        """Create it with an empty cache.

        Args:
            directory: knows domains, accounts and aliases.
            settings: the site's.
            srs: knows the addresses that we made to forward mail; None if we make none.
        """
        self._directory = directory
        self._settings = settings
        self._srs = srs
        self._separator = settings.sub_address_separator.encode("ascii")
        most = settings.cached_routes
        self._routes: RevisionCache[Mailbox, Route] = RevisionCache(directory.revision, most)
        self._domains: RevisionCache[str, Domain | None] = RevisionCache(directory.revision, most)
        self._running: dict[Mailbox, list[Deferred[Resolved]]] = {}

    def resolve(self, mailbox: Mailbox) -> "Resolved | Deferred[Resolved]":
        """Return where mail for a mailbox goes.

        Args:
            mailbox: as in RCPT; the bare ``postmaster`` has an empty domain.

        Returns:
            A route; or a reply: 550 5.1.1 no such mailbox, 450 4.2.1 the account is disabled (for
            now: mail that waits is not lost if it is enabled again), 451 4.4.3 the directory is
            down, 451 4.3.5 an alias leads nowhere. Never fails.

        RFC 5321 s3.4, s3.6, s4.5.1
        """
        route = self._routes.get(mailbox)
        if route is not None:
            return route
        # Each caller has a Deferred of its own: giving up on one leaves the others alone.
        later: Deferred[Resolved] = Deferred()
        waiting = self._running.setdefault(mailbox, [])
        waiting.append(later)
        if len(waiting) > 1:
            return later
        found: list[Resolved] = []
        lookup = Deferred.fromCoroutine(self._look_up(mailbox, self._routes.revision()))
        lookup.addBoth(self._share, mailbox, found)
        return found[0] if found else later

    def _share(self, result: "Resolved | Failure", mailbox: Mailbox, found: list[Resolved]) -> None:
        """Fire the Deferreds that wait for a result; a failure is the directory's, or ours."""
        if isinstance(result, Failure):
            if result.check(Unavailable):
                reason = result.getErrorMessage()
                self._log.info("cannot look {mailbox} up: {why}", mailbox=str(mailbox), why=reason)
            else:
                self._log.failure("cannot look {mailbox} up", result, mailbox=str(mailbox))
            result = DIRECTORY_DOWN
        found.append(result)
        for waiting in self._running.pop(mailbox):
            waiting.callback(result)

    async def find_entry(self, mailbox: Mailbox) -> Entry | None:
        """Return what the directory lists under a mailbox itself: no tag taken off, no catch-all.

        Raises:
            Exception: the directory does not answer.
        """
        revision = self._routes.revision()
        domain = await self._find_domain(mailbox.domain_key, revision)
        meant, domain = await self._meant(mailbox, domain, revision)
        if domain is None:
            return None
        address = self._addresses(meant, domain)[0][0]
        found: Entry | None = await maybeDeferred(self._directory.find_address, address)
        return found

    async def forwarding_sender(self, sender: Mailbox | None) -> Mailbox | None:
        """Return the reverse-path for copies that are forwarded off-site.

        Args:
            sender: the one that the message came with; None for the null sender, which stays.

        Returns:
            The sender itself if its domain is ours, or if senders are not rewritten here.
        """
        if sender is None or self._srs is None or not sender.domain or sender.is_literal:
            return sender
        if await self._find_domain(sender.domain_key, self._routes.revision()) is not None:
            return sender
        try:
            domain = ascii_name(sender.domain_key).encode("ascii")
        except ValueError:
            return sender
        return self._srs.forward(Mailbox(sender.local_part, domain))

    async def _look_up(self, mailbox: Mailbox, revision: int) -> Resolved:
        if self._srs is not None and self._srs.concerns(mailbox):
            return self._answer_of(self._srs, mailbox)
        domain_name = mailbox.domain_key or (self._settings.postmaster_domain or "")
        domain = await self._find_domain(domain_name, revision)
        if domain is None and mailbox.domain:
            return Route(queued=(mailbox,), foreign=True)
        resolved = await self._expand(mailbox, domain, revision)
        if isinstance(resolved, Route):
            self._routes.keep(mailbox, resolved, revision)
        return resolved

    def _answer_of(self, srs: Rewriting, mailbox: Mailbox) -> Resolved:
        """Return the route to the sender behind a rewritten address; not cached: it expires."""
        try:
            return Route(queued=(srs.reverse(mailbox),))
        except SRSError as error:
            self._log.info("{mailbox}: {error}", mailbox=str(mailbox), error=str(error))
            return UNKNOWN_USER

    async def _find_domain(self, name: str, revision: int) -> Domain | None:
        try:
            return self._domains[name]
        except KeyError:
            domain = await self._ask_for_domain(name) if name else None
        self._domains.keep(name, domain, revision)
        return domain

    async def _ask_for_domain(self, name: str) -> Domain | None:
        try:
            asked = ascii_name(name)
        except ValueError:  # no name, so no domain of ours
            return None
        found: Domain | None = await maybeDeferred(self._directory.find_domain, asked)
        return found

    async def _meant(
        self, mailbox: Mailbox, domain: Domain | None, revision: int
    ) -> tuple[Mailbox, Domain | None]:
        """Replace an alias domain by the domain that it stands for.

        Raises:
            LookupError: it stands for none of ours, or for another alias.
        """
        if domain is None or domain.kind is not DomainKind.ALIAS:
            return mailbox, domain
        target = domain.target or ""
        found = await self._find_domain(target, revision)
        if found is None or found.kind is DomainKind.ALIAS:
            raise LookupError(
                f"the domain {domain.name} is an alias of {target}, which is not ours"
            )
        return Mailbox(mailbox.local_part, target.encode("ascii")), found

    async def _expand(self, mailbox: Mailbox, domain: Domain | None, revision: int) -> Resolved:
        """Follow a local mailbox to the accounts and foreign addresses behind it."""
        try:
            mailbox, domain = await self._meant(mailbox, domain, revision)
        except LookupError as error:
            self._log.warn("{error}", error=str(error))
            return MISCONFIGURED
        entry = await self._find_local(mailbox, domain)
        if entry is None:
            return MISCONFIGURED if _is_role(mailbox) else UNKNOWN_USER
        if not isinstance(entry, Account | Alias):
            return Route(queued=(mailbox,), passes=True)
        if isinstance(entry, Account):
            if not entry.enabled:
                return DISABLED
            if not entry.forwards:
                return Route(accounts=(entry,))
        # Breadth first, one level of aliases at a time, so that depth is what the setting counts.
        found = Expansion(self._settings.alias_targets)
        level: Sequence[str] = found.add(str(mailbox), entry)
        for _ in range(self._settings.alias_depth):
            level = await self._expand_level(level, found, revision)
            if not level:
                return found.route() or (DISABLED if found.only_disabled else MISCONFIGURED)
        self._log.warn(
            "alias {address}: too many aliases lead to each other", address=entry.address
        )
        return MISCONFIGURED

    async def _expand_level(
        self, targets: Sequence[str], found: Expansion, revision: int
    ) -> Sequence[str]:
        """Follow every target by one step; return the targets of the aliases met."""
        further: list[str] = []
        for text in targets:
            if not found.is_new(text):
                continue
            if text.lower() == DISCARD:
                found.discards = True
                continue
            try:
                target = parse_mailbox(text.encode("utf-8"))
                domain = await self._find_domain(target.domain_key, revision)
                target, domain = await self._meant(target, domain, revision)
            except (PathError, LookupError) as error:
                self._log.warn("alias target {target}: {error}", target=text, error=str(error))
                continue
            if domain is None:  # off-site, in the name of the alias here
                found.forwarded[str(target)] = target
                continue
            target, entry = await self._find_target(target, domain)
            if entry is None:
                self._log.warn("alias target {target} does not exist", target=text)
            elif isinstance(entry, Account | Alias):
                further += found.add(text, entry)
            else:
                found.queued[str(target)] = target
        return further

    async def _find_local(self, mailbox: Mailbox, domain: Domain | None) -> Entry | None:
        """Look up a mailbox of a local domain in every way that may find it."""
        if domain is not None and domain.kind is DomainKind.RELAY:
            return await self._find_relayed(mailbox, domain)
        for address, tag in self._addresses(mailbox, domain):
            entry: Entry | None = await maybeDeferred(self._directory.find_address, address)
            if entry is not None:
                return self._tagged(entry, tag)
        if domain is not None and domain.catch_all is not None:
            # Followed like an alias, so that it may lead anywhere and not round in circles.
            return Alias(str(mailbox), (domain.catch_all,))
        first = self._settings.postmaster_domain
        if _is_role(mailbox) and first and (domain is None or domain.name != first):
            return Alias(str(mailbox), (f"postmaster@{first}",))
        return None

    async def _find_relayed(self, mailbox: Mailbox, domain: Domain) -> Entry | None:
        """Look up a mailbox of a relay-only domain; its postmaster always exists.

        Whether the other host knows tags is not known here; our own aliases do.
        """
        (listed, _), *untagged = self._plain_and_untagged(mailbox, domain)
        entry: Entry | None = await maybeDeferred(self._directory.find_address, listed)
        if entry is not None:
            return entry
        for address, tag in untagged:
            entry = await maybeDeferred(self._directory.find_address, address)
            if isinstance(entry, Alias):
                return self._tagged(entry, tag)
        if domain.any_recipient or _is_role(mailbox):
            return RelayRecipient(listed)
        return None

    async def _find_target(self, target: Mailbox, domain: Domain) -> tuple[Mailbox, Entry | None]:
        """Look up an alias's target, without its tag if a relay-only domain lists it so."""
        entry = await self._find_local(target, domain)
        if entry is None and domain.kind is DomainKind.RELAY:
            user, _ = split_tag(target.local_part, self._separator)
            if user != target.local_part:
                target = Mailbox(user, target.domain)
                entry = await self._find_local(target, domain)
        return target, entry

    def _addresses(self, mailbox: Mailbox, domain: Domain | None) -> list[tuple[str, bytes]]:
        """Return the addresses under which a mailbox may be listed, each with the tag taken off."""
        local = local_key(mailbox.local_part)
        addresses = []
        if domain is not None:
            addresses += self._plain_and_untagged(mailbox, domain)
            if local in _ROLES - {_POSTMASTER}:
                addresses.append((f"postmaster@{domain.name}", b""))
        if local in _ROLES and self._settings.postmaster_domain:
            addresses.append((f"postmaster@{self._settings.postmaster_domain}", b""))
        return addresses

    def _plain_and_untagged(self, mailbox: Mailbox, domain: Domain) -> list[tuple[str, bytes]]:
        """Return the address itself, and the one without the tag if there is a tag."""
        addresses = [(address_key(mailbox.local_part, domain.name), b"")]
        user, tag = split_tag(mailbox.local_part, self._separator)
        if user != mailbox.local_part:
            addresses.append((address_key(user, domain.name), tag))
        return addresses

    def _tagged(self, entry: Entry, tag: bytes) -> Entry:
        """Return the entry of an address that had a tag, changed by what the tag means for it."""
        if not tag:
            return entry
        if isinstance(entry, Account):
            return replace(entry, folder=tag.decode("utf-8", "replace"))
        if isinstance(entry, Alias) and entry.passes_tags:
            targets = tuple(with_tag(target, self._separator, tag) for target in entry.targets)
            return replace(entry, targets=targets)
        return entry


def _is_role(mailbox: Mailbox) -> bool:
    return mailbox.local_part.lower() in _ROLES
