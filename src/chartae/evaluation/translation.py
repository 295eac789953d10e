"""Evaluate translations between two domains: each set of translations against the test set of its domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chartae import metrics
from chartae.data import Dataset
from chartae.evaluation.base import Evaluator, Measuring, evaluator_for, row_of
from chartae.evaluation.writing import stamp, training_facts, written
from chartae.maths import as_float, sample_rows
from chartae.records.results import Results, Scores, Sets
from chartae.runs import Run, domain, domain_kind, fingerprint, translate

__all__ = ["evaluate_translation"]

#: number of examples of each domain that are kept for the report
SHOWN = 32


@dataclass(frozen=True)
class Direction:
    """Translations of one domain's test examples into the other domain.

    Attributes:
        evaluator: evaluator of the domain translated to.
        originals: test examples of the domain translated from, in its units.
        translations: one translation of each, in the units of the domain translated to.
        back: the translations, translated back.
    """

    evaluator: Evaluator
    originals: Tensor
    translations: Tensor
    back: Tensor

    @property
    def cycle(self) -> float:
        """Mean squared error of translating there and back (cycle consistency)."""
        return float(metrics.mse(as_float(self.originals).to(self.back.device), self.back).mean())


def evaluate_translation(
    run: Run, data: Dataset | None, to: Dataset | None, measuring: Measuring, *, seed: int, root: str | Path | None
) -> Results:
    """Evaluate a run's translations, one of each test example, against the test set of the domain translated to.

    Args:
        run: a run that translates.
        data: data set of domain A; None reloads it.
        to: data set of domain B; None reloads it.
        measuring: settings for comparing sets.
        seed: seed of the translations.
        root: folder of named data sets; None for that of the fit.

    Returns:
        Results whose `sets` are ``translation-b``, test examples of A translated to B against the test set of B,
        ``translation-a`` for the reverse, and ``floor-b`` and ``floor-a``, real training examples of each domain. Its
        `reconstruction` has ``cycle_a`` and ``cycle_b``, the mean squared errors of translating there and back.

    Raises:
        ValueError: the data are not the run's, a setting is not for this kind of data, or there are too few examples.
    """
    for name in ("A", "B"):
        kind = domain_kind(run, name)
        row_of(kind).check(measuring, kind)
    domain_a = domain(run, "A", root) if data is None else data
    domain_b = domain(run, "B", root) if to is None else to
    run.check_data(domain_a)
    if fingerprint(domain_b.train) != run.settings.to_fingerprint:
        raise ValueError(
            f"the training data of {domain_b.name!r} are not those of the run's domain B; give the `to` of the fit"
        )
    directions = {
        "b": _translated(run, domain_a, evaluator_for(domain_b, measuring), "B", seed),
        "a": _translated(run, domain_b, evaluator_for(domain_a, measuring), "A", seed),
    }
    evaluators = {name: direction.evaluator for name, direction in directions.items()}
    extractors = dict.fromkeys(evaluator.metric.removeprefix("frechet-") for evaluator in evaluators.values())
    metric = "frechet-" + " and ".join(extractors)
    sets = {f"translation-{name}": d.evaluator.measure(d.translations) for name, d in directions.items()}
    results = Results(
        protocol={
            "translations": "one of each test example, against the test set of the domain it is translated to",
            **{f"domain {name}": evaluators[name].protocol() for name in ("a", "b")},
            **stamp(f"{domain_a.name}, {domain_b.name}", seed),
        },
        metric=evaluators["b"].metric if len(extractors) == 1 else metric,
        own=run.own,
        sets=Sets(sets | {f"floor-{name}": evaluator.floor for name, evaluator in evaluators.items()}),
        reconstruction=Scores({"cycle_a": directions["b"].cycle, "cycle_b": directions["a"].cycle}),
        training=training_facts(run),
    )
    return written(run, results, _pictures(directions) if domain_a.is_image and domain_b.is_image else {})


def _translated(run: Run, source: Dataset, evaluator: Evaluator, to: str, seed: int) -> Direction:
    """Translate the test examples that are compared, and translate the translations back."""
    originals = source.test[sample_rows(len(source.test), evaluator.n)]
    translations = translate(run, originals, to, 1, seed=seed)[:, 0]
    back = translate(run, translations, "A" if to == "B" else "B", 1, seed=seed)[:, 0]
    return Direction(evaluator, originals, translations, back)


def _pictures(directions: dict[str, Direction]) -> dict[str, NDArray[np.generic]]:
    """Test images of domain A, and translations into each domain."""
    arrays = {f"samples_translation-{name}": d.translations[:SHOWN] for name, d in directions.items()}
    arrays["originals"] = directions["b"].originals[:SHOWN]
    return {name: metrics.to_uint8(x).numpy(force=True) for name, x in arrays.items()}
