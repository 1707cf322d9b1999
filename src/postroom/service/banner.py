"""What the daemon says of itself when it starts."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from postroom import __version__
from postroom.certificates.store import CertificateStore
from postroom.service.listeners import Listener, address_text
from postroom.service.relay_host import relay_host_text
from postroom.service.settings import Settings

_DOMAINS_SHOWN = 5


def _listening(listeners: Sequence[Listener]) -> Iterator[str]:
    for listener in listeners:
        role, kind = listener.listen.role, listener.listen.endpoint.partition(":")[0]
        tls = ", TLS" if listener.listen.tls or kind in ("ssl", "tls") else ""
        yield f"{address_text(listener)} ({role}{tls})"


def _others(settings: Settings) -> str:
    """Return where mail for other domains goes, and from which senders."""
    way = "the hosts of their MX records"
    if settings.relay_host is not None:
        way = relay_host_text(settings.relay_host)
    if settings.routes:
        way += f", {len(settings.routes)} domains by routes of their own"
    networks = ", ".join(str(network) for network in settings.relay_networks)
    senders = "those who log in" + (f" and from {networks}" if networks else "")
    return f"Mail for other domains, from {senders}, goes to {way}"


def _destinations(settings: Settings, domains: Sequence[str]) -> Iterator[str]:
    """Return where mail goes."""
    if settings.site_delivery is not None:
        yield f"All mail goes to {settings.site_delivery}"
        return
    more = f" and {len(domains) - _DOMAINS_SHOWN} more" if len(domains) > _DOMAINS_SHOWN else ""
    shown = ", ".join(domains[:_DOMAINS_SHOWN]) + more
    yield f"Mail for {shown} goes to Maildirs below {settings.mail_root()}"
    yield _others(settings)


def banner(
    settings: Settings,
    config: Path | None,
    domains: Sequence[str],
    listeners: Sequence[Listener],
    certificates: CertificateStore,
) -> Iterator[str]:
    """Return the lines: the listeners, where mail goes, how to add an account.

    Args:
        settings: those in force.
        config: the file that they came from.
        domains: the local ones.
        listeners: bound.
        certificates: loaded.
    """
    yield f"Postroom {__version__} is {settings.hostname}"
    yield "Listening on " + ", ".join(_listening(listeners))
    yield from _destinations(settings, domains)
    for number, identity in enumerate(certificates.identities):
        which = "The certificate is" if number == 0 else "A further certificate is"
        yield f"{which} {identity.source}, until {identity.expires_at:%Y-%m-%d}"
    where = ["--config", str(config)] if config else ["--state-dir", str(settings.state_dir)]
    command = shlex.join(["postroom", *where, "account", "add"])
    yield f"To add an account: {command} NAME@{domains[0] if domains else 'DOMAIN'}"
