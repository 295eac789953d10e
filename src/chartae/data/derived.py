"""Other views of a set of grey pictures, by a suffix of its name: ``mnist+coloured``, ``fashion-mini+edges``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from chartae.data.arrays import SPLITS
from chartae.data.dataset import Dataset
from chartae.data.kinds import Images

__all__ = ["VIEWS", "apart", "derive", "taken_apart"]

#: pictures that are worked on at once
_SLICE = 4096


def _coloured(x: Tensor, rng: np.random.Generator) -> Tensor:
    """V -> V (R, G, B) of one hue at full saturation, uniform on the circle: the value of HSV is the grey level.

    Of hue h in turns, red is clip(|6h - 3| - 1, 0, 1), green and blue the same a third of a turn on.
    """
    hue = torch.from_numpy(rng.random(len(x))).to(x.dtype)
    around = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0], dtype=x.dtype)) % 6
    colour = ((around - 3).abs() - 1).clamp(0, 1)
    return x * colour[:, :, None, None]


def _edges(x: Tensor, rng: np.random.Generator) -> Tensor:
    """The length of the gradient by Sobel's differences, so that the steepest straight edge has the level 1."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype) / 4
    kernels = torch.stack([across, across.T])[:, None]
    slopes = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)
    return slopes.square().sum(1, keepdim=True).sqrt().clamp(0, 1)


def _inverted(x: Tensor, rng: np.random.Generator) -> Tensor:
    return 1 - x


#: suffix -> what becomes of grey pictures in [0, 1], with random numbers of the split
VIEWS: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "coloured": _coloured,
    "edges": _edges,
    "inverted": _inverted,
}


def taken_apart(name: str) -> tuple[str, tuple[str, ...]]:
    """The set that a name or path begins with, and its suffixes, known or not.

    >>> taken_apart("mnist+edges+inverted"), taken_apart("a+b/x.npy+edges")
    (('mnist', ('edges', 'inverted')), ('a+b/x.npy', ('edges',)))
    """
    base, plus, last = name.rpartition("+")
    if not base or not plus or any(mark in last for mark in "./\\"):
        return name, ()
    first, views = taken_apart(base)
    return first, (*views, last)


def derive(data: Dataset, view: str, *, seed: int = 0) -> Dataset:
    """The same splits and labels, every picture as one of `VIEWS` shows it.

    * ``coloured``: each picture in one hue at full saturation, uniform at random, (3, H, W);
    * ``edges``: the length of the gradient (Sobel), (1, H, W);
    * ``inverted``: black for white.

    The picture of an index is the same every time: hues are drawn by `seed` and the split, in the order of the index.

    Raises:
        ValueError: an unknown view, or data that are not grey pictures.

    >>> from chartae.data import from_arrays
    >>> derive(from_arrays(torch.rand(20, 8, 8), name="some"), "coloured").shape
    (3, 8, 8)
    """
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r} of {data.name}; choose from {', '.join(f'+{v}' for v in VIEWS)}")
    if len(data.shape) != 3 or data.shape[0] != 1:
        raise ValueError(
            f"+{view} is a view of grey pictures (1, H, W), but examples of {data.name} have shape {data.shape}"
        )
    parts: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        x: Tensor = getattr(data, split)
        rng = np.random.default_rng((seed, number))
        levels = x.dtype == torch.uint8
        seen = [VIEWS[view](part.float() / 255 if levels else part, rng) for part in x.split(_SLICE)]
        found = torch.cat(seen)
        parts[split] = (found * 255).round().to(torch.uint8) if levels else found
    name = f"{data.name}+{view}"
    kind = Images.of(parts["train"])
    return replace(data, name=name, train=parts["train"], valid=parts["valid"], test=parts["test"], kind=kind)


def apart(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Of two views of the same examples disjoint halves, drawn by `seed`: no example is in both."""
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"there are {len(x)} and {len(y)} examples of one set; give as many of each, at least 2")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    half = len(x) // 2
    return x[order[:half]], y[order[half:]]
