"""Many small images as one picture: grids, strips, pairs; uint8 arrays in, uint8 arrays or PNG out."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

__all__ = ["enlarge", "grid", "pairs", "png", "save_png", "strip"]

Picture = NDArray[np.uint8]


def _images(images: ArrayLike, name: str = "images") -> Picture:
    """`images` as (n, H, W) or (n, H, W, 3)."""
    x = np.asarray(images)
    if x.dtype != np.uint8:
        raise TypeError(f"{name} are {x.dtype}; a picture is made of uint8 from 0 to 255")
    if x.ndim != 4:
        raise ValueError(f"{name} have shape {x.shape}; give (n, C, H, W)")
    if 0 in x.shape:
        raise ValueError(f"{name} have shape {x.shape}: there is nothing to show")
    if x.shape[1] == 3:
        return x.transpose(0, 2, 3, 1)
    return x[:, 0] if x.shape[1] == 1 else x.mean(1).round().astype(np.uint8)


def _tile(x: Picture, columns: int, pad: int, background: int) -> Picture:
    if columns < 1 or pad < 0 or not 0 <= background <= 255:
        raise ValueError(
            f"columns={columns}, pad={pad}, background={background}; "
            "take columns from 1, pad from 0, a grey from 0 to 255"
        )
    n, h, w = x.shape[:3]
    rows = math.ceil(n / columns)
    out = np.full((rows * (h + pad) + pad, columns * (w + pad) + pad, *x.shape[3:]), background, np.uint8)
    for i, image in enumerate(x):
        top, left = (pad + k * (size + pad) for k, size in zip(divmod(i, columns), (h, w), strict=True))
        out[top : top + h, left : left + w] = image
    return out


def grid(images: ArrayLike, columns: int | None = None, pad: int = 2, background: int = 255) -> Picture:
    """Images (n, C, H, W) side by side, row by row: (H', W') grey or (H', W', 3).

    One channel is grey and three are red, green and blue; of any other number of channels the mean is shown.

    Args:
        images: uint8, as an array or anything NumPy reads as one.
        columns: images in a row; as square as can be by default, and never more than there are images.
        pad: pixels between the images and around them.
        background: the grey, 0..255, of what no image covers.

    Raises:
        TypeError: images that are not uint8.
        ValueError: another shape, no images, or a number out of its range.

    >>> grid(np.zeros((5, 1, 28, 28), np.uint8)).shape
    (62, 92)
    """
    x = _images(images)
    columns = math.ceil(math.sqrt(len(x))) if columns is None else columns
    return _tile(x, min(columns, len(x)), pad, background)


def strip(images: ArrayLike, pad: int = 2, background: int = 255) -> Picture:
    """A path of images (steps, C, H, W) as one row, or several paths (rows, steps, C, H, W) as one row each.

    >>> strip(np.zeros((2, 7, 3, 8, 8), np.uint8), pad=1).shape
    (19, 64, 3)
    """
    x = np.asarray(images)
    if x.ndim not in (4, 5):
        raise ValueError(f"images have shape {x.shape}; give (steps, C, H, W) or (rows, steps, C, H, W)")
    return grid(x.reshape(-1, *x.shape[-3:]), x.shape[-4], pad, background)


def pairs(above: ArrayLike, below: ArrayLike, columns: int = 8, pad: int = 2, background: int = 255) -> Picture:
    """Each image of one set over its partner of another, `columns` pairs in a row, the rows four pads apart.

    >>> pairs(np.zeros((8, 1, 4, 4), np.uint8), np.ones((8, 1, 4, 4), np.uint8), columns=4, pad=1).shape
    (24, 21)
    """
    a, b = _images(above, "the images above"), _images(below, "the images below")
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} images above and {b.shape} below make no pairs; give the same number and size")
    columns = min(columns, len(a))
    bands: list[Picture] = []
    for i in range(0, len(a), max(columns, 1)):
        part = np.full((2, columns, *a.shape[1:]), background, np.uint8)
        for row, x in zip(part, (a, b), strict=True):
            row[: len(x[i : i + columns])] = x[i : i + columns]
        band = _tile(part.reshape(-1, *a.shape[1:]), columns, pad, background)
        bands += [np.full((2 * pad, *band.shape[1:]), background, np.uint8), band]
    return np.concatenate(bands[1:])


def enlarge(picture: Picture, factor: int) -> Picture:
    """Every pixel of a picture (H, W[, 3]) as a square of `factor` x `factor`: nothing is smoothed.

    >>> enlarge(np.array([[0, 9]], np.uint8), 2)
    array([[0, 0, 9, 9],
           [0, 0, 9, 9]], dtype=uint8)
    """
    if factor < 1:
        raise ValueError(f"factor={factor}; a picture is enlarged by a whole number from 1")
    return _picture(picture).repeat(factor, 0).repeat(factor, 1)


def _picture(picture: ArrayLike) -> Picture:
    x = np.asarray(picture)
    if x.dtype != np.uint8:
        raise TypeError(f"the picture is {x.dtype}; give uint8 from 0 to 255")
    if x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[2] not in (3, 4)) or 0 in x.shape:
        raise ValueError(f"the picture has shape {x.shape}; give (H, W), (H, W, 3) or (H, W, 4)")
    return x


def png(picture: Picture) -> bytes:
    """A picture (H, W), (H, W, 3) or, with opacity, (H, W, 4) as the bytes of a PNG file.

    >>> png(np.zeros((2, 2), np.uint8))[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(_picture(picture))).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: str | Path, picture: Picture) -> Path:
    """Write a picture as a PNG file, whole or not at all; its folder is made where it is absent."""
    path, data = Path(path), png(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)
    return path
