"""How the categories that a run's code names agree with the classes of the data."""

from __future__ import annotations

from chartae import metrics
from chartae.data import Dataset
from chartae.data.labels import class_labels
from chartae.runs import Run

__all__ = ["class_error", "clusters_of"]


def class_error(run: Run, data: Dataset) -> float:
    """The share of the test examples with a label whose category is another.

    Raises:
        ValueError: a test set without class labels.
    """
    labels = data.test_labels
    if labels is None or not class_labels(labels):
        raise ValueError(f"the test set of {data.name} has no class labels, by which classes are judged; give some")
    wrong = run.categories(data.test, data.conditions("test")).argmax(1).cpu() != labels
    return float(wrong[labels >= 0].double().mean())


def clusters_of(run: Run, data: Dataset) -> metrics.ClusterScore:
    """How a run's categories agree with the classes of the test set; the validation set names them.

    Raises:
        ValueError: a validation or test set without class labels.
        TypeError: a run whose code names no category.
    """
    valid, test = data.valid_labels, data.test_labels
    if valid is None or test is None or not (class_labels(valid) and class_labels(test)):
        missing = "test" if class_labels(valid) else "validation"
        raise ValueError(
            f"the {missing} set of {data.name} has no class labels, by which clusters are judged; give some"
        )
    named = run.categories(data.valid, data.conditions("valid")).cpu()
    counted = run.categories(data.test, data.conditions("test")).cpu()
    return metrics.cluster_score(named, valid, counted, test)
