"""Weights of the rows of a fit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from chartae.data import Dataset, as_tensor
from chartae.data.arrays import splits

__all__ = ["positive", "relative", "weighted"]


def weighted(dataset: Dataset, weight: object, data: object) -> Dataset:
    """Attach weights to the rows of a data set.

    Args:
        dataset: the data set.
        weight: one number for each row of `data`, >= 0, which are split like the rows; for a `Dataset`, one for each
            row of its training split. None keeps the weights that the data set has.
        data: what the data set was read from.

    Returns:
        The data set with weights of every split that they were given for.

    Raises:
        ValueError: the data are not in memory, the number of weights is wrong, or the weights of the training rows are
            negative, not finite, or all 0.
    """
    if weight is None:
        return dataset
    if isinstance(data, str | Path):
        raise ValueError(
            "weight holds values, but the data are not in memory; name a column of the file, or pass the examples "
            "themselves"
        )
    values = as_tensor(weight, "weight").double()
    is_split = isinstance(data, Dataset)
    n = len(dataset.train) if is_split else sum(len(dataset.split(name)) for name in ("train", "valid", "test"))
    if tuple(values.shape) != (n,):
        which = "training examples" if is_split else "examples"
        skipped = f" ({dataset.skipped} could not be encoded; leave them out of both)" if dataset.skipped else ""
        raise ValueError(
            f"weight has shape {tuple(values.shape)}; expected ({n},), one number for each of the {n} {which}{skipped}"
        )
    if is_split:
        return replace(dataset, train_weight=_checked(values))
    parts = {name: values[rows] if len(rows) else None for name, rows in splits(n, 0.1, 0.1, 0).items()}
    _checked(values)
    return replace(dataset, train_weight=parts["train"], valid_weight=parts["valid"], test_weight=parts["test"])


def _checked(weight: Tensor) -> Tensor:
    bad = ~((weight >= 0) & (weight < math.inf))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"weight is {weight[row]:g} in row {row} ({int(bad.sum())} such rows); expected finite numbers of at least "
            "0. Drop these rows, or give them the weight 0."
        )
    return weight


def positive(dataset: Dataset) -> Tensor:
    """Which training rows have a weight above 0 (N,): the rows that are fitted.

    Raises:
        ValueError: all of them have the weight 0.
    """
    weight = dataset.train_weight
    if weight is None:
        return torch.ones(len(dataset.train), dtype=torch.bool)
    if not weight.any():
        raise ValueError(
            f"weight is 0 in all {len(weight)} training rows; expected a number above 0. Give some rows a weight."
        )
    return weight > 0


def relative(dataset: Dataset, split: str) -> Tensor:
    """The weights of the rows of a split (N,), of mean 1; 1 without weights, 0 if all of them have the weight 0.

    Args:
        dataset: the data set.
        split: ``"train"``, ``"valid"`` or ``"test"``.
    """
    weight: Tensor | None = getattr(dataset, f"{split}_weight")
    if weight is None:
        return torch.ones(len(dataset.split(split)))
    return weight / weight.mean() if weight.any() else weight
