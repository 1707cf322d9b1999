"""The tables of the directory: domains, accounts, aliases.

Addresses are in the form of `postroom.accounts.addresses`. An address is an account or an alias,
never both: two tables hold them, so `postroom.accounts.administration` sees to it, in a transaction
that begins with the one row of ``directory_revision`` and so has no other beside it.

``account.maildir`` is relative to the mail root, so that a state directory can be moved.
``account.password_hash`` is NULL where nobody can log in. ``domain.id`` keeps the order in which
domains were added: the first is the one of a login name without a domain.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String, Table

from postroom.database.metadata import metadata

_ADDRESS = String(320)
_NAME = String(255)

domain = Table(
    "domain",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", _NAME, nullable=False, unique=True),
    Column("catch_all", _ADDRESS),
)

account = Table(
    "account",
    metadata,
    Column("address", _ADDRESS, primary_key=True),
    Column("domain", ForeignKey(domain.c.name), nullable=False, index=True),
    Column("password_hash", String(512)),
    Column("maildir", String(512), nullable=False, unique=True),
    Column("enabled", Boolean, nullable=False),
)

alias = Table(
    "alias",
    metadata,
    Column("address", _ADDRESS, primary_key=True),
    Column("domain", ForeignKey(domain.c.name), nullable=False, index=True),
)

alias_target = Table(
    "alias_target",
    metadata,
    Column("alias", ForeignKey(alias.c.address, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("target", _ADDRESS, nullable=False),
)

directory_revision = Table(
    "directory_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)
