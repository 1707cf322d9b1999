"""Adding, listing, changing and removing accounts.

Plain functions on an `Engine`, which block; the admin command calls them as they are, a daemon
through `postroom.directory.sql_directory.SQLDirectory.change`. None of them needs a running daemon,
and a running one notices the changes. Further properties of accounts are in
`postroom.directory.properties`, and what all changes have in common in
`postroom.directory.changes`.

The target of an alias, a forward and a catch-all may be set before the address exists, and stay
when it is removed. `postroom.directory.changes.unknown_targets` and `Removed.referrers` allow the
caller to report that.

Who controls the input: the administrator. Errors in it are reported in one line (`UserError`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, Select, delete, insert, select, update

from postroom.directory.addresses import (
    domain_of,
    local_address,
    maildir_name,
    parse_address,
    parse_domain,
)
from postroom.directory.changes import (
    change,
    check_new_address,
    domain_kinds,
    not_found,
    referrers_of,
)
from postroom.directory.entries import address_kind
from postroom.directory.tables import account, account_use, domain, password_form
from postroom.envelope import Account, DomainKind

_LOCAL: Final = DomainKind.LOCAL


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as it is listed.

    Attributes:
        address: its address.
        maildir: path of its Maildir, relative to the mail root.
        enabled: False refuses its mail temporarily, and its logins.
        has_password: False if nobody can log in to it.
    """

    address: str
    maildir: str
    enabled: bool
    has_password: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """An account that was removed.

    Attributes:
        address: its address.
        maildir: its Maildir, relative to the mail root, which is kept.
        referrers: the aliases, forwarding accounts and ``@domain`` catch-alls that still lead to
            it.
    """

    address: str
    maildir: str
    referrers: tuple[str, ...]


def check_new_account(engine: Engine, address: str) -> str:
    """Check that an account could be added, before anyone is asked for its password.

    Returns:
        The address in canonical form.

    Raises:
        UserError: as `add_account` would.
    """
    wanted = local_address(address)
    with engine.connect() as connection:
        check_new_address(connection, wanted)
    return wanted


def add_account(
    engine: Engine, address: str, password_hash: str | None, further_forms: Sequence[str] = ()
) -> AccountRow:
    """Add an account.

    Args:
        engine: the database.
        address: its address, in a domain that exists.
        password_hash: from `postroom.logins.hashing`; None if nobody may log in.
        further_forms: in which the same password is stored as well.

    Raises:
        UserError: not an address, its domain is unknown, or it is taken.
    """
    wanted = local_address(address)
    with change(engine) as connection:
        check_new_address(connection, wanted)
        row = _insert_account(connection, wanted, password_hash)
        set_further_forms(connection, wanted, further_forms)
        return row


def list_accounts(engine: Engine) -> tuple[AccountRow, ...]:
    """Return all accounts, by domain and then by address."""
    with engine.connect() as connection:
        rows = connection.execute(_accounts().order_by(account.c.domain, account.c.address))
        return tuple(AccountRow(*row) for row in rows)


def find_account(engine: Engine, address: str) -> AccountRow:
    """Return one account.

    Raises:
        UserError: not an address, or there is no such account.
    """
    with engine.connect() as connection:
        return existing_account(connection, local_address(address))


def set_password(
    engine: Engine, address: str, password_hash: str | None, further_forms: Sequence[str] = ()
) -> AccountRow:
    """Set an account's password, or remove it if it is None. App passwords stay.

    Raises:
        UserError: not an address, or there is no such account.
    """
    with change(engine) as connection:
        wanted = local_address(address)
        row = _update_account(connection, wanted, password_hash=password_hash)
        set_further_forms(connection, wanted, further_forms)
        return row


def set_enabled(engine: Engine, address: str, enabled: bool) -> AccountRow:
    """Enable an account, or disable it, which refuses its mail (for now) and its logins.

    Raises:
        UserError: not an address, or there is no such account.
    """
    with change(engine) as connection:
        return _update_account(connection, local_address(address), enabled=enabled)


def remove_account(engine: Engine, address: str) -> Removed:
    """Remove an account. Its Maildir is kept.

    Raises:
        UserError: not an address, or there is no such account.
    """
    gone = local_address(address)
    with change(engine) as connection:
        row = existing_account(connection, gone)
        connection.execute(delete(account_use).where(account_use.c.account == gone))
        connection.execute(delete(account).where(account.c.address == gone))
        return Removed(gone, row.maildir, referrers_of(connection, gone))


# Defaults


def ensure_defaults(engine: Engine, domains: Sequence[str], mail_root: Path) -> tuple[Account, ...]:
    """Add what a start needs and the database lacks. Changes nothing the second time.

    Each domain of the settings is added if it is missing. It gets the account ``postmaster``, to
    which nobody can log in, unless it has an account or alias of that name. If there is no domain
    in the settings and the database, ``localhost`` is added, with its postmaster as catch-all.

    Args:
        engine: the database.
        domains: the domains that the settings name.
        mail_root: the directory below which Maildirs are.

    Returns:
        The accounts that were added.

    Raises:
        UserError: one of the domains is not a domain name.

    RFC 5321 s4.5.1
    """
    names = [parse_domain(name) for name in domains]
    with engine.connect() as connection:
        if not any(_missing(connection, names)):
            return ()
    with change(engine) as connection:
        new_domains, new_postmasters = _missing(connection, names)
        for name in new_domains:
            catch_all = f"postmaster@{name}" if name == "localhost" else None
            connection.execute(insert(domain).values(name=name, catch_all=catch_all))
        rows = [_insert_account(connection, address, None) for address in new_postmasters]
    return tuple(Account(row.address, str(mail_root / row.maildir)) for row in rows)


def _missing(connection: Connection, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the domains and the postmasters that `ensure_defaults` has to add."""
    existing = domain_kinds(connection)
    wanted = list(names) or ([] if existing else ["localhost"])
    # One that was made an alias or relay-only has its postmaster elsewhere.
    delivered = [name for name in wanted if existing.get(name, _LOCAL) is _LOCAL]
    postmasters = [f"postmaster@{name}" for name in delivered]
    return (
        [name for name in dict.fromkeys(wanted) if name not in existing],
        [each for each in dict.fromkeys(postmasters) if address_kind(connection, each) is None],
    )


def set_further_forms(connection: Connection, address: str, forms: Sequence[str]) -> None:
    """Replace the further forms of a password."""
    connection.execute(delete(password_form).where(password_form.c.address == address))
    rows = [
        {"address": address, "number": number, "stored": form} for number, form in enumerate(forms)
    ]
    if rows:
        connection.execute(insert(password_form), rows)


# What the above have in common


def existing_account(connection: Connection, address: str) -> AccountRow:
    """Return an account by its first address, in canonical form.

    Raises:
        UserError: there is no such account.
    """
    row = connection.execute(_accounts().where(account.c.address == address)).first()
    if row is None:
        raise not_found(connection, "account", address)
    return AccountRow(*row)


def _accounts() -> Select[str, str, bool, bool]:
    has_password = account.c.password_hash.is_not(None)
    return select(account.c.address, account.c.maildir, account.c.enabled, has_password)


def _insert_account(connection: Connection, address: str, password_hash: str | None) -> AccountRow:
    row = AccountRow(address, maildir_name(parse_address(address)), True, password_hash is not None)
    connection.execute(
        insert(account).values(
            address=row.address,
            domain=domain_of(address),
            password_hash=password_hash,
            maildir=row.maildir,
            enabled=row.enabled,
            created_at=time.time(),
        )
    )
    return row


def _update_account(connection: Connection, address: str, **values: object) -> AccountRow:
    connection.execute(update(account).where(account.c.address == address).values(**values))
    return existing_account(connection, address)
