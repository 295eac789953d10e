"""Strings as sets of indices to train on, with a property of each where one is to be learnt."""

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
from chartae.data.properties import TARGETS, measured
from chartae.grammar import Codec, Derivations, codec_for

__all__ = ["from_strings"]

#: indices of a set, above which one long string that all rows are padded to is warned of
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
    """A `Dataset` of strings as rows of indices, one byte each (two, where the codec has more than 128).

    Args:
        data: a list of strings, or a file as `read_strings` reads it.
        codec: a name of `chartae.grammar.codec_for`, a file of a grammar, or a codec.
        limit: use only the first `limit` strings; all by default.
        column: head of the column of a table that holds the strings.
        target: a property of each string, which becomes its target: one of `chartae.data.properties.TARGETS`, which
            RDKit computes, another column of the table, or numbers; NaN where it is not known.
        errors: what cannot be encoded is an error (``"raise"``), or left out and counted (``"skip"``).
        seed, valid, test: of the random split, as in `from_arrays`.

    Raises:
        ValueError: strings that cannot be encoded, with file, line, place and what was expected there; too few.
        ImportError: a target of `TARGETS` without RDKit.

    >>> from_strings(["x+1", "sin(x)", "x*x"], "expressions", valid=0, test=0)
    Dataset('strings': strings 15 int8, 3 + 0 + 0 (train + valid + test); strings)
    """
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors is {errors!r}; choose 'raise' or 'skip'")
    if isinstance(data, str | os.PathLike):
        strings, lines = numbered_strings(data, column, limit)
        name, source = Path(data).name.split(".")[0], str(data)
    else:
        strings, lines = list(data[:limit]), []
        name = source = "strings"
    values = None
    if isinstance(target, str) and target in TARGETS:
        values = _numbers(measured(target, strings), len(strings))
    elif target is not None:
        values = _property(target, data, len(strings), limit)
    codec = codec_for(codec, strings)
    rows = codec.encode(strings, errors="skip")
    if rows.failures and errors == "raise":
        first = rows.failures[0]
        where = f"{source}, line {lines[first.index]}: " if lines else ""
        raise ValueError(
            f"{len(rows.failures):,} of {len(strings):,} strings cannot be encoded. The first, {where}{first}. Leave "
            "them out (errors='skip', --skip), or see what is lost with chartae grammar audit"
        )
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(strings):,} strings of {source} can be encoded; at least 2 are needed")
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
    """Say so if one long string makes all rows long."""
    if x.numel() > max(_MANY, 20 * int(rows.lengths.sum())):
        longest = int(rows.lengths.argmax())
        warnings.warn(
            f"{strings[int(rows.kept[longest])][:40]!r}... has {int(rows.lengths[longest]):,} indices, half of the "
            f"strings have {int(np.median(rows.lengths))} or fewer; all rows are padded to it, {x.nbytes >> 20:,} MiB. "
            "Leave strings as long as that out",
            stacklevel=3,
        )


def _property(
    target: str | Sequence[float] | NDArray[np.number],
    data: str | os.PathLike[str] | Sequence[str],
    n: int,
    limit: int | None,
) -> Tensor:
    """A number for each of `n` strings, from a column of their table or as they are."""
    if not isinstance(target, str):
        return _numbers(target, n)
    if not isinstance(data, str | os.PathLike):
        raise ValueError(
            f"target is {target!r}; for a list of strings give numbers, or one of {', '.join(TARGETS)} for molecules"
        )
    cells, _ = numbered_strings(data, target, limit)
    if len(cells) != n:
        raise ValueError(f"column {target!r} of {data} has {len(cells)} cells for {n} strings; write nan")
    try:
        return _numbers([float(cell) for cell in cells], n)
    except ValueError as error:
        raise ValueError(f"column {target!r} of {data} is no column of numbers: {error}") from error


def _numbers(values: Sequence[float] | NDArray[np.number], n: int) -> Tensor:
    y = torch.as_tensor(np.asarray(values, np.float32))
    if y.shape != (n,):
        raise ValueError(f"target has shape {tuple(y.shape)} for {n} strings; give a number for each")
    return y
