"""The abstract kind of data, and the table of all kinds."""

from __future__ import annotations

import importlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self, TypeAlias, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from chartae.data.columns import Columns, as_frame
from chartae.data.contents import Contents
from chartae.data.decoding import is_picture_file
from chartae.data.files import read_contents
from chartae.data.foreign import is_array_like
from chartae.data.lines import is_string_file
from chartae.data.options import Reading
from chartae.data.tables import TABLE_READERS
from chartae.data.text import TABLES, suffix_of
from chartae.grammar import Codec
from chartae.records.choices import one_of
from chartae.records.files import LINE, one_line
from chartae.records.settings import Plain

__all__ = [
    "FileRows",
    "Kind",
    "Plain",
    "Stream",
    "Writer",
    "at_once",
    "dimensions",
    "kind_named",
    "kind_of",
    "kinds",
    "register",
    "shape_of",
]

Writer: TypeAlias = Callable[[Tensor, Path], None]
#: writes slices of examples, one after the other, with a number of rows in all
Stream: TypeAlias = Callable[[Iterable[Tensor], int, Path], None]


class FileRows(NamedTuple):
    """Rows of a file: the examples in the user's form, the names of their columns, and their labels, if any."""

    x: object
    names: tuple[str | int, ...] = ()
    labels: NDArray[np.generic] | None = None


class Kind(ABC):
    """What one example is, and how examples are converted between the user's form and the model's.

    There are three forms. The *user's* form is a list of strings, a data frame, an array or a file. The *data set's*
    form is a tensor in the user's units, as in `chartae.data.Dataset`. The *model's* form is what a network reads and
    returns, such as standardised columns::

        read(anything) -> model's        inside(data set's) -> model's
        restore(model's) -> user's       outside(model's) -> data set's        write(model's, path)

    `of` fits a kind to training examples. The run folder keeps it as `to_dict` returns it, so that a run can always
    read new data. A new kind is one class in one file of this package, or in any module with `register`.
    """

    #: name of the kind in run.toml
    name: ClassVar[str]
    #: plural noun for its examples in messages
    noun: ClassVar[str]
    #: whether values of the model's form are in [0, 1]
    unit: ClassVar[bool] = False
    #: whether data that `takes` accepts are read as this kind by default; other kinds must be requested
    guessed: ClassVar[bool] = False
    #: whether new examples are drawn from p(x|z) by default, rather than being its mean
    noise: ClassVar[bool] = False
    #: fields of `chartae.data.Reading` that this kind uses
    options: ClassVar[frozenset[str]] = frozenset()
    #: shape of one example in the model's form
    shape: tuple[int, ...]
    #: names and types of the columns, for tables and points
    columns: Columns = Columns()
    #: codec of the indices, for strings
    codec: Codec | None = None

    @property
    def molecules(self) -> bool:
        """Whether the examples are molecules."""
        return False

    @classmethod
    @abstractmethod
    def takes(cls, x: object) -> bool:
        """Whether `x`, which is not a path, has the type and dimensions of this kind; its values are not checked."""

    @classmethod
    @abstractmethod
    def examples(cls, x: object, *, at_least: int = 1) -> Tensor:
        """Check examples and convert them to the data set's form.

        Args:
            x: examples in the user's form, but not a path.
            at_least: smallest number of examples; default 1. With 2 or more, constant data are refused too.

        Returns:
            (N, ...) tensor in the data set's form.

        Raises:
            ValueError, TypeError: `x` does not hold examples of this kind.
        """

    @classmethod
    def convert(cls, contents: Contents) -> tuple[dict[str, Tensor], Contents]:
        """Convert the examples of each split to the data set's form.

        Args:
            contents: what a file, an array or a data frame holds; at least the split ``"train"``.

        Returns:
            The examples of each split, and the contents with the options and notes completed by what was decided.

        Raises:
            ValueError, TypeError: a split does not hold examples of this kind.
        """
        at_least = {split: 2 if split == "train" else 1 for split in contents.parts}
        return {s: cls.examples(part.x, at_least=at_least[s]) for s, part in contents.parts.items()}, contents

    @classmethod
    @abstractmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        """Fit the kind to training examples.

        Args:
            train: (N, ``*shape``) training examples in the data set's form.
            columns: names and types of the columns, for tables and points.
            codec: codec of the indices, for strings.
        """

    def keeping(self, reading: Reading) -> Kind:
        """The kind, with those options that it needs to read new data alike; by default none."""
        return self

    def alike(self, reading: Reading) -> Reading:
        """The options for reading new data like those that the kind was fitted to.

        Args:
            reading: options that these were read with.
        """
        return reading.for_new_data()

    @classmethod
    def adopt(cls, kind: Kind, train: Tensor) -> Kind | None:
        """Convert another kind to this one, for the same training examples; None if that is impossible.

        Args:
            kind: kind that the data were read as.
            train: (N, ``*shape``) training examples in the data set's form.
        """
        return None

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor:
        """Convert examples from the data set's form (N, ...) to the model's (N, ``*shape``)."""

    @abstractmethod
    def outside(self, x: Tensor) -> Tensor:
        """Convert examples from the model's form (N, ``*shape``) to the data set's."""

    @property
    def log_scale(self) -> float:
        """``log |d outside(x) / dx|``: a log density in the data set's units is lower by it than in the model's."""
        return 0.0

    @abstractmethod
    def restore(self, x: Tensor) -> object:
        """Convert examples from the model's form (N, ``*shape``) to the user's."""

    def lengths(self, x: Tensor) -> Tensor | None:
        """Number of values in each row (N,) before its padding; None (default) if rows are not padded."""
        return None

    def strings(self, x: Tensor) -> list[str]:
        """Decode examples in the data set's form as strings; ValueError if the kind is not strings."""
        raise ValueError(f"examples are {self.noun}; expected strings.")

    @abstractmethod
    def writers(self) -> Mapping[str, Writer]:
        """Functions that write examples in the model's form to a file, by the suffix of its name."""

    def streams(self) -> Mapping[str, Stream]:
        """Functions that write examples slice by slice, in the memory of one slice, by the suffix; none by default."""
        return {}

    def bytes_in(self, suffix: str) -> int:
        """Bytes that an example surely takes in a file, before compression; 0 (default) if that is unknown."""
        return 0

    @abstractmethod
    def to_dict(self) -> dict[str, Plain]:
        """Plain values, as JSON and TOML can store them, from which `from_dict` rebuilds the kind."""

    @classmethod
    @abstractmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        """Rebuild the kind from the plain values that its `to_dict` returned."""

    @staticmethod
    def from_dict(facts: Mapping[str, Plain]) -> Kind:
        """Rebuild a kind of any class from the plain values that `to_dict` returned.

        Args:
            facts: values by key; ``facts["kind"]`` is the name of the kind.

        Raises:
            ValueError: the name is unknown, or the entries are not those of that kind.

        >>> from chartae.data.kinds import Images, Kind
        >>> Kind.from_dict(Images((1, 8, 8)).to_dict())
        Images((1, 8, 8))
        """
        kind = kind_named(str(facts.get("kind", ""))[:LINE])
        try:
            return kind.restored(facts)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(
                f"facts are wrong ({one_line(error)}); expected the entries of {kind.noun}. Load them with the version"
                " of chartae that wrote them."
            ) from error

    def read(self, x: object) -> Tensor:
        """Check examples and convert them from the user's form to the model's.

        Args:
            x: one or more examples in any form that `fit` accepts for this kind: a file, an array, a tensor, a data
                frame or a list of strings.

        Returns:
            (N, ``*shape``) tensor in the model's form.

        Raises:
            ValueError, TypeError: `x` is of another kind or shape, or has missing values; the message says what is
                expected.
        """
        if isinstance(x, str | os.PathLike):
            rows = self.file_rows(x)
            return self.read_named(rows.x, rows.names, os.fspath(x))
        x = as_frame(x)
        self.refuse_others(x)
        examples = self.examples(x)
        self.check_shape(examples)
        return self.inside(examples)

    def read_named(self, x: object, names: Sequence[str | int], source: str) -> Tensor:
        """Read examples whose columns have names; the fitted columns are taken by name, in any order.

        Args:
            x: examples in the user's form.
            names: names of their columns; empty if they have none.
            source: what messages call them.

        Returns:
            The examples (N, *S) in the model's form.
        """
        return self.read(x)

    def file_rows(self, path: str | os.PathLike[str], reading: Reading = Reading()) -> FileRows:
        """Read every row of a file, in order, without the checks of `read`.

        Args:
            path: a file, or a folder of pictures.
            reading: options for reading; those of the run that the data are for.

        Returns:
            The examples in the user's form, the names of their columns, and their labels.

        Raises:
            ValueError: the file holds strings, or cannot be read.
        """
        # new data need not have the columns of labels and weights, and those that were left out
        reading, columns = reading.for_new_data(), self.columns
        if columns.names:
            reading = replace(reading, label=str(columns.label), drop=columns.others)
        contents = self._contents(path, reading)
        labels = [np.asarray(part.labels) for part in contents.parts.values() if part.labels is not None]
        return FileRows(contents.examples(), contents.columns.names, np.concatenate(labels) if labels else None)

    def _contents(self, path: str | os.PathLike[str], reading: Reading) -> Contents:
        """The contents of a file of numbers or pictures; a ValueError for a file of something else."""
        place, suffix = Path(path).expanduser(), suffix_of(path)
        holds = {
            "strings": is_string_file(path) and suffix not in TABLES,
            "pictures": "size" not in self.options and (place.is_dir() or is_picture_file(place)),
            "a table": "drop" not in self.options and suffix in TABLE_READERS and not place.is_dir(),
        }
        for what, surely in holds.items():
            if surely:
                raise ValueError(f"{os.fspath(path)} holds {what}; expected {self.noun} of shape {self.shape}.")
        return read_contents(path, reading)

    def refuse_others(self, x: object) -> None:
        """Raise ValueError if `x` looks like data of another kind."""
        if self.takes(x):
            return
        other = kind_of(x)
        if other is not None:
            raise ValueError(
                f"x holds {other.noun} ({_type_and_shape(x)}); expected {self.noun} of shape {self.shape}."
            )

    def check_shape(self, examples: Tensor) -> None:
        """Raise ValueError unless each example has the shape of this kind."""
        shape = tuple(examples.shape[1:])
        if shape != self.shape:
            raise ValueError(
                f"x holds {self.noun} of shape {shape}; expected shape {self.shape}, that of the fitted data."
            )

    def write(self, x: Tensor, path: str | os.PathLike[str]) -> None:
        """Write examples to a file in the user's form, whole or not at all.

        Args:
            x: (N, ``*shape``) examples in the model's form.
            path: path of the file; its suffix selects the format, one of `writers`.

        Raises:
            ValueError: the suffix is not one of this kind's formats.
        """
        self.write_slices([x], len(x), path)

    def write_slices(self, slices: Iterable[Tensor], n: int, path: str | os.PathLike[str]) -> None:
        """Write examples that come in slices, in the memory of one slice if the format allows it (`streams`).

        Args:
            slices: examples (m, ``*shape``) in the model's form, at least one slice.
            n: number of examples in all slices.
            path: path of the file; its suffix selects the format, one of `writers`.

        Raises:
            ValueError: the suffix is not one of this kind's formats.
        """
        path = Path(path)
        on_cpu = (x.detach().cpu() for x in slices)
        if (stream := self.streams().get(path.suffix.lower())) is not None:
            stream(on_cpu, n, path)
            return
        writers = self.writers()
        writer = writers.get(path.suffix.lower())
        if writer is None:
            raise ValueError(
                f"path is {str(path)!r}; expected a suffix for {self.noun}: {', '.join(writers)}. Rename the file."
            )
        writer(torch.cat(list(on_cpu)), path)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Kind) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.shape))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape})"


def at_once(streams: Mapping[str, Stream]) -> dict[str, Writer]:
    """Writers of all examples at once, from those of slices."""

    def writer(stream: Stream) -> Writer:
        return lambda x, path: stream([x], len(x), path)

    return {suffix: writer(stream) for suffix, stream in streams.items()}


K = TypeVar("K", bound=Kind)
_KINDS: dict[str, type[Kind]] = {}


def register(kind: type[K]) -> type[K]:
    """Class decorator that adds a kind to the table of kinds, by its name.

    Args:
        kind: subclass of `Kind`, with a `name` that no other class has.

    Returns:
        The class itself.

    Raises:
        ValueError: another class has the same name.

    >>> from chartae.data.kinds import Table, kind_named, register
    >>> register(Table) is kind_named("table")  # the same class may be registered again
    True
    """
    registered = _KINDS.setdefault(kind.name, kind)
    if (registered.__module__, registered.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"there are two kinds named {kind.name!r}: {registered.__qualname__} and {kind.__qualname__}; expected"
            " different names. Rename one."
        )
    _KINDS[kind.name] = kind
    return kind


def kinds() -> tuple[type[Kind], ...]:
    """All kinds of data: those of this package, and those registered by other modules.

    Returns:
        The classes, in the order of registration.

    >>> from chartae.data.kinds import kinds
    >>> [kind.name for kind in kinds()][:4]
    ['images', 'points', 'strings', 'table']
    """
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return tuple(_KINDS.values())


def kind_named(name: str) -> type[Kind]:
    """Look up a kind by its name.

    Args:
        name: name of a kind, such as ``"images"``, ``"table"``, ``"points"`` or ``"strings"``.

    Returns:
        The class.

    Raises:
        ValueError: no kind has this name; the message lists the names.

    >>> from chartae.data.kinds import kind_named
    >>> kind_named("points").noun
    'points'
    """
    table = {kind.name: kind for kind in kinds()}
    if name not in table:
        raise ValueError(f"kind is {name!r}; {one_of(name, table)}")
    return table[name]


def kind_of(x: object) -> type[Kind] | None:
    """Guess the kind of data from their type and dimensions.

    Args:
        x: examples in the user's form, but not a path.

    Returns:
        `Strings` for a list of strings, `Table` for (n, d) numbers, `Images` for 3 or 4 dimensions; None if no kind
        fits. Points are never guessed.

    >>> from chartae.data.kinds import kind_of
    >>> kind_of([[1.0, 2.0], [3.0, 4.0]])
    <class 'chartae.data.kinds.table.Table'>
    """
    return next((kind for kind in kinds() if kind.guessed and kind.takes(x)), None)


def shape_of(x: object) -> tuple[int, ...] | None:
    """Shape of an array, tensor, data frame or list of numbers; None if the rows of a list differ in length."""
    if isinstance(x, Tensor):
        return tuple(x.shape)
    if isinstance(x, list | tuple) and x and isinstance(x[0], Tensor):
        shapes = {shape_of(tensor) for tensor in x}
        first = shapes.pop()
        return None if shapes or first is None else (len(x), *first)
    if not is_array_like(x):
        return ()
    try:
        return tuple(np.shape(cast(ArrayLike, x)))
    except (ValueError, TypeError):
        return None


def dimensions(x: object) -> int:
    """Number of dimensions of an array, tensor, data frame or list of numbers; -1 if the rows differ in length."""
    shape = shape_of(x)
    return -1 if shape is None else len(shape)


def _type_and_shape(x: object) -> str:
    shape = shape_of(x) or ()
    return f"a {type(x).__name__} of shape {shape}" if len(shape) > 1 else f"a {type(x).__name__}"
