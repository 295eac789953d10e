"""Distributions of codes, conditioned on nothing."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.conditionals.base import Conditional, event_shape
from chartae.distributions import (
    Atoms,
    Normal,
    OneHot,
    Squashed,
)
from chartae.distributions import Beta as BetaDistribution
from chartae.distributions import Laplace as LaplaceDistribution

__all__ = ["Beta", "Empirical", "Laplace", "StandardNormal", "Uniform", "UniformCategorical"]


class Laplace(Conditional):
    """Independent Laplace distributions about 0, exp(-abs(z)/scale) / (2 scale): heavier tails, axes that can be told.

    With a rotation-invariant prior no diagonal direction differs from another: here one does.
    """

    def __init__(self, shape: int | tuple[int, ...], scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; a scale is a finite number above 0")
        self.scale = float(scale)
        self.register_buffer("zero", torch.zeros(event_shape(shape, "a Laplace prior")), persistent=False)
        self.zero: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> LaplaceDistribution:
        return LaplaceDistribution(self.zero, self.scale, self.zero.ndim)

    def extra_repr(self) -> str:
        return f"{'x'.join(map(str, self.zero.shape))}, scale={self.scale:g}"


class Beta(Conditional):
    """Independent Beta(a, b) priors over (0, 1).

    Args:
        shape: of a code.
        a, b: above 0, or above 1 where they are learnt.
        learnt: a and b of each coordinate are parameters, 1 + softplus of them: what is fitted stays unimodal.
    """

    bounded = True

    def __init__(self, shape: int | tuple[int, ...], a: float = 1.0, b: float = 1.0, *, learnt: bool = False) -> None:
        super().__init__()
        event, least = event_shape(shape, "a Beta prior"), 1.0 if learnt else 0.0
        if not (least < a < math.inf and least < b < math.inf):
            raise ValueError(f"a and b are {a} and {b}; they are finite numbers above {least:g}")
        self.learnt = learnt
        for name, value in (("raw_a", a), ("raw_b", b)):
            start = torch.full(event, math.log(math.expm1(value - 1)) if learnt else float(value))
            if learnt:
                self.register_parameter(name, nn.Parameter(start))
            else:
                self.register_buffer(name, start, persistent=False)
        self.raw_a: Tensor
        self.raw_b: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Squashed:
        a, b = self.raw_a, self.raw_b
        if self.learnt:
            a, b = 1 + nn.functional.softplus(a), 1 + nn.functional.softplus(b)
        return BetaDistribution(a, b, self.raw_a.ndim)

    def extra_repr(self) -> str:
        size = "x".join(map(str, self.raw_a.shape))
        return f"{size}, learnt" if self.learnt else f"{size}, {float(self.raw_a.flatten()[0]):g}"


@final
class Uniform(Conditional):
    """The uniform prior over (0, 1) in every coordinate: Beta(1, 1).

    >>> Uniform(3).sample(4).shape
    torch.Size([4, 3])
    """

    bounded = True

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(event_shape(shape, "a uniform prior")), persistent=False)
        self.one: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Squashed:
        return BetaDistribution(self.one, self.one, self.one.ndim)

    def extra_repr(self) -> str:
        return "x".join(map(str, self.one.shape))


class StandardNormal(Conditional):
    """N(0, I) over vectors of a dimension, or arrays of a shape.

    >>> StandardNormal(16).sample(4, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 16])
    """

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(event_shape(shape, "a standard normal")), persistent=False)
        self.zero: Float[Tensor, "*S"]

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        return Normal(self.zero, 1.0, self.zero.ndim)

    def extra_repr(self) -> str:
        return "x".join(map(str, self.zero.shape))


class UniformCategorical(Conditional):
    """One of K categories, all equally likely, as a one-hot vector."""

    bounded = True
    has_category = True

    def __init__(self, categories: int) -> None:
        super().__init__()
        if categories < 2:
            raise ValueError(f"categories is {categories}; give at least 2")
        self.register_buffer("logits", torch.zeros(categories), persistent=False)
        self.logits: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> OneHot:
        return OneHot(self.logits, "exact")

    def extra_repr(self) -> str:
        return str(len(self.logits))


class Empirical(Conditional):
    """One of some examples that it remembers, all equally likely: a prior where codes are points of another set.

    They are part of its state, so that they are saved with a model's weights, and zeros before `remember`.

    >>> prior = Empirical((3,), size=5)
    >>> prior.remember(torch.ones(2, 3))
    >>> prior.sample(4).sum()
    tensor(12.)
    """

    has_density = False
    remembers = True

    def __init__(self, shape: int | tuple[int, ...], size: int = 128) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}; remember at least 1 example")
        self.register_buffer("points", torch.zeros(size, *event_shape(shape, "a prior of examples")))
        self.points: Tensor

    @torch.no_grad()
    def remember(self, examples: Tensor) -> None:
        """The first examples, again from the start where there are fewer than it holds.

        Raises:
            ValueError: no examples, or of another shape.
        """
        if not len(examples) or examples.shape[1:] != self.points.shape[1:]:
            raise ValueError(
                f"examples have shape {tuple(examples.shape)}; give at least one of {tuple(self.points.shape[1:])}"
            )
        self.points.copy_(examples[torch.arange(len(self.points)) % len(examples)])

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Atoms:
        return Atoms(self.points)

    def extra_repr(self) -> str:
        return f"{len(self.points)} examples of {'x'.join(map(str, self.points.shape[1:]))}"
