"""The settings of a training, as one object for the command line and the training loop.

This module imports torch only to check a device, so that the command line can list the settings as flags quickly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from chartae.records.choices import one_of
from chartae.records.settings import Plain

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

__all__ = ["AUGMENTATIONS", "OPTIMISERS", "PRECISIONS", "Augment", "Training", "names_of"]

#: settings that have a key of their own in run.toml, or none
KEYS = ("epochs", "batch_size", "lr", "seed", "precision", "augment", "device")
PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMISERS = ("adam", "adamw", "sgd")
AUGMENTATIONS = ("flip", "crop", "rotate")
#: the default plateau schedule, (factor, patience)
PLATEAU = (0.5, 5)
#: names of augmentations, or a function of a batch of examples
Augment: TypeAlias = "str | Callable[[Tensor], Tensor]"


class Trainable(Protocol):
    """The defaults for training that a `chartae.objectives.Objective` has."""

    @property
    def cosine(self) -> bool: ...

    @property
    def ema(self) -> float | None: ...

    @property
    def comparable(self) -> bool: ...


@dataclass(frozen=True)
class Training:
    """Settings of the training loop.

    Attributes:
        epochs: number of passes over the training data, >= 1; default 10.
        batch_size: number of examples in a batch, >= 1; default 128. A loop that is given `Batches` uses their size.
        lr: learning rate, > 0, as one number or one for each player; None (default) for the recipe's own, or 1e-3
            without a recipe.
        optimizer: ``"adam"`` (default), ``"adamw"``, ``"sgd"``, or a function from parameters to an optimiser.
        precision: ``"fp32"`` (default), ``"bf16"``, or ``"fp16"``, which needs a GPU and scales the loss.
        clip: largest gradient norm over a player's parameters, > 0; None (default) for no limit.
        plateau: (factor, patience): multiply the learning rate by `factor` after `patience` epochs without a better
            validation loss. None (default) for (0.5, 5) if there are validation data, the objective's loss is
            comparable between epochs, and the learning rate has no cosine schedule; False for no plateau schedule.
        cosine: whether the learning rate decays to zero along half a cosine; None (default) for the objective's choice.
        patience: number of epochs without a better validation loss after which training stops; None (default) for no
            early stopping.
        ema: decay of an exponential moving average of the weights, in (0, 1), which is then validated and kept; None
            (default) for the objective's choice, 0 for no average.
        seed: seed of all random numbers in training; default 0.
        device: device as PyTorch names it, such as ``"cpu"``; None (default) uses a GPU if there is one.
        compile: whether to compile the objective with `torch.compile`; default False.
        checkpoint_every: number of epochs between checkpoints, >= 1; None (default) for as many as keep the time of
            writing below a sixtieth of the training. An interrupt also writes one, at the next step, and so do ten
            minutes without one.
        augment: random changes of the training pictures, new in every step: ``"flip"`` (left to right), ``"crop"`` (a
            shift by up to an eighth of a side), ``"rotate"`` (by up to 15 degrees), or several, separated by commas. Or
            a function from a batch of examples (n, *S) in the model's form to one of the same shape, for any kind of
            data; it draws random numbers from torch. Validation data and codes that densities are fitted to are not
            changed. None (default) for no changes.

    >>> from chartae.training import Training
    >>> training = Training(epochs=3, batch_size=64)
    >>> training.check()
    >>> Training(ema=1.5).check()
    Traceback (most recent call last):
    ValueError: ema is 1.5; expected a decay between 0 and 1, e.g. 0.999, or 0 for no average
    """

    epochs: int = 10
    batch_size: int = 128
    lr: float | dict[str, float] | None = None
    optimizer: str | Callable[[list[nn.Parameter]], Optimizer] = "adam"
    precision: str = "fp32"
    clip: float | None = None
    plateau: tuple[float, int] | Literal[False] | None = None
    cosine: bool | None = None
    patience: int | None = None
    ema: float | None = None
    seed: int = 0
    device: str | None = None
    compile: bool = False
    checkpoint_every: int | None = None
    augment: Augment | None = None

    def check(self) -> None:
        """Raise ValueError if a setting is invalid.

        Raises:
            ValueError: a setting is out of range, or the device is not available.
        """
        for name in ("epochs", "batch_size", "checkpoint_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; {one_of(self.precision, PRECISIONS)}")
        _check_device(self.device, self.precision)
        if self.ema and not 0 < self.ema < 1:
            raise ValueError(f"ema is {self.ema}; expected a decay between 0 and 1, e.g. 0.999, or 0 for no average")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; expected a gradient norm above 0, or None for no limit")
        for lr in self.lr.values() if isinstance(self.lr, dict) else [1e-3 if self.lr is None else self.lr]:
            if not 0 < lr < math.inf:
                raise ValueError(f"lr is {lr}; expected a finite number above 0")
        if isinstance(self.optimizer, str) and self.optimizer not in OPTIMISERS:
            raise ValueError(
                f"optimizer is {self.optimizer!r}; choose from {', '.join(OPTIMISERS)}, or give a function"
            )
        self._check_augment()
        if self.cosine and self.plateau:
            raise ValueError(
                f"plateau is {self.plateau} and cosine is True, but the learning rate has one schedule, not both; "
                "leave one out"
            )

    def stored(self) -> dict[str, Plain]:
        """The settings that differ from their default, as `run.toml` holds them, besides those with a key there.

        A function is stored by its name, and the device is not.
        """
        values: dict[str, Plain] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in KEYS and value != field.default and value is not None:
                values[field.name] = list(value) if isinstance(value, tuple) else _name(value)
        return values

    def _check_augment(self) -> None:
        names = names_of(self.augment) if isinstance(self.augment, str) else []
        for name in names:
            if name not in AUGMENTATIONS or names.count(name) > 1:
                raise ValueError(
                    f"augment is {self.augment!r}; expected different names of {', '.join(AUGMENTATIONS)}, separated "
                    "by commas, or a function of a batch"
                )
        if self.augment is not None and not names and not callable(self.augment):
            raise TypeError(
                f"augment is a {type(self.augment).__name__}; expected names separated by commas, such as 'flip,crop', "
                "or a function of a batch"
            )

    def resolved(self, objective: Trainable, *, valid: bool, lr: float = 1e-3) -> Training:
        """These settings with each None replaced by the default that it stands for.

        Args:
            objective: objective that is trained.
            valid: whether there are validation data.
            lr: default learning rate, > 0.
        """
        cosine = objective.cosine if self.cosine is None and not self.plateau else bool(self.cosine)
        plateau = self.plateau
        if plateau is None:
            plateau = PLATEAU if valid and not cosine and objective.comparable else False
        ema = (objective.ema or 0.0) if self.ema is None else self.ema
        return replace(self, lr=lr if self.lr is None else self.lr, cosine=cosine, plateau=plateau, ema=ema)


def _name(value: object) -> Plain:
    """A plain value, or the name of a function."""
    if callable(value):
        return f"own: {getattr(value, '__name__', type(value).__name__)}"
    return cast("Plain", value)


def names_of(augment: str) -> list[str]:
    """The names in ``"flip, crop"``, without spaces."""
    return [name.strip() for name in augment.split(",")]


def _check_device(device: str | None, precision: str) -> None:
    import torch

    if precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision is 'fp16', which needs a GPU; use 'bf16' or 'fp32' on a CPU")
    if device is None:
        return
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"device is {device!r}; give cpu, or cuda for a GPU") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but torch finds no GPU; leave it out, or give cpu")
