"""Scores, the gradients of log densities, as functions `(B, *S)` -> `(B, *S)`: path integrals and training losses."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths.jacobians import ScoreFunction, jacobian_of

__all__ = ["denoising_score_matching", "implicit_score_matching", "log_ratio"]


def _quadrature(rule: str, nodes: int) -> tuple[list[float], list[float]]:
    """The nodes of a quadrature rule on [0, 1] and their weights."""
    if rule == "first-order":
        return [0.0], [1.0]
    if rule == "trapezoid":
        if nodes < 2:
            raise ValueError(f"nodes is {nodes}; expected at least 2 for the trapezoid rule, which uses both ends.")
        inner = 1 / (nodes - 1)
        return [i * inner for i in range(nodes)], [inner * (0.5 if i in (0, nodes - 1) else 1) for i in range(nodes)]
    if rule == "gauss-legendre":
        if nodes < 1:
            raise ValueError(f"nodes is {nodes}; expected at least 1.")
        positions, weights = np.polynomial.legendre.leggauss(nodes)
        return (0.5 * (positions + 1)).tolist(), (0.5 * weights).tolist()
    raise ValueError(f"rule is {rule!r}; expected 'gauss-legendre', 'trapezoid' or 'first-order'.")


def log_ratio(
    score: ScoreFunction,
    x: Float[Tensor, B * S],
    y: Float[Tensor, B * S],
    *,
    rule: str = "gauss-legendre",
    nodes: int = 5,
) -> Float[Tensor, " B"]:
    """Return log p(y) - log p(x) from the score, by integrating it along the straight line from x to y.

        log p(y) - log p(x) = ∫_0^1 s(x + t (y - x))·(y - x) dt, in nats

    The score is evaluated at all nodes in one batch. If the score is not a gradient, the value depends on the path.
    Exchanging x and y changes the sign, except for the first-order rule.

    Args:
        score: function from points `(B, *S)` to grad log p `(B, *S)`.
        x: start points `(B, *S)`.
        y: end points `(B, *S)`.
        rule: quadrature rule: ``"gauss-legendre"`` (default), exact if the integrand is a polynomial of degree
            2 nodes - 1; ``"trapezoid"``, with both ends at half weight; ``"first-order"``, s(x)·(y - x), the simplest
            form of Alain and Bengio (arXiv 1211.4246), which over-estimates.
        nodes: number of nodes, >= 1 (trapezoid: >= 2); default 5; the first-order rule ignores it.

    Returns:
        One value for each pair (B,).

    Raises:
        ValueError: unknown `rule`, or too few `nodes`.

    >>> import torch
    >>> from chartae.maths import log_ratio
    >>> score = lambda x: -x  # of the standard normal
    >>> round(log_ratio(score, torch.zeros(1, 2), torch.ones(1, 2)).item(), 4)
    -1.0
    """
    positions, weights = _quadrature(rule, nodes)
    step = y - x
    line = torch.stack([x + t * step for t in positions])
    scores = score(line.flatten(0, 1)).unflatten(0, (len(positions), len(x)))
    along = (scores * step).flatten(2).sum(2)
    return torch.tensor(weights, dtype=along.dtype, device=along.device) @ along


def denoising_score_matching(
    score: ScoreFunction, x: Float[Tensor, B * S], sigma: float, noise: Float[Tensor, B * S]
) -> Float[Tensor, " B"]:
    """Return the loss of denoising score matching, ½ ||s(x + sigma e) + e / sigma||^2.

    It is 1 / (2 sigma^4) times the squared error of the denoiser r(x) = x + sigma^2 s(x). Vincent, "A Connection
    Between Score Matching and Denoising Autoencoders", 2011.

    Args:
        score: function from points `(B, *S)` to the score `(B, *S)`.
        x: clean data `(B, *S)`.
        sigma: noise standard deviation, in the units of the data; > 0.
        noise: standard normal noise e `(B, *S)`.

    Returns:
        One value for each example (B,).

    >>> import torch
    >>> from chartae.maths import denoising_score_matching
    >>> denoising_score_matching(lambda x: -x / 2, torch.zeros(1, 1), 1.0, torch.ones(1, 1))
    tensor([0.1250])
    """
    return 0.5 * (score(x + sigma * noise) + noise / sigma).flatten(1).square().sum(1)


def implicit_score_matching(score: ScoreFunction, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
    """Return the loss of implicit score matching, ½ ||s(x)||^2 + tr ∇s(x).

    Its mean over the data differs from ½ E||s - grad log p||^2 by a constant. The trace is exact, with one backward
    pass for each coordinate. Hyvärinen, "Estimation of Non-Normalized Statistical Models by Score Matching", 2005.

    Args:
        score: function from points `(B, *S)` to the score `(B, *S)`, which treats each row separately.
        x: data `(B, *S)`.

    Returns:
        One value for each example (B,).

    >>> import torch
    >>> from chartae.maths import implicit_score_matching
    >>> implicit_score_matching(lambda x: -x, torch.ones(1, 2))  # ½ · 2 - 2
    tensor([-1.])
    """
    jacobian = jacobian_of(score, x)
    return 0.5 * score(x).flatten(1).square().sum(1) + jacobian.diagonal(dim1=1, dim2=2).sum(1)
