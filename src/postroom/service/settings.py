"""Every setting of Postroom, declared once.

A field's default is what runs when nobody sets it, its paragraph what an administrator has to know.
Defaults that belong to another room (`postroom.server.limits` and its like) are taken from there,
so that a program which embeds that room and one that reads a file run alike.

`load_settings` reads a TOML file and lays the command line over it. Relative paths start from the
file's folder when they stand in the file, else from the working directory.
"""

import socket
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from postroom.delivery.settings import DeliverySettings
from postroom.errors import UserError
from postroom.queue.schedule import Schedule
from postroom.server.limits import Limits, ListenerSettings
from postroom.service.declarations import (
    AbsolutePath,
    DomainName,
    DomainNames,
    Extra,
    Listen,
    Listens,
    Mechanisms,
    Networks,
    RelayHost,
    Section,
    Strings,
    setting,
)
from postroom.service.reading import anchor, check, merge, read_toml

Values = TypeVar("Values")


@lru_cache(maxsize=1)
def machine_name() -> str:
    """Give the machine's fully qualified name in lower case, or ``localhost`` if it has none."""
    name = socket.gethostname()
    if "." not in name:
        name = socket.getfqdn()
    return name.lower() if "." in name and not name.startswith(".") else "localhost"


def values_of(section: Section, kind: type[Values], **more: object) -> Values:
    """Make another room's settings from a section: the fields that both have, and ``more``."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    shared = {name: getattr(section, name) for name in type(section).model_fields if name in names}
    return kind(**shared, **more)


def _default(kind: Any, name: str) -> Any:
    """Give the default of a field of another room's settings."""
    found = next(item for item in fields(kind) if item.name == name)
    return found.default


def _delivery(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(DeliverySettings, name), paragraph, extra=extra, **constraints)


def _retry(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(Schedule, name), paragraph, extra=extra, **constraints)


def _limit(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(_default(Limits, name), paragraph, extra=extra, **constraints)


def _listener(name: str, paragraph: str, *, extra: Extra | None = None) -> Any:
    return setting(_default(ListenerSettings, name), paragraph, extra=extra)


class LimitsSection(Section):
    """What sessions may use up."""

    command_timeout_seconds: float = _limit(
        "command_timeout_seconds",
        """How long a peer may take from a reply to its next whole command; octets that complete no
        command do not extend it. RFC 5321 asks for at least 300.""",
        ge=1,
        le=86_400,
        extra=Extra(rfc="RFC 5321 s4.5.3.2.7"),
    )
    data_timeout_seconds: float = _limit(
        "data_timeout_seconds",
        "How long a peer may be silent while it sends content.",
        ge=1,
        le=86_400,
        extra=Extra(rfc="RFC 5321 s4.5.3.2.5"),
    )
    data_minimum_rate: int = _limit(
        "data_minimum_rate",
        """Octets a second that content has to keep up on average, once data_timeout_seconds have
        passed. It ends senders that keep a connection by dripping.""",
        ge=0,
        le=1_000_000_000,
    )
    verdict_timeout_seconds: float = _limit(
        "verdict_timeout_seconds",
        "How long a look-up or a delivery may take before the peer gets 451.",
        ge=1,
        le=86_400,
    )
    stress_timeout_seconds: float = _limit(
        "stress_timeout_seconds",
        """Stands in for command_timeout_seconds while more than four fifths of limits.connections
        are in use.""",
        ge=1,
        le=86_400,
    )
    message_octets: int = _limit(
        "message_octets",
        "The largest message that is taken; EHLO offers it as SIZE.",
        ge=65_536,
        le=4_294_967_296,
        extra=Extra(option="max-message-size", rfc="RFC 1870 s4; RFC 5321 s4.5.3.1.7"),
    )
    text_line_octets: int = _limit(
        "text_line_octets",
        "The longest line of content, CRLF not counted; 0 takes any length.",
        ge=0,
        le=1_000_000_000,
        extra=Extra(rfc="RFC 5321 s4.5.3.1.6"),
    )
    recipients: int = _limit(
        "recipients",
        "How many recipients a transaction may have; the next ones get 452.",
        ge=100,
        le=1_000_000,
        extra=Extra(rfc="RFC 5321 s4.5.3.1.8"),
    )
    errors_before_delay: int = _limit(
        "errors_before_delay",
        "Failed commands after which each further one costs the peer a second.",
        ge=0,
        le=1_000_000,
    )
    errors: int = _limit(
        "errors", "Failed commands after which the session ends with 421.", ge=1, le=1_000_000
    )
    idle_commands: int = _limit(
        "idle_commands",
        """Commands that move no mail (NOOP, RSET, VRFY, EHLO) between two messages after which the
        session ends with 421.""",
        ge=1,
        le=1_000_000,
    )
    connections: int = _limit(
        "connections",
        """Connections in all, over all listeners; more get 421. It is lowered at start to what the
        limit on open files allows.""",
        ge=1,
        le=1_000_000,
    )
    connections_per_address: int = _limit(
        "connections_per_address",
        "Connections from one IPv4 address or one IPv6 /64; more get 421.",
        ge=1,
        le=1_000_000,
    )

    def as_limits(self, connections: int | None = None) -> Limits:
        """Give the server's limits, its connections cut to ``connections`` if there is a cap."""
        limits: Limits = values_of(self, Limits)
        if connections is None or connections >= self.connections:
            return limits
        return values_of(self.model_copy(update={"connections": connections}), Limits)


class SessionSection(Section):
    """How listeners treat peculiar peers."""

    normalise_networks: Networks = _listener(
        "normalise_networks",
        """Networks whose bare CR and LF in content are made CRLF. From anywhere else such a message
        is refused, because it can smuggle a second one past other servers.""",
        extra=Extra(example=["192.0.2.7"], rfc="RFC 5321 s2.3.8"),
    )
    unlimited_networks: Networks = _listener(
        "unlimited_networks",
        "Networks that limits.connections_per_address does not count.",
        extra=Extra(example=["192.0.2.0/24"]),
    )
    space_after_colon: bool = _listener(
        "space_after_colon",
        'Take "MAIL FROM: <a@example.org>", which the grammar forbids and some devices send.',
        extra=Extra(rfc="RFC 5321 s3.3"),
    )


class AuthSection(Section):
    """Logins."""

    checkers: Strings = setting(
        (),
        """Further sources of logins beside Postroom's own accounts, as Twisted's credential plugins
        write them; "twistd smtp --help-auth" lists them.""",
        extra=Extra(option="auth", example=["file:/etc/postroom/passwd"]),
    )
    mechanisms: Mechanisms = _listener(
        "mechanisms",
        "SASL mechanisms in the order in which EHLO lists them; none switches logins off.",
        extra=Extra(rfc="RFC 4954 s3; RFC 4616 s2"),
    )
    clear_text_networks: Networks = setting(
        (),
        "Networks that are offered AUTH without TLS: passwords then cross them in clear text.",
        extra=Extra(example=["127.0.0.0/8"], rfc="RFC 4954 s4"),
    )


class DeliverySection(Section):
    """Deliveries to accounts and into the queue."""

    sub_address_separator: str = _delivery(
        "sub_address_separator",
        """What divides user from tag in user+tag@example.org, which is delivered to user; empty
        switches sub-addresses off.""",
        max_length=1,
        extra=Extra(rfc="RFC 5233 s1"),
    )
    memory_octets: int = _delivery(
        "memory_octets",
        """Content up to this size is kept in memory while it arrives; what is larger goes into an
        unnamed file in the state directory.""",
        ge=0,
        le=1_073_741_824,
    )
    header_octets: int = _delivery(
        "header_octets",
        "The largest header section that is taken; a message with more gets 552.",
        ge=4096,
        le=1_073_741_824,
    )
    header_lines: int = _delivery(
        "header_lines",
        "The most lines in a header section; a message with more gets 552.",
        ge=100,
        le=10_000_000,
    )
    received_fields: int = _delivery(
        "received_fields",
        "So many Received fields mean that a message goes in circles; it gets 554.",
        ge=100,
        le=10_000,
        extra=Extra(rfc="RFC 5321 s6.3"),
    )
    alias_depth: int = _delivery(
        "alias_depth", "How many aliases may lead to one another.", ge=1, le=100
    )
    alias_targets: int = _delivery(
        "alias_targets",
        "How many addresses one recipient may come to by aliases.",
        ge=1,
        le=100_000,
    )
    cached_routes: int = _delivery(
        "cached_routes",
        "How many recipients are remembered with the way their mail goes.",
        ge=0,
        le=10_000_000,
    )
    cached_maildirs: int = _delivery(
        "cached_maildirs",
        "How many Maildirs are kept open, at two open files each.",
        ge=1,
        le=100_000,
    )
    batch_files: int = _delivery(
        "batch_files",
        "How many messages are written into Maildirs before their directories are synced.",
        ge=1,
        le=10_000,
    )
    batch_octets: int = _delivery(
        "batch_octets",
        "How much content such a batch may hold before no more is added to it.",
        ge=1,
        le=1_073_741_824,
    )


class RetrySection(Section):
    """When mail that could not be sent is tried again, and when it is given up."""

    first_seconds: float = _retry(
        "first_seconds", "From the first attempt to the second.", ge=1, le=86_400
    )
    factor: float = _retry(
        "factor", "How much longer each step is than the one before.", ge=1, le=100
    )
    longest_seconds: float = _retry(
        "longest_seconds", "No step is longer than this; it repeats.", ge=1, le=604_800
    )
    lifetime_seconds: float = _retry(
        "lifetime_seconds",
        "The age at which a message goes back to its sender, after a fair number of attempts.",
        ge=0,
        le=31_536_000,
        extra=Extra(rfc="RFC 5321 s4.5.4.1"),
    )
    jitter: float = _retry(
        "jitter",
        """Each step is longer or shorter by up to this share of it, so that messages that failed
        together do not come back together.""",
        ge=0,
        le=0.9,
    )


class TLSSection(Section):
    """The certificate."""

    certificate: AbsolutePath | None = setting(
        None,
        """The PEM file of the server's certificate, its chain below it. Without it Postroom makes
        a self-signed one in the state directory.""",
        extra=Extra(option="tls-certificate", example="/etc/ssl/mail/fullchain.pem"),
    )
    key: AbsolutePath | None = setting(
        None,
        "The PEM file of the certificate's private key, not encrypted.",
        extra=Extra(option="tls-key", example="/etc/ssl/mail/privkey.pem"),
    )


class LogSection(Section):
    """The log."""

    format: Literal["text", "json"] = setting(
        "text", "One line for each event: as text to read, or as a JSON object."
    )
    file: AbsolutePath | None = setting(
        None,
        """Where the log goes. Without it twistd's --logfile counts: standard output with -n, else
        twistd.log. SIGHUP and SIGUSR1 open the file anew.""",
        extra=Extra(example="/var/log/postroom.log"),
    )


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
        submission wants TLS and a login first. The endpoint is one of Twisted's, such as
        "tcp:25", "ssl:465" (our certificate), "unix:/run/postroom/smtp" or "systemd:INET:index=0".
        """,
        extra=Extra(option="listen", example=["mx=tcp:25", "submission=ssl:465"]),
    )
    relay_host: RelayHost | None = setting(
        None,
        """The host that takes all mail for other domains, instead of the hosts of their MX records.
        User and password are percent-encoded. With a user, smtp: insists on STARTTLS and a valid
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
    tls: TLSSection = Field(default_factory=TLSSection)
    delivery: DeliverySection = Field(default_factory=DeliverySection)
    retry: RetrySection = Field(default_factory=RetrySection)
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
        )

    def listener(self, role: str, limits: Limits) -> ListenerSettings:
        """Give the server's settings of a listener."""
        return values_of(
            self.session,
            ListenerSettings,
            role=role,
            hostname=self.hostname,
            limits=limits,
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
    if (settings.tls.certificate is None) != (settings.tls.key is None):
        raise UserError(f"{source}: tls.certificate and tls.key come together; one is missing")
    settings.schedule()
    return settings
