"""The tables of the settings that hold more than one room's, or what is no room's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from postroom.directory.srs_secrets import Rotation
from postroom.logins.guard import GuardSettings
from postroom.logins.hashing import Forms
from postroom.logins.tokens import TokenSettings
from postroom.settings.declaring import part, setting, table
from postroom.settings.values import LOOPBACK, DomainName, FilePath, Networks
from postroom.sources.settings import (
    LDAPSettings,
    PasswdSettings,
    SQLSettings,
    StaticSettings,
    SystemSettings,
)

SourceName = Literal["database", "static", "passwd_file", "sql", "ldap", "system"]


@dataclass(frozen=True, slots=True)
class TokensSection:
    """Tokens (OAuth 2), for OAUTHBEARER and XOAUTH2; auth.mechanisms has to name these as well."""

    claims: TokenSettings = part(TokenSettings)
    keys: str = setting(
        "",
        """The issuer's keys, a file or https URL with a JSON Web Key Set: tokens are then checked
        by their signature. Needs the extra "auth".""",
        example="https://login.example.org/jwks.json",
        rfc="RFC 7517 s5",
    )
    refresh_seconds: float = setting(
        3600.0, "How long keys are used before they are read again.", within=(60, 2_592_000)
    )
    introspection_url: str = setting(
        "",
        """Instead of keys: where the issuer is asked about each token. Needs the extra "auth".""",
        example="https://login.example.org/introspect",
        rfc="RFC 7662 s2",
    )
    client_id: str = setting(
        "", "The name that we log in with at introspection_url.", example="postroom"
    )
    client_secret_file: FilePath | None = setting(
        None,
        "The file with the password that we log in with at introspection_url.",
        example="/etc/postroom/introspection-secret",
    )
    ca_file: FilePath | None = setting(
        None,
        "A certificate (PEM) that is trusted for these URLs instead of the system's.",
        example="/etc/ssl/certs/internal.pem",
    )
    timeout_seconds: float = setting(10.0, "How long a request may take.", above=0, most=240)


@dataclass(frozen=True, slots=True)
class AuthSection:
    """Logins."""

    checkers: Sequence[str] = setting(
        (),
        """Further sources of logins beside Postroom's own accounts, as Twisted's credential plugins
        write them; "twistd smtp --help-auth" lists them.""",
        option="auth",
        example=["file:/etc/postroom/passwd"],
    )
    forms: Forms = part(Forms)
    lockout: GuardSettings = table(GuardSettings)
    exempt_networks: Networks = setting(
        LOOPBACK,
        """Networks that are never locked out and whose refusals are never delayed further, such as
        a web mail's. Those who use this host's programs all come from one address.""",
        key="auth.lockout.exempt_networks",
    )
    tokens: TokensSection = table(TokensSection)


@dataclass(frozen=True, slots=True)
class AccountsSection:
    """Where accounts come from, and how long what is said of them is remembered."""

    sources: Sequence[SourceName] = setting(
        ("database",),
        """In which order accounts are looked for, of database, static, passwd_file, sql, ldap and
        system. The first that knows an address or a domain decides. While one is down, nothing that
        it might know is refused for good.""",
    )
    cache_seconds: float = setting(
        60.0,
        """How long answers of sql, ldap and system are remembered. The other sources notice changes
        by themselves within a second.""",
        within=(0, 86_400),
    )
    negative_cache_seconds: float = setting(
        10.0,
        "How long it is remembered that sql, ldap or system do not know a name.",
        within=(0, 86_400),
    )
    look_up_seconds: float = setting(
        10.0,
        "How long a source may take for an answer before it counts as down.",
        above=0,
        most=300,
    )
    static: StaticSettings = table(StaticSettings)
    passwd_file: PasswdSettings = table(PasswdSettings)
    sql: SQLSettings = table(SQLSettings)
    ldap: LDAPSettings = table(LDAPSettings)
    system: SystemSettings = table(SystemSettings)


@dataclass(frozen=True, slots=True)
class SRSSection:
    """How the reverse-path of mail that is forwarded off-site is rewritten, so that SPF holds."""

    enabled: bool = setting(
        True,
        """Rewrite the reverse-paths of strangers in what aliases and accounts forward to other
        sites. It needs a domain whose mail comes here, other than localhost.""",
    )
    domain: DomainName | None = setting(
        None,
        "The domain of rewritten addresses; its mail has to come to this server.",
        example="example.org",
        shown_default="the oldest local domain",
    )
    rotation: Rotation = part(Rotation)


@dataclass(frozen=True, slots=True)
class LogSection:
    """The log."""

    format: Literal["text", "json"] = setting(
        "text", "One line for each event: as text to read, or as a JSON object."
    )
    file: FilePath | None = setting(
        None,
        """Where the log goes. Without it twistd's --logfile counts: standard output with -n, else
        twistd.log. SIGHUP and SIGUSR1 close and reopen the file.""",
        example="/var/log/postroom.log",
    )
