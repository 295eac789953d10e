"""Strings from files, one a line or a column of a table, and strings as rows of indices."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TypeGuard

import numpy as np
import torch
from torch import Tensor

from chartae.grammar import Codec, Derivations

__all__ = ["indices", "is_string_file", "is_string_list", "is_strings", "numbered_strings", "read_strings"]

#: heads of the columns that are taken for strings
COLUMNS = ("smiles", "selfies", "string", "strings", "sequence", "expression", "text")
SUFFIXES = (".txt", ".smi", ".smiles", ".csv", ".tsv")
#: row lengths that the papers' networks expect of the built-in grammars, if no string of a set is longer
ROWS = {"expressions": 15, "zinc-smiles": 277}


def read_strings(path: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> list[str]:
    """The strings of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv`` file, plain or with ``.gz`` behind.

    * ``.txt``: every line that is not empty, without white space at its ends.
    * ``.smi``, ``.smiles``: the same, up to the first white space (a name may follow the molecule).
    * ``.csv``, ``.tsv``: the column `column`, by default the one headed smiles, string, sequence, expression or text;
      the first where the first line has no such head (then it is no header, as in the files of MOSES).

    Args:
        path: the file.
        column: head of a column of a ``.csv`` or ``.tsv`` file.
        limit: use only the first `limit` strings; >= 1; all by default.

    Raises:
        ValueError: the file cannot be read; the message names file and line.
        FileNotFoundError: there is no such file.
    """
    return numbered_strings(path, column, limit)[0]


def numbered_strings(
    path: str | os.PathLike[str], column: str | None = None, limit: int | None = None
) -> tuple[list[str], list[int]]:
    """The strings of a file, as `read_strings` gives them, and the number of each one's line."""
    path = Path(path).expanduser()
    kind = _suffix(path)
    zipped = path.suffix.lower() == ".gz"
    if kind not in SUFFIXES:
        raise ValueError(f"{path} is none of {', '.join(SUFFIXES)}, with or without .gz; rename it by what is in it")
    if column is not None and kind not in (".csv", ".tsv"):
        raise ValueError(f"column={column!r} is for .csv and .tsv; {path} has no columns")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    strings: list[str] = []
    lines: list[int] = []
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if zipped else open(path, encoding="utf-8") as f:
            table = kind in (".csv", ".tsv")
            rows = _column(f, column, path, "\t" if kind == ".tsv" else ",") if table else enumerate(f, 1)
            for line, text in rows:
                number = line
                parts = text.split(maxsplit=1) if kind in (".smi", ".smiles") else [text.strip()]
                if parts and parts[0]:
                    strings.append(parts[0])
                    lines.append(number)
                if limit is not None and len(strings) == limit:
                    break
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{path}, after line {number}, cannot be read as text: {e}") from e
    if not strings:
        raise ValueError(f"{path} holds no strings; expected one a line")
    return strings, lines


def _column(f: IO[str], column: str | None, path: Path, separator: str) -> Iterator[tuple[int, str]]:
    """Line numbers and cells of one column."""
    reader = csv.reader(f, delimiter=separator)
    head = next(reader, None)
    if head is None:
        return
    names = [h.strip().lower() for h in head]
    wanted = [column.lower()] if column is not None else [c for c in COLUMNS if c in names]
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


def _suffix(path: str | os.PathLike[str]) -> str:
    """What kind of file a name says it is, with or without ``.gz``; "" where it says nothing."""
    kinds = [s.lower() for s in Path(path).suffixes]
    if kinds[-1:] == [".gz"]:
        kinds.pop()
    return kinds[-1] if kinds else ""


def is_string_list(x: object) -> TypeGuard[Sequence[str]]:
    """Whether `x` is a list, a tuple or an array of strings; a single string is not."""
    if isinstance(x, str | bytes) or not isinstance(x, Sequence | np.ndarray) or not len(x):
        return False
    return isinstance(x[0], str)


def is_string_file(x: object) -> bool:
    """Whether `x` is the path of a file of strings, by its name."""
    return isinstance(x, str | os.PathLike) and _suffix(x) in SUFFIXES


def is_strings(x: object) -> bool:
    """Whether these are strings to encode: a list of them, or the path of a file of them."""
    return is_string_file(x) or is_string_list(x)


def indices(rows: Derivations, codec: Codec, length: int | None = None) -> Tensor:
    """Sequences of indices as one tensor, with padding behind the end of each.

    Args:
        rows: the sequences, as the codec's `encode` gives them.
        codec: what the indices mean.
        length: T; by default the longest, one more where padding marks the end, and at least the row length that the
            papers' networks expect of a built-in grammar.

    Returns:
        (N, T) int8, int16 or int32, the smallest that holds the codec's indices.

    Raises:
        ValueError: a sequence is longer than `length`.
    """
    if length is None:
        longest = int(rows.lengths.max(initial=1))
        length = longest + 1 if codec.masks is None else max(longest, ROWS.get(codec.language, 0))
    kind = np.int8 if codec.size <= 128 else np.int16 if codec.size <= 32_768 else np.int32
    return torch.from_numpy(rows.padded(codec.padding, length).astype(kind))
