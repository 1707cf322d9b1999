"""Changing aliases and groups.

A target may be added before the address exists, and stays when that is removed.
`postroom.directory.changes.unknown_targets` allows the caller to report that.

Who controls the input: the administrator. Errors in it are reported in one line (`UserError`).
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, delete, insert, select, update

from postroom.directory.addresses import domain_of, local_address, parse_target
from postroom.directory.changes import change, check_new_address, not_found
from postroom.directory.entries import read_alias
from postroom.directory.tables import alias, alias_target
from postroom.envelope import Alias, Writers
from postroom.errors import UserError


def add_alias(
    engine: Engine,
    address: str,
    targets: Sequence[str],
    writers: Writers = Writers.ANYONE,
    *,
    passes_tags: bool = True,
) -> Alias:
    """Add an alias.

    Args:
        engine: the database.
        address: its address, in a domain that exists.
        targets: addresses, here or elsewhere, or ``discard:``.
        writers: who may write to it.
        passes_tags: whether the tag of ``alias+tag`` is added to its targets.

    Raises:
        UserError: not an address or a target, its domain is unknown, the address is in use, or
            mail would loop.
    """
    wanted = local_address(address)
    chosen = parse_targets(targets)
    if not chosen:
        raise UserError(f"the alias {wanted} needs at least one target")
    with change(engine) as connection:
        check_new_address(connection, wanted, relayed=True)
        _check_loop(connection, wanted, chosen)
        connection.execute(
            insert(alias).values(
                address=wanted,
                domain=domain_of(wanted),
                writers=writers.value,
                passes_tags=passes_tags,
            )
        )
        _set_targets(connection, wanted, chosen)
    return Alias(wanted, chosen, writers, passes_tags)


def add_targets(engine: Engine, address: str, targets: Sequence[str]) -> Alias:
    """Add targets to an alias, such as members to a group; existing ones keep their order.

    Raises:
        UserError: not an address or a target, there is no such alias, or mail would
            loop.
    """
    with change(engine) as connection:
        found = existing_alias(connection, address)
        chosen = tuple(dict.fromkeys((*found.targets, *parse_targets(targets))))
        _check_loop(connection, found.address, chosen)
        _set_targets(connection, found.address, chosen)
    return replace(found, targets=chosen)


def remove_targets(engine: Engine, address: str, targets: Sequence[str]) -> Alias:
    """Remove targets from an alias; at least one has to be left.

    Raises:
        UserError: not an address or a target, there is no such alias, it has no such target, or
            none would be left.
    """
    gone = set(parse_targets(targets))
    with change(engine) as connection:
        found = existing_alias(connection, address)
        strange = sorted(gone.difference(found.targets))
        if strange:
            raise UserError(f"the alias {found.address} has no target {strange[0]}")
        left = tuple(target for target in found.targets if target not in gone)
        if not left:
            raise UserError(
                f"the alias {found.address} needs at least one target; "
                f"'postroom alias remove {found.address}' removes it"
            )
        _set_targets(connection, found.address, left)
    return replace(found, targets=left)


def set_writers(engine: Engine, address: str, writers: Writers) -> Alias:
    """Set who may write to an alias.

    Raises:
        UserError: not an address, or there is no such alias.
    """
    with change(engine) as connection:
        found = existing_alias(connection, address)
        connection.execute(
            update(alias).where(alias.c.address == found.address).values(writers=writers.value)
        )
    return replace(found, writers=writers)


def set_passes_tags(engine: Engine, address: str, passes_tags: bool) -> Alias:
    """Set whether the tag of ``alias+tag`` is added to the targets of an alias.

    Raises:
        UserError: not an address, or there is no such alias.
    """
    with change(engine) as connection:
        found = existing_alias(connection, address)
        connection.execute(
            update(alias).where(alias.c.address == found.address).values(passes_tags=passes_tags)
        )
    return replace(found, passes_tags=passes_tags)


def list_aliases(engine: Engine) -> tuple[Alias, ...]:
    """Return all aliases, by domain and then by address."""
    columns = (alias.c.address, alias.c.writers, alias.c.passes_tags, alias_target.c.target)
    query = select(*columns).join_from(alias, alias_target)
    ordered = query.order_by(alias.c.domain, alias.c.address, alias_target.c.number)
    found: dict[tuple[str, str, bool], list[str]] = {}
    with engine.connect() as connection:
        for address, writers, passes_tags, target in connection.execute(ordered):
            found.setdefault((address, writers, passes_tags), []).append(target)
    return tuple(
        Alias(address, tuple(targets), Writers(writers), passes_tags)
        for (address, writers, passes_tags), targets in found.items()
    )


def remove_alias(engine: Engine, address: str) -> Alias:
    """Remove an alias.

    Raises:
        UserError: not an address, or there is no such alias.
    """
    with change(engine) as connection:
        found = existing_alias(connection, address)
        connection.execute(delete(alias).where(alias.c.address == found.address))
    return found


def existing_alias(connection: Connection, address: str) -> Alias:
    """Return an alias.

    Raises:
        UserError: not an address, or there is no such alias.
    """
    wanted = local_address(address)
    found = read_alias(connection, wanted)
    if found is None:
        raise not_found(connection, "alias", wanted)
    return found


def parse_targets(targets: Sequence[str]) -> tuple[str, ...]:
    """Parse targets, and drop those that occur again.

    Raises:
        UserError: one of them is not a target.
    """
    return tuple(dict.fromkeys(parse_target(target) for target in targets))


def _set_targets(connection: Connection, address: str, targets: Sequence[str]) -> None:
    connection.execute(delete(alias_target).where(alias_target.c.alias == address))
    rows = [
        {"alias": address, "number": number, "target": target}
        for number, target in enumerate(targets)
    ]
    connection.execute(insert(alias_target), rows)


def _check_loop(connection: Connection, address: str, targets: Sequence[str]) -> None:
    """Refuse an alias that would loop, directly or through other aliases."""
    edges: dict[str, list[str]] = {}
    query = select(alias_target.c.alias, alias_target.c.target).where(
        alias_target.c.alias != address
    )
    for source, target in connection.execute(query):
        edges.setdefault(source, []).append(target.lower())
    paths = [[address, target.lower()] for target in targets]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == address:
            raise UserError(f"the alias {address} would loop: {' -> '.join(path)}")
        if path[-1] not in seen:
            seen.add(path[-1])
            paths += [[*path, further] for further in edges.get(path[-1], ())]
