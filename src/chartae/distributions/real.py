"""Distributions over the real line, independent in every coordinate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chartae.distributions.base import LOG_2PI, Distribution
from chartae.maths.random import generator_for, randn

__all__ = ["Laplace", "Normal", "OptimalNormal"]


class Normal(Distribution):
    """Independent normal distributions N(mean, sigma^2) in every coordinate.

    Args:
        mean: mean `(*B, *S)`.
        sigma: standard deviation, a number > 0 or a tensor that broadcasts over `mean`.
        event_ndim: number of event dimensions; default None: all but the first.

    >>> import torch
    >>> from chartae.distributions import Normal
    >>> q, p = Normal(torch.ones(1, 2), 1.0), Normal(torch.zeros(1, 2), 1.0)
    >>> q.kl(p, q.sample())  # half of ||mean||^2
    tensor([1.])
    """

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
            # sigma may differ between coordinates, so its logarithms are summed
            log_sigma = self.sigma.log().expand(self._mean.shape)
            return -0.5 * self._sum((delta / self.sigma).square()) - self._sum(log_sigma) - 0.5 * size * LOG_2PI
        squares = self._sum(delta.square())
        return squares * (-0.5 / self.sigma**2) - size * (math.log(self.sigma) + 0.5 * LOG_2PI)

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor:
        squares = ((mean - self._mean).square() + sigma**2) / self.sigma**2
        log_sigma = self.sigma.log() if isinstance(self.sigma, Tensor) else math.log(self.sigma)
        return self._sum(-0.5 * (squares + LOG_2PI) - log_sigma)

    def entropy(self) -> Tensor:
        """Return the differential entropy, ½ Σ log(2 pi e sigma^2), in nats.

        Returns:
            One value for each row `(*B)`.
        """
        log_sigma = self.sigma.log() if isinstance(self.sigma, Tensor) else math.log(self.sigma)
        return self._sum(torch.zeros_like(self._mean) + log_sigma + 0.5 * (LOG_2PI + 1))

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        """Return KL(self || other) in nats; ½ Σ (σ²/s² + (μ - m)²/s² - 1 - 2 log σ/s) for another normal N(m, s²).

        Args:
            other: the second distribution.
            draw: one draw `(*B, *S)` from this distribution, for an estimate if there is no closed form.

        Returns:
            One value for each row `(*B)`.
        """
        if not isinstance(other, Normal):
            expected = other.expected_log_prob(self._mean, self.sigma)
            return super().kl(other, draw) if expected is None else -self.entropy() - expected
        ratio = self.sigma / other.sigma
        shift = (self._mean - other._mean) / other.sigma
        log_ratio = ratio.log() if isinstance(ratio, Tensor) else math.log(ratio)
        return 0.5 * self._sum(shift.square() + (ratio**2 - 1 - 2 * log_ratio))


class Laplace(Distribution):
    """Independent Laplace distributions about 0, with density exp(-abs(z) / scale) / (2 scale).

    Args:
        zero: zeros `(*B, *S)`, which define shape, dtype and device.
        scale: scale of every coordinate, > 0; the standard deviation is sqrt(2) scale.
        event_ndim: number of event dimensions; default None: all but the first.

    >>> import torch
    >>> from chartae.distributions import Laplace
    >>> round(Laplace(torch.zeros(1, 1), scale=0.25).log_prob(torch.zeros(1, 1)).item(), 4)  # log 2
    0.6931
    """

    def __init__(self, zero: Tensor, scale: float, event_ndim: int | None = None) -> None:
        self.zero, self.scale = zero, scale
        self.event_ndim = zero.ndim - 1 if event_ndim is None else event_ndim

    @property
    def mean(self) -> Tensor:
        return self.zero

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        shape = self.zero.shape if n is None else (n, *self.zero.shape)
        e = torch.empty((2, *shape), dtype=self.zero.dtype, device=self.zero.device)
        e.exponential_(generator=generator_for(e.device, generator))
        return self.scale * (e[0] - e[1])

    def log_prob(self, x: Tensor) -> Tensor:
        return self._sum(-x.abs() / self.scale - math.log(2 * self.scale))

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor:
        """Return E log p(u) over u ~ N(m, s^2) in closed form.

        E abs(u) = s sqrt(2/pi) exp(-m^2 / (2 s^2)) + m erf(m / (s sqrt 2)).

        Args:
            mean: mean m of u `(*B, *S)`.
            sigma: standard deviation s of u, a number > 0 or a tensor that broadcasts.

        Returns:
            One value in nats for each row `(*B)`.
        """
        ratio = mean / sigma
        size = sigma * math.sqrt(2 / math.pi) * (-0.5 * ratio.square()).exp() + mean * (ratio * math.sqrt(0.5)).erf()
        return self._sum(-size / self.scale - math.log(2 * self.scale))


class OptimalNormal(Distribution):
    """N(mean, sigma^2) with the sigma that maximises the likelihood of the batch: sigma^2 = mean squared error.

    This is the calibrated decoder of Rybkin, Daniilidis, Levine, "Simple and Effective VAE Training with Calibrated
    Decoders", 2021 (arXiv 2006.13202).

    Args:
        mean: mean `(B, *S)`.
        running: running mean of the squared error, a 0-d tensor; `sample`, and `log_prob` with ``momentum=0``, use it
            as sigma^2.
        momentum: weight of the current batch in `running`, from 0 to 1; `log_prob` updates `running` if it is above 0.
        floor: smallest value of sigma^2, > 0; default 1e-6.
        weight: weights (B,) of the rows in the mean squared error, >= 0; None (default) for equal ones.

    >>> import torch
    >>> from chartae.distributions import OptimalNormal
    >>> running = torch.ones(())
    >>> _ = OptimalNormal(torch.zeros(4, 2), running, momentum=0.5).log_prob(torch.full((4, 2), 3.0))
    >>> running  # halfway from 1 to the squared error 9
    tensor(5.)
    """

    def __init__(
        self, mean: Tensor, running: Tensor, momentum: float, floor: float = 1e-6, weight: Tensor | None = None
    ) -> None:
        self._mean, self.running, self.momentum, self.floor, self.weight = mean, running, momentum, floor, weight
        self.event_ndim = mean.ndim - 1

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def sigma(self) -> Tensor:
        return self.running.clamp_min(self.floor).sqrt()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        return Normal(self._mean, self.sigma).sample(n, generator=generator)

    def weighted(self, weight: Tensor | None) -> OptimalNormal:
        return OptimalNormal(self._mean, self.running, self.momentum, self.floor, weight)

    def log_prob(self, x: Tensor) -> Tensor:
        if not self.momentum:
            return Normal(self._mean, self.sigma, self.event_ndim).log_prob(x)
        squares = (x - self._mean).square()
        if self.weight is None:
            variance = squares.mean().clamp_min(self.floor)
        else:
            each = squares.flatten(1).mean(1)
            variance = ((self.weight * each).sum() / self.weight.sum().clamp_min(1e-12)).clamp_min(self.floor)
        with torch.no_grad():
            self.running.lerp_(variance.detach().to(self.running.dtype), self.momentum)
        return Normal(self._mean, variance.sqrt(), self.event_ndim).log_prob(x)
