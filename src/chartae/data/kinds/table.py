"""Tables: rows of columns with different units, standardised for the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self, cast, final

import torch
from torch import Tensor

from chartae.data.columns import Columns
from chartae.data.kinds.base import Kind, Plain, register
from chartae.data.kinds.rows import Rows, columns_from, moments
from chartae.grammar import Codec
from chartae.maths.rows import by_blocks

__all__ = ["Table"]


@final
@register
class Table(Rows):
    """Rows (d,) of columns with different units; the model sees ``(x - mean) / sd``, the user the original units.

    Args:
        mean: mean of each of the d columns of the training examples.
        sd: standard deviation of each column, >= 0, with n in the denominator; 0 for a constant column, which is only
            centred.
        columns: names and types of the columns; unnamed by default.

    Raises:
        ValueError: the numbers of means, standard deviations and names differ, or a standard deviation is negative.

    >>> import torch
    >>> from chartae.data import Table
    >>> table = Table.of(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
    >>> table.read([[1, 10], [2, 20]])
    tensor([[-1., -1.],
            [ 0.,  0.]])
    >>> table.restore(torch.zeros(1, 2))
    tensor([[ 2., 20.]])
    """

    name: ClassVar[str] = "table"
    noun: ClassVar[str] = "table rows"
    guessed: ClassVar[bool] = True

    def __init__(self, mean: Sequence[float], sd: Sequence[float], columns: Columns | None = None) -> None:
        self.mean, self.sd = tuple(map(float, mean)), tuple(map(float, sd))
        self.columns = columns or Columns()
        self.shape = (len(self.mean),)
        names, dtypes = self.columns.names, self.columns.dtypes
        if len(self.sd) != len(self.mean) or not all(sd >= 0 for sd in self.sd):
            raise ValueError(
                f"sd is {list(sd)}; expected {len(mean)} standard deviations of at least 0, as many as means."
            )
        if len(names) not in (0, len(mean)) or len(dtypes) not in (0, len(mean)):
            raise ValueError(
                f"columns has {len(names)} names and {len(dtypes)} types; expected {len(mean)} of each, or none."
            )

    @classmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        width = train.shape[1]
        if not len(train):
            return cls([0.0] * width, [1.0] * width, columns)
        mean, sd = moments(train)
        constant = train.amax(0) == train.amin(0)
        return cls(mean.tolist(), torch.where(constant, 0.0, sd).tolist(), columns)

    @classmethod
    def adopt(cls, kind: Kind, train: Tensor) -> Kind | None:
        return cls.of(train, columns=kind.columns) if isinstance(kind, Rows) else None

    def inside(self, x: Tensor) -> Tensor:
        mean, sd = self._moments(x.device)
        scale = torch.where(sd > 0, sd, 1.0)
        return by_blocks(lambda rows: ((rows.to(torch.float64) - mean) / scale).to(torch.float32), x)

    def outside(self, x: Tensor) -> Tensor:
        mean, sd = self._moments(x.device)
        return by_blocks(lambda rows: (rows.to(torch.float64) * sd + mean).to(torch.float32), x)

    @property
    def log_scale(self) -> float:
        return sum(math.log(sd) for sd in self.sd if sd > 0)

    def _moments(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, sd = (torch.tensor(v, dtype=torch.float64, device=device) for v in (self.mean, self.sd))
        return mean, sd

    def to_dict(self) -> dict[str, Plain]:
        return super().to_dict() | {"mean": list(self.mean), "sd": list(self.sd)}

    @classmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        return cls(cast(list[float], facts["mean"]), cast(list[float], facts["sd"]), columns_from(facts))
