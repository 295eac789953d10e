"""Clusters against classes: errors under both protocols of the field, purity, normalised mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["ClusterScore", "cluster_score"]


@dataclass(frozen=True)
class ClusterScore:
    """How clusters agree with classes on test points.

    Attributes:
        error_majority: a cluster is named by the majority of its labelled points; the share of test points misnamed.
        error_confident: a cluster is named by the labelled point that belongs to it most surely: the protocol of
            adversarial autoencoders (Makhzani et al., 2015, arXiv 1511.05644).
        nmi: mutual information of clusters and classes over the mean of their entropies.
        used: clusters that hold more than 1 % of the test points.
    """

    error_majority: float
    error_confident: float
    nmi: float
    used: int


def cluster_score(
    labelled: Float[Tensor, "N K"] | np.ndarray,
    labels: Int[Tensor, " N"] | np.ndarray,
    test: Float[Tensor, "M K"] | np.ndarray,
    test_labels: Int[Tensor, " M"] | np.ndarray,
) -> ClusterScore:
    """Name K clusters by labelled points, and count the test points whose cluster has another name.

    Args:
        labelled: q(k|x) of the points by which clusters are named, held out from training; rows of probabilities.
        labels: their classes, 0, 1, ...; points whose label is below 0, not known, are left out.
        test, test_labels: of the points that are counted. A point belongs to its likeliest cluster; one that no
            labelled point names counts as misnamed.

    Raises:
        ValueError: numbers of rows or columns that do not fit, labels that are no classes, no known ones at all.

    >>> p = torch.eye(3)[[0, 0, 1, 2, 2, 2]]
    >>> cluster_score(p, torch.tensor([1, 1, 0, 2, 2, 0]), p, torch.tensor([1, 1, 0, 2, 2, 2]))
    ClusterScore(error_majority=0.0, error_confident=0.0, nmi=1.0, used=3)
    """
    p, y, q, t = (torch.as_tensor(a) for a in (labelled, labels, test, test_labels))
    if p.ndim != 2 or q.ndim != 2 or p.shape[1] != q.shape[1] or len(p) != len(y) or len(q) != len(t):
        raise ValueError(
            f"probabilities have shapes {tuple(p.shape)} and {tuple(q.shape)} for {len(y)} and {len(t)} labels; give "
            "rows (N, K) and a label for each"
        )
    if y.ndim != 1 or t.ndim != 1 or y.is_floating_point() or t.is_floating_point():
        raise ValueError(
            f"labels have shapes {tuple(y.shape)} and {tuple(t.shape)}, {y.dtype} and {t.dtype}; classes are whole "
            "numbers, one a point"
        )
    p, y, q, t = p[y >= 0], y[y >= 0], q[t >= 0], t[t >= 0]
    if not len(y) or not len(t):
        raise ValueError("there are no labels; naming clusters takes some labelled points")
    # however the classes are numbered
    both = torch.cat([y, t]).unique(return_inverse=True)[1]
    y, t = both.split([len(y), len(t)])
    clusters, classes = p.shape[1], int(both.max()) + 1
    table = torch.zeros(clusters, classes).index_put((p.argmax(1), y.long()), torch.ones(len(y)), accumulate=True)
    majority = torch.where(table.sum(1) > 0, table.argmax(1), -1)
    confident = y.long()[p.argmax(0)]
    found = q.argmax(1)
    joint = torch.zeros(clusters, classes).index_put((found, t.long()), torch.ones(len(t)), accumulate=True) / len(t)
    a, b = joint.sum(1), joint.sum(0)
    entropy = lambda v: -(v[v > 0] * v[v > 0].log()).sum()  # noqa: E731
    shared = entropy(a) + entropy(b) - entropy(joint.flatten())
    mean = 0.5 * (entropy(a) + entropy(b))
    return ClusterScore(
        float((majority[found] != t).double().mean()),
        float((confident[found] != t).double().mean()),
        round(float(shared / mean), 6) if mean > 0 else 1.0,
        int((a > 0.01).sum()),
    )
