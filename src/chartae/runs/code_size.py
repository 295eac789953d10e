"""The size of codes for few training rows: chosen by the held-out likelihood of probabilistic PCA."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.densities import few
from chartae.distributions import LOG_2PI
from chartae.maths import as_float

__all__ = ["code_size"]

#: smallest noise variance of a fold's fit, relative to the mean variance
FLOOR = 1e-6


def code_size(x: Tensor, default: int) -> int:
    """The size of codes: the default, or a smaller one if there are too few training rows for it.

    Rows are few if there are fewer than ``5 (default + 1)``. Each size q from 1 to the default is then judged by
    probabilistic PCA (Tipping, Bishop, "Probabilistic Principal Component Analysis", 1999), the linear model with codes
    of size q, by the log-likelihood of held-out rows in a cross-validation. The result is the largest size that is not
    worse than the best by more than one standard error. With fewer than 10 rows it is at most half of their number.

    Args:
        x: training rows (N, ...) in the model's form; uint8 levels are scaled to [0, 1].
        default: the recipe's default size, >= 1.

    Returns:
        A size from 1 to `default`.

    >>> import torch
    >>> from chartae.runs.code_size import code_size
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.randn(60, 2, generator=g) @ torch.randn(2, 20, generator=g) + 0.3 * torch.randn(60, 20, generator=g)
    >>> code_size(x, 16), code_size(x, 4)
    (2, 4)
    """
    if not few.are_few(len(x), 1, default):
        return default
    rows = as_float(x).flatten(1).double()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    scores = [_log_likelihoods(rows[fitted], rows[held], default) for fitted, held in few.splits(rows)]
    if not scores:
        return max(1, min(default, len(x) // 2))
    likelihood = torch.cat(scores, 1)
    best = likelihood[likelihood.mean(1).argmax()]
    worse = best - likelihood
    error = worse.std(1) / math.sqrt(worse.shape[1])
    return int((worse.mean(1) <= error).nonzero().max()) + 1


def _log_likelihoods(fitted: Float[Tensor, "N P"], held: Float[Tensor, "M P"], largest: int) -> Float[Tensor, "Q M"]:
    """log p of held-out rows by probabilistic PCA with 1, 2, ... `largest` components; -inf for more than the rank."""
    n, size = fitted.shape
    mean = fitted.mean(0)
    _, singular, axes = torch.linalg.svd(fitted - mean, full_matrices=False)
    values = singular.square() / n
    total = values.sum()
    floor = (FLOOR * total / size).clamp_min(torch.finfo(values.dtype).tiny)
    squares, along = (held - mean).square().sum(1), ((held - mean) @ axes.mT).square()
    out = held.new_full((largest, len(held)), -math.inf)
    for q in range(1, min(largest, len(values)) + 1):
        inside = values[:q].clamp_min(floor)
        noise = ((total - values[:q].sum()) / max(1, size - q)).clamp_min(floor)
        distance = (along[:, :q] / inside).sum(1)
        if q < size:
            distance = distance + (squares - along[:, :q].sum(1)).clamp_min(0) / noise
        out[q - 1] = -0.5 * (size * LOG_2PI + inside.log().sum() + (size - q) * noise.log() + distance)
    return out
