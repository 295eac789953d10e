"""The optimal reconstruction of a training criterion, in one dimension, on a grid: theory without training."""

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
    """Optimal reconstruction r for data of a known density: the minimiser of a criterion over all functions.

    - ``"rcae"`` minimises E[(r(x) - x)^2 + sigma^2 r'(x)^2]. Its Euler-Lagrange equation is
      p (r - x) = sigma^2 (p r')', with p r' = 0 at both ends (Neumann). It is solved by finite volumes, with an error
      of second order in the grid step.
    - ``"dae"`` minimises E[(r(x + sigma e) - x)^2], e ~ N(0, 1). The solution is r(y) = E[x | y], a ratio of two sums
      over the grid (trapezoidal rule).

    In both, (r - x) / sigma^2 tends to the score of the density as sigma tends to 0: Alain and Bengio, 2014
    (arXiv 1211.4246).

    Args:
        log_prob: log density (N, 1) -> (N,), up to a constant.
        grid: N >= 5 evenly spaced, increasing points (N,) that cover the density's mass; the step must not exceed
            `sigma`.
        sigma: noise level, in the units of the grid; > 0.
        criterion: ``"rcae"`` (contractive; default) or ``"dae"`` (denoising).

    Returns:
        r at the points of the grid (N,), float64.

    Raises:
        ValueError: `criterion` is unknown; `sigma` is not a finite number above 0; the grid has too few points, is not
            evenly spaced and increasing, or is coarser than `sigma`; the density is NaN, infinite or 0 everywhere on
            the grid, or, for ``"rcae"``, 0 somewhere on it.

    >>> import torch
    >>> from chartae.diagnostics import optimal_reconstruction
    >>> grid = torch.linspace(-8, 8, 801)
    >>> r = optimal_reconstruction(lambda x: -0.5 * x[:, 0] ** 2, grid, sigma=1.0, criterion="dae")
    >>> r[500].round(decimals=3)  # of N(0, 1), r(x) = x / (1 + sigma^2); here x = 2
    tensor(1., dtype=torch.float64)
    """
    from scipy.linalg import solve_banded

    if criterion not in ("rcae", "dae"):
        raise ValueError(f"criterion is {criterion!r}; expected 'rcae' or 'dae'")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; expected a finite noise level above 0")
    if grid.ndim != 1 or len(grid) < 5:
        raise ValueError(f"grid has shape {tuple(grid.shape)}; expected at least 5 points in one dimension")
    x = grid.detach().double()
    h = float(x[-1] - x[0]) / (len(x) - 1)
    if not h > 0 or (x.diff() - h).abs().max() > 1e-3 * h:
        raise ValueError(
            f"grid runs from {float(x[0]):g} to {float(x[-1]):g}; expected evenly spaced, increasing points. Use "
            "torch.linspace"
        )
    if h > sigma:
        raise ValueError(f"grid has the step {h:g}, wider than sigma = {sigma:g}; expected a finer grid")
    with torch.no_grad():
        lp = log_prob(x[:, None]).double()
    if not lp.isfinite().any() or lp.isnan().any() or lp.max() == math.inf:
        raise ValueError(
            "log_prob is NaN or inf on the grid, or -inf on all of it; expected a log density with mass on the grid"
        )
    if criterion == "dae":
        weights = lp.clone()
        weights[0] -= math.log(2)
        weights[-1] -= math.log(2)
        parts = []
        for y in x.split(64):
            # a point with negligible weight at both ends of the part has negligible weight within it
            ends = weights - 0.5 * ((x - y[[0, -1], None]) / sigma).square()
            kept = (ends > ends.max(1, keepdim=True).values - 50).any(0).nonzero()
            near = slice(int(kept[0]), int(kept[-1]) + 1)
            offset = x[near] - y[:, None]
            share = (weights[near] - 0.5 * (offset / sigma).square()).softmax(1)
            # the mean offset from y is accurate even where y is large
            parts.append(y + (share * offset).sum(1))
        return torch.cat(parts)
    if not lp.isfinite().all():
        raise ValueError(
            "log_prob is -inf on a part of the grid; expected a density above 0 on all of it for criterion='rcae'. Use "
            "a shorter grid"
        )
    # cells at the ends have half the width. Each row is divided by p, so that nothing underflows: only ratios of p
    # half-way between two points to p at a point occur, and they follow from log p
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
    # solved for r - x, whose right-hand side is the operator applied to x; this avoids cancellation
    flux = torch.zeros_like(x)
    flux[:-1] += up * h
    flux[1:] -= down * h
    return x + torch.from_numpy(solve_banded((1, 1), bands, flux.numpy()))
