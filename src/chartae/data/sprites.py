"""Sprites: images of one triangle, whose position, size and hue are the ground-truth factors.

z = factors(1000, seed=0)         # (N, 4): x, y, scale, hue
x = draw(z)                       # (N, 3, 64, 64) uint8
x = draw(grid(hue=[0.0, 0.2, 0.4]))
"""

from __future__ import annotations

import colorsys
import contextlib
import math
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from torch import Tensor

from chartae.data.arrays import as_tensor
from chartae.maths.private import standard_gamma
from chartae.records.files import whole_file

__all__ = ["FACTORS", "RANGES", "cached", "draw", "factors", "grid", "shapes"]

#: names of the factors: centre (in widths of the frame, y upwards), square root of the area, hue
FACTORS = ("x", "y", "scale", "hue")
#: (low, width) of each factor, which is low + width B with B ~ Beta(a_k, b_k)
RANGES = ((0.2, 0.55), (0.2, 0.55), (0.11, 0.09), (0.0, 1.0))
#: supersampling factor along each side
FINER = 5
#: margin in pixels around the triangle, for the Lanczos kernel (3 pixels each way)
REACH = 4
#: number of images drawn at once
CHUNK = 250

# corners of a regular triangle of area 1 that points upwards
_RADIUS = 1 / math.sqrt(3 * math.sqrt(3) / 4)
_ANGLES = math.pi / 2 + 2 * math.pi / 3 * np.arange(3)
_CORNERS = _RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


def shapes(seed: int = 0) -> Float[Tensor, "4 2"]:
    """Shapes (a_k, b_k) of the Beta distributions of the four factors, each drawn from U(2, 15).

    Args:
        seed: seed of the draws; default 0.

    Returns:
        (4, 2) float64.

    >>> from chartae.data import sprites
    >>> sprites.shapes(seed=0).shape
    torch.Size([4, 2])
    """
    return _shapes(torch.Generator().manual_seed(seed))


def _shapes(generator: torch.Generator) -> Tensor:
    return 2 + 13 * torch.rand(len(FACTORS), 2, generator=generator, dtype=torch.float64)


def factors(n: int, seed: int = 0) -> Float[Tensor, "N 4"]:
    """Draw independent factors: ``low_k + width_k Beta(a_k, b_k)``, with `RANGES` and `shapes`.

    As in the code of Reizinger et al. (2022, arXiv:2206.02416), the seed determines the shapes as well as the draws.

    Args:
        n: number of images; >= 1.
        seed: seed of the shapes and the draws; default 0.

    Returns:
        (n, 4) float64: x, y, scale, hue.

    Raises:
        ValueError: `n` is below 1.

    >>> from chartae.data import sprites
    >>> z = sprites.factors(1000)
    >>> z.shape, bool((z[:, 2] > 0.11).all() and (z[:, 2] < 0.2).all())
    (torch.Size([1000, 4]), True)
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1.")
    generator = torch.Generator().manual_seed(seed)
    a, b = (standard_gamma(v.repeat(n, 1), generator) for v in _shapes(generator).unbind(1))
    low, width = torch.tensor(RANGES, dtype=torch.float64).unbind(1)
    return low + width * a / (a + b)


def grid(**values: Iterable[float]) -> Float[Tensor, "N 4"]:
    """All combinations of the given values of the factors; the last factor varies fastest.

    Args:
        **values: values of each of ``x``, ``y``, ``scale`` and ``hue``; by default the middle of the range.

    Returns:
        (N, 4) float64: x, y, scale, hue.

    Raises:
        ValueError: there is no such factor, or its values are not a list of numbers.

    >>> from chartae.data import sprites
    >>> sprites.grid(x=[0.3, 0.5], hue=[0.0, 0.5])
    tensor([[0.3000, 0.4750, 0.1550, 0.0000],
            [0.3000, 0.4750, 0.1550, 0.5000],
            [0.5000, 0.4750, 0.1550, 0.0000],
            [0.5000, 0.4750, 0.1550, 0.5000]], dtype=torch.float64)
    """
    if unknown := set(values) - set(FACTORS):
        raise ValueError(f"there is no factor {sorted(unknown)[0]!r}; expected {', '.join(FACTORS)}.")
    columns = [
        torch.as_tensor(list(values.get(name, [low + width / 2])), dtype=torch.float64)
        for name, (low, width) in zip(FACTORS, RANGES, strict=True)
    ]
    for name, v in zip(FACTORS, columns, strict=True):
        if v.ndim != 1 or not len(v):
            raise ValueError(f"{name} has shape {tuple(v.shape)}; expected a list of numbers.")
    return torch.cartesian_prod(*columns)


def draw(
    factors: ArrayLike, size: int = 64, *, progress: Callable[[int], object] | None = None
) -> UInt8[Tensor, "N 3 size size"]:
    """Draw an image of one triangle on black for each row of factors.

    The triangle is regular and points upwards. Its centre is (x, y) in widths of the frame (y upwards), its area
    ``scale^2`` of the frame, its colour HSV (hue, 1, 1). It is drawn at `FINER` times the resolution and downsampled
    with the Lanczos kernel. Its edge is included, which adds a few per cent to the area. Parts outside the frame are
    cut off. An image takes half a millisecond.

    Args:
        factors: (N, 4) finite numbers x, y, scale > 0, hue, such as those of `factors` or `grid`.
        size: side of the images in pixels; >= 1; default 64.
        progress: function that is called with the number of images drawn since its last call; None by default.

    Returns:
        (N, 3, size, size) uint8.

    Raises:
        ValueError: the factors have a wrong shape, are not finite, or a scale is not positive; `size` is below 1.

    >>> from chartae.data import sprites
    >>> sprites.draw([[0.5, 0.5, 0.2, 0.0]])[0, :, 32, 32]
    tensor([255,   0,   0], dtype=torch.uint8)
    """
    z = as_tensor(factors, "factors").double()
    if z.ndim != 2 or z.shape[1] != len(FACTORS):
        raise ValueError(f"factors has shape {tuple(z.shape)}; expected (N, 4): {', '.join(FACTORS)}.")
    if not z.isfinite().all() or not (z[:, 2] > 0).all():
        raise ValueError("factors holds a scale of 0 or below, NaN or infinity; expected finite numbers and scale > 0.")
    if size < 1:
        raise ValueError(f"size is {size}; expected a number of pixels of at least 1.")
    rows = z.cpu().numpy()
    out = np.zeros((len(rows), size, size, 3), np.uint8)
    for i in range(0, len(rows), CHUNK):
        drawn = _draw(rows[i : i + CHUNK], out[i : i + CHUNK], size)
        if progress is not None:
            progress(drawn)
    # y is upwards, rows of an image go downwards
    return torch.from_numpy(out).flip(1).permute(0, 3, 1, 2).contiguous()


def _draw(rows: np.ndarray, out: np.ndarray, size: int) -> int:
    """Draw into `out` (N, size, size, 3), upside down; one canvas is used, and only the triangle's box downsampled."""
    from PIL import Image, ImageDraw

    fine = size * FINER
    canvas = Image.new("RGB", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    corners = (_CORNERS * rows[:, 2, None, None] + rows[:, None, :2]) * fine
    low = np.clip(np.floor(corners.min(1) / FINER) - REACH, 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(1) / FINER) + REACH + 1, 0, size).astype(int)
    for row, points, (i, j), (k, m), picture in zip(
        rows, corners.tolist(), low.tolist(), high.tolist(), out, strict=True
    ):
        if i >= k or j >= m:
            continue
        colour = tuple(int(255 * v) for v in colorsys.hsv_to_rgb(row[3], 1.0, 1.0))
        box = (i * FINER, j * FINER, k * FINER, m * FINER)
        pen.polygon([tuple(p) for p in points], fill=colour)
        picture[j:m, i:k] = np.asarray(canvas.resize((k - i, m - j), Image.Resampling.LANCZOS, box=box))
        pen.rectangle(box, fill=0)
    return len(rows)


def cached(n: int, seed: int, folder: Path) -> tuple[UInt8[Tensor, "N 3 64 64"], Float[Tensor, "N 4"]]:
    """Load images and their factors from ``<folder>/sprites-<n>-<seed>.npz``, or draw and save them.

    A damaged file, or one with other contents, is replaced. If the file cannot be written, the images are drawn each
    time.

    Args:
        n: number of images; >= 1.
        seed: seed of `factors`.
        folder: folder of the file; created if necessary.

    Returns:
        (n, 3, 64, 64) uint8 images and (n, 4) float64 factors.
    """
    path = folder / f"sprites-{n}-{seed}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as f:
            images, z = f["images"], f["factors"]
        if images.shape == (n, 3, 64, 64) and images.dtype == np.uint8 and z.shape == (n, 4):
            return torch.from_numpy(images), torch.from_numpy(z.astype(np.float64))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    drawn_factors = factors(n, seed)
    drawn_images = _draw_with_bar(drawn_factors)
    with contextlib.suppress(OSError), whole_file(path) as part:  # the cache is no more than a saving of time
        np.savez_compressed(
            part, images=drawn_images.numpy(), factors=drawn_factors.numpy(), shapes=shapes(seed).numpy()
        )
    return drawn_images, drawn_factors


def _draw_with_bar(z: Tensor) -> Tensor:
    """Draw the images, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing sprites", total=len(z))
        return draw(z, progress=lambda n: bar.advance(task, n))
