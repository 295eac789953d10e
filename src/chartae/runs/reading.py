"""New data, read as the training data of a run were read, with the values of its condition."""

from __future__ import annotations

import os

import numpy as np
from torch import Tensor

from chartae.data import NAMES, Condition, Dataset, split_views
from chartae.data.columns import as_frame, is_frame
from chartae.data.kinds import Kind
from chartae.data.options import Reading
from chartae.records.settings import Settings
from chartae.runs.conditioning import LABELS, keep_columns, split_columns

__all__ = ["in_order", "options_like", "rows_and_condition"]


def in_order(data: Dataset, kind: Kind) -> Dataset:
    """The data set with the columns of a table in the order of the fitted ones, which are taken by name.

    Args:
        data: data set of the kind of the run.
        kind: kind of the run.

    Raises:
        ValueError: a column is missing, unknown or duplicated; the message names it.
    """
    fitted, columns = kind.columns, data.kind.columns
    if not (fitted.names and columns.names) or fitted.names == columns.names:
        return data
    return keep_columns(data, fitted.order(columns.names, repr(data.name)))


def options_like(data: object, kind: Kind, reading: Reading = Reading()) -> Reading:
    """Options for reading new data as the data were read that a kind was fitted to.

    Args:
        data: the new data.
        kind: the kind.
        reading: options that the fitted data were read with.

    Returns:
        The options; none for a `Dataset` or the name of a data set, which is read in one way.
    """
    named = isinstance(data, str) and split_views(data)[0] in NAMES
    return Reading() if named or isinstance(data, Dataset) else kind.alike(reading)


def rows_and_condition(
    x: object, values: object, kind: Kind, settings: Settings, condition: Condition | None
) -> tuple[Tensor, object]:
    """Read every row of new data, in order: a file with the column and size that `fit` used.

    Columns of the condition never belong to the examples. Without `values`, they give the condition.

    Args:
        x: a path, a data frame, or any other data that `fit` accepts.
        values: values of the condition, one for all rows or one for each; None to take them from `x`.
        kind, settings, condition: those of the run.

    Returns:
        The examples (N, *S) in the model's form, and the values of the condition, as `Run.conditions` takes them.

    Raises:
        ValueError, TypeError: the data are of another kind or have other columns, or a path has no values of the
            condition.
        FileNotFoundError: there is no such file.
    """
    x = as_frame(x)
    if isinstance(x, str | os.PathLike):
        return _of_file(x, values, kind, settings, condition)
    column = settings.reading.get("column")
    if is_frame(x) and column in list(x.columns):  # of strings
        x = x[[column]].to_numpy("O", na_value=np.nan)[:, 0]
    if condition is None or not is_frame(x):
        return kind.read(x), values
    columns = list(x.columns)
    if condition.names == (LABELS,) and LABELS not in columns:
        label = kind.columns.label
        return kind.read(x), {LABELS: x[[label]]} if values is None and label in columns else values
    if values is None or any(name in columns for name in condition.names):
        present = condition.names if values is None else [name for name in condition.names if name in columns]
        x, taken = split_columns(x, present)
        values = taken if values is None else values
    return kind.read(x), values


def _of_file(
    path: str | os.PathLike[str], values: object, kind: Kind, settings: Settings, condition: Condition | None
) -> tuple[Tensor, object]:
    rows = kind.file_rows(path, Reading.from_dict(settings.reading, kind.codec).for_new_data())
    source, names = os.fspath(path), list(rows.names)
    known: dict[str, object] = {}
    x = rows.x
    if condition is not None and condition.names == (LABELS,):
        known = {} if rows.labels is None else {LABELS: rows.labels}
    elif condition is not None and names:
        table = np.asarray(x)
        known = {name: table[:, names.index(name)] for name in condition.names if name in names}
        x = table[:, [i for i, name in enumerate(names) if name not in known]]
        names = [name for name in names if name not in known]
    if condition is not None and values is None:
        if missing := [name for name in condition.names if name not in known]:
            raise ValueError(
                f"{source} has no {', '.join(missing)}; expected {condition}. Give the condition of its rows"
            )
        values = known
    return kind.read_named(x, names, source), values
