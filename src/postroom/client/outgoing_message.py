"""One message on its way to one destination, over however many hosts and connections that takes."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from postroom.client.model import Outgoing, Sent
from postroom.envelope import TLSFacts
from postroom.wire.replies import Reply


class OutgoingMessage:
    """A message and what became of each recipient so far.

    Attributes:
        outgoing: the message.
        replies: one for each recipient; None for those nobody has decided on.
        unaware: the places of those that a host without DSN has taken, as `Sent.unaware`.
        tried: the addresses that failed this message, which are not tried again.
        last: why it last had to look for another connection.
        remote: the host that answered last.
        tls: TLS facts of that connection.
        done: fires once, with `Sent`.
    """

    __slots__ = ("done", "last", "outgoing", "remote", "replies", "tls", "tried", "unaware")

    def __init__(self, outgoing: Outgoing) -> None:
        """Begin with nobody decided on."""
        self.outgoing = outgoing
        self.replies: list[Reply | None] = [None] * len(outgoing.message.recipients)
        self.unaware: frozenset[int] = frozenset()
        self.tried: frozenset[str] = frozenset()
        self.last: Reply | None = None
        self.remote = ""
        self.tls: TLSFacts | None = None
        self.done: Deferred[Sent] = Deferred()

    @property
    def open(self) -> bool:
        """True while a recipient is undecided."""
        return None in self.replies

    def undecided(self, limit: int) -> Sequence[int]:
        """Give the places of the first undecided recipients."""
        return [place for place, reply in enumerate(self.replies) if reply is None][:limit]

    def settle(self, reply: Reply) -> None:
        """Give this reply to every undecided recipient."""
        self.replies = [reply if had is None else had for had in self.replies]

    def report(self) -> None:
        """Tell whoever sent the message; everyone must be decided on."""
        replies = [reply for reply in self.replies if reply is not None]
        self.done.callback(Sent(replies, self.remote, self.tls, self.unaware))
