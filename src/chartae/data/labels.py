"""Convert labels to classes, and choose the labels that a semi-supervised recipe trains on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from chartae.data.headers import is_missing
from chartae.data.notes import guess
from chartae.records.files import quoted

__all__ = ["choose_labels", "class_codes", "class_labels", "known_labels"]

#: numbers that text keeps as they are written, such as zip codes
_PADDED = re.compile(r"[-+]?0\d")


def class_codes(
    y: ArrayLike | Tensor, n: int, *, allow_one_class: bool = False
) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Find the classes among `n` labels, and number the class of each label.

    Args:
        y: (n,) or (n, 1) labels: whole numbers or text; -1, or the text "-1", marks an unknown label.
        n: number of examples.
        allow_one_class: whether all labels may be of one class; default False, as one class teaches nothing.

    Returns:
        (classes, codes): the K distinct classes, sorted, and for each label the number of its class, 0 to K - 1, or
        -1 if it is unknown.

    Raises:
        ValueError: there is not one label for each example, or labels are continuous, NaN, all unknown, or of one
            class only.
        TypeError: the labels are neither numbers nor text.

    >>> class_codes(["b", "a", "-1", "b"], 4)
    (array(['a', 'b'], dtype='<U2'), array([ 1,  0, -1,  1]))
    """
    y = y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != n:
        raise ValueError(f"y has shape {y.shape} for {n} examples; expected one class for each, -1 where unknown.")
    if y.dtype.kind == "O":
        y = _from_objects(y)
    if y.dtype.kind not in "biufUS":
        raise TypeError(f"y has dtype {y.dtype}; expected classes: whole numbers or text, -1 where unknown.")
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        fault = "NaN" if np.isnan(y).any() else "fractions"
        raise ValueError(f"y holds {fault}; expected classes: whole numbers or text, -1 where unknown.")
    known = y != ("-1" if y.dtype.kind in "US" else -1)
    classes = np.unique(y[known])
    if not len(classes):
        raise ValueError(f"all {n} labels in y are unknown (-1); expected at least one label for each class.")
    if len(classes) == 1 and not allow_one_class:
        raise ValueError(
            f"y has one class, {quoted(classes[0])}; expected two or more. -1 is not a class: it marks an"
            f" unknown label."
        )
    codes = np.full(n, -1)
    codes[known] = np.searchsorted(classes, y[known])
    return classes, codes


def _from_objects(y: NDArray[np.object_]) -> NDArray[np.generic]:
    """Convert an object array to text (the number -1 becomes "-1") or to numbers."""
    if all(isinstance(v, str) or (isinstance(v, int | np.integer) and v == -1) for v in y):
        return y.astype(str)
    if all(isinstance(v, int | float | np.number) for v in y):
        return y.astype(float)
    kinds = ", ".join(sorted({type(v).__name__ for v in y}))
    raise TypeError(f"y holds {kinds}; expected classes: whole numbers or text, -1 where unknown.")


def known_labels(cells: Sequence[object], name: str | int, source: str) -> tuple[NDArray[np.generic], list[str]]:
    """Convert a column of labels to an array in which missing ones are unknown (-1).

    Args:
        cells: one number or text for each row; None, NaN, NA, ? and empty text are missing.
        name: name of the column.
        source: what to call the table in messages.

    Returns:
        (labels, notes): int64 if all known labels are whole numbers, float64 if they are other numbers, otherwise text;
        -1 or "-1" where the label is missing; and what was decided, in sentences.

    Raises:
        ValueError: all labels are missing, or some of them where the others are fractions.

    >>> known_labels(["b", "NA", "a"], "kind", "trees.csv")
    (array(['b', '-1', 'a'], dtype='<U2'), ["1 of 3 labels in column 'kind' is missing ('NA'), and unknown (-1)."])
    """
    values = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
    missing = np.array([cell is None or cell != cell or is_missing(str(cell)) for cell in values], bool)
    count, n = int(missing.sum()), len(values)
    if count == n:
        raise ValueError(
            f"all {n} labels in column {quoted(name)} of {source} are missing; expected some. Give label=''."
        )
    known = [str(cell) for cell, absent in zip(values, missing, strict=True) if not absent]
    padded = next((cell for cell in known if _PADDED.match(cell)), "")
    try:
        numbers = np.array([] if padded else [float(cell) for cell in known])
    except ValueError:
        numbers = np.array([])
    notes = []
    if padded:
        notes.append(
            f"Labels in column {quoted(name)} have leading zeros, such as {quoted(padded)}, and are read as text."
        )
    labels: NDArray[np.generic]
    if not len(numbers):
        labels = np.full(n, "-1", object)
        labels[~missing] = known
        labels = labels.astype(str)
    elif np.array_equal(numbers, np.rint(numbers)) and np.abs(numbers).max() < 2**53:
        labels = np.full(n, -1)
        labels[~missing] = numbers.astype(np.int64)
    elif count:
        raise ValueError(
            f"{count} of {n} labels in column {quoted(name)} of {source} are missing, and the others are not classes;"
            " expected a number in every row. Drop these rows."
        )
    else:
        labels = numbers
    if count:
        absent = {cell for cell, gone in zip(values, missing, strict=True) if gone and isinstance(cell, str)} - {""}
        written = f" ({', '.join(map(repr, sorted(absent)))})" if absent else ""
        sentence = (
            f"{count:,} of {n:,} labels in column {quoted(name)} {'are' if count > 1 else 'is'}"
            f" missing{written}, and unknown"
            " (-1)."
        )
        are_codes = absent and all(re.fullmatch("[A-Z]{2,3}", cell) for cell in [*known, *absent])
        remedy = " If 'NA' is a class, such as a country, rename it."
        notes.append(guess(sentence + remedy) if are_codes else sentence)
    if labels.dtype.kind in "US":
        notes += _unlikely(known, name)
    if minus := sum(cell in ("-1", "-1.0") for cell in known):
        sentence = f"{minus:,} of {n:,} labels in column {quoted(name)} are -1, which marks an unknown label."
        others = {cell for cell in known if cell not in ("-1", "-1.0")}
        notes.append(guess(f"{sentence} Rename the class if it is one.") if len(others) < 2 else sentence)
    return labels, notes


def _unlikely(known: Sequence[str], name: str | int) -> Iterator[str]:
    """Sentences about classes of text that are unlikely to be meant."""
    classes = sorted(set(known))
    alike: dict[str, list[str]] = {}
    for one in classes:
        alike.setdefault(one.casefold(), []).append(one)
    if pairs := [group for group in alike.values() if len(group) > 1]:
        yield guess(
            f"Classes {' and '.join(map(repr, pairs[0]))} in column {quoted(name)} differ in upper and lower"
            f" case alone."
            " Write them alike if they are one class."
        )
    if len(known) >= 20 and 2 * len(classes) > len(known):
        yield (
            f"Column {quoted(name)} has {len(classes):,} classes in {len(known):,} rows, which is nearly one"
            f" for each row."
        )


def class_labels(y: Tensor | None) -> bool:
    """Whether labels are classes: one whole number for each example, at least one of them known (>= 0)."""
    return y is not None and y.ndim == 1 and not y.is_floating_point() and bool((y >= 0).any())


def choose_labels(
    labels: Tensor | None, *, classes: int | None = None, keep: int | None = None, name: str = "the data", seed: int = 0
) -> Tensor:
    """Choose the labels that a semi-supervised recipe trains on.

    Args:
        labels: (N,) classes 0, 1, ... of the training examples, -1 where the class is unknown.
        classes: number of classes, >= 2; by default one more than the largest label.
        keep: number of labels to keep, from `classes` to the number of known labels, spread as evenly as possible
            over the classes; all by default.
        name: name of the data in error messages.
        seed: seed of the choice; default 0.

    Returns:
        (N,) int64 labels, -1 where the label is unknown or not kept.

    Raises:
        ValueError: there are no labels, they are not classes, a class has none, there are fewer than two classes, or
            `keep` is out of range.

    >>> choose_labels(torch.tensor([0, 1, -1, 1, 0]), keep=2)
    tensor([ 0, -1, -1,  1, -1])
    """
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        kind = "no" if labels is None else "continuous" if labels.is_floating_point() else f"{labels.ndim}-dimensional"
        raise ValueError(f"{name} has {kind} labels; expected one class for each example: 0, 1, ..., -1 where unknown.")
    if not (labels >= 0).any():
        raise ValueError(
            f"all {len(labels)} labels are unknown (-1); expected at least one for each class. Give some, or use a "
            "recipe that learns clusters without labels."
        )
    present, sizes = labels[labels >= 0].unique(return_counts=True)
    last = int(present[-1])
    classes = last + 1 if classes is None else int(classes)
    if classes < 2:
        raise ValueError(f"classes is {classes}; expected two or more for a semi-supervised recipe.")
    if last >= classes or len(present) < classes:
        labelled = set(present.tolist())
        without = [k for k in range(min(classes, 1 << 16)) if k not in labelled]
        listed = ", ".join(map(str, without[:10])) + " and more" * (len(without) > 10) if without else "none"
        raise ValueError(
            f"labels run up to {last} and the classes without a label are {listed}; expected labels of all {classes} "
            f"classes, 0 to {classes - 1}. Number the classes 0, 1, ... and give each at least one label."
        )
    if keep is None:
        return labels
    total = int(sizes.sum())
    if not classes <= keep <= total:
        raise ValueError(
            f"labels is {keep}; expected at least {classes}, one for each class, and at most {total}, the number of "
            "labelled examples."
        )
    return _evenly(labels, keep, classes, seed)


def _evenly(y: Tensor, keep: int, classes: int, seed: int) -> Tensor:
    """Labels of `keep` examples, spread as evenly as possible over the classes; -1 for all others."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    queues = [order[y[order] == k].tolist() for k in range(classes)]
    kept: list[int] = []
    while len(kept) < keep:
        kept += [queue.pop() for queue in queues if queue][: keep - len(kept)]
    labels = torch.full_like(y, -1)
    labels[kept] = y[kept]
    return labels
