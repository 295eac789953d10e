"""What the reader of a file or folder hands on: examples by split, with labels, weights and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chartae.data.columns import Columns
from chartae.data.options import Reading

__all__ = ["Contents", "Part"]


@dataclass(frozen=True)
class Part:
    """Examples, with their labels if there are any (numbers, or the names of classes) and weights in the loss."""

    x: object
    labels: object | None = None
    weight: object | None = None


@dataclass(frozen=True)
class Contents:
    """Contents of a file or folder.

    Attributes:
        parts: examples by split; ``train`` holds all of them if the file has no splits.
        columns: names and types of the columns, for tables.
        reading: options for reading, completed by what the reader decided.
        notes: what the reader decided, in sentences.
        decoded: whether the examples are images (n, c, h, w) of levels 0..255 or floats in [0, 1].
    """

    parts: Mapping[str, Part]
    columns: Columns = field(default_factory=Columns)
    reading: Reading = field(default_factory=Reading)
    notes: tuple[str, ...] = ()
    decoded: bool = False

    def examples(self) -> NDArray[np.number]:
        """The examples of all splits, one after the other; those of a single split are not copied."""
        arrays = [np.asarray(part.x) for part in self.parts.values()]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
