"""Distributions over the unit cube: the sigmoid of distributions over the real line."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from chartae.distributions.base import Distribution
from chartae.maths.private import standard_gamma
from chartae.maths.random import generator_for

__all__ = ["Beta", "LogitBeta", "Squashed"]

#: standard deviation up to which a normal is integrated by Gauss-Hermite's rule
SWITCH = 1.5


class LogitBeta(Distribution):
    """The distribution of u = logit(s) with s ~ Beta(a, b), independent in every coordinate.

    Its density is p(u) = s^a (1 - s)^b / B(a, b) with s = sigmoid(u). a = b = 1 is the standard logistic distribution.

    Args:
        a, b: parameters `(*B, *S)`, > 0.
        event_ndim: number of event dimensions.

    >>> import torch
    >>> from chartae.distributions import LogitBeta
    >>> logistic = LogitBeta(torch.ones(1), torch.ones(1), event_ndim=1)
    >>> round(logistic.log_prob(torch.zeros(1)).item(), 4)  # log 1/4
    -1.3863
    """

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
        """Return E log p(u) over u ~ N(mean, sigma^2), by quadrature with 16 nodes.

        The quadrature gives E log s; then E log(1 - s) = E log s - mean. Its error is below 1e-6 for every sigma: up to
        1.5 the rule is Gauss-Hermite's; above, -log s = max(-u, 0) + log(1 + e^-|u|), of which the first part has a
        closed form, and the second, which is narrow beside the normal, is integrated by Gauss-Laguerre's rule.

        Args:
            mean: mean of u `(*B, *S)`.
            sigma: standard deviation of u, a number > 0 or a tensor that broadcasts.

        Returns:
            One value in nats for each row `(*B)`.
        """
        sigma = torch.as_tensor(sigma, dtype=mean.dtype, device=mean.device).expand_as(mean)
        log_s = torch.where(
            sigma <= SWITCH,
            _log_sigmoid_narrow(mean, sigma.clamp_max(SWITCH)),
            _log_sigmoid_wide(mean, sigma.clamp_min(SWITCH)),
        )
        return self._sum((self.a + self.b) * log_s - self.b * mean - self._log_norm())

    def _log_norm(self) -> Tensor:
        return self.a.lgamma() + self.b.lgamma() - (self.a + self.b).lgamma()


def _log_sigmoid_narrow(mean: Tensor, sigma: Tensor) -> Tensor:
    """E log sigmoid(u) over u ~ N(mean, sigma^2) for small sigma."""
    nodes, weights = (mean.new_tensor(c) for c in _hermite())
    return -(F.softplus(-(mean[..., None] + sigma[..., None] * nodes)) @ weights)


def _log_sigmoid_wide(mean: Tensor, sigma: Tensor) -> Tensor:
    """E log sigmoid(u) over u ~ N(mean, sigma^2) for large sigma."""
    nodes, weights = (mean.new_tensor(c) for c in _laguerre())

    def density(u: Tensor) -> Tensor:
        e = (u - mean[..., None]) / sigma[..., None]
        return (-0.5 * e.square()).exp() / (math.sqrt(2 * math.pi) * sigma[..., None])

    e = mean / sigma
    corner = sigma * (-0.5 * e.square()).exp() / math.sqrt(2 * math.pi) - mean * torch.special.ndtr(-e)
    return -(corner + (density(nodes) + density(-nodes)) @ weights)


@functools.cache
def _hermite() -> tuple[list[float], list[float]]:
    """Nodes and weights of the quadrature of E f(e), e ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    return nodes.tolist(), (weights / weights.sum()).tolist()


@functools.cache
def _laguerre() -> tuple[list[float], list[float]]:
    """Nodes and weights of the quadrature of the integral of log(1 + e^-u) f(u) over u > 0."""
    nodes, weights = np.polynomial.laguerre.laggauss(16)
    return nodes.tolist(), (weights * np.exp(nodes) * np.log1p(np.exp(-nodes))).tolist()


class Squashed(Distribution):
    """The distribution of z = sigmoid(u) over the unit cube, for any distribution of u over the real numbers.

    log p(z) = log p(u) - Σ log z (1 - z). `mean` is the sigmoid of the mean of u; for a normal u that is the median.

    Args:
        base: distribution of u.

    >>> import torch
    >>> from chartae.distributions import Normal, Squashed
    >>> z = Squashed(Normal(torch.zeros(4, 3), 1.0))
    >>> z.mean[0], z.sample().shape
    (tensor([0.5000, 0.5000, 0.5000]), torch.Size([4, 3]))
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
        """Return KL(self || other) in nats; between two squashed distributions it is that of their bases.

        The KL divergence does not change under a change of variables.

        Args:
            other: the second distribution.
            draw: one draw `(*B, *S)` from this distribution, for an estimate if there is no closed form.

        Returns:
            One value for each row `(*B)`.
        """
        if not isinstance(other, Squashed):
            return super().kl(other, draw)
        return self.base.kl(other.base, draw.logit(1e-6))


def Beta(a: Tensor, b: Tensor, event_ndim: int = 1) -> Squashed:
    """Build independent Beta(a, b) distributions over (0, 1); a = b = 1 is the uniform distribution.

    Args:
        a, b: parameters `(*B, *S)`, > 0.
        event_ndim: number of event dimensions; default 1.

    Returns:
        The distribution, as the sigmoid of a `LogitBeta`.

    >>> import torch
    >>> from chartae.distributions import Beta
    >>> Beta(torch.ones(2), torch.ones(2)).log_prob(torch.tensor([0.3, 0.6])).abs() < 1e-6  # uniform: log 1
    tensor(True)
    """
    return Squashed(LogitBeta(a, b, event_ndim))
