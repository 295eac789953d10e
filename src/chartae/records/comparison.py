"""Several recipes, several seeds, one data set: what `comparison.json` holds, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chartae.records.parsing import Place, Value, read_json
from chartae.records.results import Scores, Sets

__all__ = ["ComparedRecipe", "ComparedRun", "ComparisonRecord", "Spread"]


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


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison: a recipe and a seed.

    Attributes:
        recipe, seed: of the run.
        folder: where the run lies; always inside the comparison's own folder. None if not named.
        sets, reconstruction: as in `Results`.
        seconds: the duration of training.
    """

    recipe: str
    seed: int | None
    folder: Path | None
    sets: Sets
    reconstruction: Scores
    seconds: float | None

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
        )


@dataclass(frozen=True)
class ComparedRecipe:
    """One recipe of a comparison: its Fréchet number over the seeds, for each set.

    Attributes:
        recipe: the name.
        own: the density that its samples are drawn from by default.
        n: the number of seeds.
        columns: the number of each set.
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


@dataclass(frozen=True)
class ComparisonRecord:
    """What a comparison folder says.

    Attributes:
        data, metric: the data set, and what is compared; empty if not named.
        protocol: as in `Results`.
        rows: the runs.
        summary: the recipes.
        facts: all that the file says besides: data, metric, recipes, seeds, settings, and so on.
    """

    data: str
    metric: str
    protocol: Mapping[str, Value]
    rows: tuple[ComparedRun, ...]
    summary: tuple[ComparedRecipe, ...]
    facts: Mapping[str, Value]

    @classmethod
    def read(cls, path: str | Path) -> ComparisonRecord:
        """From a `comparison.json`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, a value in it is not as it should be, or a run's folder lies outside.
        """
        values, place = read_json(Path(path), "`chartae compare` with the same --out writes it again")
        rows, summary = place.at("rows"), place.at("summary")
        return cls(
            place.at("data").text(values.get("data")),
            place.at("metric").text(values.get("metric")),
            place.at("protocol").mapping(values.get("protocol")),
            tuple(ComparedRun.read(v, rows.at(str(i))) for i, v in enumerate(rows.items(values.get("rows")))),
            tuple(
                ComparedRecipe.read(v, summary.at(str(i))) for i, v in enumerate(summary.items(values.get("summary")))
            ),
            {k: v for k, v in values.items() if k not in ("rows", "summary", "protocol")},
        )


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
