"""Tables for logins: other forms of passwords, app passwords, lock-outs, secrets of the site."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables, and the one row that counts changes of lock-outs."""
    op.create_table(
        "password_form",
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("stored", sa.String(2048), nullable=False),
        sa.PrimaryKeyConstraint("address", "number", name=op.f("pk_password_form")),
        _of_account("password_form"),
    )
    op.create_table(
        "app_password",
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("stored", sa.String(512), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("address", "key", name=op.f("pk_app_password")),
        _of_account("app_password"),
        sa.UniqueConstraint("address", "name", name=op.f("uq_app_password_address_name")),
    )
    op.create_table(
        "site_secret",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_site_secret")),
    )
    op.create_table(
        "lockout",
        sa.Column("subject", sa.String(384), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_lockout")),
    )
    op.create_index(op.f("ix_lockout_until"), "lockout", ["until"])
    revision_table = op.create_table(
        "lockout_revision",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lockout_revision")),
    )
    op.bulk_insert(revision_table, [{"id": 1, "revision": 0}])


def _of_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["address"],
        ["account.address"],
        name=op.f(f"fk_{table}_address_account"),
        ondelete="CASCADE",
    )
