"""Train a recipe on data and fit densities to its codes."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from chartae import densities as density_table
from chartae import training as loop
from chartae.conditionals import Empirical
from chartae.data import NAMES, Batches, Dataset, Origin, Reading, WrongKind, disjoint_halves, origin
from chartae.data import read as read_data
from chartae.data.columns import LABEL_COLUMNS
from chartae.data.kinds import Kind
from chartae.densities import Density
from chartae.densities.few import are_few, enough
from chartae.grammar import Codec
from chartae.maths import as_float, sample_rows
from chartae.maths.threads import limited_threads, threads_for
from chartae.objectives import Objective
from chartae.recipes import RECIPES, Built, Record, build, options, recipe_options, recipes_for, setting_for, trial
from chartae.recipes.setting import Asked
from chartae.records import manifest
from chartae.records.settings import Plain, Settings
from chartae.records.space import after_work
from chartae.records.training import Augment
from chartae.runs.code_size import code_size
from chartae.runs.conditioning import LABELS, conditioned
from chartae.runs.failures import explaining
from chartae.runs.folder import Target, held, target_of
from chartae.runs.loading import load
from chartae.runs.long_strings import check_lengths, most_indices
from chartae.runs.request import Request
from chartae.runs.room import check_room
from chartae.runs.run import Run, check_codes, fingerprint, is_main_process
from chartae.runs.sources import source_facts
from chartae.runs.warm import start_from
from chartae.runs.weighting import positive, weighted
from chartae.runs.writing import write, write_residuals, write_texts
from chartae.training import OnEpoch, Training
from chartae.training.augmentation import augmentation_name
from chartae.training.loop import check_resumable

__all__ = ["Prepared", "fit", "fit_request", "prepared"]

_LOG = logging.getLogger(__name__)
#: training data of fewer bytes are converted to the model's form once, which needs a copy of them; others in batches
CONVERTED_AT_ONCE = 64 << 20


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
    components: int | None = None,
    condition: object = None,
    out: str | Path | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    init: str | Path | None = None,
    optimizer: str = "adam",
    precision: str = "fp32",
    clip: float | None = None,
    plateau: tuple[float, int] | Literal[False] | None = None,
    cosine: bool | None = None,
    patience: int | None = None,
    ema: float | None = None,
    device: str | None = None,
    compile: bool = False,
    checkpoint_every: int | None = None,
    augment: Augment | None = None,
    weight: object = None,
    on_epoch: OnEpoch | None = None,
    progress: bool | None = None,
    to: object = None,
    grammar: str | Path | Codec | None = None,
    limit: int | None = None,
    column: str | None = None,
    errors: str | None = None,
    target: str | Sequence[float] | None = None,
    label: str | int | None = None,
    drop: str | Sequence[str | int] | None = None,
    header: bool | None = None,
    size: int | str | Sequence[int] | None = None,
    background: str | None = None,
    channels_last: bool | None = None,
    white: int | None = None,
    **options: object,
) -> Run:
    """Train an autoencoder by a recipe, and fit densities to its codes.

    The recipe's objective fits q(z|x) and p(x|z); then each density is fitted to the codes of the training data as p(z)
    (ex-post density estimation: Ghosh et al., 2020, arXiv 1903.12436).

    Args:
        recipe: name of a recipe in `chartae.recipes.RECIPES`, such as ``"vae"``.
        data: a `Dataset`, the name or path of one, an array or data frame of examples, or a list of strings.
        latent_dim: number of code dimensions, >= 1; None (default) for the recipe's default, which for most is 16, or
            the number of values in one example if that is smaller. If there are fewer training rows than five for each
            dimension and one more, a smaller size may be chosen by held-out likelihood.
        epochs: number of passes over the training data, >= 1; default 10.
        batch_size: number of examples in a batch, >= 1; default 128.
        seed: seed of all random numbers in training; default 0.
        net: architecture of encoder and decoder: ``"auto"`` (default) chooses by the data; otherwise ``"mlp"``,
            ``"conv"``, ``"residual"``, ``"smooth"`` or ``"paper"``, and for strings ``"gru"``, ``"transformer"`` or
            ``"paper"``.
        lr: learning rate, > 0; None (default) for the recipe's own.
        densities: names of the densities to fit to the codes of the training data (`chartae.densities.NAMES`); None
            (default) for the recipe's: normal and gmm for most, none for a recipe that estimates a score.
        components: number of components of the mixture ``"gmm"``, >= 1; None (default) for 10, or for a number chosen
            by held-out likelihood if there are few rows (`chartae.densities.GaussianMixture`).
        condition: what encoder, decoder and density are conditioned on: ``"labels"``, names of columns of a table, or
            values, one row for each example; None (default) for nothing.
        out: folder for the run. It must be new or empty, unless `overwrite` or `resume` is set. None (default) keeps
            the run in memory only.
        root: folder of named data sets; None (default) for the environment variable ``CHARTAE_DATA``, or else a cache
            folder.
        overwrite: whether to replace a run in `out`; default False.
        resume: whether to continue from the checkpoint in `out`, with the same result as an uninterrupted run, or to
            start if there is none yet; default False.
        init: folder of a run of the same recipe and code size, with whose weights the training starts where shapes
            agree; None (default) for random weights.
        optimizer: ``"adam"`` (default), ``"adamw"``, ``"sgd"``, or a function from parameters to an optimiser.
        precision: ``"fp32"`` (default), ``"bf16"``, or ``"fp16"``, which needs a GPU.
        clip: largest gradient norm over a player's parameters, > 0; None (default) for no limit.
        plateau: (factor, patience): multiply the learning rate by `factor` after `patience` epochs without a better
            validation loss. None (default) for (0.5, 5) if there are validation data, the objective's loss is
            comparable between epochs, and the learning rate has no cosine schedule; False for no plateau schedule.
        cosine: whether the learning rate decays to zero along half a cosine; None (default) for the objective's choice.
        patience: number of epochs without a better validation loss after which training stops; None (default) for no
            early stopping.
        ema: decay of an exponential moving average of the weights, in (0, 1), which is then validated and kept; None
            (default) for the objective's choice, 0 for no average.
        device: device as PyTorch names it, such as ``"cpu"``; None (default) uses a GPU if there is one.
        compile: whether to compile the objective with `torch.compile`; default False.
        checkpoint_every: number of epochs between checkpoints, >= 1; None (default) for as many as keep the time of
            writing below a sixtieth of the training.
        augment: random changes of the training pictures, new in every step: ``"flip"`` (left to right), ``"crop"`` (a
            shift by up to an eighth of a side), ``"rotate"`` (by up to 15 degrees), or several, separated by commas. Or
            a function from a batch of examples (n, *S) in the model's form to one of the same shape, for any kind of
            data, which draws random numbers from torch. Validation, densities and evaluation see the examples as they
            are. None (default) for no changes.
        weight: weights of the rows in the loss: the name of a column of a table, or one number >= 0 for each example
            in memory (for a `Dataset`, each training example). They are divided by their mean over the training rows;
            validation losses and densities are weighted too, batch normalisation, the scaling of columns and
            evaluation are not. None (default) for equal weights, or those of the data set.
        on_epoch: function that is called after each epoch with the last row of the log and the model in evaluation
            mode, and ends training by returning True; see `chartae.training.fit`. It is not stored. None (default) for
            none.
        progress: whether to show progress: a progress bar on a terminal, otherwise one line an epoch; None (default)
            shows it on a terminal only.
        to: the other domain, for a recipe that translates: a `Dataset`, name, path or array. If both domains hold the
            same images, such as mnist and mnist+coloured, each is trained on another half of them, so that no pairs
            occur.
        grammar: for strings: name or file of a grammar, or another codec.
        limit: for strings: use only the first `limit`; >= 1.
        column: for strings in a table: name of the column that holds them.
        errors: for strings: ``"raise"`` (default) or ``"skip"``, which leaves out strings that cannot be encoded.
        target: for strings: a property of each, or the name of its column. A head learns to predict it from the code;
            the option ``property`` is the weight of its loss, by default 1.
        label: for tables: name of the column of labels, which is not a feature; "" for none. By default there is none,
            unless recipe or condition use labels: then a column named label, target or class is taken.
        drop: for tables: names of columns to leave out, or one name.
        header: for tables and strings in files: whether the first row holds the names of the columns; by default judged
            by the rows.
        size: for pictures: cut the centre out of each picture and resize it to `size` x `size` pixels, or to (height,
            width) or ``"HxW"``. By default all pictures must have one size.
        background: for pictures with transparency: ``"white"`` or ``"black"`` behind them, or ``"alpha"`` to keep
            transparency as a channel.
        channels_last: for arrays of pictures (n, h, w, c): whether the last axis holds the channels; by default, the
            sizes decide.
        white: for pictures of whole numbers: the level that is white; 255 by default, and for more than 8 bits what the
            files state, or the smallest 2^k - 1 that no level exceeds.
        options: the recipe's own keywords, such as ``beta=0.01``.

    Returns:
        The trained run. If `out` is given, it is also written there.

    Raises:
        ValueError, TypeError: the data, a name or an option is invalid. Raised before training starts.
        FileExistsError: `out` is not empty, and neither `overwrite` nor `resume` is set.
        FileNotFoundError: `init` names no run.
        chartae.records.lock.InUse: another process writes to `out`.
        chartae.training.NonFinite: the loss became NaN or infinite. Its `postmortem` says where and why, and is written
            into the run folder if there is one; `chartae.postmortem` reads it.

    >>> import torch
    >>> import chartae as ch
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> run = ch.fit("rae", x, epochs=1, latent_dim=2, components=2, progress=False)
    >>> run.encode(x[:5]).shape, list(run.densities)
    (torch.Size([5, 2]), ['normal', 'gmm'])
    """
    settings = Training(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer, precision=precision, clip=clip,
        plateau=plateau, cosine=cosine, patience=patience, ema=ema, seed=seed, device=device, compile=compile,
        checkpoint_every=checkpoint_every, augment=augment,
    )  # fmt: skip
    reading = Reading(
        grammar=grammar, limit=limit, column=column, errors=errors, target=target, label=label, drop=drop, size=size,
        header=header, background=background, channels_last=channels_last, white=white,
        weight=weight if isinstance(weight, str) else None,
    )  # fmt: skip
    request = Request(
        latent_dim, net, densities, components, to, condition, out, root, overwrite, resume, init,
        progress, None if isinstance(weight, str) else weight, on_epoch,
        reading, settings, options,
    )  # fmt: skip
    return fit_request(recipe, data, request)


@dataclass(frozen=True)
class Prepared:
    """A fit whose inputs have been checked and whose training has not started.

    Attributes:
        built: the recipe built over a freshly initialised model.
        data: the data set.
        other: the data set of the other domain, for a recipe that translates; None otherwise.
        settings: settings of the run, as `run.toml` will hold them.
        batches: batches of training data.
        valid: batches of validation data; None without a validation split.
        training: settings of the training.
        densities: name -> settings of each density to fit after training.
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
    """Train a recipe as `chartae.fit` does, with the settings in one object instead of keywords.

    Args:
        recipe: name of a recipe in `chartae.recipes.RECIPES`, such as ``"vae"``.
        data: a `Dataset`, the name or path of one, an array or data frame of examples, or a list of strings.
        request: settings of the fit.

    Returns:
        The trained run. If `request.out` is given, it is also written there.

    Raises:
        ValueError, TypeError: the data, a name or an option is invalid. Raised before training starts.
        FileExistsError: `request.out` is not empty, and neither `overwrite` nor `resume` is set.
        FileNotFoundError: `request.init` names no run.
        chartae.records.lock.InUse: another process writes to `request.out`.
        chartae.training.NonFinite: the loss became NaN or infinite. Its `postmortem` says where and why, and is written
            into the run folder if there is one; `chartae.postmortem` reads it.

    >>> import torch
    >>> from chartae.runs import Request, fit_request
    >>> from chartae.training import Training
    >>> request = Request(latent_dim=2, densities=("normal",), progress=False, training=Training(epochs=1))
    >>> run = fit_request("rae", torch.randn(64, 3), request)
    >>> run.settings.latent_dim, list(run.densities)
    (2, ['normal'])
    """
    writing = request.out is not None and is_main_process()
    holding = held(Path(request.out)) if writing and request.out is not None else nullcontext()
    # the caller may have switched gradients off
    with holding, torch.inference_mode(False), torch.enable_grad():
        fitting = prepared(recipe, data, request)
        with explaining(fitting.settings, None if request.out is None else Path(request.out)):
            return _trained(fitting, request)


def _trained(fitting: Prepared, request: Request) -> Run:
    """Train what has been prepared, and fit its densities."""
    built, dataset, target = fitting.built, fitting.data, _target(fitting, request)
    if target is not None and target.start == "complete":
        return _completed(target.out, fitting)
    if target is not None and target.start == "resumed":
        check_resumable(built.objective, fitting.batches, fitting.training, fitting.valid, target.folder)
    writing = target is not None and is_main_process()
    if target is not None and writing:
        check_room(target.folder, built.objective, fitting.training, best=fitting.valid is not None)
        target.prepare(fitting.settings)
    folder = None if target is None else target.folder
    resume = target is not None and target.start == "resumed"
    history = loop.fit(
        built.objective, fitting.batches, valid=fitting.valid, folder=folder, resume=resume,
        progress=request.progress, on_epoch=request.on_epoch, training=fitting.training,
    )  # fmt: skip
    start = Settings.read(folder / "run.toml").start if resume and folder else fitting.settings.start
    settings = replace(fitting.settings, threads=history.threads, start=start)
    run = Run(
        settings, dataset.kind, built.objective.model, built.objective, history.rows, {}, folder, history,
        dataset.skipped, history.best_epoch, dataset.condition,
    )  # fmt: skip
    if not built.objective.comparable and built.objective.trains(run.model.decoder) and len(dataset.train) >= 10:
        run.check_code_use(dataset)
    run = replace(run, residuals=run.measure_residuals(dataset))
    if target is not None and writing:
        return _written(run, target, fitting)
    _fit_densities(run, fitting)
    return run


def _written(run: Run, target: Target, fitting: Prepared) -> Run:
    """Write a run, and fit its densities; if the disk is full, it is returned in memory, with a warning."""
    with after_work(target.folder, "the run"):
        write(run)
        _fit_densities(run, fitting)
        target.finish()
        return replace(run, folder=target.out)
    run = replace(run, folder=None)
    _fit_densities(run, fitting)
    return run


def _target(fitting: Prepared, request: Request) -> Target | None:
    """Where the run is written, and how it begins, which is said; None if it is kept in memory."""
    if request.out is None:
        return None
    target = target_of(Path(request.out), fitting.settings, overwrite=request.overwrite, resume=request.resume)
    if request.resume:
        _LOG.info({
            "new": "%s holds no checkpoint yet, so training starts anew",
            "resumed": "training continues from the checkpoint in %s",
            "complete": "the run in %s is complete",
        }[target.start], target.folder)  # fmt: skip
    return target


def _completed(folder: Path, fitting: Prepared) -> Run:
    """The run in a folder, whose training is complete, with all of its densities."""
    missing = [name for name in manifest.listed(folder) or () if re.fullmatch(r"density\..+\.safetensors", name)
               and not (folder / name).exists()]  # fmt: skip
    if missing and is_main_process():
        _LOG.info("%s lacks %s, which is fitted again", folder, ", ".join(missing))
        manifest.forget(folder, *missing)
    run = load(folder, device=fitting.training.device or "cpu")
    epochs = max((int(row["epoch"]) for row in run.log), default=0)
    run = replace(run, history=loop.History(run.log, epochs, run.kept or epochs, "complete before"))
    if is_main_process():
        run = _mended(run, fitting.data)
        _fit_densities(run, fitting)
    return run


def _mended(run: Run, data: Dataset) -> Run:
    """A run with what `write` left out when it was interrupted after the weights; usually nothing."""
    assert run.folder is not None
    if manifest.changes(run.folder, "run.toml"):
        write_texts(run)
    if run.residuals is None:
        run = replace(run, residuals=run.measure_residuals(data))
        write_residuals(run)
    return run


def _fit_densities(run: Run, fitting: Prepared) -> None:
    """Fit the densities that the run lacks."""
    # operations of a pass over the codes with ten full covariances
    with limited_threads(threads_for(20.0 * len(fitting.data.train) * run.settings.latent_dim**2)):
        run.fit_densities(fitting.densities, fitting.data)
    for note in run.density_notes:
        _LOG.info(note)


def prepared(recipe: str, data: object, request: Request) -> Prepared:
    """Read the data and build the recipe, so that invalid input raises an error before training starts.

    Args:
        recipe: name of a recipe in `chartae.recipes.RECIPES`, such as ``"vae"``.
        data: a `Dataset`, the name or path of one, an array or data frame of examples, or a list of strings.
        request: settings of the fit.

    Returns:
        Everything that training needs: the objective over a new model, the batches and the settings.

    Raises:
        ValueError, TypeError: a name, an option or a setting is invalid, or does not suit the data.

    >>> import torch
    >>> from chartae.runs import Request, prepared
    >>> fitting = prepared("vae", torch.randn(100, 3), Request(latent_dim=2))
    >>> len(fitting.data.train), fitting.settings.latent_dim, list(fitting.densities)
    (80, 2, ['normal', 'gmm'])
    """
    record = RECIPES[recipe]
    request.training.check()
    recipe_options(recipe, request.options)  # raises for an unknown name before any data are read
    names = record.densities if request.densities is None else tuple(request.densities)
    densities = {name: density_table.accepted(name, components=request.components) for name in names}
    # a Dataset has been read already, so the recipe's defaults for reading do not apply
    reading = request.reading if isinstance(data, Dataset) else record.reads(request.reading)
    try:
        candidates = replace(reading, label=LABEL_COLUMNS) if _needs_labels(recipe, data, request) else reading
        dataset = _read_data(data, request, record.kinds, candidates)
    except WrongKind as error:
        others = ", ".join(recipes_for(error.kind))
        raise ValueError(f"{error}. Recipe {recipe!r} does not read {error.kind.noun}; use one of {others}") from error
    dataset = weighted(dataset, request.weight, data)
    other = None if request.to is None else _read_other_domain(request.to, record.kinds, request.root, request.reading)
    chosen = _options(recipe, request.options, reading, dataset)
    request, sizes = _sized(record, dataset, request, names)
    built = _built(recipe, dataset, other, request, chosen)
    objective = built.objective
    start, notes = "", (*dataset.notes, *sizes)
    if request.init is not None:
        start, taken = start_from(objective, request.init, recipe, built.setting.latent_dim)
        notes = (*notes, taken)
    for note in notes:
        _LOG.info(note)
    if dataset.train_weight is not None and not objective.weighs:
        raise ValueError(
            f"weight is given, but the loss of recipe {recipe!r} is not a sum over examples, as it has a critic or "
            "compares sets; leave weight out, or use a recipe without"
        )
    if names:
        check_codes(objective, recipe)
    kept = positive(dataset)
    for name, density_settings in densities.items():
        _check_size(density_table.make(name, **density_settings), name, kept)
        if dataset.condition is not None and dataset.train_condition is not None:
            schema = dataset.condition
            density_table.ByCondition(
                name, discrete=schema.discrete, entries=schema.entries, settings=density_settings
            ).check(dataset.train_condition[kept])
    if objective.model.encoder.has_category:
        categories = objective.model.prior().category.mean.shape[-1]
        if categories > len(dataset.train):
            raise ValueError(
                f"there are {categories} clusters for {len(dataset.train)} training examples; expected at most one "
                "cluster an example. Give fewer clusters"
            )
    training = replace(request.training, lr=built.lr if request.training.lr is None else request.training.lr)
    settings = settings_of(built, dataset, origin(dataset), training)
    settings = replace(settings, notes=notes, start=start, densities=_asked(request))
    x, partners, valid_partners = dataset.train, None, None
    if other is not None:
        x, partners, valid_partners, settings = _paired(dataset, other, settings, objective, training.seed)
    batches = _batches(x, dataset, objective, training, partners)
    valid = _validation(dataset, objective, training, valid_partners)
    loop.check(objective, batches, training, valid)
    return Prepared(built, dataset, other, settings, batches, valid, training, densities)


def _asked(request: Request) -> dict[str, Plain]:
    """The densities that were asked for, as run.toml holds them."""
    names = {} if request.densities is None else {"names": list(request.densities)}
    components = {} if request.components is None else {"components": request.components}
    return {**names, **components}


def _read_data(data: object, request: Request, kinds: Sequence[type[Kind]], reading: Reading) -> Dataset:
    """The data set; strings that a training step has no memory for are left out if `reading` skips, else refused."""
    dataset = conditioned(data, request.condition, kinds, request.root, reading)
    longest = most_indices(dataset, request.net, request.training)
    if longest is not None and reading.errors == "skip" and not isinstance(data, Dataset):
        # read again, so that the rows are split as they will be when the run reads its data
        dataset = conditioned(data, request.condition, kinds, request.root, replace(reading, longest=longest))
    check_lengths(dataset, request.net, request.training)
    return dataset


def _needs_labels(recipe: str, data: object, request: Request) -> bool:
    """Whether a column of labels must be looked for: recipe or condition use labels, and none was named."""
    if request.reading.label is not None or isinstance(data, Dataset | Tensor | np.ndarray):
        return False
    if isinstance(request.condition, str) and request.condition.strip() == LABELS:
        return True
    try:
        return "labels" in trial(recipe, request.options).uses
    except ValueError:  # options that suit the data alone, or none: building the recipe says so
        return False


def _options(recipe: str, chosen: Mapping[str, object], reading: Reading, data: Dataset) -> dict[str, object]:
    """The recipe's options; if the data have a target, with a default weight of the head that predicts it."""
    predicts_target = "property" in options(recipe)
    if reading.target is not None and not predicts_target:
        raise ValueError(
            f"target is given, but recipe {recipe!r} does not predict a property; leave target out, or use a recipe "
            "with the option property"
        )
    return ({"property": 1.0} if predicts_target and data.train_target is not None else {}) | dict(chosen)


def _sized(
    record: Record, data: Dataset, request: Request, densities: Sequence[str]
) -> tuple[Request, tuple[str, ...]]:
    """The request with a size of codes that suits few training rows, and what was decided, in sentences."""
    kept = positive(data)
    rows = int(kept.sum())
    if request.latent_dim is not None:
        if densities and rows <= request.latent_dim and record.sized_by_rows:
            warnings.warn(
                f"latent_dim is {request.latent_dim} for {rows} training rows; expected fewer dimensions than rows, so "
                "that densities of the codes can be fitted well. Leave latent_dim out to have it chosen.",
                stacklevel=4,
            )
        return request, ()
    default = record.code(Asked(data.kind.shape))
    chosen = record.sized_by_rows and rows and are_few(rows, 1, default)
    size = code_size(data.kind.inside(data.train[kept]), default) if chosen else default
    if size == default:
        return request, ()
    note = (
        f"latent_dim is {size} in place of {default}, chosen by the held-out likelihood of probabilistic PCA, because "
        f"{rows} training rows are fewer than the {enough(1, default)} that codes of size {default} need"
    )
    return replace(request, latent_dim=size), (note,)


def _built(recipe: str, data: Dataset, other: Dataset | None, request: Request, chosen: Mapping[str, object]) -> Built:
    source = origin(data)
    labels = data.train_labels
    classes = 0 if labels is None or labels.is_floating_point() or labels.ndim != 1 else int(labels.max()) + 1
    if classes > len(data.train):  # these integers do not number classes; a recipe that needs labels raises later
        classes = 0
    setting = setting_for(
        recipe, data.kind, data=Path(source.data).stem, latent_dim=request.latent_dim, net=request.net,
        other=() if other is None else other.shape, classes=max(0, classes),
        condition=0 if data.condition is None else data.condition.size, options=chosen,
    )  # fmt: skip
    built = build(recipe, setting, seed=request.training.seed, **chosen)
    if other is not None and "partner" not in built.objective.uses:
        raise ValueError(
            f"to is given, but recipe {recipe!r} has one domain; leave to out, or use a recipe that translates, such "
            "as 'iae-translate'"
        )
    return built


def _check_size(density: Density, name: str, kept: Tensor) -> None:
    points = int(kept.sum())
    if points < density.least:
        weighted = "" if points == len(kept) else " with a weight above 0"
        raise ValueError(
            f"there are {points} training examples{weighted}; expected at least {density.least} for the density "
            f"{name!r}. Give more examples or fewer components"
        )


def settings_of(built: Built, data: Dataset, source: Origin, training: Training) -> Settings:
    """The settings that `run.toml` records for this recipe, data and training."""
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
        files=source_facts(source.data, source.root),
        objective=repr(built.objective),
        version=version("chartae"),
        codec=str(data.kind.to_dict().get("codec", "")),
        classes=setting.classes,
        training=training.stored(),
        augment=augmentation_name(training.augment),
        weight="" if data.train_weight is None else fingerprint(data.train_weight),
        kind=data.kind.to_dict(),
        condition={} if data.condition is None else cast(dict[str, Plain], data.condition.to_dict()),
        reading=data.reading.to_dict(),
        notes=data.notes,
        options=built.options,
    )


def _read_other_domain(to: object, kinds: Sequence[type], root: str | Path | None, reading: Reading) -> Dataset:
    """Read the other domain, its files of pictures with the size and background of the first one.

    Error messages say that they are about domain B.
    """
    is_path = isinstance(to, str | os.PathLike) and Path(to).exists() and to not in NAMES
    pictures = Reading(size=reading.size, background=reading.background) if is_path else Reading()
    try:
        other = read_data(to, kinds=kinds, root=root, reading=pictures)
    except (ValueError, TypeError) as error:
        raise type(error)(f"domain B: {error}") from error
    if not len(other.train):
        raise ValueError(f"domain B, {other.name!r}, has no training examples; give at least one")
    return other


def _paired(
    data: Dataset, other: Dataset, settings: Settings, objective: Objective, seed: int
) -> tuple[Tensor, Tensor, Tensor, Settings]:
    """Training examples of both domains, validation examples of domain B, and the settings with domain B added."""
    source, to = origin(data), origin(other)
    x, partners = data.train, other.train
    if source.same_examples(to):
        x, partners = disjoint_halves(x, partners, seed)
    partners = other.kind.inside(partners)
    valid = other.kind.inside(other.valid if len(other.valid) else other.train)
    valid = valid.roll(len(valid) // 2, 0)  # so that no image is paired with its own copy
    prior = objective.model.prior
    assert isinstance(prior, Empirical)
    prior.remember(as_float(partners[sample_rows(len(partners), 1000)]))
    settings = replace(
        settings, root=source.root or to.root, to=to.data, to_shape=other.shape, to_kind=other.kind.to_dict(),
        to_fingerprint=fingerprint(other.train), to_files=source_facts(to.data, to.root),
    )  # fmt: skip
    return x, partners, valid, settings


def _batches(x: Tensor, data: Dataset, objective: Objective, training: Training, partners: Tensor | None) -> Batches:
    """Batches of the training data, with the labels, target, condition and partners that the objective uses."""
    labels = objective.choose_labels(data.train_labels, name=data.name, seed=training.seed)
    large = x.nbytes >= CONVERTED_AT_ONCE
    batches = Batches(
        x if large else data.kind.inside(x),
        training.batch_size,
        seed=training.seed,
        labels=labels,
        labelled=0 if labels is None else objective.labelled,
        target=data.train_target if "target" in objective.uses else None,
        condition=data.train_condition,
        partner=partners,
        weight=data.train_weight,
    )
    return batches.converted(data.kind.inside) if large else batches


def _validation(data: Dataset, objective: Objective, training: Training, partners: Tensor | None) -> Batches | None:
    if not len(data.valid):
        return None
    weight = data.valid_weight
    if weight is not None and not weight.any():
        warnings.warn(
            f"all {len(weight)} validation rows have the weight 0, so there is no validation. Give more rows a weight "
            "above 0.",
            UserWarning,
            stacklevel=2,
        )
        return None
    return Batches(
        data.kind.inside(data.valid),
        max(training.batch_size, 500),
        shuffle=False,
        target=data.valid_target if "target" in objective.uses else None,
        condition=data.valid_condition,
        partner=partners,
        weight=weight,
    )
