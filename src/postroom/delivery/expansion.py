"""A route, and what following aliases, groups and forwards collects until it is one.

An alias that only its members may write to is open to the accounts that it leads to itself, however
it was met: so an expansion remembers which alias led where, and finds the members of each at the
end. Where several such aliases are met, a writer has to be a member of all.
"""

from dataclasses import dataclass

from postroom.envelope import Account, Alias, Writers
from postroom.wire.paths import Mailbox, parse_mailbox


@dataclass(frozen=True, slots=True)
class Route:
    """Where one recipient's mail goes; nowhere at all if it is discarded.

    Attributes:
        accounts: each gets a copy in its Maildir, in the folder that it names if that exists.
        queued: each gets a copy through the queue.
        forwarded: the same, off-site and in the name of somebody here, so that the reverse-path
            is rewritten.
        foreign: True if the recipient's own domain is not ours, so that only those who may relay
            can write to it. An alias of ours may lead away all the same.
        passes: True if the recipient is in a relay-only domain, and its mail leaves the queue for
            that domain's next hop.
        users_only: True if only those who have logged in may write.
        writers: the accounts that may write, by address; None for everybody.
    """

    accounts: tuple[Account, ...] = ()
    queued: tuple[Mailbox, ...] = ()
    forwarded: tuple[Mailbox, ...] = ()
    foreign: bool = False
    passes: bool = False
    users_only: bool = False
    writers: frozenset[str] | None = None

    def admits(self, user: str | None) -> bool:
        """Return whether a session may write here.

        Args:
            user: who has logged in; None for an anonymous session.
        """
        if self.writers is not None:
            return user in self.writers
        return user is not None or not self.users_only


class Expansion:
    """What following a recipient has found so far.

    Attributes:
        queued: addresses for the queue, by their text.
        forwarded: addresses off-site, by their text.
        discards: True if ``discard:`` was met.
    """

    def __init__(self, limit: int) -> None:
        """Create an empty expansion.

        Args:
            limit: how many targets may be followed.
        """
        self._left = limit
        self._met: set[str] = set()
        self._disabled = False
        self._accounts: dict[tuple[str, str], Account] = {}
        self._leads: dict[str, tuple[str, ...]] = {}
        self._named: dict[str, str] = {}
        self._restricted: list[Alias] = []
        self.queued: dict[str, Mailbox] = {}
        self.forwarded: dict[str, Mailbox] = {}
        self.discards = False

    def is_new(self, target: str) -> bool:
        """Return whether to follow a target: it is a new one, and not one too many."""
        if target in self._met:
            return False
        self._met.add(target)
        self._left -= 1
        return self._left >= 0

    def add(self, target: str, entry: Account | Alias) -> tuple[str, ...]:
        """Add what a target stands for; return the further targets that it leads to.

        A disabled account's copy waits in the queue.
        """
        if isinstance(entry, Alias):
            self._leads[target.lower()] = entry.targets
            if entry.writers is not Writers.ANYONE:
                self._restricted.append(entry)
            return entry.targets
        self._named[target.lower()] = entry.address
        if not entry.enabled:
            self._disabled = True
            self.queued[entry.address] = parse_mailbox(entry.address.encode("utf-8"))
            return ()
        if entry.keeps_copy or not entry.forwards:
            self._accounts[entry.address, entry.folder] = entry
        return entry.forwards

    @property
    def only_disabled(self) -> bool:
        """True if a disabled account was met, and nothing else."""
        return self._disabled and len(self.queued) == 1 and not (self._accounts or self.forwarded)

    def route(self) -> Route | None:
        """Return the route; None if the recipient leads nowhere, or too far."""
        if self._left < 0 or self.only_disabled:
            return None
        if not (self._accounts or self.queued or self.forwarded or self.discards):
            return None
        return Route(
            tuple(self._accounts.values()),
            tuple(self.queued.values()),
            tuple(self.forwarded.values()),
            users_only=bool(self._restricted),
            writers=self._writers(),
        )

    def _writers(self) -> frozenset[str] | None:
        sets = [
            self._members(alias) for alias in self._restricted if alias.writers is Writers.MEMBERS
        ]
        return frozenset.intersection(*sets) if sets else None

    def _members(self, alias: Alias) -> frozenset[str]:
        """Return the accounts that an alias leads to, directly or through other aliases."""
        seen: set[str] = set()
        level = list(alias.targets)
        while level:
            target = level.pop().lower()
            if target not in seen:
                seen.add(target)
                level += self._leads.get(target, ())
        return frozenset(self._named[each] for each in seen if each in self._named)
