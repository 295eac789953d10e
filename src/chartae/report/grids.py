"""Grids of images: samples, reconstructions, interpolations."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from chartae.draw import pictures
from chartae.draw.pictures import Picture
from chartae.records.pictures import Images, Pictures
from chartae.report.embedded import Embedded, uri
from chartae.report.names import densities, title

__all__ = ["interpolations", "reconstructions", "samples"]

# thin and grey, so that the gaps do not distract from the images, on a white page or a black one
GAP: dict[str, int] = {"pad": 1, "background": 128}


def samples(shown: Pictures, budget: int, best: str | None) -> list[Embedded]:
    """Grids of samples, one per density with the best first, then a grid of test data.

    Args:
        shown: pictures of a run.
        budget: largest number of bytes of images in a grid.
        best: density that comes first.
    """
    names = sorted(densities(shown.samples), key=lambda n: n != best)
    names += [name for name in shown.samples if name.startswith("translation")]
    grids = [_grid(name, shown.samples[name], title(name), budget) for name in names]
    if grids and shown.originals is not None:
        grids.append(_grid("", shown.originals, "Test data", budget))
    return grids


def reconstructions(shown: Pictures, budget: int) -> Embedded | None:
    """Test examples, each above its reconstruction, in at most `budget` bytes; None without any."""
    a, b = shown.originals, shown.reconstructions
    if a is None or b is None:
        return None
    k = _fitting(a, budget // 2, 24)
    columns = min(k, 12)
    k = k // columns * columns
    picture = _legible(pictures.pairs(a[:k], b[:k], columns, **GAP), max(a.shape[-2:]))
    note = f"{k} of {len(a)} test examples, each above its reconstruction" + _channels(a)
    return Embedded("Original above reconstruction", note, uri(picture), note=note)


def interpolations(shown: Pictures, budget: int) -> list[Embedded]:
    """Paths between test examples, one picture for each kind of path, in at most `budget` bytes each."""
    images = []
    for kind, x in sorted(shown.interpolations.items()):
        k = _fitting(x, budget, 8, least=2)
        picture = _legible(pictures.strip(x[:k], **GAP), max(x.shape[-2:]))
        how = {"linear": "straight line", "spherical": "great circle"}.get(kind, kind)
        note = f"{k} of {len(x)} paths of {x.shape[1]} steps: {how}" + _channels(x)
        images.append(Embedded(kind.capitalize(), f"rows of images, {note}", uri(picture), note=note))
    return images


def _grid(name: str, x: Images, heading: str, budget: int) -> Embedded:
    k = _fitting(x, budget, 64)
    columns = math.isqrt(k) if k >= 4 else k
    k = k // columns * columns  # only full rows
    picture = _legible(pictures.grid(x[:k], columns, **GAP), max(x.shape[-2:]))
    note = (f"{k}" if k == len(x) else f"{k} of {len(x)}") + _channels(x)
    return Embedded(heading, f"{k} images: {heading}", uri(picture), note=note, name=name)


def _legible(picture: Picture, side: int) -> Picture:
    """Scale a picture of images with `side` pixels so that each has about 84 to 168 pixels."""
    if side > 168:
        return np.asarray(Image.fromarray(picture).reduce(side // 84))
    return pictures.enlarge(picture, math.ceil(84 / side))


def _fitting(x: Images, budget: int, most: int, least: int = 8) -> int:
    """How many of the images fit into `budget` bytes at the size at which they are shown."""
    side = max(x.shape[-2:])
    shrink = side // 84 if side > 168 else 1
    return min(len(x), most, max(least, budget * shrink**2 // x[0].size))


def _channels(x: Images) -> str:
    return "" if x.shape[-3] in (1, 3) else f"; the mean of {x.shape[-3]} channels"
