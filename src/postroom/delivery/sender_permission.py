"""As whom somebody who has logged in may send.

An account may use its own addresses, with or without a tag; those whose mail comes to it alone (an
alias, an alias domain, a catch-all); and what its list of senders names. An address of a group
belongs to none of its members: they need the list.

The router knows nearly all of that, and caches it: on the hot path nothing is looked up.

Who controls the input: the peer, the sender; the administrator, the rest. If the directory does not
answer, the reply is 451, never "not yours".
"""

from typing import Final

from twisted.internet.defer import Deferred

from postroom.delivery.expansion import Route
from postroom.delivery.routing import DIRECTORY_DOWN, Router
from postroom.delivery.settings import DeliverySettings
from postroom.envelope import Account
from postroom.errors import Refusal
from postroom.interfaces import IDirectory
from postroom.later import chain, result_of
from postroom.revision_cache import RevisionCache
from postroom.wire.paths import Mailbox

_KEPT: Final = 10_000


class SenderPermission:
    """Knows who may send as which address."""

    def __init__(self, directory: IDirectory, router: Router, settings: DeliverySettings) -> None:
        """Make it.

        Args:
            directory: has the accounts.
            router: finds where mail goes.
            settings: the site's.
        """
        self._directory = directory
        self._router = router
        self._separator = settings.sub_address_separator
        self._default_domain = settings.postmaster_domain
        self._accounts: RevisionCache[str, Account | None]
        self._accounts = RevisionCache(directory.revision, _KEPT)

    def may_send_as(self, user: str, sender: Mailbox) -> "bool | Deferred[bool]":
        """Return whether an account may send as an address.

        Args:
            user: who has logged in, by the account's first address; a bare name, which a source of
                logins may have, is one in the first domain.
            sender: from MAIL or from a header field.

        Raises:
            Refusal: 451 4.4.3, that cannot be looked up now.
        """
        if "@" not in user and self._default_domain is not None:
            user = f"{user}@{self._default_domain}".lower()
        try:
            account = self._accounts[user]
        except KeyError:
            return Deferred.fromCoroutine(self._look_up(user, sender))
        return self._judge(user, account, sender)

    async def _look_up(self, user: str, sender: Mailbox) -> bool:
        revision = self._accounts.revision()
        try:
            found = await self._directory.find_address(user)
        except Exception:
            raise Refusal(DIRECTORY_DOWN) from None
        account = found if isinstance(found, Account) else None
        self._accounts.keep(user, account, revision)
        return await result_of(self._judge(user, account, sender))

    def _judge(
        self, user: str, account: Account | None, sender: Mailbox
    ) -> "bool | Deferred[bool]":
        address = str(sender).lower()
        own = (user,) if account is None else (account.address, *account.addresses)
        if address in own or self._without_tag(address) in own:
            return True
        listed = () if account is None else account.senders
        if address in listed or f"@{sender.domain_key}" in listed:
            return True
        return chain(self._router.resolve(sender), _is_only_for, account)

    def _without_tag(self, address: str) -> str:
        local, _, domain = address.rpartition("@")
        if not self._separator or self._separator not in local:
            return address
        return f"{local.partition(self._separator)[0]}@{domain}"


def _is_only_for(route: object, account: Account | None) -> bool:
    """Return whether a route leads to an account, and nowhere but where the account's mail goes."""
    if route is DIRECTORY_DOWN:
        raise Refusal(DIRECTORY_DOWN)
    if account is None or not isinstance(route, Route) or route.foreign or route.queued:
        return False
    if any(str(address) not in account.forwards for address in route.forwarded):
        return False
    kept = [each.address for each in route.accounts]
    return kept == [account.address] or (not kept and bool(route.forwarded))
