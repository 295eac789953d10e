"""Scores, gradients of log densities, as functions (B, *S) -> (B, *S): along paths, and what trains them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths.jacobians import ScoreFunction, jacobian_of

__all__ = ["denoising_score_matching", "implicit_score_matching", "log_ratio"]


def _quadrature(rule: str, nodes: int) -> tuple[list[float], list[float]]:
    """Points and weights on [0, 1]."""
    if rule == "first-order":
        return [0.0], [1.0]
    if rule == "trapezoid":
        if nodes < 2:
            raise ValueError(f"nodes is {nodes}; the trapezoid rule needs both ends, 2 or more")
        inner = 1 / (nodes - 1)
        return [i * inner for i in range(nodes)], [inner * (0.5 if i in (0, nodes - 1) else 1) for i in range(nodes)]
    if rule == "gauss-legendre":
        if nodes < 1:
            raise ValueError(f"nodes is {nodes}; give at least 1")
        at, weights = np.polynomial.legendre.leggauss(nodes)
        return (0.5 * (at + 1)).tolist(), (0.5 * weights).tolist()
    raise ValueError(f"rule is {rule!r}; choose 'gauss-legendre', 'trapezoid' or 'first-order'")


def log_ratio(
    score: ScoreFunction,
    x: Float[Tensor, B * S],
    y: Float[Tensor, B * S],
    *,
    rule: str = "gauss-legendre",
    nodes: int = 5,
) -> Float[Tensor, " B"]:
    """log p(y) - log p(x) from the score alone: ∫_0^1 s(x + t (y - x))·(y - x) dt along the straight line, in nats.

    - ``"gauss-legendre"`` with n nodes: exact where the integrand is a polynomial of degree 2n - 1;
    - ``"trapezoid"`` with n nodes, both ends at half weight;
    - ``"first-order"``: s(x)·(y - x), the simplest form of Alain and Bengio (1211.4246); it over-estimates.

    All but the first-order form change sign when x and y change places. All nodes go through the score in one batch.
    Where the score is no gradient, the value depends on the path.
    """
    at, weights = _quadrature(rule, nodes)
    step = y - x
    line = torch.stack([x + t * step for t in at])
    scores = score(line.flatten(0, 1)).unflatten(0, (len(at), len(x)))
    along = (scores * step).flatten(2).sum(2)
    return torch.tensor(weights, dtype=along.dtype, device=along.device) @ along


def denoising_score_matching(
    score: ScoreFunction, x: Float[Tensor, B * S], sigma: float, noise: Float[Tensor, B * S]
) -> Float[Tensor, " B"]:
    """½ ||s(x + sigma e) + e / sigma||^2: 1 / (2 sigma^4) of the denoising loss of r = x + sigma^2 s.

    Vincent, "A Connection Between Score Matching and Denoising Autoencoders", 2011.
    """
    return 0.5 * (score(x + sigma * noise) + noise / sigma).flatten(1).square().sum(1)


def implicit_score_matching(score: ScoreFunction, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
    """½ ||s(x)||^2 + tr ∇s(x), whose mean over the data differs from ½ E||s - grad log p||^2 by a constant.

    The trace is exact: a backward for each coordinate. Hyvärinen, "Estimation of Non-Normalized Statistical Models by
    Score Matching", 2005.
    """
    jacobian = jacobian_of(score, x)
    return 0.5 * score(x).flatten(1).square().sum(1) + jacobian.diagonal(dim1=1, dim2=2).sum(1)
