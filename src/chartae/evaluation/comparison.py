"""Several recipes, several seeds, one data set: a table, row by row, that can be resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from chartae import runs
from chartae.data import Reading
from chartae.data.kinds import Kind
from chartae.evaluation.base import Evaluator, Measuring, evaluator_for
from chartae.evaluation.entry import evaluate, has_densities
from chartae.grammar import CODECS, Grammar, codec_for
from chartae.recipes import RECIPES, options
from chartae.records import manifest
from chartae.records.comparison import ComparedRecipe, ComparedRun, Comparison, Spread
from chartae.records.parsing import Value
from chartae.records.results import Results
from chartae.records.settings import Settings
from chartae.runs import Request
from chartae.training import Training
from chartae.training.settings import lists_fields

__all__ = ["Comparing", "Comparison", "compare", "spread"]

#: what may differ between a run that is there and the same run now
MOVABLE = ("data", "root", "version", "objective", "limit", "column", "errors", "target")


@dataclass(frozen=True)
class Comparing:
    """What is the same for all rows of a comparison.

    Attributes:
        seeds: of training and of sampling; a row for each recipe and seed.
        densities: what codes are sampled by; a model whose codes no density is fitted to is sampled by its own prior or
            sampler.
        measuring: how sets are compared.
        request: everything that a fit is asked for, but for the recipe's own options.
        overwrite: make every row again.
        say: called with a line of text before each row.
    """

    seeds: Sequence[int] = (0,)
    densities: Sequence[str] = ("prior", "normal", "gmm")
    measuring: Measuring = field(default_factory=Measuring)
    request: Request = field(default_factory=Request)
    overwrite: bool = False
    say: Callable[[str], None] = lambda text: None

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Comparing:
        """From the keywords of `compare`: the fields of this class and of what it holds.

        Raises:
            TypeError: an unknown keyword.
        """
        parts = {owner: _fields(owner) for owner in (Measuring, Training, Reading, Request, cls)}
        values: dict[type, dict[str, Any]] = {owner: {} for owner in parts}
        for name, value in keywords.items():
            owner = next((owner for owner, names in parts.items() if name in names), None)
            if owner is None:
                known = ", ".join(sorted({name for names in parts.values() for name in names}))
                raise TypeError(
                    f"compare has no keyword {name!r}; a recipe's own options go into options; it has {known}"
                )
            values[owner][name] = value
        device = values[Training].get("device") or "cpu"
        request = Request(**values[Request], training=Training(**values[Training]), reading=Reading(**values[Reading]))
        return cls(**values[cls], measuring=Measuring(**values[Measuring], device=device), request=request)


#: fields that are no keywords of `compare`
HELD = {
    Measuring: ("device",),
    Training: ("seed",),
    Request: ("training", "reading", "options", "out", "overwrite", "resume", "densities", "to"),
    Comparing: ("measuring", "request"),
}


def _fields(owner: type) -> list[str]:
    return [f.name for f in fields(owner) if f.name not in HELD.get(owner, ())]


@lists_fields(Reading)
@lists_fields(Request, *HELD[Request])
@lists_fields(Training, *HELD[Training])
@lists_fields(Measuring, *HELD[Measuring])
@lists_fields(Comparing, *HELD[Comparing])
def compare(
    data: object, names: Sequence[str], out: str | Path, *, options: Mapping[str, object] | None = None, **keywords: Any
) -> Comparison:
    """Train, evaluate and tabulate `names` x `seeds`; a row that lies finished in `out` is not made again.

    Every row reads the same data. A recipe with a codec of its own, such as characters, reads strings by that, all
    others by the `grammar`, in whose language the strings of every row must then be to be valid.

    Args:
        data: the data set: whatever `chartae.fit` takes.
        names: recipes.
        out: the folder of the comparison: a run a recipe and seed in ``RECIPE/seed-K``, and `comparison.json`, which
            is written after every row.
        options: recipes' own keywords; each goes to the recipes that have it.
        keywords: the fields of `Comparing` (`seeds`, `densities`, `overwrite`, `say`), of `Measuring` (`extractor`,
            `weights`, `language`, `n`), and what `chartae.fit` takes for every row: `latent_dim`, `net`, `components`,
            `condition`, `root`, `progress`, the fields of `chartae.training.Training` (`epochs`, `batch_size`, `lr`,
            ...) and of `chartae.data.Reading` (`grammar`, `limit`, `column`, ...).

    Returns:
        The comparison, as it lies in `comparison.json`.

    Raises:
        ValueError, TypeError: an unknown recipe; a recipe that does not read these data, or that translates; an option
            that none of the recipes has; an unknown keyword; rows in `out` of other settings.
        FileExistsError: `out` is no folder of a comparison.
    """
    comparing, own = Comparing.of(keywords), dict(options or {})
    plan = Plan(data, tuple(names), Path(out), comparing, own)
    plan.check()
    if comparing.overwrite:
        for name in names:
            shutil.rmtree(plan.out / name, ignore_errors=True)
    comparison = plan.empty()
    comparison.write(plan.out)
    for seed in comparing.seeds:
        for name in names:
            rows = (*comparison.rows, plan.row(name, seed))
            comparison = summarised(replace(comparison, rows=rows), names)
            comparison.write(plan.out)
    return comparison


def summarised(comparison: Comparison, names: Sequence[str]) -> Comparison:
    """The comparison, with the mean and standard deviation over seeds of each recipe and column."""
    summary = []
    for name in names:
        rows = [row for row in comparison.rows if row.recipe == name]
        sets = [key for row in rows for key in row.sets if key != "floor"]
        columns = dict.fromkeys([*comparison.columns, *sets])
        spreads = {c: _spread([row.value(comparison.column(c)) for row in rows]) for c in columns}
        if rows:
            numbers = {c: value for c, value in spreads.items() if value is not None}
            summary.append(ComparedRecipe(name, rows[0].own, len(rows), numbers))
    return replace(comparison, summary=tuple(summary))


def _spread(values: Sequence[float | None]) -> Spread | None:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    return Spread(mean(numbers), stdev(numbers) if len(numbers) > 1 else None)


def spread(value: Spread | None) -> str:
    """`mean ± sd`, or the mean alone; a dash where there is none."""
    return "-" if value is None else str(value)


@dataclass(frozen=True)
class Plan:
    """What is trained and measured, and where it lies.

    Attributes:
        data: the data set, as it was given.
        names: of the recipes.
        out: the folder of the comparison.
        comparing: what is the same for all rows.
        options: recipes' own keywords.
    """

    data: object
    names: tuple[str, ...]
    out: Path
    comparing: Comparing
    options: Mapping[str, object]

    def check(self) -> None:
        """Raise for everything that can be wrong, before the first row is trained."""
        names, seeds, out = self.names, self.comparing.seeds, self.out
        if not names or not seeds:
            raise ValueError("a comparison needs at least one recipe and one seed")
        if len(set(names)) < len(names) or len(set(seeds)) < len(seeds):
            raise ValueError(f"recipes {' '.join(names)} and seeds {list(seeds)} must not repeat")
        known = {name: options(name) for name in names}
        if homeless := [key for key in self.options if not any(key in has for has in known.values())]:
            raise ValueError(f"none of these recipes has an option {', '.join(homeless)}")
        if out.exists() and not out.is_dir():
            raise FileExistsError(f"{out} is a file; a comparison needs a folder")
        if out.is_dir() and any(out.iterdir()) and not (out / "comparison.json").is_file():
            raise FileExistsError(f"{out} is not empty and holds no comparison; choose a new folder")
        for _, evaluator in self.rows.values():
            evaluator.check_same(self.reference)

    @cached_property
    def rows(self) -> dict[str, tuple[Settings, Evaluator]]:
        """What the runs of each recipe are made with, and the evaluator, one for all that read the data alike.

        What is wrong with a recipe shows here.
        """
        measuring = replace(self.comparing.measuring, language=self._language())
        by_kind: dict[Kind, Evaluator] = {}
        rows = {}
        for name in self.names:
            fitting = runs.prepared(name, self.data, self.request(name, self.comparing.seeds[0]))
            kind = fitting.data.kind
            if kind not in by_kind:
                by_kind[kind] = evaluator_for(fitting.data, measuring)
            rows[name] = fitting.settings, by_kind[kind]
        return rows

    @property
    def reference(self) -> Evaluator:
        """The evaluator of the first recipe, by whose protocol the comparison is described."""
        return self.rows[self.names[0]][1]

    def _language(self) -> str | Path | Grammar | None:
        """What strings must be to be valid: what was asked for, or the grammar that they are read by."""
        asked, grammar = self.comparing.measuring.language, self.comparing.request.reading.grammar
        if asked is not None or grammar is None:
            return asked
        codec = codec_for(grammar, [])
        return codec if isinstance(codec, Grammar) else None

    def request(self, name: str, seed: int) -> Request:
        """What the fit of a row is asked for."""
        request, has = self.comparing.request, options(name)
        reading = request.reading
        if RECIPES[name].grammar and reading.grammar not in CODECS:
            reading = replace(reading, grammar=None)  # the recipe has a codec of its own
        chosen = {key: value for key, value in self.options.items() if key in has}
        training = replace(request.training, seed=seed)
        return replace(request, reading=reading, training=training, options=chosen)

    def empty(self) -> Comparison:
        """The comparison before its first row."""
        evaluator, comparing = self.reference, self.comparing
        training = comparing.request.training
        settings: dict[str, Value] = {
            "epochs": training.epochs, "batch_size": training.batch_size, "net": comparing.request.net,
            "latent_dim": comparing.request.latent_dim, "precision": training.precision,
        }  # fmt: skip
        facts: dict[str, Value] = {
            "data": evaluator.data.name,
            "metric": evaluator.compared,
            "recipes": list(self.names),
            "seeds": list(comparing.seeds),
            "floor": evaluator.floor.to_dict(),
            "settings": {name: value for name, value in settings.items() if value is not None},
        }
        columns = evaluator.columns(comparing.densities)
        return Comparison(evaluator.data.name, evaluator.compared, evaluator.protocol(), columns=columns, facts=facts)

    def row(self, name: str, seed: int) -> ComparedRun:
        """A row: read where it is finished, resumed where it is not."""
        folder, say = self.out / name / f"seed-{seed}", self.comparing.say
        settings, evaluator = self.rows[name]
        if (folder / "results.json").is_file():
            _check_same_settings(folder, replace(settings, seed=seed))
            manifest.verify(folder, "results.json")
            results = Results.read(folder / "results.json")
            say(f"{name}, seed {seed}: there already")
        else:
            resume = (folder / "checkpoint.safetensors").is_file()
            say(f"{name}, seed {seed}: {'going on' if resume else 'training'}")
            request = replace(self.request(name, seed), out=folder, resume=resume, overwrite=not resume)
            run = runs.fit_request(name, self.data, request)
            densities = self.comparing.densities if has_densities(run) else None
            results = evaluate(run, evaluator.data, evaluator=evaluator, densities=densities, seed=seed)
        return ComparedRun(
            name, seed, folder, results.sets, results.reconstruction, results.training.seconds, results.own
        )


def _check_same_settings(folder: Path, settings: Settings) -> None:
    """Raise ValueError if the run in a folder was made with other settings."""
    former = Settings.read(folder / "run.toml")
    for f in fields(Settings):
        old, new = getattr(former, f.name), getattr(settings, f.name)
        if f.name not in MOVABLE and old != new:
            raise ValueError(
                f"the run in {folder} has {f.name} = {old!r}, not {new!r}; choose a new folder or overwrite"
            )
