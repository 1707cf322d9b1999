"""A property that is computed when it is first read, and kept.

`functools.cached_property` does the same, but in Python 3.11 it takes a lock for the first read,
which costs more than most of what `layer` computes.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")


class computed_once(Generic[_T]):  # noqa: N801 - used like `property`
    """Decorate a method whose result is kept in the object's ``__dict__``, under its own name.

    There it hides this descriptor, so that the second read costs what any attribute costs.
    """

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        """Store the method that computes the value."""
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "computed_once[_T]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> _T: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Compute the value, and keep it."""
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
