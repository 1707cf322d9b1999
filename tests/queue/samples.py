"""Messages and contents to put into queues."""

from collections.abc import Iterator, Sequence

from zope.interface import implementer

from postroom.envelope import NewMessage, new_queue_id
from postroom.interfaces import IContent
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox, mailbox

SENDER = mailbox("sender@example.org")


@implementer(IContent)
class Content:
    """A content in given chunks; one that fails does so after them."""

    def __init__(self, *chunks: bytes, failure: Exception | None = None) -> None:
        self._chunks = chunks
        self._failure = failure
        self.size_octets = sum(map(len, chunks))

    def chunks(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._failure is not None:
            raise self._failure

    def in_memory(self) -> Sequence[bytes] | None:
        return self._chunks


def new_message(
    *recipients: str,
    sender: Mailbox | None = SENDER,
    rcpt: dict[str, str | None] | None = None,
    **more: object,
) -> NewMessage:
    return NewMessage(
        id=new_queue_id(),
        sender=sender,
        recipients=tuple(
            Rcpt(mailbox(each), rcpt or {}) for each in recipients or ("recipient@example.net",)
        ),
        received_at=1000.5,
        **more,  # type: ignore[arg-type]
    )
