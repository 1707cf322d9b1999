"""Accounts in an LDAP directory, asked through ldaptor.

A filter finds the entry of an address. The address is escaped in it octet by octet (RFC 4515), so
that no name can change the filter. The settings map attributes of the entry to the fields of
`postroom.sources.profile`. If more than one entry has an address, that is an error in the
directory, and a temporary failure.

A password is checked in one of three ways: by a *bind* as the entry, by a *compare* with the
entry's password, or by *reading* the stored password and comparing it here. An empty password is
never sent to the server, since many servers treat it as an anonymous bind, which succeeds.

Theory: searches share one connection, which is opened on first use and again when it was lost. A
search on a lost connection is repeated once on a new one, since servers close idle connections.
Each bind of a user has a connection of its own; the number of these is limited.

Who controls the input: the peer, addresses and passwords; the administrator, the filters; whoever
fills the directory, the answers.

RFC 4511 s4.2, s4.5, s4.10; RFC 4513 s5.1.2; RFC 4515 s3
"""

from collections.abc import Sequence
from typing import Any, Final

from ldaptor.ldapfilter import InvalidLDAPFilter, parseFilter
from ldaptor.protocols.ldap.ldaperrors import (
    LDAPException,
    LDAPInappropriateAuthentication,
    LDAPInvalidCredentials,
    LDAPNoSuchObject,
)
from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.credentials import Credential, Knowledge
from postroom.directory.addresses import (
    foreign_forms,
    local_address,
    login_address,
    parse_target,
)
from postroom.envelope import Account, Alias, Domain, Entry
from postroom.errors import UserError
from postroom.interfaces import ICredentialSource, IDirectory
from postroom.sources.ldap_connection import ILDAPReactor, LDAPConnections, LDAPEntry
from postroom.sources.password_text import stored_password
from postroom.sources.profile import Maildirs, SourceDown, SourceError, make_account
from postroom.sources.settings import LDAPSettings

PLACES: Final = ("address", "user", "domain")
_LOGINS_AT_ONCE: Final = 8
_LOGINS_WAITING: Final = 200
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@.-_")
_NOBODY: Final = "\0@\0"
"""Looked up for a name that no account can have."""
_LISTED: Final = frozenset({"addresses", "forwards", "senders"})
# The errors of a server for a wrong password, and for an entry that cannot log in.
_WRONG = (LDAPInvalidCredentials, LDAPInappropriateAuthentication, LDAPNoSuchObject)


@implementer(IDirectory, ICredentialSource)
class LDAPSource:
    """A directory server as a source."""

    def __init__(
        self,
        settings: LDAPSettings,
        maildirs: Maildirs,
        reactor: ILDAPReactor,
        timeout_seconds: float,
    ) -> None:
        """Store the settings; no connection is opened before the first look-up.

        Args:
            settings: what is asked.
            maildirs: decides where Maildirs are.
            reactor: for connections and times.
            timeout_seconds: how long an answer may take.

        Raises:
            UserError: a filter is not valid.
        """
        check_filter("user_filter", settings.user_filter)
        if settings.alias_filter:
            check_filter("alias_filter", settings.alias_filter)
        self._settings = settings
        self._maildirs = maildirs
        self._reactor = reactor
        self._timeout_seconds = timeout_seconds
        self._connections = LDAPConnections(settings.server, reactor)
        self._binding = DeferredSemaphore(_LOGINS_AT_ONCE)
        self.knows = frozenset({Knowledge.CHECKABLE})

    def start(self) -> None:
        """Do nothing: a connection is made when it is needed."""

    def stop(self) -> Deferred[Any]:
        """Close the connections; fires when they are closed."""
        return self._connections.close()

    def revision(self) -> int:
        """See `IDirectory.revision`: a directory server does not tell."""
        return 0

    def find_domain(self, name: str) -> Deferred[Domain | None]:
        """See `IDirectory.find_domain`."""
        return succeed(Domain(name) if name in self._settings.domains else None)

    def find_address(self, address: str) -> Deferred[Entry | None]:
        """See `IDirectory.find_address`."""
        return self._timed(self._find(address))

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        """See `ICredentialSource.find_credential`; impossible names take the same time."""
        first = next(iter(self._settings.domains), None)
        return self._timed(self._credential(login_address(username, first) or _NOBODY))

    def _timed(self, asking: Any) -> Deferred[Any]:  # a coroutine of any result
        asked = Deferred.fromCoroutine(asking).addTimeout(self._timeout_seconds, self._reactor)
        return asked.addErrback(_translated)

    async def _find(self, address: str) -> Entry | None:
        found = await self._user(address)
        if found is not None:
            return found[0]
        if not self._settings.alias_filter:
            return None
        attribute = self._settings.target_attribute
        entry = await self._entry(self._settings.alias_filter, address, [attribute])
        if entry is None:
            return None
        try:
            return Alias(address, tuple(parse_target(text) for text in entry.texts(attribute)))
        except UserError as error:
            raise SourceError(f"{entry.dn}: {error}") from None

    async def _user(self, address: str) -> "tuple[Account, LDAPEntry] | None":
        settings = self._settings
        attributes = settings.attributes.named()
        wanted = sorted({*attributes.values()})
        if settings.check == "read":
            wanted.append(settings.password_attribute)
        entry = await self._entry(settings.user_filter, address, wanted)
        if entry is None:
            return None
        said = {name: entry.texts(attribute) for name, attribute in attributes.items()}
        own = self._addresses(entry, said.pop("address", ()))
        first = own[0] if own else address
        fields = {
            name: (",".join(values) if name in _LISTED else values[0])
            for name, values in said.items()
            if values
        }
        if len(own) > 1:
            fields["addresses"] = ",".join([*own[1:], *filter(None, [fields.get("addresses")])])
        return make_account(first, fields, self._maildirs), entry

    def _addresses(self, entry: LDAPEntry, texts: Sequence[str]) -> list[str]:
        try:
            return [local_address(text) for text in texts]
        except UserError as error:
            raise SourceError(f"{entry.dn}: {error}") from None

    async def _entry(
        self, template: str, address: str, attributes: Sequence[str]
    ) -> LDAPEntry | None:
        text = fill_filter(template, address)
        found = await self._connections.search(self._settings.base, text, attributes)
        if len(found) > 1:
            raise SourceError(f"{address}: {len(found)} entries have it: {found[0].dn}, …")
        return found[0] if found else None

    async def _credential(self, address: str) -> Credential | None:
        found = await self._user(address)
        if found is None:
            return None
        account, entry = found
        if self._settings.check == "read":
            texts = entry.texts(self._settings.password_attribute)
            forms = [
                form for text in texts for form in stored_password(text, self._settings.scheme)
            ]
            # Several values are several passwords: the first is the one that counts.
            return Credential(account.address, tuple(forms[:1]), enabled=account.enabled)
        return Credential(
            account.address,
            enabled=account.enabled,
            verify=lambda password: self._verify(entry.dn, password),
        )

    def _verify(self, dn: str, password: bytes) -> Deferred[bool]:
        if not password or b"\0" in password:
            return succeed(False)
        if len(self._binding.waiting) >= _LOGINS_WAITING:
            raise SourceDown("too many logins wait for the LDAP server")
        checking: Deferred[bool] = self._binding.run(self._timed, self._check(dn, password))
        return checking

    async def _check(self, dn: str, password: bytes) -> bool:
        try:
            if self._settings.check == "bind":
                await self._connections.bind_once(dn, password)
                return True
            attribute = self._settings.password_attribute
            return await self._connections.compare(dn, attribute, password)
        except _WRONG:
            return False


def _translated(failure: Failure) -> Failure:
    """Return the error of ours that stands for an error of the server."""
    if failure.check(LDAPException):
        raise SourceDown(f"the server answers {failure.getErrorMessage()}")
    return failure


def fill_filter(template: str, address: str) -> str:
    """Return a filter with an address filled in.

    RFC 4515 s3
    """
    filled = template
    for place, value in zip(PLACES, foreign_forms(address), strict=True):
        filled = filled.replace(f"{{{place}}}", escape_value(value))
    return filled


def escape_value(text: str) -> str:
    r"""Return a value for a filter; other than plain octets become ``\xx``.

    RFC 4515 s3
    """
    return "".join(
        chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in text.encode("utf-8")
    )


def check_filter(name: str, template: str) -> None:
    """Check a filter of the settings.

    Raises:
        UserError: it is not valid, or has no placeholder for the address.
    """
    if not any(f"{{{place}}}" in template for place in PLACES):
        known = ", ".join(f"{{{place}}}" for place in PLACES)
        raise UserError(f"accounts.ldap.{name}: {template!r} contains none of {known}")
    try:
        parseFilter(fill_filter(template, "a@b.example"))
    except InvalidLDAPFilter as error:
        raise UserError(
            f"accounts.ldap.{name}: {template!r} is not an LDAP filter: {error}"
        ) from None
