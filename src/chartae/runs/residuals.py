"""The spread of data around a decoder's mean, which draws of p(x|z) need where the decoder does not estimate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths.random import randn
from chartae.maths.rows import row_blocks
from chartae.records.files import reading
from chartae.records.tensors import read_tensors, write_tensors

__all__ = ["Residuals"]

#: largest slope: an output that hardly varies would have any
STEEPEST = 2.0


@dataclass(frozen=True, eq=False)
class Residuals:
    """What is left between examples and the decoder's means at their codes, for each output::

        x | z ~ N(offset + slope m(z), sigma^2),   m(z) the decoder's mean

    Offset and slope are the least-squares fit of x to m(z), the slope within its limits; sigma is such that x has the
    right mean and variance in every output wherever m(z) has. A slope above 1 undoes what a regulariser shrinks.

    Args:
        offset: offset of each output (*S), in the model's units.
        slope: slope of each output (*S), from 0 to 2.
        sigma: standard deviation of each output (*S), in the model's units.

    >>> import torch
    >>> from chartae.runs import Residuals
    >>> x = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0))
    >>> residuals = Residuals.of(x + 0.5 * x.flip(0), x)  # noise of standard deviation 0.5 around the mean x
    >>> residuals.slope.round(decimals=1), residuals.sigma.round(decimals=1)
    (tensor([1.]), tensor([0.5000]))
    >>> residuals.draw(x).std().round(decimals=1)  # sqrt(1 + 0.25)
    tensor(1.1000)
    """

    offset: Float[Tensor, "*S"]
    slope: Float[Tensor, "*S"]
    sigma: Float[Tensor, "*S"]

    @classmethod
    def of(
        cls, x: Float[Tensor, N * S], means: Float[Tensor, N * S], weight: Float[Tensor, " N"] | None = None
    ) -> Residuals:
        """Estimate the three for examples and the decoder's means at their codes.

        Args:
            x: examples (N, *S), N >= 1, in the model's units.
            means: the decoder's means (N, *S).
            weight: weights of the examples (N,), >= 0 and not all 0; None (default) for equal ones.
        """
        w = None if weight is None else (weight / weight.mean()).to(x).reshape(-1, *[1] * (x.ndim - 1))

        def mean(values: Callable[[slice], Tensor]) -> Tensor:
            """The weighted mean of a function of rows, block by block, as there may be many."""
            weighed = values if w is None else lambda rows: w[rows] * values(rows)
            blocks = list(row_blocks(x.shape))
            if len(blocks) == 1:
                return weighed(blocks[0]).mean(0)
            total = torch.zeros_like(x[0])
            for rows in blocks:
                total += weighed(rows).sum(0) / len(x)
            return total

        centre, middle = mean(lambda rows: x[rows]), mean(lambda rows: means[rows])
        variance = mean(lambda rows: (means[rows] - middle).square())
        covariance = mean(lambda rows: (means[rows] - middle) * (x[rows] - centre))
        slope = (covariance / torch.where(variance > 0, variance, 1.0)).clamp(0.0, STEEPEST)
        offset = centre - slope * middle

        def left(rows: slice) -> Tensor:
            return x[rows] - offset - slope * means[rows]

        # where the slope is at its limit, what is left still grows with the means: draws must have that variance too
        shared = 2 * slope * mean(lambda rows: left(rows) * (means[rows] - middle))
        spread = mean(lambda rows: left(rows).square()) + shared
        return cls(offset, slope, spread.clamp(min=0.0).sqrt())

    def draw(self, means: Float[Tensor, N * S], generator: torch.Generator | None = None) -> Float[Tensor, N * S]:
        """Draw an example for each of the decoder's means.

        Args:
            means: the decoder's means (N, *S).
            generator: source of randomness; None (default) for torch's global generator.
        """
        offset, slope, sigma = (t.to(means) for t in (self.offset, self.slope, self.sigma))
        return offset + slope * means + sigma * randn(means.shape, means, generator)

    def save(self, path: Path, of: str = "") -> None:
        """Write a safetensors file, with the digest of the weights that the residuals are of."""
        tensors = {"offset": self.offset, "slope": self.slope, "sigma": self.sigma}
        write_tensors(path, tensors, kind="residuals", facts={"of": of})

    @classmethod
    def load(cls, path: Path, shape: tuple[int, ...]) -> Residuals:
        """Read a file that `save` wrote.

        Args:
            path: the file.
            shape: shape of one example.

        Raises:
            Damaged: the file is damaged, or holds something else.
        """
        tensors, _ = read_tensors(path, kind="residuals")
        with reading(path, f"file of residuals of shape {shape}"):
            offset, slope, sigma = (tensors[name] for name in ("offset", "slope", "sigma"))
            if (
                any(t.shape != shape or not t.is_floating_point() for t in (offset, slope, sigma))
                or not sigma.ge(0).all()
            ):
                raise ValueError(f"it has shapes {[tuple(t.shape) for t in (offset, slope, sigma)]}")
        return cls(offset, slope, sigma)
