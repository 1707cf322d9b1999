"""The database: opening it, the metadata of its tables, and migrations.

The queue, the directory and the logins share one database. Each declares its own tables in its
``tables.py``, on the one `postroom.database.metadata.metadata`.
"""

from postroom.database.engine import open_database, storage_error, transaction, user_errors
from postroom.database.metadata import metadata
from postroom.database.revisions import migrate

__all__ = ["metadata", "migrate", "open_database", "storage_error", "transaction", "user_errors"]
