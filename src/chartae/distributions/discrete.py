"""Distributions over binary values, categories and stored examples, and products of distributions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from chartae.distributions.base import Distribution
from chartae.maths.random import generator_for, rand, randint

__all__ = ["Atoms", "Bernoulli", "OneHot", "Product", "Replaced"]


class Bernoulli(Distribution):
    """Independent Bernoulli distributions with probabilities sigmoid(logits).

    log p(x) is the negative binary cross-entropy; values of x between 0 and 1 are read as probabilities.

    Args:
        logits: logits `(B, *S)`.

    >>> import torch
    >>> from chartae.distributions import Bernoulli
    >>> round(Bernoulli(torch.zeros(1, 2)).log_prob(torch.ones(1, 2)).item(), 4)  # 2 log 1/2
    -1.3863
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.event_ndim = logits.ndim - 1

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        p = self.mean if n is None else self.mean.expand(n, *self.logits.shape).contiguous()
        return torch.bernoulli(p, generator=generator_for(p.device, generator))

    def log_prob(self, x: Tensor) -> Tensor:
        return -self._sum(F.binary_cross_entropy_with_logits(self.logits.expand_as(x), x, reduction="none"))


class OneHot(Distribution):
    """A category as a one-hot vector, with probabilities softmax(logits).

    Args:
        logits: logits `(*B, K)`.
        mode: what a draw is: ``"softmax"`` (default), the probabilities themselves, which a critic on the codes drives
            towards one-hot vectors; ``"straight-through"``, the most probable category with the gradient of the
            probabilities; ``"gumbel"``, a random category (Gumbel-max) with the gradient of its softmax at
            temperature 1; ``"exact"``, a random category without gradient.

    >>> import torch
    >>> from chartae.distributions import OneHot
    >>> OneHot(torch.tensor([0.0, 2.0, 1.0]), "straight-through").sample()
    tensor([0., 1., 0.])
    """

    has_category = True
    MODES = ("softmax", "straight-through", "gumbel", "exact")

    def __init__(self, logits: Tensor, mode: str = "softmax") -> None:
        self.logits, self.mode = logits, mode
        self.event_ndim = 1

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        logits = self.logits if n is None else self.logits.expand(n, *self.logits.shape)
        soft = logits.softmax(-1)
        if self.mode == "softmax":
            return soft
        noisy = logits
        if self.mode != "straight-through":
            e = torch.empty_like(logits).exponential_(generator=generator_for(logits.device, generator))
            noisy = logits - e.log()
            soft = noisy.softmax(-1)
        hard = F.one_hot(noisy.argmax(-1), logits.shape[-1]).to(logits.dtype)
        return hard if self.mode == "exact" else hard + soft - soft.detach()

    def log_prob(self, x: Tensor) -> Tensor:
        return (x * self.logits.log_softmax(-1)).sum(-1)

    @property
    def category(self) -> Distribution:
        return self


class Product(Distribution):
    """Vectors that concatenate independent parts: the first coordinates follow the first distribution, and so on.

    Args:
        parts: distributions of the parts, each over vectors.
        sizes: number of dimensions of each part.

    >>> import torch
    >>> from chartae.distributions import Normal, OneHot, Product
    >>> codes = Product([OneHot(torch.zeros(4, 3)), Normal(torch.zeros(4, 2), 1.0)], [3, 2])
    >>> codes.sample().shape, codes.has_category
    (torch.Size([4, 5]), True)
    """

    def __init__(self, parts: Sequence[Distribution], sizes: Sequence[int]) -> None:
        self.parts, self.sizes = list(parts), list(sizes)
        self.event_ndim = 1
        self.has_category = any(part.has_category for part in parts)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([part.sample(n, generator=generator) for part in self.parts], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        pieces = zip(self.parts, x.split(self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(piece) for part, piece in pieces]).sum(0)

    def kl(self, other: Distribution, draw: Tensor) -> Tensor:
        if not isinstance(other, Product):
            return super().kl(other, draw)
        pieces = zip(self.parts, other.parts, draw.split(self.sizes, -1), strict=True)
        return torch.stack([part.kl(prior, piece) for part, prior, piece in pieces]).sum(0)

    @property
    def category(self) -> Distribution:
        return next((p for p in self.parts if p.has_category), self.parts[0]).category

    @property
    def category_at(self) -> slice:
        first = next((i for i, part in enumerate(self.parts) if part.has_category), 0)
        return slice(sum(self.sizes[:first]), sum(self.sizes[: first + 1]))


class Atoms(Distribution):
    """The uniform distribution over a finite set of points; it has no density.

    Args:
        points: the points `(N, *S)`.

    >>> import torch
    >>> from chartae.distributions import Atoms
    >>> atoms = Atoms(torch.tensor([[0.0], [1.0]]))
    >>> atoms.mean, atoms.sample(5).shape
    (tensor([0.5000]), torch.Size([5, 1]))
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.event_ndim = points.ndim - 1

    @property
    def mean(self) -> Tensor:
        return self.points.mean(0)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        rows = randint(len(self.points), (1 if n is None else n,), self.points.device, generator)
        return self.points[rows[0]] if n is None else self.points[rows]

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError("Atoms has no density. Fit one of chartae.densities to the points.")


class Replaced(Distribution):
    """The distribution of data in which each value is replaced with a fixed probability; it has no density.

    Args:
        x: data `(B, *S)`.
        share: probability that a value is replaced, from 0 to 1.
        values: values that replace it, all equally likely.

    >>> import torch
    >>> from chartae.distributions import Replaced
    >>> Replaced(torch.ones(1, 2), 0.5, (0.0,)).mean
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, x: Tensor, share: float, values: tuple[float, ...]) -> None:
        self.x, self.share, self.values = x, share, values
        self.event_ndim = x.ndim - 1

    @property
    def mean(self) -> Tensor:
        return (1 - self.share) * self.x + self.share * sum(self.values) / len(self.values)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        x = self.x if n is None else self.x.expand(n, *self.x.shape)
        u = rand(x.shape, x, generator)
        for i, value in enumerate(self.values):
            x = torch.where(u < self.share * (1 - i / len(self.values)), value, x)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        raise TypeError("Replaced has no density. Use GaussianNoise(sigma) if a likelihood is needed.")
