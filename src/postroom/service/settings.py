"""The daemon's settings: the list of all tables, and how they become what the rooms are given.

Each setting is declared once, beside the code that reads it (`postroom.settings.declaring`); those
of no room stand here and in `postroom.service.sections`. What a room needs besides its settings,
such as our name, is filled in here.

Who controls the input: the administrator.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from postroom.client.model import SmartHost
from postroom.client.settings import ClientSettings, DNSSettings
from postroom.delivery.settings import DeliverySettings, SubmissionSettings
from postroom.errors import UserError
from postroom.queue.schedule import Schedule
from postroom.queue.settings import RelaySettings
from postroom.server.limits import Limits, ListenerSettings
from postroom.service.listen import Listen, Listens
from postroom.service.relay_host import RelayHost
from postroom.service.sections import AccountsSection, AuthSection, LogSection, SRSSection
from postroom.service.tls_section import TLSSection, check_tls
from postroom.settings.declaring import computed, setting, table
from postroom.settings.reading import read_settings, source_name
from postroom.settings.values import DomainName, DomainNames, FilePath, Networks, parse_domain

_REPLACED: Final[Mapping[str, str]] = {
    "session.normalise_networks": (
        'session.bare_newline, whose "normalise" holds for everybody and is the default'
    ),
    "session.space_after_colon": 'session.tolerate, in whose list "blanks" means the same',
}
"""Settings that there were once, and what has come in their place."""


@lru_cache(maxsize=1)
def machine_name() -> str:
    """Return the machine's fully qualified name in lower case, or ``localhost`` if it has none."""
    name = socket.gethostname()
    if "." not in name:
        name = socket.getfqdn()
    try:
        return parse_domain(name) if "." in name else "localhost"
    except ValueError:
        return "localhost"


def _state_directory() -> Path:
    return Path("postroom-state").absolute()


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings.

    Our name in `session`, `delivery`, `client` and `queue` is empty: `listener`, `deliveries`,
    `sending` and `relaying` return them filled in.
    """

    hostname: DomainName = computed(
        machine_name,
        "This server's name: in the greeting, in trace headers and when it says EHLO itself.",
        option="hostname",
        example="mx.example.org",
        shown_default="the machine's fully qualified name, or localhost",
        rfc="RFC 5321 s4.1.1.1",
    )
    domains: DomainNames = setting(
        (),
        """Domains whose mail is delivered here, besides those that "postroom domain add" made. Each
        gets the account postmaster at start if it has none.""",
        option="domain",
        example=["example.org"],
        shown_default="localhost, while the database has no other domain",
    )
    state_dir: FilePath = computed(
        _state_directory,
        """The directory of all that Postroom keeps: database, queue, Maildirs, its own certificate.
        It is made when it is missing. One daemon uses it at a time.""",
        option="state-dir",
        example="/var/lib/postroom",
        shown_default="postroom-state in the working directory",
    )
    listen: Listens = setting(
        (
            Listen("mx", "tcp:2525:interface=127.0.0.1"),
            Listen("submission", "tcp:2587:interface=127.0.0.1"),
        ),
        """Where to listen, as ROLE=ENDPOINT. The role mx accepts mail for local domains from
        anyone; submission wants TLS and a login first; lmtp speaks LMTP and accepts mail for local
        domains. "+ask-certificate" or "+need-certificate" after the role wants clients to show a
        certificate that tls.client_ca signed, "+proxy" takes PROXY headers of
        session.proxy_networks, "+tls" speaks TLS from the first octet. The endpoint is one of
        Twisted's, such as "tcp:25", "ssl:465" (+tls in short), "unix:/run/postroom/smtp" or
        "systemd:INET:index=0".""",
        option="listen",
        example=["mx=tcp:25", "submission=ssl:465"],
    )
    relay_host: RelayHost | None = setting(
        None,
        """The host that takes all mail for other domains, instead of the hosts of their MX records.
        "lmtp://HOST:PORT" and "lmtp+unix:/PATH" are LMTP servers. User and password are
        percent-encoded. With a user, smtp: insists on STARTTLS and a valid
        certificate unless "?tls=" (never, opportunistic, required, implicit) says otherwise.""",
        option="relay-host",
        example="smtps://user:secret@mail.example.net:465",
    )
    relay_networks: Networks = setting(
        (),
        "Networks whose clients may send to any domain without a login.",
        option="relay-network",
        example=["192.0.2.0/24"],
    )
    database: str = setting(
        "",
        """Where accounts and queue are kept, as an SQLAlchemy URL. Empty stands for an SQLite file
        in the state directory; several machines share a PostgreSQL one (extra "postgres").""",
        option="database",
        example="postgresql+psycopg://postroom@/postroom",
        shown_default="an SQLite file in the state directory",
    )
    shutdown_deadline_seconds: float = setting(
        30.0,
        """How long running transactions may take to finish when the daemon is told to stop. Idle
        sessions get 421 at once.""",
        within=(0, 3600),
        rfc="RFC 5321 s3.8",
    )
    routes: Mapping[DomainName, RelayHost] = setting(
        {},
        """Next hops of single domains, written like relay_host. They go before relay_host and MX
        records.""",
        example={"example.com": "smtp://192.0.2.25:25"},
    )
    limits: Limits = table(Limits)
    session: ListenerSettings = table(ListenerSettings, role="", hostname="")
    proxy_networks: Networks = setting(
        (),
        """Proxies that begin their connections to listeners with "+proxy" by saying whom they speak
        for (PROXY protocol, version 1 or 2). The client's address counts for all limits and
        networks. Whoever else connects there is taken for the client itself.""",
        key="session.proxy_networks",
        example=["192.0.2.80"],
    )
    auth: AuthSection = table(AuthSection)
    submission: SubmissionSettings = table(SubmissionSettings)
    tls: TLSSection = table(TLSSection)
    lmtp: RelayHost | None = setting(
        None,
        """The LMTP server that keeps the mailboxes of all accounts, instead of Maildirs here:
        "lmtp://HOST:PORT" or "lmtp+unix:/PATH". Mail for them is queued and handed over at once,
        each under its account's own address.""",
        key="delivery.lmtp",
        example="lmtp+unix:/run/dovecot/lmtp",
        rfc="RFC 2033 s4",
    )
    site_delivery: str | None = setting(
        None,
        """A delivery of the site's own, "package.module:object", which gets the mail of all
        sessions instead of Maildirs and queue: an object that is, or is adapted to, an
        ITransactionDelivery, IMessageDelivery or IMessageDeliveryFactory; or a class or function
        without arguments that returns one for each session. Logins are checked as always.""",
        key="delivery.site_object",
        option="delivery",
        example="mysite.mail:delivery",
    )
    delivery: DeliverySettings = table(DeliverySettings, hostname="")
    client: ClientSettings = table(ClientSettings, hostname="")
    dns: DNSSettings = table(DNSSettings)
    queue: RelaySettings = table(RelaySettings, hostname="")
    retry: Schedule = table(Schedule)
    accounts: AccountsSection = table(AccountsSection)
    srs: SRSSection = table(SRSSection)
    log: LogSection = table(LogSection)

    def database_url(self) -> str:
        """Return the SQLAlchemy URL of the database."""
        if self.database:
            return self.database
        # SQLAlchemy costs more to import than all that is read here.
        from sqlalchemy import URL

        return str(URL.create("sqlite", database=str(self.state_dir / "postroom.db")))

    def mail_root(self) -> Path:
        """Return the directory below which accounts get their Maildirs."""
        return self.state_dir / "mail"

    def deliveries(self, postmaster_domain: str | None) -> DeliverySettings:
        """Return the settings of deliveries.

        Args:
            postmaster_domain: whose postmaster answers for the bare ``<postmaster>``.
        """
        return replace(
            self.delivery,
            hostname=self.hostname,
            relay_networks=self.relay_networks,
            postmaster_domain=postmaster_domain,
            spool_directory=str(self.state_dir),
            hands_over=self.lmtp is not None,
        )

    def sending(self) -> ClientSettings:
        """Return the client's settings."""
        return replace(self.client, hostname=self.hostname)

    def relaying(self) -> RelaySettings:
        """Return the settings of the relay."""
        return replace(
            self.queue,
            hostname=self.hostname,
            schedule=self.retry,
            per_destination=self.client.connections_per_destination,
            stop_seconds=self.shutdown_deadline_seconds,
        )

    def next_hop(self, domain: str) -> SmartHost | None:
        """Return the fixed next hop of a domain, in lower case; None for its MX records."""
        return self.routes.get(domain, self.relay_host)

    def listener(
        self, role: str, limits: Limits, first_domain: str | None = None
    ) -> ListenerSettings:
        """Return the server's settings of a listener.

        Args:
            role: the listener's.
            limits: of its sessions.
            first_domain: the first local domain, which addresses without one belong to.
        """
        return replace(
            self.session,
            role=role,
            hostname=self.hostname,
            limits=limits,
            origin=self.session.origin or first_domain,
            origin_networks=self.relay_networks,
        )


def load_settings(config: Path | None, overrides: Mapping[str, object]) -> Settings:
    """Read the settings.

    Args:
        config: a TOML file; None for the defaults alone.
        overrides: what the command line sets, by dotted key (``limits.recipients``); it wins.

    Raises:
        UserError: one line for each error in file or overrides.
    """
    settings = read_settings(Settings, config, overrides, _REPLACED)
    source = source_name(config)
    check_tls(settings.tls, settings.listen, source)
    _check_proxies(settings, source)
    if settings.lmtp is not None and not settings.lmtp.lmtp:
        raise UserError(f"{source}: delivery.lmtp: it does not begin with lmtp:// or lmtp+unix:/")
    return settings


def _check_proxies(settings: Settings, source: str) -> None:
    for listen in settings.listen:
        is_local = listen.endpoint.startswith("unix:")
        if listen.proxy and not (settings.proxy_networks or is_local):
            raise UserError(
                f"{source}: listen {listen}: set session.proxy_networks, or nobody may send a"
                " PROXY header"
            )
