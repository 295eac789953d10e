"""The building blocks of every reproduction: parts that are kept as files, and tables of their numbers."""

from __future__ import annotations

import json
import math
import operator
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from chartae.records import files
from chartae.records.parsing import Value
from papers.table import Request

__all__ = [
    "Cell", "Claim", "Columns", "Part", "Parts", "Row", "Rows", "average", "claims_table", "first", "fresh_seeds",
    "grouped", "mean_sd", "numbers", "summary", "table",
]  # fmt: skip

#: first seed of what is reported; settings were chosen on smaller ones
FIRST_SEED = 100

Row: TypeAlias = dict[str, Value]
Rows: TypeAlias = list[Row]
#: function from the rows of a group to what a table shows of them
Cell: TypeAlias = Callable[[Sequence[Mapping[str, object]]], object]
#: column heading -> cell
Columns: TypeAlias = Mapping[str, Cell]

#: signs of a target
SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip

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


# -- claims -----------------------------------------------------------------------------------------------------------


def fresh_seeds(count: int) -> range:
    """Seeds of what is reported, on which no setting was chosen."""
    return range(FIRST_SEED, FIRST_SEED + count)


@dataclass(frozen=True)
class Claim:
    """A number that a reproduction claims, with its target; whether it is met is computed.

    Attributes:
        text: the quantity, in words.
        source: the paper that claims it, as an arXiv number, or "ours".
        target: sign and number, such as ">= 0.95".
        values: our numbers, one for each seed.
        published: the paper's number, in words; "" if it gives none.
        note: what a reader must know to judge the number, such as what the control has; "" for nothing.
        seeds: seeds of the values; none for what has no randomness.
        differs: what differs from the published protocol; "" for nothing.
    """

    text: str
    source: str
    target: str
    values: Sequence[float]
    published: str = ""
    note: str = ""
    seeds: Sequence[int] = ()
    differs: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Claim:
        """The claim of a row of results."""
        names = {"text": "claim"}
        return cls(**{f.name: row[names.get(f.name, f.name)] for f in fields(cls)})

    def __post_init__(self) -> None:
        if self.target.split(" ")[0] not in SIGNS:
            raise ValueError(f"target is {self.target!r}; expected one of {', '.join(SIGNS)} and a number.")

    @property
    def met(self) -> bool | None:
        """Whether the mean of the values meets the target; None without values."""
        sign, number = self.target.split(" ")
        return SIGNS[sign](statistics.mean(self.values), float(number)) if self.values else None

    @property
    def chosen_on(self) -> str:
        """Whether the seeds are fresh: no setting was chosen on them."""
        if not self.seeds:
            return "-"
        return "fresh" if min(self.seeds) >= FIRST_SEED else "**not fresh**"

    @property
    def verdict(self) -> str:
        """Met or not met, and whether the mean is within two standard errors of the target."""
        if self.met is None:
            return "not measured"
        distance = abs(statistics.mean(self.values) - float(self.target.split(" ")[1]))
        noise = 2 * statistics.stdev(self.values) / math.sqrt(len(self.values)) if len(self.values) > 1 else 0.0
        return ("met" if self.met else "**not met**") + ", within noise" * (distance < noise)

    def row(self) -> Row:
        """The claim in plain numbers, as results keep it."""
        return {
            "claim": self.text, "source": self.source, "target": self.target, "values": list(self.values),
            "n": len(self.values), "mean": statistics.mean(self.values) if self.values else None,
            "sd": statistics.stdev(self.values) if len(self.values) > 1 else None, "met": self.met,
            "verdict": self.verdict, "published": self.published, "note": self.note, "seeds": list(self.seeds),
            "differs": self.differs,
        }  # fmt: skip


def claims_table(claims: Iterable[Claim], digits: int = 3) -> str:
    """A table of claims in Markdown: target, our number, and the plain words met or not met."""
    lines = [
        (claim.text, claim.source, claim.published or "-", claim.target, mean_sd(claim.values, digits),
         len(claim.values), claim.verdict)
        for claim in claims
    ]  # fmt: skip
    return table(("claim", "source", "published", "target", "ours", "n", ""), lines)
