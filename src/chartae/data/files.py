"""Read the arrays in a user's file or folder: images, numpy files and tables."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from chartae.data.arrays import SPLITS
from chartae.data.contents import Contents, Part
from chartae.data.decoding import is_picture_file
from chartae.data.folders import read_folder, read_picture
from chartae.data.options import Reading
from chartae.data.tables import TABLE_READERS
from chartae.data.text import suffix_of

__all__ = ["Contents", "Part", "read_contents", "whole_file"]

_FEATURES = ("X", "x", "data", "images", "imgs")
_LABELS = ("y", "labels")


def read_contents(path: str | os.PathLike[str], reading: Reading = Reading()) -> Contents:
    """Read a file or folder; `chartae.data.load` lists the formats.

    Args:
        path: a file, or a folder of images.
        reading: options for reading.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file cannot be read, or an option is for another kind of file.
    """
    path, size = Path(path).expanduser(), reading.size
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}.")
    read_arrays = _READERS.get(path.suffix.lower())
    read_table = TABLE_READERS.get(suffix_of(path))
    if read_table is None or path.is_dir():
        reading = reading.without_candidates()
        of_columns = {name: getattr(reading, name) for name in ("label", "drop", "weight", "header")}
        stated = [f"{name} is {value!r}" for name, value in of_columns.items() if value not in (None, "")]
        if stated and not reading.optional:
            raise ValueError(
                f"{', '.join(stated)}; expected None, as {path} has no columns. Use it for tables"
                f" ({', '.join(TABLE_READERS)})."
            )
    if path.is_dir():
        return read_folder(path, reading)
    if is_picture_file(path):
        return read_picture(path, reading)
    if size is not None and read_arrays is None:
        raise ValueError(f"size is {size}; expected None, as {path} holds no images. Use it for images.")
    if read_table is not None:
        return read_table(path, reading)
    if read_arrays is not None:
        return replace(read_arrays(path), reading=reading)
    raise ValueError(
        f"{path} has an unknown format; expected {', '.join([*_READERS, *TABLE_READERS])}, a picture, or a folder of"
        " pictures."
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


_READERS: dict[str, Callable[[Path], Contents]] = {".npy": _numpy, ".npz": _numpy}
