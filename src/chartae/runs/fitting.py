"""Train a recipe on data and fit densities to its codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from chartae import densities as density_table
from chartae import training
from chartae.conditionals import Empirical
from chartae.data import NAMES as DATA_NAMES
from chartae.data import (
    VIEWS,
    Batches,
    Dataset,
    apart,
    from_arrays,
    is_strings,
    taken_apart,
)
from chartae.data import load as load_data
from chartae.data.labels import known_labels
from chartae.data.properties import string_data
from chartae.grammar import Codec
from chartae.maths import as_float, sample_rows
from chartae.recipes import (
    OF_CLUSTERS,
    OF_DOMAINS,
    OF_LABELS,
    OF_SCORE,
    OF_STRINGS,
    Recipe,
    build,
    recipe_options,
    setting_for,
)
from chartae.recipes import options as recipe_table
from chartae.runs.folder import prepare
from chartae.runs.run import IN_MEMORY, Run, Settings, fingerprint, writes

__all__ = ["as_dataset", "cook", "fit"]


def fit(
    recipe: str,
    data: Any,
    *,
    latent_dim: int | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    seed: int = 0,
    net: str = "auto",
    lr: float | None = None,
    densities: Sequence[str] | None = None,
    components: int = 10,
    out: str | Path | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    precision: str = "fp32",
    clip: float | None = None,
    plateau: tuple[float, int] | None = (0.5, 5),
    cosine: bool | None = None,
    patience: int | None = None,
    ema: float | None = None,
    device: str | None = None,
    compile: bool = False,
    progress: bool | None = None,
    to: Any = None,
    grammar: str | Path | Codec | None = None,
    limit: int | None = None,
    column: str | None = None,
    errors: str = "raise",
    target: Any = None,
    **options: Any,
) -> Run:
    """Train a recipe on data and fit densities to its codes.

    Args:
        recipe: a name of `chartae.recipes.RECIPES`.
        data: a `Dataset`, the name or path of one, or an array of examples.
        latent_dim: size of the codes; 16 by default, or the data's own where that is smaller.
        net: `mlp`, `conv`, `residual`, `paper` or `auto`.
        densities: which densities are fitted to the training codes afterwards; `components` of the mixture. By default
            normal and gmm, and none where the recipe estimates a score.
        out: a folder for the run. It must be new, unless `overwrite` (its run is removed) or `resume` (its checkpoint
            is gone on from, to the same numbers as an uninterrupted run).
        root: where named data lie.
        to: the other domain of a recipe that translates: a `Dataset`, name, path or array. Where both are the same
            pictures, such as mnist and mnist+coloured, each is trained on another half of them: nothing is paired.
        grammar: of strings, which are a list or a file of them: a grammar's name or file, or another codec
            (`chartae.grammar.codec_for`). `limit`, `column`, `errors` and `target` are those of
            `chartae.data.from_strings`; a target is read off the code by a head beside the decoder, whose weight is the
            option ``property``, by default 1.
        cosine: as in training; by default where the recipe estimates a score, whose loss is too noisy to choose by, and
            where critics judge more than a latent law.
        options: the recipe's own keywords, such as ``beta=0.01``.

    The other arguments are those of `chartae.training.fit`.

    Raises:
        ValueError, TypeError: anything wrong with data, names or options, before training starts.
    """
    if target is not None and recipe in OF_STRINGS:
        options = {"property": 1.0} | options
    elif options.get("property"):
        raise ValueError("property weighs a head that learns a target, but there is none; give one (target=, --target)")
    recipe_options(recipe, options)  # what is wrong with a name shows before any data are read
    if (recipe in OF_DOMAINS) != (to is not None):
        raise ValueError(
            f"recipe {recipe!r} translates between two domains: give the other as `to`, such as to='mnist+coloured'"
            if to is None
            else f"recipe {recipe!r} has one domain and no `to`; use {' or '.join(OF_DOMAINS)} to translate"
        )
    if recipe in OF_DOMAINS and (latent_dim is not None or densities or net != "auto"):
        raise ValueError(
            f"the codes of {recipe!r} are points of the other domain, and its nets its own; leave out latent_dim, "
            "densities and net"
        )
    if recipe in OF_CLUSTERS and densities:
        raise ValueError(f"codes of {recipe!r} hold a category, and no density is fitted to them; leave out densities")
    if densities is None:
        densities = () if recipe in (*OF_SCORE, *OF_CLUSTERS, *OF_DOMAINS) else ("normal", "gmm")
    for name in densities:
        density_table.make(name, **({"components": components} if name == "gmm" else {}))
    if recipe in OF_STRINGS and not (isinstance(data, Dataset) and data.codec is not None):
        data = string_data(recipe, data, grammar, limit=limit, column=column, errors=errors, target=target)
    elif grammar is not None or limit is not None or column is not None or target is not None:
        raise ValueError(
            f"grammar, limit, column and target are for strings that a recipe of {', '.join(OF_STRINGS)} is to encode; "
            f"leave them out for {recipe!r} on {type(data).__name__}"
        )
    elif is_strings(data) and str(data).lower().endswith((".txt", ".smi", ".smiles", ".gz")):
        raise ValueError(f"{data} holds strings; use --recipe {' or '.join(OF_STRINGS)}, and a --grammar")
    data, source, found = as_dataset(data, root)
    other = None
    if to is not None:
        other, to_source, to_root = _other(to, root)
    cooked, known = cook(recipe, data, source, seed=seed, latent_dim=latent_dim, net=net, other=other, **options)
    if "gmm" in densities and len(data.train) < components:
        raise ValueError(
            f"{len(data.train)} training examples cannot hold a mixture of {components}; give fewer components"
        )
    if cosine is None:
        cosine = recipe in OF_SCORE or cooked.objective.cosine
    settings = Settings.of(
        cooked, data, source, found, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, precision=precision
    )
    if data.codec is not None:
        named = target if isinstance(target, str) else ""
        settings = replace(settings, limit=limit or 0, column=column or "", errors=errors, target=named)
        known = data.train_labels
    x, valid_y = data.train, None
    if other is not None:
        same = source != IN_MEMORY and taken_apart(source)[0] == taken_apart(to_source)[0]
        x, beside = apart(data.train, other.train, seed) if same else (data.train, other.train)
        valid_y = other.valid if len(other.valid) else other.train
        valid_y = valid_y.roll(len(valid_y) // 2, 0)  # no picture beside itself
        some = sample_rows(len(beside), 1000)
        prior = cooked.objective.model.prior
        assert isinstance(prior, Empirical)
        prior.remember(as_float(beside[some]))
        marks = {"to": to_source, "to_shape": other.shape, "to_fingerprint": fingerprint(other.train)}
        settings = replace(settings, root=found or to_root, **marks)  # type: ignore[arg-type]
    # batch normalisation has no batch of one
    single = batch_size > 1 and len(x) % batch_size == 1
    labelled = (
        0 if recipe not in OF_LABELS else int(cooked.options.get("labelled", recipe_table(recipe)["labelled"][1]))
    )
    batches = Batches(
        x, batch_size, seed=seed, drop_last=single, labels=known, labelled=labelled,
        beside=None if other is None else beside,
    )  # fmt: skip
    valid = None
    if len(data.valid):
        held = data.valid_labels if data.codec is not None else None
        valid = Batches(data.valid, max(batch_size, 500), shuffle=False, beside=valid_y, labels=held)
    training_settings: dict[str, Any] = {
        "epochs": epochs,
        "valid": valid,
        "lr": settings.lr,
        "precision": precision,
        "clip": clip,
        "plateau": plateau if valid is not None and not cosine and cooked.objective.comparable else None,
        "cosine": cosine,
        "patience": patience,
        "ema": cooked.objective.ema if ema is None else ema,
        "compile": compile,
    }
    training.check(cooked.objective, batches, device=device, **training_settings)  # before a folder is touched
    writing = writes()
    folder = None if out is None else Path(out)
    if folder is not None and writing:
        prepare(folder, settings, overwrite, resume)
    history = training.fit(
        cooked.objective, batches, **training_settings, folder=folder, resume=resume, seed=seed, device=device,
        progress=progress,
    )  # fmt: skip
    run = Run(
        settings, cooked.objective.model, cooked.objective, cooked.own, history.rows, {}, folder, history, data.skipped,
        history.best_epoch,
    )  # fmt: skip
    if folder is not None and writing:
        run._write()
    if not cooked.objective.comparable and len(data.train) >= 10 and not data.codec:
        run._ask_of_the_code(data)
    if densities:
        codes = run.encode(data.train)
        for name in densities:
            run.fit_density(name, codes, **({"components": components} if name == "gmm" else {}))
    return run


def cook(
    recipe: str,
    data: Dataset,
    source: str,
    *,
    seed: int = 0,
    latent_dim: int | None = None,
    net: str = "auto",
    other: Dataset | None = None,
    **options: Any,
) -> tuple[Recipe, Tensor | None]:
    """A recipe over a fresh model for these data, which lie at `source`, and the labels that it may see.

    What can be wrong between a recipe, its options and the data shows here, before anything is trained.

    Raises:
        ValueError, TypeError: a name, an option, or data that do not fit.
    """
    known = None
    if recipe in OF_LABELS:
        known, options = known_labels(data, options, seed)
    size = options.get("clusters") or (options.get("classes") if recipe == "iae-semisup" else None)
    setting = setting_for(
        recipe, data.shape, data.train.dtype, Path(source).stem, latent_dim, net,
        None if size is None else int(size), data.codec,
    )  # fmt: skip
    if other is not None:
        setting = replace(setting, other=other.shape, latent_dim=math.prod(other.shape))
    cooked = build(recipe, setting, seed=seed, **options)
    if recipe in OF_CLUSTERS:
        categories = cooked.objective.model.prior().category.mean.shape[-1]
        if categories > len(data.train):
            raise ValueError(
                f"there are {categories} clusters for {len(data.train)} training examples; ask for fewer (clusters)"
            )
    return cooked, known


def _other(to: Any, root: str | Path | None) -> tuple[Dataset, str, str]:
    """The other domain, as `as_dataset` gives it; what is wrong is said of domain B."""
    try:
        found = as_dataset(to, root)
    except (ValueError, TypeError) as error:
        raise type(error)(f"domain B: {error}") from error
    if not len(found[0].train):
        raise ValueError(f"domain B, {found[0].name!r}, has no training examples; give at least one")
    return found


def as_dataset(data: Any, root: str | Path | None) -> tuple[Dataset, str, str]:
    """The data, the name or path by which they can be loaded again, and the root of named data."""
    if isinstance(data, str | Path):
        data = load_data(data, root=root)
    elif not isinstance(data, Dataset):
        data = from_arrays(data, name=IN_MEMORY)
    base, views = taken_apart(data.name)
    if base in DATA_NAMES and set(views) <= set(VIEWS):
        # where a set was found serves as its root; one that ships has none
        return data, data.name, str(Path(data.source).resolve()) if Path(data.source).is_dir() else ""
    if Path(data.source).exists():
        return data, str(Path(data.source).resolve()), ""
    file, views = taken_apart(data.source)
    if views and Path(file).exists():
        return data, "+".join([str(Path(file).resolve()), *views]), ""
    return data, IN_MEMORY, ""
