"""Every row of a user's file, read as the training data were."""

from __future__ import annotations

import os

import numpy as np
from torch import Tensor

from chartae.runs.conditioning import LABELS
from chartae.runs.run import Run

__all__ = ["read_file"]


def read_file(run: Run, path: str | os.PathLike[str], condition: object = None) -> tuple[Tensor, object]:
    """Read every row of a file or folder, in order, with the column, size and labels that `fit` used.

    Args:
        run: the run, whose settings say how its data were read.
        path: a file, or a folder of pictures.
        condition: for a conditional run, one value for all rows or one for each; by default the labels of the file, or
            the run's condition columns. These columns are left out of the examples in any case.

    Returns:
        The examples (N, *S) in the model's form, and the values of the condition, as `Run.conditions` takes them.

    Raises:
        ValueError, TypeError: the file holds another kind of data or other columns, or has no values of the condition.
        FileNotFoundError: there is no such file.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from chartae.runs import fit, read_file
    >>> run = fit("ae", torch.randn(50, 2), latent_dim=1, epochs=1, densities=(), net="smooth:4", progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "new.csv"
    ...     size = path.write_text("1,2\\n3,4\\n5,6\\n")
    ...     x, condition = read_file(run, path)
    >>> x.shape, condition
    (torch.Size([3, 2]), None)
    """
    settings, known = run.settings, run.condition
    rows = run.kind.file_rows(path, column=settings.column or None, size=settings.size or None)
    source = os.fspath(path)
    if known is None:
        return run.kind.read_named(rows.x, rows.names, source), condition
    if known.names == (LABELS,):
        if condition is None and rows.labels is None:
            raise ValueError(f"{source} has no labels; expected {known}. Give the condition of its rows")
        values = {LABELS: rows.labels} if condition is None else condition
        return run.kind.read_named(rows.x, rows.names, source), values
    x, names = np.asarray(rows.x), list(rows.names)
    missing = [name for name in known.names if name not in names]
    if condition is None and missing:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}; expected {known}. Give the condition of its rows"
        )
    values = {name: x[:, names.index(name)] for name in known.names} if condition is None else condition
    kept = [i for i, name in enumerate(names) if name not in known.names]
    examples = x[:, kept] if names else x
    return run.kind.read_named(examples, [names[i] for i in kept], source), values
