"""Compare several recipes over several seeds on one data set, in a table that is resumable row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from chartae import runs
from chartae.data import Reading
from chartae.data.kinds import Kind
from chartae.evaluation.base import Evaluator, Measuring, evaluator_for
from chartae.evaluation.entry import evaluate, samples_codes
from chartae.grammar import CODECS, Grammar, codec_for
from chartae.recipes import RECIPES, options
from chartae.records import manifest
from chartae.records.comparison import ComparedRecipe, ComparedRun, Comparison, Spread
from chartae.records.files import Damaged, check_folder, quoted
from chartae.records.parsing import Value
from chartae.records.replacing import NEW
from chartae.records.results import Results
from chartae.records.run_folder import WEIGHTS, weights_digest
from chartae.records.settings import Settings
from chartae.runs import Request
from chartae.runs.folder import content, held, settings_in
from chartae.samplers import by_name
from chartae.training import Training, checkpoint
from chartae.training.augmentation import augmentation_name
from chartae.training.settings import lists_fields

__all__ = ["Comparing", "Comparison", "compare", "spread"]

#: settings in which a finished run may differ from the run that is requested now
MOVABLE = ("data", "root", "version", "objective", "notes", "threads", "densities", "start")


@dataclass(frozen=True)
class Comparing:
    """Settings that all rows of a comparison share.

    Attributes:
        seeds: seeds of training and sampling, one row for each recipe and seed; default (0,).
        densities: names of the densities that are sampled; default prior, normal and gmm. A recipe without densities of
            its codes is sampled by its own prior or sampler.
        measuring: settings for comparing sets.
        request: settings of the fits, except the recipes' own options.
        overwrite: whether to train and evaluate finished rows again; default False.
        say: function that is called with a line of text before each row; the default does nothing.

    >>> from chartae.evaluation import Comparing
    >>> comparing = Comparing.of({"seeds": (0, 1), "epochs": 3, "n": 500})
    >>> comparing.seeds, comparing.request.training.epochs, comparing.measuring.n
    ((0, 1), 3, 500)
    """

    seeds: Sequence[int] = (0,)
    densities: Sequence[str] = ("prior", "normal", "gmm")
    measuring: Measuring = field(default_factory=Measuring)
    request: Request = field(default_factory=Request)
    overwrite: bool = False
    say: Callable[[str], None] = lambda text: None

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Comparing:
        """Build the settings from the keywords of `compare`.

        Args:
            keywords: fields of this class, of `Measuring`, of `Request`, of `Training` and of `Reading`.

        Raises:
            TypeError: a keyword is unknown.
        """
        parts = {owner: _fields(owner) for owner in (Measuring, Training, Reading, Request, cls)}
        values: dict[type, dict[str, Any]] = {owner: {} for owner in parts}
        for name, value in keywords.items():
            owner = next((owner for owner, names in parts.items() if name in names), None)
            if owner is None:
                known = ", ".join(sorted({name for names in parts.values() for name in names}))
                raise TypeError(
                    f"compare has no keyword {name!r}; choose from {known}, or pass a recipe's own options as options"
                )
            values[owner][name] = value
        device = values[Training].get("device") or "cpu"
        request = Request(**values[Request], training=Training(**values[Training]), reading=Reading(**values[Reading]))
        return cls(**values[cls], measuring=Measuring(**values[Measuring], device=device), request=request)


#: fields that are not keywords of `compare`
HELD = {
    Measuring: ("device",),
    Training: ("seed",),
    Reading: ("optional", "shape"),
    Request: (
        "training",
        "reading",
        "options",
        "out",
        "overwrite",
        "resume",
        "init",
        "densities",
        "to",
        "weight",
        "on_epoch",
    ),
    Comparing: ("measuring", "request"),
}


def _fields(owner: type) -> list[str]:
    return [f.name for f in fields(owner) if f.name not in HELD.get(owner, ())]


@lists_fields(Reading, *HELD[Reading])
@lists_fields(Request, *HELD[Request])
@lists_fields(Training, *HELD[Training])
@lists_fields(Measuring, *HELD[Measuring])
@lists_fields(Comparing, *HELD[Comparing])
def compare(
    data: object, names: Sequence[str], out: str | Path, *, options: Mapping[str, object] | None = None, **keywords: Any
) -> Comparison:
    """Train and evaluate recipes over seeds, and tabulate the results; finished rows in `out` are kept.

    A row is finished if its run has the settings of this comparison, and its results are of this evaluation. A run
    whose results are of another one, such as of another `n`, is evaluated again.

    There is one row for each recipe and seed, and all rows use the same data. If strings are read by a `grammar`, a
    string of any row must be in its language to be valid; recipes with a codec of their own, such as one of characters,
    read strings by that.

    Args:
        data: the data set, in any form that `chartae.fit` accepts.
        names: names of the recipes.
        out: folder of the comparison. It holds a run folder ``RECIPE/seed-K`` for each row, and `comparison.json`,
            which is written after every row.
        options: the recipes' own keywords, such as ``{"beta": 0.01}``; each is passed to the recipes that have it. None
            (default) for none.
        seeds: seeds of training and sampling; default (0,).
        densities: names of the densities that are sampled; default prior, normal and gmm. A recipe without densities of
            its codes is sampled by its own prior or sampler.
        overwrite: whether to train and evaluate finished rows again; default False.
        say: function that is called with a line of text before each row; the default does nothing.
        extractor: for images, tables and points: a feature extractor, or its name in `chartae.metrics.NAMES`; None
            (default) chooses by the data set.
        weights: file of the weights of ``"inception"``; None (default) otherwise.
        language: for strings: language in which a string must be to be valid; None (default) for the grammar's, or else
            the codec's own.
        n: number of examples in each compared set, >= 20; default 10,000.
        latent_dim: number of code dimensions, >= 1; None (default) for each recipe's default.
        net: architecture of encoder and decoder; ``"auto"`` (default) chooses by the data.
        components: number of components of the mixture ``"gmm"``, >= 1; None (default) for 10, or for a number chosen
            by held-out likelihood if there are few rows (`chartae.densities.GaussianMixture`).
        condition: ``"labels"``, names of columns, or values, one row for each example; None (default) for nothing.
        root: folder of named data sets; None (default) for the environment variable ``CHARTAE_DATA``, or else a cache
            folder.
        progress: whether to show progress; None (default) shows it on a terminal only.
        epochs: number of passes over the training data, >= 1; default 10.
        batch_size: number of examples in a batch, >= 1; default 128.
        lr: learning rate, > 0; None (default) for each recipe's own.
        optimizer: ``"adam"`` (default), ``"adamw"``, ``"sgd"``, or a function from parameters to an optimiser.
        precision: ``"fp32"`` (default), ``"bf16"``, or ``"fp16"``, which needs a GPU.
        clip: largest gradient norm over a player's parameters, > 0; None (default) for no limit.
        plateau: (factor, patience) of the plateau schedule of the learning rate; None (default) for the objective's
            choice, False for none.
        cosine: whether the learning rate decays to zero along half a cosine; None (default) for the objective's choice.
        patience: number of epochs without a better validation loss after which training stops; None (default) for no
            early stopping.
        ema: decay of an exponential moving average of the weights, in (0, 1); None (default) for the objective's
            choice, 0 for no average.
        device: device as PyTorch names it, such as ``"cpu"``; None (default) uses a GPU if there is one.
        compile: whether to compile the objective with `torch.compile`; default False.
        checkpoint_every: number of epochs between checkpoints, >= 1; None (default) for as many as keep the time of
            writing below a sixtieth of the training.
        augment: random changes of the training pictures: ``"flip"``, ``"crop"``, ``"rotate"``, or several, separated by
            commas; or a function of a batch. None (default) for none.
        grammar: for strings: name or file of a grammar, or another codec.
        limit: for strings: use only the first `limit`; >= 1.
        column: for strings in a table: name of the column that holds them.
        target: for strings: a property of each, or the name of its column.
        errors: for strings: ``"raise"`` (default) or ``"skip"``, which leaves out strings that cannot be encoded.
        longest: for strings: largest number of indices of a string, >= 1; longer strings count as those that cannot be
            encoded. None (default) for as many as memory has room for.
        label: for tables: name of the column of labels; ``""`` for none.
        drop: for tables: names of columns to leave out, or one name.
        header: for tables and strings in files: whether the first row holds the names of the columns.
        weight: for tables: name of the column that holds the weight of each row.
        header: for tables and strings in files: whether the first row holds the names of the columns.
        size: for images: side in pixels to which the centre of each image is resized, or (height, width).
        background: for images with transparency: ``"white"``, ``"black"``, or ``"alpha"`` to keep it as a channel.
        channels_last: for arrays of images (n, h, w, c): whether the last axis holds the channels.
        white: for images of whole numbers: the level that is white.

    Returns:
        The comparison, which is also in `comparison.json`.

    Raises:
        ValueError, TypeError: a recipe is unknown, does not read these data or translates; an option is one that none
            of the recipes has; a keyword is unknown; rows in `out` have other settings, or a damaged file.
        FileExistsError: `out` is a file, or a folder that is not empty and holds no comparison.

    >>> import tempfile
    >>> import torch
    >>> import chartae as ch
    >>> from chartae.evaluation import compare
    >>> data = ch.data.from_arrays(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     comparison = compare(data, ["ae", "vae"], folder, densities=["normal"], epochs=1, latent_dim=2,
    ...                          progress=False)
    >>> comparison.metric, [row.recipe for row in comparison.rows]
    ('frechet-pixels', ['ae', 'vae'])
    """
    comparing, recipe_options = Comparing.of(keywords), dict(options or {})
    plan = Plan(data, tuple(names), Path(out), comparing, recipe_options)
    with held(plan.out):
        plan.check()
        # comparison.json stays as it is until there is a row to write
        comparison = plan.empty()
        for seed in comparing.seeds:
            for name in names:
                rows = (*comparison.rows, plan.row(name, seed))
                comparison = summarised(replace(comparison, rows=rows), names)
                comparison.write(plan.out)
    return comparison


def summarised(comparison: Comparison, names: Sequence[str]) -> Comparison:
    """The comparison with the mean and standard deviation over seeds, for each recipe and column."""
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
    """Mean and standard deviation of the values that are not None; None if there are none."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    return Spread(mean(numbers), stdev(numbers) if len(numbers) > 1 else None)


def spread(value: Spread | None) -> str:
    """Format a mean and standard deviation over seeds, for tables.

    Args:
        value: mean and standard deviation; None if there are no values.

    Returns:
        ``"mean ± sd"`` with two decimals; only the mean for a single seed, and a dash if there is none.

    >>> from chartae.evaluation import spread
    >>> from chartae.records.comparison import Spread
    >>> spread(Spread(12.25, 0.5)), spread(Spread(12.25)), spread(None)
    ('12.25 ± 0.50', '12.25', '-')
    """
    return "-" if value is None else str(value)


@dataclass(frozen=True)
class PlannedRecipe:
    """What the rows of a recipe share.

    Attributes:
        settings: settings of the run of the first seed.
        evaluator: evaluator of the runs.
        densities: names of the densities that are sampled; None for the recipe's own density or sampler.
        own: name of the recipe's own density or sampler.
    """

    settings: Settings
    evaluator: Evaluator
    densities: tuple[str, ...] | None
    own: str

    @property
    def sampled(self) -> tuple[str, ...]:
        """Names of the densities or samplers that are sampled."""
        return (self.own,) if self.densities is None else self.densities


@dataclass(frozen=True)
class Plan:
    """A comparison to be trained and evaluated.

    Attributes:
        data: the data set, in the form that was passed to `compare`.
        names: names of the recipes.
        out: folder of the comparison.
        comparing: settings that all rows share.
        options: the recipes' own keywords.
    """

    data: object
    names: tuple[str, ...]
    out: Path
    comparing: Comparing
    options: Mapping[str, object]

    def check(self) -> None:
        """Raise for any invalid argument, before the first row is trained."""
        names, seeds, out = self.names, self.comparing.seeds, self.out
        if not names or not seeds:
            raise ValueError(
                f"there are {len(names)} recipes and {len(seeds)} seeds; give at least one recipe and one seed"
            )
        if len(set(names)) < len(names) or len(set(seeds)) < len(seeds):
            raise ValueError(f"recipes {' '.join(names)} and seeds {list(seeds)} must not repeat; give each one once")
        known = {name: options(name) for name in names}
        if unknown := [key for key in self.options if not any(key in has for has in known.values())]:
            raise ValueError(
                f"none of these recipes has an option {', '.join(unknown)}; expected options of {', '.join(names)}. "
                "Leave it out"
            )
        check_folder(out, "a folder for the comparison")
        if content(out) and not (out / "comparison.json").is_file() and not self._is_begun():
            raise FileExistsError(f"{out} is not empty and holds no comparison; choose a new folder")
        for planned in self.rows.values():
            planned.evaluator.check_same(self.reference)
            for seed in seeds:
                self._check_row(planned.settings, seed)

    @cached_property
    def rows(self) -> dict[str, PlannedRecipe]:
        """What the rows of each recipe share; recipes that read the data in the same way share an evaluator.

        Raises for a recipe or option that does not suit the data.
        """
        measuring = replace(self.comparing.measuring, language=self._language())
        by_kind: dict[Kind, Evaluator] = {}
        rows, densities = {}, tuple(self.comparing.densities)
        for name in self.names:
            fitting = runs.prepared(name, self.data, self.request(name, self.comparing.seeds[0]))
            kind = fitting.data.kind
            if kind not in by_kind:
                by_kind[kind] = evaluator_for(fitting.data, measuring)
            own, model = RECIPES[name].density, fitting.built.objective.model
            sampled = densities if samples_codes(own, model) else None
            rows[name] = PlannedRecipe(fitting.settings, by_kind[kind], sampled, own)
        return rows

    @property
    def reference(self) -> Evaluator:
        """The evaluator of the first recipe, whose protocol describes the comparison."""
        return self.rows[self.names[0]].evaluator

    def _language(self) -> str | Path | Grammar | None:
        """The language in which strings must be: the one that was requested, or that of the grammar that reads them."""
        language, grammar = self.comparing.measuring.language, self.comparing.request.reading.grammar
        if language is not None or grammar is None:
            return language
        codec = codec_for(grammar, [])
        return codec if isinstance(codec, Grammar) else None

    def request(self, name: str, seed: int) -> Request:
        """The settings of the fit of a row."""
        request, recipe_options = self.comparing.request, options(name)
        reading = request.reading
        if RECIPES[name].grammar and reading.grammar not in CODECS:
            reading = replace(reading, grammar=None)  # the recipe brings its own codec
        chosen = {key: value for key, value in self.options.items() if key in recipe_options}
        training = replace(request.training, seed=seed)
        return replace(request, reading=reading, training=training, options=chosen)

    def empty(self) -> Comparison:
        """The comparison before its first row."""
        evaluator, comparing = self.reference, self.comparing
        training = comparing.request.training
        settings: dict[str, Value] = {
            "epochs": training.epochs, "batch_size": training.batch_size, "net": comparing.request.net,
            "latent_dim": comparing.request.latent_dim, "precision": training.precision,
            **({"augment": augmentation_name(training.augment)} if training.augment else {}),
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

    def _folder(self, name: str, seed: int) -> Path:
        """The folder of a row.

        Raises:
            Damaged: it, or the one above, is a link, which could lead out of the comparison's folder.
        """
        folder = self.out / name / f"seed-{seed}"
        for path in (folder.parent, folder):
            if path.is_symlink():
                raise Damaged(
                    f"{path} is a link; expected a folder of the comparison. Delete it, or choose another out"
                )
        return folder

    def _is_begun(self) -> bool:
        """Whether a folder without comparison.json is that of a comparison all the same.

        It is if this comparison was interrupted in its first row, so that there is nothing but rows; if it holds a run
        of this comparison; or if its manifest lists a comparison.json, which was deleted.
        """
        if set(content(self.out)) <= {*self.names, manifest.NAME}:
            return True
        folders = (self._folder(name, seed) for name in self.names for seed in self.comparing.seeds)
        return any((folder / "run.toml").is_file() for folder in folders) or (
            "comparison.json" in (manifest.listed(self.out) or ())
        )

    def _check_row(self, settings: Settings, seed: int) -> None:
        """Raise ValueError if a row has been trained with other settings, and is not to be replaced."""
        folder = self._folder(settings.recipe, seed)
        if not self.comparing.overwrite:
            with _recoverable(folder):
                _check_same_settings(folder, replace(settings, seed=seed))

    def row(self, name: str, seed: int) -> ComparedRun:
        """The row of a recipe and seed: read if it is finished, otherwise trained or resumed, and evaluated."""
        folder, planned = self._folder(name, seed), self.rows[name]
        with _recoverable(folder):
            results = None if self.comparing.overwrite else _finished(folder)
            changed = None if results is None else _other_evaluation(results, planned, seed)
            if results is None or changed is not None:
                results = self._evaluated(name, seed, changed)
            else:
                self.comparing.say(f"{name}, seed {seed}: finished already")
        return ComparedRun(
            name, seed, folder, results.sets, results.reconstruction, results.training.seconds, results.own
        )

    def _evaluated(self, name: str, seed: int, changed: tuple[str, object, object] | None) -> Results:
        """Train or resume the run of a row, and evaluate it.

        Args:
            name: name of the recipe.
            seed: seed of the row.
            changed: in what the results of a finished run differ from this evaluation; None without such results.
        """
        folder, planned = self._folder(name, seed), self.rows[name]
        overwrite = self.comparing.overwrite and (folder / "run.toml").is_file()
        if changed is not None:
            entry, new, old = changed
            how = f"evaluating again, as {entry} is {quoted(old)} in its results and {quoted(new)} in this comparison"
        else:
            how = "resuming" if not overwrite and checkpoint.exists(folder) else "training"
        self.comparing.say(f"{name}, seed {seed}: {how}")
        request = replace(self.request(name, seed), out=folder, resume=not overwrite, overwrite=overwrite)
        run = runs.fit_request(name, self.data, request)
        evaluator = planned.evaluator
        return evaluate(run, evaluator.data, evaluator=evaluator, densities=planned.densities, seed=seed)


@contextmanager
def _recoverable(folder: Path) -> Iterator[None]:
    """Add to an error about a damaged file of a row how the row is trained again."""
    try:
        yield
    except Damaged as error:
        if str(folder) not in str(error):
            raise
        raise Damaged(f"{error}. To train this run again, delete {folder} and repeat the command") from error


def _finished(folder: Path) -> Results | None:
    """The results of the run in a folder, if they are of its weights; None if it has still to be evaluated.

    An evaluation that was killed before its last file has to be repeated.
    """
    if not (folder / "results.json").is_file() or manifest.changes(folder, "results.json"):
        return None
    manifest.verify(folder, "results.json")
    results = Results.read(folder / "results.json")
    return results if results.belongs_to(weights_digest(folder)) else None


def _other_evaluation(results: Results, planned: PlannedRecipe, seed: int) -> tuple[str, object, object] | None:
    """The first entry in which results are of another evaluation than that of a comparison; None if they are of it.

    Returns:
        Name of the entry, its value in the comparison, and that in the results.
    """
    evaluator, former = planned.evaluator, results.protocol
    protocol = dict(evaluator.protocol())
    protocol.pop("samples", None)  # depends on the run, and not on how it is evaluated
    evaluated = {*results.densities, *(name for name in results.sets if name in by_name.NAMES)}
    entries: list[tuple[str, object, object]] = [
        ("seed", seed, former.get("seed")),
        ("metric", evaluator.metric, results.metric),
        ("densities", sorted({*planned.sampled}), sorted(evaluated)),
        *((key, value, former.get(key)) for key, value in protocol.items()),
    ]
    # as JSON holds them: a tuple is a list, and NaN equals itself
    text = partial(json.dumps, sort_keys=True)
    return next((entry for entry in entries if text(entry[1]) != text(entry[2])), None)


def _check_same_settings(folder: Path, settings: Settings) -> None:
    """Raise ValueError if the run in a folder was trained with other settings than these."""
    new, has_results, state = folder / NEW, (folder / "results.json").is_file(), "finished"
    if not has_results and not new.is_symlink() and checkpoint.exists(new) and (new / "run.toml").is_file():
        folder, state = new, "interrupted"  # the replacement is what is resumed
    elif not has_results and not (folder / WEIGHTS).is_file():
        return  # a training that is resumed checks its settings
    if not (folder / "run.toml").is_file():
        raise Damaged(f"{folder / 'run.toml'} is missing; expected the settings of the run in {folder}")
    former = settings_in(folder)
    changed = settings.changed(former, MOVABLE)
    components, others = (s.densities.get("components") for s in (settings, former))
    if changed is None and components != others:
        changed = "components", components, others
    if changed is not None:
        name, value, other = changed
        raise ValueError(
            f"{name} is {value!r}; expected {other!r}, as in the {state} run in {folder}. Choose a new folder, set "
            "overwrite, or delete that run's folder to train it again"
        )
