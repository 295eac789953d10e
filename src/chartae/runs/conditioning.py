"""Attach conditions to the data of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from chartae.data import Condition, Dataset, Reading
from chartae.data import read as read_data
from chartae.data.arrays import SPLITS, splits
from chartae.data.columns import Columns, Frame, is_frame
from chartae.data.kinds import Kind

__all__ = ["LABELS", "conditioned", "keep_columns", "split_columns", "with_condition"]

#: the name that stands for the labels of a data set
LABELS = "labels"


def conditioned(
    data: object,
    requested: object,
    kinds: Sequence[type[Kind]],
    root: str | Path | None,
    reading: Reading,
    fitted: Condition | None = None,
) -> Dataset:
    """Read a data set, and attach a condition to it if one is requested.

    Args:
        data: a `Dataset`, the name or path of one, or in-memory examples.
        requested: ``"labels"``, names of columns of a table, values, one row for each in-memory example, or None.
        kinds: kinds of data that are accepted.
        root: folder of named data sets.
        reading: how the data are read.
        fitted: condition that encodes the values; None (default) fits a new one to them.

    Raises:
        ValueError: the data have no labels or no such columns, or the number of values is wrong.
    """
    if requested is None:
        return read_data(data, kinds=kinds, root=root, reading=reading)
    names = _names(requested)
    if names is not None:
        if names != [LABELS] and is_frame(data):
            rows, values = split_columns(data, names)
            return _with_values(rows, values, kinds, root, reading, fitted)
        dataset = read_data(data, kinds=kinds, root=root, reading=reading)
        if names == [LABELS]:
            return _with_labels(dataset, fitted)
        return _with_columns(dataset, names, fitted)
    return _with_values(data, requested, kinds, root, reading, fitted)


def split_columns(frame: Frame, names: Sequence[str]) -> tuple[Frame, Frame]:
    """Split a data frame into its other columns and the columns with these names.

    Raises:
        ValueError: a name is not that of a column, or no other column is left.
    """
    if missing := [name for name in names if name not in list(frame.columns)]:
        raise ValueError(
            f"condition names {', '.join(missing)}, which the data frame does not have; expected some of its columns "
            f"{', '.join(map(str, frame.columns))}"
        )
    if len(names) == len(list(frame.columns)):
        raise ValueError("condition names all columns of the data frame; leave at least one column for the model")
    return frame.drop(columns=list(names)), frame[list(names)]


def with_condition(data: Dataset, condition: Condition) -> Dataset:
    """Attach a condition that was fitted before, by the labels or the columns of the data set."""
    if condition.names == (LABELS,):
        return _with_labels(data, condition)
    return _with_columns(data, list(condition.names), condition)


def _names(requested: object) -> list[str] | None:
    """Names of columns, if that is what was requested; None for values."""
    if isinstance(requested, str):
        return [name.strip() for name in requested.split(",")]
    if (
        isinstance(requested, Sequence)
        and requested
        and all(isinstance(name, str) for name in requested)
        and len(requested) < 100
    ):
        return list(requested)
    return None


def _attached(data: Dataset, condition: Condition, train: object, valid: object, test: object) -> Dataset:
    """The data set with the encoded condition of each split."""

    def encoded(values: object, n: int) -> Tensor | None:
        return condition.read(values, n).float() if n else None

    return replace(
        data, condition=condition, train_condition=encoded(train, len(data.train)),
        valid_condition=encoded(valid, len(data.valid)), test_condition=encoded(test, len(data.test)),
    )  # fmt: skip


def _with_labels(data: Dataset, condition: Condition | None = None) -> Dataset:
    """The data set conditioned on its labels; examples without one are left out."""
    data = _labelled(data)
    labels = [data.train_labels, data.valid_labels, data.test_labels]
    if labels[0] is None:
        raise ValueError(f"condition is 'labels', but {data.name} has no labels; give values, one for each example")
    values = [None if y is None else y.numpy() for y in labels]
    if condition is None:
        categorical = () if labels[0].is_floating_point() else (LABELS,)
        condition = Condition.of({LABELS: values[0]}, classes=data.classes, categorical=categorical)
    return _attached(data, condition, *({LABELS: v} for v in values))


def _labelled(data: Dataset) -> Dataset:
    """The data set without the examples whose class is unknown (-1)."""
    y = data.train_labels
    if y is None or y.is_floating_point() or y.ndim != 1:
        return data
    kept: dict[str, Any] = {}
    count = 0
    for split in SPLITS:
        labels = getattr(data, f"{split}_labels")
        known = labels != -1
        count += int((~known).sum())
        for name in ("", "_labels", "_target", "_weight"):
            rows = getattr(data, split + name)
            kept[split + name] = None if rows is None else rows[known]
    if not count:
        return data
    note = f"{count:,} examples without a label are left out, as the model is conditioned on the label."
    return replace(data, notes=(*data.notes, note), **kept)


def _with_columns(data: Dataset, names: list[str], condition: Condition | None = None) -> Dataset:
    """The table conditioned on some of its columns, which are removed from the examples."""
    columns = data.columns
    if missing := [name for name in names if name not in columns]:
        available = f"expected some of its columns {', '.join(columns)}" if columns else "it has no named columns"
        raise ValueError(f"condition names {', '.join(missing)}, which {data.name} does not have; {available}")
    chosen = [columns.index(name) for name in names]
    splits = [getattr(data, split)[:, chosen].numpy() for split in ("train", "valid", "test")]
    tables = [{name: _as_integers(x[:, i]) for i, name in enumerate(names)} for x in splits]
    condition = condition or Condition.of(tables[0])
    kept = [i for i in range(len(columns)) if i not in chosen]
    return _attached(keep_columns(data, kept), condition, *tables)


def keep_columns(data: Dataset, kept: list[int]) -> Dataset:
    """The table with only the columns of these numbers, in this order."""
    if not kept:
        raise ValueError(f"condition names all columns of {data.name}; leave at least one column for the model")
    old = data.kind.columns
    columns = Columns(
        tuple(old.names[i] for i in kept), tuple(old.dtypes[i] for i in kept) if old.dtypes else (), old.label,
        old.others,
    )  # fmt: skip
    train = data.train[:, kept]
    kind = type(data.kind).of(train, columns=columns)
    return replace(data, train=train, valid=data.valid[:, kept], test=data.test[:, kept], kind=kind)


def _as_integers(column: np.ndarray) -> np.ndarray:
    """The column as integers if all its values are whole, so that a column of few values counts as categorical."""
    return column.astype(np.int64) if np.array_equal(column, np.rint(column)) else column


def _with_values(
    data: object,
    values: object,
    kinds: Sequence[type[Kind]],
    root: str | Path | None,
    reading: Reading,
    fitted: Condition | None = None,
) -> Dataset:
    """In-memory examples conditioned on in-memory values, which are split into train, valid and test like them."""
    if isinstance(data, Dataset | str | Path):
        raise ValueError(
            "condition holds values, but the data are not in memory; give 'labels' or names of columns, or pass the "
            "examples themselves"
        )
    dataset = read_data(data, kinds=kinds, root=root, reading=reading)
    condition = fitted or Condition.of(values)
    n = len(dataset.train) + len(dataset.valid) + len(dataset.test)
    encoded = condition.read(values, n).float()
    parts = {split: encoded[rows] if len(rows) else None for split, rows in splits(n, 0.1, 0.1, 0).items()}
    return replace(
        dataset, condition=condition, train_condition=parts["train"], valid_condition=parts["valid"],
        test_condition=parts["test"],
    )  # fmt: skip
