"""The work of a training step, from the shapes of parameters and data alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from chartae.data import Batches

__all__ = ["step_work"]


def step_work(parameters: Iterable[Tensor], batches: Batches) -> float:
    """Estimate the floating-point operations of a training step, as 6 B Σ (size of a parameter) (number of its uses).

    A forward pass multiplies and adds once for each use of a weight, and the backward pass twice. A weight of a
    convolution is used once for each pixel of an example, every other one once. This is exact for multilayer
    perceptrons, and too much where a convolution has a stride.

    Args:
        parameters: parameters of all players.
        batches: the training data.

    Returns:
        The number of operations.

    >>> import torch
    >>> from chartae.data import Batches
    >>> from chartae.training.work import step_work
    >>> step_work([torch.zeros(512, 784), torch.zeros(512)], Batches(torch.zeros(1000, 784), 100)) / 1e6
    241.152
    """
    pixels = math.prod(batches.shape[1:])
    uses = sum(p.numel() * (pixels if p.ndim > 2 else 1) for p in parameters)
    return 6.0 * (batches.batch_size + batches.labelled) * uses
