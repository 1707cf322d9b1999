"""Changing the properties of an account besides its password: addresses, forwards, senders, limits.

Who controls the input: the administrator. Errors in it are reported in one line (`UserError`).
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, Engine, delete, insert, update

from postroom.directory.addresses import (
    address_text,
    domain_of,
    local_address,
    parse_address,
    parse_domain,
    parse_target,
)
from postroom.directory.changes import change, check_new_address, description_of, not_found
from postroom.directory.entries import address_kind, read_account
from postroom.directory.tables import account, account_address, account_forward, account_sender
from postroom.envelope import DISCARD, Account, AccountLimits
from postroom.errors import UserError


def show_account(engine: Engine, address: str) -> Account:
    """Return an account with all its properties, by any of its addresses.

    Raises:
        UserError: not an address, or there is no such account.
    """
    with engine.connect() as connection:
        return _existing(connection, address)


def add_addresses(engine: Engine, address: str, further: Sequence[str]) -> Account:
    """Add further addresses to an account.

    Raises:
        UserError: not an address, there is no such account, or one of them is in use.
    """
    with change(engine) as connection:
        owner = _existing(connection, address).address
        for text in further:
            wanted = local_address(text)
            check_new_address(connection, wanted)
            connection.execute(
                insert(account_address).values(
                    address=wanted, domain=domain_of(wanted), account=owner
                )
            )
        return _existing(connection, owner)


def remove_addresses(engine: Engine, further: Sequence[str]) -> tuple[Account, ...]:
    """Remove further addresses from the accounts that have them.

    Raises:
        UserError: not an address, or not a further address of an account.
    """
    with change(engine) as connection:
        owners = []
        for text in further:
            gone = local_address(text)
            found = address_kind(connection, gone)
            if found is None:
                raise not_found(connection, "further address", gone)
            if found[1] == gone:
                raise UserError(f"{gone} is not a further address: {description_of(gone, found)}")
            connection.execute(delete(account_address).where(account_address.c.address == gone))
            owners.append(found[1])
        return tuple(_existing(connection, owner) for owner in dict.fromkeys(owners))


def set_forwards(
    engine: Engine, address: str, targets: Sequence[str], *, keeps_copy: bool = True
) -> Account:
    """Set the addresses to which an account's mail is forwarded.

    Args:
        engine: the database.
        address: the account's.
        targets: addresses, local or remote; none to stop forwarding, which keeps all copies.
        keeps_copy: False if the account itself gets no copy.

    Raises:
        UserError: not an address, there is no such account, or it would forward to itself.
    """
    chosen = tuple(dict.fromkeys(parse_target(target) for target in targets))
    if DISCARD in chosen:
        raise UserError(f"an account cannot forward to {DISCARD!r}, only an alias can")
    with change(engine) as connection:
        found = _existing(connection, address)
        own = {found.address, *found.addresses}
        if own.intersection(target.lower() for target in chosen):
            raise UserError(f"{found.address} cannot forward to itself")
        owner = found.address
        # An account that forwards nowhere keeps its mail; otherwise it would be lost.
        connection.execute(
            update(account)
            .where(account.c.address == owner)
            .values(keeps_copy=keeps_copy or not chosen)
        )
        connection.execute(delete(account_forward).where(account_forward.c.account == owner))
        rows = [
            {"account": owner, "number": number, "target": target}
            for number, target in enumerate(chosen)
        ]
        if rows:
            connection.execute(insert(account_forward), rows)
        return _existing(connection, owner)


def set_senders(engine: Engine, address: str, senders: Sequence[str]) -> Account:
    """Set the addresses that an account may send as besides its own.

    Args:
        engine: the database.
        address: the account's.
        senders: addresses, or ``@domain`` for all of a domain.

    Raises:
        UserError: not an address, or there is no such account.
    """
    chosen = sorted({_parse_sender(sender) for sender in senders})
    with change(engine) as connection:
        owner = _existing(connection, address).address
        connection.execute(delete(account_sender).where(account_sender.c.account == owner))
        rows = [{"account": owner, "sender": sender} for sender in chosen]
        if rows:
            connection.execute(insert(account_sender), rows)
        return _existing(connection, owner)


def set_limits(engine: Engine, address: str, limits: AccountLimits) -> Account:
    """Set an account's limits.

    Raises:
        UserError: not an address, there is no such account, or a limit is below 1.
    """
    for name, value in asdict(limits).items():
        if value is not None and value < 1:
            raise UserError(
                f"{name.replace('_', ' ')}: {value} is not a limit: it has to be at least 1"
            )
    with change(engine) as connection:
        owner = _existing(connection, address).address
        connection.execute(
            update(account).where(account.c.address == owner).values(**asdict(limits))
        )
        return _existing(connection, owner)


def _existing(connection: Connection, address: str) -> Account:
    wanted = local_address(address)
    found = address_kind(connection, wanted)
    if found is not None and found[0] == "account":
        existing = read_account(connection, found[1])
        if existing is not None:
            return existing
    raise not_found(connection, "account", wanted)


def _parse_sender(text: str) -> str:
    if text.startswith("@"):
        return "@" + parse_domain(text[1:])
    return address_text(parse_address(text))
