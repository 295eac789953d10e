"""Implicit distributions: they can be sampled, but their density cannot be evaluated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from chartae.distributions.base import Distribution
from chartae.maths.random import randn

__all__ = ["Pushed"]


class Pushed(Distribution):
    """The pushforward of noise through a net: net(c, n) with n ~ N(0, I). It can be sampled, but has no density.

    The noise is concatenated to `c` in dimension 1: as further entries of a vector, or as further constant channels of
    an image. `mean` is the output at n = 0, which is a representative point rather than the mean.

    Args:
        net: network from (B, d + noise_dim) or (B, C + noise_dim, H, W), and the condition if there is one, to points.
        c: what the distribution depends on (B, d) or (B, C, H, W).
        noise_dim: number of noise dimensions, >= 0.
        condition: labels or covariates (B, K); default None.

    >>> import torch
    >>> from chartae.distributions import Pushed
    >>> Pushed(torch.nn.Linear(5, 7), torch.zeros(4, 3), noise_dim=2).sample(10).shape
    torch.Size([10, 4, 7])
    """

    def __init__(self, net: Callable[..., Tensor], c: Tensor, noise_dim: int, condition: Tensor | None = None) -> None:
        self.net, self.c, self.noise_dim, self.condition = net, c, noise_dim, condition
        self.event_ndim = 1

    def _output(self, c: Tensor, noise: Tensor, condition: Tensor | None) -> Tensor:
        if self.noise_dim:
            noise = noise.reshape(*noise.shape, *[1] * (c.ndim - 2)).expand(*noise.shape, *c.shape[2:])
            c = torch.cat([c, noise], 1)
        return self.net(c) if condition is None else self.net(c, condition)

    @property
    def mean(self) -> Tensor:
        return self._output(self.c, self.c.new_zeros(len(self.c), self.noise_dim), self.condition)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        c, condition = self.c, self.condition
        if n is not None:
            c = c.repeat(n, *[1] * (c.ndim - 1))
            condition = None if condition is None else condition.repeat(n, *[1] * (condition.ndim - 1))
        out = self._output(c, randn((len(c), self.noise_dim), self.c, generator), condition)
        return out if n is None else out.unflatten(0, (n, len(self.c)))

    def point(self, generator: torch.Generator | None = None) -> Tensor:
        return self.sample(generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError(
            "an implicit distribution has no density to evaluate. Use a critic, or a conditional with a likelihood "
            "such as Gaussian(net) or Bernoulli(net)."
        )
