"""What the store does when the disk fails it, or its process is killed.

The harm is real: a file size limit, ``fdatasync`` that fails, SIGKILL, a database without room.
"""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from unittest import SkipTest

from sqlalchemy import event, func, select
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.trial.unittest import SynchronousTestCase, TestCase

from postroom.database import migrate, open_database
from postroom.errors import LOCAL_ERROR, NO_SPACE, reply_for
from postroom.queue.model import Done
from postroom.queue.store import SqlQueueStore
from postroom.queue.tables import content, message
from tests.database.child import ENVIRONMENT
from tests.queue.putter import content_of
from tests.queue.samples import Content, new_message


class HarmedProcessTests(SynchronousTestCase):
    """Another process puts messages and comes to harm; then its database is opened."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "postroom.db"
        self.command = [sys.executable, "-m", "tests.queue.putter", f"sqlite:///{self.path}"]

    def put(self, *arguments: str, under: tuple[str, ...] = ()) -> list[list[str]]:
        """Run it to its end; return the words of each line that it printed."""
        done = subprocess.run(
            [*under, *self.command, *arguments],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return [line.split() for line in done.stdout.splitlines()]

    def stored(self) -> dict[str, bytes]:
        """Open the database as the next process would; return its contents by id."""
        engine = open_database(f"sqlite:///{self.path}")
        self.addCleanup(engine.dispose)
        migrate(engine)
        with engine.connect() as connection:
            self.assertEqual(connection.exec_driver_sql("PRAGMA integrity_check").scalar(), "ok")
            self.assertEqual(connection.exec_driver_sql("PRAGMA foreign_key_check").all(), [])
            rows = connection.execute(
                select(message.c.id, content.c.octets).join_from(message, content)
            ).all()
            self.assertEqual(len(rows), connection.scalar(select(func.count(message.c.id))))
            return dict(tuple(row) for row in rows)

    def assert_as_promised(self, lines: list[list[str]]) -> None:
        """What was said to be stored is there and whole, what was refused is not."""
        stored = self.stored()
        for word, message_id, *_ in lines:
            if word == "stored":
                whole = stored.get(message_id) == content_of(message_id)
                self.assertTrue(whole, f"{message_id} was acknowledged and is not there")
            elif word == "refused":
                self.assertFalse(message_id in stored, f"{message_id} was refused and is there")

    def test_what_was_acknowledged_survives_a_kill_at_any_moment(self) -> None:
        lines: list[list[str]] = []
        for acknowledged in (1, 30, 200):
            process = subprocess.Popen(
                [*self.command, "100000"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    lines.append(line.split())
                    acknowledged -= lines[-1][0] == "stored"
                    if acknowledged == 0:
                        process.send_signal(signal.SIGKILL)
            process.wait()
            self.assert_as_promised([words for words in lines if len(words) > 1])
        self.assertGreater(len(lines), 400)

    def test_a_file_that_may_not_grow_refuses_for_now_and_recovers(self) -> None:
        lines = self.put("200", "600000")  # more than the empty tables take
        results = [words[2] for words in lines if words[0] != "start"]
        self.assertLessEqual(set(results), {"250", "451", "452"})
        self.assertGreater(len(set(results[:100])), 1)
        self.assertEqual(results[100:], ["250"] * 100)
        self.assert_as_promised(lines)

    def test_a_failed_sync_refuses_its_batch_and_no_other(self) -> None:
        strace = shutil.which("strace")
        if strace is None:
            raise SkipTest("strace is not installed")
        self.put("0")  # the syncs counted below are those of commits
        inject = "inject=fdatasync:error=EIO:when=4..6"
        trace = strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject
        lines = self.put("100", under=trace)
        results = [words[2] for words in lines if words[0] != "start"]
        self.assertEqual(set(results), {"250", "451"})
        self.assertLessEqual(results.count("451"), 15)
        self.assertEqual(set(results[-50:]), {"250"})
        self.assert_as_promised(lines)


class FailureTests(TestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "postroom.db"
        self.engine = open_database(f"sqlite:///{self.path}")
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)
        self.full = False
        event.listen(self.engine, "checkout", self.set_limit)
        self.store = SqlQueueStore(self.engine, reactor)
        self.store.start()
        self.addCleanup(self.store.stop)

    def set_limit(self, connection: sqlite3.Connection, *_: object) -> None:
        # A limit below the size that there is becomes that size.
        connection.execute(f"PRAGMA max_page_count = {1 if self.full else 2**32 - 2}")

    def ids(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM message ORDER BY id")]

    async def test_a_full_disk_is_452_and_leaves_nothing(self) -> None:
        kept = new_message()
        claim = await self.store.put(kept, Content(b"x"))
        self.full = True
        large = Content(*[b"y" * 65536] * 64)
        for body in (large, Content(b"z" * 40_000)):
            with self.assertRaises(OSError) as caught:
                await self.store.put(new_message(), body)
            self.assertIs(reply_for(caught.exception), NO_SPACE)
        self.assertEqual(self.ids(), [kept.id])
        self.full = False
        await self.store.put(new_message(), large)
        await self.store.record([Done(claim.recipients[0])])
        self.assertEqual(len(self.ids()), 1)

    async def test_the_log_that_another_process_left_is_written_back_first(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("PRAGMA wal_autocheckpoint = 0")
            other.execute("CREATE TABLE ballast AS SELECT zeroblob(1000000)")
            log = self.path.with_name("postroom.db-wal")
            self.assertGreater(log.stat().st_size, 1_000_000)
            await self.store.put(new_message(), Content(b"x"))
            self.assertLess(log.stat().st_size, 500_000)

    async def test_all_of_a_batch_fail_when_its_commit_fails(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")  # while this is held, a batch gathers
            first = self.store.put(new_message(), Content(b"x"))
            others = [self.store.put(new_message(), Content(b"x")) for _ in range(20)]
            event.listen(self.engine, "commit", self.fail_commit)
        results = await DeferredList([first, *others], consumeErrors=True)
        event.remove(self.engine, "commit", self.fail_commit)
        self.assertEqual([success for success, _ in results], [False] * 21)
        self.assertEqual({reply_for(failure.value) for _, failure in results}, {LOCAL_ERROR})
        self.assertEqual(self.ids(), [])
        again = new_message()
        await self.store.put(again, Content(b"x"))
        self.assertEqual(self.ids(), [again.id])

    async def test_a_connection_whose_commit_failed_is_not_used_again(self) -> None:
        """What it holds in its caches may never have come to the disk."""
        used: list[sqlite3.Connection] = []
        event.listen(self.engine, "checkout", lambda connection, *_: used.append(connection))
        event.listen(self.engine, "commit", self.fail_commit)
        await self.assertFailure(self.store.put(new_message(), Content(b"x")), OSError)
        event.remove(self.engine, "commit", self.fail_commit)
        anchor, failed, *_ = used
        await self.store.put(new_message(), Content(b"x"))
        self.assertNotIn(used[-1], (anchor, failed))

    def fail_commit(self, connection: object) -> None:
        from sqlalchemy.exc import OperationalError

        cause = sqlite3.OperationalError("disk I/O error")
        cause.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise OperationalError("COMMIT", {}, cause)

    async def test_a_database_that_is_gone_is_a_failure_for_now(self) -> None:
        self.engine.dispose()
        away = self.path.rename(self.path.with_suffix(".away"))
        self.path.mkdir()
        for deferred in (self.store.put(new_message(), Content(b"x")), self.store.chunk("x", 0)):
            with self.assertRaises(OSError) as caught:
                await deferred
            self.assertEqual(reply_for(caught.exception), LOCAL_ERROR)
        self.path.rmdir()
        away.rename(self.path)
        await self.store.put(new_message(), Content(b"x"))
