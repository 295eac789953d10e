"""What a kind of data is, and the table of all kinds."""

from __future__ import annotations

import importlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from chartae.data.columns import Columns
from chartae.data.files import Contents, read_contents
from chartae.data.lines import is_string_file
from chartae.grammar import Codec
from chartae.records.settings import Plain

__all__ = ["Kind", "Plain", "Writer", "dimensions", "kind_named", "kind_of", "kinds", "register", "shape_of"]

Writer: TypeAlias = Callable[[Tensor, Path], None]


class Kind(ABC):
    """What one example is, and how examples travel between the user's form and the model.

    There are three forms. The *user's*: a list of strings, a data frame, an array, a file. The *data set's*: a tensor
    in the user's units, as `chartae.data.Dataset` keeps it. The *model's*: what a network reads, such as standardised
    columns, and what it gives back.

        read(anything) -> model's        inside(data set's) -> model's
        restore(model's) -> user's       outside(model's) -> data set's        write(model's, path)

    A kind is fitted to training examples by `of`, and lies in the run folder as `to_dict` writes it: a run can read new
    data for ever. A new kind is one class in one file of this package, or anywhere with `register`.
    """

    #: what run.toml calls it
    name: ClassVar[str]
    #: what messages call several of its examples
    noun: ClassVar[str]
    #: whether the model's form lies in [0, 1]
    unit: ClassVar[bool] = False
    #: whether data are taken for this kind by their look, before those kinds that must be asked for
    guessed: ClassVar[bool] = False
    #: the fields of `chartae.data.Reading` that this kind understands
    options: ClassVar[frozenset[str]] = frozenset()
    #: of one example, as the model sees it
    shape: tuple[int, ...]
    #: names and types of the columns, for tables and points
    columns: Columns = Columns()
    #: what the indices mean, for strings
    codec: Codec | None = None

    @classmethod
    @abstractmethod
    def takes(cls, x: object) -> bool:
        """Whether `x`, which is no path, looks like examples of this kind; it may be wrong in other ways."""

    @classmethod
    @abstractmethod
    def examples(cls, x: object, *, at_least: int = 1) -> Tensor:
        """`x` in the data set's form, checked.

        Args:
            x: examples in the user's form, but no path.
            at_least: the fewest examples that will do; with 2 or more, constant data are refused as well.

        Raises:
            ValueError, TypeError: these are no examples of this kind.
        """

    @classmethod
    @abstractmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        """The kind of these training examples.

        Args:
            train: (N, *shape) in the data set's form.
            columns: names and types of the columns, for tables.
            codec: what the indices mean, for strings.
        """

    @classmethod
    def adopt(cls, kind: Kind, train: Tensor) -> Kind | None:
        """This kind for data that were read as another `kind`, where that makes sense; else None."""
        return None

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor:
        """From the data set's form (N, ...) to the model's (N, *shape)."""

    @abstractmethod
    def outside(self, x: Tensor) -> Tensor:
        """From the model's form (N, *shape) to the data set's units."""

    @property
    def log_scale(self) -> float:
        """log |d outside(x) / dx|, by which a log density in the data set's units is lower than in the model's."""
        return 0.0

    @abstractmethod
    def restore(self, x: Tensor) -> object:
        """From the model's form (N, *shape) to the user's."""

    def strings(self, x: Tensor) -> list[str]:
        """Examples in the data set's form as strings; a ValueError where they are none."""
        raise ValueError(f"examples are {self.noun}, not strings")

    @abstractmethod
    def writers(self) -> Mapping[str, Writer]:
        """How to write examples in the model's form, by the end of the file's name."""

    @abstractmethod
    def to_dict(self) -> dict[str, Plain]:
        """Everything it consists of, as JSON or TOML can hold it, with ``kind``, its name."""

    @classmethod
    @abstractmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        """The kind that `to_dict` described."""

    @staticmethod
    def from_dict(facts: Mapping[str, Plain]) -> Kind:
        """The kind that `to_dict` described, by its name.

        Raises:
            ValueError: an unknown name, or other entries than that kind has.

        >>> from chartae.data.kinds import Images
        >>> Kind.from_dict(Images((1, 8, 8)).to_dict())
        Images((1, 8, 8))
        """
        kind = kind_named(str(facts.get("kind", "")))
        try:
            return kind.restored(facts)
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no description of {kind.noun}: {error!r} in {str(dict(facts))[:200]}") from error

    def read(self, x: object) -> Tensor:
        """Examples in the model's form (N, *shape), checked; one example is enough.

        Args:
            x: what `fit` accepts for this kind: a file, an array, a tensor, a data frame, a list of strings.

        Raises:
            ValueError, TypeError: another kind of data, another shape, missing values; the message says what is
                expected.
        """
        if isinstance(x, str | os.PathLike):
            return self.read(self.contents(x).examples())
        self.refuse_others(x)
        examples = self.examples(x)
        self.check_shape(examples)
        return self.inside(examples)

    def contents(self, path: str | os.PathLike[str], label: str | None = None) -> Contents:
        """What lies in a file, which is none of strings; `label` names the column of labels, which it may lack."""
        suffix = Path(path).suffix.lower()
        if is_string_file(path) and suffix != ".csv":
            raise ValueError(f"{os.fspath(path)} holds strings; expected {self.noun} of shape {self.shape}")
        return read_contents(path, label=label, required=False)

    def refuse_others(self, x: object) -> None:
        """Raise ValueError if `x` looks like another kind of data than this."""
        if self.takes(x):
            return
        other = kind_of(x)
        if other is not None:
            raise ValueError(f"x holds {other.noun} ({_look(x)}); expected {self.noun} of shape {self.shape}")

    def check_shape(self, examples: Tensor) -> None:
        """Raise ValueError unless each of these examples has the shape of this kind."""
        shape = tuple(examples.shape[1:])
        if shape != self.shape:
            raise ValueError(
                f"x holds {self.noun} of shape {shape}; expected shape {self.shape}, as in the data that were fitted"
            )

    def write(self, x: Tensor, path: str | os.PathLike[str]) -> None:
        """Write examples as a file in the user's form, whole or not at all.

        Args:
            x: (N, *shape) in the model's form.
            path: its end says what is written.

        Raises:
            ValueError: no such file can be written of this kind.
        """
        path = Path(path)
        writers = self.writers()
        writer = writers.get(path.suffix.lower())
        if writer is None:
            raise ValueError(f"{path} is no file of {self.noun}; give a name that ends in {' or '.join(writers)}")
        writer(x.detach().cpu(), path)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Kind) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.shape))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape})"


K = TypeVar("K", bound=Kind)
_KINDS: dict[str, type[Kind]] = {}


def register(kind: type[K]) -> type[K]:
    """Enter a kind in the table of kinds, by its name; a decorator of its class.

    Raises:
        ValueError: another class has that name.
    """
    there = _KINDS.setdefault(kind.name, kind)
    if (there.__module__, there.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"there are two kinds named {kind.name!r}: {there.__qualname__} and {kind.__qualname__}")
    _KINDS[kind.name] = kind
    return kind


def kinds() -> tuple[type[Kind], ...]:
    """All kinds: those of the files of this package, and those that were registered elsewhere."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return tuple(_KINDS.values())


def kind_named(name: str) -> type[Kind]:
    """The kind of a name; a ValueError, which lists the names, if there is none."""
    table = {kind.name: kind for kind in kinds()}
    if name not in table:
        raise ValueError(f"unknown kind of data {name!r}; choose from {', '.join(table)}")
    return table[name]


def kind_of(x: object) -> type[Kind] | None:
    """What `x` looks like, which is no path; None where it looks like nothing that is known.

    >>> kind_of([[1.0, 2.0], [3.0, 4.0]])
    <class 'chartae.data.kinds.table.Table'>
    """
    return next((kind for kind in kinds() if kind.guessed and kind.takes(x)), None)


def shape_of(x: object) -> tuple[int, ...] | None:
    """Shape of an array, tensor, data frame or list of numbers; None where the rows of a list differ in length."""
    if isinstance(x, Tensor):
        return tuple(x.shape)
    try:
        return tuple(np.shape(cast(ArrayLike, x)))
    except (ValueError, TypeError):
        return None


def dimensions(x: object) -> int:
    """How many dimensions an array, tensor, data frame or list of numbers has; -1 where it is none of these."""
    shape = shape_of(x)
    return -1 if shape is None else len(shape)


def _look(x: object) -> str:
    shape = shape_of(x) or ()
    return f"a {type(x).__name__} of shape {shape}" if len(shape) > 1 else f"a {type(x).__name__}"
