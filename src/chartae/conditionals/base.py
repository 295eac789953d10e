"""Conditional distributions: q(z|x), p(x|z), p(z) and the corruption C(x~|x) share one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from chartae.distributions import (
    Distribution,
)

__all__ = ["Conditional", "event_shape", "through"]


class Conditional(nn.Module, ABC):
    """p(a | c): a module whose forward pass returns a `Distribution`, with one row for each row of `c`.

    Subclasses define `forward(c, condition)`. `c` is what the distribution depends on, such as the code of a decoder;
    an unconditional distribution, such as a prior, ignores it. `condition` holds labels or covariates of a conditional
    model; it is passed to the net only if it is not None.
    """

    #: whether the distribution has a density, so that `log_prob` and `KL` are defined
    has_density: bool = True
    #: whether samples can be drawn from it; False only for a density that has not been fitted yet
    drawable: bool = True
    #: whether a draw contains a category
    has_category: bool = False
    #: whether the mean is a differentiable function of `c`
    differentiable: bool = True
    #: whether it stores examples and draws from them
    remembers: bool = False
    #: whether its points lie in the unit cube
    bounded: bool = False
    #: whether it estimates how the data spread in each output: False for a point mass, and for a standard deviation
    #: that is a constant of the loss or one number for all outputs
    calibrated: bool = True
    #: whether it changes during training, according to the number of steps passed to `plan`
    scheduled: bool = False

    @abstractmethod
    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Distribution:
        """Return the distribution given `c`.

        Args:
            c: what the distribution depends on (B, ...); None for an unconditional distribution.
            condition: labels or covariates (B, K) of a conditional model; default None.

        Returns:
            A distribution with one row for each row of `c`.
        """

    def plan(self, steps: int) -> None:
        """Prepare a schedule; the training loop calls this before the first step.

        Args:
            steps: total number of training steps.
        """

    def mend(self, examples: object) -> object:
        """Repair what this decoder can repair in its decoded examples; by default nothing.

        Args:
            examples: decoded examples in the user's form, such as a list of strings.

        Returns:
            The examples in the same form.
        """
        return examples

    def sample(
        self,
        n: int | None = None,
        c: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw samples.

        Args:
            n: number of draws for each row; None: one draw for each row of `c`, without a new dimension.
            c: what the distribution depends on (B, ...); None for an unconditional distribution.
            condition: labels or covariates (B, K) of a conditional model; default None.
            generator: random generator; default None: the current `Stream`, or torch's global generator.

        Returns:
            Draws `(n, *S)` of an unconditional distribution, else `(n, B, *S)`, or `(B, *S)` if `n` is None.
        """
        return self(c, condition).sample(n, generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Return the log density log p(a | c), in nats.

        Args:
            a: points `(B, *S)`.
            c: what the distribution depends on (B, ...); None for an unconditional distribution.
            condition: labels or covariates (B, K) of a conditional model; default None.

        Returns:
            One value for each point (B,).
        """
        return self(c, condition).log_prob(a)


def through(net: nn.Module, c: Tensor | None, condition: Tensor | None) -> Tensor:
    """Apply a net to `c`, and to the condition if there is one: net(c) or net(c, condition).

    Args:
        net: network that takes `c`, and the condition as its second argument.
        c: input (B, ...).
        condition: labels or covariates (B, K), or None.

    Returns:
        The output of the net (B, ...).

    >>> import torch
    >>> from chartae.conditionals import through
    >>> through(torch.nn.Identity(), torch.ones(2), None)
    tensor([1., 1.])
    """
    return net(c) if condition is None else net(c, condition)


def event_shape(shape: int | tuple[int, ...], what: str) -> tuple[int, ...]:
    """Return the shape of one point as a tuple, after checking it.

    Args:
        shape: number of dimensions of a vector, or the shape of an array; every entry >= 1.
        what: name of the distribution, for the error message.

    Returns:
        The shape as a tuple.

    Raises:
        ValueError: the shape is empty, or an entry is below 1.

    >>> from chartae.conditionals import event_shape
    >>> event_shape(16, "a prior")
    (16,)
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or any(s < 1 for s in shape):
        raise ValueError(f"shape is {shape}; expected one or more dimensions of at least 1 for {what}.")
    return shape
