"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chartae.records import manifest
from chartae.records.comparison import ComparedRecipe, Comparison, Spread
from chartae.records.parsing import Value, is_finite
from chartae.records.run_folder import RunFolder
from chartae.report.embedded import Embedded
from chartae.report.grids import interpolations, reconstructions, samples
from chartae.report.names import best, densities, in_order, in_sentence, is_metric, metric_title, title
from chartae.report.numbers import lower, number, spread
from chartae.report.parts import Facts, flat, sections
from chartae.report.ranking import ranking
from chartae.report.rendering import render
from chartae.report.scatter import data_and_samples

__all__ = ["page"]


#: the better direction as an arrow
ARROWS = {"lower": "↓", "higher": "↑"}
#: number of strings shown of each recipe
STRINGS = 12


@dataclass(frozen=True)
class Cell:
    """A mean over seeds: its text, a note in brackets, the number, and whether it is the best of its column."""

    text: str
    note: str | int | None
    value: float | None
    best: bool


@dataclass(frozen=True)
class RankRow:
    """A recipe: its name, the number of seeds, and its cells."""

    title: str
    n: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class SeedRow:
    """A run: its recipe, and cells (text, value)."""

    title: str
    cells: Sequence[tuple[str, float | None]]


@dataclass(frozen=True)
class Table:
    """A table; each heading has an arrow in the better direction, or nothing."""

    heads: Sequence[tuple[str, str]]
    rows: Sequence[RankRow] | Sequence[SeedRow]


@dataclass(frozen=True)
class RecipePart:
    """The part of the page about one recipe, from the run folder of its first seed."""

    name: str
    present: bool
    has_other_pictures: bool
    seed: Value
    objective: Value
    settings: Facts
    best: str | None
    samples: Sequence[Embedded]
    data: Sequence[Embedded]
    reconstructions: Embedded | None
    interpolations: Sequence[Embedded]
    strings: Sequence[str]
    strings_density: str


@dataclass(frozen=True)
class Page:
    """The fields of the template of a comparison."""

    title: str
    headline: str
    table: Table | None
    chart: Embedded | None
    metric: str
    better: str
    logarithmic: bool
    has_own: bool
    recipes: Sequence[RecipePart]
    seeds: Table | None
    settings: Facts
    facts: Mapping[str, Facts]
    protocol: Mapping[str, Value]


def page(folder: Path) -> str:
    """The page of the comparison in a folder, as HTML."""
    if (folder / "comparison.json").is_file():
        manifest.verify(folder, "comparison.json")
    record = Comparison.read(folder / "comparison.json")
    firsts: dict[str, Path] = {}
    for run in record.rows:
        if run.folder is not None:
            firsts.setdefault(run.recipe, run.folder)
    metric, summary, main = metric_title(record.metric), record.summary, record.column("own")
    names = in_order(dict.fromkeys(n for row in summary for n in row.columns))
    order = dict.fromkeys([*(row.recipe for row in summary), *firsts])
    budget = 3_000_000 // max(1, 6 * len(firsts))
    ranked = [*(["reconstruction"] if record.column("reconstruction").set else []), *densities(names)]
    return render(
        "comparison.html",
        Page(
            title=f"{len(order)} recipes on {record.data or 'data'}",
            headline=_winner(summary, metric, main.better),
            table=_means(record, names) if summary and names else None,
            chart=ranking(summary, ranked, metric, main.better),
            metric=metric,
            better=main.better,
            logarithmic=main.better == "lower",
            has_own="own" in names,
            recipes=[_recipe(name, firsts.get(name), record, budget) for name in order],
            seeds=_seeds(record) if record.rows else None,
            settings=flat(record.facts),
            facts=sections({}, record.protocol),
            protocol=record.protocol,
        ),
    )


def _best(row: ComparedRecipe, better: str) -> str | None:
    return best({name: cell.mean for name, cell in row.columns.items()}, better)


def _winner(summary: Sequence[ComparedRecipe], metric: str, better: str) -> str:
    """The recipe and density with the best mean, compared with the best of the next recipe."""
    ranked: list[tuple[float, float | None, str]] = []
    for row in summary:
        top = _best(row, better)
        cell = row.columns[top] if top is not None else Spread()
        if top is not None and cell.mean is not None:
            ranked.append((cell.mean, cell.sd, f"{row.recipe} with {in_sentence(top)} samples"))
    if not ranked:
        return ""
    (first, sd, winner), *others = sorted(ranked, key=lambda r: r[0], reverse=better == "higher")
    text = f"{winner} is best: {spread(first, sd)}"
    if not others:
        return f"{text} ({metric}; {better} is better)."
    second, next_sd, runner_up = others[0]
    text += f", against {spread(second, next_sd)} for the next recipe, {runner_up}"
    text += f"{lower(first, second) if better == 'lower' else ''} ({metric}; {better} is better)."
    if not (is_finite(sd) and is_finite(next_sd)):
        return text + " Without several seeds of both, it is unknown how much these numbers vary."
    if abs(second - first) <= sd + next_sd:
        return text + " The difference is within the sum of the two standard deviations: no clear winner."
    return text


def _means(record: Comparison, names: Sequence[str]) -> Table:
    """The mean of each recipe in each column."""
    columns = {name: record.column(name) for name in names}
    tops: dict[str, float] = {}
    for name, column in columns.items():
        means = [c.mean for row in record.summary if (c := row.columns.get(name)) is not None and is_finite(c.mean)]
        numbers = [mean for mean in means if mean is not None]
        if len(numbers) > 1:
            tops[name] = min(numbers) if column.better == "lower" else max(numbers)

    def cell(row: ComparedRecipe, name: str) -> Cell:
        value = row.columns.get(name, Spread())
        note = (row.own or None) if name == "own" and name in row.columns else value.n
        top = name in tops and value.mean == tops[name]
        return Cell(spread(value.mean, value.sd), note, value.mean, top)

    return Table(
        [(title(name), ARROWS[column.better]) for name, column in columns.items()],
        [RankRow(row.recipe, number(row.n), [cell(row, name) for name in names]) for row in record.summary],
    )


def _seeds(record: Comparison) -> Table:
    """Every run of the comparison, one row each."""
    rows, further = record.rows, [name for name in record.columns if is_metric(name)]
    names = in_order(dict.fromkeys([*(n for row in rows for n in row.sets), *further]))
    errors = list(dict.fromkeys(k for row in rows for k in row.reconstruction))
    numbers = [{name: row.value(record.column(name)) for name in names} for row in rows]
    return Table(
        [("seed", ""), *((title(name), "") for name in names), *((error, "") for error in errors), ("seconds", "")],
        [
            SeedRow(
                row.recipe,
                [
                    (str("–" if row.seed is None else row.seed), None),
                    *((number(each[n]), each[n]) for n in names),
                    *((number(row.reconstruction.get(k)), row.reconstruction.get(k)) for k in errors),
                    (number(row.seconds), row.seconds),
                ],
            )
            for row, each in zip(rows, numbers, strict=True)
        ],
    )


def _recipe(name: str, folder: Path | None, record: Comparison, budget: int) -> RecipePart:
    present = folder is not None and (folder / "run.toml").is_file()
    run = RunFolder.read(folder) if folder is not None and present else RunFolder()
    row = next((row for row in record.summary if row.recipe == name), None)
    top = None if row is None else _best(row, record.column("own").better)
    return RecipePart(
        name=name,
        present=present,
        has_other_pictures=run.has_other_pictures,
        seed=run.settings.get("seed"),
        objective=run.settings.get("objective"),
        settings=flat({k: v for k, v in run.settings.items() if k != "objective"}),
        best=top,
        samples=samples(replace(run.pictures, originals=None), budget, top),
        data=data_and_samples(run.pictures, top),
        reconstructions=reconstructions(run.pictures, budget),
        interpolations=interpolations(run.pictures, budget),
        strings=[string for string in run.scored.examples.get(top or "", ()) if string][:STRINGS],
        strings_density=in_sentence(top or ""),
    )
