"""Read strings from files (one per line, or a column of a table), and arrange indices as padded rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.columns import STRING_COLUMNS, Frame
from chartae.data.foreign import absent, remedy_for, remedy_for_file
from chartae.data.headers import is_missing, is_number
from chartae.data.notes import guess
from chartae.data.options import Reading
from chartae.data.tables import weights_of
from chartae.data.text import TABLES, Row, TextTable, suffix_of, text_of
from chartae.grammar import Codec, Derivations
from chartae.records.files import quoted

__all__ = [
    "SUFFIXES", "StringRows", "frame_strings", "holds_strings", "indices", "is_string_file", "is_string_list",
    "is_strings", "plain_strings", "read_strings", "string_rows",
]  # fmt: skip

#: suffixes of files of one string in each line, plain or gzipped
LINES = (".txt", ".smi", ".smiles")
SUFFIXES = (*LINES, *TABLES)
#: number of rows by which a column is chosen
SAMPLE = 100
#: share of the strings of a column that must be readable by the codec
MOST = 0.5

#: share of strings that can be encoded
Share = Callable[[Sequence[str]], float]

_IDENTIFIER = re.compile(r"[A-Za-z]*[-_: ]?\d+")
_NAME = re.compile(r"[A-Za-z][A-Za-z_ ]*")

#: smallest row length by built-in grammar: the papers' networks are built for it
ROWS = {"expressions": 15, "zinc-smiles": 277}


@dataclass(frozen=True)
class StringRows:
    """Rows of strings: what belongs to one string has its position.

    Attributes:
        strings: the strings, none of them empty.
        lines: number of the line of each; empty unless they are from a file.
        target: property of each, NaN where it is unknown; None without one.
        weight: weight of each in the loss; None without weights.
        column: name of the column of the strings; "" without columns.
        notes: what was decided, in sentences.
    """

    strings: list[str]
    lines: list[int] = field(default_factory=list)
    target: NDArray[np.float64] | None = None
    weight: NDArray[np.float64] | None = None
    column: str = ""
    notes: tuple[str, ...] = ()


def read_strings(path: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> list[str]:
    """Read the strings of a ``.txt``, ``.smi``, ``.smiles``, ``.csv`` or ``.tsv`` file, plain or gzipped (``.gz``).

    * ``.txt``: each non-empty line is a string; white space at both ends is stripped.
    * ``.smi``, ``.smiles``: the first word of each line (a name may follow the molecule); or the second, if the first
      words are identifiers. Lines that start with ``#`` are comments.
    * ``.csv``, ``.tsv``: one column holds the strings. If `column` is None, it is the first of the columns named
      smiles, canonical_smiles, selfies, string, strings, sequence, expression or text (in this order of preference), or
      the only column of text that does not hold identifiers.

    Args:
        path: path of the file.
        column: name of the column of strings; upper and lower case are the same. Columns without names are called
            ``"column 1"``, ``"column 2"``, ...
        limit: use only the first `limit` strings; >= 1; all by default.

    Returns:
        The strings, in the order of the file.

    Raises:
        ValueError: the file cannot be read, or several columns may hold the strings; the message names them.
        FileNotFoundError: there is no such file.

    >>> import pathlib, tempfile
    >>> from chartae.data import read_strings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "molecules.csv")
    ...     _ = path.write_text("name,smiles\\nethanol,CCO\\nmethane,C\\n")
    ...     read_strings(path), read_strings(path, column="name", limit=1)
    (['CCO', 'C'], ['ethanol'])
    """
    return string_rows(path, Reading(column=column, limit=limit)).strings


def string_rows(
    path: str | os.PathLike[str], reading: Reading = Reading(), share: Share | None = None, *, target: str | None = None
) -> StringRows:
    """Read a file of strings, as `read_strings` does, with the target and the weight of each string.

    Rows without a string are left out whole. A missing target is NaN; a missing weight is refused.

    Args:
        path: path of the file.
        reading: options for reading: column, limit, header, weight.
        share: function from strings to the share that can be encoded, by which a column without a known name is
            chosen; by default any string can.
        target: name of the column of the target; None for none.

    Raises:
        ValueError: the file cannot be read, a column is missing, or several may hold the strings.
        FileNotFoundError: there is no such file.
    """
    path = Path(path).expanduser()
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        remedy = remedy_for_file(path) if suffix else f"If it is a string, give a list, [{quoted(str(path))}]."
        raise ValueError(
            f"{path} has an unknown suffix; expected {', '.join(SUFFIXES)}, with or without .gz."
            f" {remedy or 'Rename the file to match its contents.'}"
        )
    if suffix == ".txt" and (reading.column or target or reading.weight):
        name, value = next(
            (name, value) for name, value in
            (("column", reading.column), ("target", target), ("weight", reading.weight)) if value
        )  # fmt: skip
        raise ValueError(
            f"{name} is {quoted(value)}; expected None, as {path} has no columns. Use it for .csv and .tsv."
        )
    if not path.is_file():
        raise FileNotFoundError(absent(str(path)))
    wanted = [
        name for name in (reading.column, target, reading.weight) if name and not re.fullmatch(r"column \d+", name)
    ]
    if suffix in TABLES:
        table = TextTable(path, header=reading.header, wanted=wanted, known=STRING_COLUMNS, of_text=True)
        names, rows, named = table.names, list(table.rows()), table.has_header
        notes = table.notes()
    else:
        names, rows, notes = _lines(path, suffix, reading.header)
        named = any(not name.startswith("column ") for name in names)
    taken = {name.strip().lower() for name in (target, reading.weight) if name}
    picker = _Picker(str(path), names, rows, share, taken)
    if reading.header is None and not named and (sentence := picker.header()):
        notes.append(sentence)
        picker = replace(picker, names=[cell.strip() for cell in rows[0][1]], rows=rows[1:])
    position, said = picker.choose(reading.column, first_of_line=suffix not in TABLES)
    notes += said
    return _collected(picker, position, target, reading.weight, reading.limit, notes)


def frame_strings(
    frame: Frame, reading: Reading = Reading(), share: Share | None = None, *, target: str | None = None
) -> StringRows:
    """The strings of a data frame, as `string_rows` reads them from a table in a file.

    Args:
        frame: pandas data frame.
        reading: options for reading: column, limit, weight.
        share: function from strings to the share that can be encoded.
        target: name of the column of the target; None for none.

    Raises:
        ValueError: a column is missing, or several may hold the strings.
    """
    names = [str(name) for name in frame.columns]
    cells = frame[list(frame.columns)].to_numpy("O", na_value=None)
    rows: list[Row] = [(i, ["" if cell is None else str(cell) for cell in row]) for i, row in enumerate(cells)]
    picker = _Picker(
        "the data frame", names, rows, share, {name.strip().lower() for name in (target, reading.weight) if name}
    )
    position, notes = picker.choose(reading.column)
    return replace(_collected(picker, position, target, reading.weight, reading.limit, notes), lines=[])


def _lines(path: Path, suffix: str, header: bool | None) -> tuple[list[str], list[Row], list[str]]:
    """Names of the columns, rows and notes of a file with one string in each line."""
    rows: list[Row] = []
    comments = 0
    with text_of(path) as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if suffix != ".txt" and text.startswith("#"):
                comments += 1
            elif text:
                rows.append((number, [text] if suffix == ".txt" else text.split()))
    tabs = {cells[0].count("\t") for _, cells in rows} if suffix == ".txt" else set()
    if len(rows) > 1 and len(tabs) == 1 and tabs != {0}:
        raise ValueError(
            f"{path} has {max(tabs) + 1} cells in every line, separated by tabs; expected one string in each. Rename it"
            " to .tsv, and choose a column with column=."
        )
    notes = []
    if comments:
        notes.append(f"{comments:,} comment{'s' * (comments > 1)} {'are' if comments > 1 else 'is'} left out.")
    width = max((len(cells) for _, cells in rows), default=1)
    names = [f"column {i + 1}" for i in range(width)]
    first = [cell.lower() for cell in rows[0][1]] if rows else []
    if header or (header is None and any(cell in STRING_COLUMNS for cell in first)):
        notes += [] if header else [f"The first line ({' '.join(first)[:80]}) is read as the header."]
        names, rows = [*rows[0][1], *names[len(first) :]], rows[1:]
    return names, rows, notes


@dataclass(frozen=True)
class _Picker:
    """Finds the column of strings among columns that may be without names."""

    source: str
    names: Sequence[str]
    rows: Sequence[Row]
    share: Share | None
    taken: set[str]

    def position(self, option: str, name: str | None) -> int | None:
        """Number of the column with this name; None for none."""
        if not name:
            return None
        lower = [other.strip().lower() for other in self.names]
        if (key := name.strip().lower()) not in lower:
            listed = ", ".join(self.names)[:200]
            raise ValueError(f"{option} is {quoted(name)}; expected a column of {self.source}: {listed}.")
        return lower.index(key)

    def sample(self, column: int, skip: int = 0) -> list[str]:
        """Strings of the first rows of a column."""
        rows = (cells for _, cells in self.rows[skip : skip + SAMPLE])
        return [text for cells in rows if len(cells) > column and (text := cells[column].strip())]

    def readable(self, strings: Sequence[str]) -> float:
        """Share of strings that the codec can read."""
        return 0.0 if not strings else 1.0 if self.share is None else self.share(strings)

    def choose(self, column: str | None, *, first_of_line: bool = False) -> tuple[int, list[str]]:
        """Number of the column of strings, and what was decided."""
        if column is not None:
            chosen = self.position("column", column)
            assert chosen is not None
            return chosen, []
        lower = [name.strip().lower() for name in self.names]
        known = [lower.index(name) for name in STRING_COLUMNS if name in lower]
        known += [i for i, name in enumerate(lower) if "smiles" in name and i not in known]
        if known:
            others = [self.names[i] for i in known[1:] if "smiles" in lower[i]]
            also = f" (not {', '.join(others)})" if others else ""
            said = [f"Column {quoted(self.names[known[0]])} holds the strings{also}."] if len(self.names) > 1 else []
            return known[0], said
        open_columns = [i for i, name in enumerate(lower) if name not in self.taken]
        samples = {i: self.sample(i) for i in open_columns}
        shares = {i: self.readable(sample) for i, sample in samples.items()}
        plain = [i for i in open_columns if shares[i] >= MOST and not _are_identifiers(samples[i])]
        if len(open_columns) == 1 or (first_of_line and open_columns[0] in plain):
            chosen = open_columns[0]
            return chosen, [self.identifiers(chosen)] if _are_identifiers(samples[chosen]) else []
        text = [i for i in plain if not all(map(is_number, samples[i]))] or plain
        best = [i for i in text if shares[i] == max(shares[j] for j in text)]
        if len(best) == 1:
            name, sample = self.names[best[0]], samples[best[0]]
            unsure = first_of_line or len(text) > 1 or self.share is None or best[0] != open_columns[0]
            sentence = (
                f"Column {quoted(name)} of {self.source} is read as the strings, such as"
                f" {quoted(sample[0][:40])}. Give column= if"
                " another one holds them."
            )
            return best[0], [guess(sentence) if unsure else sentence]
        if first_of_line and not best:
            return open_columns[0], []  # the codec says what is wrong
        listed = ", ".join(
            f"{quoted(self.names[i])} (such as {quoted((samples[i] or [''])[0][:30])})" for i in open_columns[:10]
        )
        reason = "several columns may hold the strings" if best else "no column holds strings that can be read"
        raise ValueError(f"column is None, but {reason} of {self.source}: {listed}. Give column=, the name of one.")

    def identifiers(self, column: int) -> str:
        """Warn of strings that look like identifiers or numbers."""
        remedy = (
            "Give column= if another one holds them." if len(self.names) > 1 else "Check that they are the strings."
        )
        return guess(
            f"The strings of {self.source} look like identifiers, such as {quoted(self.sample(column)[0])}. {remedy}"
        )

    def header(self) -> str:
        """Warn if the first row is a header, as its words are unlike the strings below; empty if it is none.

        The first row is a header if all its cells are words, and in a column of strings the word cannot be read by the
        codec. If the codec reads anything, the word must be written in other letters than the strings below.
        """
        first = self.rows[0][1] if self.rows else []
        if not first or not all(_NAME.fullmatch(cell.strip()) for cell in first):
            return ""
        reads_anything = self.readable(["\0"]) > 0
        for column in range(len(first)):
            word, below = first[column].strip(), self.sample(column, 1)
            if len(below) < 2 or self.readable(below) < MOST or _are_identifiers(below):
                continue  # not the strings
            letters = set(word)
            foreign = len(below) >= 5 and 2 * len(letters - set("".join(below))) >= len(letters)
            if foreign if reads_anything else self.readable([word]) == 0:
                return guess(
                    f"The first line of {self.source} ({', '.join(first)[:80]}) is read as the header. Give"
                    " header=False if it is none."
                )
        return ""


def _collected(
    picker: _Picker, column: int, target_name: str | None, weight_name: str | None, limit: int | None, notes: list[str]
) -> StringRows:
    """The strings of rows with what belongs to them; rows without a string are left out."""
    source, names, rows = picker.source, picker.names, picker.rows
    target, weight = picker.position("target", target_name), picker.position("weight", weight_name)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1.")

    def cell(cells: Sequence[str], i: int) -> str:
        return cells[i].strip() if i < len(cells) else ""

    full = [(line, cells) for line, cells in rows if cell(cells, column)]
    if empty := len(rows) - len(full):
        notes = [*notes, f"{empty:,} row{'s' * (empty > 1)} without a string {'are' if empty > 1 else 'is'} left out."]
    full = full[:limit]
    if not full:
        raise ValueError(f"{source} holds no strings; expected one per line.")
    lines = [line for line, _ in full]
    targets = weights = None
    if target is not None:
        targets = np.full(len(full), np.nan)
        for i, (line, cells) in enumerate(full):
            text = cell(cells, target)
            try:
                targets[i] = np.nan if is_missing(text) else float(text)
            except ValueError:
                raise ValueError(
                    f"column {quoted(names[target])} of {source} is not numeric: {quoted(text)} in line {line};"
                    f" expected numbers."
                    " Leave a cell empty where the target is unknown."
                ) from None
        if unknown := int(np.isnan(targets).sum()):
            notes = [
                *notes,
                f"The target is unknown for {unknown:,} of {len(full):,} strings, and masked in the loss.",
            ]
    if weight is not None:
        weights = weights_of([cell(cells, weight) for _, cells in full], names[weight], source, lines)
    named = len(names) > 1
    return StringRows(
        [cell(cells, column) for _, cells in full],
        lines,
        targets,
        weights,
        names[column] if named else "",
        tuple(notes),
    )


def _are_identifiers(strings: Sequence[str]) -> bool:
    """Whether strings are different words that end in a number, such as ZINC0001, or numbers."""
    return len(strings) > 2 and len(set(strings)) == len(strings) and all(map(_IDENTIFIER.fullmatch, strings))


def is_string_list(x: object) -> TypeGuard[Sequence[str]]:
    """Whether `x` is a list, a tuple or an array of strings; a single string is not."""
    if isinstance(x, str | bytes) or not isinstance(x, Sequence | np.ndarray) or not len(x):
        return False
    is_missing_first = x[0] is None or (isinstance(x[0], float) and x[0] != x[0])
    return isinstance(x[0], str) or (is_missing_first and any(isinstance(string, str) for string in x[:SAMPLE]))


def plain_strings(x: Sequence[object]) -> list[str]:
    """The strings of a list, without the ends of lines that reading a file line by line leaves.

    Args:
        x: list, tuple or array.

    Raises:
        TypeError: an element is not a string; the message says which, and what to do.

    >>> from chartae.data.lines import plain_strings
    >>> plain_strings(["CCO\\n", "C"])
    ['CCO', 'C']
    """
    for i, string in enumerate(x):
        if not isinstance(string, str):
            what = "missing" if string is None or string != string else f"a {type(string).__name__}"
            remedy = "Leave out missing strings." if what == "missing" else remedy_for(string)
            raise TypeError(f"string {i} of x is {what}; expected text. {remedy}")
    return [str(string).rstrip("\r\n") for string in x]


def is_string_file(x: object) -> bool:
    """Whether `x` is the path of a file of strings, judging by its suffix."""
    return isinstance(x, str | os.PathLike) and suffix_of(x) in SUFFIXES


def holds_strings(path: str | os.PathLike[str]) -> bool:
    """Whether an existing file holds strings: by its suffix, or as a table with a column of a known name.

    Args:
        path: path of the file.
    """
    suffix = suffix_of(path)
    if suffix not in TABLES or not Path(path).expanduser().is_file():
        return suffix in LINES
    names = {name.lower() for name in TextTable(Path(path).expanduser(), known=STRING_COLUMNS).names}
    return not names.isdisjoint(STRING_COLUMNS)


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
