"""Distributions over the unit cube, as squashed ones over the real line."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from chartae.distributions.base import Distribution
from chartae.maths.private import standard_gamma
from chartae.maths.random import generator_for

__all__ = ["Beta", "LogitBeta", "Squashed"]


class LogitBeta(Distribution):
    """The law of logit(s), s ~ Beta(a, b): p(u) = s^a (1 - s)^b / B(a, b); a = b = 1 is the standard logistic."""

    def __init__(self, a: Tensor, b: Tensor, event_ndim: int) -> None:
        self.a, self.b, self.event_ndim = a, b, event_ndim

    @property
    def mean(self) -> Tensor:
        return self.a.digamma() - self.b.digamma()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        a, b = (c if n is None else c.expand(n, *c.shape) for c in (self.a, self.b))
        gammas = [standard_gamma(c, generator_for(c.device, generator)) for c in (a, b)]
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
