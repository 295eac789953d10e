"""The building blocks of every reproduction: parts that are kept as files, and tables of their numbers."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from chartae.records import files
from chartae.records.parsing import Value
from papers.table import Request

__all__ = [
    "Cell", "Columns", "Part", "Parts", "Row", "Rows", "average", "first", "grouped", "mean_sd", "numbers",
    "summary", "table",
]  # fmt: skip

Row: TypeAlias = dict[str, Value]
Rows: TypeAlias = list[Row]
#: function from the rows of a group to what a table shows of them
Cell: TypeAlias = Callable[[Sequence[Mapping[str, object]]], object]
#: column heading -> cell
Columns: TypeAlias = Mapping[str, Cell]

Result = TypeVar("Result", bound=Value)
Line = TypeVar("Line", bound=Mapping[str, object])


@dataclass(frozen=True)
class Part(Generic[Result]):
    """One part of a reproduction: its duration in seconds, and its result."""

    seconds: float
    result: Result

    def row(self) -> Row:
        """The content of the part's file."""
        return {"seconds": self.seconds, "found": self.result}


class Parts:
    """The folder of a reproduction, which keeps each part as a JSON file; a second run makes only the missing parts.

    Args:
        request: the request, which names the folder and says whether to overwrite old parts.
        name: name of the reproduction.
        settings: settings on which the parts depend. The number of seeds is usually not among them, because more seeds
            only add parts.

    Raises:
        FileExistsError: the folder is a file, or holds parts with other settings.
    """

    def __init__(self, request: Request, name: str, **settings: Value) -> None:
        self.folder, self.say = Path(request.out), request.say
        if self.folder.is_file():
            raise FileExistsError(f"--out is {self.folder}, a file; expected a folder. Choose another path.")
        settings = {"result": name, **settings}
        path = self.folder / "made.json"
        if path.is_file():
            former = json.loads(path.read_text())
            if request.overwrite:  # remove all parts, so that an interrupted run does not mix old and new ones
                for run in self.folder.glob("*/run.toml"):
                    shutil.rmtree(run.parent)
                # made.json, which says whose parts these are, is the last to go
                for old in sorted(self.folder.glob("*.json"), key=lambda old: old == path):
                    old.unlink()
            elif former != settings:
                raise FileExistsError(
                    f"{self.folder} holds parts made with {former}; expected {settings}. Choose another folder, or use "
                    "--overwrite."
                )
        files.replace_text(path, json.dumps(settings) + "\n")

    def make(self, name: str, function: Callable[[], Result]) -> Part[Result]:
        """Read a part from its file; if there is none, make the part with the function and write the file."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            self.say(f"{name}: read from {path}")
            record = json.loads(path.read_text())
            return Part(record["seconds"], record["found"])
        self.say(f"{name} ...")
        started = time.perf_counter()
        result = function()
        part = Part(round(time.perf_counter() - started, 1), result)
        files.replace_text(path, json.dumps(part.row(), indent=1) + "\n")
        return part

    def write(self, text: str, results: Row | None = None) -> None:
        """Write table.md, and results.json if there are results; called after each part, to show the parts so far."""
        if results is not None:
            files.replace_text(self.folder / "results.json", json.dumps(results, indent=1) + "\n")
        files.replace_text(self.folder / "table.md", text.rstrip("\n") + "\n")


# -- tables -----------------------------------------------------------------------------------------------------------


def table(head: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    heads = list(head)
    cells = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in cells)


def summary(rows: Iterable[Line], columns: Columns, *by: str) -> str:
    """A Markdown table with one line for each group of rows with equal values in the fields `by`."""
    return table(columns, [[cell(group) for cell in columns.values()] for group in grouped(rows, *by)])


def grouped(rows: Iterable[Line], *by: str) -> list[list[Line]]:
    """Groups of rows with equal values in the fields `by`, in order of appearance."""
    groups: dict[tuple[object, ...], list[Line]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return list(groups.values())


def numbers(rows: Iterable[Mapping[str, object]], *keys: str) -> list[float]:
    """The number under nested keys of each row; rows without one are skipped."""
    values = []
    for row in rows:
        value: object = row
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            values.append(float(value))
    return values


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation; "-" without values."""
    if not values:
        return "-"
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def average(*keys: str, digits: int = 3, scale: float = 1.0) -> Cell:
    """Cell with the mean ± standard deviation of the numbers under nested keys, multiplied by `scale`."""
    return lambda rows: mean_sd([scale * value for value in numbers(rows, *keys)], digits)


def first(key: str, form: str = "") -> Cell:
    """Cell with the value of the first row of the group, in a format."""
    return lambda rows: format(rows[0][key], form)
