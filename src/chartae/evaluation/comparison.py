"""Several recipes, several seeds, one data set, one judge: a table, row by row, that can be gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from chartae import recipes, runs
from chartae.data import Dataset, is_strings
from chartae.evaluation.images import Judge, evaluate
from chartae.records.files import replace_text

__all__ = ["Comparison", "check_numbers", "compare", "spread"]

#: the first columns of the table, before all other sets; `own` is Table 1's N: the prior where training aims at it,
#: else a fitted normal
COLUMNS = (
    "reconstruction",
    "own",
    "gmm",
    "interpolation-linear",
    "interpolation-spherical",
)


@dataclass(frozen=True)
class Comparison:
    """The rows of a comparison and where they lie; `comparison.json` is this.

    Attributes:
        facts: `data`, `metric`, `protocol`, `recipes`, `seeds`, `floor`.
        rows: one a recipe and seed: `recipe`, `seed`, `folder`, `own`, `sets`, `reconstruction`, `seconds`.
        folder: what the rows' folders are relative to.
    """

    facts: dict[str, Any]
    rows: list[dict[str, Any]]
    folder: Path

    def summary(self) -> list[dict[str, Any]]:
        """For each recipe and column the mean and standard deviation of the Fréchet number over the seeds."""
        table = []
        for recipe in self.facts["recipes"]:
            rows = [row for row in self.rows if row["recipe"] == recipe]
            if rows:
                wanted = dict.fromkeys([*COLUMNS, *(c for row in rows for c in row["sets"] if c != "floor")])
                columns = {c: _spread([self.value(row, c) for row in rows]) for c in wanted}
                kept = {c: v for c, v in columns.items() if v is not None}
                table.append({"recipe": recipe, "own": rows[0]["own"], "n": len(rows), "columns": kept})
        return table

    @staticmethod
    def value(row: dict[str, Any], column: str) -> float | None:
        """A row's Fréchet number of a column, if it has that column."""
        scores = row["sets"].get(row["own"] if column == "own" else column)
        return None if scores is None else scores["frechet"]

    def write(self) -> None:
        text = json.dumps(self.facts | {"rows": self.rows, "summary": self.summary()}, indent=1)
        replace_text(self.folder / "comparison.json", text + "\n")


def _spread(values: list[float | None]) -> dict[str, float | None] | None:
    given = [v for v in values if v is not None]
    if not given:
        return None
    return {"mean": mean(given), "sd": stdev(given) if len(given) > 1 else None}


def check_numbers(data: Any, names: Sequence[str]) -> None:
    """A ValueError where strings would be compared: the table's numbers are Fréchet distances between points."""
    of_strings = [name for name in names if name in recipes.OF_STRINGS]
    table = isinstance(data, str | Path) and Path(data).suffix.lower() in (".csv", ".tsv")  # of numbers, or of strings
    held = data.codec is not None if isinstance(data, Dataset) else is_strings(data) and not table
    if of_strings or held:
        what = (
            f"{', '.join(of_strings)} is for strings" if of_strings else f"{getattr(data, 'name', data)} holds strings"
        )
        raise ValueError(
            f"{what}, which a comparison cannot judge yet: its table holds Fréchet distances between points. Fit each "
            "recipe in a folder of its own (chartae fit), then chartae evaluate and chartae report on each"
        )


def compare(
    data: Dataset,
    names: Sequence[str],
    out: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    densities: Sequence[str] = ("prior", "normal", "gmm"),
    n: int = 10_000,
    extractor: str | None = None,
    weights: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Comparison:
    """Train, evaluate and tabulate `names` x `seeds`; a row that lies finished in `out` is not made again.

    Args:
        data: the data set.
        names: recipes.
        out: the folder of the comparison: a run a recipe and seed in ``RECIPE/seed-K``, and `comparison.json`, which
            is written after every row.
        seeds: of training and of sampling.
        densities: those that are judged.
        n, extractor, weights: as in `chartae.evaluation.images.Judge.of`.
        overwrite: make every row again.
        say: told what is being done.
        options: recipes' own keywords; each goes to the recipes that have it.
        settings: what `chartae.fit` takes for every row: epochs, net, latent_dim and so on.

    Raises:
        ValueError: strings; an unknown recipe; an option that none of the recipes has; rows in `out` of other settings.
    """
    out, options = Path(out), options or {}
    if not names or not seeds:
        raise ValueError("a comparison needs at least one recipe and one seed")
    if len(set(names)) < len(names) or len(set(seeds)) < len(seeds):
        raise ValueError(f"recipes {' '.join(names)} and seeds {list(seeds)} must not repeat")
    known = {name: recipes.options(name) for name in names}
    check_numbers(data, names)
    if homeless := [key for key in options if not any(key in has for has in known.values())]:
        raise ValueError(f"none of these recipes has an option {', '.join(homeless)}")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; a comparison needs a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "comparison.json").is_file():
        raise FileExistsError(f"{out} is not empty and holds no comparison; choose a new folder")
    for name in names:
        # what is wrong with a recipe shows before the first is trained
        _check(name, data, options, known, settings)
    if overwrite and out.is_dir():
        for name in names:
            shutil.rmtree(out / name, ignore_errors=True)
    judge = Judge.of(data, extractor=extractor, weights=weights, n=n)
    facts = {
        "data": data.name,
        "metric": judge.extractor.metric,
        "protocol": judge.protocol(),
        "recipes": list(names),
        "seeds": list(seeds),
        "floor": judge.floor,
        "settings": {k: v for k, v in settings.items() if isinstance(v, str | int | float | bool) and k != "progress"},
    }
    comparison = Comparison(facts, [], out)
    comparison.write()
    for seed in seeds:
        for name in names:
            given = {key: value for key, value in options.items() if key in known[name]}
            row = _row(out, name, seed, data, judge, say, given, settings, densities)
            comparison.rows.append(row)
            comparison.write()
    return comparison


def _check(name: str, data: Dataset, options: dict[str, Any], known: dict[str, Any], settings: dict[str, Any]) -> None:
    if name in recipes.OF_DOMAINS:
        raise ValueError(f"{name!r} translates between two domains, and a comparison is about one; leave it out")
    latent_dim, net = settings.get("latent_dim"), settings.get("net", "auto")
    own = {key: value for key, value in options.items() if key in known[name]}
    runs.cook(name, data, data.name, latent_dim=latent_dim, net=net, **own)


def _row(
    out: Path,
    name: str,
    seed: int,
    data: Dataset,
    judge: Judge,
    say: Callable[[str], None],
    options: dict[str, Any],
    settings: dict[str, Any],
    densities: Sequence[str],
) -> dict[str, Any]:
    folder = out / name / f"seed-{seed}"
    if (folder / "results.json").is_file():
        _same(folder, options, settings)
        results = json.loads((folder / "results.json").read_text())
        say(f"{name}, seed {seed}: there already")
    else:
        resume = (folder / "checkpoint.safetensors").is_file()
        say(f"{name}, seed {seed}: {'going on' if resume else 'training'}")
        run = runs.fit(name, data, seed=seed, out=folder, resume=resume, overwrite=not resume, **settings, **options)
        # what has no density of codes is sampled by chains, or of its prior
        judged = None if name in (*recipes.OF_SCORE, *recipes.OF_CLUSTERS) else densities
        results = evaluate(run, data, judge=judge, densities=judged, seed=seed)
    return {
        "recipe": name,
        "seed": seed,
        "folder": f"{name}/seed-{seed}",
        "own": results["own"],
        "sets": results["sets"],
        "reconstruction": results["reconstruction"],
        "seconds": results["training"].get("seconds"),
    }


def _same(folder: Path, options: dict[str, Any], settings: dict[str, Any]) -> None:
    made = runs.Settings.read(folder / "run.toml")
    for key, value in (settings | options).items():
        old = getattr(made, key, made.options.get(key))
        if key in ("progress", "device", "densities", "components") or value is None:
            continue
        has = hasattr(made, key) or key in made.options
        if has and old != value and not (key == "net" and value == "auto"):
            raise ValueError(
                f"the run in {folder} has {key} = {old!r}, not {value!r}; choose a new folder or overwrite"
            )


def spread(value: dict[str, float | None] | None) -> str:
    """`mean ± sd`, or the mean alone."""
    if value is None or value["mean"] is None:
        return "-"
    return f"{value['mean']:.2f}" + ("" if value["sd"] is None else f" ± {value['sd']:.2f}")
