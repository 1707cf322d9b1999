"""Writes the declarations down: as a commented TOML file, and as a reference page."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from postroom.settings.declarations import Declaration, declarations, tables

_WIDTH: Final = 98


def toml_value(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, frozenset):
        return "[" + ", ".join(sorted(toml_value(item) for item in value)) + "]"
    if isinstance(value, Mapping):
        items = ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items())
        return "{ " + items + " }"
    if isinstance(value, Enum):
        return toml_value(value.value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, Sequence | Mapping | frozenset) and not value)


def default_text(declaration: Declaration) -> str:
    """Return what holds when nobody sets a setting, in words or as TOML."""
    if "shown_default" in declaration.setting:
        return declaration.setting["shown_default"]
    default = declaration.default
    return "none" if _is_empty(default) and default != "" else toml_value(default)


def _shows_default(declaration: Declaration) -> bool:
    return "shown_default" not in declaration.setting and not _is_empty(declaration.default)


def _remarks(declaration: Declaration) -> Iterator[str]:
    setting = declaration.setting
    yield setting["paragraph"]
    default = "" if _shows_default(declaration) else f" Default: {default_text(declaration)}."
    yield f"Allowed: {declaration.allowed}.{default}"
    if "rfc" in setting:
        yield setting["rfc"]


def toml_entry(declaration: Declaration) -> str:
    """Write one setting, commented."""
    lines = [
        line
        for remark in _remarks(declaration)
        for line in textwrap.wrap(remark, _WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    value, example = declaration.default, declaration.setting.get("example")
    if not _shows_default(declaration) and example is not None:
        value = example
    comment = "\n".join(f"# {line}" for line in lines)
    if isinstance(value, Mapping):
        entries = "\n".join(
            f"#{toml_value(key)} = {toml_value(item)}" for key, item in value.items()
        )
        return f"[{declaration.key}]\n{comment}\n{entries}\n"
    return f"{comment}\n#{declaration.name} = {toml_value(value)}\n"


def toml_text(kind: type[Any], heading: str) -> str:
    """Write the settings of a dataclass as a commented TOML file, below a heading."""
    parts, mappings = [heading], []
    table = ""
    for declaration in declarations(kind):
        entry = toml_entry(declaration)
        if entry.startswith("["):
            mappings.append(entry)
            continue
        if declaration.table != table:
            table = declaration.table
            parts.append(f"\n[{table}]\n# {tables(kind)[table]}\n")
        parts.append("\n" + entry)
    return "".join(parts) + "".join("\n" + entry for entry in mappings)


def rst_text(kind: type[Any], heading: str) -> str:
    """Write the settings of a dataclass as a page in reStructuredText, below a heading."""
    return heading + "".join(_rst_entry(declaration) for declaration in declarations(kind))


def _rst_entry(declaration: Declaration) -> str:
    title = f"``{declaration.key}``"
    setting = declaration.setting
    default = default_text(declaration)
    lines = [
        f"| Allowed: {declaration.allowed}",
        f"| Default: {default if 'shown_default' in setting else f'``{default}``'}",
    ]
    if "option" in setting:
        lines.append(f"| Option: ``--{setting['option']}``")
    if "rfc" in setting:
        lines.append(f"| Source: {setting['rfc']}")
    paragraph = textwrap.fill(setting["paragraph"], _WIDTH)
    return f"\n{title}\n{'-' * len(title)}\n\n{paragraph}\n\n" + "\n".join(lines) + "\n"
