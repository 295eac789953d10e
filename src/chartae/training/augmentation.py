"""Augmentation: random changes of the training examples, new in every step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from chartae.conditionals import Corruption, Crop, Flip, Jitter
from chartae.data import Batch
from chartae.records.training import AUGMENTATIONS, Augment, names_of

__all__ = ["Augmentation", "augmentation_name"]

#: name -> the corruption that changes the pictures; the same classes give the views of `Guided`
VIEWS: dict[str, Callable[[], Corruption]] = {
    "flip": Flip,
    "crop": Crop,
    "rotate": lambda: Jitter(degrees=15.0, shift=0.0, scale=0.0, shear=0.0, padding="border"),
}
assert set(VIEWS) == set(AUGMENTATIONS)


class Augmentation:
    """Random changes of the examples of a training batch, and of its partners if it has any.

    Args:
        augment: names in `VIEWS`, separated by commas, which are applied in this order; or a function from examples
            (n, *S) in the model's form to examples of the same shape.

    >>> import torch
    >>> from chartae.data import Batch
    >>> from chartae.training.augmentation import Augmentation
    >>> Augmentation("flip,crop")(Batch(torch.rand(4, 1, 8, 8))).x.shape
    torch.Size([4, 1, 8, 8])
    """

    def __init__(self, augment: Augment) -> None:
        if isinstance(augment, str):
            views = [VIEWS[name]() for name in names_of(augment)]
            self._change: Callable[[Tensor], Tensor] = lambda x: functools.reduce(lambda a, v: v(a).sample(), views, x)
        else:
            self._change = lambda x: augment(x.clone())  # it may write into what it is given

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """The batch with changed examples.

        Raises:
            TypeError, ValueError: the function returns no tensor, or one of another shape or dtype.
        """
        partner = None if batch.partner is None else self._changed(batch.partner)
        return replace(batch, x=self._changed(batch.x), partner=partner)

    def _changed(self, x: Tensor) -> Tensor:
        changed = self._change(x)
        if not isinstance(changed, Tensor):
            raise TypeError(
                f"augment returns a {type(changed).__name__}; expected a tensor {tuple(x.shape)}, as it was given"
            )
        if changed.shape != x.shape or changed.dtype != x.dtype:
            raise ValueError(
                f"augment returns {changed.dtype} of shape {tuple(changed.shape)}; expected {x.dtype} of shape "
                f"{tuple(x.shape)}, as it was given. Return a batch of the same examples, changed."
            )
        return changed


def augmentation_name(augment: Augment | None) -> str:
    """What a run stores of its augmentation.

    Args:
        augment: names, a function, or None.

    Returns:
        The names, separated by commas; ``"own: "`` and the qualified name of a function, or of the class of another
        callable object; empty for None.

    >>> from chartae.training.augmentation import augmentation_name
    >>> augmentation_name("flip, crop"), augmentation_name(torch.nn.Identity()), augmentation_name(None)
    ('flip,crop', 'own: torch.nn.modules.linear.Identity', '')
    """
    if augment is None:
        return ""
    if isinstance(augment, str):
        return ",".join(names_of(augment))
    while isinstance(augment, functools.partial):
        augment = augment.func
    named = augment if inspect.isroutine(augment) or inspect.isclass(augment) else type(augment)
    return f"own: {named.__module__}.{named.__qualname__}"
