"""The interface of distributions over points, as conditionals return them, and the point mass."""

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

    Subclasses define `mean`, `sample` and `log_prob`. `log_prob` sums over the event dimensions `(*S)` and keeps the
    batch dimensions, so its unit is nats per point.
    """

    #: number of event dimensions, the length of `(*S)`
    event_ndim: int
    #: whether a point contains a category
    has_category: bool = False

    @property
    @abstractmethod
    def mean(self) -> Float[Tensor, "*B *S"]:
        """The mean, differentiable."""

    @abstractmethod
    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw samples, reparametrised if the family allows it.

        Args:
            n: number of draws for each row; None: one draw for each row, without a new dimension.
            generator: random generator; default None: the current `Stream`, or torch's global generator.

        Returns:
            Draws `(n, *B, *S)`, or `(*B, *S)` if `n` is None.
        """

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density (or log mass) of points, in nats, summed over the event dimensions.

        Args:
            x: points `(*B, *S)`.

        Returns:
            One value for each point `(*B)`.

        Raises:
            TypeError: the distribution has no density.
        """

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        """Return KL(self || other) in nats, in closed form if it is known, else estimated from one draw.

        Args:
            other: the second distribution.
            draw: one draw `(*B, *S)` from this distribution; the estimate is log self(draw) - log other(draw).

        Returns:
            One value for each row `(*B)`.
        """
        return self.log_prob(draw) - other.log_prob(draw)

    def point(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one representative point for each row: the mean, or a draw if the family has no mean.

        Args:
            generator: random generator of a draw; default None.

        Returns:
            Points `(*B, *S)`.
        """
        return self.mean

    def smooth(self, x: Tensor) -> Tensor:
        """Return the differentiable output that a gradient penalty acts on: the mean, or logits for discrete points.

        Args:
            x: points `(*B, *S)` at which logits are taken.

        Returns:
            The mean `(*B, *S)`, or logits.
        """
        return self.mean

    def expected_log_prob(self, mean: Tensor, sigma: float | Tensor) -> Tensor | None:
        """Return E log p(u) over u ~ N(mean, sigma^2), in closed form or by quadrature.

        Args:
            mean: mean of u `(*B, *S)`.
            sigma: standard deviation of u, a number > 0 or a tensor that broadcasts.

        Returns:
            One value in nats for each row `(*B)`, or None if neither a closed form nor a quadrature is implemented.
        """
        return None

    def weighted(self, weight: Tensor | None) -> Distribution:
        """Return the same distribution, for a batch whose rows have weights in the loss.

        By default it does not change; a distribution that is fitted to the batch is fitted to the weighted rows.

        Args:
            weight: weights (B,), >= 0; None for equal ones.
        """
        return self

    @property
    def category(self) -> Distribution:
        """The distribution of the category in a point, if there is one (`has_category`); else a TypeError."""
        raise TypeError(f"{type(self).__name__} has no category. Use a Categorical encoder, or a Product that has one.")

    @property
    def category_at(self) -> slice:
        """The entries of a point that are its category, if there is one (`has_category`)."""
        return slice(None)

    def _sum(self, t: Tensor) -> Tensor:
        if self.event_ndim == 1:
            return t.sum(-1)
        return t.flatten(t.ndim - self.event_ndim).sum(-1) if self.event_ndim else t


class PointMass(Distribution):
    """A point mass: the distribution of a deterministic encoder or decoder. It has no density.

    Args:
        value: the point of each row `(*B, *S)`.
        event_ndim: number of event dimensions; default None: all but the first.

    >>> import torch
    >>> from chartae.distributions import PointMass
    >>> PointMass(torch.ones(4, 3)).sample(10).shape
    torch.Size([10, 4, 3])
    """

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
            "PointMass has no density. Use a conditional with a likelihood, such as Gaussian(net) or Bernoulli(net)."
        )
