"""Every row of a user's file, read as the training data were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from torch import Tensor

from chartae.data.lines import is_string_file, read_strings
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
    settings, kind, known = run.settings, run.kind, run.condition
    if kind.codec is not None:
        if is_string_file(path):
            return kind.read(read_strings(path, column=settings.column or None)), condition
        return kind.read(path), condition
    columns = kind.columns
    size = settings.size if settings.size and Path(path).is_dir() else None
    contents = kind.contents(path, str(columns.label) if columns.names else None, size=size)
    x, names = contents.examples(), list(contents.columns.names)
    if known is not None and known.names == (LABELS,):
        labels = [part.labels for part in contents.parts.values() if part.labels is not None]
        if condition is None and not labels:
            raise ValueError(f"{os.fspath(path)} has no labels; expected {known}. Give the condition of its rows")
        if condition is None:
            condition = {LABELS: np.concatenate([np.asarray(part) for part in labels])}
    elif known is not None:
        missing = [name for name in known.names if name not in names]
        if condition is None and missing:
            raise ValueError(
                f"{os.fspath(path)} has no column {', '.join(map(repr, missing))}; expected {known}. Give the "
                "condition of its rows"
            )
        if condition is None:
            condition = {name: x[:, names.index(name)] for name in known.names}
        kept = [i for i, name in enumerate(names) if name not in known.names]
        if names:
            x, names = x[:, kept], [names[i] for i in kept]
    return kind.read_named(x, names, os.fspath(path)), condition
