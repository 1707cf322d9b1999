"""What all changes of the directory have in common: they run one at a time, and are checked.

Each change is one transaction, which begins by incrementing ``directory_revision``. That takes the
lock under which the change is checked, and notifies the daemons. A change that is refused is rolled
back.

Who controls the input: the administrator. Errors in it are reported in one line (`UserError`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, func, select, update

from postroom.database.engine import transaction
from postroom.directory.addresses import domain_of
from postroom.directory.entries import address_kind
from postroom.directory.tables import (
    account,
    account_forward,
    alias_target,
    directory_revision,
    domain,
)
from postroom.envelope import DISCARD, DomainKind
from postroom.errors import UserError

_LISTED: Final = 8
"""The number of names that an error lists; the others are only counted."""


@contextmanager
def change(engine: Engine) -> Iterator[Connection]:
    """Yield the connection of one change; no other change runs at the same time, on any machine."""
    with transaction(engine) as connection:
        revision = directory_revision.c.revision
        connection.execute(update(directory_revision).values(revision=revision + 1))
        yield connection


def domain_kinds(connection: Connection) -> dict[str, DomainKind]:
    """Return the names and kinds of all domains, the oldest first."""
    rows = connection.execute(select(domain.c.name, domain.c.kind).order_by(domain.c.id))
    return {row.name: DomainKind(row.kind) for row in rows}


def check_domain(connection: Connection, name: str) -> DomainKind:
    """Return the kind of a domain.

    Raises:
        UserError: there is no such domain.
    """
    kind = connection.scalar(select(domain.c.kind).where(domain.c.name == name))
    if kind is None:
        known = list(domain_kinds(connection))
        shown = f"the domains are {shortened_list(known)}" if known else "there is no domain yet"
        raise UserError(f"unknown domain {name}: {shown}; 'postroom domain add {name}' adds it")
    return DomainKind(kind)


def check_new_address(connection: Connection, address: str, *, relayed: bool = False) -> None:
    """Check that an address may be added, and that nothing has it yet.

    Args:
        connection: of the change.
        address: in canonical form.
        relayed: True if it may be in a relay-only domain.

    Raises:
        UserError: its domain is unknown or of another kind, or it is in use.
    """
    name = domain_of(address)
    kind = check_domain(connection, name)
    if kind is DomainKind.ALIAS:
        target = connection.scalar(select(domain.c.target).where(domain.c.name == name))
        raise UserError(f"the domain {name} is an alias of {target}: use the address in {target}")
    if kind is DomainKind.RELAY and not relayed:
        raise UserError(f"the mail of {name} is relayed to its own host: it has no accounts here")
    found = address_kind(connection, address)
    if found is not None:
        raise UserError(f"{address} exists already: {description_of(address, found)}")


def description_of(address: str, found: tuple[str, str]) -> str:
    """Return a clause that describes what `address_kind` found."""
    kind, first = found
    if first != address:
        return f"it is a further address of the account {first}"
    return f"it is {'a' if kind == 'relay recipient' else 'an'} {kind}"


def not_found(connection: Connection, kind: str, address: str) -> UserError:
    """Return the error that an address is not an account (or alias), with what it is instead."""
    found = address_kind(connection, address)
    if found is not None:
        return UserError(f"there is no {kind} {address}: {description_of(address, found)}")
    near = select(account.c.address).where(account.c.domain == domain_of(address))
    meant = suggestion(address, list(connection.scalars(near.limit(1000))))
    return UserError(f"there is no {kind} {address}{meant}")


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return the question whether a similar name was meant; empty if none is similar."""
    # Only an error pays for this import.
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def referrers_of(connection: Connection, address: str) -> tuple[str, ...]:
    """Return the aliases, forwarding accounts and ``@domain`` catch-alls leading to an address."""
    pointing = func.lower(alias_target.c.target) == address
    aliases = select(alias_target.c.alias).where(pointing).order_by(alias_target.c.alias)
    forwards = select(account_forward.c.account).where(
        func.lower(account_forward.c.target) == address
    )
    domains = select("@" + domain.c.name).where(domain.c.catch_all == address)
    return (
        *connection.scalars(aliases),
        *connection.scalars(forwards.order_by(account_forward.c.account)),
        *connection.scalars(domains),
    )


def kind_of(engine: Engine, address: str) -> str:
    """Return what an address is: ``account``, ``alias``, ``relay recipient``, or empty."""
    with engine.connect() as connection:
        found = address_kind(connection, address)
    return found[0] if found is not None else ""


def unknown_targets(engine: Engine, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return those addresses in local domains that no account or alias has."""
    with engine.connect() as connection:
        rows = connection.execute(select(domain.c.name, domain.c.kind, domain.c.target)).all()
        ours = {
            row.name: row.target if row.kind == DomainKind.ALIAS.value else row.name
            for row in rows
            if row.kind != DomainKind.RELAY.value
        }
        found = []
        for address in addresses:
            name = ours.get(domain_of(address))
            if address == DISCARD or name is None:
                continue
            meant = f"{address.rpartition('@')[0]}@{name}".lower()
            if address_kind(connection, meant) is None:
                found.append(address)
        return tuple(found)


def shortened_list(names: Sequence[str]) -> str:
    """Return a list of names, shortened if there are many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
