"""Which recipients are refused for a full mailbox, after the content.

SMTP has one answer for all recipients: a copy that finds no room while others found theirs waits in
the queue. LMTP and PRDR have an answer for each, so there the recipient itself is refused, and
nothing waits for it, unless somebody else's recipient leads to the same mailbox (a group): what
that one was promised is kept.
"""

from collections.abc import Iterable, Mapping

from postroom.delivery.batch import Outcome
from postroom.delivery.expansion import Route
from postroom.delivery.quotas import OverQuota
from postroom.envelope import Account, Envelope
from postroom.wire.parameters import PRDR
from postroom.wire.replies import Reply

Key = tuple[str, str]


def key_of(account: Account) -> Key:
    """Return what tells one copy from another: the account, and the folder if one was named."""
    return account.address, account.folder


def full_recipients(
    envelope: Envelope, failed: Iterable[tuple[Account, Outcome]]
) -> Mapping[int, Reply]:
    """Return which recipients are refused, and the replies.

    Args:
        envelope: complete.
        failed: the copies that were not stored, and why.

    Returns:
        Places in the envelope to replies; empty where one answer has to be true for all.

    RFC 2033 s4.2
    """
    if envelope.session.role != "lmtp" and PRDR.keyword not in envelope.mail.parameters:
        return {}
    full = {
        key_of(account): outcome.reply
        for account, outcome in failed
        if isinstance(outcome, OverQuota)
    }
    refused = {}
    for place, recipient in enumerate(envelope.recipients):
        route = recipient.route
        if not isinstance(route, Route) or route.queued or route.forwarded:
            continue
        replies = [full.get(key_of(account)) for account in route.accounts]
        if replies and replies[0] is not None and None not in replies:
            refused[place] = replies[0]
    return refused


def reached_by_others(envelope: Envelope, refused: Mapping[int, Reply]) -> frozenset[Key]:
    """Return the copies to which a recipient leads that is not refused."""
    return frozenset(
        key_of(account)
        for place, recipient in enumerate(envelope.recipients)
        if place not in refused and isinstance(recipient.route, Route)
        for account in recipient.route.accounts
    )
