"""The data of a fit, with the conditions that it is asked to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from chartae.data import Condition, Dataset, Reading
from chartae.data import read as read_data
from chartae.data.arrays import splits
from chartae.data.columns import Columns, Frame, is_frame
from chartae.data.kinds import Kind

__all__ = ["apart", "conditioned", "with_condition"]

#: the columns of a data set that are its labels
LABELS = "labels"


def conditioned(
    data: object,
    asked: object,
    kinds: Sequence[type[Kind]],
    root: str | Path | None,
    reading: Reading,
    known: Condition | None = None,
) -> Dataset:
    """A data set, with its conditions where they are asked for.

    Args:
        data: a `Dataset`, the name or path of one, or examples in memory.
        asked: ``"labels"``; a column of a table, or several; values, one row for each example in memory; None.
        kinds: the kinds of data that will do.
        root: where named data lie.
        reading: how the data are read.
        known: the condition by which values are read; by default one is made of them.

    Raises:
        ValueError: labels or columns that are not there, or a wrong number of values.
    """
    if asked is None:
        return read_data(data, kinds=kinds, root=root, reading=reading)
    names = _names(asked)
    if names is not None:
        if names != [LABELS] and is_frame(data):
            rows, values = apart(data, names)
            return _of_values(rows, values, kinds, root, reading, known)
        dataset = read_data(data, kinds=kinds, root=root, reading=reading)
        if names == [LABELS]:
            return _of_labels(dataset, known)
        return _of_columns(dataset, names, known)
    return _of_values(data, asked, kinds, root, reading, known)


def apart(frame: Frame, names: Sequence[str]) -> tuple[Frame, Frame]:
    """A data frame without some of its columns, and these; a ValueError for columns that it does not have."""
    if missing := [name for name in names if name not in list(frame.columns)]:
        raise ValueError(
            f"condition names {', '.join(missing)}, but the data frame has none such; its columns are "
            f"{', '.join(map(str, frame.columns))}"
        )
    if len(names) == len(list(frame.columns)):
        raise ValueError("condition names all columns of the data frame; leave at least one to be learnt")
    return frame.drop(columns=list(names)), frame[list(names)]


def with_condition(data: Dataset, condition: Condition) -> Dataset:
    """A data set that was read again, with a condition that is known: by its labels, or by its columns."""
    if condition.names == (LABELS,):
        return _of_labels(data, condition)
    return _of_columns(data, list(condition.names), condition)


def _names(asked: object) -> list[str] | None:
    """Names of columns, where that is what was asked for."""
    if isinstance(asked, str):
        return [name.strip() for name in asked.split(",")]
    if isinstance(asked, Sequence) and asked and all(isinstance(name, str) for name in asked) and len(asked) < 100:
        return list(asked)
    return None


def _attached(data: Dataset, condition: Condition, train: object, valid: object, test: object) -> Dataset:
    def encoded(values: object, n: int) -> Tensor | None:
        return condition.read(values, n).float() if n else None

    return replace(
        data, condition=condition, train_condition=encoded(train, len(data.train)),
        valid_condition=encoded(valid, len(data.valid)), test_condition=encoded(test, len(data.test)),
    )  # fmt: skip


def _of_labels(data: Dataset, condition: Condition | None = None) -> Dataset:
    labels = [data.train_labels, data.valid_labels, data.test_labels]
    if labels[0] is None:
        raise ValueError(f"condition is 'labels', but {data.name} has no labels; give values, one for each example")
    values = [None if y is None else y.numpy() for y in labels]
    if condition is None:
        categorical = () if labels[0].is_floating_point() else (LABELS,)
        condition = Condition.of({LABELS: values[0]}, classes=data.classes, categorical=categorical)
    return _attached(data, condition, *({LABELS: v} for v in values))


def _of_columns(data: Dataset, names: list[str], condition: Condition | None = None) -> Dataset:
    """Columns of a table become conditions, and leave it."""
    columns = data.columns
    if missing := [name for name in names if name not in columns]:
        there = f"its columns are {', '.join(columns)}" if columns else "it has no named columns"
        raise ValueError(f"condition names {', '.join(missing)}, but {data.name} has none such; {there}")
    at = [columns.index(name) for name in names]
    splits = [getattr(data, split)[:, at].numpy() for split in ("train", "valid", "test")]
    tables = [{name: _whole(x[:, i]) for i, name in enumerate(names)} for x in splits]
    condition = condition or Condition.of(tables[0])
    kept = [i for i in range(len(columns)) if i not in at]
    return _attached(_columns_kept(data, kept), condition, *tables)


def _columns_kept(data: Dataset, kept: list[int]) -> Dataset:
    """A table of some of its columns alone."""
    if not kept:
        raise ValueError(f"condition names all columns of {data.name}; leave at least one to be learnt")
    old = data.kind.columns
    columns = Columns(
        tuple(old.names[i] for i in kept), tuple(old.dtypes[i] for i in kept) if old.dtypes else (), old.label
    )
    train = data.train[:, kept]
    kind = type(data.kind).of(train, columns=columns)
    return replace(data, train=train, valid=data.valid[:, kept], test=data.test[:, kept], kind=kind)


def _whole(column: np.ndarray) -> np.ndarray:
    """Whole numbers as such: a column of a few of them is categorical."""
    return column.astype(np.int64) if np.array_equal(column, np.rint(column)) else column


def _of_values(
    data: object,
    values: object,
    kinds: Sequence[type[Kind]],
    root: str | Path | None,
    reading: Reading,
    known: Condition | None = None,
) -> Dataset:
    """Values in memory, which are split as the examples are."""
    if isinstance(data, Dataset | str | Path):
        raise ValueError("condition holds values, which need examples in memory; give 'labels', or names of columns")
    dataset = read_data(data, kinds=kinds, root=root, reading=reading)
    condition = known or Condition.of(values)
    n = len(dataset.train) + len(dataset.valid) + len(dataset.test)
    encoded = condition.read(values, n).float()
    parts = {split: encoded[rows] if len(rows) else None for split, rows in splits(n, 0.1, 0.1, 0).items()}
    return replace(
        dataset, condition=condition, train_condition=parts["train"], valid_condition=parts["valid"],
        test_condition=parts["test"],
    )  # fmt: skip
