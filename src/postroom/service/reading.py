"""From a TOML file and a command line to checked values, or to lines that say what is wrong.

Every error is one line that names the file (or the option), the key, the value and what is allowed;
all that are found are told at once. Passwords in values are blotted out.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from postroom.errors import UserError
from postroom.service.declarations import (
    LIST_WORDS,
    Declaration,
    Section,
    declarations,
    without_password,
)

SectionType = TypeVar("SectionType", bound=Section)
_SHOWN_CHARACTERS = 120
_REPLACED: Final[Mapping[str, str]] = {
    "session.normalise_networks": (
        'session.bare_newline, whose "normalise" holds for everybody and is the default'
    ),
    "session.space_after_colon": 'session.tolerate, in whose list "blanks" means the same',
}
"""Settings that there were once, and what has come in their place."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a settings file.

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


def _is_path(annotation: Any) -> bool:
    if get_origin(annotation) in (UnionType, Union):
        return any(_is_path(item) for item in get_args(annotation))
    return annotation is Path or Path in get_args(annotation)[:1]  # within Annotated


def anchor(data: Mapping[str, Any], model: type[BaseModel], folder: Path) -> dict[str, Any]:
    """Make relative paths absolute: in a file they start from the file's own folder."""
    anchored = dict(data)
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field is None:
            continue
        annotation = field.annotation
        if isinstance(value, dict) and isinstance(annotation, type):
            if issubclass(annotation, Section):
                anchored[key] = anchor(value, annotation, folder)
        elif isinstance(value, list) and (item := _section_within(annotation)):
            anchored[key] = [
                anchor(each, item, folder) if isinstance(each, dict) else each for each in value
            ]
        elif isinstance(value, str) and _is_path(annotation):
            anchored[key] = str(folder / value)
    return anchored


def _section_within(annotation: Any) -> type[Section] | None:
    """Give the kind of table that a list is of, if it is one of tables."""
    for inner in get_args(annotation):
        if isinstance(inner, type) and issubclass(inner, Section):
            return inner
        found = _section_within(inner)
        if found is not None:
            return found
    return None


def merge(data: dict[str, Any], overrides: Mapping[str, object]) -> dict[str, Any]:
    """Lay the command line's values, by dotted key, over the file's."""
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for dotted, value in overrides.items():
        table, _, key = dotted.rpartition(".")
        place = merged.setdefault(table, {}) if table else merged
        if isinstance(place, dict):
            place[key] = value
    return merged


def check(
    model: type[SectionType],
    data: Mapping[str, Any],
    overrides: Mapping[str, object],
    source: str,
) -> SectionType:
    """Check all values.

    Args:
        model: the declarations.
        data: file and command line, merged.
        overrides: what of it came from the command line, by dotted key.
        source: the file's name, for messages.

    Raises:
        UserError: one line for each error.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = {item.key: item for item in declarations(model)}
        lines = [_line(item, known, overrides, source) for item in error.errors()]
        raise UserError("\n".join(dict.fromkeys(lines))) from None


def _line(
    error: Any,  # pydantic_core.ErrorDetails, whose keys are all that is used
    known: Mapping[str, Declaration],
    overrides: Mapping[str, object],
    source: str,
) -> str:
    location = [_escape(str(step)) for step in error["loc"]]
    key, rest = _split(location, known)
    declared = known.get(key)
    if declared is None:
        return _unknown(".".join(location), known, source, is_table=_is_table(key, known))
    option = declared.extra.option if key in overrides else None
    place = f"--{option}" if option else f"{source}: {key}"
    item = "".join([f"[{rest[0]}]", *(f".{step}" for step in rest[1:])]) if rest else ""
    allowed = declared.allowed.removeprefix(LIST_WORDS) if rest else declared.allowed
    if error["type"] == "missing":  # pydantic's input is then the whole table
        return f"{place}{item} is missing; allowed: {allowed}"
    return f"{place}{item} = {shown(error['input'])}{_reason(error)}; allowed: {allowed}"


def _reason(error: Any) -> str:
    """Give our own parser's reason; pydantic's is said better by what is allowed."""
    cause = error.get("ctx", {}).get("error")
    return f" ({cause})" if isinstance(cause, ValueError) else ""


def _split(location: list[str], known: Mapping[str, Declaration]) -> tuple[str, list[str]]:
    """Divide where pydantic found an error into a setting's key and the place in its value."""
    for length in range(len(location), 0, -1):
        key = ".".join(location[:length])
        if key in known:
            return key, location[length:]
    return ".".join(location), []


def _is_table(key: str, known: Mapping[str, Declaration]) -> bool:
    return any(name.startswith(f"{key}.") for name in known)


def _unknown(key: str, known: Mapping[str, Declaration], source: str, *, is_table: bool) -> str:
    if is_table:
        return f"{source}: {key} is not a table; write its settings below [{key}]"
    table, _, name = key.rpartition(".")
    if key in _REPLACED:
        return f"{source}: {key} is no longer a setting; use {_REPLACED[key]}"
    by_name = {item.rpartition(".")[2]: item for item in known}
    near = get_close_matches(key, known, 1) or get_close_matches(name, by_name, 1)
    hint = f"; did you mean {by_name.get(near[0], near[0])}?" if near else ""
    where = f" in [{table}]" if table else ""
    return f"{source}: unknown key {name}{where}{hint}"


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
