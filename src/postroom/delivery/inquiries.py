"""Answers to VRFY and EXPN, where the settings allow them.

Both answer what RCPT would answer, and no more. VRFY confirms mailboxes here; of others, and of
those of a relay-only domain that accepts all recipients, it does not know (252). EXPN returns the
targets of an alias as they are set up, without following them; an alias with restricted writers is
expanded for those writers only.

Who controls the input: the peer, what it asks for.

RFC 5321 s3.5, s7.3
"""

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from postroom.delivery.expansion import Route
from postroom.delivery.routing import Resolved, Router
from postroom.delivery.session_delivery import SessionDelivery
from postroom.envelope import DISCARD, Alias, Writers
from postroom.interfaces import IInquiries
from postroom.later import result_of
from postroom.wire.paths import Mailbox, PathError, parse_mailbox, parse_path
from postroom.wire.replies import Reply, reply

NOT_ONE_MAILBOX: Final = reply(553, "5.1.3", "One mailbox is expected, as in <user@example.org>")


@implementer(IInquiries)
class DirectoryInquiries:
    """Asks the routing for a session; an adapter of its delivery."""

    def __init__(self, delivery: SessionDelivery) -> None:
        """Create the adapter of a session's delivery, which knows who asks."""
        self._router: Router = delivery.services.router
        self._user = delivery.identity()
        self._default_domain = delivery.services.settings.postmaster_domain

    def verify(self, text: bytes) -> "Deferred[Mailbox | Reply | None]":
        """See `IInquiries.verify`.

        RFC 5321 s3.5.3
        """
        return Deferred.fromCoroutine(self._verify(text))

    def expand(self, text: bytes) -> "Deferred[Sequence[Mailbox] | None]":
        """See `IInquiries.expand`.

        RFC 5321 s3.5.2
        """
        return Deferred.fromCoroutine(self._expand(text))

    async def _verify(self, text: bytes) -> Mailbox | Reply | None:
        mailbox = self._mailbox(text)
        if mailbox is None:
            return NOT_ONE_MAILBOX
        resolved: Resolved = await result_of(self._router.resolve(mailbox))
        if isinstance(resolved, Reply):
            return resolved
        if resolved.foreign or (resolved.passes and not await self._is_listed(mailbox)):
            return None
        return mailbox

    async def _is_listed(self, mailbox: Mailbox) -> bool:
        found = await self._router.find_entry(mailbox)
        return found is not None

    async def _expand(self, text: bytes) -> Sequence[Mailbox] | None:
        mailbox = self._mailbox(text)
        if mailbox is None:
            return None
        resolved: Resolved = await result_of(self._router.resolve(mailbox))
        if not isinstance(resolved, Route) or resolved.foreign:
            return None
        found = await self._router.find_entry(mailbox)
        if not isinstance(found, Alias):
            return None
        if found.writers is not Writers.ANYONE and not resolved.admits(self._user):
            return None
        targets = [target for target in found.targets if target.lower() != DISCARD]
        return [parse_mailbox(target.encode("utf-8")) for target in targets]

    def _mailbox(self, text: bytes) -> Mailbox | None:
        """Parse the argument of VRFY or EXPN: a path, a mailbox, or a local part of ours."""
        stripped = text.strip()
        try:
            if stripped.startswith(b"<"):
                return parse_path(stripped)
            if b"@" not in stripped:
                stripped += b"@" + (self._default_domain or "").encode("ascii")
            return parse_mailbox(stripped)
        except PathError:
            return None
