"""The settings of the sources: what each is asked, and what its answers mean.

They stand apart from the sources themselves, whose libraries are extras or slow to import.

Who controls the input: the administrator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Literal

from postroom.credentials import Knowledge
from postroom.settings.declaring import part, setting, table
from postroom.settings.values import DomainName, DomainNames, FilePath, matching

Check = Literal["bind", "compare", "read"]
_KNOWLEDGE: Final = {"clear_text": Knowledge.CLEAR_TEXT, "scram": Knowledge.SCRAM}
Scheme = Annotated[str, matching("[A-Za-z0-9.-]*", 'the name of a scheme such as "SSHA"')]
PAMService = Annotated[
    str, matching("[A-Za-z0-9_.-]+", 'the name of a file in /etc/pam.d such as "postroom"')
]


def _maildir() -> str:
    return setting(
        "",
        """Where Maildirs are that the source does not name: a path in which {home}, {user},
        {domain} and {address} stand for the account's. Empty for the place in the state directory
        that accounts of the database have.""",
        example="{home}/Maildir",
    )


def _scheme() -> str:
    return setting(
        "", "The scheme of stored passwords that name none, as in SSHA. Empty for crypt."
    )


@dataclass(frozen=True, slots=True)
class StaticSettings:
    """The source "static": accounts that stand here."""

    users: Mapping[str, str] = setting(
        {},
        """Address to stored password, as "doveadm pw" writes it. With an empty password nobody logs
        in.""",
        example={"joe@example.org": "{SSHA256}…"},
        secret=True,
    )
    aliases: Mapping[str, Sequence[str]] = setting(
        {},
        "Alias to a list of its targets.",
        example={"sales@example.org": ["joe@example.org", "ann@example.net"]},
    )
    maildir: str = _maildir()


@dataclass(frozen=True, slots=True)
class PasswdSettings:
    """The source "passwd_file": a file of users as Dovecot reads it."""

    path: FilePath | None = setting(
        None, "The file. It is read again when it changes.", example="/etc/postroom/passwd"
    )
    default_domain: DomainName | None = setting(
        None,
        "The domain of names without one.",
        key="accounts.passwd_file.domain",
        example="example.org",
        shown_default="the oldest local domain",
    )
    scheme: Scheme = _scheme()  # noqa: RUF009  # it makes a field
    maildir: str = _maildir()


@dataclass(frozen=True, slots=True)
class SQLSettings:
    """The source "sql": queries of a database that is not ours.

    Attributes:
        default_domain: the domain of a login name without one.
        timeout_seconds: after this a query is given up by the server, where it can be told so; or
            a thread would hang, and with it the end of the daemon.
    """

    url: str = setting(
        "",
        "The database, as an SQLAlchemy URL.",
        example="postgresql://reader:secret@db.example.org/mail",
    )
    user_query: str = setting(
        "",
        """Finds an account: a query that returns its row. :address, :user and :domain stand for
        what is looked up. Its columns are password, and where they are wanted address, maildir,
        home, enabled, addresses, forwards, keeps_copy, senders, quota_octets, quota_messages and
        the other limits.""",
        example="SELECT password, home FROM users WHERE name = :user AND domain = :domain",
    )
    alias_query: str = setting(
        "",
        "Finds an alias: a query that returns a row with the column target for each target.",
        example="SELECT target FROM aliases WHERE address = :address",
    )
    domain_query: str = setting(
        "",
        """Finds a domain: a query that returns a row if the domain is ours, with the column
        catch_all if there is one.""",
        example="SELECT name FROM domains WHERE name = :domain",
    )
    domains: DomainNames = setting((), "The domains that are ours, where there is no domain_query.")
    default_domain: str | None = None
    stored_as: Sequence[Literal["clear_text", "scram"]] = setting(
        (),
        """What passwords may be stored as besides hashes: "clear_text" allows CRAM-MD5, "scram"
        SCRAM-SHA-256.""",
    )
    scheme: Scheme = _scheme()  # noqa: RUF009  # it makes a field
    timeout_seconds: float = 10.0
    maildir: str = _maildir()

    @property
    def knows(self) -> frozenset[Knowledge]:
        """What passwords may be stored as."""
        return frozenset({Knowledge.CHECKABLE, *(_KNOWLEDGE[kind] for kind in self.stored_as)})


@dataclass(frozen=True, slots=True)
class LDAPServer:
    """Where a server is and who we are to it.

    Attributes:
        bind_password: what the file says.
    """

    url: str = setting(
        "ldap://localhost",
        "The server: ldap://host[:port], ldaps://host[:port] or ldapi://%2Fpath%2Fto%2Fsocket.",
    )
    tls: Literal["starttls", "none"] = setting(
        "starttls",
        """For ldap: only. "starttls" insists on it and on a valid certificate; "none" sends
        passwords in clear text.""",
        rfc="RFC 4511 s4.14",
    )
    ca_file: FilePath | None = setting(
        None, "Certificates (PEM) that are trusted instead of the system's."
    )
    bind_dn: str = setting(
        "",
        "The entry as which searches are made. Empty for nobody.",
        example="cn=postroom,dc=example,dc=org",
    )
    bind_password_file: FilePath | None = setting(
        None,
        "A file with the password of bind_dn, on one line.",
        example="/etc/postroom/ldap-password",
    )
    bind_password: str = ""


@dataclass(frozen=True, slots=True)
class LDAPAttributes:
    """Which attributes of an entry mean what; an empty name means that none does."""

    address: str = setting("mail", "The account's addresses, the first value first.")
    addresses: str = setting("", "Further addresses.", example="mailAlternateAddress")
    home: str = setting("", "The home directory.", example="homeDirectory")
    maildir: str = setting("", "The Maildir.", example="mailMessageStore")
    enabled: str = setting("", "Whether the account is on.", example="mailEnabled")
    forwards: str = setting("", "Where its mail goes as well.", example="mailForwardingAddress")
    senders: str = setting("", "What it may send as.")
    quota_octets: str = setting("", "Its quota in octets.", example="mailQuota")
    quota_messages: str = setting("", "Its quota in messages.")

    def named(self) -> Mapping[str, str]:
        """Return the attributes that are named, by what they mean."""
        return {meaning: name for meaning, name in asdict(self).items() if name}


@dataclass(frozen=True, slots=True)
class LDAPSettings:
    """The source "ldap": a directory server."""

    server: LDAPServer = part(LDAPServer)
    base: str = setting(
        "", "The entry below which is searched.", example="ou=people,dc=example,dc=org"
    )
    user_filter: str = setting(
        "(mail={address})",
        "Finds an account; {address}, {user} and {domain} stand for what is looked up.",
        rfc="RFC 4515 s3",
    )
    domains: DomainNames = setting(
        (),
        "The domains that are ours. The first is that of a login name without one.",
        example=["example.org"],
    )
    alias_filter: str = setting(
        "",
        "Finds an alias, in the same way. Empty if there are none.",
        example="(&(objectClass=nisMailAlias)(cn={user}))",
    )
    target_attribute: str = setting(
        "rfc822MailMember", "The attribute of an alias's targets.", key="accounts.ldap.alias_target"
    )
    attributes: LDAPAttributes = table(LDAPAttributes)
    check: Check = setting(
        "bind",
        """How a password is checked: the server binds as the user with it, or compares it with
        password_attribute, or the stored password is read and compared here.""",
        rfc="RFC 4511 s4.2, s4.10",
    )
    password_attribute: str = setting(
        "userPassword", 'The attribute of passwords, for "compare" and "read".'
    )
    scheme: Scheme = _scheme()  # noqa: RUF009  # it makes a field
    maildir: str = _maildir()


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """The source "system": the users of this machine, and PAM."""

    domains: DomainNames = setting(
        (),
        """The domains in which a user's name is a mailbox. The first is that of a login name
        without one.""",
        shown_default="the oldest local domain",
    )
    least_uid: int = setting(
        1000, "Users with a uid below this have no mailbox.", within=(1, 4_294_967_294)
    )
    service: PAMService = setting("postroom", "The PAM service: a file in /etc/pam.d.")
    maildir: str = _maildir()
