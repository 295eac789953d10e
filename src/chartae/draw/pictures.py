"""Grids, strips and pairs of small images as one picture: from uint8 arrays to uint8 arrays or PNG."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from chartae.records.files import whole_file

__all__ = ["enlarge", "grid", "pairs", "png", "save_png", "strip"]

Picture = NDArray[np.uint8]


def _images(images: ArrayLike, name: str = "images") -> Picture:
    """Convert images (n, C, H, W) to (n, H, W), or (n, H, W, 3) for three or four channels."""
    x = np.asarray(images)
    if x.dtype != np.uint8:
        raise TypeError(f"{name} are {x.dtype}; expected uint8, 0 to 255")
    if x.ndim != 4:
        raise ValueError(f"{name} have shape {x.shape}; expected (n, C, H, W)")
    if 0 in x.shape:
        raise ValueError(f"{name} have shape {x.shape}; expected no dimension of size 0")
    if x.shape[1] == 4:
        opacity = x[:, 3:].astype(np.float32) / 255
        x = np.rint(x[:, :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    if x.shape[1] == 3:
        return x.transpose(0, 2, 3, 1)
    return x[:, 0] if x.shape[1] == 1 else x.mean(1).round().astype(np.uint8)


def _tile(x: Picture, columns: int, pad: int, background: int) -> Picture:
    if columns < 1 or pad < 0 or not 0 <= background <= 255:
        raise ValueError(
            f"columns is {columns}, pad is {pad}, background is {background};"
            " expected columns >= 1, pad >= 0, background in 0 to 255"
        )
    n, h, w = x.shape[:3]
    rows = math.ceil(n / columns)
    out = np.full((rows * (h + pad) + pad, columns * (w + pad) + pad, *x.shape[3:]), background, np.uint8)
    for i, image in enumerate(x):
        top, left = (pad + k * (size + pad) for k, size in zip(divmod(i, columns), (h, w), strict=True))
        out[top : top + h, left : left + w] = image
    return out


def grid(images: ArrayLike, columns: int | None = None, pad: int = 2, background: int = 255) -> Picture:
    """Arrange images in a grid, row by row.

    One channel is shown as grey, three channels as red, green and blue, a fourth one as opacity, on white; for any
    other number of channels their mean is shown.

    Args:
        images: uint8 images (n, C, H, W), n >= 1.
        columns: number of images in a row, >= 1, at most n. By default the grid is as square as possible.
        pad: pixels between and around the images; default 2.
        background: grey level of the pixels outside the images, 0 to 255; default 255 (white).

    Returns:
        A uint8 picture, (H', W') if it is grey, else (H', W', 3).

    Raises:
        TypeError: the images are not uint8.
        ValueError: the images have another shape, there are none, or a number is out of its range.

    >>> import numpy as np
    >>> from chartae.draw.pictures import grid
    >>> grid(np.zeros((5, 1, 28, 28), np.uint8)).shape
    (62, 92)
    """
    x = _images(images)
    columns = math.ceil(math.sqrt(len(x))) if columns is None else columns
    return _tile(x, min(columns, len(x)), pad, background)


def strip(images: ArrayLike, pad: int = 2, background: int = 255) -> Picture:
    """Arrange paths of images, such as interpolations, in one row each.

    Args:
        images: uint8 images of one path (steps, C, H, W), or of several paths (rows, steps, C, H, W).
        pad: pixels between and around the images; default 2.
        background: grey level of the pixels outside the images, 0 to 255; default 255 (white).

    Returns:
        A uint8 picture, (H', W') if it is grey, else (H', W', 3).

    Raises:
        TypeError: the images are not uint8.
        ValueError: the images have another shape, there are none, or a number is out of its range.

    >>> import numpy as np
    >>> from chartae.draw.pictures import strip
    >>> strip(np.zeros((2, 7, 3, 8, 8), np.uint8), pad=1).shape
    (19, 64, 3)
    """
    x = np.asarray(images)
    if x.ndim not in (4, 5):
        raise ValueError(f"images have shape {x.shape}; expected (steps, C, H, W) or (rows, steps, C, H, W)")
    return grid(x.reshape(-1, *x.shape[-3:]), x.shape[-4], pad, background)


def pairs(above: ArrayLike, below: ArrayLike, columns: int = 8, pad: int = 2, background: int = 255) -> Picture:
    """Show each image of one set above its partner of another set, such as inputs above their reconstructions.

    Args:
        above: uint8 images (n, C, H, W), n >= 1.
        below: their partners, of the same shape.
        columns: pairs in a row, >= 1, at most n; default 8.
        pad: pixels between and around the images; default 2. Rows of pairs are four times as far apart.
        background: grey level of the pixels outside the images, 0 to 255; default 255 (white).

    Returns:
        A uint8 picture, (H', W') if it is grey, else (H', W', 3).

    Raises:
        TypeError: the images are not uint8.
        ValueError: the shapes differ or are not valid, there are no images, or a number is out of its range.

    >>> import numpy as np
    >>> from chartae.draw.pictures import pairs
    >>> pairs(np.zeros((8, 1, 4, 4), np.uint8), np.ones((8, 1, 4, 4), np.uint8), columns=4, pad=1).shape
    (24, 21)
    """
    a, b = _images(above, "the images above"), _images(below, "the images below")
    if a.shape != b.shape:
        raise ValueError(
            f"the images above have shape {np.shape(above)}, those below {np.shape(below)}; expected the same shape"
        )
    columns = min(columns, len(a))
    bands: list[Picture] = []
    for i in range(0, len(a), max(columns, 1)):
        rows = np.full((2, columns, *a.shape[1:]), background, np.uint8)
        for row, x in zip(rows, (a, b), strict=True):
            row[: len(x[i : i + columns])] = x[i : i + columns]
        band = _tile(rows.reshape(-1, *a.shape[1:]), columns, pad, background)
        bands += [np.full((2 * pad, *band.shape[1:]), background, np.uint8), band]
    return np.concatenate(bands[1:])


def enlarge(picture: Picture, factor: int) -> Picture:
    """Enlarge a picture without smoothing: every pixel becomes a square.

    Args:
        picture: uint8 picture (H, W), (H, W, 3) or (H, W, 4).
        factor: side of the square in pixels, an integer >= 1.

    Returns:
        The picture, with H and W multiplied by `factor`.

    Raises:
        TypeError: the picture is not uint8.
        ValueError: the picture has another shape, or `factor` is smaller than 1.

    >>> import numpy as np
    >>> from chartae.draw.pictures import enlarge
    >>> enlarge(np.array([[0, 9]], np.uint8), 2)
    array([[0, 0, 9, 9],
           [0, 0, 9, 9]], dtype=uint8)
    """
    if factor < 1:
        raise ValueError(f"factor is {factor}; expected an integer >= 1")
    return _picture(picture).repeat(factor, 0).repeat(factor, 1)


def _picture(picture: ArrayLike) -> Picture:
    x = np.asarray(picture)
    if x.dtype != np.uint8:
        raise TypeError(f"the picture is {x.dtype}; expected uint8, 0 to 255")
    if x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[2] not in (3, 4)) or 0 in x.shape:
        raise ValueError(f"the picture has shape {x.shape}; expected (H, W), (H, W, 3) or (H, W, 4), none of size 0")
    return x


def png(picture: Picture) -> bytes:
    """Encode a picture as PNG.

    Args:
        picture: uint8 picture: grey (H, W), colour (H, W, 3), or colour with opacity (H, W, 4).

    Returns:
        The bytes of a PNG file.

    Raises:
        TypeError: the picture is not uint8.
        ValueError: the picture has another shape.

    >>> import numpy as np
    >>> from chartae.draw.pictures import png
    >>> png(np.zeros((2, 2), np.uint8))[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(_picture(picture))).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: str | Path, picture: Picture) -> Path:
    """Write a picture to a PNG file. The write is atomic: an interrupted call leaves no partial file at `path`.

    Args:
        path: path of the file; its folder is created if it does not exist.
        picture: uint8 picture: grey (H, W), colour (H, W, 3), or colour with opacity (H, W, 4).

    Returns:
        The path of the file.

    Raises:
        TypeError: the picture is not uint8.
        ValueError: the picture has another shape.

    >>> import tempfile
    >>> import numpy as np
    >>> from chartae.draw.pictures import save_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_png(f"{folder}/new/picture.png", np.zeros((2, 2), np.uint8)).name
    'picture.png'
    """
    data = png(picture)
    with whole_file(path) as part:
        part.write_bytes(data)
    return Path(path)
