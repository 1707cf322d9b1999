"""The tables of logins, besides the passwords of accounts: those are in the directory's tables.

``app_password`` holds further passwords of accounts, each under a name and with the key by which it
is found (`postroom.logins.secrets`). ``site_secret`` holds random octets of this site, in
hexadecimal. ``lockout`` holds the lock-outs (`postroom.logins.lockouts`); its times are POSIX, in
seconds. Each change of it increments the one row of ``lockout_revision``.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Table, UniqueConstraint

from postroom.database.metadata import metadata
from postroom.directory.tables import account

app_password = Table(
    "app_password",
    metadata,
    Column("address", ForeignKey(account.c.address, ondelete="CASCADE"), primary_key=True),
    Column("key", String(16), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("stored", String(512), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    UniqueConstraint("address", "name"),
)

site_secret = Table(
    "site_secret",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(256), nullable=False),
)

lockout = Table(
    "lockout",
    metadata,
    Column("subject", String(384), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False, index=True),
)

lockout_revision = Table(
    "lockout_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)
