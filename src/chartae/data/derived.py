"""Views of a set of grey images, selected by a suffix of its name: ``mnist+coloured``, ``fashion-mini+edges``."""

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

__all__ = ["VIEWS", "derive", "disjoint_halves", "split_views"]

#: number of images that are transformed at once
_SLICE = 4096


def _coloured(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Colour each image in one random hue at full saturation; the grey level becomes the value V of HSV.

    The hue h is uniform on [0, 1). Red is ``clip(|6h - 3| - 1, 0, 1)``; green and blue are the same function of h
    shifted by a third.
    """
    hue = torch.from_numpy(rng.random(len(x))).to(x.dtype)
    shifted = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0], dtype=x.dtype)) % 6
    colour = ((shifted - 3).abs() - 1).clamp(0, 1)
    return x * colour[:, :, None, None]


def _edges(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Length of the Sobel gradient, scaled such that the steepest straight edge has level 1."""
    horizontal = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype) / 4
    kernels = torch.stack([horizontal, horizontal.T])[:, None]
    slopes = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)
    return slopes.square().sum(1, keepdim=True).sqrt().clamp(0, 1)


def _inverted(x: Tensor, rng: np.random.Generator) -> Tensor:
    return 1 - x


#: suffix -> function of grey images in [0, 1] and a random generator
VIEWS: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "coloured": _coloured,
    "edges": _edges,
    "inverted": _inverted,
}


def split_views(name: str) -> tuple[str, tuple[str, ...]]:
    """Split a name or path with suffixes into the data set and its views.

    Args:
        name: such as ``"mnist+edges"`` or ``"x.npy+edges"``. A "+" followed by a dot or a slash belongs to a path.

    Returns:
        (data set, suffixes); the suffixes are not checked against `VIEWS`.

    >>> from chartae.data import split_views
    >>> split_views("mnist+edges+inverted"), split_views("a+b/x.npy+edges")
    (('mnist', ('edges', 'inverted')), ('a+b/x.npy', ('edges',)))
    """
    base, plus, last = name.rpartition("+")
    if not base or not plus or any(mark in last for mark in "./\\"):
        return name, ()
    first, views = split_views(base)
    return first, (*views, last)


def derive(data: Dataset, view: str, *, seed: int = 0) -> Dataset:
    """Transform every image of a data set of grey images; splits and labels stay the same.

    Args:
        data: grey images (1, H, W).
        view: one of `VIEWS`: ``"coloured"``, each image in one random hue at full saturation, (3, H, W);
            ``"edges"``, the length of the Sobel gradient, (1, H, W); ``"inverted"``, black for white.
        seed: seed of the hues; default 0. The hue of an image depends only on the seed, the split and its index.

    Returns:
        The data set of the transformed images, named ``<name>+<view>``.

    Raises:
        ValueError: the view is unknown, or the examples are not grey images.

    >>> import torch
    >>> from chartae.data import derive, from_arrays
    >>> data = from_arrays(torch.rand(20, 8, 8), name="noise")
    >>> derive(data, "coloured").shape, derive(data, "inverted").name
    ((3, 8, 8), 'noise+inverted')
    """
    if view not in VIEWS:
        raise ValueError(
            f"view is {view!r}; expected a view of {data.name}: one of {', '.join(f'+{v}' for v in VIEWS)}."
        )
    if len(data.shape) != 3 or data.shape[0] != 1:
        raise ValueError(f"examples of {data.name} have shape {data.shape}; +{view} expects grey images (1, H, W).")
    parts: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        x: Tensor = getattr(data, split)
        rng = np.random.default_rng((seed, number))
        has_levels = x.dtype == torch.uint8
        slices = [VIEWS[view](part.float() / 255 if has_levels else part, rng) for part in x.split(_SLICE)]
        images = torch.cat(slices)
        parts[split] = (images * 255).round().to(torch.uint8) if has_levels else images
    name = f"{data.name}+{view}"
    kind = Images.of(parts["train"])
    return replace(data, name=name, train=parts["train"], valid=parts["valid"], test=parts["test"], kind=kind)


def disjoint_halves(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Random halves of two views of the same examples, such that no example is in both.

    Args:
        x, y: (N, ...), two views: row i of both is the same example; N >= 2.
        seed: seed of the random halves.

    Returns:
        (N // 2, ...) rows of `x`, and (N - N // 2, ...) other rows of `y`.

    Raises:
        ValueError: the views differ in length, or have fewer than 2 rows.

    >>> import torch
    >>> from chartae.data import disjoint_halves
    >>> x = torch.arange(6)
    >>> a, b = disjoint_halves(x, x + 100, seed=0)
    >>> sorted(a.tolist() + (b - 100).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"x and y have {len(x)} and {len(y)} examples; expected as many of each, at least 2.")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    half = len(x) // 2
    return x[order[:half]], y[order[half:]]
