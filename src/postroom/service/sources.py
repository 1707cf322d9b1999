"""The sources of accounts in the settings, in their order.

Only sources that are used are imported: LDAP and PAM are extras, and cost more than all others.

Who controls the input: the administrator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from postroom.directory.sql_directory import SQLDirectory
from postroom.errors import UserError
from postroom.interfaces import ICredentialSource, IDirectory
from postroom.service.settings import Settings
from postroom.sources.logged_source import LoggedSource
from postroom.sources.profile import Maildirs
from postroom.sources.settings import PasswdSettings
from postroom.sources.source_chain import CachedDirectory, DirectoryChain
from postroom.sources.threads import ThreadedSource

DATABASE: Final = "database"
_CACHED: Final = frozenset({"sql", "ldap", "system"})


class Startable(Protocol):
    """A part of the daemon that is started and stopped."""

    def start(self) -> None:
        """Start."""

    def stop(self) -> "Deferred[Any] | None":
        """Stop; may block, or take until the Deferred fires."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of accounts.

    Attributes:
        directory: finds domains and addresses.
        credentials: find the credentials of logins, in order.
        running: the parts to be started and stopped.
    """

    directory: IDirectory
    credentials: Sequence[ICredentialSource]
    running: Sequence[Startable]

    def start(self) -> None:
        """Start to answer and to notice changes."""
        for each in self.running:
            each.start()

    def stop(self) -> Deferred[Any]:
        """Stop; blocks for what threads do, and fires when connections are closed."""
        return gatherResults([maybeDeferred(each.stop) for each in self.running])


def make_sources(
    reactor: Any,  # an IServiceReactor; named there, it would be imported in a circle
    settings: Settings,
    default_domain: str | None,
    directory: SQLDirectory,
    own: ICredentialSource,
) -> Sources:
    """Return the sources; nothing runs yet.

    Args:
        reactor: that of the daemon.
        settings: those of the daemon.
        default_domain: of names without one: the oldest local domain.
        directory: the database's.
        own: the database's accounts, as a source of logins.

    Raises:
        UserError: the settings of a source are wrong, or it needs an extra that is not installed.
    """
    cache = settings.accounts
    directories: list[IDirectory] = []
    credentials: list[ICredentialSource] = []
    running: list[Startable] = [directory]  # always in use, for postmasters and the queue
    for name in _names(settings):
        if name == DATABASE:
            directories.append(directory)
            credentials.append(own)
            continue
        source = LoggedSource(name, _MAKERS[name](reactor, settings, default_domain))
        running.append(source)
        credentials.append(source)
        if name in _CACHED:
            times = (cache.cache_seconds, cache.negative_cache_seconds)
            directories.append(CachedDirectory(source, reactor, *times))
        else:
            directories.append(source)
    whole = directories[0] if len(directories) == 1 else DirectoryChain(directories)
    return Sources(whole, credentials, running)


def check_sources(settings: Settings) -> list[str]:
    """Check the sources of the settings as a start would; none of them is asked anything.

    Returns:
        The faults that a daemon would only log: one for each bad line of a passwd-file.

    Raises:
        UserError: the settings of a source are wrong, or it needs an extra that is not installed.
    """
    default_domain = next(iter(settings.domains), None)
    faults: list[str] = []
    for name in _names(settings):
        if name != DATABASE:
            _MAKERS[name](None, settings, default_domain)
        if name == "passwd_file":
            from postroom.sources.passwd_file import check_passwd_file

            faults += check_passwd_file(*_passwd_parts(settings, default_domain))
    return faults


def _names(settings: Settings) -> Sequence[str]:
    names = settings.accounts.sources
    if len(set(names)) < len(names):
        raise UserError("accounts.sources: each source can be listed only once")
    if not names:
        raise UserError('accounts.sources: list at least one source, as in ["database"]')
    return names


def _maildirs(settings: Settings, name: str, template: str) -> Maildirs:
    try:
        return Maildirs(settings.mail_root(), template)
    except ValueError as error:
        raise UserError(f"accounts.{name}.maildir: {error}") from None


def _static(_: Any, settings: Settings, default_domain: str | None) -> Any:
    from postroom.sources.static import StaticSource

    section = settings.accounts.static
    maildirs = _maildirs(settings, "static", section.maildir)
    try:
        return StaticSource(section.users, section.aliases, maildirs, default_domain)
    except UserError as error:
        raise UserError(f"accounts.static: {error}") from None


def _passwd_file(reactor: Any, settings: Settings, default_domain: str | None) -> Any:
    from postroom.sources.passwd_file import PasswdFile

    parts = _passwd_parts(settings, default_domain)
    try:
        look_ups = PasswdFile(*parts)
    except UserError as error:
        raise UserError(f"accounts.passwd_file.path: {error}") from None
    return _threaded(reactor, settings, "passwd_file", look_ups)


def _passwd_parts(
    settings: Settings, default_domain: str | None
) -> tuple[PasswdSettings, Maildirs]:
    section = settings.accounts.passwd_file
    read = replace(section, default_domain=section.default_domain or default_domain)
    return read, _maildirs(settings, "passwd_file", section.maildir)


def _sql(reactor: Any, settings: Settings, default_domain: str | None) -> Any:
    from postroom.sources.sql import SQLLookUps

    section = settings.accounts.sql
    if not section.url:
        raise UserError("accounts.sql.url: the source sql needs it")
    if not (section.domain_query or section.domains):
        raise UserError("accounts.sql.domains: the source sql needs it, or a domain_query")
    asked = replace(
        section,
        default_domain=default_domain,
        timeout_seconds=settings.accounts.look_up_seconds,
    )
    look_ups = SQLLookUps(asked, _maildirs(settings, "sql", section.maildir))
    return _threaded(reactor, settings, "sql", look_ups)


def _ldap(reactor: Any, settings: Settings, _: str | None) -> Any:
    try:
        from postroom.sources.ldap import LDAPSource
    except ModuleNotFoundError as error:
        raise UserError(f'accounts.ldap needs the extra "ldap": {error}') from None
    section = settings.accounts.ldap
    for name in ("base", "domains"):
        if not getattr(section, name):
            raise UserError(f"accounts.ldap.{name}: the source ldap needs it")
    file = section.server.bind_password_file
    server = replace(section.server, bind_password=_read_line(file) if file else "")
    maildirs = _maildirs(settings, "ldap", section.maildir)
    return LDAPSource(
        replace(section, server=server), maildirs, reactor, settings.accounts.look_up_seconds
    )


def _read_line(path: Path) -> str:
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8"
        raise UserError(f"accounts.ldap.bind_password_file: {path}: {reason}") from None


def _system(reactor: Any, settings: Settings, default_domain: str | None) -> Any:
    from postroom.sources.system import SystemUsers

    section = settings.accounts.system
    domains = section.domains or ((default_domain,) if default_domain else ())
    look_ups = SystemUsers(
        replace(section, domains=domains), _maildirs(settings, "system", section.maildir)
    )
    return _threaded(reactor, settings, "system", look_ups)


def _threaded(reactor: Any, settings: Settings, name: str, look_ups: Any) -> ThreadedSource:
    return ThreadedSource(name, look_ups, reactor, settings.accounts.look_up_seconds)


_MAKERS: Final[dict[str, Callable[[Any, Settings, str | None], Any]]] = {
    "static": _static,
    "passwd_file": _passwd_file,
    "sql": _sql,
    "ldap": _ldap,
    "system": _system,
}
