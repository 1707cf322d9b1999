"""What the dataclasses declare, as one list: each setting with its name in the file.

Messages, ``--help``, ``etc/postroom.toml`` and the reference page are made from this list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from postroom.settings.declaring import Setting, Table, declared, default_of
from postroom.settings.values import Parsed

LIST_WORDS: Final = "a list, each item "
LISTS: Final = (tuple, Sequence, frozenset)
TABLES: Final = (dict, Mapping)
_TYPES: Final[Mapping[object, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting.

    Attributes:
        key: its name in the file, its table's name and a dot in front.
        path: the names of the fields that lead to it from the dataclass at the top.
        annotation: its type, without None: TOML cannot write that.
        default: its value when nobody sets it.
        setting: the rest of what was declared.
    """

    key: str
    path: tuple[str, ...]
    annotation: Any
    default: object
    setting: Setting

    @property
    def table(self) -> str:
        """The name of its table; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name within the table."""
        return self.key.rpartition(".")[2]

    @property
    def allowed(self) -> str:
        """What its value may be, in words: its type and its range."""
        declared = self.setting
        text = declared.get("allowed") or type_text(self.annotation)
        if "within" in declared:
            least, most = declared["within"]
            return f"{text} from {least} to {most}"
        above = f" above {declared['above']}" if "above" in declared else ""
        most_words = f" to {declared['most']}" if "most" in declared else ""
        return text + above + most_words

    def value(self, settings: object) -> Any:
        """Return its value in an instance of the dataclass at the top."""
        for name in self.path:
            settings = getattr(settings, name)
        return settings


_DECLARATIONS: Final[dict[type[Any], Sequence[Declaration]]] = {}


def tables(kind: type[Any]) -> Mapping[str, str]:
    """Return what each table below a dataclass is for, by name and in order."""
    return dict(_tables(kind, ""))


def _tables(kind: type[Any], prefix: str) -> Iterator[tuple[str, str]]:
    for item, what in declared(kind):
        if isinstance(what, Table) and not what.is_part:
            yield prefix + item.name, what.summary
            yield from _tables(what.kind, f"{prefix}{item.name}.")


def declarations(kind: type[Any]) -> Sequence[Declaration]:
    """Return every setting below a dataclass, in the order in which the file shows them."""
    if kind not in _DECLARATIONS:
        order = ["", *tables(kind)]
        found = sorted(_settings(kind, "", ()), key=lambda each: order.index(each.table))
        _DECLARATIONS[kind] = found
    return _DECLARATIONS[kind]


def _settings(kind: type[Any], prefix: str, path: tuple[str, ...]) -> Iterator[Declaration]:
    annotations = get_type_hints(kind, include_extras=True)
    for item, what in declared(kind):
        here = (*path, item.name)
        if isinstance(what, Table):
            inner = prefix if what.is_part else f"{prefix}{item.name}."
            yield from _settings(what.kind, inner, here)
        else:
            key = what.get("key") or prefix + item.name
            annotation = _without_none(annotations[item.name])
            yield Declaration(key, here, annotation, default_of(item), what)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        kinds = tuple(kind for kind in get_args(annotation) if kind is not NoneType)
        return Union[kinds]  # noqa: UP007  # they are known only now
    return annotation


def choices(annotation: Any) -> Sequence[str]:
    """Return the values that a type of a few values may have, as they are written."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [item.value for item in annotation]
    return ()


def type_text(annotation: Any) -> str:
    """Describe in words what may be written for a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        words = [mark.words for mark in arguments[1:] if isinstance(mark, Parsed)]
        return words[0] if words else type_text(arguments[0])
    if few := choices(annotation):
        return "one of " + ", ".join(f'"{item}"' for item in few)
    if origin in LISTS:
        return LIST_WORDS + type_text(arguments[0])
    if origin in TABLES:
        return f"a table of {type_text(arguments[0])} to {type_text(arguments[1])}"
    return _TYPES[annotation]
