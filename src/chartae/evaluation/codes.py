"""Codes with their conditions, and points on the way between two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import Dataset, Encoded
from chartae.runs import Run

__all__ = ["INTERPOLATIONS", "Codes", "conditions_for", "interpolate", "interpolated", "slerp"]


def slerp(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], t: float) -> Float[Tensor, "N D"]:
    """Spherical interpolation sin((1-t)w)/sin w a + sin(t w)/sin w b, w the angle between a and b; linear where w = 0.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = cosine.acos()[:, None]
    straight = angle.sin() < 1e-6
    divisor = torch.where(straight, 1.0, angle.sin())
    curve = ((1 - t) * angle).sin() / divisor * a + (t * angle).sin() / divisor * b
    return torch.where(straight, torch.lerp(a, b, t), curve)


#: the paths between two codes, by the name of the set of their mid-points
INTERPOLATIONS: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "interpolation-linear": torch.lerp,
    "interpolation-spherical": slerp,
}


@dataclass(frozen=True)
class Codes:
    """Codes of a split, each with its condition where the run has one.

    Attributes:
        z: (N, D).
        condition: of each code; None where the run has none.
    """

    z: Tensor
    condition: Encoded | None = None

    @classmethod
    def of(cls, run: Run, data: Dataset, split: str) -> Codes:
        """The means of q(z|x) of a split."""
        return cls(run.encode_split(data, split), data.conditions(split))

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        condition = None if self.condition is None else Encoded(self.condition.rows[rows])
        return Codes(self.z[rows], condition)


def pairs(total: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """`n` random pairs of different numbers below `total`."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(total, (n,), generator=generator)
    return first, (first + torch.randint(1, total, (n,), generator=generator)) % total


def interpolate(codes: Float[Tensor, "N D"], n: int, how: str, seed: int, t: float = 0.5) -> Float[Tensor, "n D"]:
    """The points at `t` between `n` random pairs of different codes.

    Args:
        codes: N >= 2 of them.
        n: how many pairs, >= 1.
        how: ``"interpolation-linear"`` or ``"interpolation-spherical"``.
        seed: of the pairs.
        t: where on the way, from 0 to 1.
    """
    first, second = pairs(len(codes), n, seed)
    return INTERPOLATIONS[how](codes[first], codes[second], t)


def interpolated(codes: Codes, n: int, how: str, seed: int) -> Codes:
    """Mid-points between `n` random pairs of codes, each with the condition of the first of its pair."""
    first, _ = pairs(len(codes), n, seed)
    return Codes(interpolate(codes.z, n, how, seed), codes[first].condition)


def conditions_for(data: Dataset, n: int) -> Encoded | None:
    """The conditions of `n` draws: those of the test examples in turn, so that samples have the test set's mixture of
    conditions; None where the data have none."""
    conditions = data.conditions("test")
    return None if conditions is None else Encoded(conditions.rows[torch.arange(n) % len(conditions)])
