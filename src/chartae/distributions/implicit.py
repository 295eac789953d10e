"""Distributions that are drawn from and never evaluated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from chartae.distributions.base import Distribution
from chartae.maths.random import randn

__all__ = ["Pushed"]


class Pushed(Distribution):
    """net(c, n), n ~ N(0, I): an implicit distribution, which can be drawn from and has no density to evaluate.

    The noise stands beside c in dimension 1: further numbers of a vector, further constant channels of an image.

    `mean` is the image of n = 0, which is a point of it rather than its mean.
    """

    def __init__(self, net: Callable[..., Tensor], c: Tensor, noise_dim: int, condition: Tensor | None = None) -> None:
        self.net, self.c, self.noise_dim, self.condition = net, c, noise_dim, condition
        self.event_ndim = 1

    def _at(self, c: Tensor, noise: Tensor, condition: Tensor | None) -> Tensor:
        if self.noise_dim:
            noise = noise.reshape(*noise.shape, *[1] * (c.ndim - 2)).expand(*noise.shape, *c.shape[2:])
            c = torch.cat([c, noise], 1)
        return self.net(c) if condition is None else self.net(c, condition)

    @property
    def mean(self) -> Tensor:
        return self._at(self.c, self.c.new_zeros(len(self.c), self.noise_dim), self.condition)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        c, condition = self.c, self.condition
        if n is not None:
            c = c.repeat(n, *[1] * (c.ndim - 1))
            condition = None if condition is None else condition.repeat(n, *[1] * (condition.ndim - 1))
        out = self._at(c, randn((len(c), self.noise_dim), self.c, generator), condition)
        return out if n is None else out.unflatten(0, (n, len(self.c)))

    def point(self, generator: torch.Generator | None = None) -> Tensor:
        return self.sample(generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError(
            "an implicit distribution has no density to evaluate; use a critic, or a Gaussian or Bernoulli conditional"
        )
