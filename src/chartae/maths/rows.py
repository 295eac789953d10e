"""Functions of the rows of data: conversion to floats, subsets, nearest neighbours, variance."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["as_float", "nearest", "sample_rows", "total_variance"]


def as_float(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert data to floating point, as a network reads them: uint8 images are scaled from 0..255 to [0, 1].

    Rows of numbers (N, d), which have no levels of brightness, and any other dtype are only cast.

    Args:
        x: data of any shape; images have at least three dimensions.
        dtype: floating-point dtype; default float32.

    Returns:
        The data in the same shape.

    >>> import torch
    >>> from chartae.maths import as_float
    >>> as_float(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)), as_float(torch.tensor([[0, 255]], dtype=torch.uint8))
    (tensor([[[[0., 1.]]]]), tensor([[  0., 255.]]))
    """
    if x.dtype == torch.uint8 and x.ndim > 2:
        return x.to(dtype).mul_(1 / 255)
    return x.to(dtype)


def nearest(x: Tensor, k: int, axes: int = 50) -> Int[Tensor, "N k"]:
    """Return the `k` nearest other rows of each row, nearest first.

    The distance is Euclidean in the space of the first principal components of the data, in the units of the data
    (uint8 values are scaled to [0, 1]). The search compares all pairs, on the CPU.

    Args:
        x: data `(N, *S)`, N >= 2.
        k: number of neighbours, >= 1; at most N - 1 are returned.
        axes: number of principal components, >= 1; default 50. Data with fewer dimensions are compared in all.

    Returns:
        Row numbers (N, min(k, N - 1)).

    Raises:
        ValueError: there are fewer than 2 rows, or `k` or `axes` is below 1.

    >>> import torch
    >>> from chartae.maths import nearest
    >>> nearest(torch.tensor([[0.0], [1.0], [10.0]]), k=1).flatten()
    tensor([1, 0, 1])
    """
    from sklearn.neighbors import NearestNeighbors

    if len(x) < 2 or k < 1 or axes < 1:
        raise ValueError(
            f"x has {len(x)} rows, k is {k} and axes is {axes}; expected at least 2 rows, k >= 1 and axes >= 1."
        )
    flat = as_float(x.cpu()).flatten(1)
    k = min(k, len(flat) - 1)
    flat = flat - flat.mean(0)
    if flat.shape[1] > axes:
        flat = flat @ torch.linalg.eigh(flat.T @ flat).eigenvectors[:, -axes:]
    neighbours = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(flat.numpy())
    return torch.from_numpy(neighbours.kneighbors(return_distance=False))


def sample_rows(total: int, n: int) -> Int[Tensor, " n"]:
    """Choose `n` of `total` rows at random, the same ones in every call; random, because a data set may be sorted.

    Args:
        total: number of rows, >= 0.
        n: number of rows to choose; all if it is larger than `total`.

    Returns:
        Row numbers (min(n, total),), without repetition.

    >>> import torch
    >>> from chartae.maths import sample_rows
    >>> rows = sample_rows(100, 10)
    >>> len(rows.unique()), torch.equal(rows, sample_rows(100, 10))
    (10, True)
    """
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:n]


def total_variance(x: Tensor) -> Tensor:
    """Return the total variance tr Cov(x) of a batch, the square of its length scale.

    Args:
        x: data `(B, *S)`.

    Returns:
        The sum of the variances of all coordinates (divisor B - 1), a 0-d tensor without gradient; 0 for one row.

    >>> import torch
    >>> from chartae.maths import total_variance
    >>> total_variance(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    tensor(2.)
    """
    return x.detach().flatten(1).var(0, correction=min(1, len(x) - 1)).sum()
