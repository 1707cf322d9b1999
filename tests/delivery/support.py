"""Small parts that the tests of this package share."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.delivery.settings import DeliverySettings
from postroom.envelope import (
    Domain,
    Entry,
    Envelope,
    NewMessage,
    Notice,
    Recipient,
    SessionFacts,
    TLSFacts,
)
from postroom.interfaces import IChunkSource, IContent, IDirectory, IQueue
from postroom.wire.commands import Mail, Rcpt
from postroom.wire.paths import Mailbox, parse_mailbox

FACTS = SessionFacts("mx", "192.0.2.1", 4711, b"client.example", True)
TLS = TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
HEADER = b"From: <a@client.example>\r\nSubject: s\r\n\r\n"
MESSAGE = HEADER + b"Hello.\r\n"


def settings(**changes: Any) -> DeliverySettings:
    return DeliverySettings(
        **{"hostname": "mx.example", "postmaster_domain": "here.example"} | changes
    )


def box(address: str) -> Mailbox:
    return parse_mailbox(address.encode("ascii"))


def envelope(
    *recipients: tuple[str, object],
    sender: str | None = "a@client.example",
    session: SessionFacts = FACTS,
    **parameters: str,
) -> Envelope:
    """An envelope of (address, route) pairs."""
    made = Envelope("1kD3vB0007Qwbz", session, Mail(box(sender) if sender else None, parameters))
    for address, route in recipients:
        made.recipients.append(Recipient(Rcpt(box(address)), route))
    return made


def as_lf(octets: bytes) -> bytes:
    """What a Maildir file has for content with CRLF."""
    return re.sub(rb"(?<!\r)\r\n", b"\n", octets)


def files_in(directory: str) -> dict[str, bytes]:
    """Name to octets."""
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            found[name] = file.read()
    return found


class Threads:
    """A thread pool and a reactor without threads: work is done when `run` says so."""

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.waiting: list[Callable[[], None]] = []
        self.hops = 0

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], object], func: Callable[[], object], /
    ) -> None:
        self.hops += 1

        def work() -> None:
            try:
                result = func()
            except Exception:
                on_result(False, Failure())
            else:
                on_result(True, result)

        self.waiting.append(work)
        if self.at_once:
            self.run()

    def callFromThread(self, func: Callable[..., object], *args: object) -> None:
        func(*args)

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


@implementer(IDirectory)
class MemoryDirectory:
    """A directory of domains and entries that counts what it is asked."""

    def __init__(self, domains: Sequence[Domain], *entries: Entry) -> None:
        self.domains = {domain.name: domain for domain in domains}
        self.entries = {entry.address: entry for entry in entries}
        self.number = 1
        self.asked: list[str] = []
        self.later: list[Deferred[None]] | None = None
        self.down: Exception | None = None

    def revision(self) -> int:
        return self.number

    def find_domain(self, name: str) -> "Deferred[Domain | None]":
        return self._answer(name, self.domains.get(name))

    def find_address(self, address: str) -> "Deferred[Entry | None]":
        return self._answer(address, self.entries.get(address))

    def _answer(self, name: str, found: Any) -> "Deferred[Any]":
        self.asked.append(name)
        if self.down is not None:
            return fail(self.down)
        if self.later is not None:
            waiting: Deferred[None] = Deferred()
            self.later.append(waiting)
            return waiting.addCallback(lambda _: found)
        return succeed(found)


@implementer(IQueue)
class MemoryQueue:
    """A queue that reads the content, as the real one does, and keeps it."""

    def __init__(self) -> None:
        self.messages: list[tuple[NewMessage, bytes]] = []
        self.notices: list[tuple[NewMessage, bytes, Sequence[Notice]]] = []
        self.failures: list[Exception] = []
        self.later: list[Deferred[None]] | None = None

    def notify(
        self, message: NewMessage, header: bytes, notices: Sequence[Notice]
    ) -> "Deferred[None]":
        self.notices.append((message, header, notices))
        return fail(self.failures.pop(0)) if self.failures else succeed(None)

    def enqueue(self, message: NewMessage, content: IContent) -> "Deferred[None]":
        if self.failures:
            return fail(self.failures.pop(0))
        self.messages.append((message, b"".join(content.chunks())))
        if self.later is not None:
            waiting: Deferred[None] = Deferred()
            self.later.append(waiting)
            return waiting
        return succeed(None)


@implementer(IChunkSource)
class Chunks:
    """A chunk source, at once or by Deferreds."""

    def __init__(self, *chunks: bytes, deferred: bool = False) -> None:
        self.chunks = chunks
        self.size_octets = sum(map(len, chunks))
        self.deferred = deferred

    def chunk(self, index: int) -> "bytes | Deferred[bytes]":
        chunk = self.chunks[index] if index < len(self.chunks) else b""
        return succeed(chunk) if self.deferred else chunk


@implementer(IContent)
class StreamedContent:
    """Content that can only be read in pieces, as a third party's may be."""

    def __init__(self, octets: bytes, piece: int = 7) -> None:
        self.octets, self.piece = octets, piece
        self.size_octets = len(octets)

    def in_memory(self) -> None:
        return None

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.octets), self.piece):
            yield self.octets[start : start + self.piece]
