"""Decides whether a connection to an SMTP port carries SMTP, TLS, or something else.

Anybody may listen on any port, and anybody may connect to one: a web browser, a scanner, a secure
shell that was moved. So a connection is a session once one side has started like SMTP or TLS. It is
none once both have started otherwise.

Where the beginning is missing, the capture may begin within a message. Then it is a session once
any segment begins like SMTP or TLS.

Who controls the input: both peers, every octet.
"""

import re
from enum import Enum
from typing import Final

from postroom.capture.tcp import StreamPart
from postroom.capture.tls_records import RECORD_TYPES
from postroom.wire.layer import printable
from postroom.wire.stream import TLS_HANDSHAKE, verb_at
from postroom.wire.verbs import CMD_EHLO, CMD_HELO, CMD_LHLO

GREETINGS: Final = frozenset({CMD_EHLO, CMD_HELO, CMD_LHLO})

UNDECIDED_OCTETS: Final = 65_536
"""How much may be said before it is known what it is."""

_HEAD_OCTETS: Final = 64
_NAMES: Final = ("server", "client")
_reply = re.compile(rb"[2-5][0-9][0-9](?![0-9])").match
_code = re.compile(rb"[2-5][0-9][0-9]").fullmatch
_start_of_reply = re.compile(rb"[2-5][0-9]{0,2}").fullmatch
_word = re.compile(rb"[A-Za-z]{1,8}").fullmatch


class StreamKind(Enum):
    """The protocol that one side's first octets show."""

    SMTP = "SMTP"
    TLS = "TLS"
    OTHER = "neither SMTP nor TLS"

    __hash__ = object.__hash__


def kind_of(head: bytes, from_client: bool, from_start: bool) -> StreamKind | None:
    """Return what octets begin like; None if there are too few of them to tell.

    Args:
        head: the first octets that are known.
        from_client: whose they are.
        from_start: whether they are the first that were said.

    RFC 5321 s4.1, s4.2; RFC 8446 s5.1
    """
    types = TLS_HANDSHAKE[:1] if from_start else RECORD_TYPES
    if head[0] in types and head[1:2] in (b"", TLS_HANDSHAKE[1:]):
        return StreamKind.TLS if len(head) > 1 else None
    if from_client:
        if _word(head):
            return None
        return StreamKind.SMTP if verb_at(memoryview(head), 0) is not None else StreamKind.OTHER
    if _start_of_reply(head):
        return None
    return StreamKind.SMTP if _reply(head) else StreamKind.OTHER


class Opening:
    """The octets of a connection whose protocol is not yet known.

    Attributes:
        kind: the protocol, None if it is not known yet.
        deliveries: the octets, to be read once it is known to be a session.
        forgotten_octets: how many octets came before these and were dropped.
    """

    def __init__(self, from_start: bool) -> None:
        """Create an opening without octets."""
        self.kind: StreamKind | None = None
        self.deliveries: list[StreamPart] = []
        self.forgotten_octets = 0
        self._octets = [0, 0]
        self._from_start = from_start
        self._heads = [b"", b""]
        self._kinds: list[StreamKind | None] = [None, None]

    def take(self, delivery: StreamPart) -> None:
        """Accept the next octets."""
        self.deliveries.append(delivery)
        self._octets[delivery.from_client] += len(delivery.octets)
        if delivery.lost:
            self._from_start = False
        elif self.kind is None:
            self._judge(delivery)
        if self.kind is None and sum(self._octets) > UNDECIDED_OCTETS:
            self._give_up()

    def _judge(self, delivery: StreamPart) -> None:
        side = delivery.from_client
        head = delivery.octets[:_HEAD_OCTETS]
        if self._from_start:
            head = self._heads[side] = (self._heads[side] + head)[:_HEAD_OCTETS]
        kind = kind_of(head, side, self._from_start)
        if kind is StreamKind.SMTP and side and self._kinds[False] is StreamKind.OTHER:
            # Other protocols have some of the verbs, but none of them begins with a greeting.
            kind = kind if verb_at(memoryview(head), 0) in GREETINGS else StreamKind.OTHER
        if self._from_start:
            self._kinds[side] = kind
        if kind in (StreamKind.SMTP, StreamKind.TLS) or self._kinds == [
            StreamKind.OTHER,
            StreamKind.OTHER,
        ]:
            self.kind = kind

    def _give_up(self) -> None:
        """Drop the oldest octets beyond the bound.

        SMTP does not begin with that much. Where the beginning is missing, what comes next may
        still show what it is.
        """
        if self._from_start:
            self.kind = StreamKind.OTHER
        else:
            self.forgotten_octets = sum(self._octets) - len(self.deliveries[-1].octets)
            del self.deliveries[:-1]

    def finish(self) -> None:
        """Record that the connection ended."""
        # Of each packet a capture may have no more than its beginning.
        codes = (each for each in self.deliveries if not each.from_client and _code(each.octets))
        self.kind = StreamKind.SMTP if any(codes) else StreamKind.OTHER

    @property
    def within_tls(self) -> bool:
        """True if TLS had begun before the capture did."""
        return self.kind is StreamKind.TLS and not self._from_start

    def seen(self) -> str:
        """Return in one line what was said, if it is neither SMTP nor TLS.

        Where the beginning is missing it may be a secret, and is shown by its length alone.
        """
        if not any(self._octets):
            return "nothing of what was said is in the capture"
        if self._from_start:
            side = next(each.from_client for each in self.deliveries if each.octets)
            line = self._heads[side].splitlines()[0]
            return f'neither SMTP nor TLS, the {_NAMES[side]} began with "{printable(line)}"'
        server, client = self._octets
        told = f"{client} octets of the client and {server} of the server"
        return f"neither SMTP nor TLS as far as it was captured, {told}"
