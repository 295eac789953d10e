"""Compare the clusters or classes in a run's code with the class labels of the data."""

from __future__ import annotations

from chartae import metrics
from chartae.data import Dataset
from chartae.data.labels import class_labels
from chartae.runs import Run

__all__ = ["class_error", "clusters_of"]


def class_error(run: Run, data: Dataset) -> float:
    """Classification error on the test set: the fraction of labelled examples whose predicted class is wrong.

    Args:
        run: a run that learnt from labels, such as one of ``"aae-semisup"``.
        data: data set with class labels in its test split; -1 marks an unknown label.

    Returns:
        The error, in [0, 1].

    Raises:
        ValueError: the test set has no class labels.
        TypeError: the code of the run holds no category.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.evaluation import class_error
    >>> y = torch.arange(12) % 2
    >>> data = ch.data.from_arrays(torch.randn(12, 3), y, valid=0.2, test=0.2)
    >>> run = ch.fit("aae-semisup", data, latent_dim=1, epochs=1, net="smooth:8", progress=False)
    >>> 0 <= class_error(run, data) <= 1
    True
    """
    labels = data.test_labels
    if labels is None or not class_labels(labels):
        raise ValueError(f"the test set of {data.name} has no class labels to compare with; give data with test labels")
    wrong = run.categories(data.test, data.conditions("test")).argmax(1).cpu() != labels
    return float(wrong[labels >= 0].double().mean())


def clusters_of(run: Run, data: Dataset) -> metrics.ClusterScore:
    """Compare the clusters of a run with the classes of the test set.

    Each cluster is assigned to a class on the validation set, and the assignment is evaluated on the test set.

    Args:
        run: a run whose code holds a category, such as one of ``"aae-cluster"``.
        data: data set with class labels in its validation and test splits.

    Returns:
        Error rates and indices of agreement.

    Raises:
        ValueError: the validation or test set has no class labels.
        TypeError: the code of the run holds no category.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.evaluation import clusters_of
    >>> y = torch.arange(12) % 2
    >>> data = ch.data.from_arrays(torch.randn(12, 3), y, valid=0.2, test=0.2)
    >>> run = ch.fit("aae-cluster", data, clusters=2, latent_dim=1, epochs=1, net="smooth:8", progress=False)
    >>> 0 <= clusters_of(run, data).error_majority <= 1
    True
    """
    valid, test = data.valid_labels, data.test_labels
    if valid is None or test is None or not (class_labels(valid) and class_labels(test)):
        missing = "test" if class_labels(valid) else "validation"
        raise ValueError(
            f"the {missing} set of {data.name} has no class labels to compare clusters with; give data with labels"
        )
    p_valid = run.categories(data.valid, data.conditions("valid")).cpu()
    p_test = run.categories(data.test, data.conditions("test")).cpu()
    return metrics.cluster_score(p_valid, valid, p_test, test)
