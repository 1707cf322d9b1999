"""What an operator sees of the queue, and changes, beside a daemon that runs."""

from pathlib import Path

from sqlalchemy import Engine
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from postroom.database import migrate, open_database
from postroom.errors import UserError
from postroom.queue import admin
from postroom.queue.model import Done, MessageRow, RecipientRow, Retry
from postroom.queue.store import LEASE_SECONDS, SqlQueueStore
from postroom.wire.replies import reply
from tests.database.postgresql import new_postgresql_url
from tests.queue.samples import Content, new_message

GREYLISTED = reply(451, "4.7.1", "Try again later")


class AdminContract:
    def url(self) -> str:
        raise NotImplementedError

    def setUp(self) -> None:
        self.now = 1_700_000_000.0
        self.daemon = self.open()
        migrate(self.daemon)
        self.store = SqlQueueStore(self.daemon, reactor, lambda: self.now)
        self.store.start()
        self.addCleanup(self.store.stop)
        self.engine = self.open()

    def open(self) -> Engine:
        if not hasattr(self, "_url"):
            self._url = self.url()
        engine = open_database(self._url)
        self.addCleanup(engine.dispose)
        return engine

    def assert_unknown(self, function, *arguments) -> None:
        error = self.assertRaises(UserError, function, self.engine, *arguments)
        self.assertEqual(str(error), "no message BCDF in the queue")

    async def test_the_queue_is_listed_the_oldest_message_first(self) -> None:
        self.assertEqual(admin.list_messages(self.engine, self.now), [])
        waiting = new_message("a@x.org", "b@x.org", parameters={"BODY": "8BITMIME"})
        put = await self.store.put(waiting, Content(b"12345"))
        first, second = put.recipients
        await self.store.record([Retry(first, self.now + 300, GREYLISTED), Done(second)])
        bounce = new_message(sender=None)
        await self.store.put(bounce, Content(b"1"))
        expected = [
            MessageRow(
                waiting.id,
                "sender@example.org",
                1000.5,
                5,
                (RecipientRow("a@x.org", 1, self.now + 300, False, str(GREYLISTED)),),
                {"BODY": "8BITMIME"},
            ),
            MessageRow(
                bounce.id,
                "",
                1000.5,
                1,
                (RecipientRow("recipient@example.net", 0, self.now + LEASE_SECONDS, True, ""),),
                {},
            ),
        ]
        self.assertEqual(admin.list_messages(self.engine, self.now), expected)
        self.assertEqual(admin.list_messages(self.engine, self.now, limit=1), expected[:1])
        self.assertEqual(admin.show_message(self.engine, bounce.id, self.now), expected[1])

    async def test_a_lease_that_has_run_out_is_no_claim(self) -> None:
        new = new_message()
        await self.store.put(new, Content(b"1"))
        row = admin.show_message(self.engine, new.id, self.now + LEASE_SECONDS)
        self.assertFalse(row.recipients[0].claimed)

    async def test_content_is_read_piece_by_piece(self) -> None:
        new = new_message()
        chunks = [b"x" * 200_000, b"y" * 200_000]
        await self.store.put(new, Content(*chunks))
        self.assertEqual(list(admin.read_content(self.engine, new.id)), chunks)
        empty = new_message()
        await self.store.put(empty, Content())
        self.assertEqual(list(admin.read_content(self.engine, empty.id)), [])

    async def test_content_that_is_delivered_meanwhile_ends_with_an_error(self) -> None:
        new = new_message()
        put = await self.store.put(new, Content(b"x" * 200_000, b"y" * 200_000))
        reading = admin.read_content(self.engine, new.id)
        next(reading)
        await self.store.record([Done(put.recipients[0])])
        self.assertRaises(UserError, next, reading)

    async def test_retry_makes_what_waits_due_now_for_the_daemon(self) -> None:
        waiting = []
        for _ in range(3):
            put = await self.store.put(new_message("a@x.org", "b@x.org"), Content(b"x"))
            await self.store.record([Retry(put.recipients[0], self.now + 300, GREYLISTED)])
            waiting.append(put.message.id)
        self.assertEqual(await self.store.claim(self.now, 10), [])
        self.assertEqual(admin.retry(self.engine, waiting[:1], self.now), 1)
        self.assertEqual(await self.store.next_due_at(self.now), self.now)
        claims = await self.store.claim(self.now, 10)
        self.assertEqual([claim.message.id for claim in claims], waiting[:1])
        self.assertEqual(admin.retry(self.engine, None, self.now), 2)
        claims = await self.store.claim(self.now, 10)
        self.assertCountEqual([claim.message.id for claim in claims], waiting[1:])
        self.assertEqual([claim.recipients[0].attempts for claim in claims], [1, 1])

    async def test_retry_leaves_what_is_being_worked_on_alone(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        self.assertEqual(admin.retry(self.engine, [put.message.id], self.now), 0)
        self.assertEqual(await self.store.renew([put], self.now), [put])

    async def test_an_unknown_id_changes_nothing(self) -> None:
        put = await self.store.put(new_message(), Content(b"x"))
        await self.store.record([Retry(put.recipients[0], self.now + 300, GREYLISTED)])
        self.assert_unknown(admin.show_message, "BCDF", self.now)
        self.assert_unknown(admin.retry, [put.message.id, "BCDF"], self.now)
        self.assert_unknown(admin.remove, "BCDF")
        self.assert_unknown(lambda engine, new: next(admin.read_content(engine, new)), "BCDF")
        self.assertEqual(await self.store.next_due_at(self.now), self.now + 300)

    async def test_a_removed_message_is_gone_and_its_sending_ends_quietly(self) -> None:
        put = await self.store.put(new_message("a@x.org", "b@x.org"), Content(b"x"))
        admin.remove(self.engine, put.message.id)
        self.assertEqual(admin.list_messages(self.engine, self.now), [])
        self.assertEqual(await self.store.chunk(put.message.id, 0), b"")
        done, again = put.recipients
        await self.store.record([Done(done), Retry(again, self.now, GREYLISTED)])
        self.assertEqual(admin.list_messages(self.engine, self.now), [])
        self.assertIsNone(await self.store.next_due_at(self.now))


class SqliteAdminTests(AdminContract, TestCase):
    def url(self) -> str:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        return f"sqlite:///{folder}/postroom.db"

    def test_a_database_that_has_no_queue_is_one_line(self) -> None:
        path = Path(self.mktemp()).absolute()
        engine = open_database(f"sqlite:///{path}")
        self.addCleanup(engine.dispose)
        error = self.assertRaises(UserError, admin.list_messages, engine, self.now)
        self.assertIn("no such table", str(error))
        self.assertNotIn("\n", str(error))


class PostgresqlAdminTests(AdminContract, TestCase):
    def url(self) -> str:
        return new_postgresql_url()
