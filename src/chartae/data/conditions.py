"""Conditions: the columns that encoder, decoder and density are conditioned on, and how their values are encoded."""

from __future__ import annotations

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

from chartae.records.choices import suggestion
from chartae.records.files import one_line, quoted

__all__ = ["Categories", "Column", "Condition", "ConditionRecord", "Covariate", "Encoded"]

#: a column of whole numbers with at most this many different values is categorical by default
MOST_LABELS = 20
#: a column of more classes than this is an identifier rather than a condition
MOST_CLASSES = 1000
#: number of classes that an error message lists
LISTED = 20

#: value of a class: a whole number, a boolean or text
Label: TypeAlias = int | str


class ColumnRecord(TypedDict):
    """A column as plain values: `classes` and `names` if it is categorical, `mean` and `sd` if it is real."""

    name: str
    classes: NotRequired[list[Label]]
    names: NotRequired[list[str]]
    mean: NotRequired[float]
    sd: NotRequired[float]


class ConditionRecord(TypedDict):
    """A condition as plain values, as in run.toml."""

    columns: list[ColumnRecord]


@runtime_checkable
class _Frame(Protocol):
    """A data frame: named columns."""

    @property
    def columns(self) -> Collection[object]: ...

    def __getitem__(self, name: object) -> object: ...


class Column(ABC):
    """One column of a condition, which encodes values as numbers and decodes them."""

    name: str

    @property
    @abstractmethod
    def entries(self) -> tuple[str, ...]:
        """Names of the w numbers that encode a value, such as ``class=Sandal`` or ``age``."""

    @abstractmethod
    def read(self, values: Sequence[object]) -> Float[np.ndarray, "n w"]:
        """Encode n values as w numbers each; a ValueError names a value that cannot be read."""

    @abstractmethod
    def restore(self, block: Float[Tensor, "n w"]) -> list[Label] | list[float]:
        """Decode numbers into values: the inverse of `read`."""

    @abstractmethod
    def to_dict(self) -> ColumnRecord:
        """Plain values, from which `Condition.from_dict` rebuilds the column."""


@dataclass(frozen=True)
class Categories(Column):
    """A categorical column, encoded as one-hot vectors.

    Args:
        name: name of the column.
        classes: value of each class, in the order of the entries of the one-hot vector.
        names: name of each class; none by default.

    >>> Categories("class", (0, 1), ("cat", "dog")).read(["dog", 0])
    array([[0., 1.],
           [1., 0.]])
    """

    name: str
    classes: tuple[Label, ...]
    names: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """Name of each class in messages: its name if it has one, otherwise its value."""
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
        """Index of the class with this value or name, None if there is none.

        Text is compared with the names first, numbers with the values first. Without an exact match, case is ignored,
        if exactly one class then matches.
        """
        text = _text(value)
        tables = (self._by_name, self._by_value) if isinstance(value, str) else (self._by_value, self._by_name)
        for table in tables:
            if text in table:
                return table[text]
        matches = {k for table in tables for key, k in table.items() if key.casefold() == text.casefold()}
        return matches.pop() if len(matches) == 1 else None

    def read(self, values: Sequence[object]) -> Float[np.ndarray, "n w"]:
        _check_known(self.name, values)
        index: dict[object, int] = {}
        for value in dict.fromkeys(values):
            if (k := self._index(value)) is None:
                raise ValueError(self._unknown(value))
            index[value] = k
        return np.eye(len(self.classes))[[index[value] for value in values]]

    def _unknown(self, value: object) -> str:
        remedy = suggestion(_text(value), self.shown) or "Give one of these."
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
    """A real column, standardised: ``(value - mean) / sd``.

    Args:
        name: name of the column.
        mean: mean of the training values, in their units; default 0.
        sd: standard deviation of the training values, in their units; > 0; default 1.

    >>> Covariate("age", mean=40.0, sd=10.0).read([40, "55"])
    array([[0. ],
           [1.5]])
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
    """The columns that a model is conditioned on, and their encoding as numbers.

    A condition encodes n values as a tensor (n, K): first the one-hot vectors of the categorical columns, then the
    standardised real columns, each in the order of the columns. `Condition.of` fits it to training values; `read`
    encodes new values in the same way.

    Args:
        columns: `Categories` and `Covariate` columns with different names; at least one.

    Raises:
        ValueError: there are no columns, or two have the same name.

    >>> from chartae.data import Condition
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

    # -- fitting -------------------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        values: object,
        *,
        names: Sequence[str] | None = None,
        classes: Sequence[str] | Mapping[str, Sequence[str]] = (),
        categorical: Collection[str] | None = None,
    ) -> Condition:
        """Fit a condition to values, usually those of a training set.

        Args:
            values: one column (n,), k columns (n, k) of numbers or text, a data frame, or a dictionary of columns.
            names: names of the columns; by default those of the frame or the dictionary, otherwise ``condition``, or
                ``condition1``, ``condition2``, ...
            classes: names of the classes of a categorical column whose values are the numbers 0, 1, ...; a dictionary
                of such lists by column if there are several categorical columns.
            categorical: names of the categorical columns; all others are real. By default columns of text, of
                booleans, and of integers with at most 20 different values are categorical.

        Returns:
            The condition, with the classes, means and standard deviations of these values.

        Raises:
            ValueError: values are missing or not finite, labels are unknown (-1), columns do not vary or differ in
                length, or names do not fit the columns.
            TypeError: values are neither numbers, booleans nor text.
        """
        columns = _renamed(_columns(values), names)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name}: {n}" for name, n in lengths.items())
            raise ValueError(f"condition has columns of different lengths ({sizes}); expected one value per example.")
        _check_names("categorical", categorical or (), columns)
        discrete = {name for name, column in columns.items() if _is_categorical(name, column, categorical)}
        class_names = _class_names(classes, discrete)
        return cls(tuple(
            _categories(name, column, class_names.get(name, ())) if name in discrete else _covariate(name, column)
            for name, column in columns.items()
        ))  # fmt: skip

    # -- properties ----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def categories(self) -> tuple[Categories, ...]:
        """The categorical columns."""
        return tuple(column for column in self.columns if isinstance(column, Categories))

    @cached_property
    def _layout(self) -> tuple[Column, ...]:
        """The columns in the order of the tensor: categorical columns first."""
        return (*self.categories, *(column for column in self.columns if column not in self.categories))

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """Names of the K numbers of an encoded value."""
        return tuple(entry for column in self._layout for entry in column.entries)

    @property
    def size(self) -> int:
        """K, the length of an encoded value."""
        return len(self.entries)

    @property
    def discrete(self) -> int:
        """Number of leading entries, out of K, that are one-hot."""
        return sum(len(column.classes) for column in self.categories)

    @property
    def example(self) -> str:
        """One value in the notation of the command line, for error messages."""
        first = {column.name: str(column.restore(torch.zeros(1, len(column.entries)))[0]) for column in self.columns}
        return next(iter(first.values())) if len(first) == 1 else ",".join(f"{k}={v}" for k, v in first.items())

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, values: object, n: int) -> Float[Tensor, "n K"]:
        """Encode values as the tensor that networks and densities take.

        Args:
            values: for each column one value for all rows, or one per row. With one column: a class (its value or its
                name) or a number, or `n` of them. With k columns: a dictionary or data frame of columns, or rows
                (n, k). Text in the notation of the command line, such as ``class=3,age=40``, is one value for all.
            n: number of rows; >= 1.

        Returns:
            (n, K) tensor of torch's default dtype.

        Raises:
            ValueError: the number of values is wrong, a class or column is unknown, or a column or value is missing.
            TypeError: values are neither numbers, booleans nor text.
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
        """Decode an encoded condition (n, K) into values by column: the inverse of `read`."""
        widths = [len(column.entries) for column in self._layout]
        blocks = dict(zip(self._layout, condition.split(widths, 1), strict=True))
        return {column.name: column.restore(blocks[column]) for column in self.columns}

    def _table(self, values: object) -> dict[str, Sequence[object]]:
        """The cells of each column: one value, or one per row."""
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
                f"{'s' * (not single)}: {', '.join(self.names)}. Give one value, such as {self.example!r}, or one per "
                "row."
            )
        return {name: _list(column) for name, column in zip(self.names, rows.T, strict=True)}

    def _pairs(self, text: str) -> dict[str, str]:
        """Parse ``class=3,age=40`` into values by column; for a single column its name may be omitted."""
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

    # -- saving --------------------------------------------------------------------------------------------------------

    def to_dict(self) -> ConditionRecord:
        """Plain values for run.toml or JSON, from which `from_dict` rebuilds the condition."""
        return {"columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, record: ConditionRecord) -> Condition:
        """Rebuild a condition from the plain values that `to_dict` returns.

        Raises:
            ValueError: `record` has other entries than `to_dict` writes.
        """
        try:
            return cls(tuple(map(_column_of, record["columns"])))
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(
                f"condition is {quoted(record)}; expected what Condition.to_dict returned ({one_line(error)})."
            ) from error


def _column_of(record: ColumnRecord) -> Column:
    keys, name = set(record), record["name"]
    if isinstance(name, str) and "classes" in record and keys <= {"name", "classes", "names"}:
        classes, names = tuple(record["classes"]), tuple(record.get("names", ()))
        plain = all(isinstance(c, int | str) for c in classes) and all(isinstance(c, str) for c in names)
        if plain and classes and len(names) in (0, len(classes)):
            return Categories(name, classes, names)
    if isinstance(name, str) and keys == {"name", "mean", "sd"} and 0 < record["sd"] < math.inf:
        return Covariate(name, float(record["mean"]), float(record["sd"]))
    raise ValueError(
        f"condition has a column {quoted(name)} with {quoted(sorted(keys))}; expected name and classes (with a name for"
        " each, or none), or name, "
        "mean and sd above 0. Load it with the version of chartae that wrote it."
    )


# -- values as columns of cells ----------------------------------------------------------------------------------------


class One(tuple[object, ...]):
    """The cell of a column that has one value for all rows."""


def _array(values: object) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.numpy(force=True)
    # dtype=object keeps the numbers of a list that mixes numbers and text
    array = np.array(values, dtype=object) if isinstance(values, list | tuple) else np.asarray(values)
    if array.dtype.kind == "S":
        return array.astype(str)
    if array.dtype.kind not in "biufUOT":
        raise TypeError(f"condition has dtype {array.dtype}; expected numbers, booleans or text. Convert it first.")
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
            f"condition has a column of shape {array.shape}; expected one value per row. Give each column its own name."
        )
    return _list(array) if array.ndim else One(_list(array[None]))


def _items(values: _Frame | Mapping[object, object]) -> Iterator[tuple[str, object]]:
    for name in list(values) if isinstance(values, Mapping) else list(values.columns):
        yield str(name), values[name]


def _columns(values: object) -> dict[str, Sequence[object]]:
    """The columns of the values of a training set, by name."""
    if isinstance(values, _Frame | Mapping):
        return {name: _cells(column) for name, column in _items(values)}
    array = _array(values)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"condition has shape {array.shape}; expected one value (n,) or k values (n, k) per example.")
    columns = [array] if array.ndim == 1 else list(array.T)
    return {f"condition{k + 1 if len(columns) > 1 else ''}": _list(column) for k, column in enumerate(columns)}


def _renamed(columns: dict[str, Sequence[object]], names: Sequence[str] | None) -> dict[str, Sequence[object]]:
    if names is None:
        return columns
    if len(names) != len(columns) or len(set(names)) < len(names):
        raise ValueError(
            f"names is {list(names)}; expected a different name for each column, of which there are {len(columns)}."
        )
    return dict(zip(names, columns.values(), strict=True))


# -- the values of a column --------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """A value as text; the same for 3, 3.0 and "3"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _check_names(what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            remedy = suggestion(name, known) or "Leave it out."
            raise ValueError(f"{what} names a column {name!r}; expected {', '.join(known)}. {remedy}")


def _is_missing(value: object) -> bool:
    """Whether a value is empty text, None, NaN or one of pandas' missing values."""
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
            f"condition column {quoted(name, 200)} "
            f"is missing (NaN or empty){_where(rows, values)}; expected a value in every "
            "row. Leave out these rows, or fill them."
        )
    if unsupported := sorted(kind.__name__ for kind in kinds - {bool, int, float, str}):
        raise TypeError(
            f"condition column {quoted(name, 200)} holds {', '.join(unsupported)}; expected numbers, booleans or text. "
            "Convert it first."
        )


def _check_known(name: str, values: Sequence[object]) -> None:
    """Raise ValueError if a value cannot be a class: it is missing, a fraction, or -1, an unknown label."""
    _check_present(name, values)
    distinct = dict.fromkeys(values)
    if any(_text(value) == "-1" for value in distinct):
        rows = [row for row, value in enumerate(values) if _text(value) == "-1"]
        raise ValueError(
            f"condition column {quoted(name, 200)} "
            f"is -1, an unknown label{_where(rows, values)}; expected a known class in every "
            "row. Leave out the rows without a label."
        )
    fraction = next((value for value in distinct if isinstance(value, float) and not value.is_integer()), None)
    if fraction is not None:
        raise ValueError(
            f"condition column {quoted(name, 200)} holds {fraction!r}; expected a class: a whole number or text. "
            f"Leave {name!r} out of categorical if the column is real."
        )


def _numbers(name: str, values: Sequence[object]) -> Float[np.ndarray, " n"]:
    """Convert values to finite numbers; text, as from the command line, is parsed."""
    _check_present(name, values)
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        assert isinstance(value, int | float | str)
        try:
            numbers[row] = float(value)
        except ValueError:
            raise ValueError(f"condition column {quoted(name, 200)} is {value!r}; expected a number.") from None
        if not math.isfinite(numbers[row]):
            raise ValueError(
                f"condition column {quoted(name, 200)} is {value!r} in row {row}; expected a finite number. "
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
            f"condition column {quoted(name, 200)} "
            f"mixes text and numbers; expected one type. Convert it to text to have classes."
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
            f"classes is a list of {len(classes)} names; expected a dictionary of lists, as {len(columns)} columns "
            "are categorical. Give the names by column, such as {'class': [...]}."
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
            f"condition column {quoted(name, 200)} "
            f"has one class, {classes[0]!r}; expected at least 2. Leave the column out."
        )
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"condition column {quoted(name, 200)} "
            f"has {len(classes)} classes; expected at most {MOST_CLASSES}. Leave the column "
            "out, or group its classes."
        )
    if not names:
        return Categories(name, classes)
    numbers = [value for value in classes if isinstance(value, int) and 0 <= value < len(names)]
    if len(numbers) < len(classes):
        unnamed = next(value for value in classes if value not in numbers)
        raise ValueError(
            f"condition column {quoted(name, 200)} "
            f"holds {unnamed!r}; expected numbers from 0 to {len(names) - 1}, as classes has "
            f"{len(names)} names. Leave classes out, or name all of them."
        )
    return Categories(name, classes, tuple(str(names[k]) for k in numbers))


def _covariate(name: str, values: Sequence[object]) -> Covariate:
    numbers = _numbers(name, values)
    sd = float(numbers.std())
    if not sd > 0:
        raise ValueError(
            f"condition column {quoted(name, 200)} "
            f"is {numbers[0]:g} in all {len(numbers)} rows; expected values that vary. "
            "Leave the column out."
        )
    return Covariate(name, float(numbers.mean()), sd)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Conditions that are already encoded, as `Condition.read` returns them.

    Args:
        rows: (n, K) tensor of encoded conditions.

    >>> from chartae.data import Condition, Encoded
    >>> condition = Condition.of(["cat", "dog", "cat"])
    >>> encoded = Encoded(condition.read("dog", 5))
    >>> len(encoded), encoded.rows.shape
    (5, torch.Size([5, 2]))
    """

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)
