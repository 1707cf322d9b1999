"""Opening databases, and what is said of those that cannot be opened."""

import errno
import os
import sqlite3
import stat
import sys
import threading
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from twisted.trial.unittest import SynchronousTestCase

from postroom.database import migrate, open_database, storage_error, transaction
from postroom.database.engine import PAGE_OCTETS
from postroom.errors import NO_SPACE, UserError, reply_for
from tests.database.postgresql import new_postgresql_url
from tests.filesystem import RecordingDisk, forbid_leaks


class SqliteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "postroom.db"

    def open(self, path: Path | None = None):
        engine = open_database(f"sqlite:///{path or self.path}")
        self.addCleanup(engine.dispose)
        return engine

    def refused(self, url: str) -> str:
        """Open, which must be refused in one line; gives the line."""
        line = str(self.assertRaises(UserError, lambda: migrate(open_database(url))))
        self.assertNotIn("\n", line)
        return line

    def test_every_file_is_its_owners_alone_whatever_the_umask(self) -> None:
        for umask in (0, 0o777):
            path = self.folder / f"{umask}.db"
            before = os.umask(umask)
            self.addCleanup(os.umask, before)
            engine = self.open(path)
            migrate(engine)
            os.umask(before)
            with engine.connect() as connection:
                connection.execute(text("SELECT * FROM message"))
                modes = {
                    file.name: stat.S_IMODE(file.stat().st_mode)
                    for file in self.folder.glob(f"{umask}.db*")
                }
            self.assertEqual(
                modes, {f"{umask}.db{suffix}": 0o600 for suffix in ("", "-shm", "-wal")}
            )

    def test_nothing_but_the_database_is_left_in_the_folder(self) -> None:
        self.open().dispose()
        self.assertEqual(os.listdir(self.folder), ["postroom.db"])

    def test_a_new_database_survives_a_power_cut(self) -> None:
        forbid_leaks(self, self.folder)
        disk = RecordingDisk(self, self.folder)
        self.open()
        self.assertEqual(disk.torn, [])
        self.assertNotIn("postroom.db", disk.unsynced())

    def test_every_connection_is_durable(self) -> None:
        engine = self.open()
        for connection in (engine.connect(), engine.connect()):
            self.addCleanup(connection.close)
            for pragma, value in {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "page_size": PAGE_OCTETS,
                "secure_delete": 0,
                "busy_timeout": 15_000,
            }.items():
                found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                self.assertEqual((pragma, found), (pragma, value))

    def test_an_empty_file_that_somebody_made_will_do(self) -> None:
        self.path.touch()
        engine = self.open()
        migrate(engine)
        with engine.connect() as connection:
            self.assertEqual(connection.scalar(text("SELECT count(*) FROM message")), 0)

    def test_a_transaction_that_reads_first_waits_for_another_that_writes(self) -> None:
        """A deferred transaction would fail here: what it read is no longer the newest."""
        engine = self.open()
        with transaction(engine) as connection:
            connection.execute(text("CREATE TABLE number (value INTEGER)"))
            connection.execute(text("INSERT INTO number VALUES (0)"))

        def count() -> None:
            for _ in range(20):
                with transaction(engine) as connection:
                    value = connection.scalar(text("SELECT value FROM number"))
                    connection.execute(text("UPDATE number SET value = :new"), {"new": value + 1})

        threads = [threading.Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with engine.connect() as connection:
            self.assertEqual(connection.scalar(text("SELECT value FROM number")), 60)

    def test_a_missing_folder_is_named(self) -> None:
        line = self.refused(f"sqlite:///{self.folder}/nowhere/postroom.db")
        self.assertIn("nowhere/postroom.db: No such file or directory", line)

    def test_a_file_that_is_no_database_is_named(self) -> None:
        self.path.write_bytes(b"It was a dark and stormy night. " * 100)
        self.assertIn("postroom.db: file is not a database", self.refused(f"sqlite:///{self.path}"))

    def test_a_folder_in_its_place_is_named(self) -> None:
        self.path.mkdir()
        self.assertIn("unable to open database file", self.refused(f"sqlite:///{self.path}"))

    def test_a_damaged_database_is_named(self) -> None:
        engine = self.open()
        migrate(engine)
        engine.dispose()
        with self.path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 2000)
        self.assertIn("malformed", self.refused(f"sqlite:///{self.path}"))

    def test_a_database_that_is_no_file_is_refused(self) -> None:
        for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory"):
            self.assertIn("sqlite needs the path of a file", self.refused(url))

    def test_an_old_sqlite_is_refused(self) -> None:
        with patch.object(sqlite3, "sqlite_version_info", (3, 34, 1)):
            self.assertIn("too old", self.refused(f"sqlite:///{self.path}"))

    def test_errors_do_not_show_the_values_of_a_statement(self) -> None:
        engine = self.open()
        migrate(engine)
        with engine.connect() as connection:
            error = self.assertRaises(
                DBAPIError,
                connection.execute,
                text("INSERT INTO message (id) VALUES (:id)"),
                {"id": "secret"},
            )
        self.assertNotIn("secret", str(error))
        self.assertIsNone(storage_error(error))

    def test_a_full_disk_is_told_from_a_broken_one(self) -> None:
        for code, number in ((sqlite3.SQLITE_FULL, errno.ENOSPC), (0x40A, errno.EIO)):
            cause = sqlite3.OperationalError("trouble")
            cause.sqlite_errorcode = code
            error = storage_error(DBAPIError("INSERT", {}, cause))
            assert error is not None
            self.assertEqual(error.errno, number)


class OtherDatabaseTests(SynchronousTestCase):
    def refused(self, url: str) -> str:
        line = str(self.assertRaises(UserError, open_database, url))
        self.assertNotIn("\n", line)
        return line

    def test_what_is_no_url_is_refused(self) -> None:
        self.assertIn("'postroom.db' is not a database URL", self.refused("postroom.db"))

    def test_a_database_that_we_do_not_know_is_refused(self) -> None:
        self.assertIn("'mysql' is not supported", self.refused("mysql://host/name"))

    def test_a_server_that_does_not_answer_is_named_without_its_password(self) -> None:
        line = self.refused("postgresql://joe:pass-word@127.0.0.1:1/mail")
        self.assertIn("joe:***@127.0.0.1:1/mail", line)
        self.assertNotIn("pass-word", line)

    def test_a_missing_driver_names_the_extra(self) -> None:
        with patch.dict(sys.modules, {"psycopg": None}):
            self.assertIn(
                "pip install 'postroom[postgres]'", self.refused("postgresql://host/name")
            )

    def test_postgresql_does_not_commit_before_it_has_synced(self) -> None:
        url = new_postgresql_url()
        engine = open_database(url + "?options=-csynchronous_commit%3Doff")
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            self.assertEqual(connection.scalar(text("SHOW synchronous_commit")), "on")

    def test_a_full_postgresql_disk_is_452(self) -> None:
        import psycopg.errors

        error = storage_error(DBAPIError("INSERT", {}, psycopg.errors.DiskFull("no space")))
        assert error is not None
        self.assertIs(reply_for(error), NO_SPACE)
