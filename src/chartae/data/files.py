"""Read the arrays in a user's file or folder: images, numpy files and tables."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chartae.data.arrays import SPLITS
from chartae.data.contents import Contents, Part
from chartae.data.options import Reading, height_and_width
from chartae.data.tables import TABLE_READERS
from chartae.data.text import suffix_of

__all__ = ["Contents", "Part", "read_contents", "whole_file"]

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
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
        return _folder(path, reading)
    if size is not None:
        raise ValueError(
            f"size is {size}; expected None, as {path} is a file. Use it for folders of images, and resize arrays"
            " beforehand."
        )
    if read_table is not None:
        return read_table(path, reading)
    if read_arrays is not None:
        return replace(read_arrays(path), reading=reading)
    raise ValueError(
        f"{path} has an unknown format; expected {', '.join([*_READERS, *TABLE_READERS])} or a folder of images."
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


# -- images --------------------------------------------------------------------------------------------------


def _image_paths(folder: Path) -> list[Path]:
    """Sorted paths, without hidden ones such as the ._ files of macOS and the checkpoints of Jupyter."""
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in _IMAGES and p.is_file())
    return sorted(p for p in paths if not any(s.startswith(".") for s in p.relative_to(folder).parts))


def _image(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Levels (h, w) of a grey image, (h, w, 3) of any other."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError(
                    f"it has 32-bit pixels (mode {image.mode}), whose range is unknown; expected 8 bits. Convert it"
                )
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            if size is not None:
                image = ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)
            return np.array(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as e:
        raise ValueError(f"{path} cannot be read as an image: {e}.") from e


def _folder(path: Path, reading: Reading) -> Contents:
    size = None if reading.size is None else height_and_width(reading.size)
    folders = {"train": path / "train", "valid": path / "valid", "test": path / "test"}
    if not folders["valid"].is_dir():
        folders["valid"] = path / "val"
    folders = {s: p for s, p in folders.items() if p.is_dir()}
    if "train" not in folders or len(folders) == 1:
        folders = {"train": path}
    files = {s: _image_paths(p) for s, p in folders.items()}
    for s, paths in files.items():
        if not paths:
            raise ValueError(f"{folders[s]} holds no images; expected files {', '.join(sorted(_IMAGES))}.")
    all_paths = [p for paths in files.values() for p in paths]
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        images = list(pool.map(lambda p: _image(p, size), all_paths))
    for p, image in zip(all_paths, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            (h, w), (h0, w0) = image.shape[:2], images[0].shape[:2]
            raise ValueError(
                f"{p} has {w}x{h} pixels but {all_paths[0]} {w0}x{h0}; expected images of one size. Give size= to"
                " crop squares and resize them."
            )
    if any(i.ndim == 3 for i in images):
        images = [i if i.ndim == 3 else np.stack([i] * 3, 2) for i in images]
    names = [p.relative_to(folders[s]).parts for s, paths in files.items() for p in paths]
    labelled = all(len(n) > 1 for n in names) and len({n[0] for n in names}) > 1

    parts: dict[str, Part] = {}
    start = 0
    for s, paths in files.items():
        end = start + len(paths)
        x = np.stack(images[start:end])
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        parts[s] = Part(x, [n[0] for n in names[start:end]] if labelled else None)
        start = end
    return Contents(parts, reading=reading if size is None else replace(reading, size=size))


# -- numpy ---------------------------------------------------------------------------------------------------


def _binary(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """Convert integer images of only 0 and 1 to booleans: they are binary (as in dSprites), not almost black."""
    is_binary = x.ndim > 2 and x.dtype.kind in "iu" and x.size and x.min() >= 0 and x.max() == 1
    return x.astype(bool) if is_binary else x


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
        fault = "holds pickled objects, which are never loaded" if "pickle" in str(e) else "cannot be read"
        raise ValueError(f"{path} {fault} ({e}); expected a plain array of numbers. Save it as one.") from e
    if parts:
        return Contents(parts)
    raise ValueError(
        f"{path} has the keys {', '.join(keys) or '(none)'}; expected train (and valid, test), or one of"
        f" {', '.join(_FEATURES)}."
    )


_READERS: dict[str, Callable[[Path], Contents]] = {".npy": _numpy, ".npz": _numpy}
