"""Text files of rows: their encoding, delimiter, header, comments and blank lines."""

from __future__ import annotations

import codecs
import csv
import gzip
import os
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TypeAlias

from chartae.data.headers import Verdict, first_row, is_number
from chartae.data.notes import guess
from chartae.records.files import quoted

__all__ = ["SNIFFED", "TABLES", "Row", "TextTable", "impostor_of", "suffix_of", "text_of"]

#: suffixes of tables of text, plain or gzipped
TABLES = (".csv", ".tsv")
#: number of rows by which delimiter and header are judged
HEAD = 200

#: number of the line that a row starts in, and its cells
Row: TypeAlias = tuple[int, list[str]]

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_IMPOSTORS = {
    b"<!doctype": "a web page; expected data. Download the file itself.",
    b"<html": "a web page; expected data. Download the file itself.",
    b"version https://git-lfs": "a pointer to a file in Git LFS; expected data. Run git lfs pull.",
    b'[{"': "JSON; expected rows of cells. Convert it with pandas.read_json(path).to_csv(new_path, index=False).",
    b'{"': "JSON; expected rows of cells. Convert it with pandas.read_json(path).to_csv(new_path, index=False).",
}
#: bytes that `impostor_of` needs
SNIFFED = 64
_GZIP = b"\x1f\x8b"
#: first cell of a first line that names the delimiter, as Excel reads it
_DELIMITER = re.compile(r"sep=\W?", re.IGNORECASE)
#: whole numbers, into which a comma may have cut a number, and those of which no one is written alone
_WHOLE, _FRACTION = re.compile(r"\s*[-+]?\d+\s*"), re.compile(r"\d+\s*")
_CUT = re.compile(r"[-+]0,\d+|[-+]?\d+,0\d+")


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix of a file name in lower case, without ``.gz``; "" if there is none."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def impostor_of(start: bytes) -> str:
    """What a file holds whose name says otherwise, and what to do; empty if that is not known.

    Args:
        start: its first `SNIFFED` bytes.

    >>> from chartae.data.text import impostor_of
    >>> impostor_of(b"<!DOCTYPE html>")
    'a web page; expected data. Download the file itself.'
    """
    lower = start.lstrip().lower()
    return next((what for mark, what in _IMPOSTORS.items() if lower.startswith(mark)), "")


@contextmanager
def text_of(path: Path) -> Iterator[IO[str]]:
    """Open a text file, plain or gzipped, in UTF-8 or, with a byte-order mark, in UTF-16.

    Raises:
        ValueError: the file is not such text; also raised for errors while the text is read.
    """
    with open(path, "rb") as file:
        start = file.read(SNIFFED)
    if (impostor := impostor_of(start)) or start.startswith(_WORKBOOKS):
        what = impostor or "a spreadsheet or an archive; expected text. Export the sheet as CSV."
        raise ValueError(f"{path} is {what}")
    zipped = start.startswith(_GZIP)
    try:
        if zipped:
            with gzip.open(path) as file:
                start = file.read(4)
        encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        with (
            gzip.open(path, "rt", encoding=encoding, newline="")
            if zipped
            else open(path, encoding=encoding, newline="") as text
        ):
            yield text
    except csv.Error as error:
        raise ValueError(
            f"{path} cannot be read as a table: {error}. Expected rows of cells, such as a,b,c."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}. Compress it again, or download it again.") from error
    except UnicodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); expected UTF-8. Save it as UTF-8.") from error


class TextTable:
    """A text file of delimited cells.

    Rows without any text are left out, and so are comments: rows that start with ``#``, unless they have as many cells
    as the others. A row is never cut or filled up.

    Args:
        path: path of the file.
        header: whether the first row is a header; None to judge by the rows.
        wanted: names of columns that the user gave; a first row that has all of them is a header.
        known: names of columns in lower case; a first row that has one of them is a header.
        of_text: whether the rows may be text alone, so that text in the first row does not make it a header.

    Attributes:
        path: path of the file.
        delimiter: what separates cells.
        names: names of the columns, stripped; ``"column 1"``, ``"column 2"``, ... without a header.
        verdict: whether the first row is a header.
        first: the first row, whether or not it is a header.
        left_out: numbers of rows that were left out, by what they are; complete after `rows`.

    Raises:
        ValueError: the file cannot be read, or is empty.
    """

    def __init__(
        self, path: Path, *, header: bool | None = None, wanted: Collection[str] = (), known: Collection[str] = (),
        of_text: bool = False,
    ) -> None:  # fmt: skip
        self.path = path
        self.left_out: dict[str, int] = {}
        self.delimiter = self._delimiter()
        head = list(islice(self._physical(), HEAD))
        comments = [(line, cells) for line, cells in head if _is_comment(cells)]
        plain = [
            (line, cells) for line, cells in head
            if not _is_comment(cells) and (len(cells) == 1 or any(cell.strip() for cell in cells))
        ]  # fmt: skip
        if not plain:
            raise ValueError(f"{path} is empty; expected a header or rows.")
        self._start = plain[0][0]
        self.first = self._completed([cell.strip() for cell in plain[0][1]], plain[1:])
        self._one_below = plain[-1][1][0]
        below = [row for _, cells in plain[1:] if len(row := self._cut(cells)) == self._width]
        lower = {cell.lower() for cell in self.first}
        named = (bool(wanted) and {name.strip().lower() for name in wanted} <= lower) or bool(set(known) & lower)
        if header is not None:
            self.verdict = Verdict(header)
        elif named or self._index:
            self.verdict = Verdict(True)
        else:
            self.verdict = first_row(self.first, below, of_text=of_text)
        self._commented: list[str] = []
        if header is None and not self.verdict.header and comments and comments[-1][0] < self._start:
            self._commented = self._commented_header([cell.strip() for cell in comments[-1][1]])
        if not self.has_header and self.delimiter == ",":
            self._refuse_cut_numbers(plain)
        numbered = [f"column {i + 1}" for i in range(len(self.first))]
        self.names = self._commented or (self.first if self.verdict.header else numbered)

    @property
    def has_header(self) -> bool:
        """Whether the columns have names."""
        return self.verdict.header or bool(self._commented)

    def _completed(self, first: list[str], below: Sequence[Row]) -> list[str]:
        """The first row, with a name for each column of the rows below it."""
        widths = [len(cells) for _, cells in below] or [len(first)]
        self._width = max(set(widths), key=widths.count)
        self._index, self._trailing = False, 0
        if len(first) == self._width - 1 > 0:  # a name is missing for the first or for the last column
            self._trailing = int(all(not cells[-1].strip() for _, cells in below if len(cells) == self._width))
            self._index = not self._trailing and len(first) > 1 and _are_row_names([cells[0] for _, cells in below])
            self._numbered = is_number(below[0][1][0])
        elif len(first) == self._width:
            rows = [first, *[cells for _, cells in below if len(cells) == self._width]]
            filled = [i for i in range(self._width) if any(row[i].strip() for row in rows)]
            self._trailing = self._width - 1 - max(filled, default=0)
            first = first[: self._width - self._trailing]
        self._width -= self._trailing
        if self._index:
            return ["", *first]
        if len(first) != self._width:  # `rows` says which line differs
            self._width = len(first)
        return first

    def _refuse_cut_numbers(self, rows: Sequence[Row]) -> None:
        """Raise ValueError if commas, which separate cells, seem to be decimal commas: pairs of cells are like 0,05."""
        if self._width % 2:
            return
        cut = None
        for line, cells in rows:
            for whole, fraction in zip(cells[::2], cells[1::2], strict=False):
                if not (_WHOLE.fullmatch(whole) and _FRACTION.fullmatch(fraction)):
                    return
                text = f"{whole.strip()},{fraction.strip()}"
                cut = cut or ((line, text) if _CUT.fullmatch(text) else None)
        if cut:
            raise ValueError(
                f"{self.path} has {quoted(cut[1])} in line {cut[0]}, which may be a number with a decimal comma, or two"
                " cells; expected decimal points, or another delimiter. Separate cells by semicolons."
            )

    def _commented_header(self, cells: list[str]) -> list[str]:
        """The names in a comment right above the first row, as NumPy writes them; empty if it has none."""
        cells = [cells[0].lstrip("# "), *cells[1:]]
        cells = cells if cells[0] else cells[1:]
        return cells if len(cells) == self._width > 1 and not any(map(is_number, cells)) else []

    def _delimiter(self) -> str:
        """The delimiter that cuts all of the first rows into equally many cells, more than one."""
        preferred = "\t" if suffix_of(self.path) == ".tsv" else ""
        with text_of(self.path) as file:
            head = "".join(islice(file, 20))
        for delimiter in dict.fromkeys([*preferred, *";\t,| "]):
            if delimiter not in head:  # a cell as long as a line may be too long for the reader
                continue
            rows = [cells for _, cells in islice(self._physical(delimiter), 20) if not _is_comment(cells)]
            if delimiter == " ":
                rows = rows if len(rows) < 2 or all(is_number(c) for row in rows[1:] for c in row if c) else []
            widths = {len(cells) for cells in rows}
            header = len(rows[0]) if rows else 0  # which may lack the name of one column
            if len(rows) and min(widths) > 1 and len({len(cells) for cells in rows[1:]} | {header}) == 1:
                return delimiter
            if len(rows) > 1 and header > 1 and {len(cells) for cells in rows[1:]} == {header + 1}:
                return delimiter
        with text_of(self.path) as file:
            line = file.readline()
        return preferred or max(",;\t", key=line.count)

    def _physical(self, delimiter: str | None = None) -> Iterator[Row]:
        """All rows but blank lines, comments and empty rows included."""
        with text_of(self.path) as file:
            reader = csv.reader(file, delimiter=delimiter or self.delimiter, skipinitialspace=True)
            line = 1
            for cells in reader:
                if cells and not (line == 1 and _DELIMITER.fullmatch(cells[0])):  # a blank line has none
                    yield line, cells
                line = reader.line_num + 1

    def _cut(self, cells: list[str]) -> list[str]:
        """The cells of a row without the empty ones behind the delimiters at its end."""
        extra = cells[self._width :]
        return cells[: self._width] if len(extra) == self._trailing and not any(map(str.strip, extra)) else cells

    def rows(self, *, ragged: bool = False) -> Iterator[Row]:
        """The rows below the header, each with the number of its line.

        Args:
            ragged: whether rows may have more or fewer cells than the first.

        Raises:
            ValueError: a row has another number of cells; the message names its line.
        """
        self.left_out = {}
        has_header = self.verdict.header and not self._commented
        width = len(self.names)
        for line, cells in self._physical():
            cells = self._cut(cells)
            if line < self._start:
                if not self._commented:
                    self._leave_out("comment" if _is_comment(cells) else "empty row")
                continue
            if line == self._start and has_header:
                continue
            if _is_comment(cells) and (len(cells) != width or (width == 1 and is_number(self._one_below))):
                self._leave_out("comment")
                continue
            if width > 1 and not any(cell.strip() for cell in cells):
                self._leave_out("empty row")
                continue
            if len(cells) != width and not ragged:
                raise ValueError(
                    f"{self.path}, line {line}, has {len(cells)} cells; expected {width}, as in line {self._start}."
                )
            yield line, cells

    def _leave_out(self, what: str) -> None:
        self.left_out[what] = self.left_out.get(what, 0) + 1

    def notes(self) -> list[str]:
        """What was decided, in sentences; a guess that could be wrong is a warning too. Call it after `rows`."""
        notes = []
        first = ", ".join(self.first[:5]) + (", ..." if len(self.first) > 5 else "")
        if self.verdict.doubt:
            as_what = "the header" if self.verdict.header else "a row"
            notes.append(guess(
                f"The first line of {self.path} ({first}) is read as {as_what}: {self.verdict.doubt}. Give header="
                f"{not self.verdict.header} if that is wrong."
            ))  # fmt: skip
        elif self.verdict.numeric:
            notes.append(f"The first line ({first}) is read as the header; give header=False if it is a row.")
        if self._commented:
            notes.append(f"The names of the columns are read from the comment above ({', '.join(self.names)[:80]}).")
        if self._trailing:
            more = f"{self._trailing:,} empty columns at the end are"
            notes.append(f"{more if self._trailing > 1 else 'The delimiter at the end of rows is'} ignored.")
        if self._index:
            example = ", ".join(self.first[1:4])
            sentence = (
                f"The rows of {self.path} have one cell more than the first line ({example}): the first names them."
            )
            notes.append(guess(sentence) if self._numbered else sentence)
        if self.delimiter in "| ":
            notes.append("Cells are separated by " + {"|": "bars", " ": "spaces"}[self.delimiter] + ".")
        for what, count in self.left_out.items():
            notes.append(f"{count:,} {what}{'s' * (count > 1)} {'are' if count > 1 else 'is'} left out.")
        return notes


def _is_comment(cells: Sequence[str]) -> bool:
    return bool(cells) and cells[0].lstrip().startswith("#")


def _are_row_names(cells: Sequence[str]) -> bool:
    """Whether cells name rows, as R writes them: they are all different, and text or whole numbers."""
    return len(set(cells)) == len(cells) > 0 and all(not is_number(c) or c.strip().isdecimal() for c in cells)
