"""The tables as declared, and as the migrations make them."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from twisted.trial.unittest import SynchronousTestCase

import postroom.logins.tables
import postroom.queue.tables
from postroom.database import metadata
from postroom.directory import tables
from tests.directory.support import fresh_database

ALL_TABLES = (tables, postroom.logins.tables, postroom.queue.tables)


class TableTests(SynchronousTestCase):
    def test_migrations_make_what_is_declared(self) -> None:
        with fresh_database(self).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            self.assertEqual(compare_metadata(context, metadata), [], ALL_TABLES)
