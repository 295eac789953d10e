"""`evaluate`: the same steps for every kind of data -> `results.json` and `pictures.npz`.

Read the data, fit the densities that are missing, reconstruct, sample, interpolate, measure, write. What differs by
kind stands in the table of `chartae.evaluation.base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from chartae.autoencoder import in_slices
from chartae.data import Dataset
from chartae.data.labels import class_labels
from chartae.diagnostics import code_use
from chartae.evaluation.base import Evaluator, Measuring, evaluator_for, row_of
from chartae.evaluation.categories import class_error, clusters_of
from chartae.evaluation.codes import Codes
from chartae.evaluation.translation import evaluate_translation
from chartae.evaluation.writing import stamp, training_facts, write
from chartae.grammar import Grammar
from chartae.maths import as_float, sample_rows
from chartae.metrics import Extractor
from chartae.objectives import Predicting
from chartae.records.results import Densities, DensityFacts, Results, Scores, Sets
from chartae.runs import Run
from chartae.samplers import by_name

__all__ = ["evaluate", "has_densities", "sampled_by"]

#: test examples by which it is asked whether the code is used
ASKED = 2000


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
    """Measure a run's reconstructions, interpolations and the samples of its densities against the test set.

    Densities that the run lacks are fitted. Where the run has a folder, `results.json` and, of what can be drawn,
    `pictures.npz` go there. Pictures, tables and points are compared as sets of features, tables and points in the
    user's units; of strings the valid, unique and novel ones are counted. Samples of a conditional run have the
    conditions of the test examples. Of a run that translates, the translations of each domain's test examples are
    measured against the other domain's.

    Args:
        run: what is evaluated.
        data: its data, in any form that `fit` accepts; loaded again by the run where they are not given.
        condition: of data in memory, as in `chartae.fit`, where the run has a condition; by default its columns of a
            data frame, or the labels.
        densities: ``"prior"`` and names of `chartae.densities.NAMES`, or of samplers
            (`chartae.samplers.by_name.NAMES`); by default the prior and all that are fitted, or the sampler of a model
            that estimates a score, or the prior alone where codes name a category.
        evaluator: of these data (`evaluator_for`), to share between runs; then `extractor`, `weights`, `language` and
            `n` are its own.
        extractor: for pictures, tables and points: a name of `chartae.metrics.NAMES`; by default the one for these
            data.
        weights: the file of the weights of ``"inception"``.
        language: for strings: what one must be to be valid: ``"molecules"``, or a grammar, its name or its file; by
            default the codec's own language.
        n: the size of every compared set, >= 20; of pictures, tables and points at most as many as there are test
            examples.
        seed: of the samples and pairs.
        root: where named data lie.
        to: the other domain of a run that translates; loaded again where it is not given.

    Returns:
        The results, as they lie in `results.json`: `results.sets.gmm.frechet`, or `results["sets"]["gmm"]["frechet"]`.
        Beside what every run has, `clusters` where codes name a category (they are named by the validation set),
        `classes` where it learns from labels, `code` where the loss does not say whether the code is used, and
        `property` where it predicts one.

    Raises:
        ValueError: an option that this kind of data or run has no use for, other data than the run's, or too few
            examples.
    """
    measuring = Measuring(extractor, weights, language, n, str(run.device))
    if run.translates:
        if densities is not None or evaluator is not None:
            raise ValueError(
                f"densities and evaluator are for runs of one domain; {run.settings.recipe!r} translates between two, "
                "and its translations are measured. Leave them out"
            )
        here = None if data is None else run.read(data)
        return evaluate_translation(run, here, to, measuring, seed=seed, root=root)
    if to is not None:
        raise ValueError(f"to is another domain, but {run.settings.recipe!r} does not translate; leave it out")
    row_of(run.kind).check(measuring, run.kind)
    data = run.data(root) if data is None else run.read(data, condition)
    run.check_data(data)
    evaluator = evaluator or evaluator_for(data, measuring)
    names = sampled_by(run, densities)
    run.fit_densities({name: {} for name in _of_codes(names) if name != "prior"}, data)

    test, valid = Codes.of(run, data, "test"), Codes.of(run, data, "valid")
    sets, examples = _sets(run, evaluator, names, valid, seed)
    reconstruction = evaluator.reconstruction(run, test)
    results = Results(
        protocol=evaluator.protocol() | stamp(data.name, seed),
        metric=evaluator.metric,
        own=run.own,
        sets=sets,
        reconstruction=reconstruction.errors,
        densities=Densities({name: _facts(run, name, test) for name in _of_codes(names)}),
        training=training_facts(run),
        examples={name: texts for name, texts in examples.items() if texts},
        reconstructions=reconstruction.pairs,
        interpolations=evaluator.paths(run, test),
    )
    results = _with_what_was_learnt(results, run, data, test)
    write(run, results, evaluator.pictures(run, test, names, seed) if run.folder is not None else {})
    return results


def sampled_by(run: Run, asked: Sequence[str] | None = None) -> list[str]:
    """What a run is sampled by in an evaluation: densities of its codes, or a sampler that follows its score.

    Args:
        run: what is evaluated.
        asked: the names; None for the default.
    """
    if asked is not None:
        return list(asked)
    if not has_densities(run):
        return [run.own]
    return ["prior", *(run.densities or ("normal", "gmm"))]


def has_densities(run: Run) -> bool:
    """Whether densities of the codes are what a run is sampled by, not chains or categories."""
    return run.own not in by_name.NAMES and not run.model.encoder.has_category


def _of_codes(names: Sequence[str]) -> list[str]:
    """Those that are densities of codes."""
    return [name for name in names if name not in by_name.NAMES]


def _sets(
    run: Run, evaluator: Evaluator, names: Sequence[str], valid: Codes, seed: int
) -> tuple[Sets, dict[str, tuple[str, ...]]]:
    """The metrics of each set, and the first new examples of each density; one set is in memory at a time."""
    scores: dict[str, Scores] = {}
    examples: dict[str, tuple[str, ...]] = {}
    for name, rebuilt in evaluator.reconstructed(run, valid):
        scores[name] = evaluator.measure(rebuilt)
    for name in names:
        drawn = evaluator.generated(run, evaluator.drawn(run, name, seed))
        scores[name], examples[name] = evaluator.measure(drawn), evaluator.examples(drawn)
    for name, between in evaluator.interpolated(run, valid, seed):
        scores[name] = evaluator.measure(between)
    return Sets(scores | {"floor": evaluator.floor}), examples


def _facts(run: Run, name: str, test: Codes) -> DensityFacts:
    """The mean of log p(z) over test codes, where the density has one."""
    density = run.density(name)
    if not density.has_density:
        return DensityFacts({"log_likelihood": None})
    with torch.no_grad():
        log_prob = density.log_prob(test.z, condition=run.conditions(test.condition, len(test)))
    return DensityFacts({"log_likelihood": log_prob.mean().item()})


def _with_what_was_learnt(results: Results, run: Run, data: Dataset, test: Codes) -> Results:
    """The results, with what can be said of labels, categories, the code and a property."""
    objective = run.objective
    if run.model.encoder.has_category and class_labels(data.test_labels) and class_labels(data.valid_labels):
        if "labels" in objective.uses:
            results = replace(results, classes=Scores({"error": class_error(run, data)}))
        results = replace(results, clusters=Scores(asdict(clusters_of(run, data))))
    if not objective.comparable:  # critics do not say whether the code is used
        rows = sample_rows(len(data.test), ASKED)
        x = as_float(data.kind.inside(data.test[rows])).to(run.device)
        conditions = run.conditions(test[rows].condition, len(rows))
        results = replace(results, code=Scores(asdict(code_use(run.model, x, condition=conditions))))
    if isinstance(objective, Predicting) and data.test_target is not None:
        results = replace(results, property=_property(objective, data, test))
    return results


def _property(objective: Predicting, data: Dataset, test: Codes) -> Scores:
    """The root mean square error of a property of test examples, and that of the training set's mean."""
    truth, train = data.test_target, data.train_target
    assert truth is not None
    assert train is not None
    known = truth.isfinite()
    error = (in_slices(objective, objective.predict, test.z).cpu() - truth)[known]
    spread = (truth[known] - train[train.isfinite()].mean()).square().mean().sqrt()
    return Scores({"rmse": float(error.square().mean().sqrt()), "trivial_rmse": float(spread)})
