"""Data sets of strings, encoded as rows of indices, with an optional property of each string as target."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.arrays import splits
from chartae.data.dataset import Dataset
from chartae.data.kinds import Strings
from chartae.data.lines import indices, numbered_strings
from chartae.data.properties import TARGETS, molecule_property
from chartae.grammar import Codec, Derivations, codec_for

__all__ = ["from_strings"]

#: warn if padding every row to the longest string makes a set of more indices than this
_MANY = 1 << 26


def from_strings(
    data: str | os.PathLike[str] | Sequence[str],
    codec: str | os.PathLike[str] | Codec,
    *,
    limit: int | None = None,
    column: str | None = None,
    target: str | Sequence[float] | NDArray[np.number] | None = None,
    errors: str = "raise",
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
) -> Dataset:
    """Build a `Dataset` of strings, encoded as rows of indices and split at random.

    An index takes one byte, or two if the codec has more than 128.

    Args:
        data: list of strings, or path of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv`` file, plain or
            gzipped.
        codec: name of a grammar (such as ``"expressions"`` or ``"zinc-smiles"``) or of a codec without one
            (``"characters"``, ``"tokens"``, ``"selfies"``), path of a file of a grammar, or a `chartae.grammar.Codec`.
        limit: use only the first `limit` strings; >= 1; all by default.
        column: name of the column of strings of a ``.csv`` or ``.tsv`` file; by default one named smiles, selfies,
            string, sequence, expression or text.
        target: property of each string to predict: the name of one that RDKit computes
            (`chartae.data.properties.TARGETS`: logp, sa, qed, weight, ...), the name of another column of the table,
            or one number for each string, NaN where it is unknown. None (default) for no target.
        errors: ``"raise"`` (default) to raise if a string cannot be encoded; ``"skip"`` to leave such strings out and
            count them in `Dataset.skipped`.
        seed: seed of the random split; default 0.
        valid, test: fractions to hold out, in [0, 1); default 0.1 each.

    Returns:
        The data set, with three disjoint splits.

    Raises:
        ValueError: strings cannot be encoded (the message gives file, line, position and what is expected there), or
            fewer than 2 can; an option is not as described.
        ImportError: the target is one of `TARGETS` and RDKit is not installed.

    >>> from chartae.data import from_strings
    >>> from_strings(["x+1", "sin(x)", "x*x"], "expressions", valid=0, test=0)
    Dataset('strings': strings 15 int8, 3 + 0 + 0 (train + valid + test); strings)
    >>> from_strings(["ab", "c", "a?"], "characters", target=[1.0, 2.0, 3.0], valid=0, test=0).train_target
    tensor([1., 2., 3.])
    """
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors is {errors!r}; expected 'raise' or 'skip'.")
    if isinstance(data, str | os.PathLike):
        strings, lines = numbered_strings(data, column, limit)
        name, source = Path(data).name.split(".")[0], str(data)
    else:
        strings, lines = list(data[:limit]), []
        name = source = "strings"
    values = None
    if isinstance(target, str) and target in TARGETS:
        values = _target_tensor(molecule_property(target, strings), len(strings))
    elif target is not None:
        values = _target_values(target, data, len(strings), limit)
    codec = codec_for(codec, strings)
    rows = codec.encode(strings, errors="skip")
    if rows.failures and errors == "raise":
        first = rows.failures[0]
        where = f"{source}, line {lines[first.index]}: " if lines else ""
        raise ValueError(
            f"{len(rows.failures):,} of {len(strings):,} strings cannot be encoded. The first, {where}{first}. Leave "
            "them out (errors='skip', --skip), or list what is lost with chartae grammar audit."
        )
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(strings):,} strings of {source} can be encoded; expected at least 2.")
    x = indices(rows, codec)
    _warn_of_padding(x, rows, strings)
    split = splits(len(x), valid, test, seed)
    if values is not None:
        values = values[torch.from_numpy(rows.kept)]
    targets = {s: None if values is None else values[i] for s, i in split.items()}
    return Dataset(
        name, x[split["train"]], x[split["valid"]], x[split["test"]], source=source, skipped=len(rows.failures),
        train_target=targets["train"], valid_target=targets["valid"], test_target=targets["test"],
        kind=Strings(codec, x.shape[1]),
    )  # fmt: skip


def _warn_of_padding(x: Tensor, rows: Derivations, strings: Sequence[str]) -> None:
    """Warn if one long string makes all rows long."""
    if x.numel() > max(_MANY, 20 * int(rows.lengths.sum())):
        longest = int(rows.lengths.argmax())
        warnings.warn(
            f"{strings[int(rows.kept[longest])][:40]!r}... has {int(rows.lengths[longest]):,} indices, while half of "
            f"the strings have {int(np.median(rows.lengths))} or fewer; all rows are padded to this length "
            f"({x.nbytes >> 20:,} MiB). Leave out such long strings.",
            stacklevel=3,
        )


def _target_values(
    target: str | Sequence[float] | NDArray[np.number],
    data: str | os.PathLike[str] | Sequence[str],
    n: int,
    limit: int | None,
) -> Tensor:
    """The target of each of `n` strings: numbers as given, or read from a column of the file of strings."""
    if not isinstance(target, str):
        return _target_tensor(target, n)
    if not isinstance(data, str | os.PathLike):
        raise ValueError(
            f"target is {target!r}; expected numbers for a list of strings, or one of {', '.join(TARGETS)} for"
            " molecules. A column needs a file."
        )
    cells, _ = numbered_strings(data, target, limit)
    if len(cells) != n:
        raise ValueError(
            f"column {target!r} of {data} has {len(cells)} values for {n} strings; expected one for each. Write nan"
            " where it is unknown."
        )
    try:
        return _target_tensor([float(cell) for cell in cells], n)
    except ValueError as error:
        raise ValueError(f"column {target!r} of {data} is not numeric: {error}; expected numbers.") from error


def _target_tensor(values: Sequence[float] | NDArray[np.number], n: int) -> Tensor:
    y = torch.as_tensor(np.asarray(values, np.float32))
    if y.shape != (n,):
        raise ValueError(f"target has shape {tuple(y.shape)}; expected one number for each of {n} strings, ({n},).")
    return y
