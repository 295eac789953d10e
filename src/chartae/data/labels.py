"""Which labels a semi-supervised recipe may see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from chartae.data import Dataset

__all__ = ["class_codes", "class_labels", "known_labels"]


def class_codes(y: Any, n: int, *, alone: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The classes (K,) that `n` labels name, in order, and the number of each label's class, -1 where it is unknown.

    Labels are whole numbers or text; -1, or the text "-1", is no class but a label that is not known. A class `alone`
    is refused, as there is nothing to learn, unless that is said to do.

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
    found = np.full(n, -1)
    found[known] = np.searchsorted(classes, y[known])
    return classes, found


def _of_objects(y: np.ndarray) -> np.ndarray:
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


def known_labels(data: Dataset, options: dict[str, Any], seed: int) -> tuple[Tensor, dict[str, Any]]:
    """The labels that a semi-supervised recipe may see, -1 where there are none, and its options with the classes.

    Raises:
        ValueError: no labels, a class without any, or fewer than two classes.
    """
    y = data.train_labels
    if y is None or y.is_floating_point() or y.ndim != 1:
        kind = "no" if y is None else "continuous" if y.is_floating_point() else f"{y.ndim}-dimensional"
        raise ValueError(f"{data.name} has {kind} labels; give a class for each (0, 1, ...; -1 where not known)")
    if not (y >= 0).any():
        raise ValueError(f"all {len(y)} labels are missing (-1); give at least one for each class, or use iae-cluster")
    there, sizes = y[y >= 0].unique(return_counts=True)
    last, given = int(there[-1]), options.get("classes")
    classes = int(given) if given is not None else last + 1
    if classes < 2:
        raise ValueError(f"there is {classes} class; semi-supervised recipes learn two or more")
    if last >= classes or len(there) < classes:
        without = [k for k in range(min(classes, 1 << 16)) if k not in set(there.tolist())]
        told = ", ".join(map(str, without[:10])) + (" and more" if len(without) > 10 else "") if without else "none"
        raise ValueError(
            f"there are {classes} classes, labels run up to {last}, and classes without a label: {told}; number the "
            "classes 0, 1, ... and give each at least one label"
        )
    if (wanted := options.get("labels")) is not None:
        wanted, there_are = int(wanted), int(sizes.sum())
        if not classes <= wanted <= there_are:
            raise ValueError(
                f"labels is {wanted}, but there are {classes} classes and {there_are} labelled examples; "
                "ask for at least one a class, and no more than there are"
            )
        y = _kept(y, wanted, classes, seed)
    return y, options | {"classes": classes}


def _kept(y: Tensor, wanted: int, classes: int, seed: int) -> Tensor:
    """Labels of `wanted` examples, as evenly over the classes as they allow; -1 for the rest."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    queues = [order[y[order] == k].tolist() for k in range(classes)]
    kept: list[int] = []
    while len(kept) < wanted:
        kept += [queue.pop() for queue in queues if queue][: wanted - len(kept)]
    found = torch.full_like(y, -1)
    found[kept] = y[kept]
    return found
