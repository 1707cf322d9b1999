"""Tags of addresses: the ``key`` of ``incoming+key@example.org``.

A tag belongs to whoever reads the mail in the end. So it goes on from an alias to its targets: to
an account, where it names a folder, as well as to another host. A target that has a tag keeps it.

RFC 5233 s1
"""

from postroom.envelope import DISCARD
from postroom.wire.paths import PATH_OCTETS, Mailbox, PathError, parse_mailbox


def split_tag(local_part: bytes, separator: bytes) -> tuple[bytes, bytes]:
    """Split a local part into user and tag; the tag is empty if there is none.

    Args:
        local_part: without quotes.
        separator: what divides them; empty for none.
    """
    if not separator:
        return local_part, b""
    user, _, tag = local_part.partition(separator)
    return (user, tag) if user else (local_part, b"")


def with_tag(target: str, separator: bytes, tag: bytes) -> str:
    """Return an alias's target with a tag, unless it has one or cannot have one.

    Args:
        target: an address or ``discard:``.
        separator: what divides user from tag; not empty.
        tag: as the sender wrote it.
    """
    if target.lower() == DISCARD:
        return target
    try:
        mailbox = parse_mailbox(target.encode("utf-8"))
    except PathError:  # the router logs it when it follows the target
        return target
    if split_tag(mailbox.local_part, separator) != (mailbox.local_part, b""):
        return target
    tagged = bytes(Mailbox(mailbox.local_part + separator + tag, mailbox.domain))
    return tagged.decode("utf-8") if len(tagged) <= PATH_OCTETS - 2 else target
