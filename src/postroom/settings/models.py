"""The pydantic models that check a settings file, made from the declarations.

Values are held to their TOML type: ``"12"`` is not a number and ``1`` is not a truth value, so that
a slip is an error and not a guess. A model tells which settings were set, and their values; the
defaults stay with the dataclasses.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, create_model

from postroom.settings.declarations import LISTS, TABLES, Declaration, declarations

_CONFIG: Final = ConfigDict(extra="forbid")
_MODELS: Final[dict[type[Any], type[BaseModel]]] = {}
_Tree = dict[str, Any]  # of Declaration and _Tree


def model_of(kind: type[Any]) -> type[BaseModel]:
    """Return the model of a dataclass and its tables."""
    if kind not in _MODELS:
        _MODELS[kind] = _model(kind.__name__, _tree(kind))
    return _MODELS[kind]


def _tree(kind: type[Any]) -> _Tree:
    tree: _Tree = {}
    for declaration in declarations(kind):
        *tables, name = declaration.key.split(".")
        place = tree
        for table in tables:
            place = place.setdefault(table, {})
        place[name] = declaration
    return tree


def _model(name: str, tree: _Tree) -> type[BaseModel]:
    fields: dict[str, Any] = {
        key: (_model(key, item), None) if isinstance(item, dict) else _field(item)
        for key, item in tree.items()
    }
    return create_model(name, __config__=_CONFIG, **fields)


def _field(declaration: Declaration) -> tuple[Any, Any]:
    declared = declaration.setting
    least, most = declared.get("within", (None, declared.get("most")))
    limits = Field(ge=least, gt=declared.get("above"), le=most)
    # The limits come last, or what reads a type of ours would replace their check.
    return Annotated[checked_type(declaration.annotation), limits], None


def checked_type(annotation: Any) -> Any:
    """Return the type that pydantic is to check for one that was declared."""
    arguments = get_args(annotation)
    if annotation in (bool, int, float):
        return Annotated[annotation, Strict()]
    if (origin := get_origin(annotation)) in LISTS:
        item = checked_type(arguments[0])
        kind: Any = origin if origin is frozenset else tuple
        items = kind[item] if origin is frozenset else kind[item, ...]
        return Annotated[items, BeforeValidator(_check_list)]
    if origin in TABLES:
        mapping: Any = dict
        return mapping[checked_type(arguments[0]), checked_type(arguments[1])]
    return annotation


def _check_list(value: object) -> object:
    """Check that a value is a list; a string is not taken for a list of its letters."""
    if not isinstance(value, list | tuple):
        raise ValueError("not a list")
    return value


def values_set(model: BaseModel, prefix: str = "") -> Mapping[str, Any]:
    """Return the values that were set, by the settings' keys."""
    found: dict[str, Any] = {}
    for name in model.model_fields_set:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found |= values_set(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
