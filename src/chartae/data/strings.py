"""Data sets of strings, encoded as rows of indices, with an optional property of each string as target."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.arrays import splits
from chartae.data.columns import Frame, as_frame, is_frame
from chartae.data.dataset import Dataset
from chartae.data.foreign import remedy_for
from chartae.data.kinds import Strings
from chartae.data.lines import StringRows, frame_strings, indices, plain_strings, string_rows
from chartae.data.notes import guess
from chartae.data.options import Reading
from chartae.data.properties import TARGETS, molecule_property
from chartae.grammar import MOLECULES, Codec, Derivations, codec_for
from chartae.grammar.derivations import Failure
from chartae.records.space import HALF, total_memory

__all__ = ["from_strings"]

#: warn if padding every row to the longest string makes a set of more indices than this
_MANY = 1 << 26
_SELFIES = re.compile(r"(\[[^\[\]]+\]){2,}")


def from_strings(
    data: str | os.PathLike[str] | Sequence[str] | Frame,
    codec: str | os.PathLike[str] | Codec,
    *,
    limit: int | None = None,
    column: str | None = None,
    target: str | Sequence[float] | NDArray[np.number] | None = None,
    weight: str | Sequence[float] | NDArray[np.number] | None = None,
    errors: str = "raise",
    longest: int | None = None,
    header: bool | None = None,
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
) -> Dataset:
    """Build a `Dataset` of strings, encoded as rows of indices and split at random.

    An index takes one byte, or two if the codec has more than 128.

    Args:
        data: list of strings, pandas data frame, or path of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv``
            file, plain or gzipped. Rows without a string are left out whole, and counted in `Dataset.notes`.
        codec: name of a grammar (such as ``"expressions"`` or ``"zinc-smiles"``) or of a codec without one
            (``"characters"``, ``"tokens"``, ``"selfies"``), path of a file of a grammar, or a `chartae.grammar.Codec`.
        limit: use only the first `limit` strings; >= 1; all by default.
        column: name of the column of strings of a table; by default one named smiles, canonical_smiles, selfies,
            string, sequence, expression or text, or else the only one that the codec can read.
        target: property of each string to predict: the name of one that RDKit computes
            (`chartae.data.properties.TARGETS`: logp, sa, qed, weight, ...), the name of another column of the table,
            or one number for each string, NaN where it is unknown. None (default) for no target.
        weight: weight of each string in the loss, >= 0: the name of a column of the table, or one number for each
            string. None (default) for equal weights.
        errors: ``"raise"`` (default) to raise if a string cannot be encoded; ``"skip"`` to leave such strings out and
            count them in `Dataset.skipped`.
        longest: largest number of indices of a string, >= 1; longer strings count as those that cannot be encoded. None
            (default) for as many as fit into memory when all rows are padded to that length.
        header: whether the first row of a file holds the names of the columns; by default judged by the rows.
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
    named = weight if isinstance(weight, str) else None
    reading = Reading(limit=limit, column=column, weight=named, header=header)
    rows_read = _rows_read(data, codec, reading, target)
    strings, lines, notes = rows_read.strings, rows_read.lines, list(rows_read.notes)
    name = source = "strings"
    path = ""
    if isinstance(data, str | os.PathLike):
        name, source, path = Path(data).name.split(".")[0], str(data), str(Path(data).expanduser().resolve())
    values = rows_read.target
    if isinstance(target, str) and target in TARGETS:
        values = molecule_property(target, strings)
    elif target is not None and not isinstance(target, str):
        values = _one_each("target", target, len(strings))
    weights = (
        rows_read.weight if weight is None or isinstance(weight, str) else _one_each("weight", weight, len(strings))
    )
    codec = codec_for(codec, strings)
    rows = codec.encode(strings, errors="skip")
    most = _most_that_fits(len(rows), codec) if longest is None else longest
    if rows.lengths.max(initial=0) > most:
        longest = int(most)
        rows = _without_long(rows, strings, most)
    if rows.failures and errors == "raise":
        first = rows.failures[0]
        where = f"{source}, line {lines[first.index]}: " if lines else ""
        raise ValueError(
            f"{len(rows.failures):,} of {len(strings):,} strings cannot be encoded. The first, {where}{first}. "
            f"{_hint(strings[first.index], codec)}Leave them out (errors='skip', --skip), or list what is lost with"
            " chartae grammar audit."
        )
    if longest is not None:
        notes.append(f"Strings of more than {longest:,.0f} indices are left out, as memory has no room for them.")
    notes += _as_selfies(strings, codec)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(strings):,} strings of {source} can be encoded; expected at least 2.")
    x = indices(rows, codec)
    _warn_of_padding(x, rows, strings)
    split = splits(len(x), valid, test, seed)
    kept = rows.kept
    targets, weighting = ({s: None if v is None else torch.from_numpy(v[kept]).float()[i] for s, i in split.items()}
                          for v in (values, weights))  # fmt: skip
    decided = Reading(
        codec,
        limit,
        rows_read.column or column,
        target,
        None if errors == "raise" else errors,
        longest,
        weight=named,
        header=header,
    )
    if rows.failures:
        notes.append(f"{len(rows.failures):,} of {len(strings):,} strings that cannot be encoded are left out.")
    return Dataset(
        name, x[split["train"]], x[split["valid"]], x[split["test"]], source=source, skipped=len(rows.failures),
        train_target=targets["train"], valid_target=targets["valid"], test_target=targets["test"],
        train_weight=weighting["train"], valid_weight=weighting["valid"], test_weight=weighting["test"],
        kind=Strings(codec, x.shape[1]), notes=tuple(notes), reading=decided,
        path=path,
    )  # fmt: skip


def _most_that_fits(n: int, codec: Codec) -> float:
    """The largest number of indices in a row such that `n` rows fit into half of the machine's memory."""
    total = total_memory()
    # the padded rows, their mask and their copy in the splits
    each = 3 if codec.size <= 128 else 5 if codec.size <= 32_768 else 9
    return math.inf if total is None else HALF * total // (each * max(1, n))


def _without_long(rows: Derivations, strings: Sequence[str], most: float) -> Derivations:
    """The rows of at most this many indices; the others become failures."""
    is_long = rows.lengths > most
    kept = rows[np.flatnonzero(~is_long)]
    assert isinstance(kept, Derivations)
    wanted = f"a string of at most {most:,.0f} indices, which memory has room for"
    long = [Failure(int(i), strings[i], 0, strings[i][:40], (wanted,)) for i in rows.kept[is_long]]
    failures = sorted([*rows.failures, *long], key=lambda failure: failure.index)
    return replace(kept, failures=tuple(failures))


def _rows_read(
    data: str | os.PathLike[str] | Sequence[str] | Frame,
    codec: str | os.PathLike[str] | Codec,
    reading: Reading,
    target: object,
) -> StringRows:
    """The strings, with what a file or a data frame holds of each."""
    column = target if isinstance(target, str) and target not in TARGETS else None

    def share(strings: Sequence[str]) -> float:
        try:
            return len(codec_for(codec, strings).encode(strings, errors="skip")) / len(strings)
        except ValueError:
            return 0.0

    if isinstance(data, str | os.PathLike):
        return string_rows(data, reading, share, target=column)
    data = cast("Sequence[str] | Frame", as_frame(data))
    if is_frame(data):
        return frame_strings(data, reading, share, target=column)
    if not isinstance(data, Sequence | np.ndarray):
        raise TypeError(f"data is a {type(data).__name__}; expected a list of strings. {remedy_for(data)}")
    for name, value in (("target", column), ("weight", reading.weight)):
        if isinstance(value, str):
            computed = f", or one of {', '.join(TARGETS)} for molecules" if name == "target" else ""
            raise ValueError(
                f"{name} is {value!r}; expected one number for each string of a list{computed}. A column needs a table."
            )
    return StringRows(plain_strings(data[: reading.limit]))


def _hint(string: str, codec: Codec) -> str:
    """What to do about a string that cannot be encoded, as a sentence with a space behind it; empty if unknown."""
    if re.search(r"\S\s", string):
        return "Leave out what follows the space, such as a name, or give a .smi file, whose first words are read. "
    if codec.language in MOLECULES and "." in string:
        return "Keep one part of a salt or mixture, such as the largest. "
    return ""


def _as_selfies(strings: Sequence[str], codec: Codec) -> list[str]:
    """Warn of SELFIES that are read as SMILES, which they happen to be as well."""
    sample = strings[:100]
    if not codec.language.endswith("smiles") or not all(map(_SELFIES.fullmatch, sample)):
        return []
    return [guess(
        f"All strings, such as {sample[0][:40]!r}, look like SELFIES and are read as SMILES. Give grammar='selfies' if"
        " they are."
    )]  # fmt: skip


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


def _one_each(name: str, values: Sequence[float] | NDArray[np.number], n: int) -> NDArray[np.float64]:
    """One number for each of `n` strings."""
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (n,):
        raise ValueError(f"{name} has shape {numbers.shape}; expected one number for each of {n} strings, ({n},).")
    if name == "weight" and not ((numbers >= 0) & np.isfinite(numbers)).all():
        raise ValueError(f"weight is {numbers.min()} for a string; expected finite numbers of at least 0.")
    return numbers
