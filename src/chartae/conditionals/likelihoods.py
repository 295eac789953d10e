"""Conditionals over a net: points, normals, coins, categories, and several side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from chartae.conditionals.base import Conditional, through
from chartae.distributions import Bernoulli as BernoulliDistribution
from chartae.distributions import (
    Normal,
    OneHot,
    OptimalNormal,
    PointMass,
    Squashed,
)
from chartae.distributions import Product as ProductDistribution
from chartae.nn import NoiseDecoder

__all__ = ["Bernoulli", "Categorical", "Denoised", "Dirac", "Gaussian", "LogitNormal", "Product"]


class Dirac(Conditional):
    """A deterministic map: all mass at net(c).

    >>> Dirac(nn.Linear(3, 2))(torch.zeros(5, 3)).mean.shape
    torch.Size([5, 2])
    """

    has_density = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> PointMass:
        return PointMass(through(self.net, c, condition))


class Gaussian(Conditional):
    """N(mean(c), sigma^2), independent in every coordinate.

    Args:
        net: c -> mean. With ``sigma="learnt"`` its output carries twice the channels (dimension 1): the mean, then the
            raw log sigma, which is squashed to ``limit * tanh(raw)`` as in the RAE authors' VAE (1903.12436).
        sigma: a positive number (fixed standard deviation, in the units of the data); ``"learnt"`` (one for each
            coordinate and row, by the net); ``"optimal"`` (one for the batch, the maximum-likelihood value: the
            sigma-VAE of 2006.13202, whose running mean serves outside training).
        limit: bound on abs(log sigma) where it is learnt; ``math.inf`` for none, log sigma = raw.
        warmup: over so many passes in training a fixed sigma falls geometrically to its value, from ten times as much:
            a near-deterministic decoder's loss is stiff, and what it should find is found sooner under more noise.

    A squared error ||x - x^||^2, as the papers print it, is -log p at ``sigma = sqrt(1/2)`` up to a constant.

    >>> Gaussian(nn.Linear(3, 2), sigma=0.5).log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module, sigma: float | str = 1.0, *, limit: float = 5.0, warmup: int = 0) -> None:
        super().__init__()
        if isinstance(sigma, str):
            if sigma not in ("learnt", "optimal"):
                raise ValueError(f"sigma is {sigma!r}; give a positive number, 'learnt' or 'optimal'")
        elif not 0 < float(sigma) < float("inf"):
            raise ValueError(f"sigma is {sigma}; a standard deviation is a finite number above 0")
        if warmup < 0 or (warmup and isinstance(sigma, str)):
            raise ValueError(f"warmup is {warmup} for sigma {sigma!r}; a fixed sigma takes 0 or more passes")
        self.net, self.limit, self.warmup = net, limit, warmup
        self.sigma: float | str = sigma if isinstance(sigma, str) else float(sigma)
        if warmup:
            self.register_buffer("passes", torch.zeros((), dtype=torch.float64))
            self.passes: Tensor
        if sigma == "optimal":
            self.register_buffer("running", torch.ones(()))
            self.running: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal | OptimalNormal:
        out = through(self.net, c, condition)
        if self.sigma == "learnt":
            mean, raw = out.chunk(2, 1)
            return Normal(mean, (raw if self.limit == math.inf else self.limit * raw.tanh()).exp())
        if self.sigma == "optimal":
            return OptimalNormal(out, self.running, 0.01 if self.training else 0.0)
        assert not isinstance(self.sigma, str)
        if self.warmup and self.training:
            left = 1 - (self.passes / self.warmup).clamp_max(1)
            self.passes += 1
            return Normal(out, (self.sigma * 10**left).to(out.dtype))
        return Normal(out, self.sigma)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma!r}"


class Bernoulli(Conditional):
    """Independent coins whose logits are net(c); for binary data, or data in [0, 1] read as probabilities."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> BernoulliDistribution:
        return BernoulliDistribution(through(self.net, c, condition))


class LogitNormal(Conditional):
    """z = sigmoid(u), u ~ N(mu(c), s(c)^2): a posterior over codes in (0, 1), for a `Uniform` or `Beta` prior.

    The net's output carries mu, then log s. Where a prior is bounded, no normal posterior stays within its support.

    >>> LogitNormal(nn.Linear(3, 4))(torch.zeros(5, 3)).sample().shape
    torch.Size([5, 2])
    """

    bounded = True

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.base = Gaussian(net, "learnt", limit=math.inf)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Squashed:
        return Squashed(self.base(c, condition))


class Categorical(Conditional):
    """A category as a one-hot vector, its logits net(c); `mode` of `chartae.distributions.OneHot`.

    >>> Categorical(nn.Linear(3, 4), "gumbel")(torch.zeros(5, 3)).sample().shape
    torch.Size([5, 4])
    """

    bounded = True
    has_category = True

    def __init__(self, net: nn.Module, mode: str = "softmax") -> None:
        super().__init__()
        if mode not in OneHot.MODES:
            raise ValueError(f"mode is {mode!r}; choose from {', '.join(OneHot.MODES)}")
        self.net, self.mode = net, mode

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> OneHot:
        return OneHot(through(self.net, c, condition), self.mode)

    def extra_repr(self) -> str:
        return self.mode


class Product(Conditional):
    """Codes of several parts side by side, such as a category and a style.

    Args:
        parts: of an encoder, conditionals over the pieces of the net's output, such as ``Categorical(nn.Identity())``
            and ``Dirac(nn.Identity())``; of a prior, priors.
        sizes: of the pieces.
        net: (B, *S) -> (B, sum of sizes); None for a prior.

    >>> from chartae.conditionals import StandardNormal, UniformCategorical
    >>> encoder = Product([Categorical(nn.Identity()), Dirac(nn.Identity())], [3, 2], nn.Linear(7, 5))
    >>> prior = Product([UniformCategorical(3), StandardNormal(2)], [3, 2])
    >>> encoder(torch.zeros(4, 7)).sample().shape, prior.sample(4).shape
    (torch.Size([4, 5]), torch.Size([4, 5]))
    """

    def __init__(self, parts: Sequence[Conditional], sizes: Sequence[int], net: nn.Module | None = None) -> None:
        super().__init__()
        if len(parts) != len(sizes) or not len(parts):
            raise ValueError(f"there are {len(parts)} parts and {len(sizes)} sizes; give a size for each part")
        self.parts, self.sizes, self.net = nn.ModuleList(parts), tuple(sizes), net
        self.has_density = all(part.has_density for part in parts)
        self.bounded = all(part.bounded for part in parts)
        self.has_category = any(part.has_category for part in parts)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> ProductDistribution:
        if self.net is None:
            return ProductDistribution([part() for part in self.parts], self.sizes)
        pieces = through(self.net, c, condition).split(self.sizes, 1)
        return ProductDistribution([part(p) for part, p in zip(self.parts, pieces, strict=True)], self.sizes)


class Denoised(Conditional):
    """N(r(z, sigma), c_out(sigma)^2) over a `chartae.nn.NoiseDecoder`: every noise level weighs alike in the loss."""

    def __init__(self, net: NoiseDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        mean = self.net(c, condition)
        level = mean.new_full((len(mean),), self.net.lowest) if condition is None else condition
        return Normal(mean, self.net.spread_of_error(level).reshape(-1, *[1] * (mean.ndim - 1)))
