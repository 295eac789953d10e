"""Read the arrays in a user's file or folder: images, numpy files and tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from chartae.data.arrays import SPLITS
from chartae.data.contents import Contents, Part
from chartae.data.decoding import is_picture_file
from chartae.data.folders import read_folder, read_picture
from chartae.data.foreign import absent, remedy_for_file
from chartae.data.options import Reading
from chartae.data.tables import TABLE_READERS
from chartae.data.text import SNIFFED, impostor_of, suffix_of
from chartae.records.arrays import check_npy, check_npz
from chartae.records.files import one_line

__all__ = ["Contents", "Part", "read_contents"]

_FEATURES = ("X", "x", "data", "images", "imgs")
_LABELS = ("y", "labels", "label", "target")
_KNOWN = (*SPLITS, *_FEATURES)
#: the smallest .npy file that is mapped into memory instead of being read, in bytes
MAPPED_FROM = 16 << 20


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
        raise FileNotFoundError(absent(str(path)))
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
    with open(path, "rb") as file:
        impostor = impostor_of(file.read(SNIFFED))
    if impostor:
        raise ValueError(f"{path} is {impostor}")
    raise ValueError(
        f"{path} has an unknown format; expected {', '.join([*_READERS, *TABLE_READERS])}, a picture, or a folder of"
        f" pictures. {remedy_for_file(path)}".rstrip()
    )


# -- numpy ---------------------------------------------------------------------------------------------------


def _with_binary(parts: Mapping[str, Part], path: Path) -> Contents:
    """The contents, with integer images of only 0 and 1 as booleans: they are binary (as in dSprites), not black."""
    arrays = [np.asarray(part.x) for part in parts.values()]
    # a few rows decide for most files
    if not all(a.ndim > 2 and a.dtype.kind in "iu" and a.size and a[:9].max() <= 1 for a in arrays):
        return Contents(parts)
    if not all(a.min() >= 0 and a.max() <= 1 for a in arrays):
        return Contents(parts)
    if not any(a.max() == 1 for a in arrays):
        return Contents(parts)
    binary = {split: replace(part, x=np.asarray(part.x).astype(bool)) for split, part in parts.items()}
    return Contents(binary, notes=(f"{path} holds images of only 0 and 1, which are read as black and white.",))


def _numpy(path: Path) -> Contents:
    with open(path, "rb") as f:
        if impostor := impostor_of(f.read(SNIFFED)):
            raise ValueError(f"{path} is {impostor}")
    try:
        with open(path, "rb") as f:
            magic = f.read(6)
            f.seek(0)
            if magic[:2] == b"PK":
                check_npz(f)
            elif magic == b"\x93NUMPY":
                check_npy(f, path.stat().st_size, "it")
            f.seek(0)
            loaded = _mapped(path)
            loaded = np.load(f, allow_pickle=False) if loaded is None else loaded
            keys = ["train"] if isinstance(loaded, np.ndarray) else loaded.files
            keys_of, labels = _roles_of(keys)
            wanted = {*keys_of.values(), *labels.values()}
            arrays = {key: loaded if isinstance(loaded, np.ndarray) else loaded[key] for key in keys if key in wanted}
    except Exception as e:  # of NumPy, zipfile, zlib, ast and tokenize, whatever the file's bytes made them raise
        pickled = "pickle" in str(e) or "Python objects" in str(e)
        fault = "holds pickled objects, which are never loaded" if pickled else "cannot be read"
        raise ValueError(f"{path} {fault} ({one_line(e)}); expected a plain array of numbers. Save it as one.") from e
    if not keys_of:
        raise ValueError(
            f"{path} has the keys {', '.join(keys) or '(none)'}; expected train (and valid, test), x_train (and"
            f" x_test), or one of {', '.join(_FEATURES)}. Save the array under one of these names."
        )
    for key in keys_of.values():
        _refuse_text(arrays[key], path)
    contents = _with_binary({s: Part(arrays[k], arrays.get(labels[s])) for s, k in keys_of.items()}, path)
    unread = [key for key in keys if key not in arrays]
    notes = [f"The array {keys[0]!r} of {path} holds the examples."] if len(keys) == 1 and keys[0] not in _KNOWN else []
    notes += [f"Arrays of {path} that are not read: {', '.join(unread)}."] if unread else []
    return replace(contents, notes=(*notes, *contents.notes))


def _mapped(path: Path) -> np.memmap[tuple[int, ...], np.dtype[np.generic]] | None:
    """The array of a large .npy file as a memory map, which is read where it is used; None for any other file.

    Writing to the array changes a copy in memory, never the file.

    Raises:
        ValueError: the file is damaged.
    """
    with open(path, "rb") as f:
        is_array = f.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
    if not is_array or path.stat().st_size < MAPPED_FROM:
        return None
    try:
        return np.lib.format.open_memmap(path, mode="c")
    except OSError:  # some drives cannot map files into memory
        return None


def _roles_of(keys: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Which arrays of a file hold the examples of each split, and which ones would hold their labels."""
    lower = {key.lower(): key for key in keys}
    for pattern, of_labels in (("{}", "{}_labels"), ("x_{}", "y_{}")):
        ways = {s: [pattern.format(s), *([pattern.format("val")] if s == "valid" else [])] for s in SPLITS}
        keys_of = {s: lower[way] for s, group in ways.items() for way in group[::-1] if way in lower}
        if "train" in keys_of:
            names = {s: of_labels.format(key.removeprefix("x_").removeprefix("X_")) for s, key in keys_of.items()}
            return keys_of, {s: lower.get(name.lower(), "") for s, name in names.items()}
    features = next((key for key in _FEATURES if key in keys), keys[0] if len(keys) == 1 else "")
    labels = next((key for key in _LABELS if key in keys), "")
    return ({"train": features}, {"train": labels}) if features else ({}, {})


def _refuse_text(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], path: Path) -> None:
    if array.dtype.kind in "SUT":
        raise ValueError(f"{path} holds text; expected numbers. Save strings as lines of a .txt file.")
    if array.dtype.names:
        raise ValueError(
            f"{path} has the columns {', '.join(array.dtype.names)}; expected an array without names. Save it as .csv"
            " or .parquet."
        )


_READERS: dict[str, Callable[[Path], Contents]] = {".npy": _numpy, ".npz": _numpy}
