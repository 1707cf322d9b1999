"""The queue as deliveries see it."""

import errno
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.client.model import Sent
from postroom.interfaces import IContent, IQueue
from postroom.queue.batch import Put
from tests.queue.rig import OK, REMOTE, RelayTestCase
from tests.queue.samples import Content


@implementer(IContent)
class OnDisk:
    """A content too large to be in memory."""

    size_octets = 600_000

    def chunks(self) -> Iterator[bytes]:
        yield from (b"x" * 200_000 for _ in range(3))

    def in_memory(self) -> None:
        return None


class QueueTests(RelayTestCase):
    """Tests for `Queue.enqueue`."""

    def hang(self) -> list[Deferred[Sent]]:
        """Keep every transaction open until the test ends it."""
        open_: list[Deferred[Sent]] = []
        self.sender.answer = lambda *_: open_.append(Deferred()) or open_[-1]
        return open_

    def claimed(self) -> list[bool]:
        return [job.claimed for job in self.writer.jobs if isinstance(job, Put)]

    def test_it_is_what_deliveries_expect(self) -> None:
        verifyObject(IQueue, self.queue)

    def test_nothing_is_sent_and_nobody_told_before_the_commit(self) -> None:
        self.writer.paused = []
        queued = self.queue.enqueue(self.message("a@example.net"), Content(b"x"))
        self.assertNoResult(queued)
        self.assertEqual(self.sender.sent, [])
        self.writer.resume()
        self.assertIsNone(self.successResultOf(queued))
        self.assertEqual(len(self.sender.sent), 1)

    def test_a_commit_that_fails_is_told_and_leaves_the_budget_whole(self) -> None:
        self.begin(memory_messages=1)
        self.writer.error = OSError(errno.ENOSPC, "full")
        for _ in range(3):
            failed = self.queue.enqueue(self.message("a@example.net"), Content(b"x"))
            self.assertEqual(self.failureResultOf(failed, OSError).value.errno, errno.ENOSPC)
        self.writer.error = None
        self.enqueue("a@example.net")
        self.assertEqual((len(self.sender.sent), self.rows()), (1, []))

    def test_over_the_message_budget_mail_is_stored_and_fetched_later(self) -> None:
        self.begin(memory_messages=2)
        open_ = self.hang()
        for _ in range(3):
            self.enqueue("a@example.net")
        self.assertEqual((self.claimed(), len(open_)), ([True, True, False], 2))
        for sending in open_:
            sending.callback(Sent([OK], REMOTE))
        self.sender.answer = lambda *_: OK
        self.relay.start()
        self.clock.advance(0)
        self.assertEqual((len(self.sender.sent), self.rows()), (3, []))
        self.enqueue("a@example.net")
        self.assertEqual(self.claimed()[-1], True)

    def test_over_the_octet_budget_mail_is_stored_and_fetched_later(self) -> None:
        self.begin(memory_octets=100)
        self.hang()
        for octets in (60, 60, 40, 1):
            self.enqueue("a@example.net", content=Content(b"x" * octets))
        self.assertEqual(self.claimed(), [True, False, True, False])

    def test_the_budget_is_whole_again_however_messages_end(self) -> None:
        self.begin(memory_messages=1, memory_octets=1000)
        answers = iter([OK, Sent([OK], REMOTE), ValueError("bug"), OK])
        self.sender.answer = lambda *_: next(answers)
        for _ in range(4):
            self.enqueue("a@example.net", "b@example.net", content=Content(b"x" * 1000))
        self.flushLoggedErrors(ValueError)
        self.assertEqual(self.claimed(), [True] * 4)

    def test_large_content_goes_at_once_too_and_comes_from_the_store(self) -> None:
        self.begin(memory_octets=0)
        new = self.message("a@example.net")
        self.successResultOf(self.queue.enqueue(new, OnDisk()))
        self.assertEqual([octets for *_, octets in self.sender.sent], [b"x" * 600_000])
        self.assertEqual(self.rows(), [])

    def test_a_message_removed_while_it_is_sent_is_not_taken_for_whole(self) -> None:
        new = self.message("a@example.net")
        sent = []

        def send(_: object, outgoing: object) -> Deferred[Sent]:
            source = outgoing.source
            first = self.successResultOf(source.chunk(0))
            with self.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM content")
            sent.append((len(first), self.failureResultOf(source.chunk(1)).type.__name__))
            return Deferred()

        self.sender.send = send
        self.successResultOf(self.queue.enqueue(new, OnDisk()))
        self.assertEqual(sent[0][1], "ContentGone")

    def test_a_relay_that_breaks_does_not_change_the_answer(self) -> None:
        def submit(*_: object) -> None:
            raise ValueError

        self.relay.submit = submit
        self.enqueue("a@example.net")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.rows()), 1)
