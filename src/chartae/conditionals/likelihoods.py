"""Conditionals whose parameters are the output of a net: points, normals, Bernoulli, categories, and products."""

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
from chartae.records.choices import one_of

__all__ = ["Bernoulli", "Categorical", "Denoised", "Dirac", "Gaussian", "LogitNormal", "Product"]


class Dirac(Conditional):
    """A deterministic map: a point mass at net(c). It has no density.

    Args:
        net: network from `c` (B, ...) to points `(B, *S)`.

    >>> import torch
    >>> import chartae as ch
    >>> ch.Dirac(torch.nn.Linear(3, 2))(torch.zeros(5, 3)).mean.shape
    torch.Size([5, 2])
    """

    has_density = False
    calibrated = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> PointMass:
        return PointMass(through(self.net, c, condition))


class Gaussian(Conditional):
    """Independent normal distributions N(mean(c), sigma^2) in every coordinate, with mean(c) = net(c).

    The squared error ||x - x^||^2 that papers print equals -log p at ``sigma = sqrt(1/2)``, up to a constant.

    Args:
        net: network from `c` to the mean. With ``sigma="learnt"`` its output has twice the channels (dimension 1):
            first the mean, then the raw log sigma, which is squashed to ``limit * tanh(raw)`` as in the VAE of the RAE
            authors (Ghosh et al., arXiv 1903.12436).
        sigma: standard deviation, in the units of the data: a finite number > 0 (fixed); ``"learnt"`` (one for each
            row and coordinate, from the net); or ``"optimal"`` (one for the whole batch, its maximum-likelihood value,
            with a running mean in evaluation mode: the sigma-VAE of Rybkin et al., arXiv 2006.13202). Default 1.
        limit: bound on abs(log sigma) if sigma is learnt; ``math.inf`` for no bound, log sigma = raw; default 5.
        warmup: number of training steps (forward passes in training mode) during which a fixed sigma falls
            geometrically from ten times its value to its value; >= 0; default 0. The loss of a near-deterministic
            decoder is stiff, and training under more noise at first converges faster.

    Raises:
        ValueError: `sigma` or `warmup` is out of range, or `warmup` is set and sigma is not fixed.

    >>> import torch
    >>> import chartae as ch
    >>> decoder = ch.Gaussian(torch.nn.Linear(3, 2), sigma=0.5)
    >>> decoder.log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module, sigma: float | str = 1.0, *, limit: float = 5.0, warmup: int = 0) -> None:
        super().__init__()
        if isinstance(sigma, str):
            if sigma not in ("learnt", "optimal"):
                raise ValueError(f"sigma is {sigma!r}; expected a number above 0, 'learnt' or 'optimal'.")
        elif not 0 < float(sigma) < float("inf"):
            raise ValueError(f"sigma is {sigma}; expected a finite number above 0.")
        if warmup < 0 or (warmup and isinstance(sigma, str)):
            raise ValueError(
                f"warmup is {warmup} with sigma={sigma!r}; expected 0, or a number of steps above 0 for a fixed sigma."
            )
        self.net, self.limit, self.warmup = net, limit, warmup
        self.sigma: float | str = sigma if isinstance(sigma, str) else float(sigma)
        self.calibrated = sigma == "learnt"
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
            remaining = 1 - (self.passes / self.warmup).clamp_max(1)
            self.passes += 1
            return Normal(out, (self.sigma * 10**remaining).to(out.dtype))
        return Normal(out, self.sigma)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma!r}"


class Bernoulli(Conditional):
    """Independent Bernoulli distributions with logits net(c), for binary data or data in [0, 1].

    -log p(x | c) is the binary cross-entropy; values between 0 and 1 are read as probabilities.

    Args:
        net: network from `c` (B, ...) to logits `(B, *S)`.

    >>> import torch
    >>> import chartae as ch
    >>> ch.Bernoulli(torch.nn.Identity())(torch.zeros(1, 2)).mean
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> BernoulliDistribution:
        return BernoulliDistribution(through(self.net, c, condition))


class LogitNormal(Conditional):
    """A logit-normal posterior over codes in (0, 1): z = sigmoid(u) with u ~ N(mu(c), s(c)^2).

    Use it with a `Uniform` or `Beta` prior: a normal posterior would leave the support of a bounded prior, and the KL
    divergence would be infinite.

    Args:
        net: network from `c` to (B, 2 D): first mu, then log s.

    >>> import torch
    >>> import chartae as ch
    >>> z = ch.LogitNormal(torch.nn.Linear(3, 4))(torch.zeros(5, 3)).sample()
    >>> z.shape, bool((z > 0).all() and (z < 1).all())
    (torch.Size([5, 2]), True)
    """

    bounded = True

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.base = Gaussian(net, "learnt", limit=math.inf)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Squashed:
        return Squashed(self.base(c, condition))


class Categorical(Conditional):
    """A category as a one-hot vector, with probabilities softmax(net(c)).

    Args:
        net: network from `c` to logits (B, K).
        mode: what a draw is: ``"softmax"`` (default), the probabilities themselves; ``"straight-through"``, the most
            probable category with the gradient of the probabilities; ``"gumbel"``, a random category with the gradient
            of its Gumbel-softmax at temperature 1; ``"exact"``, a random category without gradient.

    Raises:
        ValueError: unknown `mode`.

    >>> import torch
    >>> from chartae.conditionals import Categorical
    >>> draws = Categorical(torch.nn.Linear(3, 4), "gumbel")(torch.zeros(5, 3)).sample()
    >>> draws.shape, draws.sum().item()
    (torch.Size([5, 4]), 5.0)
    """

    bounded = True
    has_category = True

    def __init__(self, net: nn.Module, mode: str = "softmax") -> None:
        super().__init__()
        if mode not in OneHot.MODES:
            raise ValueError(f"mode is {mode!r}; {one_of(mode, OneHot.MODES)}")
        self.net, self.mode = net, mode

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> OneHot:
        return OneHot(through(self.net, c, condition), self.mode)

    def extra_repr(self) -> str:
        return self.mode


class Product(Conditional):
    """Codes that concatenate several independent parts, such as a category and a style.

    Args:
        parts: distributions of the parts. For an encoder, conditionals that take slices of the net's output, such as
            ``Categorical(nn.Identity())`` and ``Dirac(nn.Identity())``; for a prior, priors.
        sizes: number of dimensions of each part.
        net: network of an encoder, from `(B, *S)` to (B, sum of `sizes`); default None, for a prior.

    Raises:
        ValueError: there are no parts, or not one size for each part.

    >>> import torch
    >>> from torch import nn
    >>> from chartae.conditionals import Categorical, Dirac, Product, StandardNormal, UniformCategorical
    >>> encoder = Product([Categorical(nn.Identity()), Dirac(nn.Identity())], [3, 2], nn.Linear(7, 5))
    >>> prior = Product([UniformCategorical(3), StandardNormal(2)], [3, 2])
    >>> encoder(torch.zeros(4, 7)).sample().shape, prior.sample(4).shape
    (torch.Size([4, 5]), torch.Size([4, 5]))
    """

    def __init__(self, parts: Sequence[Conditional], sizes: Sequence[int], net: nn.Module | None = None) -> None:
        super().__init__()
        if len(parts) != len(sizes) or not len(parts):
            raise ValueError(
                f"there are {len(parts)} parts and {len(sizes)} sizes; expected one size for each part, 1 part or more."
            )
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
    """The likelihood of a noise-conditional denoiser, N(r(z, sigma), c_out(sigma)^2).

    c_out(sigma) is the scale of the denoiser's error at noise level sigma, so every level has the same weight in the
    loss (Karras et al., arXiv 2206.00364). The noise level is the condition; without one it is the net's lowest.

    Args:
        net: a `chartae.nn.NoiseDecoder`, which computes r(z, sigma) and c_out(sigma).

    >>> import torch
    >>> from chartae.conditionals import Denoised
    >>> from chartae.nn import NoiseDecoder
    >>> net = NoiseDecoder(torch.nn.Linear(4, 2), (2,), spread=1.0, lowest=0.1)  # reads x (2) and its features h (4)
    >>> Denoised(net)(torch.zeros(3, 6), torch.tensor([0.1, 1.0, 10.0])).sigma.flatten()
    tensor([0.0995, 0.7071, 0.9950])
    """

    def __init__(self, net: NoiseDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        mean = self.net(c, condition)
        level = mean.new_full((len(mean),), self.net.lowest) if condition is None else condition
        return Normal(mean, self.net.spread_of_error(level).reshape(-1, *[1] * (mean.ndim - 1)))
