"""Data sets of PyTorch, which give one item for each number: examples, with or without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch.utils.data
from torch import Tensor

__all__ = ["Items", "examples_of", "is_items", "items_of"]

#: names of examples and of labels in items that are dictionaries, the preferred ones first
_EXAMPLES = ("data", "x", "image", "images", "pixel_values", "input", "inputs")
_LABELS = ("labels", "label", "y", "target")


@dataclass(frozen=True)
class Items:
    """The items of a data set of PyTorch.

    Attributes:
        examples: the examples, in order.
        labels: one whole number, other number or text for each; None if the items have none.
        notes: what was decided, in sentences.
    """

    examples: list[object]
    labels: list[object] | None
    notes: tuple[str, ...]


def is_items(x: object) -> TypeGuard[torch.utils.data.Dataset[object]]:
    """Whether `x` is a data set of PyTorch with numbered items."""
    return isinstance(x, torch.utils.data.Dataset) and not isinstance(x, torch.utils.data.IterableDataset)


def items_of(x: torch.utils.data.Dataset[object]) -> Items:
    """Read every item of a data set of PyTorch once.

    An item is an example, a tuple that begins with one (and a label), or a dictionary of them.

    Args:
        x: data set with ``len(x)`` items.

    Raises:
        ValueError: it has no length, or its items have no example.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from chartae.data.items import items_of
    >>> items_of(TensorDataset(torch.eye(3), torch.tensor([0, 1, 0]))).labels
    [0, 1, 0]
    """
    name = type(x).__name__
    if not isinstance(x, Sized):
        raise ValueError(f"x is a {name} without a length; expected one with numbered items. Give a list of them.")
    pairs = [_pair(x[i], name) for i in range(len(x))]
    labels = [_plain(label) for _, label in pairs]
    notes = [f"The {len(pairs):,} items of the {name} are read once, with what its transforms draw."]
    if any(label is not None for label in labels):
        if all(isinstance(label, int | float | str | np.generic) for label in labels):
            return Items([example for example, _ in pairs], labels, (*notes, "The second part of each is its label."))
        notes.append("The second part of each is no label, and left out.")
    return Items([example for example, _ in pairs], None, tuple(notes))


def examples_of(x: object) -> object:
    """The examples of a data set of PyTorch; anything else as it is."""
    return items_of(x).examples if is_items(x) else x


def _pair(item: object, name: str) -> tuple[object, object]:
    """Example and label of an item; None without a label."""
    if isinstance(item, Mapping):
        examples = [key for key in _EXAMPLES if key in item] or list(item)[:1]
        labels = [key for key in _LABELS if key in item]
        if not examples:
            raise ValueError(f"an item of the {name} is empty; expected an example.")
        return item[examples[0]], item[labels[0]] if labels else None
    if isinstance(item, Sequence) and not isinstance(item, str) and all(not np.isscalar(part) for part in item[:1]):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _plain(label: object) -> object:
    """A label as a plain number or text, if it is one."""
    if isinstance(label, Tensor):
        label = label.detach().cpu().numpy()
    return label.item() if isinstance(label, np.ndarray) and label.size == 1 else label
