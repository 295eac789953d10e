"""The best reconstruction that a criterion allows, in one dimension, on a grid: the theorem without training."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["optimal_reconstruction"]


def optimal_reconstruction(
    log_prob: Callable[[Tensor], Tensor], grid: Float[Tensor, " N"], sigma: float, criterion: str = "rcae"
) -> Float[Tensor, " N"]:
    """The r on a grid that minimises a criterion over all functions, for data of a known density.

    - ``"rcae"``: E[(r(x) - x)^2 + sigma^2 r'(x)^2]. Its Euler-Lagrange equation
      p (r - x) = sigma^2 (p r')' with p r' = 0 at the ends (Neumann), by finite volumes: second order in the step. Each
      row is divided by p, so that nothing underflows.
    - ``"dae"``: E[(r(x + sigma e) - x)^2]: r(y) = E[x | y], the ratio of two sums over the grid (trapezoid rule).

    (r - x) / sigma^2 tends to the score as sigma falls: Alain and Bengio, 2014 (arXiv 1211.4246).

    Args:
        log_prob: (N, 1) -> (N,), normalised or not.
        grid: N evenly spaced points, rising, over all of the mass; finer than sigma.
        sigma: the noise level.
        criterion: "rcae" or "dae".

    Returns:
        r at the grid's points, float64.

    Raises:
        ValueError: a grid that is not even, rising, or fine enough; a density that is nowhere finite.
    """
    from scipy.linalg import solve_banded

    if criterion not in ("rcae", "dae"):
        raise ValueError(f"criterion is {criterion!r}; choose 'rcae' or 'dae'")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; a noise level is a finite number above 0")
    if grid.ndim != 1 or len(grid) < 5:
        raise ValueError(f"the grid has shape {tuple(grid.shape)}; give at least 5 points in one dimension")
    x = grid.detach().double()
    h = float(x[-1] - x[0]) / (len(x) - 1)
    if not h > 0 or (x.diff() - h).abs().max() > 1e-3 * h:
        raise ValueError("the grid is not evenly spaced and rising; use torch.linspace")
    if h > sigma:
        raise ValueError(f"the grid's step is {h:g}, wider than sigma = {sigma:g}; take more points")
    with torch.no_grad():
        lp = log_prob(x[:, None]).double()
    if not lp.isfinite().any() or lp.isnan().any() or lp.max() == math.inf:
        raise ValueError("log_prob is NaN or infinite on the grid, or says that there is no mass on it")
    if criterion == "dae":
        weights = lp.clone()
        weights[0] -= math.log(2)
        weights[-1] -= math.log(2)
        parts = []
        for y in x.split(64):
            # what weighs nothing at either end of the piece weighs nothing within it
            ends = weights - 0.5 * ((x - y[[0, -1], None]) / sigma).square()
            kept = (ends > ends.max(1, keepdim=True).values - 50).any(0).nonzero()
            near = slice(int(kept[0]), int(kept[-1]) + 1)
            pull = x[near] - y[:, None]
            share = (weights[near] - 0.5 * (pull / sigma).square()).softmax(1)
            # the pull from y, which does not lose its digits to y
            parts.append(y + (share * pull).sum(1))
        return torch.cat(parts)
    if not lp.isfinite().all():
        raise ValueError("the density is 0 on a part of the grid; the contractive optimum needs p > 0 all over it")
    # half a cell's width at the ends; p half-way between two points over p at a point, from log p alone
    width = torch.full_like(x, h)
    width[[0, -1]] = h / 2
    up = 0.5 * (1 + lp.diff().exp()) * sigma**2 / h
    down = 0.5 * (1 + (-lp.diff()).exp()) * sigma**2 / h
    bands = np.zeros((3, len(x)))
    bands[0, 1:] = -up
    bands[1] = width
    bands[1, :-1] += up.numpy()
    bands[1, 1:] += down.numpy()
    bands[2, :-1] = -down
    # for r - x the right side is what the operator leaves of x: no digits are lost
    flux = torch.zeros_like(x)
    flux[:-1] += up * h
    flux[1:] -= down * h
    return x + torch.from_numpy(solve_banded((1, 1), bands, flux.numpy()))
