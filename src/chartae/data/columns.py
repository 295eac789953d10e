"""The columns of a table: their names and types, and pandas data frames to numbers and back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

__all__ = ["Columns", "Frame", "frame_columns", "frame_of", "frame_values", "is_frame"]

#: columns that are taken for labels, where a file has one of them
LABEL_COLUMNS = ("label", "target", "class", "y")


class Frame(Protocol):
    """What is used of a pandas data frame."""

    @property
    def columns(self) -> Sequence[object]: ...
    @property
    def dtypes(self) -> Iterable[object]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, names: Sequence[object]) -> Frame: ...
    def drop(self, *, columns: Sequence[object]) -> Frame: ...
    def astype(self, dtypes: Mapping[object, str]) -> Frame: ...
    def to_numpy(self, dtype: str, *, na_value: float) -> NDArray[np.float64]: ...
    def to_csv(self, path: str, *, index: bool) -> None: ...
    def to_parquet(self, path: str, *, index: bool) -> None: ...


@dataclass(frozen=True)
class Columns:
    """What a reader knows of the columns of a table.

    Attributes:
        names: names in order; empty where the table has none.
        dtypes: pandas' names of their types; empty unless a data frame was read.
        label: name of the column that held the labels, which is not among `names`; "" if there was none.
    """

    names: tuple[str | int, ...] = ()
    dtypes: tuple[str, ...] = ()
    label: str | int = ""

    def order(self, names: Sequence[object], source: str) -> list[int]:
        """Where each of these columns stands among `names`; the column of the labels may be there too.

        Args:
            names: names of the columns of another table.
            source: what to call that table in errors.

        Raises:
            ValueError: a column is missing, superfluous, or there twice; the message names it.
        """
        there = [str(name) for name in names]
        wanted = [str(name) for name in self.names]
        twice = sorted({name for name in there if there.count(name) > 1})
        missing = [name for name in wanted if name not in there]
        extra = [name for name in there if name not in wanted and name != str(self.label)]
        faults = [
            f"{what}: {', '.join(map(repr, columns))}"
            for what, columns in (("missing", missing), ("unknown", extra), ("twice", twice))
            if columns
        ]
        if faults:
            raise ValueError(
                f"{source} has other columns than the {len(wanted)} that were fitted ({'; '.join(faults)}); "
                f"give {', '.join(wanted[:20])}{', ...' if len(wanted) > 20 else ''}, in any order"
            )
        return [there.index(name) for name in wanted]


def is_frame(x: object) -> TypeGuard[Frame]:
    """Whether `x` is a pandas data frame; pandas is not imported for it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.DataFrame)


def frame_columns(frame: Frame, label: str | int = "") -> Columns:
    """Names and types of the columns of a data frame.

    Raises:
        ValueError: two columns have one name.
        TypeError: a name is neither text nor a whole number.
    """
    names: list[str | int] = []
    for name in frame.columns:
        if not isinstance(name, str | int | np.integer):
            raise TypeError(
                f"the data frame has a column named {name!r}; expected text or a whole number. Rename the columns, "
                "such as frame.columns = [...]"
            )
        names.append(name if isinstance(name, str) else int(name))
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the data frame has two columns named {', '.join(map(repr, twice))}; rename one of each")
    return Columns(tuple(names), tuple(str(dtype) for dtype in frame.dtypes), label)


def frame_values(frame: Frame) -> NDArray[np.float64]:
    """The numbers (n, d) of a data frame, in float64.

    Raises:
        TypeError: columns that are not numeric; the message names them.
        ValueError: missing values; the message names column and row.
    """
    from pandas.api.types import is_complex_dtype, is_numeric_dtype  # type: ignore[import-untyped, unused-ignore]

    dtypes = list(zip(frame.columns, frame.dtypes, strict=True))
    other = [f"{name!r} ({t})" for name, t in dtypes if not is_numeric_dtype(t) or is_complex_dtype(t)]
    if other:
        raise TypeError(f"not numeric: column {', '.join(other[:20])}; encode these columns as numbers, or drop them")
    values = np.asarray(frame.to_numpy("float64", na_value=np.nan))
    missing = np.isnan(values)
    if missing.any():
        row, column = (int(i) for i in np.argwhere(missing)[0])
        raise ValueError(
            f"{missing.sum()} missing value{'s' * bool(missing.sum() > 1)} in the data frame, the first in row {row}, "
            f"column {frame.columns[column]!r}; drop or impute"
        )
    return values


def frame_of(values: NDArray[np.float64], columns: Columns) -> Frame:
    """A data frame of the types that were read: whole numbers and truth values are rounded, and cut to their range.

    Args:
        values: (n, d) numbers.
        columns: with `dtypes`.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "the data were read from a data frame, and writing one needs pandas: pip install pandas"
        ) from error
    values = values.copy()
    for i, dtype in enumerate(columns.dtypes):
        if dtype.lower() in ("bool", "boolean"):
            values[:, i] = values[:, i] >= 0.5
        elif dtype.lower().startswith(("int", "uint")):
            info = np.iinfo(dtype.lower())
            largest = float(info.max)
            if int(largest) > info.max:  # the largest of 64 bits is no float64
                largest = float(np.nextafter(largest, 0))
            values[:, i] = values[:, i].round().clip(float(info.min), largest)
    frame: Frame = pandas.DataFrame(values, columns=list(columns.names))
    return frame.astype(dict(zip(columns.names, columns.dtypes, strict=True)))
