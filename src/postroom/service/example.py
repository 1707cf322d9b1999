"""Writes the settings down: ``etc/postroom.toml``, and the reference page.

python -m postroom.service.example > etc/postroom.toml
python -m postroom.service.example --rst > docs/settings.rst
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from pydantic import BaseModel

from postroom.client.model import SmartHost
from postroom.service.declarations import Declaration, declarations
from postroom.service.relay_host import relay_host_text
from postroom.service.settings import Settings

_WIDTH = 98
_HEADING = """\
# Postroom's settings.
#
# Every setting is shown with its default, or where that would say nothing with an example, and is
# commented out. Relative paths start from this file's folder. Check a file with
# "postroom --config FILE config check".
"""


def toml_value(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        items = ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items())
        return "{ " + items + " }"
    if isinstance(value, SmartHost):
        return toml_value(relay_host_text(value))
    if isinstance(value, Enum):
        return toml_value(value.value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _says_something(value: object) -> bool:
    return value is not None and value not in ("", (), {}) and not isinstance(value, Path)


def default_text(declaration: Declaration) -> str:
    """Say what holds when nobody sets it."""
    if declaration.extra.shown_default is not None:
        return declaration.extra.shown_default
    default = declaration.default
    if default is None or default in ((), {}):
        return "none"
    return toml_value(default)


def _remarks(declaration: Declaration) -> Iterator[str]:
    yield declaration.paragraph
    extra = declaration.extra
    shows_default = extra.shown_default is None and _says_something(declaration.default)
    default = "" if shows_default else f" Default: {default_text(declaration)}."
    yield f"Allowed: {declaration.allowed}.{default}"
    if extra.rfc is not None:
        yield extra.rfc


def toml_entry(declaration: Declaration) -> str:
    """Write one setting, commented."""
    lines = [
        line
        for remark in _remarks(declaration)
        for line in textwrap.wrap(remark, _WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    extra, name = declaration.extra, declaration.key.rpartition(".")[2]
    value = declaration.default
    if extra.shown_default is not None or not _says_something(value):
        value = extra.example if extra.example is not None else value
    comment = "\n".join(f"# {line}" for line in lines)
    if isinstance(value, Mapping):
        entries = "\n".join(
            f"#{toml_value(key)} = {toml_value(item)}" for key, item in value.items()
        )
        return f"[{declaration.key}]\n{comment}\n{entries}\n"
    return f"{comment}\n#{name} = {toml_value(value)}\n"


def section_type(dotted: str) -> type[BaseModel]:
    """Give the model of a table."""
    model: type[BaseModel] = Settings
    for name in dotted.split("."):
        found = model.model_fields[name].annotation
        assert isinstance(found, type) and issubclass(found, BaseModel)  # noqa: PT018
        model = found
    return model


def toml_text() -> str:
    """Write the commented example file."""
    parts, tables = [_HEADING], []
    table = ""
    for declaration in declarations(Settings):
        section = declaration.key.rpartition(".")[0]
        entry = toml_entry(declaration)
        if entry.startswith("["):
            tables.append(entry)
            continue
        if section != table:
            parts.append(f"\n[{section}]\n# {section_type(section).__doc__}\n")
            table = section
        parts.append("\n" + entry)
    return "".join(parts) + "".join("\n" + entry for entry in tables)


def rst_text() -> str:
    """Write the reference page."""
    parts = [
        "Settings\n========\n\n"
        "A settings file is TOML; ``twistd smtp --config FILE`` reads it, and\n"
        "``etc/postroom.toml`` is one to begin with. A setting whose name has a dot stands in the\n"
        "table before the dot: ``limits.recipients`` is ``recipients`` below ``[limits]``.\n"
        "Unknown names are errors.\n"
    ]
    for declaration in declarations(Settings):
        title = f"``{declaration.key}``"
        extra = declaration.extra
        option = f"| Option: ``--{extra.option}``\n" if extra.option else ""
        source = f"| Source: {extra.rfc}\n" if extra.rfc else ""
        default = default_text(declaration)
        parts.append(
            f"\n{title}\n{'-' * len(title)}\n\n"
            f"{textwrap.fill(declaration.paragraph, _WIDTH)}\n\n"
            f"| Allowed: {declaration.allowed}\n"
            f"| Default: {default if extra.shown_default else f'``{default}``'}\n"
            f"{option}{source}"
        )
    return "".join(parts)


def main() -> None:
    """Write to standard output what the argument asks for."""
    sys.stdout.write(rst_text() if sys.argv[1:] == ["--rst"] else toml_text())


if __name__ == "__main__":
    main()
