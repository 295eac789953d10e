"""`chartae evaluate`, `compare`, `score` and `diagnose`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from chartae.cli.flags import FitDataFlags, MeasuringFlags, ModelFlags, RunDataFlags, RunFolder, Seed, flag
from chartae.cli.printing import cells, console, title
from chartae.cli.recipes import options_help, refuse_unknown
from chartae.cli.verb import Printing, progress, say
from chartae.records.training import Training

if TYPE_CHECKING:
    from chartae.evaluation import Comparison, Diagnosis
    from chartae.evaluation.score import ScoreLevel
    from chartae.records.results import Results

__all__ = ["Compare", "Diagnose", "Evaluate", "RunsFlags", "Score"]


# -- one run ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluate(Printing):
    """Evaluate a run: compare reconstructions, samples of each density and interpolations with the test set."""

    examples: ClassVar[tuple[str, ...]] = (
        "evaluate runs/a",
        "evaluate runs/a --densities prior gmm --n 5000 --check 'sets.gmm.frechet<=30'",
    )

    run_folder: RunFolder
    densities: Annotated[
        tuple[str, ...],
        flag("densities or samplers to draw from; by default the prior and all fitted", "NAME ..."),
    ] = ()
    measuring: MeasuringFlags = field(default_factory=MeasuringFlags)
    data: RunDataFlags = field(default_factory=RunDataFlags)
    seed: Seed = 0
    device: Annotated[str, flag("cpu or cuda", "NAME")] = "cpu"

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.evaluation import evaluate

        results = evaluate(
            runs.load(self.run_folder, device=self.device), self.data.dataset, densities=self.densities or None,
            seed=self.seed, root=self.data.data_root, **vars(self.measuring),
        )  # fmt: skip
        show = TABLES.get(results.metric, _of_sets)
        self.conclude(results.to_dict(), lambda: show(str(self.run_folder), results))


def _of_sets(name: str, results: Results) -> None:
    """A row a set, a column a metric: sets that are compared in a feature space."""
    n = results.protocol.get("n")
    table = Table(title=title(f"{name}: {results.metric} (lower is better)" + (f", n = {n}" if n else "")))
    metrics = ("frechet", "kid", "precision", "recall", "density", "coverage")
    for column in ("set", *metrics):
        table.add_column(column, justify="left" if column == "set" else "right")
    for set_name, scores in results.sets.items():
        table.add_row(*cells(set_name, *(_number(scores.get(metric)) for metric in metrics)))
    stdout = console()
    stdout.print(table)
    for part in ("reconstruction", "classes", "clusters", "code"):
        _line(stdout, part, results.get(part) or {})


def _of_strings(name: str, results: Results) -> None:
    """A row a metric, a column a density: new strings."""
    protocol = results.protocol
    table = Table(title=title(f"{name}: new strings ({protocol.get('valid')} are valid), n = {protocol.get('n')}"))
    table.add_column("")
    for set_name in results.sets:
        table.add_column(*cells(set_name), justify="right")
    for metric, value in results.sets["floor"].items():
        if value is not None:
            values = (_number(scores.get(metric)) for scores in results.sets.values())
            table.add_row(*cells(metric.replace("_", " "), *values))
    stdout = console()
    stdout.print(table)
    _line(stdout, "reconstruction", results.reconstruction)
    stdout.print("floor: as many test strings")


#: how results are printed: by their metric; `_of_sets` otherwise
TABLES: Mapping[str, Callable[[str, Results], None]] = {"strings": _of_strings}


def _line(stdout: Console, name: str, scores: Mapping[str, float | None]) -> None:
    values = "  ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in scores.items() if value is not None)
    if values:
        stdout.print(f"{name}: {values}", highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


# -- its score and geometry -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score(Printing):
    """Evaluate the score that a run estimates: its errors where the truth is known, its field, the local dimension."""

    examples: ClassVar[tuple[str, ...]] = ("score runs/dae", "score runs/ncdae --sigma 0.1 --n 1000 --json")

    run_folder: RunFolder
    sigma: Annotated[
        float | None, flag("noise level, for a noise-conditional model; by default five levels", "SIGMA")
    ] = None
    n: Annotated[int, flag("largest number of test points", "N")] = 5000
    seed: Seed = 0
    data: RunDataFlags = field(default_factory=RunDataFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.evaluation import evaluate_score

        results = evaluate_score(
            runs.load(self.run_folder), self.data.dataset, sigma=self.sigma, n=self.n, seed=self.seed,
            root=self.data.data_root,
        )  # fmt: skip
        name = f"{self.run_folder}: the score on {results['points']} test points of {results['data']}"
        self.conclude(results, lambda: console().print(_levels_table(name, results["levels"])))
        say(f"score.json and the pictures are in {self.run_folder}")


#: head -> (the part of a level that the column needs, if any; its value)
SCORE_COLUMNS: Mapping[str, tuple[str, Callable[[ScoreLevel], float]]] = {
    "sigma": ("", lambda level: level["sigma"]),
    "denoise": ("", lambda level: level["denoising"]),
    "L2": ("smoothed", lambda level: level["smoothed"]["relative_l2"]),
    "cosine": ("smoothed", lambda level: level["smoothed"]["cosine"]),
    "Hessian": ("smoothed", lambda level: level["smoothed"]["hessian_relative"]),
    "log p": ("smoothed", lambda level: level["smoothed"]["log_ratio_rmse"]),
    "L2, raw": ("plain", lambda level: level["plain"]["relative_l2"]),
    "antisym": ("", lambda level: level["antisymmetry"]),
    "dim": ("", lambda level: _mean_index(level["local_dimension"])),
}


def _levels_table(name: str, levels: Sequence[ScoreLevel]) -> Table:
    caption = (
        "denoise: mean |r(x + e) - x|^2 / (d sigma^2), 1 for r(x) = x. L2, cosine, Hessian, log p: errors against "
        "the density smoothed by sigma; raw: against the density itself. dim: mean local dimension."
    )
    table = Table(title=title(name), caption=caption)
    columns = {head: value for head, (part, value) in SCORE_COLUMNS.items() if not part or part in levels[0]}
    for head in columns:
        table.add_column(head, justify="right")
    for level in levels:
        table.add_row(*(f"{value(level):.3g}" for value in columns.values()))
    return table


def _mean_index(counts: Sequence[int]) -> float:
    return sum(i * count for i, count in enumerate(counts)) / sum(counts)


@dataclass(frozen=True)
class Diagnose(Printing):
    """Show what a run has learnt: the decoder's geometry, self-consistency, collapsed dimensions, recovered factors."""

    examples: ClassVar[tuple[str, ...]] = ("diagnose runs/a", "diagnose runs/a --n 200 --out diagnosis.html --json")

    run_folder: RunFolder
    out: Annotated[Path | None, flag("the page; by default diagnose.html in the run's folder", "FILE")] = None
    n: Annotated[int, flag("largest number of test points at which Jacobians are computed", "N")] = 500
    seed: Seed = 0
    data: RunDataFlags = field(default_factory=RunDataFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.evaluation import diagnose

        out = self.out or self.run_folder / "diagnose.html"
        run = runs.load(self.run_folder)
        results = diagnose(run, self.data.dataset, n=self.n, seed=self.seed, root=self.data.data_root, out=out)
        name = f"{self.run_folder}: {results['recipe']} on {results['data']}"
        self.conclude(results, lambda: console().print(_geometry_table(name, results)))
        for note in results["warnings"]:
            say(note)
        say(f"the page is {out}")


def _geometry_table(name: str, results: Diagnosis) -> Table:
    table = Table(title=title(name), show_header=False)
    shape, codes, recovery = results.get("geometry"), results["codes"], results.get("recovery")
    if shape is not None:
        contrasts = f"{_number(shape['contrast'])} ({_number(shape['untrained_contrast'])}) nats"
        table.add_row("IMA contrast (untrained)", contrasts)
        table.add_row("condition number", _number(shape["condition"]))
    table.add_row("active code dimensions", f"{sum(codes['active'])} of {len(codes['active'])}")
    for key, value in results["consistency"].items():
        table.add_row(key.replace("_", " "), _number(value))
    if recovery is not None and "mcc" in recovery:
        numbers = f"{recovery['mcc']:.3f} ({recovery['chance']:.3f}, {recovery['rotation']:.3f})"
        table.add_row("MCC (chance, rotation)", numbers)
    return table


# -- several recipes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunsFlags:
    """What is trained and what is written."""

    out: Annotated[Path, flag("folder for the comparison", "FOLDER")]
    recipes: Annotated[tuple[str, ...], flag("recipes to train; by default ae vae wae rae-l2 rae-gp", "NAME ...")] = ()
    seeds: Annotated[int, flag("number of seeds; two or more give standard deviations", "N")] = 1
    overwrite: Annotated[bool, flag("train every run again")] = False


@dataclass(frozen=True)
class Compare(Printing):
    """Train and evaluate several recipes on one data set: one table, one report. Finished runs are kept."""

    takes_options: ClassVar[bool] = True
    examples: ClassVar[tuple[str, ...]] = (
        "compare fashion-mini --recipes ae vae rae-l2 --epochs 5 --out runs/comparison",
        "compare strings.txt --grammar expressions --recipes grae gvae cvae --seeds 3 --out runs/strings",
    )

    dataset: Annotated[Positional[str], flag("name of a data set (`chartae list data`), or a path", "DATA")]
    output: RunsFlags
    data: FitDataFlags = field(default_factory=FitDataFlags)
    model: ModelFlags = field(default_factory=ModelFlags)
    training: Training = field(default_factory=Training)
    measuring: MeasuringFlags = field(default_factory=MeasuringFlags)

    @classmethod
    def options_help(cls, words: Sequence[str]) -> str:
        return options_help(words)

    def run(self, options: Mapping[str, str]) -> None:
        if self.output.seeds < 1:
            raise ValueError(f"--seeds is {self.output.seeds}; expected at least 1")
        from chartae.evaluation import compare
        from chartae.recipes import COMPARED

        names = self.output.recipes or COMPARED
        refuse_unknown(Compare, names, options)
        first, training = self.training.seed, {k: v for k, v in vars(self.training).items() if k != "seed"}
        comparison = compare(
            self.dataset, names, self.output.out, options=options, seeds=range(first, first + self.output.seeds),
            say=say, overwrite=self.output.overwrite, root=self.data.data_root, progress=progress(),
            condition=self.data.condition, **training, **self.data.reading(), **vars(self.model),
            **vars(self.measuring),
        )  # fmt: skip
        self.conclude(comparison.to_dict(), lambda: console().print(_compared(comparison)))
        from chartae import report

        say(f"the report is {report.write(self.output.out, self.output.out / 'report.html')}")


#: what columns are called at the head of a printed comparison, and which are printed, if they are there
HEADS: Mapping[str, str] = {
    "reconstruction": "rec",
    "own": "N (own)",
    "gmm": "GMM",
    "interpolation-linear": "interpolation",
    "gmm/valid": "GMM valid",
    "gmm/unique": "GMM unique",
    "gmm/novel": "GMM novel",
}


def _compared(comparison: Comparison) -> Table:
    """A row for each recipe, a column for each number."""
    from chartae.records.results import Scores

    main, floor = comparison.columns["own"], Scores.read(comparison.facts.get("floor"))
    n, seeds = comparison.protocol.get("n"), len({row.seed for row in comparison.rows})
    name = f"{comparison.data}: {comparison.metric}, {main.better} is better; n = {n}, {seeds} seed(s)"
    numbers = ", ".join(f"{metric} {_number(floor.get(metric))}" for metric in main.metrics)
    table = Table(title=title(name), caption=f"as many real examples: {numbers}")
    table.add_column("recipe")
    columns = {name: head for name, head in HEADS.items() if name in comparison.columns}
    for head in columns.values():
        table.add_column(head, justify="right")
    for row in comparison.summary:
        table.add_row(*cells(row.recipe, *(row.columns.get(name, "-") for name in columns)))
    return table
