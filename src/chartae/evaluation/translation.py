"""Translations between two domains, measured in each against its test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chartae import metrics
from chartae.data import Dataset
from chartae.evaluation.base import Evaluator, Measuring, evaluator_for, row_of
from chartae.evaluation.writing import stamp, training_facts, write
from chartae.maths import as_float, sample_rows
from chartae.records.results import Results, Scores, Sets
from chartae.runs import Run, domain, domain_kind, fingerprint, translate

__all__ = ["evaluate_translation"]

#: examples of each domain that are kept to be looked at
SHOWN = 32


@dataclass(frozen=True)
class Direction:
    """Translations of one domain's test examples into another.

    Attributes:
        evaluator: of the domain that they are translated to.
        originals: examples of the other domain, in its units.
        translations: one of each, in the units of the domain that they are translated to.
        back: the translations, translated back.
    """

    evaluator: Evaluator
    originals: Tensor
    translations: Tensor
    back: Tensor

    @property
    def cycle(self) -> float:
        """The mean squared error of what was translated there and back."""
        return float(metrics.mse(as_float(self.originals).to(self.back.device), self.back).mean())


def evaluate_translation(
    run: Run, data: Dataset | None, to: Dataset | None, measuring: Measuring, *, seed: int, root: str | Path | None
) -> Results:
    """Measure a run's translations: one of each test example, against the test set of the domain it is translated to.

    Args:
        run: one that translates.
        data, to: its domains A and B; loaded again where they are not given.
        measuring: how sets are compared.
        seed: of the translations.
        root: where named data lie.

    Returns:
        `sets`: ``translation-b``, test examples of A translated to B, against the test set of B, and ``translation-a``
        the other way; ``floor-b`` and ``floor-a``, as many real training examples of each domain. `reconstruction`:
        ``cycle_a`` and ``cycle_b``, the mean squared errors of examples that were translated there and back.

    Raises:
        ValueError: other data than the run's, an option that they do not go with, or too few examples.
    """
    for name in ("A", "B"):
        kind = domain_kind(run, name)
        row_of(kind).check(measuring, kind)
    first = domain(run, "A", root) if data is None else data
    second = domain(run, "B", root) if to is None else to
    run.check_data(first)
    if fingerprint(second.train) != run.settings.to_fingerprint:
        raise ValueError(f"the training data of {second.name!r} are not those of the run's domain B")
    ways = {
        "b": _translated(run, first, evaluator_for(second, measuring), "B", seed),
        "a": _translated(run, second, evaluator_for(first, measuring), "A", seed),
    }
    evaluators = {name: way.evaluator for name, way in ways.items()}
    extractors = dict.fromkeys(evaluator.metric.removeprefix("frechet-") for evaluator in evaluators.values())
    metric = "frechet-" + " and ".join(extractors)
    sets = {f"translation-{name}": way.evaluator.measure(way.translations) for name, way in ways.items()}
    results = Results(
        protocol={
            "translations": "one of each test example, against the test set of the domain it is translated to",
            **{f"domain {name}": evaluators[name].protocol() for name in ("a", "b")},
            **stamp(f"{first.name}, {second.name}", seed),
        },
        metric=evaluators["b"].metric if len(extractors) == 1 else metric,
        own=run.own,
        sets=Sets(sets | {f"floor-{name}": evaluator.floor for name, evaluator in evaluators.items()}),
        reconstruction=Scores({"cycle_a": ways["b"].cycle, "cycle_b": ways["a"].cycle}),
        training=training_facts(run),
    )
    write(run, results, _pictures(ways) if first.is_image and second.is_image else {})
    return results


def _translated(run: Run, source: Dataset, evaluator: Evaluator, to: str, seed: int) -> Direction:
    """One translation of each of the test examples that are compared, and the way back."""
    originals = source.test[sample_rows(len(source.test), evaluator.n)]
    translations = translate(run, originals, to, 1, seed=seed)[:, 0]
    back = translate(run, translations, "A" if to == "B" else "B", 1, seed=seed)[:, 0]
    return Direction(evaluator, originals, translations, back)


def _pictures(ways: dict[str, Direction]) -> dict[str, NDArray[np.generic]]:
    """Test pictures of A, and translations into each domain."""
    arrays = {f"samples_translation-{name}": way.translations[:SHOWN] for name, way in ways.items()}
    arrays["originals"] = ways["b"].originals[:SHOWN]
    return {name: metrics.to_uint8(x).numpy(force=True) for name, x in arrays.items()}
