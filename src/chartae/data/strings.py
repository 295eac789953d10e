"""Strings from files: one a line, or a column of a table."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["read_strings"]

_COLUMNS = ("smiles", "selfies", "string", "strings", "sequence", "expression", "text")
_KINDS = (".txt", ".smi", ".smiles", ".csv", ".tsv")


def read_strings(path: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> list[str]:
    """The strings of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv`` file, plain or with ``.gz`` behind.

    * ``.txt``: every line that is not empty, without white space at its ends.
    * ``.smi``, ``.smiles``: the same, up to the first white space (a name may follow the molecule).
    * ``.csv``, ``.tsv``: the column `column`, by default the one headed smiles, string, sequence, expression or text;
    the
      first where the first line has no such head (then it is no header, as in the files of MOSES).

    Raises:
        ValueError: what cannot be read, with file and line.
    """
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
                if limit is not None and len(found) == limit:
                    break
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{path}, after line {number}, cannot be read as text: {e}") from e
    if not found:
        raise ValueError(f"{path} holds no strings; expected one a line")
    return found


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
