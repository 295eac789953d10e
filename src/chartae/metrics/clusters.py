"""Metrics that compare clusters with classes: error under the two usual protocols, normalised mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["ClusterScore", "cluster_score"]


@dataclass(frozen=True)
class ClusterScore:
    """How clusters agree with classes on test points; returned by `cluster_score`.

    Attributes:
        error_majority: share of misclassified test points, from 0 to 1, where each cluster predicts the majority class
            of its labelled points.
        error_confident: the same where each cluster predicts the class of the labelled point with the highest
            probability q(k|x) for it, the protocol of adversarial autoencoders (Makhzani et al., 2015,
            arXiv 1511.05644).
        nmi: normalised mutual information, I(cluster; class) / ½ (H(cluster) + H(class)), from 0 to 1.
        used: number of clusters that hold more than 1 % of the test points.

    >>> import torch
    >>> from chartae.metrics import cluster_score
    >>> p = torch.eye(2)[[0, 0, 1, 1]]
    >>> result = cluster_score(p, torch.tensor([3, 3, 7, 7]), p, torch.tensor([3, 3, 7, 3]))
    >>> result.error_majority, result.used
    (0.25, 2)
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
    """Assign a class to each of K clusters by labelled points, and measure the error on test points.

    A point belongs to its most probable cluster. A test point whose cluster contains no labelled point counts as an
    error in `error_majority`.

    Args:
        labelled: q(k|x) of the labelled points (N, K), held out from training; rows of probabilities.
        labels: classes of the labelled points (N,), whole numbers; a label below 0 means unknown, and its point is left
            out.
        test: q(k|x) of the test points (M, K).
        test_labels: classes of the test points (M,), as for `labels`.

    Returns:
        Both errors, the normalised mutual information, and the number of clusters in use.

    Raises:
        ValueError: the numbers of rows or columns differ, the labels are not whole numbers, or none is known.

    >>> import torch
    >>> from chartae.metrics import cluster_score
    >>> p = torch.eye(3)[[0, 0, 1, 2, 2, 2]]
    >>> cluster_score(p, torch.tensor([1, 1, 0, 2, 2, 0]), p, torch.tensor([1, 1, 0, 2, 2, 2]))
    ClusterScore(error_majority=0.0, error_confident=0.0, nmi=1.0, used=3)
    """
    p, y, q, t = (torch.as_tensor(a) for a in (labelled, labels, test, test_labels))
    if p.ndim != 2 or q.ndim != 2 or p.shape[1] != q.shape[1] or len(p) != len(y) or len(q) != len(t):
        raise ValueError(
            f"labelled and test have shapes {tuple(p.shape)} and {tuple(q.shape)}, with {len(y)} and {len(t)} labels; "
            "expected probabilities (N, K) and (M, K), with one label per row"
        )
    if y.ndim != 1 or t.ndim != 1 or y.is_floating_point() or t.is_floating_point():
        raise ValueError(
            f"labels and test_labels have shapes {tuple(y.shape)} and {tuple(t.shape)} and dtypes {y.dtype} and "
            f"{t.dtype}; expected vectors of whole numbers, one class per point"
        )
    p, y, q, t = p[y >= 0], y[y >= 0], q[t >= 0], t[t >= 0]
    if not len(y) or not len(t):
        raise ValueError(
            f"there are {len(y)} labelled points and {len(t)} test points with a known label; expected at least one "
            "of each"
        )
    # classes may be numbered in any way
    both = torch.cat([y, t]).unique(return_inverse=True)[1]
    y, t = both.split([len(y), len(t)])
    clusters, classes = p.shape[1], int(both.max()) + 1
    table = torch.zeros(clusters, classes).index_put((p.argmax(1), y.long()), torch.ones(len(y)), accumulate=True)
    majority = torch.where(table.sum(1) > 0, table.argmax(1), -1)
    confident = y.long()[p.argmax(0)]
    assigned = q.argmax(1)
    joint = torch.zeros(clusters, classes).index_put((assigned, t.long()), torch.ones(len(t)), accumulate=True) / len(t)
    a, b = joint.sum(1), joint.sum(0)
    entropy = lambda v: -(v[v > 0] * v[v > 0].log()).sum()  # noqa: E731
    shared = entropy(a) + entropy(b) - entropy(joint.flatten())
    mean = 0.5 * (entropy(a) + entropy(b))
    return ClusterScore(
        float((majority[assigned] != t).double().mean()),
        float((confident[assigned] != t).double().mean()),
        round(float(shared / mean), 6) if mean > 0 else 1.0,
        int((a > 0.01).sum()),
    )
