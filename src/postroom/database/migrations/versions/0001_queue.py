"""The tables of the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "message",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sender", sa.LargeBinary, nullable=True),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("identity", sa.String, nullable=True),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("size_octets", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "content",
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("octets", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "number", name=op.f("pk_content")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["message.id"],
            name=op.f("fk_content_message_id_message"),
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "recipient",
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("address", sa.LargeBinary, nullable=False),
        sa.Column("domain", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("lease_owner", sa.String(32), nullable=True),
        sa.Column("last_reply", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "number", name=op.f("pk_recipient")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["message.id"],
            name=op.f("fk_recipient_message_id_message"),
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_recipient_due_at"), "recipient", ["due_at"])
