"""From a TOML file and a command line to checked values, or to lines that say what is wrong.

Every error is one line that names the file (or the option), the key, the value and what is allowed;
all that are found are told at once. Passwords in values are blotted out.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from postroom.errors import UserError
from postroom.settings.declarations import (
    LIST_WORDS,
    LISTS,
    Declaration,
    choices,
    declarations,
    tables,
)
from postroom.settings.declaring import Table, declared
from postroom.settings.models import model_of, values_set
from postroom.settings.values import without_password

T = TypeVar("T")
_SHOWN_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values come from, for messages.

    Attributes:
        source: the file's name, or "command line".
        overrides: what the command line sets, by key.
        replaced: settings that there were once, and what has come in their place.
    """

    source: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)


def read_settings(
    kind: type[T],
    file: Path | None,
    overrides: Mapping[str, object],
    replaced: Mapping[str, str],
) -> T:
    """Read settings.

    Args:
        kind: the dataclass at the top.
        file: a TOML file, in which relative paths start from its folder; None for none.
        overrides: what the command line sets, by key; it wins. Relative paths start from the
            working directory.
        replaced: settings that there were once, by key, and what has come in their place.

    Raises:
        UserError: one line for each error in file or overrides.
    """
    data: dict[str, Any] = {}
    if file is not None:
        file = file.absolute()
        data = read_toml(file)
        _anchor_paths(data, kind, file.parent)
    _override(data, overrides)
    return _check(kind, data, Origin(source_name(file), overrides, replaced))


def source_name(file: Path | None) -> str:
    """Return what messages call the source of the settings."""
    return "command line" if file is None else str(file.absolute())


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UserError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at octet {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}") from error


def _anchor_paths(data: dict[str, Any], kind: type[Any], folder: Path) -> None:
    """Make relative paths absolute: in a file they start from the file's own folder."""
    for declaration in declarations(kind):
        place: Any = data
        for table in declaration.key.split(".")[:-1]:
            place = place.get(table) if isinstance(place, dict) else None
        if isinstance(place, dict) and declaration.name in place:
            value = place[declaration.name]
            place[declaration.name] = _anchored(value, declaration.annotation, folder)


def _anchored(value: Any, annotation: Any, folder: Path) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and arguments[0] is Path and isinstance(value, str):
        return str(folder / value)
    if origin in LISTS and isinstance(value, list):
        return [_anchored(item, arguments[0], folder) for item in value]
    if is_dataclass(annotation) and isinstance(value, dict):
        kinds = get_type_hints(annotation, include_extras=True)
        return {key: _anchored(item, kinds.get(key), folder) for key, item in value.items()}
    return value


def _override(data: dict[str, Any], overrides: Mapping[str, object]) -> None:
    """Lay the command line's values over the file's; a wrong table is left for the check."""
    for key, value in overrides.items():
        *tables, name = key.split(".")
        place: Any = data
        for table in tables:
            place = place.setdefault(table, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[name] = value


def _check(kind: type[T], data: Mapping[str, Any], origin: Origin) -> T:
    try:
        values = values_set(model_of(kind).model_validate(data))
    except ValidationError as error:
        lines = [_Errors(kind, origin).line(item) for item in error.errors()]
        raise UserError("\n".join(dict.fromkeys(lines))) from None
    by_path = {item.path: values[item.key] for item in declarations(kind) if item.key in values}
    made: T = _make(Table(kind, False, {}), by_path, (), origin.source)
    return made


def _make(
    holder: Table, values: Mapping[tuple[str, ...], Any], path: tuple[str, ...], source: str
) -> Any:
    """Make a dataclass of the values that were set; the others have their defaults."""
    found = dict(holder.given)
    for item, what in declared(holder.kind):
        here = (*path, item.name)
        if isinstance(what, Table):
            found[item.name] = _make(what, values, here, source)
        elif here in values:
            found[item.name] = values[here]
    try:
        return holder.kind(**found)
    except ValueError as error:
        raise UserError(f"{source}: [{'.'.join(path)}]: {error}") from error


class _Errors:
    """Writes a line for each error that pydantic found."""

    def __init__(self, kind: type[Any], origin: Origin) -> None:
        self._known = {item.key: item for item in declarations(kind)}
        self._tables = tables(kind)
        self._origin = origin

    def line(self, error: Any) -> str:
        """Return the line of an error, one of pydantic's ``ErrorDetails``."""
        location = [_escape(str(step)) for step in error["loc"]]
        key, rest = self._split(location)
        declaration = self._known.get(key)
        if declaration is None:
            return self._unknown(".".join(location), error["input"])
        option = declaration.setting.get("option") if key in self._origin.overrides else None
        place = f"--{option}" if option else f"{self._origin.source}: {key}"
        item = "".join([f"[{rest[0]}]", *(f".{step}" for step in rest[1:])]) if rest else ""
        allowed = declaration.allowed.removeprefix(LIST_WORDS) if rest else declaration.allowed
        if error["type"] == "missing":  # pydantic's input is then the whole table
            return f"{place}{item} is missing; allowed: {allowed}"
        reason = _reason(error, declaration)
        return f"{place}{item} = {shown(error['input'])}{reason}; allowed: {allowed}"

    def _split(self, location: list[str]) -> tuple[str, list[str]]:
        """Divide where pydantic found an error into a setting's key and the place in its value."""
        for length in range(len(location), 0, -1):
            key = ".".join(location[:length])
            if key in self._known:
                return key, location[length:]
        return ".".join(location), []

    def _unknown(self, key: str, value: object) -> str:
        source = self._origin.source
        if key in self._tables:
            return f"{source}: {key} is not a table; write its settings below [{key}]"
        if key in self._origin.replaced:
            return f"{source}: {key} is no longer a setting; use {self._origin.replaced[key]}"
        table, _, name = key.rpartition(".")
        near = self._nearest_table(key) if isinstance(value, dict) else None
        near = near or self._nearest_setting(key, name)
        hint = f"; did you mean {near}?" if near else ""
        where = f" in [{table}]" if table else ""
        return f"{source}: unknown key {name}{where}{hint}"

    def _nearest_table(self, key: str) -> str | None:
        others = [table for table in self._tables if not key.startswith(f"{table}.")]
        return next(iter(get_close_matches(key, others, 1)), None)

    def _nearest_setting(self, key: str, name: str) -> str | None:
        """Find a setting by its whole name, or in whichever table by its name there."""
        if near := get_close_matches(key, self._known, 1):
            return near[0]
        by_name = {item.name: item.key for item in self._known.values()}
        return next((by_name[found] for found in get_close_matches(name, by_name, 1)), None)


def _reason(error: Any, declaration: Declaration) -> str:
    """Return our own parser's reason, or the word that may have been meant.

    Pydantic's reasons are said better by what is allowed.
    """
    cause, value = error.get("ctx", {}).get("error"), error["input"]
    if isinstance(cause, ValueError) and str(cause):
        return f" ({cause})"
    annotation = declaration.annotation
    few = choices(get_args(annotation)[0] if get_origin(annotation) in LISTS else annotation)
    near = get_close_matches(value, few, 1) if isinstance(value, str) else []
    return f' (did you mean "{near[0]}"?)' if near else ""


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def shown(value: object) -> str:
    """Write a value as it goes into a message: on one line, cut, without passwords."""
    if isinstance(value, str):
        text = without_password(value)
        text = '"' + _escape(text).replace('"', '\\"') + '"'
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(item) for item in value) + "]"
    else:
        text = without_password(str(value))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
