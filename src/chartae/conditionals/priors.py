"""Priors: unconditional distributions of codes."""

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
    """A prior of independent Laplace distributions about 0, with density exp(-abs(z) / scale) / (2 scale).

    Its tails are heavier than a normal's. It is not invariant to rotations, so it can identify the axes of the codes.

    Args:
        shape: number of dimensions, or shape, of a code.
        scale: scale of every coordinate, finite, > 0; the standard deviation is sqrt(2) scale; default 1.

    Raises:
        ValueError: `shape` or `scale` is out of range.

    >>> import torch
    >>> import chartae as ch
    >>> prior = ch.Laplace(2)
    >>> prior.sample(5).shape, round(prior.log_prob(torch.zeros(1, 2)).item(), 4)  # -2 log 2
    (torch.Size([5, 2]), -1.3863)
    """

    def __init__(self, shape: int | tuple[int, ...], scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; expected a finite number above 0.")
        self.scale = float(scale)
        self.register_buffer("zero", torch.zeros(event_shape(shape, "a Laplace prior")), persistent=False)
        self.zero: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> LaplaceDistribution:
        return LaplaceDistribution(self.zero, self.scale, self.zero.ndim)

    def extra_repr(self) -> str:
        return f"{'x'.join(map(str, self.zero.shape))}, scale={self.scale:g}"


class Beta(Conditional):
    """A prior of independent Beta(a, b) distributions over (0, 1).

    Args:
        shape: number of dimensions, or shape, of a code.
        a, b: parameters of every coordinate, finite, > 0; > 1 if they are learnt; default 1, the uniform distribution.
        learnt: whether a and b of each coordinate are trained; default False. They are 1 + softplus of the trained
            parameters, so that the density stays unimodal.

    Raises:
        ValueError: `shape`, `a` or `b` is out of range.

    >>> import chartae as ch
    >>> prior = ch.Beta(3, a=2.0, b=2.0)
    >>> prior().mean, prior.sample(4).shape
    (tensor([0.5000, 0.5000, 0.5000]), torch.Size([4, 3]))
    """

    bounded = True

    def __init__(self, shape: int | tuple[int, ...], a: float = 1.0, b: float = 1.0, *, learnt: bool = False) -> None:
        super().__init__()
        event, least = event_shape(shape, "a Beta prior"), 1.0 if learnt else 0.0
        if not (least < a < math.inf and least < b < math.inf):
            raise ValueError(f"a is {a} and b is {b}; expected finite numbers above {least:g}.")
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
    """A uniform prior over (0, 1) in every coordinate.

    Args:
        shape: number of dimensions, or shape, of a code.

    Raises:
        ValueError: `shape` is empty, or an entry is below 1.

    >>> import chartae as ch
    >>> ch.Uniform(3).sample(4).shape
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
    """The standard normal prior N(0, I).

    Args:
        shape: number of dimensions, or shape, of a code.

    Raises:
        ValueError: `shape` is empty, or an entry is below 1.

    >>> import torch
    >>> import chartae as ch
    >>> ch.StandardNormal(16).sample(4, generator=torch.Generator().manual_seed(0)).shape
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
    """A uniform prior over K categories, as one-hot vectors.

    Args:
        categories: number of categories K, >= 2.

    Raises:
        ValueError: `categories` is below 2.

    >>> from chartae.conditionals import UniformCategorical
    >>> UniformCategorical(4).sample(10).sum(1).unique()  # one 1 in each row
    tensor([1.])
    """

    bounded = True
    has_category = True

    def __init__(self, categories: int) -> None:
        super().__init__()
        if categories < 2:
            raise ValueError(f"categories is {categories}; expected at least 2.")
        self.register_buffer("logits", torch.zeros(categories), persistent=False)
        self.logits: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> OneHot:
        return OneHot(self.logits, "exact")

    def extra_repr(self) -> str:
        return str(len(self.logits))


class Empirical(Conditional):
    """The empirical distribution of stored examples: each draw is one of them, with equal probability.

    It serves as the prior of a model whose codes are the examples of another data set. The examples are part of the
    state dict, so they are saved with the model's weights. Before `remember` they are all zero.

    Args:
        shape: shape of an example.
        size: number of examples to store, >= 1; default 128.

    Raises:
        ValueError: `shape` or `size` is out of range.

    >>> import torch
    >>> from chartae.conditionals import Empirical
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
            raise ValueError(f"size is {size}; expected at least 1.")
        self.register_buffer("points", torch.zeros(size, *event_shape(shape, "a prior of examples")))
        self.points: Tensor

    @torch.no_grad()
    def remember(self, examples: Tensor) -> None:
        """Store the first `size` examples; fewer examples are repeated from the start.

        Args:
            examples: examples `(N, *shape)`, N >= 1.

        Raises:
            ValueError: there are no examples, or they have another shape.
        """
        if not len(examples) or examples.shape[1:] != self.points.shape[1:]:
            shape = ", ".join(map(str, self.points.shape[1:]))
            raise ValueError(f"examples have shape {tuple(examples.shape)}; expected (N, {shape}) with N >= 1.")
        self.points.copy_(examples[torch.arange(len(self.points)) % len(examples)])

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Atoms:
        return Atoms(self.points)

    def extra_repr(self) -> str:
        return f"{len(self.points)} examples of {'x'.join(map(str, self.points.shape[1:]))}"
