"""One message on its way to one destination, over however many hosts and connections that takes."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from postroom.client.model import Outgoing, Sent
from postroom.envelope import TLSFacts
from postroom.wire.replies import Reply


class OutgoingMessage:
    """A message, with the reply for each recipient so far.

    Attributes:
        outgoing: the message.
        replies: one for each recipient; None for a recipient that no host has decided on.
        unaware: the indices of recipients that a host without DSN has accepted; see `Sent`.
        tried: the IP addresses at which the message has failed; they are not tried again.
        last: the reply with which the last connection failed.
        remote: the host that answered last.
        tls: TLS facts of that connection.
        done: fires once, with `Sent`.
    """

    __slots__ = ("done", "last", "outgoing", "remote", "replies", "tls", "tried", "unaware")

    def __init__(self, outgoing: Outgoing) -> None:
        """Create it with every recipient undecided."""
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
        """Return the indices of the first undecided recipients, at most so many."""
        return [place for place, reply in enumerate(self.replies) if reply is None][:limit]

    def settle(self, reply: Reply) -> None:
        """Assign a reply to every undecided recipient."""
        self.replies = [reply if had is None else had for had in self.replies]

    def report(self) -> None:
        """Fire `done` with the result; every recipient must be decided on."""
        replies = [reply for reply in self.replies if reply is not None]
        self.done.callback(Sent(replies, self.remote, self.tls, self.unaware))
