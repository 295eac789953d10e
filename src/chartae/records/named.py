"""Read-only values by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TypeVar

from chartae.records.parsing import Value

__all__ = ["Named"]

T = TypeVar("T")


class Named(Mapping[str, T]):
    """Read-only values by name: `values["gmm"]`, or `values.gmm` if the name is an identifier.

    Args:
        values: name -> value, in the order in which they are listed and written.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, T]) -> None:
        self._values = dict(values)

    @abstractmethod
    def to_dict(self) -> dict[str, Value]:
        """The values as plain JSON types."""

    def __getitem__(self, name: str) -> T:
        return self._values[name]

    def __getattr__(self, name: str) -> T:
        # copy and pickle look up private names before _values exists
        if name.startswith("_") or name not in self._values:
            available = "" if name.startswith("_") else f"; there are {', '.join(self._values) or 'none'}"
            raise AttributeError(f"{type(self).__name__} has no {name!r}{available}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"
