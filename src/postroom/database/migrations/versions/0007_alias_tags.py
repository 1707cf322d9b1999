"""Whether an alias passes the tag of an address on to its targets."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; existing aliases pass tags on."""
    column = sa.Column("passes_tags", sa.Boolean, nullable=False, server_default=sa.true())
    op.add_column("alias", column)
