"""Accounts in any SQL database, by the administrator's queries.

Each query may use parameters in SQLAlchemy's notation: ``:address`` (``user@example.org``),
``:user`` (the part before the ``@``) and ``:domain``. They are bound, never text of the query. A
local part has quotes only if it contains blanks or the like. The columns are recognised by name:

- the *user query* returns one row for an account: ``password``, ``address`` if its first address
  differs from the one looked up, and the fields of `postroom.sources.profile`;
- the *alias query* returns a row for each target, in the column ``target``; an optional column
  ``passes_tags`` tells whether the tag of ``alias+tag`` is added to the targets;
- the *domain query* returns a row if the domain is ours, with an optional column ``catch_all``.

Without a domain query the domains are those of the settings. A database that cannot be asked, a
wrong query and an invalid value are temporary failures.

Who controls the input: the peer, the values; the administrator, the queries; whoever fills the
database, the answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine, TextClause, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from postroom.credentials import Credential, Knowledge
from postroom.directory.addresses import (
    foreign_forms,
    local_address,
    login_address,
    parse_target,
)
from postroom.envelope import Account, Alias, Domain, Entry
from postroom.errors import UserError
from postroom.sources.password_text import stored_password
from postroom.sources.profile import Maildirs, SourceError, is_yes, make_account
from postroom.sources.settings import SQLSettings
from postroom.sources.threads import THREADS

PARAMETERS: Final = ("address", "user", "domain")
_CONNECT_SECONDS: Final = 5


class SQLLookUps:
    """The look-ups of a database; see `LookUps`."""

    def __init__(self, settings: SQLSettings, maildirs: Maildirs) -> None:
        """Store the settings; no connection is opened.

        Raises:
            UserError: the URL is not valid, its driver is not installed, or a query has an
                unknown parameter.
        """
        self._settings = settings
        self._maildirs = maildirs
        self._user_query = _checked("user_query", settings.user_query)
        self._alias_query = _checked("alias_query", settings.alias_query)
        self._domain_query = _checked("domain_query", settings.domain_query)
        if self._user_query is None:
            raise UserError("accounts.sql.user_query: the source sql needs it")
        self._engine = _open(settings.url, settings.timeout_seconds)

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `LookUps`."""
        return self._settings.knows

    def version(self) -> None:
        """See `LookUps`: a database does not tell."""

    def domain(self, name: str) -> Domain | None:
        """See `LookUps`."""
        if self._domain_query is None:
            return Domain(name) if name in self._settings.domains else None
        rows = self._rows(self._domain_query, {"address": "", "user": "", "domain": name})
        if not rows:
            return None
        catch_all = rows[0].get("catch_all")
        return Domain(name, local_address(catch_all) if catch_all else None)

    def address(self, address: str) -> Entry | None:
        """See `LookUps`."""
        found = self._user(address)
        if found is not None:
            return found[0]
        if self._alias_query is None:
            return None
        rows = self._rows(self._alias_query, _values(address))
        try:
            targets = tuple(parse_target(row["target"]) for row in rows)
        except (KeyError, UserError) as error:
            raise SourceError(f"the alias {address}: {error}") from None
        if not targets:
            return None
        return Alias(address, targets, passes_tags=is_yes(rows[0].get("passes_tags", "yes")))

    def credential(self, username: bytes) -> Credential | None:
        """See `LookUps`. A name that cannot be anybody's is asked for all the same."""
        address = login_address(username, self._settings.default_domain) or ""
        found = self._user(address)
        if found is None:
            return None
        account, row = found
        stored = stored_password(row.get("password", ""), self._settings.scheme)
        return Credential(account.address, stored, enabled=account.enabled)

    def close(self) -> None:
        """See `LookUps`."""
        self._engine.dispose()

    def _user(self, address: str) -> tuple[Account, Mapping[str, str]] | None:
        assert self._user_query is not None
        rows = self._rows(self._user_query, _values(address))
        if not rows:
            return None
        if len(rows) > 1:
            raise SourceError(f"{address}: the user query returns {len(rows)} rows instead of one")
        row = rows[0]
        try:
            first = local_address(row["address"]) if row.get("address") else address
        except UserError as error:
            raise SourceError(f"{address}: {error}") from None
        return make_account(first, row, self._maildirs), row

    def _rows(self, query: TextClause, values: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
        used = {name: values[name] for name in query.compile().params}
        with self._engine.connect() as connection:
            rows = connection.execute(query, used).mappings().all()
        return [
            {name.lower(): _text(value) for name, value in row.items() if value is not None}
            for row in rows
        ]


def _values(address: str) -> Mapping[str, str]:
    return dict(zip(PARAMETERS, foreign_forms(address), strict=True))


def _text(value: Any) -> str:  # whatever the driver makes of a column
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _checked(name: str, query: str) -> TextClause | None:
    """Check that a query uses only known parameters."""
    if not query:
        return None
    clause = text(query)
    for parameter in clause.compile().params:
        if parameter not in PARAMETERS:
            known = ", ".join(f":{each}" for each in PARAMETERS)
            raise UserError(f"accounts.sql.{name}: there is no :{parameter}, only {known}")
    return clause


def _open(url: str, timeout_seconds: float) -> Engine:
    """Return an engine that notices by itself when a server was restarted."""
    milliseconds = max(1, int(timeout_seconds * 1000))
    try:
        parsed = make_url(url)
        options: dict[str, Any] = {"pool_size": THREADS, "max_overflow": 0}
        if parsed.get_backend_name() in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
            options["connect_args"] = {
                "connect_timeout": _CONNECT_SECONDS,
                "tcp_user_timeout": milliseconds,
                "options": f"-c statement_timeout={milliseconds}",
            }
        elif parsed.get_backend_name() == "sqlite":
            # A mistyped path must not make an empty database; nor is there anything to be written.
            query = {"mode": "ro", "uri": "true"}
            parsed = parsed.set(database=f"file:{parsed.database}").update_query_dict(query)
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True, **options)
    except ArgumentError:
        raise UserError(f"accounts.sql.url: {url!r} is not a database URL") from None
    except NoSuchModuleError as error:
        raise UserError(f"accounts.sql.url: {error}") from None
    except ImportError as error:
        extra = ' (extra "postgres")' if "psycopg" in str(error) else ""
        raise UserError(f"accounts.sql.url: the driver is not installed{extra}: {error}") from None
