"""Conditions: which columns encoder, decoder and density are conditioned on, and how their values are read."""

from __future__ import annotations

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NotRequired, Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Categories", "Column", "Condition", "ConditionRecord", "Covariate", "Encoded"]

#: whole numbers with at most so many different values are read as labels
MOST_LABELS = 20
#: a column of more classes than this is an identifier rather than a condition
MOST_CLASSES = 1000
#: a message lists at most so many classes
LISTED = 20

#: the value of a class: a whole number, a truth value or text
Label: TypeAlias = int | str


class ColumnRecord(TypedDict):
    """A column as plain values: `classes` (and their `names`) of a categorical one, `mean` and `sd` of a real one."""

    name: str
    classes: NotRequired[list[Label]]
    names: NotRequired[list[str]]
    mean: NotRequired[float]
    sd: NotRequired[float]


class ConditionRecord(TypedDict):
    """A condition as plain values, as they stand in run.toml."""

    columns: list[ColumnRecord]


@runtime_checkable
class _Frame(Protocol):
    """A data frame: named columns."""

    @property
    def columns(self) -> Collection[object]: ...

    def __getitem__(self, name: object) -> object: ...


class Column(ABC):
    """One column of a condition, and how its values become numbers that a net reads."""

    name: str

    @property
    @abstractmethod
    def entries(self) -> tuple[str, ...]:
        """A name for each number that the column becomes, such as ``class=Sandal`` or ``age``."""

    @abstractmethod
    def read(self, values: Sequence[object]) -> Float[np.ndarray, "n w"]:
        """The numbers of each value; a ValueError says which value cannot be read."""

    @abstractmethod
    def restore(self, block: Float[Tensor, "n w"]) -> list[Label] | list[float]:
        """The values that `read` turned into these numbers."""

    @abstractmethod
    def to_dict(self) -> ColumnRecord:
        """Plain values, from which `Condition.from_dict` makes the column again."""


@dataclass(frozen=True)
class Categories(Column):
    """A categorical column, read as one-hot vectors.

    Args:
        name: of the column.
        classes: the value of each class, in the order of the one-hot vector's entries.
        names: a name for each class; none by default.
    """

    name: str
    classes: tuple[Label, ...]
    names: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """What each class is called in messages: its name where it has one, otherwise its value."""
        return self.names or tuple(map(_text, self.classes))

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={label}" for label in self.shown)

    @cached_property
    def _by_value(self) -> dict[str, int]:
        return {_text(value): k for k, value in enumerate(self.classes)}

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}

    def _index(self, value: object) -> int | None:
        """The class that a value names, None where there is none: text by name first, numbers by value first."""
        text = _text(value)
        tables = (self._by_name, self._by_value) if isinstance(value, str) else (self._by_value, self._by_name)
        for table in tables:
            if text in table:
                return table[text]
        alike = {k for table in tables for key, k in table.items() if key.casefold() == text.casefold()}
        return alike.pop() if len(alike) == 1 else None

    def read(self, values: Sequence[object]) -> Float[np.ndarray, "n w"]:
        _check_known(self.name, values)
        index: dict[object, int] = {}
        for value in dict.fromkeys(values):
            if (k := self._index(value)) is None:
                raise ValueError(self._unknown(value))
            index[value] = k
        return np.eye(len(self.classes))[[index[value] for value in values]]

    def _unknown(self, value: object) -> str:
        near = {label.casefold(): label for label in self.shown}
        close = difflib.get_close_matches(_text(value).casefold(), near, 1)
        remedy = f"Did you mean {near[close[0]]!r}?" if close else "Give one of these."
        return f"condition is {value!r}; expected a class of {self.name!r}: {_listed(self.shown)}. {remedy}"

    def restore(self, block: Float[Tensor, "n w"]) -> list[Label]:
        return [self.classes[k] for k in block.argmax(1).tolist()]

    def to_dict(self) -> ColumnRecord:
        record: ColumnRecord = {"name": self.name, "classes": list(self.classes)}
        return {**record, "names": list(self.names)} if self.names else record

    def __str__(self) -> str:
        return f"{self.name} ({len(self.classes)} classes)"


@dataclass(frozen=True)
class Covariate(Column):
    """A real column, standardised: (value - mean) / sd.

    Args:
        name: of the column.
        mean, sd: of the values it was made of, in their units.
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, values: Sequence[object]) -> Float[np.ndarray, "n w"]:
        numbers = _numbers(self.name, values)
        return (numbers[:, None] - self.mean) / self.sd

    def restore(self, block: Float[Tensor, "n w"]) -> list[float]:
        return (block[:, 0].double() * self.sd + self.mean).tolist()

    def to_dict(self) -> ColumnRecord:
        return {"name": self.name, "mean": self.mean, "sd": self.sd}

    def __str__(self) -> str:
        return f"{self.name} (real, mean {self.mean:.4g}, sd {self.sd:.4g})"


@dataclass(frozen=True)
class Condition:
    """Which columns a model is conditioned on; it reads new values as it read those it was made of.

    A condition becomes a tensor (n, K): the one-hot vectors of all categorical columns, in the order of the columns,
    then the standardised real columns.

    Args:
        columns: `Categories` and `Covariate` columns, of different names.

    Raises:
        ValueError: no columns, or two of the same name.

    >>> condition = Condition.of({"class": ["cat", "dog", "cat"], "age": [1.0, 2.0, 3.0]})
    >>> condition.size, condition.discrete, condition.entries
    (3, 2, ('class=cat', 'class=dog', 'age'))
    >>> condition.read("class=dog,age=2", 2)
    tensor([[0., 1., 0.],
            [0., 1., 0.]]...)
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("condition has no columns; expected at least one. Leave condition out to have none.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"condition has columns {', '.join(self.names)}; expected different names. Rename one.")

    # -- made of values ------------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        values: object,
        *,
        names: Sequence[str] | None = None,
        classes: Sequence[str] | Mapping[str, Sequence[str]] = (),
        categorical: Collection[str] | None = None,
    ) -> Condition:
        """The condition that some values are read by: of a training set, usually.

        Args:
            values: one column (n,), several (n, k) of numbers or text, a data frame, or a dictionary of columns.
            names: of the columns; by default those of a frame or a dictionary, otherwise ``condition``, or
                ``condition1``, ``condition2``, ...
            classes: names of the classes of the categorical column, where its values are their numbers from 0; of
                several such columns, a dictionary by column.
            categorical: the names of the categorical columns, all others being real. By default text, truth values and
                whole numbers (of integer type) with at most 20 different values are categorical.

        Returns:
            The condition, with the classes, means and standard deviations of these values.

        Raises:
            ValueError: values that are missing or not finite, labels that are unknown (-1), columns that do not vary or
                whose lengths differ, or names that do not fit the columns.
            TypeError: values that are neither numbers, truth values nor text.
        """
        columns = _renamed(_columns(values), names)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name}: {n}" for name, n in lengths.items())
            raise ValueError(f"condition has columns of different lengths ({sizes}); expected one value an example.")
        _check_names("categorical", categorical or (), columns)
        of_classes = {name for name, column in columns.items() if _is_categorical(name, column, categorical)}
        named = _class_names(classes, of_classes)
        return cls(tuple(
            _categories(name, column, named.get(name, ())) if name in of_classes else _covariate(name, column)
            for name, column in columns.items()
        ))  # fmt: skip

    # -- what it looks like --------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def categories(self) -> tuple[Categories, ...]:
        """The categorical columns."""
        return tuple(column for column in self.columns if isinstance(column, Categories))

    @cached_property
    def _layout(self) -> tuple[Column, ...]:
        """The columns in the order of the tensor: categorical ones first."""
        return (*self.categories, *(column for column in self.columns if column not in self.categories))

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """A name for each of the K numbers of the tensor."""
        return tuple(entry for column in self._layout for entry in column.entries)

    @property
    def size(self) -> int:
        """K, how many numbers a condition becomes."""
        return len(self.entries)

    @property
    def discrete(self) -> int:
        """How many of the K numbers, the first ones, are one-hot."""
        return sum(len(column.classes) for column in self.categories)

    @property
    def example(self) -> str:
        """One value, as the command line takes it."""
        first = {column.name: str(column.restore(torch.zeros(1, len(column.entries)))[0]) for column in self.columns}
        return next(iter(first.values())) if len(first) == 1 else ",".join(f"{k}={v}" for k, v in first.items())

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, values: object, n: int) -> Float[Tensor, "n K"]:
        """Values as the tensor that nets and densities take.

        Args:
            values: one value for all, or one a draw, of each column. With one column: a class (its value or its name)
                or a number, or `n` of them. With several: a dictionary or data frame of columns, or rows (n, k). Text
                such as ``class=3,age=40`` is read as the command line gives it.
            n: the number of draws; at least 1.

        Returns:
            (n, K), in torch's default dtype.

        Raises:
            ValueError: a wrong number of values, an unknown class or column, a missing column or value.
            TypeError: values that are neither numbers, truth values nor text.
        """
        table = self._table(values)
        _check_names("condition", table, self.names)
        if missing := [name for name in self.names if name not in table]:
            raise ValueError(
                f"condition has no column {', '.join(map(repr, missing))}; expected {', '.join(self.names)}. "
                f"Give each a value, such as {self.example!r}."
            )
        blocks = []
        for column in self._layout:
            cells = table[column.name]
            if not isinstance(cells, One) and len(cells) != n:
                raise ValueError(
                    f"condition has {len(cells)} value{'s' * (len(cells) != 1)}; expected one for all {n} rows, or "
                    f"{n}, one for each. Give a single value, such as {self.example!r}, or {len(cells)} rows."
                )
            block = column.read(cells)
            blocks.append(np.broadcast_to(block, (n, block.shape[1])))
        return torch.as_tensor(np.concatenate(blocks, 1), dtype=torch.get_default_dtype())

    def restore(self, condition: Float[Tensor, "n K"]) -> dict[str, list[Label] | list[float]]:
        """The values of each column that `read` turned into this tensor."""
        widths = [len(column.entries) for column in self._layout]
        blocks = dict(zip(self._layout, condition.split(widths, 1), strict=True))
        return {column.name: column.restore(blocks[column]) for column in self.columns}

    def _table(self, values: object) -> dict[str, Sequence[object]]:
        """The cells of each column: one value, or one a draw."""
        if values is None:
            raise ValueError(f"condition is None; expected {self}. Give a value, such as {self.example!r}.")
        if isinstance(values, str):
            return {name: One((text,)) for name, text in self._pairs(values).items()}
        if isinstance(values, _Frame | Mapping):
            return {name: _cells(column) for name, column in _items(values)}
        array = _array(values)
        single = len(self.columns) == 1
        if array.ndim == 0 and single:
            return {self.names[0]: _cells(values)}
        rows = array[:, None] if array.ndim == 1 and single else array
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ValueError(
                f"condition has shape {array.shape}; expected {len(self.columns)} column"
                f"{'s' * (not single)}: {', '.join(self.names)}. Give a value, such as {self.example!r}, or one a draw."
            )
        return {name: _list(column) for name, column in zip(self.names, rows.T, strict=True)}

    def _pairs(self, text: str) -> dict[str, str]:
        """Values by column of ``class=3,age=40``; of a single column the value alone will do."""
        names = "|".join(sorted(map(re.escape, self.names), key=len, reverse=True))
        first, *parts = re.split(rf"(?:^|,)\s*({names})\s*=", text)
        if parts and not first.strip():
            keys, cells = parts[::2], [part.strip() for part in parts[1::2]]
            if len(set(keys)) < len(keys):
                raise ValueError(f"condition is {text!r}; expected one value for each column. Name each column once.")
            return dict(zip(keys, cells, strict=True))
        if len(self.columns) == 1:
            return {self.names[0]: text.strip()}
        raise ValueError(
            f"condition is {text!r}; expected a value for each of {', '.join(self.names)}. "
            f"Write it as {self.example!r}."
        )

    # -- kept ----------------------------------------------------------------------------------------------------------

    def to_dict(self) -> ConditionRecord:
        """Plain values for run.toml or JSON, from which `from_dict` makes the condition again."""
        return {"columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, record: ConditionRecord) -> Condition:
        """The condition that `to_dict` wrote.

        Raises:
            ValueError: values that `to_dict` does not write.
        """
        return cls(tuple(map(_column_of, record["columns"])))


def _column_of(record: ColumnRecord) -> Column:
    keys = set(record)
    if "classes" in record and keys <= {"name", "classes", "names"}:
        classes, names = tuple(record["classes"]), tuple(record.get("names", ()))
        if classes and len(names) in (0, len(classes)):
            return Categories(record["name"], classes, names)
    if keys == {"name", "mean", "sd"} and record["sd"] > 0:
        return Covariate(record["name"], float(record["mean"]), float(record["sd"]))
    raise ValueError(
        f"condition has a column {dict(record)}; expected name and classes (with a name for each, or none), or name, "
        "mean and sd above 0. Load it with the version of chartae that wrote it."
    )


# -- values as columns of cells ----------------------------------------------------------------------------------------


class One(tuple[object, ...]):
    """The cell of a column that has one value for all draws."""


def _array(values: object) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.numpy(force=True)
    # as objects, numbers beside text stay numbers
    array = np.array(values, dtype=object) if isinstance(values, list | tuple) else np.asarray(values)
    if array.dtype.kind == "S":
        return array.astype(str)
    if array.dtype.kind not in "biufUOT":
        raise TypeError(f"condition has dtype {array.dtype}; expected numbers, truth values or text. Convert it first.")
    return array


def _list(array: np.ndarray) -> list[object]:
    return [value.item() if isinstance(value, np.generic) else value for value in array.tolist()]


def _cells(values: object) -> Sequence[object]:
    """One cell, or a list of them."""
    array = _array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim > 1:
        raise ValueError(
            f"condition has a column of shape {array.shape}; expected one value a row. Name each column by itself."
        )
    return _list(array) if array.ndim else One(_list(array[None]))


def _items(values: _Frame | Mapping[object, object]) -> Iterator[tuple[str, object]]:
    for name in list(values) if isinstance(values, Mapping) else list(values.columns):
        yield str(name), values[name]


def _columns(values: object) -> dict[str, Sequence[object]]:
    """The columns of a training set's values."""
    if isinstance(values, _Frame | Mapping):
        return {name: _cells(column) for name, column in _items(values)}
    array = _array(values)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"condition has shape {array.shape}; expected one value (n,), or k values (n, k), an example.")
    columns = [array] if array.ndim == 1 else list(array.T)
    return {f"condition{k + 1 if len(columns) > 1 else ''}": _list(column) for k, column in enumerate(columns)}


def _renamed(columns: dict[str, Sequence[object]], names: Sequence[str] | None) -> dict[str, Sequence[object]]:
    if names is None:
        return columns
    if len(names) != len(columns) or len(set(names)) < len(names):
        raise ValueError(
            f"names is {list(names)}; expected {len(columns)} different ones, as there are {len(columns)} columns. "
            "Name each column once."
        )
    return dict(zip(names, columns.values(), strict=True))


# -- a column's values -------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """The text of a value, the same for 3, 3.0 and "3"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _check_names(what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            remedy = f"Did you mean {close[0]!r}?" if close else "Leave it out."
            raise ValueError(f"{what} names a column {name!r}; expected {', '.join(known)}. {remedy}")


def _is_missing(value: object) -> bool:
    """Empty text, None, NaN and the missing values of pandas."""
    if isinstance(value, float | str):
        return value != value or value == ""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _where(rows: Sequence[int], values: Sequence[object]) -> str:
    return f" in {len(rows)} of {len(values)} rows (first: row {rows[0]})" if len(values) > 1 else ""


def _check_present(name: str, values: Sequence[object]) -> None:
    kinds = set(map(type, values))
    rows = [row for row, value in enumerate(values) if _is_missing(value)] if kinds - {bool, int} else []
    if rows:
        raise ValueError(
            f"condition column {name!r} is missing (NaN or empty){_where(rows, values)}; expected a value in every "
            "row. Leave out these rows, or fill them."
        )
    if strange := sorted(kind.__name__ for kind in kinds - {bool, int, float, str}):
        raise TypeError(
            f"condition column {name!r} holds {', '.join(strange)}; expected numbers, truth values or text. "
            "Convert it first."
        )


def _check_known(name: str, values: Sequence[object]) -> None:
    """That values can name classes: none is missing, a fraction, or -1, which marks an unknown label."""
    _check_present(name, values)
    distinct = dict.fromkeys(values)
    if any(_text(value) == "-1" for value in distinct):
        rows = [row for row, value in enumerate(values) if _text(value) == "-1"]
        raise ValueError(
            f"condition column {name!r} is -1, an unknown label{_where(rows, values)}; expected a known class in every "
            "row. Leave out the rows without a label."
        )
    fraction = next((value for value in distinct if isinstance(value, float) and not value.is_integer()), None)
    if fraction is not None:
        raise ValueError(
            f"condition column {name!r} holds {fraction!r}; expected a class: a whole number or text. "
            f"Leave {name!r} out of categorical if the column is real."
        )


def _numbers(name: str, values: Sequence[object]) -> Float[np.ndarray, " n"]:
    """Values as finite numbers; text is read as such, as on the command line."""
    _check_present(name, values)
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        assert isinstance(value, int | float | str)
        try:
            numbers[row] = float(value)
        except ValueError:
            raise ValueError(f"condition column {name!r} is {value!r}; expected a number. Give one.") from None
        if not math.isfinite(numbers[row]):
            raise ValueError(
                f"condition column {name!r} is {value!r} in row {row}; expected a finite number. "
                "Leave out this row, or replace the value."
            )
    return numbers


def _is_categorical(name: str, values: Sequence[object], categorical: Collection[str] | None) -> bool:
    if categorical is not None:
        return name in categorical
    _check_present(name, values)
    kinds = {type(value) for value in values}
    if str in kinds and len(kinds) > 1:
        raise TypeError(
            f"condition column {name!r} mixes text with numbers; expected one of them. Convert it to text to have "
            "classes."
        )
    return kinds in ({str}, {bool}) or (kinds == {int} and len(set(values)) <= MOST_LABELS)


def _class_names(
    classes: Sequence[str] | Mapping[str, Sequence[str]], columns: Collection[str]
) -> Mapping[str, Sequence[str]]:
    if isinstance(classes, Mapping):
        _check_names("classes", classes, columns)
        return classes
    if not classes:
        return {}
    if len(columns) != 1:
        raise ValueError(
            f"classes is a list of {len(classes)} names, but {len(columns)} columns are categorical; expected a "
            "dictionary of lists. Give the names by column, such as {'class': [...]}."
        )
    return {next(iter(columns)): classes}


def _categories(name: str, values: Sequence[object], names: Sequence[str]) -> Categories:
    _check_known(name, values)
    distinct = {int(value) if isinstance(value, float) else value for value in values}
    labels = [value for value in distinct if isinstance(value, int | str)]
    if len({isinstance(value, str) for value in labels}) > 1:
        labels = [_text(value) for value in labels]
    classes = tuple(sorted(set(labels), key=lambda value: (isinstance(value, str), value)))
    if len(classes) < 2:
        raise ValueError(
            f"condition column {name!r} has one class, {classes[0]!r}; expected at least 2. Leave the column out."
        )
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"condition column {name!r} has {len(classes)} classes; expected at most {MOST_CLASSES}. Leave the column "
            "out, or group its classes."
        )
    if not names:
        return Categories(name, classes)
    numbers = [value for value in classes if isinstance(value, int) and 0 <= value < len(names)]
    if len(numbers) < len(classes):
        strange = next(value for value in classes if value not in numbers)
        raise ValueError(
            f"condition column {name!r} holds {strange!r}, but classes names {len(names)}; expected numbers from 0 to "
            f"{len(names) - 1}. Leave classes out, or name all of them."
        )
    return Categories(name, classes, tuple(str(names[k]) for k in numbers))


def _covariate(name: str, values: Sequence[object]) -> Covariate:
    numbers = _numbers(name, values)
    sd = float(numbers.std())
    if not sd > 0:
        raise ValueError(
            f"condition column {name!r} is {numbers[0]:g} in all {len(numbers)} rows; expected values that vary. "
            "Leave the column out."
        )
    return Covariate(name, float(numbers.mean()), sd)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Conditions that were read already, as `Condition.read` gives them.

    Attributes:
        rows: (n, K).
    """

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)
