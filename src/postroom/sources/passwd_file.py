r"""A passwd-file in Dovecot's format: one user a line.

    line     = user ":" password *( ":" field )
    fields   = uid ":" gid ":" gecos ":" home ":" shell ":" extra
    extra    = *( name [ "=" value ] " " )

``user`` is an address, or a bare name in the default domain. ``password`` is a hash of any scheme
that `postroom.logins.schemes` knows, with the scheme in braces before it. Extra fields that begin
with ``userdb_`` are read as in `postroom.sources.profile`. ``nologin`` and ``allow_nets`` disable
logins, since their restrictions cannot be applied here. Uids, gids and shells are ignored, and so
are lines that begin with ``#``.

Theory: the whole file is read, and again when its size, time or inode changes. A line that cannot
be parsed is logged with file and number; its user gets a temporary failure, and nobody else is
affected. A file that is missing, unreadable or empty, as it may be for a moment while an editor
writes it, is a source that is down.

Known limit: a file that is written in place may be read half-way; write another one and rename it.

Who controls the input: the administrator.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from twisted.logger import Logger

from postroom.credentials import Credential, Knowledge
from postroom.directory.addresses import domain_of, local_address, login_address
from postroom.envelope import Account, Domain
from postroom.errors import UserError
from postroom.sources.password_text import knowledge_from, stored_password
from postroom.sources.profile import Maildirs, SourceDown, SourceError, make_account
from postroom.sources.settings import PasswdSettings

_FIELDS: Final = 8
_USERDB: Final = "userdb_"
_NO_LOGIN: Final = frozenset({"nologin", "allow_nets"})
_LOGGED: Final = 20
"""How many bad lines are logged one by one."""
_log = Logger()


@dataclass(slots=True)
class _Contents:
    """The content of a file."""

    accounts: dict[str, Account] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    stored: dict[str, tuple[str, ...]] = field(default_factory=dict)
    no_logins: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    domains: frozenset[str] = frozenset()


class PasswdFile:
    """The look-ups of a passwd-file; see `LookUps`."""

    def __init__(self, settings: PasswdSettings, maildirs: Maildirs) -> None:
        """Read the file.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        if settings.path is None:
            raise UserError("the source passwd_file needs it")
        self._path = settings.path
        self._settings = settings
        self._maildirs = maildirs
        self._lock = Lock()
        self._signature: object = None
        self._contents = _Contents()
        try:
            self.current()
        except (OSError, SourceDown) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise UserError(f"{settings.path}: {reason}") from None

    @property
    def knows(self) -> frozenset[Knowledge]:
        """See `LookUps`."""
        return knowledge_from(each for forms in self._contents.stored.values() for each in forms)

    def version(self) -> object:
        """See `LookUps`: the file's identity, or the reason why it has none."""
        try:
            return self.signature()
        except OSError as error:
            return error.errno

    def domain(self, name: str) -> Domain | None:
        """See `LookUps`."""
        return Domain(name) if name in self.current().domains else None

    def address(self, address: str) -> Account | None:
        """See `LookUps`."""
        contents = self.current()
        self._check(contents, address)
        return contents.accounts.get(contents.owners.get(address, ""))

    def credential(self, username: bytes) -> Credential | None:
        """See `LookUps`."""
        contents = self.current()
        address = login_address(username, self._settings.default_domain) or ""
        self._check(contents, address)
        owner = contents.accounts.get(contents.owners.get(address, ""))
        if owner is None:
            return None
        enabled = owner.enabled and owner.address not in contents.no_logins
        return Credential(owner.address, contents.stored[owner.address], enabled=enabled)

    def close(self) -> None:
        """See `LookUps`."""

    def signature(self) -> tuple[int, ...]:
        """Return a value that differs when the file has changed."""
        found = os.stat(self._path)
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def current(self) -> _Contents:
        """Return the file's users as they are now.

        Raises:
            OSError: it cannot be read.
            SourceDown: it is empty, or was written while it was read.
        """
        with self._lock:
            before = self.signature()
            if before != self._signature:
                octets = self._path.read_bytes()
                if not octets.strip() or self.signature() != before:
                    raise SourceDown(f"{self._path} is empty, or being written")
                self._contents = _read(octets, self._settings, self._maildirs)
                self._signature = before
                self._log_faults(self._contents.faults)
            return self._contents

    def _check(self, contents: _Contents, address: str) -> None:
        """Raise for a user whose line cannot be parsed, who is not an unknown user."""
        if address in contents.broken:
            raise SourceError(contents.broken[address])

    def _log_faults(self, faults: list[str]) -> None:
        for fault in faults[:_LOGGED]:
            _log.warn("{fault}", fault=fault)
        if len(faults) > _LOGGED:
            path = str(self._path)
            _log.warn("{path}: {more} bad lines more", path=path, more=len(faults) - _LOGGED)


def check_passwd_file(settings: PasswdSettings, maildirs: Maildirs) -> list[str]:
    """Read a file, and return a line for each fault in it.

    Raises:
        UserError: it cannot be read.
    """
    return PasswdFile(settings, maildirs).current().faults


def _read(octets: bytes, settings: PasswdSettings, maildirs: Maildirs) -> _Contents:
    contents = _Contents()
    for number, line in enumerate(octets.split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name = line.partition(b":")[0].strip().decode("utf-8", "replace")
        try:
            _read_line(contents, line, settings, maildirs)
        except (UserError, SourceError, ValueError) as error:
            fault = f"{settings.path}:{number}: {error}"
            contents.faults.append(fault)
            address = login_address(name.encode("utf-8"), settings.default_domain)
            if address is not None and address not in contents.owners:
                contents.broken[address] = fault
    everybody = (*contents.owners, *contents.broken)
    contents.domains = frozenset(domain_of(address) for address in everybody)
    return contents


def _read_line(
    contents: _Contents, line: bytes, settings: PasswdSettings, maildirs: Maildirs
) -> None:
    try:
        parts = line.removesuffix(b"\r").decode("utf-8").split(":", _FIELDS - 1)
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None
    if len(parts) < 2:
        raise ValueError("no colon: a line is user:password, followed by more fields")
    name, password, *_ = parts
    address = _address(name.strip(), settings.default_domain)
    if address in contents.owners:
        raise ValueError(f"{address} is listed twice; the first one is used")
    extra = _extra(parts[7] if len(parts) == _FIELDS else "")
    said = {
        key.removeprefix(_USERDB): value for key, value in extra.items() if key.startswith(_USERDB)
    }
    said.setdefault("home", parts[5] if len(parts) > 5 else "")
    account = make_account(address, said, maildirs)
    contents.accounts[address] = account
    contents.stored[address] = stored_password(password, settings.scheme)
    # An address that an earlier line has stays with it, as a user does.
    for each in (address, *account.addresses):
        contents.owners.setdefault(each, address)
    if _NO_LOGIN.intersection(extra):
        contents.no_logins.add(address)


def _address(name: str, default_domain: str | None) -> str:
    if "@" in name:
        return local_address(name)
    if default_domain is None:
        raise ValueError(f"{name!r} has no domain, and there is no default one")
    return local_address(f"{name}@{default_domain}")


def _extra(text: str) -> Mapping[str, str]:
    found = {}
    for item in text.split():
        name, _, value = item.partition("=")
        found[name.lower()] = value
    return found
