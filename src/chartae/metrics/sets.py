"""Metrics for two sets of points, usually features: Fréchet distance, kernel distance, precision and recall.

Every function takes two matrices (N, D), tensors or arrays, and computes in float64 on the device of the first.
`Reference` caches what depends on the reference set only, for comparing many sets with one.
"""

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
        raise ValueError(f"{what} has shape {tuple(x.shape)}; expected a matrix (N, D), one row per point")
    if len(x) < 2:
        raise ValueError(f"{what} holds {len(x)} points; expected at least 2")
    if x.device.type == "mps":
        x = x.cpu()  # mps has no float64
    x = x.double()
    bad = ~x.isfinite().all(1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(x)} points of {what} are not finite (the first is row {int(bad.nonzero()[0])}); "
            "expected finite numbers. Drop these points"
        )
    return x


class Reference:
    """A reference set, with its mean, covariance and neighbourhood radii cached for several comparisons.

    Args:
        points: reference points (N, D), a tensor or an array, N >= 2. All metrics are computed in float64 on their
            device.

    Raises:
        ValueError: the points are not a matrix, fewer than 2, or not finite.

    >>> import torch
    >>> from chartae.metrics import Reference
    >>> reference = Reference(torch.tensor([[0.0], [2.0]]))
    >>> round(reference.frechet(torch.tensor([[1.0], [3.0]])), 12), round(reference.frechet(reference.points), 12)
    (1.0, 0.0)
    """

    def __init__(self, points: Tensor | np.ndarray) -> None:
        self.points = _points(points, "the reference")
        self._radii: dict[int, Tensor] = {}

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and a factor F of the covariance, FᵀF."""
        return mean_and_factor(self.points)

    def radii(self, k: int) -> Float[Tensor, " N"]:
        """Squared distance of each point to its k-th nearest neighbour, not counting itself."""
        if k not in self._radii:
            self._radii[k] = _radii(self._centred(self.points), k)
        return self._radii[k]

    def frechet(self, points: Tensor | np.ndarray) -> float:
        """Squared Fréchet distance between normals fitted to `points` (M, D) and to the reference; see `frechet`."""
        return frechet_from_factors(*self.moments, *mean_and_factor(self._other(points))).item()

    def kid(
        self, points: Tensor | np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
    ) -> tuple[float, float]:
        """Kernel distance of `points` (M, D) from the reference: mean and sd over random subsets; see `kid`."""
        x, y = self.points, self._other(points)
        smaller = min(len(x), len(y))
        if subsets < 1:
            raise ValueError(f"subsets is {subsets}; expected at least 1")
        if not 2 <= subset_size <= smaller:
            raise ValueError(
                f"subset_size is {subset_size}; expected a number from 2 to {smaller}, since the sets hold "
                f"{len(x)} and {len(y)} points"
            )
        rng = np.random.default_rng(seed)
        estimates = []
        for _ in range(subsets):
            rows = [torch.from_numpy(rng.choice(len(s), subset_size, replace=False)).to(s.device) for s in (x, y)]
            estimates.append(_mmd2(x[rows[0]], y[rows[1]]))
        return float(np.mean(estimates)), float(np.std(estimates))

    def prdc(self, points: Tensor | np.ndarray, *, k: int = 5) -> dict[str, float]:
        """Precision, recall, density and coverage of `points` (M, D) with `k` neighbours; see `prdc`."""
        fake = self._other(points)
        smaller = min(len(self.points), len(fake))
        if not 1 <= k < smaller:
            raise ValueError(
                f"k is {k}; expected a number of neighbours from 1 to {smaller - 1}, since the sets hold "
                f"{len(self.points)} and {len(fake)} points"
            )
        real, fake = self._centred(self.points), self._centred(fake)
        radii, fake_radii = self.radii(k), _radii(fake, k)
        # for each fake point, how many balls around real points contain it
        balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
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
                f"the compared set has {x.shape[1]} dimensions; expected {self.points.shape[1]}, as in the reference. "
                "Compute both with the same features"
            )
        return x

    def _centred(self, x: Tensor) -> Tensor:
        # this leaves the distances unchanged and reduces their cancellation error
        return x - self.points.mean(0)


def _squares(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of `x` to all of `y`, in blocks of rows."""
    step = max(1, BLOCK // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, squared_distances(x[rows], y)


def _radii(x: Tensor, k: int) -> Tensor:
    nearest = [squares.topk(k + 1, largest=False).values[:, -1] for _, squares in _squares(x, x)]
    # a margin, so that distances which differ by rounding only count as equal
    return torch.cat(nearest) + 64 * torch.finfo(x.dtype).eps * x.square().sum(1)


def _mmd2(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of MMD^2 with the cubic kernel of `kid`, for sets of equal size."""
    n, d = x.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        base = torch.addmm(a.new_ones(()), a, b.T, alpha=1 / d)
        return base * base * base

    within = sum(((gram := kernel(s, s)).sum() - gram.trace()).item() for s in (x, y))
    return within / (n * (n - 1)) - 2 * kernel(x, y).sum().item() / n**2


def frechet(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> float:
    """Squared Fréchet (2-Wasserstein) distance between the normal distributions fitted to two sets of points.

        ||m_a - m_b||^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^{1/2},

    with means m and covariances S (divisor N - 1). Between Inception features this is the FID. It is biased upwards
    for few points, so compare only numbers computed from equally many points.

    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge
    to a Local Nash Equilibrium", 2017 (arXiv 1706.08500).

    Args:
        a: points (N, D), a tensor or an array, N >= 2.
        b: points (M, D), M >= 2.

    Returns:
        The squared distance, >= 0; lower is better.

    Raises:
        ValueError: a set is not a matrix, has fewer than 2 points, or is not finite; the dimensions differ.

    >>> import torch
    >>> from chartae.metrics import frechet
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
    """Kernel (Inception) distance: the unbiased estimate of MMD^2 with a cubic kernel, over random subsets.

        mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),

    with k(x, y) = (x.y / D + 1)^3. It is unbiased, so it may fall below zero. Between Inception features this is the
    KID.

    Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", 2018 (arXiv 1801.01401).

    Args:
        a: points (N, D), a tensor or an array, N >= 2.
        b: points (M, D), M >= 2.
        subsets: number of subsets drawn from each set, >= 1; default 100.
        subset_size: points of a subset, from 2 to the size of the smaller set; default 1000.
        seed: seed of the subsets; default 0.

    Returns:
        Mean and standard deviation of the estimate over the subsets; lower is better.

    Raises:
        ValueError: a set is not a matrix, has fewer than 2 points, or is not finite; the dimensions differ; `subsets`
            or `subset_size` is out of range.

    >>> import torch
    >>> from chartae.metrics import kid
    >>> x = torch.randn(2, 200, 4, generator=torch.Generator().manual_seed(0))
    >>> near, far = kid(x[0], x[1], subset_size=100)[0], kid(x[0], x[1] + 1, subset_size=100)[0]
    >>> near < 0.1 < 1 < far
    True
    """
    return Reference(a).kid(b, subsets=subsets, subset_size=subset_size, seed=seed)


def mmd_test(
    a: Tensor | np.ndarray, b: Tensor | np.ndarray, *, permutations: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Two-sample test: do two sets come from the same distribution? By maximum mean discrepancy and permutations.

    The statistic is the unbiased estimate of MMD^2 with a sum of three normal kernels exp(-||x - y||^2 / 2 h^2), where
    h is 1/2, 1 and 2 times the median distance. Its p-value is

        p = (1 + number of permutations of the pooled points that reach the statistic) / (1 + permutations).

    If the distributions are equal, p is uniform on (0, 1].

    Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A Kernel Two-Sample Test", 2012.

    Args:
        a: points (N, D), a tensor or an array, N >= 2.
        b: points (M, D), M >= 2.
        permutations: number of permutations, >= 1; default 1000. The smallest possible p is 1 / (1 + permutations).
        seed: seed of the permutations; default 0.

    Returns:
        The estimate of MMD^2, and its p-value.

    Raises:
        ValueError: a set is not a matrix, has fewer than 2 points, or is not finite; the dimensions differ;
            `permutations` is below 1.

    >>> import torch
    >>> from chartae.metrics import mmd_test
    >>> g = torch.Generator().manual_seed(0)
    >>> mmd_test(torch.randn(100, 2, generator=g), 1 + torch.randn(100, 2, generator=g))[1] < 0.01
    True
    """
    x, y = _points(a, "the first set"), _points(b, "the second set")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; expected at least 1")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"a and b have {x.shape[1]} and {y.shape[1]} dimensions; expected the same number")
    pooled = torch.cat([x, y])
    squares = squared_distances(pooled, pooled)
    median = squares.flatten()[:: max(1, squares.numel() // 100_000)].median().clamp_min(torch.finfo(x.dtype).tiny)
    gram = torch.stack([(-squares / (2 * h * h * median)).exp() for h in (0.5, 1.0, 2.0)]).sum(0)
    gram.fill_diagonal_(0)
    n, m = len(x), len(y)
    # s marks the points of the first set; all three sums follow from the one product gram @ s
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
    """Precision, recall, density and coverage of fake points, from balls that reach to each point's k-th neighbour.

    - precision: share of fake points that lie in a ball around a real one;
    - recall: share of real points that lie in a ball around a fake one;
    - density: mean number of balls around real points that contain a fake point, divided by k;
    - coverage: share of real points whose ball contains a fake one.

    A point on the sphere is inside. For equal distributions the density is near 1.

    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing
    Generative Models", 2019 (arXiv 1904.06991); Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity
    Metrics for Generative Models", 2020 (arXiv 2002.09797).

    Args:
        real: points of the reference set (N, D), a tensor or an array.
        fake: points to evaluate (M, D).
        k: number of neighbours, from 1 to min(N, M) - 1; default 5.

    Returns:
        A dictionary of ``precision``, ``recall``, ``density`` and ``coverage``; all but ``density`` lie in [0, 1].

    Raises:
        ValueError: a set is not a matrix, has fewer than 2 points, or is not finite; the dimensions differ; `k` is out
            of range.

    >>> import torch
    >>> from chartae.metrics import prdc
    >>> real = torch.arange(10.0)[:, None]
    >>> prdc(real, real[:5], k=2)  # precise, but half of the real points are missing
    {'precision': 1.0, 'recall': 0.7, 'density': 1.5, 'coverage': 0.6}
    """
    return Reference(real).prdc(fake, k=k)
