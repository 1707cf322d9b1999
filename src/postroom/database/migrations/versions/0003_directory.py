"""Kinds of domains; several addresses, forwards, senders and limits of accounts; groups."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _of_account(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_account_account")
    return sa.ForeignKeyConstraint(["account"], ["account.address"], name=name, ondelete="CASCADE")


def _of_domain(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["domain"], ["domain.name"], name=op.f(f"fk_{table}_domain_domain")
    )


def upgrade() -> None:
    """Create them; existing rows get the kinds that there were before."""
    _widen()
    op.create_table(
        "relay_recipient",
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_relay_recipient")),
        _of_domain("relay_recipient"),
    )
    op.create_index(op.f("ix_relay_recipient_domain"), "relay_recipient", ["domain"])
    op.create_table(
        "account_address",
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("account", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_account_address")),
        _of_domain("account_address"),
        _of_account("account_address"),
    )
    op.create_index(op.f("ix_account_address_domain"), "account_address", ["domain"])
    op.create_index(op.f("ix_account_address_account"), "account_address", ["account"])
    op.create_table(
        "account_forward",
        sa.Column("account", sa.String(320), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("target", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("account", "number", name=op.f("pk_account_forward")),
        _of_account("account_forward"),
    )
    op.create_table(
        "account_sender",
        sa.Column("account", sa.String(320), nullable=False),
        sa.Column("sender", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("account", "sender", name=op.f("pk_account_sender")),
        _of_account("account_sender"),
    )
    op.create_table(
        "account_use",
        sa.Column("account", sa.String(320), nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.Column("recipients", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "day", name=op.f("pk_account_use")),
    )


def _widen() -> None:
    """Add columns to existing tables."""
    true, false = sa.true(), sa.false()
    op.add_column(
        "domain", sa.Column("kind", sa.String(16), nullable=False, server_default="local")
    )
    op.add_column("domain", sa.Column("target", sa.String(255), nullable=True))
    op.add_column(
        "domain", sa.Column("any_recipient", sa.Boolean, nullable=False, server_default=false)
    )
    op.add_column(
        "account", sa.Column("keeps_copy", sa.Boolean, nullable=False, server_default=true)
    )
    for name in (
        "quota_octets",
        "quota_messages",
        "messages_per_day",
        "recipients_per_day",
        "message_octets",
    ):
        op.add_column("account", sa.Column(name, sa.BigInteger, nullable=True))
    op.add_column("account", sa.Column("created_at", sa.Double, nullable=True))
    op.add_column(
        "alias", sa.Column("writers", sa.String(16), nullable=False, server_default="anyone")
    )
