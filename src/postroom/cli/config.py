"""``postroom config``."""

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import document, note, table
from postroom.cli.site import Site, json_option, pass_site

if TYPE_CHECKING:
    from postroom.service.settings import Settings


@click.group("config")
def commands() -> None:
    """Check the settings."""


@commands.command()
@json_option
@pass_site
def check(site: Site, as_json: bool) -> None:
    """Check the settings, and print the value of each."""
    from postroom.service.sources import check_sources

    values = _in_force(site.settings)
    for fault in check_sources(site.settings):
        note(fault)
    if as_json:
        document(values)
    else:
        table(("setting", "value"), [(key, _shown(value)) for key, value in values.items()])


def _in_force(settings: "Settings") -> dict[str, Any]:
    """Return every setting's value by its dotted key, in JSON's types and without passwords."""
    from postroom.settings.declarations import declarations

    values = {}
    for declaration in declarations(type(settings)):
        value = declaration.value(settings)
        if declaration.setting.get("secret") and isinstance(value, dict):
            value = dict.fromkeys(value, "***")
        values[declaration.key] = _plain(value)
    return values


def _plain(value: object) -> Any:
    from postroom.client.model import SmartHost
    from postroom.service.relay_host import relay_host_text
    from postroom.service.tls_section import CertificateFiles
    from postroom.settings.values import without_password

    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, SmartHost):
        return f"{relay_host_text(value)}?tls={value.tls.value}"
    if isinstance(value, CertificateFiles):
        return {name: _plain(item) for name, item in asdict(value).items()}
    return without_password(str(value.value if isinstance(value, Enum) else value))


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
