"""What to do with few codes: the rule that says when they are few, and choices by held-out likelihood.

Codes are few for a density if there are fewer than `ENOUGH` for each mean and each dimension of it: for K components in
D dimensions, fewer than ``5 K (D + 1)``. Choices are then made by cross-validation inside the codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["are_few", "enough", "held_out", "splits"]

#: codes that are enough for each component, times D + 1
ENOUGH = 5
#: number of folds of the cross-validation
FOLDS = 5
#: fewest codes for a cross-validation; fewer say nothing
LEAST = 10
#: number of codes from which a single fold is held out, as it is large enough
SINGLE = 500


def enough(components: int, dimensions: int) -> int:
    """The number of codes that is not few for a mixture of full Gaussians.

    Args:
        components: number of components, K.
        dimensions: dimension of the codes, D.
    """
    return ENOUGH * components * (dimensions + 1)


def are_few(codes: int, components: int, dimensions: int) -> bool:
    """Whether codes are few for a mixture of full Gaussians: fewer than ``5 K (D + 1)``."""
    return codes < enough(components, dimensions)


def splits(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Masks (N,) of fitted and of held-out rows: five folds, one from 500 rows on, and none for fewer than 10 rows.

    Args:
        x: rows (N, ...) in random order.
    """
    if len(x) < LEAST:
        return
    for fold in range(FOLDS if len(x) < SINGLE else 1):
        held = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        held[fold::FOLDS] = True
        yield ~held, held


def held_out(x: Tensor, log_prob: Callable[[Tensor, Tensor], Tensor], weight: Tensor | None = None) -> float | None:
    """The mean log-likelihood of held-out rows, in nats per row; None if there are too few rows to hold any out.

    Args:
        x: rows (N, D) in random order.
        log_prob: function of the masks (N,) of fitted and of held-out rows: fits a density to the first, and returns
            the log-likelihoods of the second.
        weight: weights of the rows (N,); None for equal ones.
    """
    total, count = 0.0, 0.0
    for fitted, held in splits(x):
        w = torch.ones_like(held, dtype=torch.float64) if weight is None else weight.double()
        total += (log_prob(fitted, held).double() * w[held]).sum().item()
        count += w[held].sum().item()
    return total / count if count else None
