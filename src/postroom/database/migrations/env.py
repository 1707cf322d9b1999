"""What Alembic executes: the revisions, on the connection and in the transaction of `migrate`."""

from alembic import context

from postroom.database.metadata import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
