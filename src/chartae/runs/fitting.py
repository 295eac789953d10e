"""Train a recipe on data and fit densities to its codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

from torch import Tensor

from chartae import densities as density_table
from chartae import training as loop
from chartae.conditionals import Empirical
from chartae.data import Batches, Dataset, Origin, Reading, WrongKind, disjoint_halves, origin
from chartae.data import read as read_data
from chartae.densities import Density
from chartae.grammar import Codec
from chartae.maths import as_float, sample_rows
from chartae.objectives import Objective
from chartae.recipes import RECIPES, Built, build, options, recipe_options, recipes_for, setting_for
from chartae.records.settings import Plain, Settings
from chartae.runs.conditioning import conditioned
from chartae.runs.folder import prepare
from chartae.runs.request import Request
from chartae.runs.run import Run, check_codes, fingerprint, writes
from chartae.training import Training

__all__ = ["Prepared", "fit", "fit_request", "prepared"]


def fit(
    recipe: str,
    data: object,
    *,
    latent_dim: int | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    seed: int = 0,
    net: str = "auto",
    lr: float | None = None,
    densities: Sequence[str] | None = None,
    components: int = 10,
    condition: object = None,
    out: str | Path | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    optimizer: str = "adam",
    precision: str = "fp32",
    clip: float | None = None,
    plateau: tuple[float, int] | Literal[False] | None = None,
    cosine: bool | None = None,
    patience: int | None = None,
    ema: float | None = None,
    device: str | None = None,
    compile: bool = False,
    checkpoint_every: int = 1,
    progress: bool | None = None,
    to: object = None,
    grammar: str | Path | Codec | None = None,
    limit: int | None = None,
    column: str | None = None,
    errors: str | None = None,
    target: str | Sequence[float] | None = None,
    **options: object,
) -> Run:
    """Train a recipe on data and fit densities to its codes.

    Args:
        recipe: a name of `chartae.recipes.RECIPES`.
        data: a `Dataset`, the name or path of one, an array or data frame of examples, or a list of strings.
        latent_dim: size of the codes; 16 by default, or the data's own where that is smaller.
        net: `mlp`, `conv`, `residual`, `paper` or `auto`.
        densities: which densities are fitted to the training codes afterwards; `components` of the mixture. By default
            those of the recipe: normal and gmm, and none where it estimates a score.
        condition: what encoder, decoder and density are conditioned on: ``"labels"``, names of columns of a table, or
            values, one row for each example.
        out: a folder for the run. It must be new, unless `overwrite` (its run is removed) or `resume` (its checkpoint
            is resumed, to the same numbers as an uninterrupted run).
        root: where named data lie.
        to: the other domain of a recipe that translates: a `Dataset`, name, path or array. Where both are the same
            pictures, such as mnist and mnist+coloured, each is trained on another half of them: nothing is paired.
        grammar, limit, column, errors, target: how strings are read (`chartae.data.Reading`): a grammar's name or file,
            or another codec; use only the first `limit`; the table's `column`; `errors` "skip" leaves out what cannot
            be encoded; a `target` is read off the code by a head beside the decoder, whose weight is the option
            ``property``, by default 1.
        progress: a progress bar (a line an epoch where there is no terminal); by default only on a terminal.
        epochs, batch_size, seed, lr, optimizer, precision, clip, plateau, cosine, patience, ema, device, compile,
            checkpoint_every: the fields of `chartae.training.Training`.
        options: the recipe's own keywords, such as ``beta=0.01``.

    Returns:
        The run, in memory, and in `out` where that is given.

    Raises:
        ValueError, TypeError: anything wrong with data, names or options, before training starts.

    >>> import torch
    >>> run = fit("rae", torch.randn(64, 3), epochs=1, latent_dim=2, components=2, progress=False)
    >>> run.encode(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """
    settings = Training(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer, precision=precision, clip=clip,
        plateau=plateau, cosine=cosine, patience=patience, ema=ema, seed=seed, device=device, compile=compile,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    reading = Reading(grammar=grammar, limit=limit, column=column, errors=errors, target=target)
    request = Request(
        latent_dim, net, densities, components, to, condition, out, root, overwrite, resume, progress, reading,
        settings, options,
    )  # fmt: skip
    return fit_request(recipe, data, request)


@dataclass(frozen=True)
class Prepared:
    """A fit that was found right, and has not begun.

    Attributes:
        built: the recipe over a fresh model.
        data: the data set; `other`, that of the other domain.
        settings: what the run folder will say.
        batches, valid: what it is trained on, and validated on.
        training: how.
        densities: name -> settings, of what is fitted afterwards.
    """

    built: Built
    data: Dataset
    other: Dataset | None
    settings: Settings
    batches: Batches
    valid: Batches | None
    training: Training
    densities: Mapping[str, Mapping[str, Plain]]


def fit_request(recipe: str, data: object, request: Request) -> Run:
    """`fit`, of a request: checked whole before any work, then trained, written and completed with densities."""
    fitting = prepared(recipe, data, request)
    built, dataset = fitting.built, fitting.data
    writing = request.out is not None and writes()
    folder = None if request.out is None else Path(request.out)
    if folder is not None and writing:
        prepare(folder, fitting.settings, request.overwrite, request.resume)
    history = loop.fit(
        built.objective, fitting.batches, valid=fitting.valid, folder=folder, resume=request.resume,
        progress=request.progress, training=fitting.training,
    )  # fmt: skip
    run = Run(
        fitting.settings, dataset.kind, built.objective.model, built.objective, history.rows, {}, folder, history,
        dataset.skipped, history.best_epoch, dataset.condition,
    )  # fmt: skip
    if not built.objective.comparable and len(dataset.train) >= 10:
        run.ask_of_the_code(dataset)
    if writing:
        run.write()
    run.fit_densities(fitting.densities, dataset)
    return run


def prepared(recipe: str, data: object, request: Request) -> Prepared:
    """Everything that can be wrong between recipe, options, data and settings shows here, before anything is trained.

    Raises:
        ValueError, TypeError: a name, an option, a setting, or data that do not fit.
    """
    record = RECIPES[recipe]
    request.training.check()
    recipe_options(recipe, request.options)  # what is wrong with a name shows before any data are read
    names = record.densities if request.densities is None else tuple(request.densities)
    densities = {name: density_table.accepted(name, components=request.components) for name in names}
    # a data set has been read
    reading = request.reading if isinstance(data, Dataset) else record.reads(request.reading)
    try:
        dataset = conditioned(data, request.condition, record.kinds, request.root, reading)
    except WrongKind as error:
        others = ", ".join(recipes_for(error.kind))
        raise ValueError(f"{error}. Recipe {recipe!r} does not read {error.kind.noun}; use one of {others}") from error
    other = None if request.to is None else _other(request.to, record.kinds, request.root)
    chosen = _options(recipe, request.options, reading, dataset)
    built = _built(recipe, dataset, other, request, chosen)
    objective = built.objective
    if names:
        check_codes(objective, recipe)
    for name, chosen_settings in densities.items():
        _check_size(density_table.make(name, **chosen_settings), name, len(dataset.train))
        if dataset.condition is not None and dataset.train_condition is not None:
            known = dataset.condition
            density_table.ByCondition(
                name, discrete=known.discrete, entries=known.entries, settings=chosen_settings
            ).check(dataset.train_condition)
    if objective.model.encoder.has_category:
        categories = objective.model.prior().category.mean.shape[-1]
        if categories > len(dataset.train):
            raise ValueError(
                f"there are {categories} clusters for {len(dataset.train)} training examples; ask for fewer (clusters)"
            )
    training = replace(request.training, lr=built.lr if request.training.lr is None else request.training.lr)
    settings = settings_of(built, dataset, origin(dataset), training)
    settings = replace(
        settings, limit=reading.limit or 0, column=reading.column or "", errors=reading.errors or "raise",
        target=reading.target if isinstance(reading.target, str) else "",
    )  # fmt: skip
    x, partners, valid_partners = dataset.train, None, None
    if other is not None:
        x, partners, valid_partners, settings = _paired(dataset, other, settings, objective, training.seed)
    batches = _batches(x, dataset, objective, training, partners)
    valid = _validation(dataset, objective, training, valid_partners)
    loop.check(objective, batches, training, valid)
    return Prepared(built, dataset, other, settings, batches, valid, training, densities)


def _options(recipe: str, given: Mapping[str, object], reading: Reading, data: Dataset) -> dict[str, object]:
    """The recipe's options, with the head that reads the target where there is one."""
    reads_target = "property" in options(recipe)
    if reading.target is not None and not reads_target:
        raise ValueError(
            f"target is given, but recipe {recipe!r} learns no property; leave it out, or use a recipe with the option "
            "property"
        )
    return ({"property": 1.0} if reads_target and data.train_target is not None else {}) | dict(given)


def _built(recipe: str, data: Dataset, other: Dataset | None, request: Request, chosen: Mapping[str, object]) -> Built:
    source = origin(data)
    labels = data.train_labels
    classes = 0 if labels is None or labels.is_floating_point() or labels.ndim != 1 else int(labels.max()) + 1
    if classes > len(data.train):  # no numbers of classes; what learns from labels says so
        classes = 0
    setting = setting_for(
        recipe, data.kind, data=Path(source.data).stem, latent_dim=request.latent_dim, net=request.net,
        other=() if other is None else other.shape, classes=max(0, classes),
        condition=0 if data.condition is None else data.condition.size, options=chosen,
    )  # fmt: skip
    built = build(recipe, setting, seed=request.training.seed, **chosen)
    if other is not None and "partner" not in built.objective.uses:
        raise ValueError(
            f"recipe {recipe!r} has one domain and no `to`; leave `to` out, or use a recipe that translates"
        )
    return built


def _check_size(density: Density, name: str, points: int) -> None:
    if points < density.least:
        raise ValueError(
            f"{points} training examples cannot hold the density {name!r}, which needs {density.least}; give fewer "
            "components"
        )


def settings_of(built: Built, data: Dataset, source: Origin, training: Training) -> Settings:
    """What `run.toml` says of a recipe that is about to be trained on data."""
    setting = built.setting
    assert isinstance(training.lr, int | float)
    return Settings(
        recipe=built.record.name,
        data=source.data,
        shape=setting.shape,
        latent_dim=setting.latent_dim,
        net=setting.net,
        epochs=training.epochs,
        batch_size=training.batch_size,
        lr=float(training.lr),
        seed=training.seed,
        precision=training.precision,
        root=source.root,
        fingerprint=fingerprint(data.train),
        objective=repr(built.objective),
        version=version("chartae"),
        codec=str(data.kind.to_dict().get("codec", "")),
        classes=setting.classes,
        kind=data.kind.to_dict(),
        condition={} if data.condition is None else cast(dict[str, Plain], data.condition.to_dict()),
        options=built.options,
    )


def _other(to: object, kinds: Sequence[type], root: str | Path | None) -> Dataset:
    """The other domain; what is wrong is said of domain B."""
    try:
        other = read_data(to, kinds=kinds, root=root)
    except (ValueError, TypeError) as error:
        raise type(error)(f"domain B: {error}") from error
    if not len(other.train):
        raise ValueError(f"domain B, {other.name!r}, has no training examples; give at least one")
    return other


def _paired(
    data: Dataset, other: Dataset, settings: Settings, objective: Objective, seed: int
) -> tuple[Tensor, Tensor, Tensor, Settings]:
    """Training examples of both domains, validation examples of the other, and the settings with the other domain."""
    source, to = origin(data), origin(other)
    x, partners = data.train, other.train
    if source.same_examples(to):
        x, partners = disjoint_halves(x, partners, seed)
    partners = other.kind.inside(partners)
    valid = other.kind.inside(other.valid if len(other.valid) else other.train)
    valid = valid.roll(len(valid) // 2, 0)  # no picture beside itself
    prior = objective.model.prior
    assert isinstance(prior, Empirical)
    prior.remember(as_float(partners[sample_rows(len(partners), 1000)]))
    settings = replace(
        settings, root=source.root or to.root, to=to.data, to_shape=other.shape, to_kind=other.kind.to_dict(),
        to_fingerprint=fingerprint(other.train),
    )  # fmt: skip
    return x, partners, valid, settings


def _batches(x: Tensor, data: Dataset, objective: Objective, training: Training, partners: Tensor | None) -> Batches:
    """The training data, with what the objective uses beside them."""
    size = training.batch_size
    labels = objective.choose_labels(data.train_labels, name=data.name, seed=training.seed)
    return Batches(
        data.kind.inside(x),
        size,
        seed=training.seed,
        drop_last=size > 1 and len(x) % size == 1,  # batch normalisation has no batch of one
        labels=labels,
        labelled=0 if labels is None else objective.labelled,
        target=data.train_target if "target" in objective.uses else None,
        condition=data.train_condition,
        partner=partners,
    )


def _validation(data: Dataset, objective: Objective, training: Training, partners: Tensor | None) -> Batches | None:
    if not len(data.valid):
        return None
    return Batches(
        data.kind.inside(data.valid),
        max(training.batch_size, 500),
        shuffle=False,
        target=data.valid_target if "target" in objective.uses else None,
        condition=data.valid_condition,
        partner=partners,
    )
