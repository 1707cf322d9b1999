"""Who gets a copy of a message: the routes of its recipients, merged.

Several recipients may lead to one account. Its copy names all of them, in the order of their
commands, for mail to each of these addresses goes to its reader. No copy names a recipient that did
not lead to its account: who else the mail is for may be a secret (Bcc). Copies for two folders of
an account name the same ones: if neither folder is there they meet in the inbox, and have to be
one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from postroom.delivery.expansion import Route
from postroom.delivery.message_options import Parameters, passed_on
from postroom.delivery.over_quota_replies import Key, key_of
from postroom.envelope import Account, Envelope
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox


@dataclass(frozen=True, slots=True)
class Copies:
    """Who gets a copy of a message, each of them once.

    Attributes:
        accounts: each gets a copy in its Maildir.
        queued: the recipients of the copies that go through the queue.
        forwarded: the same, with the reverse-path rewritten.
        parameters: those of RCPT, for the recipients that led to accounts, by address and folder.
        originals: the recipients that led to each account, by its address.
    """

    accounts: tuple[Account, ...]
    queued: tuple[Rcpt, ...]
    forwarded: tuple[Rcpt, ...]
    parameters: Mapping[Key, Parameters] = field(default_factory=dict)
    originals: Mapping[str, Sequence[Mailbox]] = field(default_factory=dict)

    @classmethod
    def of(cls, envelope: Envelope) -> "Copies":
        """Merge the routes of an envelope's recipients."""
        accounts: dict[Key, Account] = {}
        queued: dict[tuple[bytes, str], Rcpt] = {}
        forwarded: dict[tuple[bytes, str], Rcpt] = {}
        asked: dict[Key, Parameters] = {}
        originals: dict[str, dict[Mailbox, None]] = {}
        for recipient in envelope.recipients:
            route = recipient.route
            if isinstance(route, Route):
                parameters = passed_on(recipient, route) if recipient.rcpt.parameters else {}
                for account in route.accounts:
                    key = key_of(account)
                    accounts[key] = account
                    named = originals.setdefault(account.address, {})
                    named[recipient.rcpt.forward_path] = None
                    if parameters:
                        asked.setdefault(key, parameters)
                for found, addresses in ((queued, route.queued), (forwarded, route.forwarded)):
                    for address in addresses:
                        found.setdefault(
                            (address.local_part, address.domain_key), Rcpt(address, parameters)
                        )
        for place in queued:  # a recipient needs no second copy through an alias
            forwarded.pop(place, None)
        return cls(
            (*accounts.values(),),
            (*queued.values(),),
            (*forwarded.values(),),
            asked,
            {address: (*named,) for address, named in originals.items()},
        )

    def __bool__(self) -> bool:
        """Return True if anybody gets one."""
        return bool(self.accounts or self.queued or self.forwarded)
