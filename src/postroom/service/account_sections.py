"""The tables of the settings that say whose mail is taken, and in whose name it is passed on."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from postroom.directory.srs_secrets import Rotation
from postroom.service.declarations import (
    AbsolutePath,
    DomainName,
    DomainNames,
    Extra,
    Section,
    Strings,
    as_tuple,
    setting,
)

_ROTATION = Rotation()


class SRSSection(Section):
    """How the reverse-path of mail that is forwarded off-site is rewritten, so that SPF holds."""

    enabled: bool = setting(
        True,
        """Rewrite the reverse-paths of strangers in what aliases and accounts forward to other
        sites. It needs a domain whose mail comes here, other than localhost.""",
    )
    domain: DomainName | None = setting(
        None,
        "The domain of rewritten addresses; its mail has to come to this server.",
        extra=Extra(example="example.org", shown_default="the oldest local domain"),
    )
    lifetime_days: int = setting(
        _ROTATION.lifetime_days,
        "How long what comes back to a rewritten address reaches the sender.",
        ge=1,
        le=1000,
    )
    rotation_days: int = setting(
        _ROTATION.rotation_days,
        """After how many days a new secret signs rewritten addresses; the old one is known for
        lifetime_days more. 0 keeps one for ever.""",
        ge=0,
        le=36_500,
    )

    def rotation(self) -> Rotation:
        """Give how long secrets last."""
        return Rotation(self.rotation_days, self.lifetime_days)


_SourceNames = Annotated[
    tuple[Literal["database", "static", "passwd_file", "sql", "ldap", "system"], ...],
    BeforeValidator(as_tuple),
]
_StoredKinds = Annotated[tuple[Literal["clear_text", "scram"], ...], BeforeValidator(as_tuple)]


def _template() -> Any:
    return setting(
        "",
        """Where Maildirs are that the source does not name: a path in which {home}, {user},
        {domain} and {address} stand for the account's. Empty for the place in the state directory
        that accounts of the database have.""",
        extra=Extra(example="{home}/Maildir"),
    )


def _scheme() -> Any:
    return setting(
        "",
        "The scheme of stored passwords that name none, as in SSHA; empty for crypt.",
        pattern=r"^[A-Za-z0-9.-]*$",
    )


class StaticAccountsSection(Section):
    """The source "static": accounts that stand here."""

    users: dict[str, str] = setting(
        {},
        """Address to stored password, as "doveadm pw" writes it; with an empty one nobody logs
        in.""",
        extra=Extra(example={"joe@example.org": "{SSHA256}…"}, secret=True),
    )
    aliases: dict[str, Strings] = setting(
        {},
        "Alias to a list of its targets.",
        extra=Extra(example={"sales@example.org": ["joe@example.org", "ann@example.net"]}),
    )
    maildir: str = _template()


class PasswdFileSection(Section):
    """The source "passwd_file": a file of users as Dovecot reads it."""

    path: AbsolutePath | None = setting(
        None,
        "The file; it is read again when it changes.",
        extra=Extra(example="/etc/postroom/passwd"),
    )
    domain: DomainName | None = setting(
        None,
        "The domain of names without one.",
        extra=Extra(example="example.org", shown_default="the oldest local domain"),
    )
    scheme: str = _scheme()
    maildir: str = _template()


class SQLAccountsSection(Section):
    """The source "sql": queries of a database that is not ours."""

    url: str = setting(
        "",
        "The database, as an SQLAlchemy URL.",
        extra=Extra(example="postgresql://reader:secret@db.example.org/mail"),
    )
    user_query: str = setting(
        "",
        """Gives a row for an account. :address, :user and :domain stand for what is looked up. Its
        columns are password, and where they are wanted address, maildir, home, enabled, addresses,
        forwards, keeps_copy, senders, quota_octets, quota_messages and the other limits.""",
        extra=Extra(
            example="SELECT password, home FROM users WHERE name = :user AND domain = :domain"
        ),
    )
    alias_query: str = setting(
        "",
        "Gives a row with the column target for each target of an alias.",
        extra=Extra(example="SELECT target FROM aliases WHERE address = :address"),
    )
    domain_query: str = setting(
        "",
        "Gives a row if a domain is ours, with the column catch_all if there is one.",
        extra=Extra(example="SELECT name FROM domains WHERE name = :domain"),
    )
    domains: DomainNames = setting((), "The domains that are ours, where there is no domain_query.")
    stored_as: _StoredKinds = setting(
        (),
        """What passwords may be stored as besides hashes: "clear_text" allows CRAM-MD5, "scram"
        SCRAM-SHA-256.""",
    )
    scheme: str = _scheme()
    maildir: str = _template()


class LDAPAttributesSection(Section):
    """Which attributes of an entry mean what; an empty name means that none does."""

    address: str = setting("mail", "The account's addresses, the first value first.")
    addresses: str = setting("", "Further addresses.", extra=Extra(example="mailAlternateAddress"))
    home: str = setting("", "The home directory.", extra=Extra(example="homeDirectory"))
    maildir: str = setting("", "The Maildir.", extra=Extra(example="mailMessageStore"))
    enabled: str = setting("", "Whether the account is on.", extra=Extra(example="mailEnabled"))
    forwards: str = setting(
        "", "Where its mail goes as well.", extra=Extra(example="mailForwardingAddress")
    )
    senders: str = setting("", "What it may send as.")
    quota_octets: str = setting("", "Its quota in octets.", extra=Extra(example="mailQuota"))
    quota_messages: str = setting("", "Its quota in messages.")


class LDAPSection(Section):
    """The source "ldap": a directory server."""

    url: str = setting(
        "ldap://localhost",
        "The server: ldap://host[:port], ldaps://host[:port] or ldapi://%2Fpath%2Fto%2Fsocket.",
    )
    tls: Literal["starttls", "none"] = setting(
        "starttls",
        """For ldap: only. "starttls" insists on it and on a valid certificate; "none" sends
        passwords in clear text.""",
        extra=Extra(rfc="RFC 4511 s4.14"),
    )
    ca_file: AbsolutePath | None = setting(
        None, "Certificates (PEM) that are trusted instead of the system's."
    )
    bind_dn: str = setting(
        "",
        "The entry as which searches are made; empty for nobody.",
        extra=Extra(example="cn=postroom,dc=example,dc=org"),
    )
    bind_password_file: AbsolutePath | None = setting(
        None,
        "A file with its password, on one line.",
        extra=Extra(example="/etc/postroom/ldap-password"),
    )
    base: str = setting(
        "", "The entry below which is searched.", extra=Extra(example="ou=people,dc=example,dc=org")
    )
    user_filter: str = setting(
        "(mail={address})",
        "Finds an account; {address}, {user} and {domain} stand for what is looked up.",
        extra=Extra(rfc="RFC 4515 s3"),
    )
    alias_filter: str = setting(
        "",
        "Finds an alias, in the same way; empty if there are none.",
        extra=Extra(example="(&(objectClass=nisMailAlias)(cn={user}))"),
    )
    alias_target: str = setting("rfc822MailMember", "The attribute of an alias's targets.")
    domains: DomainNames = setting(
        (),
        "The domains that are ours; the first is that of a login name without one.",
        extra=Extra(example=["example.org"]),
    )
    check: Literal["bind", "compare", "read"] = setting(
        "bind",
        """How a password is checked: the server binds as the user with it, or compares it with
        password_attribute, or the stored password is read and compared here.""",
        extra=Extra(rfc="RFC 4511 s4.2, s4.10"),
    )
    password_attribute: str = setting(
        "userPassword", 'The attribute of passwords, for "compare" and "read".'
    )
    scheme: str = _scheme()
    maildir: str = _template()
    attributes: LDAPAttributesSection = Field(default_factory=LDAPAttributesSection)


class SystemUsersSection(Section):
    """The source "system": the users of this machine, and PAM."""

    domains: DomainNames = setting(
        (),
        "The domains in which a user's name is a mailbox.",
        extra=Extra(shown_default="the oldest local domain"),
    )
    least_uid: int = setting(
        1000, "Users with a uid below this have no mailbox.", ge=1, le=4_294_967_294
    )
    service: str = setting(
        "postroom",
        "The PAM service: a file in /etc/pam.d.",
        pattern=r"^[A-Za-z0-9_.-]+$",
    )
    maildir: str = _template()


class AccountsSection(Section):
    """Where accounts come from, and how long what is said of them is remembered."""

    sources: _SourceNames = setting(
        ("database",),
        """In which order accounts are looked for, of database, static, passwd_file, sql, ldap and
        system. The first that knows an address or a domain decides. While one is down nothing that
        it might know is answered for good.""",
    )
    cache_seconds: float = setting(
        60.0,
        """How long what sql, ldap and system say is remembered. The other sources notice changes by
        themselves within a second.""",
        ge=0,
        le=86_400,
    )
    negative_cache_seconds: float = setting(
        10.0, "How long it is remembered that they know nobody of a name.", ge=0, le=86_400
    )
    look_up_seconds: float = setting(
        10.0,
        "How long a source may take for an answer before it counts as down.",
        gt=0,
        le=300,
    )
    static: StaticAccountsSection = Field(default_factory=StaticAccountsSection)
    passwd_file: PasswdFileSection = Field(default_factory=PasswdFileSection)
    sql: SQLAccountsSection = Field(default_factory=SQLAccountsSection)
    ldap: LDAPSection = Field(default_factory=LDAPSection)
    system: SystemUsersSection = Field(default_factory=SystemUsersSection)
