"""Read tables of numbers from files: CSV and its relatives, and parquet."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chartae.data.columns import LABEL_COLUMNS, STRING_COLUMNS, Columns, is_index
from chartae.data.contents import Contents, Part
from chartae.data.doubts import doubts
from chartae.data.headers import is_missing
from chartae.data.labels import known_labels
from chartae.data.notes import guess
from chartae.data.options import Reading
from chartae.data.text import TextTable
from chartae.records.files import quoted

__all__ = ["TABLE_READERS", "Roles", "roles", "weights_of"]

_WHOLE = re.compile(r"[-+]?\d+")
_TRUTH = {"true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
#: what a cell that is no number may be -> its pattern
_NOTATIONS = {
    "a percent sign": re.compile(r"[-+]?[\d.,]+\s*%"),
    "a currency": re.compile(r"[-+]?([$€£¥₹]|[A-Z]{3}\s)\s*[-+]?[\d.,']+|[-+]?[\d.,']+\s*([$€£¥₹]|[A-Z]{3})"),
    "a thousands separator": re.compile(r"[-+]?[1-9]\d{0,2}([,.' \u00a0\u202f]\d{3})+([.,]\d+)?"),
    "a decimal comma": _DECIMAL_COMMA,
    "a date": re.compile(r"\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d{2,4}.*"),
}
_IN_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True)
class Roles:
    """Which columns of a table hold what, by their numbers.

    Attributes:
        features: columns of the examples.
        label: column of the labels; None without one.
        weight: column of the weights; None without one.
        index: column that is left out as it only names or numbers the rows; None without one.
        dropped: columns that are left out on request.
        notes: what was decided, in sentences.
    """

    features: tuple[int, ...]
    label: int | None = None
    weight: int | None = None
    index: int | None = None
    dropped: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def decided(self, names: Sequence[str | int], reading: Reading) -> Reading:
        """The options for reading with the names of the columns of labels and of those to leave out."""
        drop = tuple(names[i] for i in self.dropped)
        return replace(reading, label="" if self.label is None else names[self.label], drop=drop or None)

    def columns(self, names: Sequence[str | int], named: bool, dtypes: Sequence[str] = ()) -> Columns:
        """Names and types of the features, and which other columns new data may have."""
        features = [names[i] for i in self.features]
        unique = named and len({str(name) for name in features}) == len(features)
        others = [names[i] for i in (*self.dropped, self.weight) if i is not None]
        return Columns(
            tuple(features) if unique else (), tuple(dtypes), "" if self.label is None else names[self.label],
            tuple(others) if unique else (),
        )  # fmt: skip


def roles(names: Sequence[str | int], reading: Reading, source: str) -> Roles:
    """Which columns of a table hold what.

    Args:
        names: names of the columns.
        reading: options for reading: label, weight, drop; and whether these columns may be missing.
        source: what to call the table in messages.

    Raises:
        ValueError: a column is missing, or named twice, or no feature is left.
    """
    lower = [str(name).strip().lower() for name in names]
    notes: list[str] = []
    required = not reading.optional

    def position(option: str, name: str | int, needed: bool) -> int | None:
        key = str(name).strip().lower()
        if list(names).count(name) == 1:
            return list(names).index(name)
        if lower.count(key) > 1:
            raise ValueError(
                f"{option} is {quoted(name)}, the name of {lower.count(key)} columns of {source}. Rename one."
            )
        if key in lower:
            return lower.index(key)
        if needed:
            listed = ", ".join(map(str, names))[:200]
            raise ValueError(f"{option} is {quoted(name)}; expected a column of {source}: {listed}.")
        return None

    label = None
    if isinstance(reading.label, tuple):
        label = next((lower.index(name) for name in reading.label if name in lower), None)
        if label is not None:
            notes.append(f"Column {quoted(names[label])} holds the labels; give label='' if it does not.")
    elif reading.label not in (None, ""):
        label = position("label", reading.label, required)
    weight = position("weight", reading.weight, required) if reading.weight else None
    dropped = [position("drop", name, required) for name in _apart(reading.drop or (), lower)]
    chosen = [i for i in (label, weight, *dropped) if i is not None]
    if len(set(chosen)) < len(chosen):
        double = next(names[i] for i in chosen if chosen.count(i) > 1)
        raise ValueError(
            f"column {quoted(double)} is named twice in label, weight and drop; expected different columns."
        )
    index = 0 if len(names) > 1 and 0 not in chosen and is_index(lower[0]) else None
    if index is not None:
        notes.append("The first column has no name and is left out, as an index.")
    features = tuple(i for i in range(len(names)) if i not in chosen and i != index)
    if not features:
        besides = " but those of labels, weights and what is left out" if names else ""
        raise ValueError(f"{source} has no columns{besides}; expected at least one column of numbers.")
    for i in features:
        if reading.label is None and lower[i] in LABEL_COLUMNS:
            notes.append(
                f"Column {quoted(names[i])} is read as a feature; give label={quoted(str(names[i]))} if it"
                f" holds labels."
            )
    return Roles(features, label, weight, index, tuple(sorted(i for i in dropped if i is not None)), tuple(notes))


def _apart(drop: Sequence[str | int], lower: Sequence[str]) -> Iterator[str | int]:
    """The names of columns to leave out; several in one text are separated by commas, if no column has that name."""
    for name in drop:
        parts = str(name).split(",")
        several = str(name).strip().lower() not in lower and all(part.strip().lower() in lower for part in parts)
        yield from parts if several else [name]


@dataclass
class _Cells:
    """Reads the cells that `float` cannot, and remembers what is wrong with a file.

    Attributes:
        names: names of the columns.
        comma: whether a comma inside of a cell may be a decimal comma, as it does not separate cells.
        new: whether the rows are new data, whose columns cannot be chosen by options.
    """

    names: Sequence[str]
    comma: bool
    new: bool = False
    text: dict[int, tuple[int, str]] = field(default_factory=dict)
    notations: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    missing: list[tuple[int, int]] = field(default_factory=list)
    decimals: list[tuple[int, int, str]] = field(default_factory=list)
    surely: bool = False
    points: tuple[int, str] | None = None

    def number(self, line: int, column: int, cell: str) -> float:
        """The number in a cell; NaN if it has none."""
        cell = cell.strip()
        if is_missing(cell):
            self.missing.append((line, column))
            return np.nan
        if cell.lower() in _TRUTH:
            return _TRUTH[cell.lower()]
        try:
            return float(cell)
        except ValueError:
            pass
        if self.comma and _DECIMAL_COMMA.fullmatch(cell):
            self.surely = self.surely or not _IN_THOUSANDS.fullmatch(cell)
            self.decimals = self.decimals or [(line, column, cell)]
            return float(cell.replace(",", "."))
        notation = next((name for name, pattern in _NOTATIONS.items() if pattern.fullmatch(cell)), "")
        if notation:
            self.notations.setdefault(column, (line, cell, notation))
        else:
            self.text.setdefault(column, (line, cell))
        return np.nan

    def check(self, path: Path) -> None:
        """Raise ValueError for what is wrong, naming columns and lines."""
        if self.notations:
            column, (line, cell, notation) = next(iter(self.notations.items()))
            raise ValueError(
                f"{path} has {notation} in column {quoted(self.names[column])} ({quoted(cell)} in line {line});"
                f" expected plain"
                f" numbers. Rewrite the column, or leave it out{self._without(self.names[column])}."
            )
        if self.text:
            listed = [
                f"{quoted(self.names[i])} ({quoted(cell)} in line {line})" for i, (line, cell) in self.text.items()
            ]
            raise not_numeric(path, listed, [self.names[i] for i in self.text], new=self.new)
        if self.decimals:
            line, column, cell = self.decimals[0]
            where = f"column {quoted(self.names[column])} ({quoted(cell)} in line {line})"
            if self.points:
                raise ValueError(
                    f"{path} has a comma in {where}, but a point in {quoted(self.points[1])}, line"
                    f" {self.points[0]}; expected"
                    " decimal points or decimal commas throughout. Write one of them."
                )
            if not self.surely:
                raise ValueError(
                    f"{path} has a comma in {where}, which may be a decimal comma or a thousands separator; expected"
                    " plain numbers. Write a decimal point, or leave the comma out."
                )
        if self.missing:
            line, column = self.missing[0]
            name = self.names[column]
            count = len(self.missing)
            raise ValueError(
                f"{path} has {count} missing value{'s' * (count > 1)}, the first in line {line}, column {quoted(name)};"
                f" expected none. Drop or impute them, or leave the column out{self._without(name)}."
            )

    def _without(self, name: str) -> str:
        """How to leave a column out: by an option, or, of new data, in the file."""
        return "" if self.new else f" with drop={quoted(name)}"

    def notes(self) -> list[str]:
        """What was decided, in sentences."""
        if not self.decimals:
            return []
        line, _, cell = self.decimals[0]
        return [f"Numbers have decimal commas, such as {quoted(cell)} in line {line}."]


def not_numeric(source: object, listed: Sequence[str], names: Sequence[str], *, new: bool = False) -> ValueError:
    """The error for columns of text.

    Args:
        source: what to call the table.
        listed: the columns, as the message shows them.
        names: their names.
        new: whether the table holds new data, whose columns cannot be chosen by options.
    """
    if new:
        return ValueError(
            f"{source} is not numeric in column {', '.join(listed[:20])}; expected the fitted columns. Leave others"
            " out."
        )
    lower = [str(name).lower() for name in names]
    label = next((names[i] for i, name in enumerate(lower) if name in LABEL_COLUMNS), names[-1])
    remedy = (
        f"Leave a column out with drop={quoted(str(names[0]))}, or take the labels from it with"
        f" label={quoted(str(label))}."
    )
    if any(name in STRING_COLUMNS for name in lower):
        remedy = f"For strings, use a recipe that reads them. {remedy}"
    return ValueError(f"{source} is not numeric in column {', '.join(listed[:20])}; expected numbers. {remedy}")


def _csv(path: Path, reading: Reading) -> Contents:
    options = () if reading.optional else (reading.weight, reading.label, *(reading.drop or ()))
    wanted = [str(name) for name in options if isinstance(name, str | int) and name != ""]
    table = TextTable(path, header=reading.header, wanted=wanted, known=LABEL_COLUMNS)
    names, has_header = table.names, table.has_header
    parts = roles(names, reading, str(path))
    features, cells = list(parts.features), _Cells(names, table.delimiter != ",", reading.optional)
    values, lines, labels, weights = array("d"), array("q"), [], []
    for line, row in table.rows():
        chosen = [row[i] for i in features] if len(features) < len(row) else row
        try:
            values.extend(list(map(float, chosen)))
        except ValueError:
            values.extend([cells.number(line, i, row[i]) for i in features])
        if cells.comma and not cells.points:
            cells.points = next(((line, cell) for cell in chosen if "." in cell), None)
        lines.append(line)
        if parts.label is not None:
            labels.append(row[parts.label].strip())
        if parts.weight is not None:
            weights.append(row[parts.weight].strip())
    if not lines:
        raise ValueError(f"{path} has a header but no rows; expected rows of numbers.")
    x = np.frombuffer(values, np.float64).reshape(len(lines), len(features))
    known = set(cells.missing)
    faulty = {*cells.text, *cells.notations}
    places = ((lines[row], features[column]) for row, column in np.argwhere(np.isnan(x)))  # such as "nan"
    cells.missing = sorted(known | {place for place in places if place[1] not in faulty})
    cells.check(path)
    notes = [*cells.notes(), *parts.notes]
    chosen_names, whole = [names[i] for i in features], [_WHOLE.fullmatch(row[i].strip()) is not None for i in features]
    if not reading.optional:  # what was said of the training data is not said again
        notes = [*table.notes(), *notes, *doubts(x, chosen_names, str(path), whole)]
    y = None
    if parts.label is not None:
        y, said = known_labels(labels, names[parts.label], str(path))
        notes += said
    w = None if parts.weight is None else weights_of(weights, names[parts.weight], str(path), list(lines))
    decided = parts.decided(names, reading)
    if table.verdict.numeric or table.verdict.doubt:  # new data may not look alike
        decided = replace(decided, header=has_header)
    columns = parts.columns(names, has_header)
    if has_header and not columns.names and not reading.optional:
        double = next(name for name in chosen_names if chosen_names.count(name) > 1)
        notes.append(guess(
            f"{path} has several columns named {quoted(double)}, so columns are known by their positions, not"
            f" by their names."
            " Rename one of each."
        ))  # fmt: skip
    return Contents({"train": Part(x, y, w)}, columns, decided, tuple(notes))


def weights_of(
    cells: Sequence[object], name: str | int, source: str, lines: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Weights of rows, as finite numbers of at least 0, one of them above 0.

    Args:
        cells: one number or text for each row.
        name: name of their column.
        source: what to call the table.
        lines: number of the line of each row; by default rows are counted from 0.

    Raises:
        ValueError: a weight is missing, negative, infinite or no number, or all are 0.
    """
    weights = np.empty(len(cells))
    for i, cell in enumerate(cells):
        try:
            weights[i] = float(str(cell))
        except ValueError:
            weights[i] = np.nan
        if not 0 <= weights[i] < np.inf:
            where = f"row {i}" if lines is None else f"line {lines[i]}"
            raise ValueError(
                f"weight is {quoted(cell)} in {where}, column {quoted(name)} of {source}; expected a finite"
                f" number of at least 0 in"
                " every row. Fill or drop these rows."
            )
    if not weights.any():
        raise ValueError(f"all weights in column {quoted(name)} of {source} are 0; expected one above 0.")
    return weights


def _parquet(path: Path, reading: Reading) -> Contents:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise ImportError(
            f"pyarrow is not installed; expected it to read {path}. Run pip install 'chartae[parquet]'."
        ) from e
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path} cannot be read as parquet: {e}.") from e
    # pandas writes the index of a data frame as a column
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    table = table.select(names)
    parts = roles(names, reading, str(path))
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    text = [names[i] for i in parts.features if not any(test(table.schema.types[i]) for test in numeric)]
    if text:
        types = dict(zip(names, table.schema.types, strict=True))
        raise not_numeric(path, [f"{quoted(name)} ({types[name]})" for name in text], text, new=reading.optional)
    x = np.empty((table.num_rows, len(parts.features)))
    for j, i in enumerate(parts.features):
        if missing := table.column(i).null_count:
            row = table.column(i).is_null().to_numpy().argmax()
            raise ValueError(
                f"{path} has {missing} missing value{'s' * (missing > 1)} in column {quoted(names[i])}, the first in"
                f" row {row}; expected none. Drop or impute them, or leave the column out with drop={quoted(names[i])}."
            )
        x[:, j] = table.column(i).to_numpy()
    notes = list(parts.notes)
    if not reading.optional:
        chosen = [(names[i], pa.types.is_integer(table.schema.types[i])) for i in parts.features]
        notes += doubts(x, [name for name, _ in chosen], str(path), [whole for _, whole in chosen])
    y = w = None
    if parts.label is not None:
        y, said = known_labels(table.column(parts.label).to_pylist(), names[parts.label], str(path))
        notes += said
    if parts.weight is not None:
        w = weights_of(table.column(parts.weight).to_pylist(), names[parts.weight], str(path))
    return Contents({"train": Part(x, y, w)}, parts.columns(names, True), parts.decided(names, reading), tuple(notes))


#: functions that read a table: suffix without .gz -> (path, options) -> contents
TABLE_READERS: Mapping[str, Callable[[Path, Reading], Contents]] = {
    ".csv": _csv, ".tsv": _csv, ".parquet": _parquet,
}  # fmt: skip
