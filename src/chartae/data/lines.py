"""Read strings from files (one per line, or a column of a table), and arrange indices as padded rows."""

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

#: headers by which the column of strings is recognised
COLUMNS = ("smiles", "selfies", "string", "strings", "sequence", "expression", "text")
SUFFIXES = (".txt", ".smi", ".smiles", ".csv", ".tsv")
#: smallest row length by built-in grammar: the papers' networks are built for it
ROWS = {"expressions": 15, "zinc-smiles": 277}


def read_strings(path: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> list[str]:
    """Read the strings of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv`` file, plain or gzipped (``.gz``).

    * ``.txt``: each non-empty line is a string; white space at both ends is stripped.
    * ``.smi``, ``.smiles``: the same, up to the first white space (a name may follow the molecule).
    * ``.csv``, ``.tsv``: one column holds the strings. If `column` is None, it is the first of the columns named
      smiles, selfies, string, strings, sequence, expression or text (in this order of preference). If the first line
      has none of these names, it is taken as data rather than a header, and the first column is read.

    Args:
        path: path of the file.
        column: name of the column of strings, for ``.csv`` and ``.tsv`` files only; upper and lower case are the same.
        limit: use only the first `limit` strings; >= 1; all by default.

    Returns:
        The strings, in the order of the file.

    Raises:
        ValueError: the file cannot be read; the message names file and line.
        FileNotFoundError: there is no such file.

    >>> import pathlib, tempfile
    >>> from chartae.data import read_strings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "molecules.csv")
    ...     _ = path.write_text("name,smiles\\nethanol,CCO\\nmethane,C\\n")
    ...     read_strings(path), read_strings(path, column="name", limit=1)
    (['CCO', 'C'], ['ethanol'])
    """
    return numbered_strings(path, column, limit)[0]


def numbered_strings(
    path: str | os.PathLike[str], column: str | None = None, limit: int | None = None
) -> tuple[list[str], list[int]]:
    """The strings of a file, as `read_strings` returns them, and the line number of each."""
    path = Path(path).expanduser()
    suffix = _suffix(path)
    is_gzipped = path.suffix.lower() == ".gz"
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path} has an unknown suffix; expected {', '.join(SUFFIXES)}, with or without .gz. Rename the file to"
            " match its contents."
        )
    if column is not None and suffix not in (".csv", ".tsv"):
        raise ValueError(f"column is {column!r}; expected None, as {path} has no columns. Use it for .csv and .tsv.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    strings: list[str] = []
    lines: list[int] = []
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if is_gzipped else open(path, encoding="utf-8") as f:
            is_table = suffix in (".csv", ".tsv")
            rows = _column(f, column, path, "\t" if suffix == ".tsv" else ",") if is_table else enumerate(f, 1)
            for line, text in rows:
                number = line
                parts = text.split(maxsplit=1) if suffix in (".smi", ".smiles") else [text.strip()]
                if parts and parts[0]:
                    strings.append(parts[0])
                    lines.append(number)
                if limit is not None and len(strings) == limit:
                    break
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(
            f"{path} cannot be read as text after line {number}: {e}. Save it as UTF-8, gzipped only if it ends in .gz."
        ) from e
    if not strings:
        raise ValueError(f"{path} holds no strings; expected one per line.")
    return strings, lines


def _column(f: IO[str], column: str | None, path: Path, separator: str) -> Iterator[tuple[int, str]]:
    """Line numbers and cells of one column."""
    reader = csv.reader(f, delimiter=separator)
    first = next(reader, None)
    if first is None:
        return
    names = [cell.strip().lower() for cell in first]
    candidates = [column.lower()] if column is not None else [c for c in COLUMNS if c in names]
    if column is not None and candidates[0] not in names:
        raise ValueError(
            f"column is {column!r}; expected a column of {path}, whose first line is {', '.join(first)[:200]!r}."
        )
    position = names.index(candidates[0]) if candidates else 0
    if not candidates:
        yield 1, first[0] if first else ""
    for row in reader:
        if not row:
            continue
        if len(row) <= position:
            raise ValueError(
                f"{path}, line {reader.line_num}, has {len(row)} columns; expected at least {position + 1}."
            )
        yield reader.line_num, row[position]


def _suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a file name in lower case, without ``.gz``; "" if there is none."""
    suffixes = [s.lower() for s in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_string_list(x: object) -> TypeGuard[Sequence[str]]:
    """Whether `x` is a list, a tuple or an array of strings; a single string is not."""
    if isinstance(x, str | bytes) or not isinstance(x, Sequence | np.ndarray) or not len(x):
        return False
    return isinstance(x[0], str)


def is_string_file(x: object) -> bool:
    """Whether `x` is the path of a file of strings, judging by its suffix."""
    return isinstance(x, str | os.PathLike) and _suffix(x) in SUFFIXES


def is_strings(x: object) -> bool:
    """Whether `x` is a list of strings, or the path of a file of strings.

    Args:
        x: any object. A list, tuple or array counts if its first element is a string; a path counts by its suffix,
            ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv``, with or without ``.gz``. The file is not opened.

    Returns:
        True or False.

    >>> from chartae.data import is_strings
    >>> is_strings(["x+1", "x*x"]), is_strings("zinc.smi.gz"), is_strings([1.0, 2.0])
    (True, True, False)
    """
    return is_string_file(x) or is_string_list(x)


def indices(rows: Derivations, codec: Codec, length: int | None = None) -> Tensor:
    """Arrange sequences of indices as the rows of one tensor, padded at the end.

    Args:
        rows: N sequences, as `codec.encode` returns them.
        codec: codec that the indices belong to; it names the padding index.
        length: T, length of a row. By default the length of the longest sequence, plus 1 if the codec has no masks
            (padding then marks the end); at least 15 for the grammar ``expressions`` and 277 for ``zinc-smiles``,
            the lengths that the papers' networks are built for.

    Returns:
        (N, T) tensor of int8, int16 or int32, the smallest dtype that holds the codec's indices.

    Raises:
        ValueError: a sequence is longer than `length`.

    >>> from chartae.data import indices
    >>> from chartae.grammar import codec_for
    >>> codec = codec_for("characters", ["abc"])
    >>> indices(codec.encode(["ab", "c"]), codec)
    tensor([[0, 1, 3],
            [2, 3, 3]], dtype=torch.int8)
    """
    if length is None:
        longest = int(rows.lengths.max(initial=1))
        length = longest + 1 if codec.masks is None else max(longest, ROWS.get(codec.language, 0))
    dtype = np.int8 if codec.size <= 128 else np.int16 if codec.size <= 32_768 else np.int32
    return torch.from_numpy(rows.padded(codec.padding, length).astype(dtype))
