"""The addresses by which the queue, and other servers, find an account again."""

from postroom.envelope import Account
from postroom.wire.paths import Mailbox, mailbox


def address_of(account: Account, separator: str) -> Mailbox:
    """Give an account's own address, with its folder as a tag if it has one that can be written.

    Args:
        account: as a route names it.
        separator: what divides user from tag; empty for none.

    RFC 5233 s1
    """
    address = mailbox(account.address)
    if not account.folder or not account.folder.isascii() or not separator:
        return address
    tag = f"{separator}{account.folder}".encode("ascii")
    return Mailbox(address.local_part + tag, address.domain)
