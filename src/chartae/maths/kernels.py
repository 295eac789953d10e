"""Kernels and distances between two sets of points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths.random import randn

__all__ = ["energy_distance", "info_nce", "mmd", "sliced_wasserstein", "squared_distances"]


def squared_distances(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """Return ||a_i - b_j||^2 for every pair of rows, computed by one matrix product.

    Args:
        a: points (N, D).
        b: points (M, D).

    Returns:
        The squared distances (N, M), >= 0.

    >>> import torch
    >>> from chartae.maths import squared_distances
    >>> squared_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[25.,  1.]])
    """
    aa, bb = a.square().sum(1), b.square().sum(1)
    return torch.addmm(aa[:, None] + bb, a, b.T, alpha=-2).clamp_min(0)


def mmd(
    a: Float[Tensor, "N D"],
    b: Float[Tensor, "M D"],
    *,
    kernel: str = "imq",
    scales: Sequence[float] = (1.0,),
) -> Float[Tensor, ""]:
    """Return the unbiased estimate of the squared maximum mean discrepancy (MMD); it may be slightly negative.

        E k(a, a') + E k(b, b') - 2 E k(a, b)

    Gretton et al., "A Kernel Two-Sample Test", 2012.

    Args:
        a: points (N, D), N >= 2.
        b: points (M, D), M >= 2.
        kernel: ``"imq"`` (default), k(x, y) = Σ_s C_s / (C_s + ||x - y||^2), or ``"rbf"``,
            k(x, y) = Σ_s exp(-||x - y||^2 / C_s), each with C_s = 2 D s.
        scales: values of s, each > 0; default (1,).

    Returns:
        The estimate, a 0-d tensor, differentiable.

    Raises:
        ValueError: a set has fewer than 2 points, or the kernel is unknown.

    >>> import torch
    >>> from chartae.maths import mmd
    >>> a = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(mmd(a[:100], a[100:]) < 0.01), bool(mmd(a[:100], a[100:] + 3) > 0.5)
    (True, True)
    """
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"a has {len(a)} points and b has {len(b)}; expected at least 2 in each set.")
    if kernel not in ("imq", "rbf"):
        raise ValueError(f"kernel is {kernel!r}; expected 'imq' or 'rbf'.")
    bandwidths = [2 * a.shape[1] * s for s in scales]

    def k(d: Tensor) -> Tensor:
        parts = [c / (c + d) if kernel == "imq" else (-d / c).exp() for c in bandwidths]
        return torch.stack(parts).sum(0)

    def within(x: Tensor) -> Tensor:
        # leave out the diagonal, for an unbiased estimate
        n = len(x)
        gram = k(squared_distances(x, x))
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    return within(a) + within(b) - 2 * k(squared_distances(a, b)).mean()


def sliced_wasserstein(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], projections: int) -> Float[Tensor, ""]:
    """Return the squared sliced 2-Wasserstein distance: the mean over random unit directions of that of projections.

    Args:
        a: points (N, D).
        b: points (N, D).
        projections: number of random directions, >= 1.

    Returns:
        The squared distance, a 0-d tensor, differentiable.

    >>> import torch
    >>> from chartae.maths import sliced_wasserstein
    >>> a = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    >>> round(sliced_wasserstein(a, a + 2, projections=10).item(), 4)  # in one dimension, the squared shift
    4.0
    """
    directions = randn((a.shape[1], projections), a)
    directions = directions / directions.norm(dim=0)
    return ((a @ directions).sort(0).values - (b @ directions).sort(0).values).square().mean()


def energy_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    """Return the energy distance 2 E||x - y|| - E||x - x'|| - E||y - y'|| between two sets of points.

    It is a V-statistic: the means include all pairs. So it is never negative, and 0 for equal sets; for two samples of
    one distribution its expectation is (1/N + 1/M) E||x - x'||. Székely, Rizzo, 2013.

    Args:
        a: points (N, D).
        b: points (M, D).

    Returns:
        The distance, a 0-d float64 tensor.

    >>> import torch
    >>> from chartae.maths import energy_distance
    >>> energy_distance(torch.tensor([[0.0]]), torch.tensor([[3.0]])).item()  # 2 · 3
    6.0
    """
    return 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    total = torch.stack([torch.cdist(part, b).sum(dtype=torch.float64) for part in a.split(1024)]).sum()
    return total / (len(a) * len(b))


def info_nce(x: Float[Tensor, B * S], y: Float[Tensor, B * S]) -> float:
    """Return the InfoNCE lower bound of the mutual information I(x; y), in nats, for x and y in the same space.

        E log f(x_i, y_i) / mean_j f(x_i, y_j),  f(x, y) = exp(-||x - y||^2 / (2 s^2)), the best of 17 widths s

    The bound measures how well y identifies the x that it belongs to, so it is at most log B. If x is y plus normal
    noise, this f is optimal, and the bound is tight as long as I is well below log B. Oord, Li, Vinyals,
    "Representation Learning with Contrastive Predictive Coding", 2018 (arXiv 1807.03748); Poole et al., "On Variational
    Bounds of Mutual Information", 2019 (arXiv 1905.06922).

    Args:
        x: points `(B, *S)`.
        y: points `(B, *S)`; row i belongs to row i of `x`.

    Returns:
        The bound in nats, from 0 to log B.

    >>> import math
    >>> import torch
    >>> from chartae.maths import info_nce
    >>> y = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> 0.9 * math.log(500) < info_nce(y, y) <= math.log(500) + 1e-9
    True
    """
    squares = squared_distances(x.flatten(1).double(), y.flatten(1).double())
    mean_square = float(squares.mean().clamp_min(1e-300))

    def bound(power: float) -> float:
        logits = squares / (-2 * mean_square * 10**power)
        return float((logits.diagonal() - logits.logsumexp(1)).mean())

    # first from widths far below to far above the distances, then between the neighbours of the best
    coarse = {float(power): bound(power) for power in range(-9, 2)}
    best = max(coarse, key=lambda power: coarse[power])
    fine = [bound(best + step) for step in (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75)]
    return max(0.0, max(*coarse.values(), *fine) + math.log(len(x)))
