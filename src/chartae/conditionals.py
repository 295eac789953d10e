"""Conditional distributions: q(z|x), p(x|z), p(z) and the corruption C(x~|x) are one kind of thing.

A conditional is a module whose forward pass returns a distribution. Four objects thereby replace four flags
(deterministic or not, which likelihood, which prior, which noise).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.distributions import Bernoulli as BernoulliDistribution
from chartae.distributions import Distribution, Normal, OptimalNormal, PointMass

__all__ = ["Bernoulli", "Conditional", "Dirac", "Gaussian", "GaussianNoise", "StandardNormal"]


class Conditional(nn.Module, ABC):
    """p(a | c): a module whose forward pass returns a `Distribution`, one row for each row of `c`.

    `y` is a condition (labels, covariates) that travels beside `c`; it is handed to the net only where it is given.
    """

    #: whether the distribution has a density, so that `log_prob` and `KL` exist
    has_density: bool = True

    @abstractmethod
    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Distribution:
        """The distribution given `c`."""

    def sample(
        self,
        n: int | None = None,
        c: Tensor | None = None,
        y: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`n` draws (n, *S) of an unconditional distribution; with `c`, one draw for each row where `n` is None."""
        return self(c, y).sample(n, generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """log p(a | c) in nats per point, shape (B,)."""
        return self(c, y).log_prob(a)


def _apply(net: nn.Module, c: Tensor | None, y: Tensor | None) -> Tensor:
    return net(c) if y is None else net(c, y)


class Dirac(Conditional):
    """A deterministic map: all mass at net(c).

    >>> Dirac(nn.Linear(3, 2))(torch.zeros(5, 3)).mean.shape
    torch.Size([5, 2])
    """

    has_density = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> PointMass:
        return PointMass(_apply(self.net, c, y))


class Gaussian(Conditional):
    """N(mean(c), sigma^2), independent in every coordinate.

    Args:
        net: c -> mean. With ``sigma="learnt"`` its output carries twice the channels (dimension 1): the mean, then the
            raw log sigma, which is squashed to ``limit * tanh(raw)`` as in the RAE authors' VAE (1903.12436).
        sigma: a positive number (fixed standard deviation, in the units of the data); ``"learnt"`` (one for each
            coordinate and row, by the net); ``"optimal"`` (one for the batch, the maximum-likelihood value: the
            sigma-VAE of 2006.13202, whose running mean serves outside training).
        limit: bound on abs(log sigma) where it is learnt.

    A squared error ||x - x^||^2, as the papers print it, is -log p at ``sigma = sqrt(1/2)`` up to a constant.

    >>> Gaussian(nn.Linear(3, 2), sigma=0.5).log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module, sigma: float | str = 1.0, *, limit: float = 5.0) -> None:
        super().__init__()
        if isinstance(sigma, str):
            if sigma not in ("learnt", "optimal"):
                raise ValueError(f"sigma is {sigma!r}; give a positive number, 'learnt' or 'optimal'")
        elif not 0 < float(sigma) < float("inf"):
            raise ValueError(f"sigma is {sigma}; a standard deviation is a finite number above 0")
        self.net, self.limit = net, limit
        self.sigma: float | str = sigma if isinstance(sigma, str) else float(sigma)
        if sigma == "optimal":
            self.register_buffer("running", torch.ones(()))
            self.running: Tensor

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal | OptimalNormal:
        out = _apply(self.net, c, y)
        if self.sigma == "learnt":
            mean, raw = out.chunk(2, 1)
            return Normal(mean, (self.limit * raw.tanh()).exp())
        if self.sigma == "optimal":
            return OptimalNormal(out, self.running, 0.01 if self.training else 0.0)
        assert isinstance(self.sigma, float)
        return Normal(out, self.sigma)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma!r}"


class Bernoulli(Conditional):
    """Independent coins whose logits are net(c); for binary data, or data in [0, 1] read as probabilities."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> BernoulliDistribution:
        return BernoulliDistribution(_apply(self.net, c, y))


class StandardNormal(Conditional):
    """N(0, I) over vectors of a dimension, or arrays of a shape.

    >>> StandardNormal(16).sample(4, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 16])
    """

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not shape or any(s < 1 for s in shape):
            raise ValueError(f"shape is {shape}; a standard normal needs a dimension of at least 1")
        self.register_buffer("zero", torch.zeros(shape), persistent=False)
        self.zero: Float[Tensor, "*S"]

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        return Normal(self.zero, 1.0, self.zero.ndim)

    def extra_repr(self) -> str:
        return "x".join(map(str, self.zero.shape))


class GaussianNoise(Conditional):
    """The corruption C(x~|x) = N(x, sigma^2 I), sigma in the units of the data."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        if not 0 < sigma < float("inf"):
            raise ValueError(f"sigma is {sigma}; a noise level is a finite number above 0")
        self.sigma = float(sigma)

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        assert c is not None
        return Normal(c, self.sigma)

    def extra_repr(self) -> str:
        return f"{self.sigma:g}"
