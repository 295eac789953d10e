"""`evaluate`, which takes the same steps for every kind of data and writes `results.json` and `pictures.npz`.

The steps are: read the data, fit missing densities, reconstruct, sample, interpolate, measure, write. What differs
between kinds of data is in their evaluators (`chartae.evaluation.base`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from chartae.autoencoder import Autoencoder, in_slices
from chartae.data import Dataset
from chartae.data.labels import class_labels
from chartae.diagnostics import code_use
from chartae.evaluation.base import Evaluator, Measuring, evaluator_for, row_of
from chartae.evaluation.categories import class_error, clusters_of
from chartae.evaluation.codes import Codes
from chartae.evaluation.translation import evaluate_translation
from chartae.evaluation.writing import check, stamp, training_facts, written
from chartae.grammar import Grammar
from chartae.maths import as_float, sample_rows
from chartae.metrics import Extractor
from chartae.objectives import Predicting
from chartae.records.results import Densities, DensityFacts, Results, Scores, Sets
from chartae.runs import Run
from chartae.runs.run import only_writer
from chartae.samplers import by_name

__all__ = ["evaluate", "has_densities", "sampled_by", "samples_codes"]

#: number of test examples by which it is tested whether the decoder uses the code
CODE_USE_EXAMPLES = 2000


@only_writer
def evaluate(
    run: Run,
    data: object = None,
    *,
    condition: object = None,
    densities: Sequence[str] | None = None,
    evaluator: Evaluator | None = None,
    extractor: str | Extractor | None = None,
    weights: str | Path | None = None,
    language: str | Path | Grammar | None = None,
    n: int = 10_000,
    seed: int = 0,
    root: str | Path | None = None,
    to: Dataset | None = None,
) -> Results:
    """Evaluate a run: compare its reconstructions, interpolations and samples with the test set.

    Densities that are named but not yet fitted are fitted first. If the run has a folder, `results.json` is written
    there, and `pictures.npz` if there is anything to draw.

    Images, tables and points are compared as sets of features (tables and points in the user's units): Fréchet and
    kernel distance, precision, recall, density and coverage. Strings are checked for validity, uniqueness and novelty.
    Samples of a run with a condition have the conditions of the test examples. For a run that translates, the
    translations of each domain's test examples are compared with the test set of the other domain.

    Args:
        run: the run to evaluate.
        data: the data of the run, in any form that `fit` accepts; None (default) reloads them.
        condition: for in-memory data of a run with a condition, ``"labels"``, names of columns, or one value for each
            example; None (default) takes the condition's columns of a data frame, or the labels.
        densities: names of the densities (``"prior"``, or in `chartae.densities.NAMES`) and samplers
            (`chartae.samplers.by_name.NAMES`) to evaluate; None (default) for the prior and all fitted densities, for
            the recipe's sampler if the model estimates a score, or for the prior only if the code holds a category.
        evaluator: evaluator to share between runs on the same data, from `evaluator_for`; its settings replace
            `extractor`, `weights`, `language` and `n`. None (default) builds one.
        extractor: for images, tables and points: a feature extractor, or its name in `chartae.metrics.NAMES`; None
            (default) chooses by the data set.
        weights: file of the weights of ``"inception"``; None (default) otherwise.
        language: for strings: language in which a string must be to be valid, as ``"molecules"``, a grammar, or the
            name or file of a grammar; None (default) for the codec's own.
        n: number of examples in each compared set, >= 20; default 10,000. For images, tables and points at most the
            number of test examples is used.
        seed: seed of samples and interpolation pairs; default 0.
        root: folder of named data sets; None (default) for that of the fit.
        to: data set of the other domain, for a run that translates; None (default) reloads it.

    Returns:
        The results, which are also in `results.json`: `results.sets.gmm.frechet`, or
        `results["sets"]["gmm"]["frechet"]`. Some runs have further parts: `clusters` if the code holds a category,
        `classes` if the run learnt from labels, `code` if the loss does not show whether the decoder uses the code, and
        `property` if the run predicts one.

    Raises:
        ValueError: an argument is not for this kind of data or run, the data are not the run's, or there are too few
            examples.
        OSError: nothing can be written to the run folder; raised before any work. If writing fails afterwards, the
            results are returned and `chartae.records.space.NotWritten` warns.

    >>> import torch
    >>> import chartae as ch
    >>> data = ch.data.from_arrays(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)))
    >>> run = ch.fit("rae", data, latent_dim=2, epochs=1, components=2, progress=False)
    >>> results = ch.evaluate(run, data, densities=["gmm"])
    >>> results.metric, list(results.sets)
    ('frechet-pixels', ['reconstruction', 'gmm', 'interpolation-linear', 'interpolation-spherical', 'floor'])
    >>> results.sets.gmm.frechet > 0
    True
    """
    check(run)
    measuring = Measuring(extractor, weights, language, n, str(run.device))
    if run.translates:
        if densities is not None or evaluator is not None:
            raise ValueError(
                f"densities and evaluator are for runs of one domain, but {run.settings.recipe!r} translates between "
                "two, so its translations are evaluated; leave them out"
            )
        domain_a = None if data is None else run.read(data)
        return evaluate_translation(run, domain_a, to, measuring, seed=seed, root=root)
    if to is not None:
        raise ValueError(f"to is given, but recipe {run.settings.recipe!r} does not translate; leave to out")
    row_of(run.kind).check(measuring, run.kind)
    data = run.data(root) if data is None else run.read(data, condition, root)
    run.check_data(data)
    evaluator = evaluator or evaluator_for(data, measuring)
    names = sampled_by(run, densities)
    run.fit_densities({name: {} for name in _code_densities(names) if name != "prior"}, data)

    test, valid = Codes.of(run, data, "test"), Codes.of(run, data, "valid")
    sets, examples = _sets(run, evaluator, names, valid, seed)
    reconstruction = evaluator.reconstruction(run, test)
    results = Results(
        protocol=evaluator.protocol(run) | stamp(data.name, seed),
        metric=evaluator.metric,
        own=run.own,
        sets=sets,
        reconstruction=reconstruction.errors,
        densities=Densities({name: _facts(run, name, test) for name in _code_densities(names)}),
        training=training_facts(run),
        examples={name: texts for name, texts in examples.items() if texts},
        reconstructions=reconstruction.pairs,
        interpolations=evaluator.paths(run, test),
    )
    results = _with_learning_metrics(results, run, data, test)
    return written(run, results, evaluator.pictures(run, test, names, seed) if run.folder is not None else {})


def sampled_by(run: Run, names: Sequence[str] | None = None) -> list[str]:
    """Names of the densities or samplers by which a run is sampled in an evaluation.

    Args:
        run: the run to evaluate.
        names: the names; None (default) for the defaults of the run.
    """
    if names is not None:
        return list(names)
    if not has_densities(run):
        return [run.own]
    return ["prior", *(run.densities or ("normal", "gmm"))]


def has_densities(run: Run) -> bool:
    """Whether a run is sampled by densities of its codes, instead of by a sampler or a prior over categories."""
    return samples_codes(run.own, run.model)


def samples_codes(own: str, model: Autoencoder) -> bool:
    """Whether a model is sampled by densities of its codes.

    Args:
        own: name of the density or sampler that its recipe is sampled by.
        model: the model, trained or not.
    """
    return own not in by_name.NAMES and not model.encoder.has_category


def _code_densities(names: Sequence[str]) -> list[str]:
    """The names of densities, without those of samplers."""
    return [name for name in names if name not in by_name.NAMES]


def _sets(
    run: Run, evaluator: Evaluator, names: Sequence[str], valid: Codes, seed: int
) -> tuple[Sets, dict[str, tuple[str, ...]]]:
    """The metrics of each set, and the first samples of each density. Only one set is in memory at a time."""
    metrics: dict[str, Scores] = {}
    examples: dict[str, tuple[str, ...]] = {}
    for name, reconstructions in evaluator.reconstructed(run, valid):
        metrics[name] = evaluator.measure(reconstructions)
    for name in names:
        samples = evaluator.generated(run, evaluator.drawn(run, name, seed))
        metrics[name], examples[name] = evaluator.measure(samples), evaluator.examples(samples)
    for name, interpolations in evaluator.interpolated(run, valid, seed):
        metrics[name] = evaluator.measure(interpolations)
    return Sets(metrics | {"floor": evaluator.floor}), examples


def _facts(run: Run, name: str, test: Codes) -> DensityFacts:
    """The mean of log p(z) over test codes, or None if the density cannot be evaluated."""
    density = run.density(name)
    if not density.has_density:
        return DensityFacts({"log_likelihood": None})
    with torch.no_grad():
        log_prob = density.log_prob(test.z, condition=run.conditions(test.condition, len(test)))
    return DensityFacts({"log_likelihood": log_prob.mean().item()})


def _with_learning_metrics(results: Results, run: Run, data: Dataset, test: Codes) -> Results:
    """The results with metrics of classes, clusters, use of the code and a property, as far as they apply."""
    objective = run.objective
    if run.model.encoder.has_category and class_labels(data.test_labels) and class_labels(data.valid_labels):
        if "labels" in objective.uses:
            results = replace(results, classes=Scores({"error": class_error(run, data)}))
        results = replace(results, clusters=Scores(asdict(clusters_of(run, data))))
    if not objective.comparable:  # the losses of critics do not show whether the decoder uses the code
        rows = sample_rows(len(data.test), CODE_USE_EXAMPLES)
        x = as_float(data.kind.inside(data.test[rows])).to(run.device)
        conditions = run.conditions(test[rows].condition, len(rows))
        results = replace(results, code=Scores(asdict(code_use(run.model, x, condition=conditions))))
    if isinstance(objective, Predicting) and data.test_target is not None:
        results = replace(results, property=_property(objective, data, test))
    return results


def _property(objective: Predicting, data: Dataset, test: Codes) -> Scores:
    """Root mean squared error of a predicted property on test examples, and that of predicting the training mean."""
    truth, train = data.test_target, data.train_target
    assert truth is not None
    assert train is not None
    known = truth.isfinite()
    error = (in_slices(objective, objective.predict, test.z).cpu() - truth)[known]
    spread = (truth[known] - train[train.isfinite()].mean()).square().mean().sqrt()
    return Scores({"rmse": float(error.square().mean().sqrt()), "trivial_rmse": float(spread)})
