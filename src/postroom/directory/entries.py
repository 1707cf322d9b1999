"""Reading the account, alias or recipient of an address from the tables.

One query finds the kind of the address; only an existing account or alias needs more queries. All
of them are in one transaction of the connection, so that the answer is one state of the directory.

Who controls the input: a peer, by the address, which is only ever a bound value.
"""

from typing import Any

from sqlalchemy import Column, Connection, Row, Select, literal, select, union_all

from postroom.directory.tables import (
    account,
    account_address,
    account_forward,
    account_sender,
    alias,
    alias_target,
    domain,
    relay_recipient,
)
from postroom.envelope import (
    Account,
    AccountLimits,
    Alias,
    Domain,
    DomainKind,
    Entry,
    RelayRecipient,
    Writers,
)

ACCOUNT_COLUMNS = (
    account.c.address,
    account.c.maildir,
    account.c.enabled,
    account.c.keeps_copy,
    account.c.quota_octets,
    account.c.quota_messages,
    account.c.messages_per_day,
    account.c.recipients_per_day,
    account.c.message_octets,
    account.c.created_at,
)


def find_domain(connection: Connection, name: str) -> Domain | None:
    """Return a domain; None if it is not ours."""
    table = domain.c
    query = select(table.name, table.catch_all, table.kind, table.target, table.any_recipient)
    row = connection.execute(query.where(table.name == name)).first()
    if row is None:
        return None
    return Domain(row.name, row.catch_all, DomainKind(row.kind), row.target, row.any_recipient)


def address_kind(connection: Connection, address: str) -> tuple[str, str] | None:
    """Return the kind of an address.

    Returns:
        ``"account"``, ``"alias"`` or ``"relay recipient"``, and its first address, which differs
        for further addresses of an account; None if nothing has the address.
    """
    of_all = union_all(
        _is("account", account.c.address, account.c.address, address),
        _is("account", account_address.c.account, account_address.c.address, address),
        _is("alias", alias.c.address, alias.c.address, address),
        _is("relay recipient", relay_recipient.c.address, relay_recipient.c.address, address),
    )
    row = connection.execute(of_all).first()
    return None if row is None else (row.kind, row.first)


def _is(kind: str, first: Column[str], column: Column[str], address: str) -> Select[str, str]:
    return select(literal(kind).label("kind"), first.label("first")).where(column == address)


def find_entry(connection: Connection, address: str) -> Entry | None:
    """Return the account, alias or recipient of an address; None if there is none.

    An account's Maildir is relative to the mail root.
    """
    found = address_kind(connection, address)
    if found is None:
        return None
    kind, first = found
    if kind == "relay recipient":
        return RelayRecipient(first)
    return read_alias(connection, first) if kind == "alias" else read_account(connection, first)


def read_account(connection: Connection, address: str) -> Account | None:
    """Return an account by its first address."""
    query = select(*ACCOUNT_COLUMNS).where(account.c.address == address)
    row = connection.execute(query).first()
    if row is None:
        return None
    further = select(account_address.c.address).where(account_address.c.account == address)
    forwards = select(account_forward.c.target).where(account_forward.c.account == address)
    senders = select(account_sender.c.sender).where(account_sender.c.account == address)
    return Account(
        row.address,
        row.maildir,
        row.enabled,
        addresses=tuple(connection.scalars(further.order_by(account_address.c.address))),
        forwards=tuple(connection.scalars(forwards.order_by(account_forward.c.number))),
        keeps_copy=row.keeps_copy,
        senders=tuple(connection.scalars(senders.order_by(account_sender.c.sender))),
        limits=_limits(row),
        created_at=row.created_at,
    )


def _limits(row: Row[*tuple[Any, ...]]) -> AccountLimits:
    return AccountLimits(
        row.quota_octets,
        row.quota_messages,
        row.messages_per_day,
        row.recipients_per_day,
        row.message_octets,
    )


def read_alias(connection: Connection, address: str) -> Alias | None:
    """Return an alias by its address."""
    query = select(alias.c.writers, alias.c.passes_tags).where(alias.c.address == address)
    row = connection.execute(query).first()
    if row is None:
        return None
    targets = select(alias_target.c.target).where(alias_target.c.alias == address)
    found = connection.scalars(targets.order_by(alias_target.c.number))
    return Alias(address, tuple(found), Writers(row.writers), row.passes_tags)
