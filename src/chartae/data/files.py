"""Read the arrays in a user's file or folder: images, numpy files and tables."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chartae.data.arrays import SPLITS
from chartae.data.columns import LABEL_COLUMNS, Columns
from chartae.data.contents import Contents, Part
from chartae.data.decoding import is_picture_file
from chartae.data.folders import read_folder, read_picture
from chartae.data.options import Reading

__all__ = ["Contents", "Part", "read_contents", "whole_file"]

_FEATURES = ("X", "x", "data", "images", "imgs")
_LABELS = ("y", "labels")


def read_contents(path: str | os.PathLike[str], reading: Reading = Reading(), *, required: bool = True) -> Contents:
    """Read a file or folder; `chartae.data.load` lists the formats.

    Args:
        path: a file, or a folder of images.
        reading: options for reading.
        required: whether to raise if a file has no column `reading.label`; default True.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file cannot be read, or an option is for another kind of file.
    """
    path, size = Path(path).expanduser(), reading.size
    label = None if reading.label is None else str(reading.label)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}.")
    read_arrays = _READERS.get(path.suffix.lower())
    read_table = _TABLES.get(path.suffix.lower())
    if label is not None and required and (path.is_dir() or read_table is None):
        raise ValueError(
            f"label is {label!r}; expected None, as {path} has no columns. Use it for tables ({', '.join(_TABLES)})."
        )
    if path.is_dir():
        return read_folder(path, reading)
    if is_picture_file(path):
        return read_picture(path, reading)
    if size is not None and read_arrays is None:
        raise ValueError(f"size is {size}; expected None, as {path} holds no images. Use it for images.")
    if read_table is not None:
        return replace(read_table(path, LabelColumn(label, required)), reading=reading)
    if read_arrays is not None:
        return replace(read_arrays(path), reading=reading)
    raise ValueError(
        f"{path} has an unknown format; expected {', '.join([*_READERS, *_TABLES])} a picture, or a folder of pictures."
    )


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all: yields a temporary path, renamed to `path` on success.

    The folder is created if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part.{path.name}")  # writers choose the format by the suffix
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# -- numpy ---------------------------------------------------------------------------------------------------


def _with_binary(parts: Mapping[str, Part], path: Path) -> Contents:
    """The contents, with integer images of only 0 and 1 as booleans: they are binary (as in dSprites), not black."""
    arrays = [np.asarray(part.x) for part in parts.values()]
    if not all(a.ndim > 2 and a.dtype.kind in "iu" and a.size and a.min() >= 0 and a.max() <= 1 for a in arrays):
        return Contents(parts)
    if not any(a.max() == 1 for a in arrays):
        return Contents(parts)
    binary = {split: replace(part, x=np.asarray(part.x).astype(bool)) for split, part in parts.items()}
    return Contents(binary, notes=(f"{path} holds images of only 0 and 1, which are read as black and white.",))


def _numpy(path: Path) -> Contents:
    try:
        with open(path, "rb") as f:
            loaded = np.load(f, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return _with_binary({"train": Part(loaded)}, path)
            keys = loaded.files
            if "train" in keys:
                keys_of = {s: "val" if s == "valid" and "valid" not in keys else s for s in SPLITS}
                labels = {s: f"{k}_labels" for s, k in keys_of.items()}
            else:
                keys_of = {"train": next((k for k in _FEATURES if k in keys), "")}
                labels = {"train": next((k for k in _LABELS if k in keys), "")}
            parts = {
                s: Part(loaded[k], loaded[labels[s]] if labels[s] in keys else None)
                for s, k in keys_of.items()
                if k in keys
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        fault = "holds pickled objects, which are never loaded" if "pickle" in str(e) else "cannot be read"
        raise ValueError(f"{path} {fault} ({e}); expected a plain array of numbers. Save it as one.") from e
    if parts:
        return _with_binary(parts, path)
    raise ValueError(
        f"{path} has the keys {', '.join(keys) or '(none)'}; expected train (and valid, test), or one of"
        f" {', '.join(_FEATURES)}."
    )


# -- tables --------------------------------------------------------------------------------------------------


#: booleans as pandas writes them
_BOOLEANS = {"true": 1.0, "false": 0.0}


def _number(cell: str) -> float:
    """The number in a cell; True is 1, False is 0."""
    value = _BOOLEANS.get(cell.strip().lower())
    return float(cell) if value is None else value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class LabelColumn:
    """Which column holds the labels.

    Attributes:
        name: name of the column; "" for none; None for the first column named label, target, class or y.
        required: whether a named column must exist.
    """

    name: str | None = None
    required: bool = True

    def position(self, names: list[str], path: Path) -> int | None:
        """Index of the column among `names`, None if there is none; ValueError if a required one is missing."""
        lower = [n.strip().lower() for n in names]
        if self.name is None:
            return next((lower.index(n) for n in LABEL_COLUMNS if n in lower), None)
        name = self.name.strip().lower()
        if name in lower and name:
            return lower.index(name)
        if name and self.required:
            raise ValueError(f"label is {self.name!r}; expected a column of {path}: {', '.join(names)[:200]}.")
        return None


def _columns(features: list[str], names: list[str], label: int | None) -> Columns:
    """Names of the columns; none if two have the same name, so that columns are identified by position only."""
    unique = features if len(set(features)) == len(features) else []
    return Columns(tuple(unique), (), "" if label is None else names[label].strip())


def _labels_of(cells: NDArray[np.str_]) -> NDArray[np.generic]:
    """Convert text to numbers if all of it is numeric, to integers if all of them are whole."""
    try:
        y = cells.astype(np.float64)
    except ValueError:
        return cells
    return y.astype(np.int64) if np.array_equal(y, np.rint(y)) and np.abs(y).max() < 2**53 else y


def _csv(path: Path, label_column: LabelColumn) -> Contents:
    try:
        return _csv_text(path, label_column)
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is not UTF-8 text ({e}); expected UTF-8. Save it as UTF-8.") from e


def _csv_text(path: Path, label_column: LabelColumn) -> Contents:
    with open(path, encoding="utf-8-sig", newline="") as f:
        first = f.readline()
        if not first.strip():
            raise ValueError(f"{path} has an empty first line; expected a header or numbers.")
        delimiter = max(",;\t", key=first.count)
        names, *second = csv.reader([first, f.readline()], delimiter=delimiter)
    label = label_column.position(names, path)
    numbered = [str(i) for i in range(len(names))]  # the header that pandas writes for columns without names
    has_header = label is not None or not any(map(_is_number, names)) or (len(names) > 1 and names == numbered)
    if has_header and not any(second):
        raise ValueError(f"{path} has a header but no rows; expected rows of numbers.")
    if any(second) and len(second[0]) != len(names):
        raise ValueError(f"{path}, line 2, has {len(second[0])} cells; expected {len(names)}, as in line 1.")
    titles = names if has_header else [f"column {i + 1}" for i in range(len(names))]
    index = 0 if has_header and names[0] == "" else None
    columns = [i for i in range(len(names)) if i not in (label, index)]

    def parse(
        use: list[int], dtype: type[np.generic], cell: Callable[[str], float] | None = None
    ) -> NDArray[np.generic]:
        return np.loadtxt(path, dtype, comments=None, delimiter=delimiter, skiprows=int(has_header), usecols=use,
                          ndmin=2, encoding="utf-8-sig", quotechar='"', converters=cell)  # fmt: skip

    if not columns:
        raise ValueError(f"{path} has no columns but the labels; expected at least one column of numbers.")
    try:
        try:
            x = parse(columns, np.float32)
        except ValueError:  # slower, but reads booleans
            x = parse(columns, np.float32, _number)
    except ValueError as e:
        raise _csv_fault(path, delimiter, has_header, titles, columns) or ValueError(f"{path}: {e}") from e
    if np.isnan(x.astype(np.float32, copy=False)).any() and (
        fault := _csv_fault(path, delimiter, has_header, titles, columns)
    ):
        raise fault
    feature_columns = _columns([names[i].strip() for i in columns] if has_header else [], names, label)
    if label is None:
        return Contents({"train": Part(x)}, feature_columns)
    cells = np.char.strip(parse([label], np.str_)[:, 0].astype(np.str_))
    if (cells == "").any():
        row = int((cells == "").argmax()) + 1
        raise ValueError(
            f"{path} has no label in column {names[label]!r}, first in row {row} below the header; expected one in"
            " every row. Fill or drop these rows."
        )
    return Contents({"train": Part(x, _labels_of(cells))}, feature_columns)


def _csv_fault(path: Path, delimiter: str, has_header: bool, names: list[str], columns: list[int]) -> ValueError | None:
    """Read the file again, slowly, to find what made the fast reader fail."""
    text: dict[int, tuple[int, str]] = {}
    missing: list[tuple[int, int]] = []
    with open(path, encoding="utf-8-sig", newline="") as f:
        rows = csv.reader(f, delimiter=delimiter)
        if has_header:
            next(rows)
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                return ValueError(
                    f"{path}, line {rows.line_num}, has {len(row)} cells; expected {len(names)}, as in line 1."
                )
            for i in columns:
                cell = row[i].strip()
                if cell.lower() in ("", "na", "n/a", "nan", "null", "none", "?"):
                    missing.append((rows.line_num, i))
                elif not _is_number(cell) and cell.lower() not in _BOOLEANS and i not in text:
                    text[i] = (rows.line_num, cell)
    if text:
        cells = ", ".join(f"{names[i]!r} ({cell!r} in line {line})" for i, (line, cell) in text.items())
        return _not_numeric(path, cells)
    if missing:
        line, i = missing[0]
        return ValueError(
            f"{path} has {len(missing)} missing value{'s' * (len(missing) > 1)}, the first in line {line},"
            f" column {names[i]!r}; expected none. Drop or impute them."
        )
    return None


def _not_numeric(path: Path, columns: str) -> ValueError:
    return ValueError(
        f"{path} is not numeric in column {columns}; expected numbers. Encode or drop these columns, and name the"
        f" column of labels {', '.join(LABEL_COLUMNS[:-1])} or {LABEL_COLUMNS[-1]}."
    )


def _parquet(path: Path, label_column: LabelColumn) -> Contents:
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
    names = table.column_names
    # pandas writes the index of a data frame as a column
    index = [n for n in names if n.startswith("__index_level_")]
    label = label_column.position(names, path)
    columns = [i for i, n in enumerate(names) if i != label and n not in index]
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    text = [names[i] for i in columns if not any(test(table.schema.types[i]) for test in numeric)]
    if text:
        raise _not_numeric(path, ", ".join(map(repr, text)))
    if not columns:
        raise ValueError(f"{path} has no columns but the labels; expected at least one column of numbers.")
    for i in columns if label is None else [*columns, label]:
        if missing := table.column(i).null_count:
            row = table.column(i).is_null().to_numpy().argmax()
            raise ValueError(
                f"{path} has {missing} missing value{'s' * (missing > 1)} in column {names[i]!r}, the first in"
                f" row {row}; expected none. Drop or impute them."
            )
    x = np.empty((table.num_rows, len(columns)), np.float32)
    for j, i in enumerate(columns):
        x[:, j] = table.column(i).to_numpy()
    y = None if label is None else np.asarray(table.column(label).to_pylist())
    return Contents({"train": Part(x, y)}, _columns([names[i] for i in columns], names, label))


_READERS: dict[str, Callable[[Path], Contents]] = {".npy": _numpy, ".npz": _numpy}
_TABLES: dict[str, Callable[[Path, LabelColumn], Contents]] = {".csv": _csv, ".parquet": _parquet}
