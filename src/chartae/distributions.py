"""What a conditional returns: a distribution over points, cheap enough to be built in every training step.

`torch.distributions` validates its arguments and expands every scale to the shape of the data; on small nets that
costs a training step several per cent. The few families an autoencoder needs are written out here, a scalar sigma
stays a scalar, and every draw takes the caller's generator.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Atoms",
    "Bernoulli",
    "Beta",
    "Distribution",
    "Laplace",
    "Normal",
    "OneHot",
    "OptimalNormal",
    "PointMass",
    "Product",
    "Pushed",
    "Replaced",
    "Squashed",
    "supplied",
]

LOG_2PI = math.log(2 * math.pi)


def randn(shape: torch.Size | tuple[int, ...], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of a shape, with the dtype and device of `like`; the `supplied` ones, if any are."""
    source = _source.get()
    if source is not None and generator is None:
        return source(tuple(shape), like)
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


#: where normal numbers come from, if not from torch's generator
_source: ContextVar[Callable[[tuple[int, ...], Tensor], Tensor] | None] = ContextVar("source", default=None)


@contextmanager
def supplied(source: Callable[[tuple[int, ...], Tensor], Tensor]) -> Iterator[None]:
    """Within it, normal numbers drawn without a generator are `source(shape, like)`.

    So the many models of an ensemble, trained in one pass, see each the numbers that it would draw alone.
    """
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


class Distribution(ABC):
    """A distribution over points of shape `(*S)`, one for each row of a batch `(*B)`.

    `log_prob` sums over the event dimensions `S` and keeps the rest, so its unit is nats per point.
    """

    event_ndim: int
    #: whether a point names a category
    has_category: bool = False

    @property
    @abstractmethod
    def mean(self) -> Float[Tensor, "*B *S"]:
        """The mean, with gradients."""

    @abstractmethod
    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw for each row, or `n` of them along a new first dimension; reparametrised where the family can."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log density (or mass) of `x`, in nats, summed over the event dimensions."""

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        """KL(self || other) in nats per row: closed where it is known, else its one-draw estimate at `draw`."""
        return self.log_prob(draw) - other.log_prob(draw)

    def point(self, generator: torch.Generator | None = None) -> Tensor:
        """One point for each row, to be looked at: the mean, or a draw where the family has none."""
        return self.mean

    def smooth(self, x: Tensor) -> Tensor:
        """What a gradient penalty is about: the mean, or the logits at `x` where points are no numbers."""
        return self.mean

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor | None:
        """E log p(u) over u ~ N(mean, sigma^2), per row: closed or by quadrature; None where neither is known."""
        return None

    @property
    def category(self) -> OneHot:
        """The category that a point names, of distributions that have one (`has_category`)."""
        raise TypeError(f"a {type(self).__name__} has no category; use a Categorical encoder, or a Product with one")

    def _sum(self, t: Tensor) -> Tensor:
        return t.flatten(t.ndim - self.event_ndim).sum(-1) if self.event_ndim else t


class PointMass(Distribution):
    """All mass at one point: a deterministic encoder or decoder."""

    def __init__(self, value: Tensor, event_ndim: int | None = None) -> None:
        self.value = value
        self.event_ndim = value.ndim - 1 if event_ndim is None else event_ndim

    @property
    def mean(self) -> Tensor:
        return self.value

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        return self.value if n is None else self.value.expand(n, *self.value.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError(
            "a point mass has no density; use a Gaussian or Bernoulli conditional where a likelihood is needed"
        )


class Normal(Distribution):
    """Independent normals, N(mean, sigma^2) in every coordinate; `sigma` a number, or a tensor that broadcasts."""

    def __init__(self, mean: Tensor, sigma: float | Tensor, event_ndim: int | None = None) -> None:
        self._mean, self.sigma = mean, sigma
        self.event_ndim = mean.ndim - 1 if event_ndim is None else event_ndim

    @property
    def mean(self) -> Tensor:
        return self._mean

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        shape = self._mean.shape if n is None else (n, *self._mean.shape)
        return self._mean + self.sigma * randn(shape, self._mean, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        delta = x - self._mean
        size = math.prod(self._mean.shape[self._mean.ndim - self.event_ndim :])
        if isinstance(self.sigma, Tensor):
            # a whole tensor of scales carries its own log-determinant
            log_sigma = self.sigma.log().expand(self._mean.shape)
            return -0.5 * self._sum((delta / self.sigma).square()) - self._sum(log_sigma) - 0.5 * size * LOG_2PI
        squares = self._sum(delta.square())
        return squares * (-0.5 / self.sigma**2) - size * (math.log(self.sigma) + 0.5 * LOG_2PI)

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor:
        squares = ((mean - self._mean).square() + sigma**2) / self.sigma**2
        log_sigma = self.sigma.log() if isinstance(self.sigma, Tensor) else math.log(self.sigma)
        return self._sum(-0.5 * (squares + LOG_2PI) - log_sigma)

    def entropy(self) -> Tensor:
        """½ Σ log(2 pi e sigma^2), in nats per row."""
        log_sigma = self.sigma.log() if isinstance(self.sigma, Tensor) else math.log(self.sigma)
        return self._sum(torch.zeros_like(self._mean) + log_sigma + 0.5 * (LOG_2PI + 1))

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        """½ Σ (σ²/s² + (μ − m)²/s² − 1 − 2 log σ/s) against another normal N(m, s²)."""
        if not isinstance(other, Normal):
            expected = other.expected_log_prob(self._mean, self.sigma)
            return super().kl(other, draw) if expected is None else -self.entropy() - expected
        ratio = self.sigma / other.sigma
        shift = (self._mean - other._mean) / other.sigma
        log_ratio = ratio.log() if isinstance(ratio, Tensor) else math.log(ratio)
        return 0.5 * self._sum(shift.square() + (ratio**2 - 1 - 2 * log_ratio))


class Laplace(Distribution):
    """Independent Laplace distributions about zero, exp(-abs(z) / scale) / (2 scale)."""

    def __init__(self, zero: Tensor, scale: float, event_ndim: int | None = None) -> None:
        self.zero, self.scale = zero, scale
        self.event_ndim = zero.ndim - 1 if event_ndim is None else event_ndim

    @property
    def mean(self) -> Tensor:
        return self.zero

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        shape = self.zero.shape if n is None else (n, *self.zero.shape)
        e = torch.empty((2, *shape), dtype=self.zero.dtype, device=self.zero.device).exponential_(generator=generator)
        return self.scale * (e[0] - e[1])

    def log_prob(self, x: Tensor) -> Tensor:
        return self._sum(-x.abs() / self.scale - math.log(2 * self.scale))

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor:
        """E abs(u) = s sqrt(2/pi) exp(-m^2 / 2 s^2) + m erf(m / (s sqrt 2))."""
        ratio = mean / sigma
        size = sigma * math.sqrt(2 / math.pi) * (-0.5 * ratio.square()).exp() + mean * (ratio * math.sqrt(0.5)).erf()
        return self._sum(-size / self.scale - math.log(2 * self.scale))


class LogitBeta(Distribution):
    """The law of logit(s), s ~ Beta(a, b): p(u) = s^a (1 - s)^b / B(a, b); a = b = 1 is the standard logistic."""

    def __init__(self, a: Tensor, b: Tensor, event_ndim: int) -> None:
        self.a, self.b, self.event_ndim = a, b, event_ndim

    @property
    def mean(self) -> Tensor:
        return self.a.digamma() - self.b.digamma()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        a, b = (c if n is None else c.expand(n, *c.shape) for c in (self.a, self.b))
        gammas = [torch._standard_gamma(c.contiguous(), generator) for c in (a, b)]
        tiny = torch.finfo(a.dtype).tiny
        return gammas[0].clamp_min(tiny).log() - gammas[1].clamp_min(tiny).log()

    def log_prob(self, x: Tensor) -> Tensor:
        return self._sum(-self.a * F.softplus(-x) - self.b * F.softplus(x) - self._log_norm())

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor:
        """By 16-point Gauss-Hermite quadrature of E log s; E log(1 - s) = E log s - mean."""
        nodes, weights = (torch.as_tensor(c, dtype=mean.dtype, device=mean.device) for c in _hermite())
        spread = sigma if isinstance(sigma, float) else sigma[..., None]
        log_s = -(F.softplus(-(mean[..., None] + spread * nodes)) @ weights)
        return self._sum((self.a + self.b) * log_s - self.b * mean - self._log_norm())

    def _log_norm(self) -> Tensor:
        return self.a.lgamma() + self.b.lgamma() - (self.a + self.b).lgamma()


@functools.cache
def _hermite() -> tuple[list[float], list[float]]:
    """Nodes and weights of E f(e), e ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    return nodes.tolist(), (weights / weights.sum()).tolist()


class Squashed(Distribution):
    """sigmoid(u), u of a distribution over the real numbers: log p(z) = log p(u) - Σ log z(1-z) in the unit cube.

    `mean` is sigmoid of the mean of u, which is the median of a squashed normal.
    """

    def __init__(self, base: Distribution) -> None:
        self.base, self.event_ndim = base, base.event_ndim

    @property
    def mean(self) -> Tensor:
        return self.base.mean.sigmoid()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        return self.base.sample(n, generator=generator).sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.clamp(torch.finfo(x.dtype).tiny, 1 - torch.finfo(x.dtype).eps / 2)
        return self.base.log_prob(x.logit()) - self._sum(x.log() + (-x).log1p())

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        """That of the two bases where both are squashed: a change of variables leaves it alone."""
        if not isinstance(other, Squashed):
            return super().kl(other, draw)
        return self.base.kl(other.base, draw.logit(1e-6))


def Beta(a: Tensor, b: Tensor, event_ndim: int = 1) -> Squashed:
    """Independent Beta(a, b) distributions over (0, 1); a = b = 1 is uniform."""
    return Squashed(LogitBeta(a, b, event_ndim))


class OptimalNormal(Distribution):
    """N(mean, sigma^2) with the sigma that maximises the likelihood of the batch: sigma^2 = mean squared error.

    The calibrated decoder of Rybkin, Daniilidis, Levine, "Simple and Effective VAE Training with Calibrated Decoders",
    2021 (arXiv 2006.13202). `running` (a 0-d tensor) keeps the mean squared error and serves where no batch is given;
    it is brought up to date by `log_prob` when `momentum` is above zero.
    """

    def __init__(self, mean: Tensor, running: Tensor, momentum: float, floor: float = 1e-6) -> None:
        self._mean, self.running, self.momentum, self.floor = mean, running, momentum, floor
        self.event_ndim = mean.ndim - 1

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def sigma(self) -> Tensor:
        return self.running.clamp_min(self.floor).sqrt()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        return Normal(self._mean, self.sigma).sample(n, generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        if not self.momentum:
            return Normal(self._mean, self.sigma, self.event_ndim).log_prob(x)
        variance = (x - self._mean).square().mean().clamp_min(self.floor)
        with torch.no_grad():
            self.running.lerp_(variance.detach().to(self.running.dtype), self.momentum)
        return Normal(self._mean, variance.sqrt(), self.event_ndim).log_prob(x)


class Bernoulli(Distribution):
    """Independent coins with the given logits; data in [0, 1] are read as probabilities (cross-entropy)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.event_ndim = logits.ndim - 1

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        p = self.mean if n is None else self.mean.expand(n, *self.logits.shape).contiguous()
        return torch.bernoulli(p, generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        return -self._sum(F.binary_cross_entropy_with_logits(self.logits.expand_as(x), x, reduction="none"))


class OneHot(Distribution):
    """A category as a one-hot vector, with probabilities softmax(logits).

    `mode` says what a draw is: ``"softmax"``, the probabilities themselves, which a latent critic drives into the
    corners; ``"straight-through"``, the likeliest category, with the gradient of the probabilities; ``"gumbel"``, a
    category drawn by the Gumbel-max rule, with the gradient of its softmax at temperature 1; ``"exact"``, a category
    drawn, without gradient.
    """

    has_category = True
    MODES = ("softmax", "straight-through", "gumbel", "exact")

    def __init__(self, logits: Tensor, mode: str = "softmax") -> None:
        self.logits, self.mode = logits, mode
        self.event_ndim = 1

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        logits = self.logits if n is None else self.logits.expand(n, *self.logits.shape)
        soft = logits.softmax(-1)
        if self.mode == "softmax":
            return soft
        noisy = logits
        if self.mode != "straight-through":
            e = torch.empty_like(logits).exponential_(generator=generator)
            noisy = logits - e.log()
            soft = noisy.softmax(-1)
        hard = F.one_hot(noisy.argmax(-1), logits.shape[-1]).to(logits.dtype)
        return hard if self.mode == "exact" else hard + soft - soft.detach()

    def log_prob(self, x: Tensor) -> Tensor:
        return (x * self.logits.log_softmax(-1)).sum(-1)

    @property
    def category(self) -> OneHot:
        return self


class Product(Distribution):
    """Independent parts side by side: vectors whose first coordinates have the first law, and so on."""

    def __init__(self, parts: Sequence[Distribution], sizes: Sequence[int]) -> None:
        self.parts, self.sizes = list(parts), list(sizes)
        self.event_ndim = 1
        self.has_category = any(part.has_category for part in parts)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([part.sample(n, generator=generator) for part in self.parts], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        pieces = zip(self.parts, x.split(self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(piece) for part, piece in pieces]).sum(0)

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        if not isinstance(other, Product):
            return super().kl(other, draw)
        pieces = zip(self.parts, other.parts, draw.split(self.sizes, -1), strict=True)
        return torch.stack([part.kl(prior, piece) for part, prior, piece in pieces]).sum(0)

    @property
    def category(self) -> OneHot:
        return next((p for p in self.parts if p.has_category), self.parts[0]).category


class Pushed(Distribution):
    """net(c, n), n ~ N(0, I): an implicit distribution, which can be drawn from and has no density to evaluate.

    The noise stands beside c in dimension 1: further numbers of a vector, further constant channels of an image.

    `mean` is the image of n = 0, which is a point of it rather than its mean.
    """

    def __init__(self, net: Callable[..., Tensor], c: Tensor, noise_dim: int, y: Tensor | None = None) -> None:
        self.net, self.c, self.noise_dim, self.y = net, c, noise_dim, y
        self.event_ndim = 1

    def _at(self, c: Tensor, noise: Tensor, y: Tensor | None) -> Tensor:
        if self.noise_dim:
            noise = noise.reshape(*noise.shape, *[1] * (c.ndim - 2)).expand(*noise.shape, *c.shape[2:])
            c = torch.cat([c, noise], 1)
        return self.net(c) if y is None else self.net(c, y)

    @property
    def mean(self) -> Tensor:
        return self._at(self.c, self.c.new_zeros(len(self.c), self.noise_dim), self.y)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        c, y = self.c, self.y
        if n is not None:
            c = c.repeat(n, *[1] * (c.ndim - 1))
            y = None if y is None else y.repeat(n, *[1] * (y.ndim - 1))
        out = self._at(c, randn((len(c), self.noise_dim), self.c, generator), y)
        return out if n is None else out.unflatten(0, (n, len(self.c)))

    def point(self, generator: torch.Generator | None = None) -> Tensor:
        return self.sample(generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError(
            "an implicit distribution has no density to evaluate; use a critic, or a Gaussian or Bernoulli conditional"
        )


class Atoms(Distribution):
    """One of some points (N, *S), all equally likely."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.event_ndim = points.ndim - 1

    @property
    def mean(self) -> Tensor:
        return self.points.mean(0)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        device = self.points.device
        rows = torch.randint(len(self.points), (1 if n is None else n,), device=device, generator=generator)
        return self.points[rows[0]] if n is None else self.points[rows]

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError("points that are drawn from have no density to evaluate; fit one of chartae.densities to them")


class Replaced(Distribution):
    """Each value stays with probability 1 - share, else is one of `values`, all equally likely."""

    def __init__(self, x: Tensor, share: float, values: tuple[float, ...]) -> None:
        self.x, self.share, self.values = x, share, values
        self.event_ndim = x.ndim - 1

    @property
    def mean(self) -> Tensor:
        return (1 - self.share) * self.x + self.share * sum(self.values) / len(self.values)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        x = self.x if n is None else self.x.expand(n, *self.x.shape)
        u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        for i, value in enumerate(self.values):
            x = torch.where(u < self.share * (1 - i / len(self.values)), value, x)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError("values that may be replaced have no density; use GaussianNoise where a likelihood is needed")
