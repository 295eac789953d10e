"""Which labels a semi-supervised recipe may see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from chartae.data import Dataset

__all__ = ["known_labels"]


def known_labels(data: Dataset, options: dict[str, Any], seed: int) -> tuple[Tensor, dict[str, Any]]:
    """The labels that a semi-supervised recipe may see, -1 where there are none, and its options with the classes.

    Raises:
        ValueError: no labels, or a class without any.
    """
    y = data.train_labels
    if y is None or y.is_floating_point() or y.ndim != 1:
        raise ValueError(f"{data.name} has no class labels; give some (0, 1, ...; -1 for an example without)")
    if not (y >= 0).any():
        raise ValueError(f"all {len(y)} labels are missing (-1); give at least one for each class, or use iae-cluster")
    counts = torch.bincount(y[y >= 0])
    classes = int(options.get("classes") or len(counts))
    counts = torch.nn.functional.pad(counts, (0, max(0, classes - len(counts))))
    if (counts[:classes] == 0).any() or len(counts) > classes:
        empty = ", ".join(map(str, (counts[:classes] == 0).nonzero()[:, 0].tolist())) or "none"
        raise ValueError(
            f"there are {classes} classes, labels run up to {len(counts) - 1}, and classes without a label: {empty}; "
            "give each class at least one"
        )
    if (wanted := options.get("labels")) is not None:
        wanted = int(wanted)
        if not classes <= wanted <= int(counts.sum()):
            raise ValueError(
                f"labels is {wanted}, but there are {classes} classes and {int(counts.sum())} labelled examples; "
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
