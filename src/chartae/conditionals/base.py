"""Conditional distributions: q(z|x), p(x|z), p(z) and the corruption C(x~|x) are one kind of thing."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from chartae.distributions import (
    Distribution,
)

__all__ = ["Conditional", "event_shape", "through"]


class Conditional(nn.Module, ABC):
    """p(a | c): a module whose forward pass returns a `Distribution`, one row for each row of `c`.

    `condition` (labels, covariates) travels beside `c`; it is handed to the net only where it is given.
    """

    #: whether the distribution has a density, so that `log_prob` and `KL` exist
    has_density: bool = True
    #: whether it can be drawn from: all of ours, but for a density that has not been fitted
    drawable: bool = True
    #: whether a draw names a category
    has_category: bool = False
    #: whether its mean is a differentiable function of what it is given
    differentiable: bool = True
    #: whether it draws examples that it remembers
    remembers: bool = False
    #: whether its points lie in the unit cube
    bounded: bool = False
    #: whether it changes with how far training has come, which `plan` tells
    scheduled: bool = False

    @abstractmethod
    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Distribution:
        """The distribution given `c`."""

    def plan(self, steps: int) -> None:
        """Told before training how many steps there will be: for what changes on the way."""

    def mend(self, examples: object) -> object:
        """Examples in the user's form, with what a decoder of this family can repair in them."""
        return examples

    def sample(
        self,
        n: int | None = None,
        c: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`n` draws (n, *S) of an unconditional distribution; with `c`, one draw for each row where `n` is None."""
        return self(c, condition).sample(n, generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """log p(a | c) in nats per point, shape (B,)."""
        return self(c, condition).log_prob(a)


def through(net: nn.Module, c: Tensor | None, condition: Tensor | None) -> Tensor:
    return net(c) if condition is None else net(c, condition)


def event_shape(shape: int | tuple[int, ...], what: str) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or any(s < 1 for s in shape):
        raise ValueError(f"shape is {shape}; {what} needs a dimension of at least 1")
    return shape
