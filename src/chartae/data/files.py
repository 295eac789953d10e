"""The arrays in a user's file or folder: pictures, numpy's files, and tables."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chartae.data.arrays import SPLITS
from chartae.data.columns import LABEL_COLUMNS, Columns

__all__ = ["Contents", "Part", "read_contents", "whole_file"]

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_FEATURES = ("X", "x", "data", "images", "imgs")
_LABELS = ("y", "labels")


@dataclass(frozen=True)
class Part:
    """Examples, and their labels where there are any: numbers, or the names of classes."""

    x: object
    labels: object | None = None


@dataclass(frozen=True)
class Contents:
    """What a file or folder holds: its splits by name, or all of it as ``train``, and the columns of a table."""

    parts: Mapping[str, Part]
    columns: Columns = field(default_factory=Columns)

    def every(self) -> NDArray[np.number]:
        """All examples, split after split."""
        return np.concatenate([np.asarray(part.x) for part in self.parts.values()])


def read_contents(
    path: str | os.PathLike[str], *, size: int | None = None, label: str | None = None, required: bool = True
) -> Contents:
    """What lies in a file or folder; `chartae.data.load` says which kinds there are.

    Args:
        path: a file, or a folder of pictures.
        size: for folders of pictures: cut the middle square out of each and resize it to `size` x `size` pixels.
        label: for tables: name of the column of labels; "" for none; by default one named label, target, class or y.
        required: whether a file without the column `label` is an error.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it cannot be read, or an option is for another kind of file.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    read = _READERS.get(path.suffix.lower())
    table = _TABLES.get(path.suffix.lower())
    if label is not None and required and (path.is_dir() or table is None):
        raise ValueError(f"label={label!r} is for tables ({', '.join(_TABLES)}); {path} has no columns")
    if path.is_dir():
        return _folder(path, size)
    if size is not None:
        raise ValueError(f"size={size} is for folders of pictures, but {path} is a file; resize its arrays")
    if table is not None:
        return table(path, LabelColumn(label, required))
    if read is not None:
        return read(path)
    raise ValueError(f"{path} is none of {', '.join([*_READERS, *_TABLES])} nor a folder of pictures")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place to write a file to, which gets its name when it is whole; its folder is made where it is absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part.{path.name}")  # writers look at the end of the name
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# -- pictures ------------------------------------------------------------------------------------------------


def _pictures(folder: Path) -> list[Path]:
    """Sorted; nothing hidden, such as the ._ files of one system and the checkpoint folders of another."""
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES and p.is_file())
    return sorted(p for p in paths if not any(s.startswith(".") for s in p.relative_to(folder).parts))


def _picture(path: Path, size: int | None) -> NDArray[np.uint8]:
    """(h, w) levels of a grey picture, (h, w, 3) of any other."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError(
                    f"it has 32-bit pixels (mode {image.mode}), whose range is unknown; save it with 8 bits"
                )
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            if size is not None:
                image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
            return np.array(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as e:
        raise ValueError(f"{path} cannot be read as a picture: {e}") from e


def _folder(path: Path, size: int | None) -> Contents:
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; expected a number of pixels of at least 1")
    tops = {"train": path / "train", "valid": path / "valid", "test": path / "test"}
    if not tops["valid"].is_dir():
        tops["valid"] = path / "val"
    tops = {s: p for s, p in tops.items() if p.is_dir()}
    if "train" not in tops or len(tops) == 1:
        tops = {"train": path}
    files = {s: _pictures(p) for s, p in tops.items()}
    for s, pictures in files.items():
        if not pictures:
            raise ValueError(f"{tops[s]} holds no pictures ({', '.join(sorted(_PICTURES))})")
    every = [p for pictures in files.values() for p in pictures]
    with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter's lock
        images = list(pool.map(lambda p: _picture(p, size), every))
    for p, image in zip(every, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            (h, w), (h0, w0) = image.shape[:2], images[0].shape[:2]
            raise ValueError(
                f"{p} has {w}x{h} pixels but {every[0]} {w0}x{h0}; give size= to cut squares and resize them alike"
            )
    if any(i.ndim == 3 for i in images):
        images = [i if i.ndim == 3 else np.stack([i] * 3, 2) for i in images]
    names = [p.relative_to(tops[s]).parts for s, pictures in files.items() for p in pictures]
    labelled = all(len(n) > 1 for n in names) and len({n[0] for n in names}) > 1

    parts: dict[str, Part] = {}
    at = 0
    for s, pictures in files.items():
        end = at + len(pictures)
        x = np.stack(images[at:end])
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        parts[s] = Part(x, [n[0] for n in names[at:end]] if labelled else None)
        at = end
    return Contents(parts)


# -- numpy ---------------------------------------------------------------------------------------------------


def _binary(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """Images of 0 and 1, as dSprites keeps them, are binary, not almost black."""
    binary = x.ndim > 2 and x.dtype.kind in "iu" and x.size and x.min() >= 0 and x.max() == 1
    return x.astype(bool) if binary else x


def _numpy(path: Path) -> Contents:
    try:
        with open(path, "rb") as f:
            loaded = np.load(f, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return Contents({"train": Part(_binary(loaded))})
            keys = loaded.files
            if "train" in keys:
                keys_of = {s: "val" if s == "valid" and "valid" not in keys else s for s in SPLITS}
                labels = {s: f"{k}_labels" for s, k in keys_of.items()}
            else:
                keys_of = {"train": next((k for k in _FEATURES if k in keys), "")}
                labels = {"train": next((k for k in _LABELS if k in keys), "")}
            parts = {
                s: Part(_binary(loaded[k]), loaded[labels[s]] if labels[s] in keys else None)
                for s, k in keys_of.items()
                if k in keys
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        what = "holds pickled objects, which are never loaded" if "pickle" in str(e) else "cannot be read"
        raise ValueError(f"{path} {what}; save a plain array of numbers ({e})") from e
    if parts:
        return Contents(parts)
    raise ValueError(
        f"{path} has the keys {', '.join(keys) or '(none)'}; expected train (and valid, test), or one of"
        f" {', '.join(_FEATURES)}"
    )


# -- tables --------------------------------------------------------------------------------------------------


#: what stands for a truth value, as pandas writes it
_TRUTH = {"true": 1.0, "false": 0.0}


def _cell(text: str) -> float:
    """The number in a cell; True is 1, False is 0."""
    truth = _TRUTH.get(text.strip().lower())
    return float(text) if truth is None else truth


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class LabelColumn:
    """Which column holds labels: that of a name, "" for none, or else the first that has one of the usual names."""

    name: str | None = None
    required: bool = True

    def among(self, names: list[str], path: Path) -> int | None:
        """Where it stands; a ValueError if a required one is missing."""
        lower = [n.strip().lower() for n in names]
        if self.name is None:
            return next((lower.index(n) for n in LABEL_COLUMNS if n in lower), None)
        wanted = self.name.strip().lower()
        if wanted in lower and wanted:
            return lower.index(wanted)
        if wanted and self.required:
            raise ValueError(f"{path} has no column {self.name!r}; its columns are {', '.join(names)[:200]}")
        return None


def _columns(features: list[str], names: list[str], label: int | None) -> Columns:
    """What is known of the columns; where two have one name, they are known by their places alone."""
    unique = features if len(set(features)) == len(features) else []
    return Columns(tuple(unique), (), "" if label is None else names[label].strip())


def _labels_of(cells: NDArray[np.str_]) -> NDArray[np.generic]:
    """Text that is numbers throughout becomes numbers, and integers where these are whole."""
    try:
        y = cells.astype(np.float64)
    except ValueError:
        return cells
    return y.astype(np.int64) if np.array_equal(y, np.rint(y)) and np.abs(y).max() < 2**53 else y


def _csv(path: Path, asked: LabelColumn) -> Contents:
    try:
        return _csv_text(path, asked)
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is not UTF-8 text ({e}); save it as UTF-8") from e


def _csv_text(path: Path, asked: LabelColumn) -> Contents:
    with open(path, encoding="utf-8-sig", newline="") as f:
        first = f.readline()
        if not first.strip():
            raise ValueError(f"{path} has no rows; its first line is empty")
        delimiter = max(",;\t", key=first.count)
        names, *below = csv.reader([first, f.readline()], delimiter=delimiter)
    label = asked.among(names, path)
    counted = [str(i) for i in range(len(names))]  # what pandas writes over columns that have no names
    header = label is not None or not any(map(_number, names)) or (len(names) > 1 and names == counted)
    if header and not any(below):
        raise ValueError(f"{path} has a header but no rows")
    if any(below) and len(below[0]) != len(names):
        raise ValueError(f"{path}, line 2: {len(below[0])} cells where there are {len(names)} columns")
    heads = names if header else [f"column {i + 1}" for i in range(len(names))]
    index = 0 if header and names[0] == "" else None
    columns = [i for i in range(len(names)) if i not in (label, index)]

    def parse(
        use: list[int], dtype: type[np.generic], cell: Callable[[str], float] | None = None
    ) -> NDArray[np.generic]:
        return np.loadtxt(path, dtype, comments=None, delimiter=delimiter, skiprows=int(header), usecols=use,
                          ndmin=2, encoding="utf-8-sig", quotechar='"', converters=cell)  # fmt: skip

    if not columns:
        raise ValueError(f"{path} has no columns beside the label")
    try:
        try:
            x = parse(columns, np.float32)
        except ValueError:  # slower, and reads truth values
            x = parse(columns, np.float32, _cell)
    except ValueError as e:
        raise _csv_fault(path, delimiter, header, heads, columns) or ValueError(f"{path}: {e}") from e
    if np.isnan(x.astype(np.float32, copy=False)).any() and (
        fault := _csv_fault(path, delimiter, header, heads, columns)
    ):
        raise fault
    known = _columns([names[i].strip() for i in columns] if header else [], names, label)
    if label is None:
        return Contents({"train": Part(x)}, known)
    cells = np.char.strip(parse([label], np.str_)[:, 0].astype(np.str_))
    if (cells == "").any():
        row = int((cells == "").argmax()) + 1
        raise ValueError(f"{path}: {names[label]!r} is missing, first in row {row} below the header")
    return Contents({"train": Part(x, _labels_of(cells))}, known)


def _csv_fault(path: Path, delimiter: str, header: bool, names: list[str], columns: list[int]) -> ValueError | None:
    """A second, slow reading that says what was wrong in the first."""
    text: dict[int, tuple[int, str]] = {}
    missing: list[tuple[int, int]] = []
    with open(path, encoding="utf-8-sig", newline="") as f:
        rows = csv.reader(f, delimiter=delimiter)
        if header:
            next(rows)
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                return ValueError(
                    f"{path}, line {rows.line_num}: {len(row)} cells where there are {len(names)} columns"
                )
            for i in columns:
                cell = row[i].strip()
                if cell.lower() in ("", "na", "n/a", "nan", "null", "none", "?"):
                    missing.append((rows.line_num, i))
                elif not _number(cell) and cell.lower() not in _TRUTH and i not in text:
                    text[i] = (rows.line_num, cell)
    if text:
        each = ", ".join(f"{names[i]!r} ({cell!r} in line {line})" for i, (line, cell) in text.items())
        return ValueError(
            f"{path}: not numeric: {each}; encode or drop these columns (labels go into a column named"
            f" {', '.join(LABEL_COLUMNS)})"
        )
    if missing:
        line, i = missing[0]
        return ValueError(
            f"{path}: {len(missing)} missing value{'s' * (len(missing) > 1)}, the first in line {line},"
            f" column {names[i]!r}; drop or impute"
        )
    return None


def _parquet(path: Path, asked: LabelColumn) -> Contents:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise ImportError(f"reading {path} needs pyarrow: pip install 'chartae[parquet]'") from e
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path} cannot be read as parquet: {e}") from e
    names = table.column_names
    # a data frame's index travels as a column of its own
    index = [n for n in names if n.startswith("__index_level_")]
    label = asked.among(names, path)
    columns = [i for i, n in enumerate(names) if i != label and n not in index]
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    text = [names[i] for i in columns if not any(test(table.schema.types[i]) for test in numeric)]
    if text or not columns:
        raise ValueError(
            f"{path}: not numeric: {', '.join(map(repr, text)) or 'there are no columns beside the label'};"
            f" encode or drop these columns (labels go into a column named {', '.join(LABEL_COLUMNS)})"
        )
    for i in columns if label is None else [*columns, label]:
        if missing := table.column(i).null_count:
            row = table.column(i).is_null().to_numpy().argmax()
            raise ValueError(
                f"{path}: {missing} missing value{'s' * (missing > 1)} in column {names[i]!r}, the first in"
                f" row {row}; drop or impute"
            )
    x = np.empty((table.num_rows, len(columns)), np.float32)
    for j, i in enumerate(columns):
        x[:, j] = table.column(i).to_numpy()
    known = _columns([names[i] for i in columns], names, label)
    return Contents({"train": Part(x, None if label is None else np.asarray(table.column(label).to_pylist()))}, known)


_READERS: dict[str, Callable[[Path], Contents]] = {".npy": _numpy, ".npz": _numpy}
_TABLES: dict[str, Callable[[Path, LabelColumn], Contents]] = {".csv": _csv, ".parquet": _parquet}
