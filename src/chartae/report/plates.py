"""What is shown as it is: grids of samples, reconstructions, interpolations."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from chartae.draw import pictures
from chartae.report.charts import _clouds, _Image, _Picture, _uri
from chartae.report.reading import _Array
from chartae.report.words import _densities, _title

# thin and grey: the gaps must not outshine the images on a white page or on a black one
GAP: dict[str, int] = {"pad": 1, "background": 128}


def _legible(picture: _Picture, side: int) -> _Picture:
    """The picture of images `side` pixels wide, each of them now about 84 to 168."""
    if side > 168:
        return np.asarray(Image.fromarray(picture).reduce(side // 84))
    return pictures.enlarge(picture, math.ceil(84 / side))


def _few(x: _Picture, budget: int, most: int, least: int = 8) -> int:
    """How many of the images fit the page: `budget` bytes as they are shown."""
    side = max(x.shape[-2:])
    shrink = side // 84 if side > 168 else 1
    return min(len(x), most, max(least, budget * shrink**2 // x[0].size))


def _channels(x: _Picture) -> str:
    return "" if x.shape[-3] in (1, 3) else f"; the mean of {x.shape[-3]} channels"


def _grid(name: str, x: _Picture, title: str, budget: int) -> _Image:
    k = _few(x, budget, 64)
    columns = math.isqrt(k) if k >= 4 else k
    k = k // columns * columns  # no ragged last row
    picture = _legible(pictures.grid(x[:k], columns, **GAP), max(x.shape[-2:]))
    note = (f"{k}" if k == len(x) else f"{k} of {len(x)}") + _channels(x)
    return _Image(title, f"{k} images: {title}", _uri(picture), note=note, name=name)


def _samples(arrays: dict[str, _Array], budget: int, best: str | None) -> list[_Image]:
    given = (k for k in arrays if k.startswith("samples_") and not k.startswith("samples_2d_"))
    names = sorted(_densities(k.removeprefix("samples_") for k in given), key=lambda n: n != best)
    grids = [_grid(n, arrays[f"samples_{n}"], _title(n), budget) for n in names]
    real = grids and "originals" in arrays
    return grids + ([_grid("", arrays["originals"], "Test data", budget)] if real else [])


def _reconstructions(arrays: dict[str, _Array], budget: int) -> _Image | None:
    if not {"originals", "reconstructions"} <= set(arrays):
        return None
    a, b = arrays["originals"], arrays["reconstructions"]
    k = _few(a, budget // 2, 24)
    columns = min(k, 12)
    k = k // columns * columns
    picture = _legible(pictures.pairs(a[:k], b[:k], columns, **GAP), max(a.shape[-2:]))
    note = f"{k} of {len(a)} test examples, each over its reconstruction" + _channels(a)
    return _Image("Original over reconstruction", note, _uri(picture), note=note)


def _interpolations(arrays: dict[str, _Array], budget: int) -> list[_Image]:
    images = []
    for name in sorted(k for k in arrays if k.startswith("interpolation_")):
        x, kind = arrays[name], name.removeprefix("interpolation_")
        k = _few(x, budget, 8, least=2)
        picture = _legible(pictures.strip(x[:k], **GAP), max(x.shape[-2:]))
        how = {"linear": "straight line", "spherical": "great circle"}.get(kind, kind)
        note = f"{k} of {len(x)} paths of {x.shape[1]} steps: {how}" + _channels(x)
        images.append(_Image(kind.capitalize(), f"rows of images, {note}", _uri(picture), note=note))
    return images


def _points(arrays: dict[str, _Array], base: str, prefix: str, what: str, best: str | None) -> list[_Image]:
    if base not in arrays:
        return []
    names = _densities(k.removeprefix(prefix) for k in arrays if k.startswith(prefix) and k != "latent_labels")
    draws = {n: arrays[prefix + n] for n in sorted(names, key=lambda n: n != best)}
    return _clouds(arrays[base], arrays.get("latent_labels") if base == "latent" else None, draws, what)
