"""``postroom tls``."""

import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, note, printable, table
from postroom.cli.site import Site, json_option, owner_of, pass_site, state_directory
from postroom.errors import UserError

if TYPE_CHECKING:
    from postroom.certificates.identity import Identity
    from postroom.certificates.renewal import Attempts
    from postroom.certificates.store import CertificateSource
    from postroom.service.settings import Settings

_WAIT_SECONDS = 200


@click.group("tls")
def commands() -> None:
    """Show, renew and make the certificates of the server."""


@commands.command()
@json_option
@pass_site
def status(site: Site, as_json: bool) -> None:
    """Show the names, key, expiry and files of each certificate, and when it is renewed.

    The files are read now; a running server notices changes within tls.watch_seconds.
    """
    from postroom.service.tls import now, sources_of

    moment = now()
    found = [_describe(site.settings, source, moment) for source in sources_of(site.settings)]
    attempts = _attempts(site.settings)
    if as_json:
        document({"certificates": found, "acme": attempts and _plain(attempts)})
        return
    table(
        ("names", "key", "from", "expires", "days", "renewed from", "files"),
        [_row(each) for each in found],
        right=("days",),
    )
    for each in found:
        if each["error"]:
            note(each["error"])
    if attempts is not None and attempts.error:
        note(f"the last order failed: {attempts.error}")
        note(f"the next is due at {attempts.next}, or at once with 'postroom tls renew'")


@commands.command()
@click.option(
    "--no-wait", is_flag=True, help="Ask the running server without waiting for the result."
)
@json_option
@pass_site
def renew(site: Site, no_wait: bool, as_json: bool) -> None:
    """Order a new certificate by ACME now, even if none is due.

    A running server places the order; if none is running, this command does.
    """
    settings = site.settings
    if not settings.tls.acme.domains:
        raise UserError(
            "nothing to renew: tls.acme.domains names no domain, and other certificates are renewed"
            " by whoever wrote their files; the server notices new ones by itself"
        )
    holder = _running(settings)
    if holder is None:
        from postroom.service.acme import order_once

        identity = order_once(settings, owner_of(settings.state_dir))
        _tell_renewed(identity, as_json)
        return
    before = _attempts(settings)
    _ask(settings)
    if no_wait:
        click.echo(f"Asked the server ({holder}); 'postroom tls status' shows the result")
        return
    _tell_renewed(_wait(settings, before), as_json)


@commands.command("self-signed")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A further name in the certificate. May be given several times.",
)
@click.option(
    "--yes", is_flag=True, help="Replace a certificate that has not expired without asking."
)
@json_option
@pass_site
def self_signed(site: Site, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Make a new self-signed certificate for the server's name.

    It is used while the settings name no other. Clients that pinned the old one will reject it.
    """
    from postroom.certificates.identity import read_kept
    from postroom.certificates.self_signed import make_self_signed
    from postroom.certificates.store import SelfSignedSource
    from postroom.service.tls import SELF_SIGNED, now, sources_of

    settings = site.settings
    path = settings.state_dir / SELF_SIGNED
    old = read_kept(path)
    if old is not None and old.expires_at > now() and not yes:
        click.confirm(
            f"{path} is valid until {old.expires_at:%Y-%m-%d}. Replace it?", abort=True, err=True
        )
    wanted = tuple(dict.fromkeys([settings.hostname, *map(_name, names)]))
    with owner_of(state_directory(settings.state_dir)).acting():
        fresh = make_self_signed(path, wanted, now())
    if not any(isinstance(source, SelfSignedSource) for source in sources_of(settings)):
        note(
            "the settings name certificates in files: this one is used only when they no longer do"
        )
    _tell(f"Made {path}", fresh, as_json)


def _name(text: str) -> str:
    from postroom.settings.values import parse_domain

    try:
        return parse_domain(text)
    except ValueError:
        raise UserError(f"--name {text}: not a domain name") from None


def _describe(
    settings: "Settings", source: "CertificateSource", moment: datetime.datetime
) -> dict[str, Any]:
    """Return what is known of a source's certificate, in JSON's types."""
    from postroom.certificates.identity import read_kept
    from postroom.certificates.store import SelfSignedSource

    identity: Identity | None = None
    error = None
    try:
        # Loading a self-signed one would create it, which is left to the server.
        own = isinstance(source, SelfSignedSource)
        identity = read_kept(source.files[0]) if own else source.load(moment)
    except UserError as wrong:
        error = str(wrong)
    if identity is None and error is None:
        error = _missing(source)
    elif identity is not None and identity.expires_at <= moment:
        error = f"{identity.source}: expired on {identity.expires_at:%Y-%m-%d}"
    return {
        "from": source.origin,
        "files": [str(path) for path in dict.fromkeys(source.files)],
        "names": list(identity.names) if identity else [],
        "key": identity.kind if identity else None,
        "expires": identity.expires_at.isoformat() if identity else None,
        "days": (identity.expires_at - moment).days if identity else None,
        "renewed_from": _renewed_from(source, identity, settings),
        "error": error,
    }


def _missing(source: "CertificateSource") -> str:
    if source.origin == "acme":
        return "there is no certificate from ACME yet; 'postroom tls renew' orders one"
    return f"{source.files[0]}: does not exist yet; the server creates it when it starts"


def _renewed_from(
    source: "CertificateSource", identity: "Identity | None", settings: "Settings"
) -> str | None:
    """Return when a certificate is renewed, if that is ours to do."""
    from postroom.certificates.renewal import covers, half_way

    if source.origin != "acme":
        return None
    attempts = _attempts(settings)
    if attempts is not None and attempts.next is not None:
        return attempts.next
    if identity is None or not covers(identity, settings.tls.acme.domains):
        return None
    return half_way(identity).isoformat()


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    def day(text: str | None) -> str:
        return text[:10] if text else "-"

    return (
        ", ".join(found["names"]) or "-",
        found["key"] or "-",
        found["from"],
        day(found["expires"]),
        "-" if found["days"] is None else found["days"],
        day(found["renewed_from"]),
        ", ".join(found["files"]),
    )


def _attempts(settings: "Settings") -> "Attempts | None":
    """Return the results of the orders; None where none are made."""
    if not settings.tls.acme.domains:
        return None
    from postroom.certificates.renewal import read_attempts
    from postroom.service.acme import note_file

    return read_attempts(note_file(settings))


def _plain(attempts: "Attempts") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(attempts)


def _running(settings: "Settings") -> str | None:
    """Return which process runs as the server, or keep others from starting until we end."""
    from postroom.service.state import open_state_directory

    try:
        open_state_directory(settings.state_dir, owner_of(state_directory(settings.state_dir)))
    except UserError as error:
        if "in use by another process" in str(error):
            return str(error).rpartition("(")[2].rstrip(")") or "a process"
        raise
    return None


def _ask(settings: "Settings") -> None:
    """Create the file that asks a running server for an order."""
    from postroom.service.acme import request_file

    path: Path = request_file(settings)
    try:
        with owner_of(settings.state_dir).acting():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _wait(settings: "Settings", before: "Attempts | None") -> "Identity":
    """Wait for the result of the order.

    Raises:
        UserError: the order failed, or took too long.
    """
    from postroom.certificates.identity import read_kept
    from postroom.service.acme import acme_settings

    end = time.monotonic() + _WAIT_SECONDS + settings.tls.watch_seconds
    while time.monotonic() < end:
        attempts = _attempts(settings)
        if attempts is not None and attempts != before:
            if attempts.error is not None:
                raise UserError(attempts.error)
            identity = read_kept(acme_settings(settings).certificate)
            if identity is not None:
                return identity
        time.sleep(0.2)
    raise UserError("there is no result yet; see the server's log")


def _tell_renewed(identity: "Identity", as_json: bool) -> None:
    _tell("There is a new certificate", identity, as_json)


def _tell(what: str, identity: "Identity", as_json: bool) -> None:
    from cryptography.hazmat.primitives.hashes import SHA256

    fingerprint = identity.chain[0].fingerprint(SHA256()).hex(":")
    if as_json:
        document(
            {
                "file": identity.source,
                "names": list(identity.names),
                "expires": identity.expires_at.isoformat(),
                "sha256": fingerprint,
            }
        )
        return
    click.echo(printable(f"{what} for {', '.join(identity.names)}"))
    click.echo(f"until {identity.expires_at:%Y-%m-%d}, SHA-256 {fingerprint}")
