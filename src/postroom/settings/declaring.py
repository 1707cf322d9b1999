"""How a setting is declared: once, as a field of a dataclass beside the code that reads it.

::

    @dataclass(frozen=True, slots=True)
    class Limits:
        \"""What sessions may use up.\"""

        recipients: int = setting(1000, "How many recipients ...", ge=100, le=1_000_000)

The annotation is the type; `postroom.settings.values` has types that are written as text, such as
networks. The default is what runs when nobody sets it. The unit is in the name (``_seconds``,
``_octets``). A field that is declared in the ordinary way is no setting: the program fills it in.

A field made by `table` or `part` holds another such dataclass. The dataclass at the top is the list
of all tables; the daemon's is `postroom.service.settings.Settings`.

A program that embeds a room uses its dataclasses as they are: nothing here imports pydantic.

Who controls the input: nobody but us.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, Required, TypedDict, TypeVar, Unpack, cast

T = TypeVar("T")
_KEY: Final = "postroom.settings"


class Details(TypedDict, total=False):
    """What a declaration says beside type, default and paragraph; all of it may be left out.

    Attributes:
        within: the least value and the largest.
        above: a value that is too small, where there is no least one.
        most: the largest value, where there is no least one.
        allowed: what its value may be, in words, where type and range do not say it.
        option: the name of the command line's option for it, without dashes.
        example: shown where the default would say nothing.
        shown_default: shown instead of a default that depends on the machine.
        rfc: where it comes from.
        secret: True if its values are not to be shown.
        key: its whole name in the file, where that is not the table's name, a dot, and the field's.
    """

    within: tuple[float, float]
    above: float
    most: float
    allowed: str
    option: str
    example: object
    shown_default: str
    rfc: str
    secret: bool
    key: str


class Setting(Details):
    """All that was declared of a setting beside its type and its default."""

    paragraph: Required[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A field that holds the settings of another dataclass.

    Attributes:
        kind: the dataclass.
        is_part: True if its settings stand in the table of the dataclass that has the field.
        given: values of fields that are no settings, until the program knows better ones.
    """

    kind: type[Any]
    is_part: bool
    given: Mapping[str, object]

    @property
    def summary(self) -> str:
        """The first line of the dataclass's docstring: what the table is for."""
        return (self.kind.__doc__ or "").partition("\n")[0]


def setting(default: T, paragraph: str, **details: Unpack[Details]) -> T:
    """Declare a setting.

    Args:
        default: its value when nobody sets it.
        paragraph: what it does, for whoever has to choose a value.
        details: see `Details`.

    Returns:
        A field of a dataclass; to a type checker, the default.
    """
    metadata = {_KEY: _described(paragraph, details)}
    if isinstance(default, dict):
        copy = cast(Callable[[], T], default.copy)
        return field(default_factory=copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def computed(make: Callable[[], T], paragraph: str, **details: Unpack[Details]) -> T:
    """Declare a setting like `setting` does, whose default ``make`` finds out on this machine."""
    return field(default_factory=make, metadata={_KEY: _described(paragraph, details)})


def _described(paragraph: str, details: Details) -> Setting:
    return {**details, "paragraph": " ".join(paragraph.split())}


def table(kind: Callable[..., T], **given: object) -> T:
    """Declare a table named like the field: the settings of the dataclass ``kind``.

    Args:
        kind: the dataclass.
        given: values of its fields that are no settings and have no default.
    """
    return cast(T, _hold(kind, given, is_part=False))


def part(kind: Callable[..., T], **given: object) -> T:
    """Declare that the settings of the dataclass ``kind`` stand in the same table."""
    return cast(T, _hold(kind, given, is_part=True))


def _hold(kind: Any, given: Mapping[str, object], *, is_part: bool) -> Any:
    held = Table(kind, is_part, given)
    return field(default_factory=lambda: kind(**given), metadata={_KEY: held})


def declared(kind: type[Any]) -> list[tuple[Field[Any], Setting | Table]]:
    """Return the fields of a dataclass that were declared here, in order."""
    return [(item, item.metadata[_KEY]) for item in fields(kind) if _KEY in item.metadata]


def default_of(item: Field[Any]) -> object:
    """Return the default of a field; a new one where a function makes it."""
    if item.default_factory is not MISSING:
        return item.default_factory()
    return item.default
