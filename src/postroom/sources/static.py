"""Accounts and aliases from the settings, for a few users and for tests.

Who controls the input: the administrator.
"""

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from postroom.credentials import Credential, Knowledge
from postroom.directory.addresses import domain_of, local_address, login_address, parse_target
from postroom.envelope import Account, Alias, Domain, Entry
from postroom.errors import UserError
from postroom.interfaces import ICredentialSource, IDirectory
from postroom.sources.password_text import knowledge_from, stored_password
from postroom.sources.profile import Maildirs, make_account


@implementer(IDirectory, ICredentialSource)
class StaticSource:
    """A table that never changes while the daemon runs."""

    def __init__(
        self,
        users: Mapping[str, str],
        aliases: Mapping[str, Sequence[str]],
        maildirs: Maildirs,
        default_domain: str | None,
    ) -> None:
        """Build the table.

        Args:
            users: address to stored password; with an empty one nobody can log in.
            aliases: address to targets.
            maildirs: decides where Maildirs are.
            default_domain: the domain of a name without one.

        Raises:
            UserError: one of them is not an address or target, or is listed twice.
        """
        self._default_domain = default_domain
        self._entries: dict[str, Entry] = {}
        self._stored: dict[str, tuple[str, ...]] = {}
        for text, stored in users.items():
            address = self._new_address(text)
            self._entries[address] = make_account(address, {}, maildirs)
            self._stored[address] = stored_password(stored)
        for text, targets in aliases.items():
            address = self._new_address(text)
            if not targets:
                raise UserError(f"the alias {address} needs at least one target")
            chosen = tuple(parse_target(target) for target in targets)
            self._entries[address] = Alias(address, chosen)
        self._domains = frozenset(domain_of(address) for address in self._entries)

    def _new_address(self, text: str) -> str:
        address = local_address(text)
        if address in self._entries:
            raise UserError(f"{address} is listed twice")
        return address

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `ICredentialSource`."""
        return knowledge_from(stored for forms in self._stored.values() for stored in forms)

    def start(self) -> None:
        """Do nothing: there is nothing to start."""

    def stop(self) -> None:
        """Do nothing: there is nothing to stop."""

    def revision(self) -> int:
        """See `IDirectory.revision`."""
        return 0

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        return succeed(Domain(name) if name in self._domains else None)

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        return succeed(self._entries.get(address))

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        """See `ICredentialSource.find_credential`."""
        address = login_address(username, self._default_domain) or ""
        found = self._entries.get(address)
        if not isinstance(found, Account):
            return succeed(None)
        return succeed(Credential(address, self._stored[address], enabled=found.enabled))
