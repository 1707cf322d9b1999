"""The tables of the directory: domains, accounts, aliases."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create them, and the one row that counts changes."""
    op.create_table(
        "domain",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("catch_all", sa.String(320), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain")),
        sa.UniqueConstraint("name", name=op.f("uq_domain_name")),
    )
    op.create_table(
        "account",
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("password_hash", sa.String(512), nullable=True),
        sa.Column("maildir", sa.String(512), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_account")),
        sa.ForeignKeyConstraint(["domain"], ["domain.name"], name=op.f("fk_account_domain_domain")),
        sa.UniqueConstraint("maildir", name=op.f("uq_account_maildir")),
    )
    op.create_index(op.f("ix_account_domain"), "account", ["domain"])
    op.create_table(
        "alias",
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_alias")),
        sa.ForeignKeyConstraint(["domain"], ["domain.name"], name=op.f("fk_alias_domain_domain")),
    )
    op.create_index(op.f("ix_alias_domain"), "alias", ["domain"])
    op.create_table(
        "alias_target",
        sa.Column("alias", sa.String(320), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("target", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("alias", "number", name=op.f("pk_alias_target")),
        sa.ForeignKeyConstraint(
            ["alias"],
            ["alias.address"],
            name=op.f("fk_alias_target_alias_alias"),
            ondelete="CASCADE",
        ),
    )
    revision_table = op.create_table(
        "directory_revision",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_revision")),
    )
    op.bulk_insert(revision_table, [{"id": 1, "revision": 0}])
