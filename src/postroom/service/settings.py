"""Every setting of Postroom, declared once; the tables are in `postroom.service.sections`.

A field's default is what runs when nobody sets it, its paragraph what an administrator has to know.

`load_settings` reads a TOML file and lays the command line over it. Relative paths start from the
file's folder when they stand in the file, else from the working directory.
"""

import socket
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from postroom.client.model import SmartHost
from postroom.client.settings import ClientSettings, DNSSettings, Timeouts
from postroom.delivery.settings import DeliverySettings, SubmissionSettings
from postroom.errors import UserError
from postroom.queue.schedule import Schedule
from postroom.queue.settings import RelaySettings
from postroom.server.limits import Limits, ListenerSettings
from postroom.service.account_sections import AccountsSection, SRSSection
from postroom.service.declarations import (
    AbsolutePath,
    DomainName,
    DomainNames,
    Extra,
    Listen,
    Listens,
    Networks,
    RelayHost,
    Section,
    parse_domain,
    setting,
)
from postroom.service.login_sections import AuthSection, SubmissionSection
from postroom.service.reading import anchor, check, merge, read_toml
from postroom.service.sections import (
    DeliverySection,
    LimitsSection,
    LogSection,
    values_of,
)
from postroom.service.sending_sections import (
    ClientSection,
    DNSSection,
    QueueSection,
    RetrySection,
)
from postroom.service.session_sections import SessionSection
from postroom.service.tls_sections import TLSSection, check_tls


@lru_cache(maxsize=1)
def machine_name() -> str:
    """Give the machine's fully qualified name in lower case, or ``localhost`` if it has none."""
    name = socket.gethostname()
    if "." not in name:
        name = socket.getfqdn()
    try:
        return parse_domain(name) if "." in name else "localhost"
    except ValueError:
        return "localhost"


class Settings(Section):
    """All settings."""

    hostname: DomainName = setting(
        machine_name,
        "This server's name: in the greeting, in trace headers and when it says EHLO itself.",
        extra=Extra(
            option="hostname",
            example="mx.example.org",
            shown_default="the machine's fully qualified name, or localhost",
            rfc="RFC 5321 s4.1.1.1",
        ),
    )
    domains: DomainNames = setting(
        (),
        """Domains whose mail is delivered here, besides those that "postroom domain add" made. Each
        gets the account postmaster at start if it has none.""",
        extra=Extra(
            option="domain",
            example=["example.org"],
            shown_default="localhost, while the database has no other domain",
        ),
    )
    state_dir: AbsolutePath = setting(
        lambda: Path("postroom-state").absolute(),
        """The directory of all that Postroom keeps: database, queue, Maildirs, its own certificate.
        It is made when it is missing; one daemon uses it at a time.""",
        extra=Extra(
            option="state-dir",
            example="/var/lib/postroom",
            shown_default="postroom-state in the working directory",
        ),
    )
    listen: Listens = setting(
        (
            Listen("mx", "tcp:2525:interface=127.0.0.1"),
            Listen("submission", "tcp:2587:interface=127.0.0.1"),
        ),
        """Where to listen, as ROLE=ENDPOINT. The role mx takes mail for local domains from anyone;
        submission wants TLS and a login first; lmtp speaks LMTP and takes mail for local domains.
        "+ask-certificate" or "+need-certificate" after the role wants clients to show one that
        tls.client_ca signed, "+proxy" takes PROXY headers of session.proxy_networks, "+tls" speaks
        TLS from the first octet. The endpoint is one of Twisted's, such as "tcp:25", "ssl:465"
        (+tls in short), "unix:/run/postroom/smtp" or "systemd:INET:index=0".""",
        extra=Extra(option="listen", example=["mx=tcp:25", "submission=ssl:465"]),
    )
    relay_host: RelayHost | None = setting(
        None,
        """The host that takes all mail for other domains, instead of the hosts of their MX records.
        "lmtp://HOST:PORT" and "lmtp+unix:/PATH" are LMTP servers. User and password are
        percent-encoded. With a user, smtp: insists on STARTTLS and a valid
        certificate unless "?tls=" (never, opportunistic, required, implicit) says otherwise.""",
        extra=Extra(option="relay-host", example="smtps://user:secret@mail.example.net:465"),
    )
    relay_networks: Networks = setting(
        (),
        "Networks whose clients may send to any domain without a login.",
        extra=Extra(option="relay-network", example=["192.0.2.0/24"]),
    )
    database: str = setting(
        "",
        """Where accounts and queue are kept, as an SQLAlchemy URL. Empty stands for an SQLite file
        in the state directory; several machines share a PostgreSQL one (extra "postgres").""",
        extra=Extra(
            option="database",
            example="postgresql+psycopg://postroom@/postroom",
            shown_default="an SQLite file in the state directory",
        ),
    )
    shutdown_deadline_seconds: float = setting(
        30.0,
        """How long running transactions may take to finish when the daemon is told to stop; idle
        sessions get 421 at once.""",
        ge=0,
        le=3600,
        extra=Extra(rfc="RFC 5321 s3.8"),
    )
    routes: dict[DomainName, RelayHost] = setting(
        {},
        """Next hops of single domains, written like relay_host; they go before relay_host and MX
        records.""",
        extra=Extra(example={"example.com": "smtp://192.0.2.25:25"}),
    )
    limits: LimitsSection = Field(default_factory=LimitsSection)
    session: SessionSection = Field(default_factory=SessionSection)
    auth: AuthSection = Field(default_factory=AuthSection)
    submission: SubmissionSection = Field(default_factory=SubmissionSection)
    tls: TLSSection = Field(default_factory=TLSSection)
    delivery: DeliverySection = Field(default_factory=DeliverySection)
    client: ClientSection = Field(default_factory=ClientSection)
    dns: DNSSection = Field(default_factory=DNSSection)
    queue: QueueSection = Field(default_factory=QueueSection)
    retry: RetrySection = Field(default_factory=RetrySection)
    accounts: AccountsSection = Field(default_factory=AccountsSection)
    srs: SRSSection = Field(default_factory=SRSSection)
    log: LogSection = Field(default_factory=LogSection)

    def database_url(self) -> str:
        """Give the SQLAlchemy URL of the database."""
        if self.database:
            return self.database
        # SQLAlchemy costs more to import than all that is read here.
        from sqlalchemy import URL

        return str(URL.create("sqlite", database=str(self.state_dir / "postroom.db")))

    def mail_root(self) -> Path:
        """Give the directory below which accounts get their Maildirs."""
        return self.state_dir / "mail"

    def schedule(self) -> Schedule:
        """Give the plan of attempts.

        Raises:
            UserError: its steps contradict each other.
        """
        try:
            return values_of(self.retry, Schedule)
        except ValueError as error:
            raise UserError(f"[retry]: {error}") from error

    def deliveries(self, postmaster_domain: str | None) -> DeliverySettings:
        """Give the settings of deliveries.

        Args:
            postmaster_domain: whose postmaster answers for the bare ``<postmaster>``.
        """
        return values_of(
            self.delivery,
            DeliverySettings,
            hostname=self.hostname,
            relay_networks=self.relay_networks,
            postmaster_domain=postmaster_domain,
            spool_directory=str(self.state_dir),
            hands_over=self.delivery.lmtp is not None,
        )

    def submitting(self) -> SubmissionSettings:
        """Give what is asked of mail after a login."""
        return values_of(self.submission, SubmissionSettings)

    def sending(self) -> ClientSettings:
        """Give the client's settings."""
        section = self.client
        return replace(
            values_of(section, ClientSettings, hostname=self.hostname),
            own_names=frozenset(section.own_names),
            own_addresses=frozenset(section.own_addresses),
            ca_file=None if section.ca_file is None else str(section.ca_file),
            timeouts=values_of(section.timeouts, Timeouts),
        )

    def resolving(self) -> DNSSettings:
        """Give the settings of look-ups."""
        hosts = self.dns.hosts_file
        return values_of(
            self.dns.model_copy(update={"hosts_file": None if hosts is None else str(hosts)}),
            DNSSettings,
        )

    def relaying(self) -> RelaySettings:
        """Give the settings of the relay."""
        return values_of(
            self.queue,
            RelaySettings,
            hostname=self.hostname,
            schedule=self.schedule(),
            per_destination=self.client.connections_per_destination,
            stop_seconds=self.shutdown_deadline_seconds,
        )

    def next_hop(self, domain: str) -> SmartHost | None:
        """Give the fixed next hop of a domain, in lower case; None for its MX records."""
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
        return values_of(
            self.session,
            ListenerSettings,
            role=role,
            hostname=self.hostname,
            limits=limits,
            origin=self.delivery.origin or first_domain,
            own_addresses=self.delivery.literal_addresses,
            origin_networks=self.relay_networks,
            mechanisms=self.auth.mechanisms,
            clear_text_auth_networks=self.auth.clear_text_networks,
        )


def load_settings(config: Path | None, overrides: Mapping[str, object]) -> Settings:
    """Read the settings.

    Args:
        config: a TOML file; None for the defaults alone.
        overrides: what the command line sets, by dotted key (``limits.recipients``); it wins.

    Raises:
        UserError: one line for each error in file or overrides.
    """
    data: dict[str, Any] = {}
    if config is not None:
        config = config.absolute()
        data = anchor(read_toml(config), Settings, config.parent)
    source = str(config) if config else "command line"
    settings = check(Settings, merge(data, overrides), overrides, source)
    check_tls(settings.tls, settings.listen, source)
    _check_proxies(settings, source)
    settings.schedule()
    keeper = settings.delivery.lmtp
    if keeper is not None and not keeper.lmtp:
        raise UserError(f"{source}: delivery.lmtp: it does not begin with lmtp:// or lmtp+unix:/")
    return settings


def _check_proxies(settings: Settings, source: str) -> None:
    for listen in settings.listen:
        is_local = listen.endpoint.startswith("unix:")
        if listen.proxy and not (settings.session.proxy_networks or is_local):
            raise UserError(
                f"{source}: listen {listen}: set session.proxy_networks, or nobody may send a"
                " PROXY header"
            )
