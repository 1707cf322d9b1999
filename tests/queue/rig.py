"""A relay on the real store, with time and the world outside in the test's hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, select
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from postroom.client.model import Destination, Outgoing, Sent
from postroom.database import migrate, open_database, transaction
from postroom.envelope import Account, Alias, Domain, DomainKind, NewMessage
from postroom.interfaces import IChunkSource, IDirectory, ILocalAgent
from postroom.queue.batch import Batch
from postroom.queue.queue import Queue
from postroom.queue.relay import Exits, Relay
from postroom.queue.settings import RelaySettings
from postroom.queue.store import SqlQueueStore
from postroom.queue.tables import message, recipient
from postroom.queue.writer import Job
from postroom.wire.commands import Rcpt
from postroom.wire.replies import Reply, reply
from tests.queue.samples import Content, new_message

EPOCH = 1_800_000_000.0
OK = reply(250, "2.0.0", "Ok")
BUSY = reply(450, "4.2.1", "Mailbox busy")
UNKNOWN = reply(550, "5.1.1", "No such user")
UNREACHABLE = reply(451, "4.4.1", "Cannot connect")
REMOTE = "mx.example.net[192.0.2.1]:25"

Answer = Sent | Reply | Exception | Deferred[Sent]


class InlineWriter:
    """The writer's place without its thread: each job is a transaction, when it comes or later."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self.engine = engine
        self.batch = Batch(owner)
        self.error: Exception | None = None
        self.paused: list[Job[Any]] | None = None
        self.jobs: list[Job[Any]] = []

    def submit(self, job: Job[Any]) -> Deferred[Any]:
        self.jobs.append(job)
        if self.error is not None:
            return fail(self.error)
        if self.paused is not None:
            self.paused.append(job)
        else:
            self.commit(job)
        return job.deferred

    def commit(self, job: Job[Any]) -> None:
        with transaction(self.engine) as connection:
            self.batch.apply(connection, [job])
        job.fire()

    def resume(self) -> None:
        jobs, self.paused = self.paused or [], None
        for job in jobs:
            self.commit(job)


class InlineReaders:
    """A thread pool's place without its threads."""

    def __init__(self, writer: InlineWriter) -> None:
        self.writer = writer
        self.reads = 0

    def callInThreadWithCallback(self, on_result: Callable[..., object], call: Any) -> None:
        self.reads += 1
        if self.writer.error is not None:
            on_result(False, Failure(self.writer.error))
        else:
            on_result(True, call())


@implementer(IReactorFromThreads)
class NoThreads:
    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        call(*args)


class FakeSender:
    """Accepts what is sent, and returns the replies that the test prepared."""

    def __init__(self) -> None:
        self.sent: list[tuple[Destination, NewMessage, bytes]] = []
        self.answer: Callable[[Destination, NewMessage], Answer] = lambda _, __: OK

    def send(self, destination: Destination, outgoing: Outgoing) -> "Deferred[Sent]":
        new = outgoing.message
        self.sent.append((destination, new, content_of(outgoing.source)))
        answer = self.answer(destination, new)
        if isinstance(answer, Exception):
            return fail(answer)
        if isinstance(answer, Reply):
            remote = "" if answer is UNREACHABLE else REMOTE
            answer = Sent([answer] * len(new.recipients), remote)
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def domains(self) -> list[str]:
        return [destination.domain for destination, _, _ in self.sent]


def content_of(source: IChunkSource) -> bytes:
    """Read a source to its end; it must answer at once."""
    octets, index = b"", 0
    while True:
        piece = source.chunk(index)
        if isinstance(piece, Deferred):
            found: list[bytes] = []
            piece.addCallbacks(found.append, lambda _: None)
            if not found:
                return octets
            piece = found[0]
        if not piece:
            return octets
        octets += piece
        index += 1


@implementer(IDirectory)
class FakeDirectory:
    def __init__(self, *local: str) -> None:
        self.local = set(local)
        self.relayed: set[str] = set()
        self.number = 1
        self.error: Exception | None = None

    def revision(self) -> int:
        return self.number

    def find_domain(self, name: str) -> "Deferred[Domain | None]":
        if self.error is not None:
            return fail(self.error)
        if name in self.relayed:
            return succeed(Domain(name, kind=DomainKind.RELAY))
        return succeed(Domain(name) if name in self.local else None)

    def find_address(self, address: str) -> "Deferred[Account | Alias | None]":
        return succeed(None)


@implementer(ILocalAgent)
class FakeAgent:
    def __init__(self) -> None:
        self.delivered: list[tuple[str, bytes]] = []
        self.answer: Reply | Exception | None = OK

    def deliver_locally(
        self, message: NewMessage, recipient: Rcpt, source: IChunkSource
    ) -> "Deferred[Reply | None]":
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        if self.answer is not None:
            self.delivered.append((str(recipient.forward_path), content_of(source)))
        return succeed(self.answer)


class RelayTestCase(SynchronousTestCase):
    """A relay, its store, and the world around."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.jump = 0.0
        self.engine = open_database(f"sqlite:///{Path(self.mktemp()).absolute()}")
        self.addCleanup(self.engine.dispose)

        @event.listens_for(self.engine, "connect")
        def hurry(connection: Any, _: object) -> None:
            connection.execute("PRAGMA synchronous=OFF")

        self.engine.dispose()
        migrate(self.engine)
        self.sender = FakeSender()
        self.directory = FakeDirectory("local.example")
        self.agent = FakeAgent()
        self.store = self.new_store("first")
        self.begin()

    def begin(self, **settings: Any) -> None:
        """Make the relay anew, on the current store."""
        exits = Exits(self.sender, self.route, self.directory, self.agent)
        self.relay = Relay(
            self.store,
            exits,
            self.clock,
            RelaySettings(hostname="relay.example.org", **settings),
            self.now,
            lambda: 0.5,
        )
        self.queue = Queue(self.store, self.relay)

    def new_store(self, owner: str) -> SqlQueueStore:
        store = SqlQueueStore(self.engine, NoThreads(), self.now, owner)
        self.writer = InlineWriter(self.engine, owner)
        self.readers = InlineReaders(self.writer)
        store._writer = self.writer  # type: ignore[assignment]
        store._readers = self.readers  # type: ignore[assignment]
        return store

    def route(self, domain: str) -> Destination:
        return Destination(domain)

    def now(self) -> float:
        return EPOCH + self.clock.seconds() + self.jump

    def message(self, *recipients: str, **more: Any) -> NewMessage:
        return replace(new_message(*recipients, **more), received_at=self.now())

    def enqueue(self, *recipients: str, content: Content | None = None, **more: Any) -> NewMessage:
        """Queue a message that goes straight to the relay."""
        new = self.message(*recipients, **more)
        body = content or Content(b"Subject: hello\r\n\r\nbody\r\n")
        self.assertIsNone(self.successResultOf(self.queue.enqueue(new, body)))
        return new

    def put(self, *recipients: str, **more: Any) -> NewMessage:
        """Store a message that the relay has to fetch."""
        new = self.message(*recipients, **more)
        self.successResultOf(self.store.put(new, Content(b"a: b\r\n\r\nc\r\n"), claim=False))
        return new

    def rows(self) -> Sequence[tuple[str, int, float, str]]:
        """Return address, attempts, seconds until due, and last reply of what is queued."""
        with self.engine.connect() as connection:
            found = connection.execute(select(recipient).order_by(recipient.c.address)).all()
            ids = set(connection.scalars(select(message.c.id)))
        self.assertEqual(ids, {row.message_id for row in found}, "a message without recipients")
        return [
            (row.address.decode(), row.attempts, row.due_at - self.now(), row.last_reply)
            for row in found
        ]

    def until(self, condition: Callable[[], object], step: float = 1, limit: int = 10_000) -> None:
        """Advance the clock, a step at a time, until a condition holds."""
        for _ in range(limit):
            if condition():
                return
            self.clock.advance(step)
        self.fail("it never came to pass")

    def assert_close(self, value: float, wanted: float, by: float) -> None:
        self.assertTrue(abs(value - wanted) <= by, f"{value} is not {wanted} by {by}")
