"""The tables of the directory: domains, accounts and aliases.

Addresses are in the form of `postroom.directory.addresses`. An address is one thing only: an
account's first or further one, an alias, or a recipient of a relay-only domain. Four tables hold
them, so `postroom.directory.changes` checks it. Each change is a transaction that first updates the
one row of ``directory_revision``, so that no other runs beside it.

``account.maildir`` is relative to the mail root, so that a state directory can be moved.
``account.password_hash`` is NULL where nobody can log in; ``password_form`` holds other forms of
the same password (`postroom.logins.schemes`), which are deleted when it changes. ``domain.id``
keeps the order in which domains were added: a login name without a domain belongs to the first.
Limits are NULL where there are none, ``account.created_at`` where it is not known.
``alias.passes_tags`` is true if the tag of an address is passed on to the alias's targets.

``account_use`` counts what accounts that have a daily limit have sent, by day: the number of days
since 1970 in UTC. ``srs_secret`` holds what `postroom.directory.srs_secrets` signs with, in
hexadecimal.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    String,
    Table,
    false,
    true,
)

from postroom.database.metadata import metadata

_ADDRESS = String(320)
_NAME = String(255)

domain = Table(
    "domain",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", _NAME, nullable=False, unique=True),
    Column("catch_all", _ADDRESS),
    Column("kind", String(16), nullable=False, server_default="local"),
    Column("target", _NAME),
    Column("any_recipient", Boolean, nullable=False, server_default=false()),
)

relay_recipient = Table(
    "relay_recipient",
    metadata,
    Column("address", _ADDRESS, primary_key=True),
    Column("domain", ForeignKey(domain.c.name), nullable=False, index=True),
)

account = Table(
    "account",
    metadata,
    Column("address", _ADDRESS, primary_key=True),
    Column("domain", ForeignKey(domain.c.name), nullable=False, index=True),
    Column("password_hash", String(512)),
    Column("maildir", String(512), nullable=False, unique=True),
    Column("enabled", Boolean, nullable=False),
    Column("keeps_copy", Boolean, nullable=False, server_default=true()),
    Column("quota_octets", BigInteger),
    Column("quota_messages", BigInteger),
    Column("messages_per_day", BigInteger),
    Column("recipients_per_day", BigInteger),
    Column("message_octets", BigInteger),
    Column("created_at", Double),
)

account_address = Table(
    "account_address",
    metadata,
    Column("address", _ADDRESS, primary_key=True),
    Column("domain", ForeignKey(domain.c.name), nullable=False, index=True),
    Column(
        "account", ForeignKey(account.c.address, ondelete="CASCADE"), nullable=False, index=True
    ),
)

account_forward = Table(
    "account_forward",
    metadata,
    Column("account", ForeignKey(account.c.address, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("target", _ADDRESS, nullable=False),
)

account_sender = Table(
    "account_sender",
    metadata,
    Column("account", ForeignKey(account.c.address, ondelete="CASCADE"), primary_key=True),
    Column("sender", _ADDRESS, primary_key=True),
)

account_use = Table(
    "account_use",
    metadata,
    Column("account", _ADDRESS, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("messages", BigInteger, nullable=False),
    Column("recipients", BigInteger, nullable=False),
)

alias = Table(
    "alias",
    metadata,
    Column("address", _ADDRESS, primary_key=True),
    Column("domain", ForeignKey(domain.c.name), nullable=False, index=True),
    Column("writers", String(16), nullable=False, server_default="anyone"),
    Column("passes_tags", Boolean, nullable=False, server_default=true()),
)

alias_target = Table(
    "alias_target",
    metadata,
    Column("alias", ForeignKey(alias.c.address, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("target", _ADDRESS, nullable=False),
)

srs_secret = Table(
    "srs_secret",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("made_at", Double, nullable=False),
    Column("value", String(64), nullable=False),
)

password_form = Table(
    "password_form",
    metadata,
    Column("address", ForeignKey(account.c.address, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("stored", String(2048), nullable=False),
)

directory_revision = Table(
    "directory_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)
