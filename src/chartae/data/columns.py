"""The columns of a table: their names and types, and conversion between pandas data frames and numbers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from chartae.data.foreign import is_foreign, is_foreign_frame
from chartae.data.items import is_items, items_of
from chartae.records.files import quoted

__all__ = [
    "Columns", "Frame", "as_frame", "frame_columns", "frame_of", "frame_values", "index_note", "is_frame", "is_index",
]  # fmt: skip

#: names by which a column of labels is recognised, where labels are needed
LABEL_COLUMNS = ("label", "target", "class")
#: names by which a column of strings is recognised, the preferred ones first
STRING_COLUMNS = (
    "smiles", "canonical_smiles", "selfies", "string", "strings", "sequence", "expression", "text",
)  # fmt: skip

_PLAIN = re.compile(r"u?int\d+|bool")


#: names, in lower case, of a first column that only names or numbers the rows
_INDEX = ("", "unnamed: 0")


class Frame(Protocol):
    """The part of the interface of a pandas data frame that is used here."""

    @property
    def columns(self) -> Sequence[object]: ...
    @property
    def dtypes(self) -> Iterable[object]: ...
    @property
    def index(self) -> object: ...
    def __len__(self) -> int: ...
    def __getitem__(self, names: Sequence[object]) -> Frame: ...
    def drop(self, *, columns: Sequence[object]) -> Frame: ...
    def set_axis(self, labels: object, *, axis: int) -> Frame: ...
    def astype(self, dtypes: Mapping[object, str]) -> Frame: ...
    def to_numpy(self, dtype: str, *, na_value: float | None) -> NDArray[np.float64]: ...
    def to_csv(self, file: IO[str], *, index: bool, header: bool, lineterminator: str) -> None: ...


@dataclass(frozen=True)
class Columns:
    """Names and types of the columns of a table that was read.

    Attributes:
        names: names in order; empty if the table has none.
        dtypes: pandas' names of their types; empty unless a data frame was read.
        label: name of the column of labels, which is not among `names`; "" if there is none.
        others: names of columns that were left out, which new data may have: dropped ones, and that of weights.
    """

    names: tuple[str | int, ...] = ()
    dtypes: tuple[str, ...] = ()
    label: str | int = ""
    others: tuple[str | int, ...] = ()

    def order(self, names: Sequence[object], source: str) -> list[int]:
        """Positions of these columns among `names`; columns of labels, others and an index are ignored.

        Args:
            names: names of the columns of another table, in any order.
            source: what to call that table in error messages.

        Returns:
            One index into `names` for each of these columns.

        Raises:
            ValueError: a column is missing, unknown or duplicated; the message names it.
        """
        others = [str(name) for name in names]
        fitted = [str(name) for name in self.names]
        duplicated = sorted({name for name in others if others.count(name) > 1})
        missing = [name for name in fitted if name not in others]
        ignored = {str(name) for name in (self.label, *self.others)}
        ignored |= set(others[:1]) if others and is_index(others[0]) else set()
        unknown = [name for name in others if name not in fitted and name not in ignored]
        faults = [
            f"{what}: {', '.join(quoted(column, 100) for column in columns[:20])}{', ...' * (len(columns) > 20)}"
            for what, columns in (("missing", missing), ("unknown", unknown), ("duplicated", duplicated))
            if columns
        ]
        if faults:
            expected = ", ".join(name[:200] for name in fitted[:20]) + ", ..." * (len(fitted) > 20)
            raise ValueError(
                f"{source} has other columns than the {len(fitted)} fitted ones ({'; '.join(faults)}); "
                f"expected {expected}, in any order."
            )
        return [others.index(name) for name in fitted]


def is_index(first: str | int) -> bool:
    """Whether the first column of a table, by its name, only names or numbers the rows."""
    return str(first).strip().lower() in _INDEX


def is_frame(x: object) -> TypeGuard[Frame]:
    """Whether `x` is a pandas data frame. This does not import pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.DataFrame)


def as_frame(x: object) -> object:
    """Convert what is a table with named columns, but no data frame, to one, and a series of text to a list.

    A pandas series of numbers becomes a frame of one column. A list of dictionaries, one dictionary (of columns, or a
    row), a structured NumPy array, and a table of Arrow, polars or Hugging Face become a frame of the same columns. A
    data set of PyTorch becomes the list of its examples. Anything else is returned as it is.

    Args:
        x: anything.

    Raises:
        ImportError: `x` needs pandas, which is not installed.

    >>> from chartae.data.columns import as_frame
    >>> as_frame([[1.0, 2.0]])
    [[1.0, 2.0]]
    """
    if is_items(x):
        return items_of(x).examples
    loaded = sys.modules.get("pandas")
    if loaded is not None and isinstance(x, loaded.Series | loaded.Index):
        if any(isinstance(value, str) for value in x):
            return ["" if value is None or value != value else value for value in x]
        return x.to_frame("0" if x.name is None else x.name)
    if is_foreign_frame(x):
        return x.to_pandas()
    is_rows = isinstance(x, list | tuple) and len(x) > 0 and all(isinstance(row, Mapping) for row in x)
    is_structured = isinstance(x, np.ndarray) and x.dtype.names is not None
    is_row = isinstance(x, Mapping) and all(np.ndim(value) == 0 for value in x.values())
    if not (is_rows or is_structured or (isinstance(x, Mapping) and x and not is_foreign(x))):
        return x
    try:
        import pandas  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            f"pandas is not installed; expected it to read the named columns of a {type(x).__name__}. Run pip install"
            " pandas, or give an array."
        ) from error
    try:
        return pandas.DataFrame([x] if is_row else x)
    except (ValueError, TypeError) as error:  # columns that differ in length, or hold arrays
        raise ValueError(
            f"x is a {type(x).__name__} that is no table: {error}. Expected columns of one number for each row, all of"
            " the same length. For examples and labels, give chartae.data.from_arrays(x, y)."
        ) from error


def frame_columns(frame: Frame, label: str | int = "", others: Sequence[str | int] = ()) -> Columns:
    """Names and types of the columns of a data frame.

    Args:
        frame: pandas data frame.
        label: name of the column that the labels were taken from; "" if there is none.
        others: names of columns that were left out.

    Raises:
        ValueError: two columns have the same name.
        TypeError: a name is neither text nor a whole number.
    """
    names: list[str | int] = []
    for name in frame.columns:
        if not isinstance(name, str | int | np.integer):
            raise TypeError(
                f"the data frame has a column named {quoted(name, 100)}; expected text or a whole number. Rename the "
                "columns, such as frame.columns = frame.columns.map(str)."
            )
        names.append(name if isinstance(name, str) else int(name))
    written = [str(name) for name in names]
    duplicated = sorted({name for name in written if written.count(name) > 1})
    if duplicated:
        raise ValueError(
            f"the data frame has two columns named {', '.join(map(repr, duplicated))}; expected different names"
            " (0 and '0' are one). Rename one of each."
        )
    return Columns(tuple(names), tuple(str(dtype) for dtype in frame.dtypes), label, tuple(others))


def frame_values(frame: Frame) -> NDArray[np.float64]:
    """The numbers (n, d) of a data frame, in float64.

    Raises:
        TypeError: a column is not numeric; the message names it.
        ValueError: values are missing; the message names column and row.
    """
    from pandas.api.types import is_complex_dtype, is_numeric_dtype  # type: ignore[import-untyped, unused-ignore]

    dtypes = list(zip(frame.columns, frame.dtypes, strict=True))
    names = [
        name for name, dtype in dtypes
        if not (is_numeric_dtype(dtype) or str(dtype).startswith("bool")) or is_complex_dtype(dtype)
    ]  # fmt: skip
    other = [(name, str(dtype)) for name, dtype in dtypes if name in names]
    if other:
        first, listed = str(names[0]), ", ".join(f"{quoted(name, 100)} ({dtype})" for name, dtype in other[:20])
        raise TypeError(
            f"the data frame is not numeric in column {listed}; expected numbers. {_remedy(*other[0])} Leave a column"
            f" out with drop={quoted(first, 100)}, or take the labels from it with label={quoted(first, 100)}."
        )
    values = np.asarray(frame.to_numpy("float64", na_value=np.nan))
    missing = np.isnan(values)
    if missing.any():
        count = int(missing.sum())
        row, column = (int(i) for i in np.argwhere(missing)[0])
        raise ValueError(
            f"the data frame has {count} missing value{'s' * (count > 1)}, the first in row {row}, "
            f"column {quoted(frame.columns[column], 100)}; expected none. Drop or impute them, or leave the column out "
            f"with drop={quoted(str(frame.columns[column]), 100)}."
        )
    return values


#: pattern of the name of a dtype -> how to write such a column as numbers
_REMEDIES = {
    r"datetime64|date(32|64)|timestamp|period": "Write {name} as days: frame[{name}].astype('datetime64[s]')"
    ".astype('int64') / 86400.",
    r"timedelta|duration": "Write {name} as seconds: frame[{name}].dt.total_seconds().",
    r"category|interval|dictionary": "Write {name} as one column for each category: pandas.get_dummies(frame,"
    " columns=[{name}]).",
    r"complex": "Give the real and imaginary parts of {name} as two columns.",
    r"object|str|decimal": "If {name} holds numbers: frame[{name}] = pandas.to_numeric(frame[{name}]); if it holds"
    " categories: pandas.get_dummies(frame, columns=[{name}]); pictures are given as a list.",
}


def _remedy(name: object, dtype: str) -> str:
    """How to write a column of this dtype as numbers; a sentence."""
    remedies = (text for pattern, text in _REMEDIES.items() if re.search(pattern, dtype))
    return next(remedies, "Write {name} as numbers.").format(name=quoted(name, 100))


def index_note(frame: Frame) -> list[str]:
    """A sentence about an index that says more than the numbers of the rows, and is no column; [] for others."""
    import pandas  # type: ignore[import-untyped, unused-ignore]

    index = cast("pandas.Index[Any]", frame.index)
    names = [str(name) for name in index.names if name is not None]
    if not names and pandas.api.types.is_integer_dtype(index.dtype):
        return []
    named = f" ({', '.join(names)})" if names else ""
    return [f"The index of the data frame{named} is left out; frame.reset_index() makes it a column."]


def frame_of(values: NDArray[np.float64], columns: Columns) -> Frame:
    """Build a data frame with the names and dtypes of the one that was read.

    Integers are rounded and clipped to the range of their dtype; booleans are thresholded at 0.5.

    Args:
        values: (n, d) numbers.
        columns: names and dtypes of the d columns.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "pandas is not installed; expected it, as the data were read from a data frame. Run pip install pandas."
        ) from error
    values = values.copy()
    for i, dtype in enumerate(columns.dtypes):
        plain = _PLAIN.search(dtype.lower())  # of dtypes such as Int64, int64[pyarrow] and Sparse[bool, False]
        if plain and plain[0] == "bool":
            values[:, i] = values[:, i] >= 0.5
        elif plain:
            info = np.iinfo(plain[0])
            largest = float(info.max)
            if int(largest) > info.max:  # the largest 64-bit integer is not a float64
                largest = float(np.nextafter(largest, 0))
            values[:, i] = values[:, i].round().clip(float(info.min), largest)
    frame: Frame = pandas.DataFrame(values, columns=list(columns.names))
    return frame.astype(dict(zip(columns.names, columns.dtypes, strict=True)))
