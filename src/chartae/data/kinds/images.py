"""Images: levels or floats, which the model sees in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self, cast, final

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import as_examples
from chartae.data.columns import Columns
from chartae.data.files import whole_file
from chartae.data.kinds.base import Kind, Plain, Writer, dimensions, register
from chartae.draw import pictures
from chartae.grammar import Codec
from chartae.maths import as_float

__all__ = ["Images"]


@final
@register
class Images(Kind):
    """Images (C, H, W): floats in [0, 1] for the model and in results, uint8 levels 0..255 in files.

    Arrays (n, h, w), (n, c, h, w) and channels-last (n, h, w, c) of booleans, levels 0..255 or floats in [0, 1] are
    read. Levels are divided by 255, so that levels and floats of the same image give the same result.

    Args:
        shape: shape (C, H, W) of one image.

    >>> import numpy as np
    >>> from chartae.data import Images
    >>> x = Images((1, 2, 2)).read(np.full((3, 2, 2), 255, np.uint8))
    >>> x.shape, x.max()
    (torch.Size([3, 1, 2, 2]), tensor(1.))
    """

    name: ClassVar[str] = "images"
    noun: ClassVar[str] = "images"
    unit: ClassVar[bool] = True
    guessed: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset({"size"})

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(int(size) for size in shape)

    @classmethod
    def takes(cls, x: object) -> bool:
        return dimensions(x) in (3, 4)

    @classmethod
    def examples(cls, x: object, *, at_least: int = 1) -> Tensor:
        return as_examples(x, at_least=at_least)

    @classmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        return cls(tuple(train.shape[1:]))

    def read(self, x: object) -> Tensor:
        # levels stay uint8 only in a data set, to save memory
        return as_float(super().read(x))

    def inside(self, x: Tensor) -> Tensor:
        """The same tensor: uint8 levels are scaled to [0, 1] batch by batch, on the device (`maths.as_float`)."""
        return x

    def outside(self, x: Tensor) -> Tensor:
        """The same tensor: images are floats in [0, 1] in both forms."""
        return x

    def restore(self, x: Tensor) -> Tensor:
        """The same tensor: floats (n, C, H, W), as they come from the model."""
        return x

    def writers(self) -> Mapping[str, Writer]:
        return {".png": _write_grid, ".npy": _write_npy, ".npz": _write_npz}

    def to_dict(self) -> dict[str, Plain]:
        return {"kind": self.name, "shape": list(self.shape)}

    @classmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        return cls(tuple(cast(list[int], facts["shape"])))


def levels(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Levels 0..255 of floats in [0, 1]; values outside are clipped."""
    return np.asarray(as_float(x).clamp(0, 1).mul(255).round().to(torch.uint8).numpy())


def _write_grid(x: Tensor, path: Path) -> None:
    pictures.save_png(path, pictures.enlarge(pictures.grid(levels(x)), 2))


def _write_npy(x: Tensor, path: Path) -> None:
    with whole_file(path) as part:
        np.save(part, levels(x))


def _write_npz(x: Tensor, path: Path) -> None:
    with whole_file(path) as part:
        np.savez_compressed(part, x=levels(x))
