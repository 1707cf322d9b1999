"""Changing domains: local ones, aliases of others, and relay-only ones.

Who controls the input: the administrator. Errors in it are reported in one line (`UserError`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from postroom.directory.addresses import (
    address_text,
    domain_of,
    local_address,
    parse_address,
    parse_domain,
)
from postroom.directory.changes import (
    change,
    check_domain,
    check_new_address,
    domain_kinds,
    not_found,
    shortened_list,
)
from postroom.directory.tables import account, account_address, alias, domain, relay_recipient
from postroom.envelope import Domain, DomainKind
from postroom.errors import UserError


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A domain as it is listed.

    Attributes:
        name: lower case.
        catch_all: the address that gets mail for unknown recipients.
        accounts: how many it has.
        aliases: how many it has.
        kind: local, alias or relay-only.
        target: the domain that an alias stands for.
        any_recipient: True if a relay-only domain accepts all recipients.
        recipients: how many recipients a relay-only domain lists.
    """

    name: str
    catch_all: str | None
    accounts: int
    aliases: int
    kind: DomainKind
    target: str | None
    any_recipient: bool
    recipients: int


def add_domain(engine: Engine, name: str, catch_all: str | None = None) -> Domain:
    """Add a local domain.

    Args:
        engine: the database.
        name: the domain.
        catch_all: the address that gets mail for unknown recipients; None refuses such mail.

    Raises:
        UserError: not a domain name or address, or the domain exists.
    """
    added = Domain(parse_domain(name), _catch_all(catch_all))
    with change(engine) as connection:
        _insert(connection, added)
    return added


def add_alias_domain(engine: Engine, name: str, target: str) -> Domain:
    """Add an alias of another domain: each address stands for the same one there.

    Raises:
        UserError: not domain names, the domain exists, or the other one does not or is an alias.
    """
    added = Domain(parse_domain(name), kind=DomainKind.ALIAS, target=parse_domain(target))
    with change(engine) as connection:
        if added.target == added.name:
            raise UserError(f"the domain {added.name} cannot be an alias of itself")
        if check_domain(connection, added.target or "") is DomainKind.ALIAS:
            raise UserError(f"the domain {added.target} is an alias itself: name its own target")
        _insert(connection, added)
    return added


def add_relay_domain(engine: Engine, name: str, *, any_recipient: bool = False) -> Domain:
    """Add a domain whose mail is relayed to its own host.

    Args:
        engine: the database.
        name: the domain.
        any_recipient: True to accept all recipients, not only those that are listed.

    Raises:
        UserError: not a domain name, or the domain exists.
    """
    added = Domain(parse_domain(name), kind=DomainKind.RELAY, any_recipient=any_recipient)
    with change(engine) as connection:
        _insert(connection, added)
    return added


def set_catch_all(engine: Engine, name: str, catch_all: str | None) -> Domain:
    """Set the address that gets a domain's mail for unknown recipients; None refuses such mail.

    Raises:
        UserError: not a domain name or address, or there is no such local domain.
    """
    changed = Domain(parse_domain(name), _catch_all(catch_all))
    with change(engine) as connection:
        _check_kind(connection, changed.name, DomainKind.LOCAL)
        connection.execute(
            update(domain).where(domain.c.name == changed.name).values(catch_all=changed.catch_all)
        )
    return changed


def set_any_recipient(engine: Engine, name: str, any_recipient: bool) -> Domain:
    """Set whether a relay-only domain accepts any recipient, or only those that are listed.

    Raises:
        UserError: not a domain name, or there is no such relay-only domain.
    """
    changed = Domain(parse_domain(name), kind=DomainKind.RELAY, any_recipient=any_recipient)
    with change(engine) as connection:
        _check_kind(connection, changed.name, DomainKind.RELAY)
        connection.execute(
            update(domain).where(domain.c.name == changed.name).values(any_recipient=any_recipient)
        )
    return changed


def add_recipients(engine: Engine, addresses: Sequence[str]) -> tuple[str, ...]:
    """Add recipients of relay-only domains; returns those that were new.

    Raises:
        UserError: one is not an address, its domain is not relay-only, or it is something else.
    """
    wanted = tuple(dict.fromkeys(local_address(address) for address in addresses))
    with change(engine) as connection:
        known = set(_listed(connection, wanted))
        new = tuple(address for address in wanted if address not in known)
        for address in new:
            check_new_address(connection, address, relayed=True)
            _check_kind(connection, domain_of(address), DomainKind.RELAY)
        rows = [{"address": address, "domain": domain_of(address)} for address in new]
        if rows:
            connection.execute(insert(relay_recipient), rows)
    return new


def remove_recipients(engine: Engine, addresses: Sequence[str]) -> tuple[str, ...]:
    """Remove recipients from the lists of their relay-only domains.

    Raises:
        UserError: one is not an address, or is not listed.
    """
    gone = tuple(dict.fromkeys(local_address(address) for address in addresses))
    with change(engine) as connection:
        known = set(_listed(connection, gone))
        for address in gone:
            if address not in known:
                raise not_found(connection, "relay recipient", address)
            connection.execute(delete(relay_recipient).where(relay_recipient.c.address == address))
    return gone


def list_recipients(engine: Engine, name: str) -> tuple[str, ...]:
    """Return the recipients that a relay-only domain lists.

    Raises:
        UserError: not a domain name, or there is no such relay-only domain.
    """
    wanted = parse_domain(name)
    listed = select(relay_recipient.c.address).where(relay_recipient.c.domain == wanted)
    with engine.connect() as connection:
        _check_kind(connection, wanted, DomainKind.RELAY)
        return tuple(connection.scalars(listed.order_by(relay_recipient.c.address)))


def list_domains(engine: Engine) -> tuple[DomainRow, ...]:
    """Return all domains in the order in which they were added."""
    counts = [
        select(func.count()).where(table.c.domain == domain.c.name).scalar_subquery()
        for table in (account, alias, relay_recipient)
    ]
    table = domain.c
    query = select(
        table.name,
        table.catch_all,
        counts[0],
        counts[1],
        table.kind,
        table.target,
        table.any_recipient,
        counts[2],
    ).order_by(table.id)
    with engine.connect() as connection:
        return tuple(
            DomainRow(*row[:4], DomainKind(row[4]), *row[5:]) for row in connection.execute(query)
        )


def remove_domain(engine: Engine, name: str) -> Domain:
    """Remove a domain that is not in use, with the recipients that it lists.

    Raises:
        UserError: there is no such domain, or it still has accounts, aliases, or domains that are
            aliases of it.
    """
    gone = parse_domain(name)
    with change(engine) as connection:
        check_domain(connection, gone)
        for kind, table in (("account", account), ("alias", alias)):
            of_it = select(table.c.address).where(table.c.domain == gone)
            left = connection.scalars(of_it.order_by(table.c.address)).all()
            if left:
                raise UserError(
                    f"the domain {gone} still has {shortened_list(left)}; remove with "
                    f"'postroom {kind} remove ADDRESS' first"
                )
        _check_unused(connection, gone)
        found = connection.execute(
            select(
                domain.c.catch_all, domain.c.kind, domain.c.target, domain.c.any_recipient
            ).where(domain.c.name == gone)
        ).one()
        connection.execute(delete(relay_recipient).where(relay_recipient.c.domain == gone))
        connection.execute(delete(domain).where(domain.c.name == gone))
    return Domain(gone, found.catch_all, DomainKind(found.kind), found.target, found.any_recipient)


def _check_unused(connection: Connection, name: str) -> None:
    """Check that no account elsewhere has an address in a domain, and no domain is its alias."""
    further = select(account_address.c.address).where(account_address.c.domain == name)
    left = connection.scalars(further.order_by(account_address.c.address)).all()
    if left:
        raise UserError(
            f"accounts have the addresses {shortened_list(left)} in the domain {name}; remove with "
            "'postroom account address remove ADDRESS' first"
        )
    aliases = connection.scalars(select(domain.c.name).where(domain.c.target == name)).all()
    if aliases:
        raise UserError(
            f"{shortened_list(aliases)} is an alias of the domain {name}; remove with "
            "'postroom domain remove NAME' first"
        )


def _insert(connection: Connection, added: Domain) -> None:
    if added.name in domain_kinds(connection):
        raise UserError(f"the domain {added.name} exists already")
    connection.execute(
        insert(domain).values(
            name=added.name,
            catch_all=added.catch_all,
            kind=added.kind.value,
            target=added.target,
            any_recipient=added.any_recipient,
        )
    )


def _check_kind(connection: Connection, name: str, wanted: DomainKind) -> None:
    kind = check_domain(connection, name)
    if kind is not wanted:
        raise UserError(f"the domain {name} is {_KINDS[kind]}, not {_KINDS[wanted]}")


_KINDS = {
    DomainKind.LOCAL: "a local domain",
    DomainKind.ALIAS: "an alias of another",
    DomainKind.RELAY: "a relay-only domain",
}


def _listed(connection: Connection, addresses: Sequence[str]) -> list[str]:
    query = select(relay_recipient.c.address)
    return list(connection.scalars(query.where(relay_recipient.c.address.in_(addresses))))


def _catch_all(text: str | None) -> str | None:
    return None if text is None else address_text(parse_address(text))
