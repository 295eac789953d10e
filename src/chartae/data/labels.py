"""Labels as classes, and which of them a semi-supervised recipe may see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["choose_labels", "class_codes", "class_labels"]


def class_codes(y: ArrayLike | Tensor, n: int, *, alone: bool = False) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """The classes (K,) that `n` labels name, in order, and the number of each label's class, -1 where it is unknown.

    Args:
        y: whole numbers or text; -1, or the text "-1", is no class but a label that is not known.
        n: number of examples.
        alone: whether labels may name one class only, from which nothing can be learnt.

    Raises:
        ValueError: labels that do not fit the examples, continuous, missing otherwise than by -1, all missing, or of
            one class.
        TypeError: labels that are neither numbers nor text.

    >>> class_codes(["b", "a", "-1", "b"], 4)
    (array(['a', 'b'], dtype='<U2'), array([ 1,  0, -1,  1]))
    """
    y = y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != n:
        raise ValueError(f"y has shape {y.shape} for {n} examples; give one class for each, -1 where not known")
    if y.dtype.kind == "O":
        y = _of_objects(y)
    if y.dtype.kind not in "biufUS":
        raise TypeError(f"y has dtype {y.dtype}; classes are whole numbers or text, -1 where not known")
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        kind = "NaN" if np.isnan(y).any() else "fractions"
        raise ValueError(f"y holds {kind}; classes are whole numbers or text, -1 where not known")
    known = y != ("-1" if y.dtype.kind in "US" else -1)
    classes = np.unique(y[known])
    if not len(classes):
        raise ValueError(f"all {n} labels are missing (-1); give at least one for each class")
    if len(classes) == 1 and not alone:
        raise ValueError(
            f"y names one class, {classes[0]!r}, and two or more are learnt; -1 is no class, it marks what is not known"
        )
    codes = np.full(n, -1)
    codes[known] = np.searchsorted(classes, y[known])
    return classes, codes


def _of_objects(y: NDArray[np.object_]) -> NDArray[np.generic]:
    """Text, with -1 among it as "-1", or numbers."""
    if all(isinstance(v, str) or (isinstance(v, int | np.integer) and v == -1) for v in y):
        return y.astype(str)
    if all(isinstance(v, int | float | np.number) for v in y):
        return y.astype(float)
    kinds = ", ".join(sorted({type(v).__name__ for v in y}))
    raise TypeError(f"y holds {kinds}; classes are whole numbers or text, -1 where not known")


def class_labels(y: Tensor | None) -> bool:
    """Whether labels name classes: whole numbers, one an example, some of them known."""
    return y is not None and y.ndim == 1 and not y.is_floating_point() and bool((y >= 0).any())


def choose_labels(
    labels: Tensor | None, *, classes: int | None = None, keep: int | None = None, name: str = "the data", seed: int = 0
) -> Tensor:
    """The labels that a semi-supervised recipe may see.

    Args:
        labels: (N,) classes 0, 1, ... of the training examples, -1 where they are not known.
        classes: number of classes; by default one more than the largest label.
        keep: how many labels to keep, as evenly over the classes as they allow; all by default.
        name: of the data, for messages.
        seed: of the choice of labels that are kept.

    Returns:
        (N,) int64, -1 where there is no label or it is not kept.

    Raises:
        ValueError: no labels, labels that are no classes, a class without any, or fewer than two classes; more or fewer
            to keep than there can be.

    >>> choose_labels(torch.tensor([0, 1, -1, 1, 0]), keep=2)
    tensor([ 0, -1, -1,  1, -1])
    """
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        kind = "no" if labels is None else "continuous" if labels.is_floating_point() else f"{labels.ndim}-dimensional"
        raise ValueError(f"{name} has {kind} labels; give a class for each (0, 1, ...; -1 where not known)")
    if not (labels >= 0).any():
        raise ValueError(
            f"all {len(labels)} labels are missing (-1); give at least one for each class, or use a recipe that learns "
            "clusters without labels"
        )
    there, sizes = labels[labels >= 0].unique(return_counts=True)
    last = int(there[-1])
    classes = last + 1 if classes is None else int(classes)
    if classes < 2:
        raise ValueError(f"there is {classes} class; semi-supervised recipes learn two or more")
    if last >= classes or len(there) < classes:
        present = set(there.tolist())
        without = [k for k in range(min(classes, 1 << 16)) if k not in present]
        listed = ", ".join(map(str, without[:10])) + " and more" * (len(without) > 10) if without else "none"
        raise ValueError(
            f"there are {classes} classes, labels run up to {last}, and classes without a label: {listed}; number the "
            "classes 0, 1, ... and give each at least one label"
        )
    if keep is None:
        return labels
    total = int(sizes.sum())
    if not classes <= keep <= total:
        raise ValueError(
            f"labels is {keep}, but there are {classes} classes and {total} labelled examples; "
            "ask for at least one a class, and no more than there are"
        )
    return _kept(labels, keep, classes, seed)


def _kept(y: Tensor, wanted: int, classes: int, seed: int) -> Tensor:
    """Labels of `wanted` examples, as evenly over the classes as they allow; -1 for the rest."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    queues = [order[y[order] == k].tolist() for k in range(classes)]
    kept: list[int] = []
    while len(kept) < wanted:
        kept += [queue.pop() for queue in queues if queue][: wanted - len(kept)]
    labels = torch.full_like(y, -1)
    labels[kept] = y[kept]
    return labels
