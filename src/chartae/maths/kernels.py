"""Kernels and distances of two clouds of points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths.random import randn

__all__ = ["energy_distance", "info_nce", "mmd", "sliced_wasserstein", "squared_distances"]


def squared_distances(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """||a_i - b_j||^2 for every pair, by one matrix product; never below zero."""
    aa, bb = a.square().sum(1), b.square().sum(1)
    return torch.addmm(aa[:, None] + bb, a, b.T, alpha=-2).clamp_min(0)


def mmd(
    a: Float[Tensor, "N D"],
    b: Float[Tensor, "M D"],
    *,
    kernel: str = "imq",
    scales: Sequence[float] = (1.0,),
) -> Float[Tensor, ""]:
    """The unbiased estimate of the squared maximum mean discrepancy; may be slightly negative.

    k(x, y) = Σ_s C_s / (C_s + ||x - y||^2) (``"imq"``) or Σ_s exp(-||x - y||^2 / C_s) (``"rbf"``), C_s = 2 D s.
    Gretton et al., "A Kernel Two-Sample Test", 2012.
    """
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"{len(a)} and {len(b)} points were given; an unbiased MMD needs at least 2 in each set")
    bandwidths = [2 * a.shape[1] * s for s in scales]

    def k(d: Tensor) -> Tensor:
        parts = [c / (c + d) if kernel == "imq" else (-d / c).exp() for c in bandwidths]
        return torch.stack(parts).sum(0)

    def within(x: Tensor) -> Tensor:
        # the diagonal of every kernel is 1
        n = len(x)
        gram = k(squared_distances(x, x))
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    return within(a) + within(b) - 2 * k(squared_distances(a, b)).mean()


def sliced_wasserstein(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], projections: int) -> Float[Tensor, ""]:
    """The mean over random unit directions of the squared 2-Wasserstein distance of the projected points."""
    directions = randn((a.shape[1], projections), a)
    directions = directions / directions.norm(dim=0)
    return ((a @ directions).sort(0).values - (b @ directions).sort(0).values).square().mean()


def energy_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    """2 E||x - y|| - E||x - x'|| - E||y - y'||, every pair counted (a V-statistic): zero for equal sets, never below.

    Two samples of one law score (1/N + 1/M) E||x - x'|| in the mean. Székely, Rizzo, 2013.
    """
    return 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    total = torch.stack([torch.cdist(part, b).sum(dtype=torch.float64) for part in a.split(1024)]).sum()
    return total / (len(a) * len(b))


def info_nce(x: Float[Tensor, B * S], y: Float[Tensor, B * S]) -> float:
    """A lower bound of I(x; y) in nats of pairs in one space, at most log B: how well y tells which x it belongs to.

        E log f(x_i, y_i) / mean_j f(x_i, y_j),    f(x, y) = exp(-||x - y||^2 / 2 s^2), the best of 17 widths s.

    For x = y + normal noise that f is the optimum, and the bound is tight while I is well below log B. Oord, Li,
    Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018 (arXiv 1807.03748); Poole et al., "On
    Variational Bounds of Mutual Information", 2019 (arXiv 1905.06922).

    >>> y = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> 0.9 * math.log(500) < info_nce(y, y) <= math.log(500) + 1e-9
    True
    """
    squares = squared_distances(x.flatten(1).double(), y.flatten(1).double())
    span = float(squares.mean().clamp_min(1e-300))

    def bound(power: float) -> float:
        logits = squares / (-2 * span * 10**power)
        return float((logits.diagonal() - logits.logsumexp(1)).mean())

    # from a width that sees single points to one that sees none; then between the neighbours of the best
    coarse = {float(power): bound(power) for power in range(-9, 2)}
    best = max(coarse, key=lambda power: coarse[power])
    fine = [bound(best + step) for step in (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75)]
    return max(0.0, max(*coarse.values(), *fine) + math.log(len(x)))
