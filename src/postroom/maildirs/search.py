"""Finding messages: by header field, text, flag, and time of arrival.

The cheapest criteria are checked first: flags and time are in the listing, fields need the header,
words the whole message. Case is ignored, and any run of blanks is like one blank.

Who controls the input: the administrator, what is looked for; senders, what is searched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from postroom.errors import UserError
from postroom.maildirs.messages import Gone, OpenMailbox, StoredMessage
from postroom.maildirs.reading import read_fields, searchable


@dataclass(frozen=True, slots=True)
class Criteria:
    """Criteria, all of which a message has to match.

    Attributes:
        fields: names of header fields, and a text that one field of that name contains.
        texts: each is in the body or in an attachment's name.
        with_flags: letters of flags that are set.
        without_flags: letters of flags that are not set.
        since: POSIX time at or after which it arrived.
        before: POSIX time before which it arrived.
    """

    fields: Sequence[tuple[str, str]] = ()
    texts: Sequence[str] = ()
    with_flags: str = ""
    without_flags: str = ""
    since: float | None = None
    before: float | None = None


def find_messages(
    mailbox: OpenMailbox, criteria: Criteria, left_out: Callable[[StoredMessage, str], None]
) -> Iterator[StoredMessage]:
    """Yield the messages of a mailbox that match the criteria, in order of arrival.

    Args:
        mailbox: open.
        criteria: what they have to match.
        left_out: called for each message that cannot be read, with the reason.
    """
    for entry in mailbox.entries():
        if _listed_matches(entry, criteria):
            try:
                if _content_matches(mailbox, entry, criteria):
                    yield entry
            except Gone:
                continue
            except UserError as error:
                left_out(entry, str(error))


def _listed_matches(entry: StoredMessage, criteria: Criteria) -> bool:
    flags = set(entry.flags)
    return (
        flags.issuperset(criteria.with_flags)
        and flags.isdisjoint(criteria.without_flags)
        and (criteria.since is None or entry.received_at >= criteria.since)
        and (criteria.before is None or entry.received_at < criteria.before)
    )


def _content_matches(mailbox: OpenMailbox, entry: StoredMessage, criteria: Criteria) -> bool:
    if not criteria.fields and not criteria.texts:
        return True
    with mailbox.reading(entry) as file:
        if criteria.fields:
            found = [(name.lower(), _plain(value)) for name, value in read_fields(file)]
            for wanted, text in criteria.fields:
                if not any(n == wanted.lower() and _plain(text) in value for n, value in found):
                    return False
        if criteria.texts:
            whole = [_plain(text) for text in searchable(file)]
            return all(any(_plain(text) in each for each in whole) for text in criteria.texts)
    return True


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
