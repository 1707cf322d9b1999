"""The database: how it is opened, and the revisions of its schema.

A shared room: the queue and the accounts keep their rows in one database, each declaring its own
tables in its ``tables.py`` on the one `postroom.database.metadata.metadata`.
"""

from postroom.database.engine import open_database, storage_error, transaction, user_errors
from postroom.database.metadata import metadata
from postroom.database.revisions import migrate

__all__ = ["metadata", "migrate", "open_database", "storage_error", "transaction", "user_errors"]
