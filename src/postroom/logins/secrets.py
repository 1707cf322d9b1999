"""Secrets in the database: forms of passwords, app passwords, secrets of the site.

Plain functions on an `Engine`, which block: the admin command calls them as they are, a daemon in a
thread (`postroom.logins.database_source`).

An app password is generated, never chosen. It has twenty letters; the first five identify it, the
rest keep it secret. So a password is checked against one hash only, however many an account has.

Who controls the input: the administrator; the names of app passwords are chosen by users.
"""

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from postroom.database.engine import transaction
from postroom.directory.accounts import find_account, set_further_forms
from postroom.directory.tables import account, password_form
from postroom.errors import UserError
from postroom.logins.tables import app_password, site_secret

APP_PASSWORDS: Final = 100
"""The most app passwords of one account."""
NAME_CHARACTERS: Final = 100
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_LENGTH: Final = 20
_KEY: Final = 5
_SHAPE = re.compile(rf"[{_LETTERS}]{{{_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class AppPasswordRow:
    """An app password as it is listed; times are POSIX, in seconds.

    Attributes:
        name: what the user calls it.
        created_at: when it was made.
        last_used_at: when somebody last logged in with it; None if nobody did.
    """

    name: str
    created_at: int
    last_used_at: int | None


def app_password_letters(offered: bytes) -> bytes | None:
    """Return the letters of an offered password if it has the form of an app password.

    Blanks, hyphens and capitals are ignored; they only help people to read it.
    """
    if len(offered) > 2 * _LENGTH:
        return None
    text = offered.decode("ascii", "replace").lower().replace("-", "").replace(" ", "")
    return text.encode("ascii") if _SHAPE.fullmatch(text) else None


def app_password_key(letters: bytes) -> str:
    """Return the part of an app password by which it is found."""
    return letters[:_KEY].decode("ascii")


def new_app_password() -> str:
    """Return a new app password, in groups of five letters."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    return "-".join(letters[at : at + 5] for at in range(0, _LENGTH, 5))


def add_app_password(
    engine: Engine, address: str, name: str, letters: bytes, stored: str
) -> AppPasswordRow:
    """Add an app password to an account.

    Args:
        engine: the database.
        address: the account's.
        name: its purpose, such as "phone"; different from others of the account.
        letters: `app_password_letters` of the password.
        stored: their hash.

    Raises:
        UserError: there is no such account, the name is in use or not allowed, or there are too
        many.
    """
    row = AppPasswordRow(_checked_name(name), int(time.time()), None)
    owner = find_account(engine, address).address
    if len(list_app_passwords(engine, owner)) >= APP_PASSWORDS:
        raise UserError(f"{owner} has {APP_PASSWORDS} app passwords already; revoke one first")
    try:
        with transaction(engine) as connection:
            connection.execute(
                insert(app_password).values(
                    address=owner,
                    key=app_password_key(letters),
                    name=row.name,
                    stored=stored,
                    created_at=row.created_at,
                )
            )
    except IntegrityError:
        raise UserError(f"{owner} has an app password named {row.name!r} already") from None
    return row


def list_app_passwords(engine: Engine, address: str) -> tuple[AppPasswordRow, ...]:
    """Return an account's app passwords, the oldest first.

    Raises:
        UserError: there is no such account.
    """
    owner = find_account(engine, address).address
    table = app_password.c
    query = select(table.name, table.created_at, table.last_used_at)
    ordered = query.where(table.address == owner).order_by(table.created_at, table.name)
    with engine.connect() as connection:
        return tuple(AppPasswordRow(*row) for row in connection.execute(ordered))


def revoke_app_password(engine: Engine, address: str, name: str) -> None:
    """Remove an app password; sessions that logged in with it go on.

    Raises:
        UserError: there is no such account, or it has none of that name.
    """
    owner = find_account(engine, address).address
    table = app_password.c
    with transaction(engine) as connection:
        gone = connection.execute(
            delete(app_password).where(table.address == owner, table.name == name)
        )
    if not gone.rowcount:
        names = [row.name for row in list_app_passwords(engine, owner)]
        shown = ", ".join(repr(each) for each in names) if names else "none"
        raise UserError(f"{owner} has no app password named {name!r}; it has {shown}")


def app_password_used(engine: Engine, address: str, key: str, now: float) -> None:
    """Note when an app password was last used."""
    table = app_password.c
    with transaction(engine) as connection:
        connection.execute(
            update(app_password)
            .where(table.address == address, table.key == key)
            .values(last_used_at=int(now))
        )


def replace_stored(engine: Engine, address: str, old: Sequence[str], new: Sequence[str]) -> None:
    """Store a password in other forms, unless it was changed meanwhile."""
    with transaction(engine) as connection:
        if tuple(old) != stored_forms(connection, address):
            return
        connection.execute(
            update(account).where(account.c.address == address).values(password_hash=new[0])
        )
        set_further_forms(connection, address, new[1:])


def stored_forms(connection: Connection, address: str) -> tuple[str, ...]:
    """Return all forms in which an account's password is stored; none if it has no password."""
    first = connection.scalar(select(account.c.password_hash).where(account.c.address == address))
    query = select(password_form.c.stored).where(password_form.c.address == address)
    further = connection.scalars(query.order_by(password_form.c.number)).all()
    return () if first is None else (first, *further)


def site_octets(engine: Engine, name: str) -> bytes:
    """Return 32 random octets that stay the same for this site; adds them the first time."""
    query = select(site_secret.c.value).where(site_secret.c.name == name)
    with engine.connect() as connection:
        value = connection.scalar(query)
    if value is None:
        with transaction(engine) as connection:
            value = connection.scalar(query)  # another process may have been faster
            if value is None:
                value = secrets.token_hex(32)
                connection.execute(insert(site_secret).values(name=name, value=value))
    return bytes.fromhex(value)


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > NAME_CHARACTERS or not name.isprintable():
        raise UserError(
            f"{name!r} cannot name an app password: 1 to {NAME_CHARACTERS} printable characters"
        )
    return name.strip()
