"""The data of a fit, with the conditions that it is asked to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from chartae.data import Condition, Dataset, Reading
from chartae.data import read as read_data
from chartae.data.kinds import Kind

__all__ = ["conditioned", "with_condition"]

#: the columns of a data set that are its labels
LABELS = "labels"


def conditioned(
    data: object, asked: object, kinds: Sequence[type[Kind]], root: str | Path | None, reading: Reading
) -> Dataset:
    """A data set, with its conditions where they are asked for.

    Args:
        data: a `Dataset`, the name or path of one, or examples in memory.
        asked: ``"labels"``; a column of a table, or several; values, one row for each example in memory; None.
        kinds: the kinds of data that will do.
        root: where named data lie.
        reading: how the data are read.

    Raises:
        ValueError: labels or columns that are not there, or a wrong number of values.
    """
    if asked is None:
        return read_data(data, kinds=kinds, root=root, reading=reading)
    names = _names(asked)
    if names is not None:
        if names != [LABELS] and _is_frame(data):
            return _of_values(data.drop(columns=names), data[names], kinds, root, reading)  # type: ignore[attr-defined]
        dataset = read_data(data, kinds=kinds, root=root, reading=reading)
        if names == [LABELS]:
            return _of_labels(dataset)
        return _of_columns(dataset, names)
    return _of_values(data, asked, kinds, root, reading)


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


def _is_frame(data: object) -> bool:
    return type(data).__name__ == "DataFrame"


def _attached(data: Dataset, condition: Condition, train: object, valid: object, test: object) -> Dataset:
    values = {"train": train, "valid": valid, "test": test}
    encoded = {
        f"{split}_condition": condition.read(v, len(getattr(data, split))).float()
        if len(getattr(data, split))
        else None
        for split, v in values.items()
    }
    return replace(data, condition=condition, **encoded)


def _of_labels(data: Dataset, condition: Condition | None = None) -> Dataset:
    labels = [data.train_labels, data.valid_labels, data.test_labels]
    if labels[0] is None:
        raise ValueError(f"condition is 'labels', but {data.name} has no labels; give values, one for each example")
    values = [None if y is None else y.numpy() for y in labels]
    if condition is None:
        condition = Condition.of({LABELS: values[0]}, classes=data.classes)
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
    return _attached(data.without_columns(names), condition, *tables)


def _whole(column: np.ndarray) -> np.ndarray:
    """Whole numbers as such: a column of a few of them is categorical."""
    return column.astype(np.int64) if np.array_equal(column, np.rint(column)) else column


def _of_values(
    data: object, values: object, kinds: Sequence[type[Kind]], root: str | Path | None, reading: Reading
) -> Dataset:
    """Values in memory, which are split as the examples are."""
    if isinstance(data, Dataset | str | Path):
        raise ValueError("condition holds values, which need examples in memory; give 'labels', or names of columns")
    condition = Condition.of(values)
    n = len(data)  # type: ignore[arg-type]
    encoded = condition.read(values, n).float()
    numbered = read_data(data, kinds=kinds, root=root, reading=reading, labels=np.arange(n))
    rows = [numbered.train_labels, numbered.valid_labels, numbered.test_labels]
    parts = [None if y is None or not len(y) else encoded[y] for y in rows]
    return replace(
        numbered, train_labels=None, valid_labels=None, test_labels=None, condition=condition,
        train_condition=parts[0], valid_condition=parts[1], test_condition=parts[2],
    )  # fmt: skip
