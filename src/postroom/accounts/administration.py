"""Changing the directory: domains, accounts and aliases, as the administrator does it.

Plain functions on an `Engine`, which block; the admin command calls them as they are, a daemon
through `postroom.accounts.directory.SQLDirectory.change`. None of them needs a running daemon, and
a running one notices.

Each change is one transaction, which begins by counting `directory_revision` up: that takes the
lock under which all its checks are made, and tells the daemons. A change that is refused leaves no
trace. What merely points to an address (an alias's target, a catch-all) may be named before it
exists and may outlive it: `untaken` and `Removed.referrers` let the caller say so.

Who controls the input: the administrator. What is wrong with it is said in one line (`UserError`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)

from postroom.accounts.addresses import (
    domain_of,
    local_address,
    maildir_name,
    parse_address,
    parse_domain,
    parse_target,
)
from postroom.accounts.tables import account, alias, alias_target, directory_revision, domain
from postroom.database.engine import transaction
from postroom.envelope import DISCARD, Account, Alias, Domain
from postroom.errors import UserError

_LISTED: Final = 8
"""How many names an error lists before it says how many more there are."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as it is listed.

    Attributes:
        address: its address.
        maildir: path of its Maildir, relative to the mail root.
        enabled: False refuses its mail for now and its logins.
        has_password: False if nobody can log in to it.
    """

    address: str
    maildir: str
    enabled: bool
    has_password: bool


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A domain as it is listed, with the numbers of its accounts and aliases."""

    name: str
    catch_all: str | None
    accounts: int
    aliases: int


@dataclass(frozen=True, slots=True)
class Removed:
    """An account that is gone.

    Attributes:
        address: its address.
        maildir: its Maildir, relative to the mail root, which stays as it is.
        referrers: the aliases and ``@domain`` catch-alls that still point to it.
    """

    address: str
    maildir: str
    referrers: tuple[str, ...]


@contextmanager
def _change(engine: Engine) -> Iterator[Connection]:
    """Give the connection of one change; no other change runs beside it, on any machine."""
    with transaction(engine) as connection:
        revision = directory_revision.c.revision
        connection.execute(update(directory_revision).values(revision=revision + 1))
        yield connection


# Domains


def add_domain(engine: Engine, name: str, catch_all: str | None = None) -> Domain:
    """Add a local domain.

    Args:
        engine: the database.
        name: the domain.
        catch_all: the address that gets what no account or alias of it takes; None refuses that.

    Raises:
        UserError: not a domain name or address, or the domain exists.
    """
    added = Domain(parse_domain(name), _catch_all(catch_all))
    with _change(engine) as connection:
        if added.name in _domain_names(connection):
            raise UserError(f"the domain {added.name} exists already")
        connection.execute(insert(domain).values(name=added.name, catch_all=added.catch_all))
    return added


def set_catch_all(engine: Engine, name: str, catch_all: str | None) -> Domain:
    """Say which address gets what no account or alias of a domain takes; None refuses that.

    Raises:
        UserError: not a domain name or address, or there is no such domain.
    """
    changed = Domain(parse_domain(name), _catch_all(catch_all))
    with _change(engine) as connection:
        _check_domain(connection, changed.name)
        connection.execute(
            update(domain).where(domain.c.name == changed.name).values(catch_all=changed.catch_all)
        )
    return changed


def list_domains(engine: Engine) -> tuple[DomainRow, ...]:
    """Give all domains in the order in which they were added."""
    accounts = select(func.count()).where(account.c.domain == domain.c.name).scalar_subquery()
    aliases = select(func.count()).where(alias.c.domain == domain.c.name).scalar_subquery()
    query = select(domain.c.name, domain.c.catch_all, accounts, aliases).order_by(domain.c.id)
    with engine.connect() as connection:
        return tuple(DomainRow(*row) for row in connection.execute(query))


def remove_domain(engine: Engine, name: str) -> Domain:
    """Remove a domain that has no accounts and aliases any more.

    Raises:
        UserError: there is no such domain, or it still has some.
    """
    gone = parse_domain(name)
    with _change(engine) as connection:
        _check_domain(connection, gone)
        for kind, table in (("account", account), ("alias", alias)):
            of_it = select(table.c.address).where(table.c.domain == gone)
            left = connection.scalars(of_it.order_by(table.c.address)).all()
            if left:
                raise UserError(
                    f"the domain {gone} still has {_several(left)}; remove with "
                    f"'postroom {kind} remove ADDRESS' first"
                )
        catch_all = connection.scalar(select(domain.c.catch_all).where(domain.c.name == gone))
        connection.execute(delete(domain).where(domain.c.name == gone))
    return Domain(gone, catch_all)


# Accounts


def check_new_account(engine: Engine, address: str) -> str:
    """Say whether an account could be added, before anyone is asked for its password.

    Returns:
        The address in canonical form.

    Raises:
        UserError: as `add_account` would.
    """
    wanted = local_address(address)
    with engine.connect() as connection:
        _check_new_address(connection, wanted)
    return wanted


def add_account(engine: Engine, address: str, password_hash: str | None) -> AccountRow:
    """Add an account.

    Args:
        engine: the database.
        address: its address, in a domain that exists.
        password_hash: from `postroom.accounts.hashing`; None if nobody is to log in.

    Raises:
        UserError: not an address, its domain is unknown, or it is taken.
    """
    wanted = local_address(address)
    with _change(engine) as connection:
        _check_new_address(connection, wanted)
        return _insert_account(connection, wanted, password_hash)


def list_accounts(engine: Engine) -> tuple[AccountRow, ...]:
    """Give all accounts, by domain and then by address."""
    with engine.connect() as connection:
        rows = connection.execute(_accounts().order_by(account.c.domain, account.c.address))
        return tuple(AccountRow(*row) for row in rows)


def find_account(engine: Engine, address: str) -> AccountRow:
    """Give one account.

    Raises:
        UserError: not an address, or there is no such account.
    """
    with engine.connect() as connection:
        return _existing_account(connection, local_address(address))


def set_password(engine: Engine, address: str, password_hash: str | None) -> AccountRow:
    """Give an account another password; None takes it away.

    Raises:
        UserError: not an address, or there is no such account.
    """
    return _update_account(engine, address, password_hash=password_hash)


def set_enabled(engine: Engine, address: str, enabled: bool) -> AccountRow:
    """Let an account have its mail and its logins, or refuse them for now.

    Raises:
        UserError: not an address, or there is no such account.
    """
    return _update_account(engine, address, enabled=enabled)


def remove_account(engine: Engine, address: str) -> Removed:
    """Remove an account. Its Maildir stays as it is.

    Raises:
        UserError: not an address, or there is no such account.
    """
    gone = local_address(address)
    with _change(engine) as connection:
        row = _existing_account(connection, gone)
        connection.execute(delete(account).where(account.c.address == gone))
        return Removed(gone, row.maildir, _referrers(connection, gone))


def upgrade_hash(engine: Engine, address: str, old: str, new: str) -> None:
    """Replace an account's hash by one of the same password, unless it was changed meanwhile."""
    with transaction(engine) as connection:
        connection.execute(
            update(account)
            .where(account.c.address == address, account.c.password_hash == old)
            .values(password_hash=new)
        )


# Aliases


def add_alias(engine: Engine, address: str, targets: Sequence[str]) -> Alias:
    """Add an alias.

    Args:
        engine: the database.
        address: its address, in a domain that exists.
        targets: addresses, here or elsewhere, or ``discard:``.

    Raises:
        UserError: not an address or a target, its domain is unknown, it is taken, or its mail
            would come back to it.
    """
    wanted = local_address(address)
    chosen = tuple(dict.fromkeys(parse_target(target) for target in targets))
    if not chosen:
        raise UserError(f"the alias {wanted} needs at least one target")
    with _change(engine) as connection:
        _check_new_address(connection, wanted)
        _check_loop(connection, wanted, chosen)
        connection.execute(insert(alias).values(address=wanted, domain=domain_of(wanted)))
        rows = [{"number": number, "target": target} for number, target in enumerate(chosen)]
        connection.execute(insert(alias_target).values(alias=wanted), rows)
    return Alias(wanted, chosen)


def list_aliases(engine: Engine) -> tuple[Alias, ...]:
    """Give all aliases, by domain and then by address."""
    query = select(alias.c.address, alias_target.c.target).join(alias_target)
    ordered = query.order_by(alias.c.domain, alias.c.address, alias_target.c.number)
    found: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for address, target in connection.execute(ordered):
            found.setdefault(address, []).append(target)
    return tuple(Alias(address, tuple(targets)) for address, targets in found.items())


def remove_alias(engine: Engine, address: str) -> Alias:
    """Remove an alias.

    Raises:
        UserError: not an address, or there is no such alias.
    """
    gone = local_address(address)
    with _change(engine) as connection:
        targets = connection.scalars(
            select(alias_target.c.target)
            .where(alias_target.c.alias == gone)
            .order_by(alias_target.c.number)
        ).all()
        removed = connection.execute(delete(alias).where(alias.c.address == gone))
        if not removed.rowcount:
            raise UserError(f"there is no alias {gone}" + _what_it_is(connection, gone))
    return Alias(gone, tuple(targets))


def untaken(engine: Engine, addresses: Sequence[str]) -> tuple[str, ...]:
    """Give those of some addresses that are in our domains, but of no account or alias."""
    with engine.connect() as connection:
        ours = set(_domain_names(connection))
        return tuple(
            address
            for address in addresses
            if address != DISCARD
            and domain_of(address) in ours
            and _taken_by(connection, address.lower()) is None
        )


# Defaults


def ensure_defaults(engine: Engine, domains: Sequence[str], mail_root: Path) -> tuple[Account, ...]:
    """Make what a start needs and the database does not have. Changes nothing the second time.

    Each domain of the settings is made if it is missing, and gets the account ``postmaster``, which
    nobody can log in to, unless postmaster is an account or an alias there. If neither settings nor
    database name a domain, there will be ``localhost``. The domain ``localhost``, when it is made
    here, has its postmaster as catch-all.

    Args:
        engine: the database.
        domains: the domains that the settings name.
        mail_root: the directory below which Maildirs are.

    Returns:
        The accounts that were made.

    Raises:
        UserError: one of the domains is no domain name.

    RFC 5321 s4.5.1
    """
    names = [parse_domain(name) for name in domains]
    with engine.connect() as connection:
        if not any(_missing(connection, names)):
            return ()
    with _change(engine) as connection:
        new_domains, new_postmasters = _missing(connection, names)
        for name in new_domains:
            catch_all = f"postmaster@{name}" if name == "localhost" else None
            connection.execute(insert(domain).values(name=name, catch_all=catch_all))
        rows = [_insert_account(connection, address, None) for address in new_postmasters]
    return tuple(Account(row.address, str(mail_root / row.maildir)) for row in rows)


def _missing(connection: Connection, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give the domains and the postmasters that `ensure_defaults` has to make."""
    existing = _domain_names(connection)
    wanted = list(names) or ([] if existing else ["localhost"])
    postmasters = [f"postmaster@{name}" for name in wanted]
    return (
        [name for name in dict.fromkeys(wanted) if name not in existing],
        [each for each in dict.fromkeys(postmasters) if _taken_by(connection, each) is None],
    )


# What the above have in common


def _catch_all(text: str | None) -> str | None:
    return None if text is None else str(parse_address(text))


def _accounts() -> Select[str, str, bool, bool]:
    has_password = account.c.password_hash.is_not(None)
    return select(account.c.address, account.c.maildir, account.c.enabled, has_password)


def _domain_names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(domain.c.name).order_by(domain.c.id)))


def _taken_by(connection: Connection, address: str) -> str | None:
    """Say what an address is: ``"account"``, ``"alias"``, or None."""
    accounts = select(literal("account")).where(account.c.address == address)
    aliases = select(literal("alias")).where(alias.c.address == address)
    return connection.scalar(union_all(accounts, aliases))


def _what_it_is(connection: Connection, address: str) -> str:
    """Finish the sentence that there is no such account or alias."""
    taken_by = _taken_by(connection, address)
    if taken_by is not None:
        return f": it is an {taken_by}"
    near = select(account.c.address).where(account.c.domain == domain_of(address))
    return _meant(address, list(connection.scalars(near.limit(1000))))


def _meant(address: str, known: Sequence[str]) -> str:
    # Only an error pays for this import.
    from difflib import get_close_matches

    close = get_close_matches(address, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _check_domain(connection: Connection, name: str) -> None:
    known = _domain_names(connection)
    if name not in known:
        shown = f"the domains are {_several(known)}" if known else "there is no domain yet"
        raise UserError(f"unknown domain {name}: {shown}; 'postroom domain add {name}' adds it")


def _check_new_address(connection: Connection, address: str) -> None:
    _check_domain(connection, domain_of(address))
    taken_by = _taken_by(connection, address)
    if taken_by is not None:
        raise UserError(f"{address} exists already: it is an {taken_by}")


def _check_loop(connection: Connection, address: str, targets: Sequence[str]) -> None:
    """Refuse an alias whose mail would come back to it, directly or through other aliases."""
    edges: dict[str, list[str]] = {}
    for source, target in connection.execute(select(alias_target.c.alias, alias_target.c.target)):
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


def _insert_account(connection: Connection, address: str, password_hash: str | None) -> AccountRow:
    row = AccountRow(address, maildir_name(parse_address(address)), True, password_hash is not None)
    connection.execute(
        insert(account).values(
            address=row.address,
            domain=domain_of(address),
            password_hash=password_hash,
            maildir=row.maildir,
            enabled=row.enabled,
        )
    )
    return row


def _update_account(engine: Engine, address: str, **values: object) -> AccountRow:
    wanted = local_address(address)
    with _change(engine) as connection:
        connection.execute(update(account).where(account.c.address == wanted).values(**values))
        return _existing_account(connection, wanted)


def _existing_account(connection: Connection, address: str) -> AccountRow:
    row = connection.execute(_accounts().where(account.c.address == address)).first()
    if row is None:
        raise UserError(f"there is no account {address}" + _what_it_is(connection, address))
    return AccountRow(*row)


def _referrers(connection: Connection, address: str) -> tuple[str, ...]:
    """Give the aliases and ``@domain`` catch-alls that point to an address."""
    pointing = func.lower(alias_target.c.target) == address
    aliases = select(alias_target.c.alias).where(pointing).order_by(alias_target.c.alias)
    domains = select("@" + domain.c.name).where(domain.c.catch_all == address)
    return (*connection.scalars(aliases), *connection.scalars(domains))


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
