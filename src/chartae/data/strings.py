"""Strings from files, one a line or a column of a table, and as sets of indices to train on."""

from __future__ import annotations

import csv
import gzip
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import SPLITS, Dataset, held_out
from chartae.grammar import Codec, Derivations, codec_for

__all__ = ["from_strings", "indices", "is_strings", "read_strings"]

_COLUMNS = ("smiles", "selfies", "string", "strings", "sequence", "expression", "text")
#: indices of a set, above which one long string that all rows are padded to is told of
_MANY = 1 << 26
_KINDS = (".txt", ".smi", ".smiles", ".csv", ".tsv")


def read_strings(path: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> list[str]:
    """The strings of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv`` file, plain or with ``.gz`` behind.

    * ``.txt``: every line that is not empty, without white space at its ends.
    * ``.smi``, ``.smiles``: the same, up to the first white space (a name may follow the molecule).
    * ``.csv``, ``.tsv``: the column `column`, by default the one headed smiles, string, sequence, expression or text;
      the first where the first line has no such head (then it is no header, as in the files of MOSES).

    Raises:
        ValueError: what cannot be read, with file and line.
    """
    return _read(path, column, limit)[0]


def _read(path: str | os.PathLike[str], column: str | None, limit: int | None) -> tuple[list[str], list[int]]:
    """The strings, and the line of each."""
    path = Path(path).expanduser()
    kinds = [s.lower() for s in path.suffixes]
    zipped = bool(kinds) and kinds[-1] == ".gz"
    kind = (kinds[:-1] if zipped else kinds)[-1:] or [""]
    if kind[0] not in _KINDS:
        raise ValueError(f"{path} is none of {', '.join(_KINDS)}, with or without .gz; rename it by what is in it")
    if column is not None and kind[0] not in (".csv", ".tsv"):
        raise ValueError(f"column={column!r} is for .csv and .tsv; {path} has no columns")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    found: list[str] = []
    lines: list[int] = []
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if zipped else open(path, encoding="utf-8") as f:
            table = kind[0] in (".csv", ".tsv")
            rows = _column(f, column, path, "\t" if kind[0] == ".tsv" else ",") if table else enumerate(f, 1)
            for line, text in rows:
                number = line
                parts = text.split(maxsplit=1) if kind[0] in (".smi", ".smiles") else [text.strip()]
                if parts and parts[0]:
                    found.append(parts[0])
                    lines.append(number)
                if limit is not None and len(found) == limit:
                    break
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{path}, after line {number}, cannot be read as text: {e}") from e
    if not found:
        raise ValueError(f"{path} holds no strings; expected one a line")
    return found, lines


def _column(f: IO[str], column: str | None, path: Path, separator: str) -> Iterator[tuple[int, str]]:
    """Line numbers and cells of one column."""
    reader = csv.reader(f, delimiter=separator)
    head = next(reader, None)
    if head is None:
        return
    names = [h.strip().lower() for h in head]
    wanted = [column.lower()] if column is not None else [c for c in _COLUMNS if c in names]
    if column is not None and wanted[0] not in names:
        raise ValueError(f"{path} has no column {column!r}; its first line is {', '.join(head)[:200]!r}")
    which = names.index(wanted[0]) if wanted else 0
    if not wanted:
        yield 1, head[0] if head else ""
    for row in reader:
        if not row:
            continue
        if len(row) <= which:
            raise ValueError(f"{path}, line {reader.line_num}, has {len(row)} columns; expected at least {which + 1}")
        yield reader.line_num, row[which]


#: rows of the built-in grammars that the papers' nets expect, if no string of a set is longer
_ROWS = {"expressions": 15, "zinc-smiles": 277}


def is_strings(data: object) -> bool:
    """Whether these are strings to encode: a list of them, or the path of a file of them."""
    if isinstance(data, str | os.PathLike):
        kinds = [s.lower() for s in Path(data).suffixes]
        return bool(kinds) and (kinds[:-1] if kinds[-1] == ".gz" else kinds)[-1:] in ([k] for k in _KINDS)
    if isinstance(data, Sequence | np.ndarray) and len(data):
        return isinstance(data[0], str)
    return False


def from_strings(
    data: str | os.PathLike[str] | Sequence[str],
    codec: str | os.PathLike[str] | Codec,
    *,
    limit: int | None = None,
    column: str | None = None,
    target: str | Sequence[float] | np.ndarray | None = None,
    errors: str = "raise",
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
) -> Dataset:
    """A `Dataset` of strings as rows of indices, one byte each (two, where the codec has more than 128).

    Args:
        data: a list of strings, or a file as `read_strings` reads it.
        codec: a name of `chartae.grammar.codec_for`, a file of a grammar, or a codec.
        limit: the first so many strings alone.
        column: of a table.
        target: a property of each string, which becomes its label: a column of the table, or numbers; nan where it
            is not known.
        errors: what cannot be encoded is an error (``"raise"``), or left out and counted (``"skip"``).
        seed, valid, test: of the random split.

    Raises:
        ValueError: strings that cannot be encoded, with file, line, place and what was expected there; too few.

    >>> from_strings(["x+1", "sin(x)", "x*x"], "expressions", valid=0, test=0)
    Dataset('strings': strings 15 int8, 3 + 0 + 0 (train + valid + test); strings)
    """
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors is {errors!r}; choose 'raise' or 'skip'")
    if isinstance(data, str | os.PathLike):
        strings, lines = _read(data, column, limit)
        name, source = Path(data).name.split(".")[0], str(data)
    else:
        strings, lines = list(data[:limit]), []
        name = source = "strings"
    y = None if target is None else _property(target, data, strings, limit)
    made = codec_for(codec, strings)
    rows = made.encode(strings, errors="skip")
    if rows.failures and errors == "raise":
        first = rows.failures[0]
        where = f"{source}, line {lines[first.index]}: " if lines else ""
        raise ValueError(
            f"{len(rows.failures):,} of {len(strings):,} strings cannot be encoded. The first, {where}{first}. Leave "
            "them out (errors='skip', --skip), or see what is lost with chartae grammar audit"
        )
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(strings):,} strings of {source} can be encoded; at least 2 are needed")
    x = indices(rows, made)
    if x.numel() > max(_MANY, 20 * int(rows.lengths.sum())):
        long = int(rows.lengths.argmax())
        warnings.warn(
            f"{strings[int(rows.kept[long])][:40]!r}... has {int(rows.lengths[long]):,} indices, half of the strings "
            f"have {int(np.median(rows.lengths))} or fewer; all rows are padded to it, {x.nbytes >> 20:,} MiB. "
            "Leave strings as long as that out",
            stacklevel=2,
        )
    sizes = held_out(len(x), valid, test)
    order = torch.arange(len(x))
    if any(sizes):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    parts = dict(zip(("valid", "test", "train"), order.split([*sizes, len(x) - sum(sizes)]), strict=True))
    train, held, unseen = (x[parts[s]] for s in SPLITS)
    made_of = Dataset(name, train, held, unseen, source=source, codec=made, skipped=len(rows.failures))
    if y is None:
        return made_of
    y = y[torch.from_numpy(rows.kept)]
    a, b, c = (y[parts[s]] for s in SPLITS)
    return replace(made_of, train_labels=a, valid_labels=b, test_labels=c)


def _property(target: Any, data: Any, strings: list[str], limit: int | None) -> Tensor:
    """A number for each string."""
    if isinstance(target, str):
        if not isinstance(data, str | os.PathLike):
            raise ValueError(f"target is {target!r}; of a list of strings it is numbers")
        cells, _ = _read(data, target, limit)
        if len(cells) != len(strings):
            raise ValueError(
                f"column {target!r} of {data} has {len(cells)} cells for {len(strings)} strings; write nan"
            )
        try:
            target = [float(cell) for cell in cells]
        except ValueError as error:
            raise ValueError(f"column {target!r} of {data} is no column of numbers: {error}") from error
    y = torch.as_tensor(np.asarray(target, np.float32))
    if y.shape != (len(strings),):
        raise ValueError(f"target has shape {tuple(y.shape)} for {len(strings)} strings; give a number for each")
    return y


def indices(rows: Derivations, codec: Codec) -> Tensor:
    """(N, T) int8 or int16, padding behind the end of each; one place more than the longest where that tells the
    end."""
    longest = int(rows.lengths.max(initial=1))
    length = longest + 1 if codec.masks is None else max(longest, _ROWS.get(codec.language, 0))
    kind = np.int8 if codec.size <= 128 else np.int16 if codec.size <= 32_768 else np.int32
    return torch.from_numpy(rows.padded(codec.padding, length).astype(kind))
