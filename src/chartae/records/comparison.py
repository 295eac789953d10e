"""Several recipes, several seeds, one data set: what `comparison.json` holds, typed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from chartae.records import manifest
from chartae.records.files import replace_text
from chartae.records.parsing import Place, Value, read_json
from chartae.records.results import Scores, Sets

__all__ = ["ComparedColumn", "ComparedRecipe", "ComparedRun", "Comparison", "Spread"]


@dataclass(frozen=True)
class Spread:
    """A metric over several seeds.

    Attributes:
        mean: the mean, or None.
        sd: the standard deviation, or None of a single seed.
        n: the number of seeds, where it is not that of the row.
    """

    mean: float | None = None
    sd: float | None = None
    n: int | None = None

    @classmethod
    def read(cls, value: Value, place: Place) -> Spread:
        values = place.mapping(value)
        mean, sd = (place.at(k).number(values.get(k)) for k in ("mean", "sd"))
        return cls(mean, sd, place.at("n").whole(values.get("n")))

    def to_dict(self) -> dict[str, Value]:
        values: dict[str, Value] = {"mean": self.mean, "sd": self.sd}
        return values if self.n is None else values | {"n": self.n}

    def __str__(self) -> str:
        """`mean ± sd`, or the mean alone."""
        if self.mean is None:
            return "-"
        return f"{self.mean:.2f}" + ("" if self.sd is None else f" ± {self.sd:.2f}")


@dataclass(frozen=True)
class ComparedColumn:
    """One number of each run, by which recipes are compared.

    Attributes:
        set: the set that it is a metric of; ``"own"`` for what the recipe itself is sampled by, empty for the errors of
            reconstructions against their own originals.
        metrics: the names of the metrics whose product it is, one as a rule.
        better: ``"lower"`` or ``"higher"``.
    """

    set: str
    metrics: tuple[str, ...] = ("frechet",)
    better: str = "lower"

    @classmethod
    def read(cls, value: Value, place: Place) -> ComparedColumn:
        values, better = place.mapping(value), place.at("better")
        which = better.text(values.get("better")) or "lower"
        if which not in ("lower", "higher"):
            raise better.wrong(which, "'lower' or 'higher'")
        return cls(place.at("set").text(values.get("set")), place.at("metrics").texts(values.get("metrics")), which)

    def to_dict(self) -> dict[str, Value]:
        return {"set": self.set, "metrics": list(self.metrics), "better": self.better}


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison: a recipe and a seed.

    Attributes:
        recipe, seed: of the run.
        folder: where the run lies; always inside the comparison's own folder. None if not named.
        sets, reconstruction: as in `Results`.
        seconds: the duration of training.
        own: the density that its samples are drawn from by default.
    """

    recipe: str
    seed: int | None
    folder: Path | None
    sets: Sets
    reconstruction: Scores
    seconds: float | None
    own: str = ""

    def value(self, column: ComparedColumn) -> float | None:
        """The number of a column; None if the run does not have it. A factor of 0 makes it 0: where no string is valid,
        none is valid, unique and novel."""
        name = self.own if column.set == "own" else column.set
        scores = self.sets.get(name) if name else self.reconstruction
        values = [None if scores is None else scores.get(metric) for metric in column.metrics]
        numbers = [value for value in values if value is not None]
        return math.prod(numbers) if len(numbers) == len(values) or 0 in numbers else None

    @classmethod
    def read(cls, value: Value, place: Place) -> ComparedRun:
        values = place.mapping(value)
        return cls(
            place.at("recipe").text(values.get("recipe")) or "?",
            place.at("seed").whole(values.get("seed")),
            _inside(values["folder"], place) if values.get("folder") is not None else None,
            Sets.read(values.get("sets"), place.at("sets")),
            Scores.read(values.get("reconstruction"), place.at("reconstruction")),
            place.at("seconds").number(values.get("seconds")),
            place.at("own").text(values.get("own")),
        )

    def to_dict(self, folder: Path | None) -> dict[str, Value]:
        """The run as JSON holds it, its own folder relative to the comparison's `folder`, where that is given."""
        path = self.folder if self.folder is None or folder is None else self.folder.relative_to(folder)
        return {
            "recipe": self.recipe, "seed": self.seed, "folder": None if path is None else path.as_posix(),
            "own": self.own, "sets": self.sets.to_dict(), "reconstruction": self.reconstruction.to_dict(),
            "seconds": self.seconds,
        }  # fmt: skip


@dataclass(frozen=True)
class ComparedRecipe:
    """One recipe of a comparison: its numbers over the seeds.

    Attributes:
        recipe: the name.
        own: the density that its samples are drawn from by default.
        n: the number of seeds.
        columns: the number of each column.
    """

    recipe: str
    own: str
    n: int | None
    columns: Mapping[str, Spread]

    @classmethod
    def read(cls, value: Value, place: Place) -> ComparedRecipe:
        values, columns = place.mapping(value), place.at("columns")
        return cls(
            place.at("recipe").text(values.get("recipe")) or "?",
            place.at("own").text(values.get("own")),
            place.at("n").whole(values.get("n")),
            {k: Spread.read(v, columns.at(k)) for k, v in columns.mapping(values.get("columns")).items()},
        )

    def to_dict(self) -> dict[str, Value]:
        columns = {name: spread.to_dict() for name, spread in self.columns.items()}
        return {"recipe": self.recipe, "own": self.own, "n": self.n, "columns": columns}


@dataclass(frozen=True)
class Comparison:
    """What a comparison folder says: several recipes, several seeds, one data set.

    Attributes:
        data, metric: the data set, and what is compared; empty if not named.
        protocol: as in `Results`.
        rows: the runs.
        summary: the recipes.
        columns: what is compared; columns that are named after a set hold the number that `metric` names.
        facts: all that the file says besides: data, metric, recipes, seeds, floor, settings, and so on.
    """

    data: str
    metric: str
    protocol: Mapping[str, Value]
    rows: tuple[ComparedRun, ...] = ()
    summary: tuple[ComparedRecipe, ...] = ()
    columns: Mapping[str, ComparedColumn] = field(default_factory=dict)
    facts: Mapping[str, Value] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, in order."""
        return tuple(dict.fromkeys(row.seed for row in self.rows if row.seed is not None))

    def column(self, name: str) -> ComparedColumn:
        """What a column is; one that the file does not describe is the main number of the set of that name."""
        return self.columns.get(name) or replace(self.columns.get("own", ComparedColumn("own")), set=name)

    @classmethod
    def read(cls, path: str | Path) -> Comparison:
        """From a `comparison.json`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, a value in it is not as it should be, or a run's folder lies outside.
        """
        values, place = read_json(Path(path), "`chartae compare` with the same --out writes it again")
        rows, summary, columns = place.at("rows"), place.at("summary"), place.at("columns")
        facts = {k: v for k, v in values.items() if k not in ("rows", "summary", "protocol", "columns")}
        return cls(
            place.at("data").text(values.get("data")),
            place.at("metric").text(values.get("metric")),
            place.at("protocol").mapping(values.get("protocol")),
            tuple(ComparedRun.read(v, rows.at(str(i))) for i, v in enumerate(rows.items(values.get("rows")))),
            tuple(
                ComparedRecipe.read(v, summary.at(str(i))) for i, v in enumerate(summary.items(values.get("summary")))
            ),
            {k: ComparedColumn.read(v, columns.at(k)) for k, v in columns.mapping(values.get("columns")).items()},
            facts,
        )

    def to_dict(self, folder: Path | None = None) -> dict[str, Value]:
        """The comparison as JSON holds it; the folders of runs are relative to `folder`, where that is given."""
        return {
            "data": self.data, "metric": self.metric, **self.facts, "protocol": self.protocol,
            "columns": {name: column.to_dict() for name, column in self.columns.items()},
            "rows": [row.to_dict(folder) for row in self.rows],
            "summary": [row.to_dict() for row in self.summary],
        }  # fmt: skip

    def write(self, folder: str | Path) -> None:
        """Write `comparison.json` into the comparison's folder, whole or not at all."""
        folder = Path(folder)
        values = self.to_dict(folder)
        with manifest.writing(folder, "comparison.json"):
            replace_text(folder / "comparison.json", json.dumps(values, indent=1) + "\n")


def _inside(value: Value, place: Place) -> Path:
    """A run's folder inside the comparison's own folder."""
    if place.file is None:
        raise ValueError("a run's folder is relative to a comparison.json; read it from the file")
    name = place.at("folder").text(value)
    parts, folder = name.replace("\\", "/").split("/"), place.file.parent
    if ".." in parts or "\0" in name or Path(name).is_absolute() or ":" in parts[0]:
        raise place.at("folder").wrong(name, "a relative path that stays inside the comparison's own folder")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise place.at("folder").wrong(name, "a folder that no link leads outside the comparison's own folder")
    return path
