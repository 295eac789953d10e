"""Sprites: pictures of one triangle, whose place, size and hue are the factors to be found again.

z = factors(1000, seed=0)         # (N, 4): x, y, scale, hue
x = draw(z)                       # (N, 3, 64, 64) uint8
x = draw(grid(hue=[0.0, 0.2, 0.4]))
"""

from __future__ import annotations

import colorsys
import contextlib
import math
import os
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

__all__ = ["FACTORS", "RANGES", "cached", "draw", "factors", "grid", "shapes"]

#: the columns of factors: the centre (in widths of the frame, y upwards), the root of the area, the hue
FACTORS = ("x", "y", "scale", "hue")
#: (low, width) of each factor: it is low + width B, B ~ Beta(a_k, b_k)
RANGES = ((0.2, 0.55), (0.2, 0.55), (0.11, 0.09), (0.0, 1.0))
#: pixels drawn for one pixel kept, along each side
FINER = 5
#: pixels around the triangle that Lanczos's kernel (3 each way) may reach
REACH = 4
#: pictures drawn in one go
CHUNK = 250

# regular, of area 1, a corner up
_RADIUS = 1 / math.sqrt(3 * math.sqrt(3) / 4)
_ANGLES = math.pi / 2 + 2 * math.pi / 3 * np.arange(3)
_CORNERS = _RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


def shapes(seed: int = 0) -> Float[Tensor, "4 2"]:
    """(a_k, b_k) of the four Betas, each drawn from U(2, 15)."""
    return _shapes(torch.Generator().manual_seed(seed))


def _shapes(generator: torch.Generator) -> Tensor:
    return 2 + 13 * torch.rand(len(FACTORS), 2, generator=generator, dtype=torch.float64)


def factors(n: int, seed: int = 0) -> Float[Tensor, "N 4"]:
    """`n` independent draws of the factors, float64: low_k + width_k Beta(a_k, b_k), see `RANGES` and `shapes`.

    The seed draws the Betas as well as from them (Reizinger et al., 2022, arXiv:2206.02416, and its code).
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one picture")
    generator = torch.Generator().manual_seed(seed)
    a, b = (standard_gamma(v.repeat(n, 1), generator) for v in _shapes(generator).unbind(1))
    low, width = torch.tensor(RANGES, dtype=torch.float64).unbind(1)
    return low + width * a / (a + b)


def grid(**values: Iterable[float]) -> Float[Tensor, "N 4"]:
    """Every combination of the values given for x, y, scale, hue, the last one fastest; float64.

    A factor that is not named stays at the middle of its range.

    >>> grid(x=[0.3, 0.5], hue=[0.0, 0.5])
    tensor([[0.3000, 0.4750, 0.1550, 0.0000],
            [0.3000, 0.4750, 0.1550, 0.5000],
            [0.5000, 0.4750, 0.1550, 0.0000],
            [0.5000, 0.4750, 0.1550, 0.5000]], dtype=torch.float64)
    """
    if unknown := set(values) - set(FACTORS):
        raise ValueError(f"there is no factor {sorted(unknown)[0]!r}; they are {', '.join(FACTORS)}")
    each = [
        torch.as_tensor(list(values.get(name, [low + width / 2])), dtype=torch.float64)
        for name, (low, width) in zip(FACTORS, RANGES, strict=True)
    ]
    for name, v in zip(FACTORS, each, strict=True):
        if v.ndim != 1 or not len(v):
            raise ValueError(f"{name} has shape {tuple(v.shape)}; give a list of numbers")
    return torch.cartesian_prod(*each)


def draw(
    factors: ArrayLike, size: int = 64, *, progress: Callable[[int], object] | None = None
) -> UInt8[Tensor, "N 3 size size"]:
    """The pictures of factors (N, 4) = (x, y, scale, hue): one triangle on black, (N, 3, size, size) uint8.

    A regular triangle, a corner up, its centre at (x, y) of the frame (y upwards), its area scale^2 of the frame, of
    the colour HSV (hue, 1, 1); drawn `FINER` times as fine and reduced by Lanczos's kernel. The edge belongs to it,
    which adds a few per cent to the area. What lies outside of the frame is cut off. A picture takes half a
    millisecond.

    Args:
        factors: what `factors` or `grid` give, or any array of finite numbers, scale > 0.
        size: of a side, in pixels.
        progress: called with the number of pictures drawn since it was last called.

    >>> draw([[0.5, 0.5, 0.2, 0.0]])[0, :, 32, 32]
    tensor([255,   0,   0], dtype=torch.uint8)
    """
    z = as_tensor(factors, "factors").double()
    if z.ndim != 2 or z.shape[1] != len(FACTORS):
        raise ValueError(f"factors have shape {tuple(z.shape)}; give (N, 4): {', '.join(FACTORS)}")
    if not z.isfinite().all() or not (z[:, 2] > 0).all():
        raise ValueError("factors must be finite, and the scale above 0")
    if size < 1:
        raise ValueError(f"size is {size}; expected a number of pixels of at least 1")
    rows = z.cpu().numpy()
    out = np.zeros((len(rows), size, size, 3), np.uint8)
    for i in range(0, len(rows), CHUNK):
        done = _draw(rows[i : i + CHUNK], out[i : i + CHUNK], size)
        if progress is not None:
            progress(done)
    # rows from the bottom up
    return torch.from_numpy(out).flip(1).permute(0, 3, 1, 2).contiguous()


def _draw(rows: np.ndarray, out: np.ndarray, size: int) -> int:
    """Into `out` (N, size, size, 3), rows upside down: on one canvas, of which only the triangle's part is reduced."""
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
    """`n` pictures and their factors from ``folder/sprites-<n>-<seed>.npz``, drawn and written where it is not there.

    A file that is damaged or of other contents is written anew; where none can be written, the pictures are drawn
    each time.
    """
    path = folder / f"sprites-{n}-{seed}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as f:
            images, z = f["images"], f["factors"]
        if images.shape == (n, 3, 64, 64) and images.dtype == np.uint8 and z.shape == (n, 4):
            return torch.from_numpy(images), torch.from_numpy(z.astype(np.float64))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    true = factors(n, seed)
    drawn = _with_bar(true)
    part = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(part, images=drawn.numpy(), factors=true.numpy(), shapes=shapes(seed).numpy())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
    return drawn, true


def _with_bar(z: Tensor) -> Tensor:
    """The pictures, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing sprites", total=len(z))
        return draw(z, progress=lambda n: bar.advance(task, n))
