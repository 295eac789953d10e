"""Points: rows of numbers of one unit, which the model sees unscaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self, cast, final

import torch
from torch import Tensor

from chartae.data.columns import Columns
from chartae.data.kinds.base import Kind, Plain, register
from chartae.data.kinds.rows import Rows, columns_from
from chartae.grammar import Codec

__all__ = ["Points"]


@final
@register
class Points(Rows):
    """Points (d,), which the model sees unscaled, so that distances and noise levels are in the units of the data.

    The distributions of `chartae.data.toys` are points.

    Args:
        shape: shape (d,) of one point.
        columns: names and types of the coordinates; unnamed by default.

    >>> from chartae.data import Points
    >>> Points((2,)).read([[1, 10], [2, 20]])
    tensor([[ 1., 10.],
            [ 2., 20.]])
    """

    name: ClassVar[str] = "points"
    noun: ClassVar[str] = "points"

    def __init__(self, shape: tuple[int, ...], columns: Columns | None = None) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.columns = columns or Columns()

    @classmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        return cls(tuple(train.shape[1:]), columns)

    @classmethod
    def adopt(cls, kind: Kind, train: Tensor) -> Kind | None:
        return cls.of(train, columns=kind.columns) if isinstance(kind, Rows) else None

    def inside(self, x: Tensor) -> Tensor:
        return x.to(torch.float32)

    def outside(self, x: Tensor) -> Tensor:
        return x.to(torch.float32)

    @classmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        return cls(tuple(cast(list[int], facts["shape"])), columns_from(facts))
