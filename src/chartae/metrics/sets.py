"""Numbers for two sets of points, usually features: Fréchet distance, kernel distance, precision and recall.

Every function takes two matrices (points, dimensions), tensors or arrays, and computes in float64 where the
first of them lies. `Reference` keeps what a reference set needs, for comparing many sets with one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths import frechet_from_factors, mean_and_factor, squared_distances

__all__ = ["Reference", "frechet", "kid", "mmd_test", "prdc"]

#: elements of a block of pairwise distances: 32 MB of float64
BLOCK = 2**22


def _points(x: Tensor | np.ndarray, what: str) -> Float[Tensor, "N D"]:
    x = torch.as_tensor(x).detach()
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"{what} has shape {tuple(x.shape)}; a set is a matrix (points, dimensions)")
    if len(x) < 2:
        raise ValueError(f"{what} holds {len(x)} points; comparing sets needs at least 2")
    if x.device.type == "mps":
        x = x.cpu()  # no float64 there
    x = x.double()
    bad = ~x.isfinite().all(1)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {len(x)} points of {what} are not finite (row {int(bad.nonzero()[0])})")
    return x


class Reference:
    """A reference set and what it needs once: mean and covariance factor, and the radii of its
    neighbourhoods.

    >>> real, fake = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)).unbind()
    >>> reference = Reference(real)
    >>> reference.frechet(fake) == frechet(real, fake)
    True
    """

    def __init__(self, points: Tensor | np.ndarray) -> None:
        self.points = _points(points, "the reference")
        self._radii: dict[int, Tensor] = {}

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and a factor F of the covariance FᵀF."""
        return mean_and_factor(self.points)

    def radii(self, k: int) -> Float[Tensor, " N"]:
        """Squared distances of each point to its k-th neighbour, itself not counted."""
        if k not in self._radii:
            self._radii[k] = _radii(self._centred(self.points), k)
        return self._radii[k]

    def frechet(self, points: Tensor | np.ndarray) -> float:
        """The Fréchet distance of `points` from the reference; see `frechet`."""
        return frechet_from_factors(*self.moments, *mean_and_factor(self._other(points))).item()

    def kid(
        self, points: Tensor | np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
    ) -> tuple[float, float]:
        """The kernel distance of `points` from the reference; see `kid`."""
        x, y = self.points, self._other(points)
        smaller = min(len(x), len(y))
        if subsets < 1:
            raise ValueError(f"subsets={subsets}; at least 1 is needed")
        if not 2 <= subset_size <= smaller:
            raise ValueError(
                f"subset_size={subset_size} cannot be drawn from sets of {len(x)} and {len(y)} points;"
                f" take it from 2 to {smaller}"
            )
        rng = np.random.default_rng(seed)
        estimates = []
        for _ in range(subsets):
            rows = [torch.from_numpy(rng.choice(len(s), subset_size, replace=False)).to(s.device) for s in (x, y)]
            estimates.append(_mmd2(x[rows[0]], y[rows[1]]))
        return float(np.mean(estimates)), float(np.std(estimates))

    def prdc(self, points: Tensor | np.ndarray, *, k: int = 5) -> dict[str, float]:
        """Precision, recall, density and coverage of `points`; see `prdc`."""
        fake = self._other(points)
        smaller = min(len(self.points), len(fake))
        if not 1 <= k < smaller:
            raise ValueError(
                f"k={k} neighbours cannot be found in sets of {len(self.points)} and {len(fake)} points;"
                f" take k from 1 to {smaller - 1}"
            )
        real, fake = self._centred(self.points), self._centred(fake)
        radii, fake_radii = self.radii(k), _radii(fake, k)
        balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)  # of reference points, around each fake
        covered = recalled = 0
        for rows, squares in _squares(real, fake):
            inside = squares <= radii[rows, None]
            balls += inside.sum(0)
            covered += int(inside.any(1).sum())
            recalled += int((squares <= fake_radii).any(1).sum())
        return {
            "precision": (balls > 0).double().mean().item(),
            "recall": recalled / len(real),
            "density": balls.sum().item() / (k * len(fake)),
            "coverage": covered / len(real),
        }

    def _other(self, points: Tensor | np.ndarray) -> Tensor:
        x = _points(points, "the compared set").to(self.points.device)
        if x.shape[1] != self.points.shape[1]:
            raise ValueError(
                f"the compared set has {x.shape[1]} dimensions, the reference {self.points.shape[1]};"
                " both need the same features"
            )
        return x

    def _centred(self, x: Tensor) -> Tensor:
        # distances do not change, their cancellation error does
        return x - self.points.mean(0)


def _squares(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of `x` to all of `y`, as blocks of rows."""
    step = max(1, BLOCK // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, squared_distances(x[rows], y)


def _radii(x: Tensor, k: int) -> Tensor:
    nearest = [squares.topk(k + 1, largest=False).values[:, -1] for _, squares in _squares(x, x)]
    # a distance that is a tie but for rounding is a tie
    return torch.cat(nearest) + 64 * torch.finfo(x.dtype).eps * x.square().sum(1)


def _mmd2(x: Tensor, y: Tensor) -> float:
    n, d = x.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        base = torch.addmm(a.new_ones(()), a, b.T, alpha=1 / d)
        return base * base * base

    within = sum(((gram := kernel(s, s)).sum() - gram.trace()).item() for s in (x, y))
    return within / (n * (n - 1)) - 2 * kernel(x, y).sum().item() / n**2


def frechet(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> float:
    """The Fréchet (2-Wasserstein) distance, squared, between the normals fitted to two sets:

        |m_a - m_b|^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^{1/2},     S with the divisor N - 1.

    Between Inception features this is the FID. Zero or above; biased upwards for few points, so compare only
    numbers from equally many.

    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge
    to a Local Nash Equilibrium", 2017 (arXiv 1706.08500).

    Raises:
        ValueError: fewer than 2 points, different dimensions, points that are not finite.

    >>> round(frechet(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]])), 12)
    1.0
    """
    return Reference(a).frechet(b)


def kid(
    a: Tensor | np.ndarray,
    b: Tensor | np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The kernel distance: mean and standard deviation over random subsets of the unbiased estimate of MMD^2,

        mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

    with k(x, y) = (x.y / D + 1)^3. Unbiased, so it may fall below zero. The same seed draws the same subsets.

    Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", 2018 (arXiv 1801.01401).

    Raises:
        ValueError: as `frechet`, and a `subset_size` above the size of a set.
    """
    return Reference(a).kid(b, subsets=subsets, subset_size=subset_size, seed=seed)


def mmd_test(
    a: Tensor | np.ndarray, b: Tensor | np.ndarray, *, permutations: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Whether two sets come from one law: the squared maximum mean discrepancy, and its p-value by permutations.

    The unbiased estimate with the sum of normal kernels exp(-||x - y||^2 / 2 h^2), h a half, one and two of the median
    distance. p = (1 + how many permutations of the pooled points reach it) / (1 + permutations): uniform for one law.

    Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A Kernel Two-Sample Test", 2012.

    Raises:
        ValueError: as `frechet`, and no permutations.

    >>> g = torch.Generator().manual_seed(0)
    >>> mmd_test(torch.randn(100, 2, generator=g), 1 + torch.randn(100, 2, generator=g))[1] < 0.01
    True
    """
    x, y = _points(a, "the first set"), _points(b, "the second set")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; give at least 1")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"the sets have {x.shape[1]} and {y.shape[1]} dimensions; they cannot be compared")
    pooled = torch.cat([x, y])
    squares = squared_distances(pooled, pooled)
    median = squares.flatten()[:: max(1, squares.numel() // 100_000)].median().clamp_min(torch.finfo(x.dtype).tiny)
    gram = torch.stack([(-squares / (2 * h * h * median)).exp() for h in (0.5, 1.0, 2.0)]).sum(0)
    gram.fill_diagonal_(0)
    n, m = len(x), len(y)
    # with s = 1 on the first set: all three sums from the one product gram s
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack(
        [torch.arange(n + m), *(torch.randperm(n + m, generator=generator) for _ in range(permutations))]
    )
    s = torch.zeros(n + m, len(order), dtype=gram.dtype, device=gram.device)
    s.scatter_(0, order[:, :n].T.to(gram.device), 1.0)
    with_first = gram @ s
    first = (s * with_first).sum(0)
    across = with_first.sum(0) - first
    second = gram.sum() - first - 2 * across
    values = first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * across / (n * m)
    reached = int((values[1:] >= values[0]).sum())
    return float(values[0]), (1 + reached) / (1 + permutations)


def prdc(real: Tensor | np.ndarray, fake: Tensor | np.ndarray, *, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage, by balls around each point that reach its k-th neighbour:

        precision  the share of fake points in a ball of a real one
        recall     the share of real points in a ball of a fake one
        density    the number of real balls a fake point lies in, over k; near 1 for equal distributions
        coverage   the share of real points whose ball holds a fake one

    A point on the sphere is inside.

    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing
    Generative Models", 2019 (arXiv 1904.06991); Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity
    Metrics for Generative Models", 2020 (arXiv 2002.09797).

    Raises:
        ValueError: as `frechet`, and a `k` that a set cannot give.
    """
    return Reference(real).prdc(fake, k=k)
