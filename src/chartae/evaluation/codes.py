"""Codes with their conditions, and interpolation between codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import Dataset, Encoded
from chartae.maths.interpolation import PATHS, slerp
from chartae.runs import Run

__all__ = ["INTERPOLATIONS", "Codes", "conditions_for", "interpolate", "interpolated", "slerp"]

#: the paths between two codes, by the name of the set of their mid-points
INTERPOLATIONS = {f"interpolation-{name}": path for name, path in PATHS.items()}


@dataclass(frozen=True)
class Codes:
    """Codes of a split, with their conditions if the run has a condition.

    Attributes:
        z: codes (N, D).
        condition: encoded condition of each code; None if the run has none.
    """

    z: Tensor
    condition: Encoded | None = None

    @classmethod
    def of(cls, run: Run, data: Dataset, split: str) -> Codes:
        """Encode a split: the means of q(z|x)."""
        return cls(run.encode_split(data, split), data.conditions(split))

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        condition = None if self.condition is None else Encoded(self.condition.rows[rows])
        return Codes(self.z[rows], condition)


def pairs(total: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of `n` random pairs of different codes among `total`."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(total, (n,), generator=generator)
    return first, (first + torch.randint(1, total, (n,), generator=generator)) % total


def interpolate(codes: Float[Tensor, "N D"], n: int, how: str, seed: int, t: float = 0.5) -> Float[Tensor, "n D"]:
    """Interpolate between random pairs of different codes.

    Args:
        codes: codes (N, D), N >= 2.
        n: number of pairs, >= 1.
        how: ``"interpolation-linear"`` or ``"interpolation-spherical"``.
        seed: seed of the pairs.
        t: position between the codes of a pair, from 0 to 1; default 0.5, the mid-point.

    Returns:
        Interpolated codes (n, D).

    >>> import torch
    >>> from chartae.evaluation import interpolate
    >>> interpolate(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), n=2, how="interpolation-linear", seed=0)
    tensor([[0.5000, 1.0000],
            [0.5000, 1.0000]])
    """
    first, second = pairs(len(codes), n, seed)
    return INTERPOLATIONS[how](codes[first], codes[second], t)


def interpolated(codes: Codes, n: int, how: str, seed: int) -> Codes:
    """Mid-points of `n` random pairs of codes, each with the condition of the first code of its pair."""
    first, _ = pairs(len(codes), n, seed)
    return Codes(interpolate(codes.z, n, how, seed), codes[first].condition)


def conditions_for(data: Dataset, n: int) -> Encoded | None:
    """The conditions for `n` samples: those of the test examples in order, repeated if necessary.

    Samples then have the test set's distribution of conditions. None if the data have no condition.
    """
    conditions = data.conditions("test")
    return None if conditions is None else Encoded(conditions.rows[torch.arange(n) % len(conditions)])
