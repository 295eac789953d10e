"""Rows of data: as floats, sampled, and their nearest neighbours."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["as_float", "nearest", "sample_rows", "total_variance"]


def as_float(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Data as a network reads them: uint8 (0..255) becomes [0, 1]; anything else only changes its dtype, such as
    indices, which are int8 or int16.

    >>> as_float(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    if x.dtype == torch.uint8:
        return x.to(dtype).mul_(1 / 255)
    return x.to(dtype)


def nearest(x: Tensor, k: int, axes: int = 50) -> Int[Tensor, "N k"]:
    """The `k` nearest other rows of each row, the nearest first: N - 1 of them where k is larger.

    By the Euclidean distance in the first principal `axes` of the data, unscaled, so in the data's own units (uint8 as
    [0, 1]); in all of them where there are no more. On the CPU, as row numbers, each row against every other.

    Raises:
        ValueError: fewer than 2 rows, k or axes below 1.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(x) < 2 or k < 1 or axes < 1:
        raise ValueError(f"there are {len(x)} rows, k is {k} and axes {axes}; give 2 rows or more, and k, axes from 1")
    flat = as_float(x.cpu()).flatten(1)
    k = min(k, len(flat) - 1)
    flat = flat - flat.mean(0)
    if flat.shape[1] > axes:
        flat = flat @ torch.linalg.eigh(flat.T @ flat).eigenvectors[:, -axes:]
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(flat.numpy()).kneighbors(return_distance=False)
    return torch.from_numpy(found)


def sample_rows(total: int, n: int) -> Int[Tensor, " n"]:
    """Which `n` of `total` rows are looked at, or all: at random, as a set may be sorted, the same every time."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:n]


def total_variance(x: Tensor) -> Tensor:
    """tr Cov(x) of a batch (B, *S), the square of its length scale; 0 of a single row."""
    return x.detach().flatten(1).var(0, correction=min(1, len(x) - 1)).sum()
