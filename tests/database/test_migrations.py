"""Migrations: safe, atomic, and at one with the tables that the code declares."""

import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from twisted.trial.unittest import SynchronousTestCase

import postroom
from postroom.database import metadata, migrate, open_database, transaction
from postroom.database.revisions import known_revisions, stored_revision
from postroom.errors import UserError
from tests.database.child import ENVIRONMENT
from tests.database.postgresql import new_postgresql_url

_START = """
import sys
from postroom.database import migrate, open_database
sys.stdin.readline()
migrate(open_database(sys.argv[1]))
print("alembic" in sys.modules)
"""


def import_all_tables() -> list[str]:
    """Import every ``tables`` module of every room, so that the metadata is whole."""
    names = [
        name
        for _, name, _ in pkgutil.walk_packages(postroom.__path__, "postroom.")
        if name.endswith(".tables")
    ]
    for name in names:
        import_module(name)
    return names


class MigrationContract:
    """What holds on either database."""

    url: str

    def open(self) -> Engine:
        engine = open_database(self.url)
        self.addCleanup(engine.dispose)
        return engine

    def start_processes(self, number: int) -> list[str]:
        """Open and migrate in several processes at the same moment; gives what they print."""
        command = [sys.executable, "-c", _START, self.url]
        processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=ENVIRONMENT,
            )
            for _ in range(number)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [process.communicate()[0].strip() for process in processes]

    def test_the_tables_of_the_code_are_those_of_the_migrations(self) -> None:
        self.assertIn("postroom.queue.tables", import_all_tables())
        engine = self.open()
        migrate(engine)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            self.assertEqual(compare_metadata(context, metadata), [])
            for table in metadata.tables.values():
                found = inspect(connection).get_pk_constraint(table.name)["name"]
                self.assertEqual(found, f"pk_{table.name}")

    def test_processes_that_start_at_once_all_find_the_newest_schema(self) -> None:
        self.assertLessEqual(set(self.start_processes(4)), {"True", "False"})
        with self.open().connect() as connection:
            self.assertEqual(stored_revision(connection), known_revisions()[-1])

    def test_alembic_is_not_imported_when_there_is_nothing_to_do(self) -> None:
        migrate(self.open())
        self.assertEqual(self.start_processes(1), ["False"])

    def test_a_newer_schema_is_refused(self) -> None:
        engine = self.open()
        migrate(engine)
        with transaction(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        error = self.assertRaises(UserError, migrate, engine)
        self.assertIn("has schema 9999, newer than this Postroom's", str(error))

    def test_a_migration_that_fails_leaves_the_database_as_it_was(self) -> None:
        engine = self.open()
        with transaction(engine) as connection:
            connection.execute(text("CREATE TABLE recipient (somebody_elses INTEGER)"))
        error = self.assertRaises(UserError, migrate, engine)
        self.assertNotIn("\n", str(error))
        with engine.connect() as connection:
            self.assertEqual(inspect(connection).get_table_names(), ["recipient"])


class SqliteMigrationTests(MigrationContract, SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.url = f"sqlite:///{folder.absolute()}/postroom.db"


class PostgresqlMigrationTests(MigrationContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.url = new_postgresql_url()


class RevisionTests(SynchronousTestCase):
    def test_file_names_tell_what_alembic_reads_in_the_files(self) -> None:
        config = Config()
        folder = Path(postroom.__file__).parent / "database" / "migrations"
        config.set_main_option("script_location", str(folder))
        scripts = list(ScriptDirectory.from_config(config).walk_revisions())
        chain = [(script.revision, script.down_revision) for script in reversed(scripts)]
        known = known_revisions()
        self.assertEqual(chain, list(zip(known, [None, *known], strict=False)))
