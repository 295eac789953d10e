"""Data from a user's path: folders of pictures, numpy's files, and tables."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from chartae.data.arrays import SPLITS, Dataset, assemble

__all__ = ["read_path"]

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_FEATURES = ("X", "x", "data", "images", "imgs")
_LABELS = ("y", "labels")
_LABEL_COLUMNS = ("label", "target", "class", "y")

Parts = dict[str, tuple[Any, Any]]


def read_path(path: Path, *, seed: int = 0, size: int | None = None) -> Dataset:
    """The `Dataset` in a file or folder; `load` says which kinds there are."""
    if path.is_dir():
        parts = _folder(path, size)
    elif size is not None:
        raise ValueError(f"size={size} is for folders of pictures, but {path} is a file; resize its arrays")
    elif read := _READERS.get(path.suffix.lower()):
        parts = read(path)
    else:
        raise ValueError(f"{path} is none of {', '.join(_READERS)} nor a folder of pictures")
    try:
        return assemble(path.stem if path.is_file() else path.resolve().name, parts, seed=seed, source=str(path))
    except (ValueError, TypeError) as e:
        raise type(e)(f"{path}: {e}") from e


# -- pictures ------------------------------------------------------------------------------------------------


def _pictures(folder: Path) -> list[Path]:
    """Sorted; nothing hidden, such as the ._ files of one system and the checkpoint folders of another."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES and p.is_file())
    return sorted(p for p in found if not any(s.startswith(".") for s in p.relative_to(folder).parts))


def _picture(path: Path, size: int | None) -> np.ndarray:
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


def _folder(path: Path, size: int | None) -> Parts:
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; expected a number of pixels of at least 1")
    tops = {"train": path / "train", "valid": path / "valid", "test": path / "test"}
    if not tops["valid"].is_dir():
        tops["valid"] = path / "val"
    tops = {s: p for s, p in tops.items() if p.is_dir()}
    if "train" not in tops or len(tops) == 1:
        tops = {"train": path}
    files = {s: _pictures(p) for s, p in tops.items()}
    for s, found in files.items():
        if not found:
            raise ValueError(f"{tops[s]} holds no pictures ({', '.join(sorted(_PICTURES))})")
    every = [p for found in files.values() for p in found]
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
    names = [p.relative_to(tops[s]).parts for s, found in files.items() for p in found]
    labelled = all(len(n) > 1 for n in names) and len({n[0] for n in names}) > 1

    parts, at = Parts(), 0
    for s, found in files.items():
        x = np.stack(images[at : at + len(found)])
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        parts[s] = (x, [n[0] for n in names[at : at + len(found)]] if labelled else None)
        at += len(found)
    return parts


# -- numpy ---------------------------------------------------------------------------------------------------


def _binary(x: np.ndarray) -> np.ndarray:
    """Images of 0 and 1, as dSprites keeps them, are binary, not almost black."""
    binary = x.ndim > 2 and x.dtype.kind in "iu" and x.size and x.min() >= 0 and x.max() == 1
    return x.astype(bool) if binary else x


def _numpy(path: Path) -> Parts:
    try:
        with open(path, "rb") as f:
            loaded = np.load(f, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"train": (_binary(loaded), None)}
            keys = loaded.files
            if "train" in keys:
                of = {s: "val" if s == "valid" and "valid" not in keys else s for s in SPLITS}
                labels = {s: f"{k}_labels" for s, k in of.items()}
            else:
                of = {"train": next((k for k in _FEATURES if k in keys), "")}
                labels = {"train": next((k for k in _LABELS if k in keys), "")}
            parts = {
                s: (_binary(loaded[k]), loaded[labels[s]] if labels[s] in keys else None)
                for s, k in of.items()
                if k in keys
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        what = "holds pickled objects, which are never loaded" if "pickle" in str(e) else "cannot be read"
        raise ValueError(f"{path} {what}; save a plain array of numbers ({e})") from e
    if parts:
        return parts
    raise ValueError(
        f"{path} has the keys {', '.join(keys) or '(none)'}; expected train (and valid, test), or one of"
        f" {', '.join(_FEATURES)}"
    )


# -- tables --------------------------------------------------------------------------------------------------


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_column(names: list[str]) -> int | None:
    lower = [n.strip().lower() for n in names]
    return next((lower.index(n) for n in _LABEL_COLUMNS if n in lower), None)


def _labels_of(cells: np.ndarray) -> np.ndarray:
    """Text that is numbers throughout becomes numbers, and integers where these are whole."""
    try:
        y = cells.astype(np.float64)
    except ValueError:
        return cells
    return y.astype(np.int64) if np.array_equal(y, np.rint(y)) and np.abs(y).max() < 2**53 else y


def _csv(path: Path) -> Parts:
    try:
        return _csv_text(path)
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is not UTF-8 text ({e}); save it as UTF-8") from e


def _csv_text(path: Path) -> Parts:
    with open(path, encoding="utf-8-sig", newline="") as f:
        first = f.readline()
        if not first.strip():
            raise ValueError(f"{path} has no rows; its first line is empty")
        delimiter = max(",;\t", key=first.count)
        names, *below = csv.reader([first, f.readline()], delimiter=delimiter)
    label = _label_column(names)
    counted = [str(i) for i in range(len(names))]  # what pandas writes over columns that have no names
    header = label is not None or not any(map(_number, names)) or (len(names) > 1 and names == counted)
    if header and not any(below):
        raise ValueError(f"{path} has a header but no rows")
    if any(below) and len(below[0]) != len(names):
        raise ValueError(f"{path}, line 2: {len(below[0])} cells where there are {len(names)} columns")
    if not header:
        names = [f"column {i + 1}" for i in range(len(names))]
    index = 0 if header and names[0] == "" else None
    columns = [i for i in range(len(names)) if i not in (label, index)]

    def parse(use: list[int], dtype: Any) -> np.ndarray:
        return np.loadtxt(path, dtype, comments=None, delimiter=delimiter, skiprows=int(header), usecols=use,
                          ndmin=2, encoding="utf-8-sig", quotechar='"')  # fmt: skip

    if not columns:
        raise ValueError(f"{path} has no columns beside the label")
    try:
        x = parse(columns, np.float32)
    except ValueError as e:
        raise _csv_fault(path, delimiter, header, names, columns) or ValueError(f"{path}: {e}") from e
    if np.isnan(x).any() and (fault := _csv_fault(path, delimiter, header, names, columns)):
        raise fault
    if label is None:
        return {"train": (x, None)}
    cells = np.char.strip(parse([label], np.str_)[:, 0])
    if (cells == "").any():
        row = int((cells == "").argmax()) + 1
        raise ValueError(f"{path}: {names[label]!r} is missing, first in row {row} below the header")
    return {"train": (x, _labels_of(cells))}


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
                elif not _number(cell) and i not in text:
                    text[i] = (rows.line_num, cell)
    if text:
        each = ", ".join(f"{names[i]!r} ({cell!r} in line {line})" for i, (line, cell) in text.items())
        return ValueError(
            f"{path}: not numeric: {each}; encode or drop these columns (labels go into a column named"
            f" {', '.join(_LABEL_COLUMNS)})"
        )
    if missing:
        line, i = missing[0]
        return ValueError(
            f"{path}: {len(missing)} missing value{'s' * (len(missing) > 1)}, the first in line {line},"
            f" column {names[i]!r}; drop or impute"
        )
    return None


def _parquet(path: Path) -> Parts:
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
    label = _label_column(names)
    columns = [i for i, n in enumerate(names) if i != label and n not in index]
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    text = [names[i] for i in columns if not any(test(table.schema.types[i]) for test in numeric)]
    if text or not columns:
        raise ValueError(
            f"{path}: not numeric: {', '.join(map(repr, text)) or 'there are no columns beside the label'};"
            f" encode or drop these columns (labels go into a column named {', '.join(_LABEL_COLUMNS)})"
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
    return {"train": (x, None if label is None else np.asarray(table.column(label).to_pylist()))}


_READERS: dict[str, Callable[[Path], Parts]] = {
    ".npy": _numpy,
    ".npz": _numpy,
    ".csv": _csv,
    ".parquet": _parquet,
}
