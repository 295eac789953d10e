"""Functions of the rows of data: conversion to floats, blocks, subsets, nearest neighbours, variance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["as_float", "by_blocks", "nearest", "row_blocks", "sample_rows", "total_variance"]

#: values of a block of rows, at most, if a row has no more
BLOCK = 1 << 20


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


def row_blocks(shape: Sequence[int], values: int | None = None) -> Iterator[slice]:
    """Slices of rows, so that a function of rows can be computed in little memory.

    Args:
        shape: shape (N, ...) of the data.
        values: number of values in a slice, >= 1; a slice has at least one row. None (default) for 1,048,576.

    Yields:
        Slices of 0..N, in order; none without rows.

    >>> from chartae.maths.rows import row_blocks
    >>> list(row_blocks((5, 10), values=20))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    rows = max(1, (BLOCK if values is None else values) // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def by_blocks(function: Callable[[Tensor], Tensor], x: Tensor, values: int | None = None) -> Tensor:
    """Apply a function of rows to blocks of rows, so that its intermediate values take little memory.

    Args:
        function: function of rows (n, ...) that computes each row of its result (n, ...) from the same row.
        x: data (N, ...).
        values: number of values in a block, >= 1; None (default) for 1,048,576.

    Returns:
        ``function(x)``, the same to the bit.

    >>> import torch
    >>> from chartae.maths.rows import by_blocks
    >>> by_blocks(lambda rows: rows * 2, torch.arange(3), values=2)
    tensor([0, 2, 4])
    """
    blocks = list(row_blocks(x.shape, values))
    if len(blocks) < 2:
        return function(x)
    first = function(x[blocks[0]])
    result = first.new_empty((len(x), *first.shape[1:]))
    result[blocks[0]] = first
    for block in blocks[1:]:
        result[block] = function(x[block])
    return result


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
