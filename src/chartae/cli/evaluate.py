"""`chartae evaluate`, `compare`, `score` and `diagnose`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from chartae.cli.verb import TrainingFlags, Verb, say
from chartae.records.training import Training

if TYPE_CHECKING:
    from chartae.evaluation import Comparison, Diagnosis
    from chartae.evaluation.score import ScoreLevel
    from chartae.records.results import Results

__all__ = ["Compare", "Diagnose", "Evaluate", "Score"]


# -- one run ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluate(Verb):
    """Evaluate a run: reconstructions, samples of each density and interpolations against the test set."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    json: Annotated[bool, arg(help="print the results as JSON")] = False
    densities: Annotated[
        tuple[str, ...], arg(help="which densities; by default the prior and all that are fitted")
    ] = ()
    n: Annotated[int, arg(help="examples in every compared set")] = 10_000
    extractor: Annotated[str | None, arg(help="lenet-mnist, lenet-fashion, pixels or inception")] = None
    weights: Annotated[Path | None, arg(help="file of Inception's weights")] = None
    language: Annotated[str | None, arg(help="for strings: the grammar by which a string is valid; or molecules")] = (
        None
    )
    seed: Annotated[int, arg(help="of samples and pairs")] = 0
    device: Annotated[str, arg(help="cpu, or cuda")] = "cpu"
    data_root: Annotated[Path | None, arg(help="folder of named data sets")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.evaluation import evaluate

        results = evaluate(
            runs.load(self.run_folder, device=self.device),
            densities=self.densities or None,
            n=self.n,
            extractor=self.extractor,
            weights=self.weights,
            seed=self.seed,
            root=self.data_root,
            language=self.language,
        )
        if self.json:
            print(json.dumps(results.to_dict(), indent=1))
            return
        TABLES.get(results.metric, _of_sets)(str(self.run_folder), results)


def _of_sets(title: str, results: Results) -> None:
    """A row a set, a column a metric: sets that are compared in a feature space."""
    n = results.protocol.get("n")
    table = Table(title=f"{title}: {results.metric} (lower is better)" + (f", n = {n}" if n else ""))
    metrics = ("frechet", "kid", "precision", "recall", "density", "coverage")
    for column in ("set", *metrics):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, scores in results.sets.items():
        table.add_row(name, *(_number(scores.get(metric)) for metric in metrics))
    console = Console()
    console.print(table)
    for part in ("reconstruction", "classes", "clusters", "code"):
        _line(console, part, results.get(part) or {})


def _of_strings(title: str, results: Results) -> None:
    """A row a metric, a column a density: new strings."""
    protocol = results.protocol
    table = Table(title=f"{title}: new strings ({protocol.get('valid')} are valid), n = {protocol.get('n')}")
    table.add_column("")
    for name in results.sets:
        table.add_column(name, justify="right")
    for metric, value in results.sets["floor"].items():
        if value is not None:
            values = (_number(scores.get(metric)) for scores in results.sets.values())
            table.add_row(metric.replace("_", " "), *values)
    console = Console()
    console.print(table)
    _line(console, "reconstruction", results.reconstruction)
    console.print("floor: as many test strings", highlight=False)


#: how results are printed: by their metric; `_of_sets` otherwise
TABLES: Mapping[str, Callable[[str, Results], None]] = {"strings": _of_strings}


def _line(console: Console, name: str, scores: Mapping[str, float | None]) -> None:
    values = "  ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in scores.items() if value is not None)
    if values:
        console.print(f"{name}: {values}", highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


# -- its score and geometry -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score(Verb):
    """What a run says of the density: its score's errors where the truth is known, field and local dimension."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    sigma: Annotated[float | None, arg(help="one noise level of a noise-conditional model; by default five")] = None
    n: Annotated[int, arg(help="test points, at most")] = 5000
    json: Annotated[bool, arg(help="print the results as JSON")] = False
    seed: Annotated[int, arg(help="of noise and proposals")] = 0
    data_root: Annotated[Path | None, arg(help="folder of named data sets")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.evaluation import evaluate_score

        results = evaluate_score(
            runs.load(self.run_folder), sigma=self.sigma, n=self.n, seed=self.seed, root=self.data_root
        )
        if self.json:
            print(json.dumps(results, indent=1))
            return
        title = f"{self.run_folder}: the score on {results['points']} test points of {results['data']}"
        Console().print(_levels_table(title, results["levels"]))
        say(f"score.json and pictures are in {self.run_folder}")


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


def _levels_table(title: str, levels: Sequence[ScoreLevel]) -> Table:
    caption = (
        "denoise: mean |r(x + e) - x|^2 / (d sigma^2), 1 for r(x) = x. L2, cosine, Hessian, log p: errors against "
        "the density smoothed by sigma; raw: against the density itself. dim: mean local dimension."
    )
    table = Table(title=title, caption=caption)
    columns = {head: value for head, (part, value) in SCORE_COLUMNS.items() if not part or part in levels[0]}
    for head in columns:
        table.add_column(head, justify="right")
    for level in levels:
        table.add_row(*(f"{value(level):.3g}" for value in columns.values()))
    return table


def _mean_index(counts: Sequence[int]) -> float:
    return sum(i * count for i, count in enumerate(counts)) / sum(counts)


@dataclass(frozen=True)
class Diagnose(Verb):
    """What a run has learnt: the decoder's geometry, self-consistency, collapsed dimensions, factors recovered."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[Path | None, arg(help="the page; by default diagnose.html in the run's folder")] = None
    n: Annotated[int, arg(help="test points at which Jacobians are taken, at most")] = 500
    json: Annotated[bool, arg(help="print the results as JSON")] = False
    seed: Annotated[int, arg(help="of the points and draws")] = 0
    data_root: Annotated[Path | None, arg(help="folder of named data sets")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.evaluation import diagnose

        out = self.out or self.run_folder / "diagnose.html"
        results = diagnose(runs.load(self.run_folder), n=self.n, seed=self.seed, root=self.data_root, out=out)
        if self.json:
            print(json.dumps(results, indent=1))
            return
        Console().print(_geometry_table(f"{self.run_folder}: {results['recipe']} on {results['data']}", results))
        for note in results["warnings"]:
            say(note)
        say(f"the page is {out}")


def _geometry_table(title: str, results: Diagnosis) -> Table:
    table = Table(title=title, show_header=False)
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
class Compare(Verb):
    """Train several recipes on one data set: one table, one report. Finished rows are not made again."""

    data: Annotated[Positional[str], arg(help="a data set's name or path")]
    out: Annotated[Path, arg(help="folder for the comparison")]
    recipes: Annotated[tuple[str, ...], arg(help="what to train, by name; by default five")] = ()
    seeds: Annotated[int, arg(help="how many seeds; more than one gives standard deviations")] = 1
    training: TrainingFlags = field(default_factory=Training)
    latent_dim: Annotated[int | None, arg(help="size of the codes; each recipe's default where it is left out")] = None
    net: Annotated[str, arg(help="mlp, conv, residual, paper, or auto")] = "auto"
    condition: Annotated[str | None, arg(help="what to condition on: labels, or columns of a table")] = None
    grammar: Annotated[str | None, arg(help="for strings: a grammar, for the recipes that need one")] = None
    limit: Annotated[int | None, arg(help="use only the first N strings")] = None
    column: Annotated[str | None, arg(help="column of a table that holds the strings")] = None
    language: Annotated[str | None, arg(help="for strings: the grammar by which a string is valid; or molecules")] = (
        None
    )
    components: Annotated[int, arg(help="components of the mixture")] = 10
    n: Annotated[int, arg(help="examples in every compared set")] = 10_000
    extractor: Annotated[str | None, arg(help="lenet-mnist, lenet-fashion, pixels or inception")] = None
    weights: Annotated[Path | None, arg(help="file of Inception's weights")] = None
    data_root: Annotated[Path | None, arg(help="folder of named data sets")] = None
    overwrite: Annotated[bool, arg(help="make every row again")] = False

    takes_options: ClassVar[bool] = True

    def run(self, options: Mapping[str, str]) -> None:
        if self.seeds < 1:
            raise ValueError(f"--seeds is {self.seeds}; give at least 1")
        from chartae.evaluation import compare
        from chartae.recipes import COMPARED

        first, training = self.training.seed, {k: v for k, v in vars(self.training).items() if k != "seed"}
        comparison = compare(
            self.data,
            self.recipes or COMPARED,
            self.out,
            options=options,
            seeds=range(first, first + self.seeds),
            say=say,
            overwrite=self.overwrite,
            extractor=self.extractor,
            weights=self.weights,
            language=self.language,
            n=self.n,
            latent_dim=self.latent_dim,
            net=self.net,
            components=self.components,
            condition=self.condition,
            root=self.data_root,
            progress=True,
            grammar=self.grammar,
            limit=self.limit,
            column=self.column,
            **training,
        )
        _show(comparison, self.out)


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


def _show(comparison: Comparison, out: Path) -> None:
    """Print a comparison's table, and write its report into its folder."""
    from chartae import report
    from chartae.records.results import Scores

    main, floor = comparison.columns["own"], Scores.read(comparison.facts.get("floor"))
    n, seeds = comparison.protocol.get("n"), len({row.seed for row in comparison.rows})
    title = f"{comparison.data}: {comparison.metric}, {main.better} is better; n = {n}, {seeds} seed(s)"
    numbers = ", ".join(f"{metric} {_number(floor.get(metric))}" for metric in main.metrics)
    table = Table(title=title, caption=f"as many real examples: {numbers}")
    table.add_column("recipe")
    columns = {name: head for name, head in HEADS.items() if name in comparison.columns}
    for head in columns.values():
        table.add_column(head, justify="right")
    for row in comparison.summary:
        table.add_row(row.recipe, *(str(row.columns.get(name, "-")) for name in columns))
    Console().print(table)
    say(f"the report is {report.write(out, out / 'report.html')}")
