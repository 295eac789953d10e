"""What every reproduction consists of: parts that are kept as files, and tables of their numbers."""

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
#: what a table shows of the rows of one group
Cell: TypeAlias = Callable[[Sequence[Mapping[str, object]]], object]
#: head -> cell
Columns: TypeAlias = Mapping[str, Cell]

Found = TypeVar("Found", bound=Value)
Line = TypeVar("Line", bound=Mapping[str, object])


@dataclass(frozen=True)
class Part(Generic[Found]):
    """One part of a reproduction: how long it took, in seconds, and what it gave."""

    seconds: float
    found: Found

    def row(self) -> Row:
        """As it lies in the part's file."""
        return {"seconds": self.seconds, "found": self.found}


class Parts:
    """The folder of a reproduction, whose parts are kept as JSON: a second run makes only those that are missing.

    Args:
        request: where the folder is, and whether its old parts are overwritten.
        name: of the reproduction.
        settings: what the parts depend on. More seeds are more parts, so the number of seeds is none of it.

    Raises:
        FileExistsError: the folder is a file, or holds parts that were made with other settings.
    """

    def __init__(self, request: Request, name: str, **settings: Value) -> None:
        self.folder, self.say = Path(request.out), request.say
        if self.folder.is_file():
            raise FileExistsError(f"{self.folder} is a file; give a folder")
        settings = {"result": name, **settings}
        path = self.folder / "made.json"
        if path.is_file():
            former = json.loads(path.read_text())
            if request.overwrite:  # all parts, or an interrupted run would continue with old parts among the new
                for old in self.folder.glob("*.json"):
                    old.unlink()
                for run in self.folder.glob("*/run.toml"):
                    shutil.rmtree(run.parent)
            elif former != settings:
                raise FileExistsError(
                    f"{self.folder} holds parts made with {former}, not {settings}; choose a new folder, or --overwrite"
                )
        files.replace_text(path, json.dumps(settings) + "\n")

    def make(self, name: str, function: Callable[[], Found]) -> Part[Found]:
        """The part of a name: read from its file where there is one, else made by the function and written there."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            self.say(f"{name}: kept from {path}")
            return Part(**json.loads(path.read_text()))
        self.say(f"{name} ...")
        started = time.perf_counter()
        found = function()
        part = Part(round(time.perf_counter() - started, 1), found)
        files.replace_text(path, json.dumps(part.row(), indent=1) + "\n")
        return part

    def write(self, text: str, results: Row | None = None) -> None:
        """Write table.md, and results.json where there are results; after each part, to show what there is so far."""
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
    """A table with one line for each group of rows that agree in the fields `by`."""
    return table(columns, [[cell(group) for cell in columns.values()] for group in grouped(rows, *by)])


def grouped(rows: Iterable[Line], *by: str) -> list[list[Line]]:
    """The rows that agree in the fields `by`, group by group, in order of appearance."""
    groups: dict[tuple[object, ...], list[Line]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return list(groups.values())


def numbers(rows: Iterable[Mapping[str, object]], *keys: str) -> list[float]:
    """The number of each row under nested keys; rows without one are left out."""
    values = []
    for row in rows:
        value: object = row
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            values.append(float(value))
    return values


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation; of no values "-"."""
    if not values:
        return "-"
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def average(*keys: str, digits: int = 3, scale: float = 1.0) -> Cell:
    """A cell: mean ± standard deviation of `scale` times the numbers under nested keys."""
    return lambda rows: mean_sd([scale * value for value in numbers(rows, *keys)], digits)


def first(key: str, form: str = "") -> Cell:
    """A cell: what the first row of the group says, in a format."""
    return lambda rows: format(rows[0][key], form)
