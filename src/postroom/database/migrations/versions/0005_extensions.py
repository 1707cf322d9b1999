"""Columns for the extensions of MAIL and RCPT: parameters, priorities, holds, reports of delay."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; queued messages get no parameters and the middle priority."""
    op.add_column("message", _number("priority"))
    op.add_column("message", _number("traits"))
    op.add_column("recipient", sa.Column("rcpt_parameters", sa.JSON, nullable=True))
    op.add_column("recipient", _number("rank"))
    op.add_column("recipient", _number("delay_told"))
    op.drop_index(op.f("ix_recipient_due_at"), "recipient")
    op.create_index(op.f("ix_recipient_rank_due_at"), "recipient", ["rank", "due_at"])


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")
