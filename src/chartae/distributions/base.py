"""What a conditional returns: a distribution over points."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["LOG_2PI", "Distribution", "PointMass"]

LOG_2PI = math.log(2 * math.pi)


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
    def category(self) -> Distribution:
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
