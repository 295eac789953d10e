"""The settings of a training: one object from the command line to the loop.

Nothing here imports torch before values are checked: the command line lists these settings as its flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["OPTIMISERS", "PRECISIONS", "Training"]

PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMISERS = ("adam", "adamw", "sgd")
#: the plateau schedule where none is asked for
PLATEAU = (0.5, 5)


class Trainable(Protocol):
    """What an objective says of its own training: `chartae.objectives.Objective`."""

    @property
    def cosine(self) -> bool: ...

    @property
    def ema(self) -> float | None: ...

    @property
    def comparable(self) -> bool: ...


@dataclass(frozen=True)
class Training:
    """How an objective is minimised.

    Attributes:
        epochs: passes over the data, >= 1.
        batch_size: examples in a batch, >= 1; where `Batches` are given, theirs counts.
        lr: learning rate, > 0, one for all players or one a player; None for the recipe's own, 1e-3 without a recipe.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``, or a function from parameters to an optimiser.
        precision: ``"fp32"``, ``"bf16"``, or ``"fp16"`` (a GPU only; the loss is scaled).
        clip: largest gradient norm over a player's parameters, > 0; None for no limit.
        plateau: (factor, patience): multiply the learning rate by `factor` after `patience` epochs without a better
            validation loss. None for (0.5, 5) where there are validation data, the loss says which model is better, and
            the rate does not fall as a cosine; False for no such schedule.
        cosine: let the learning rate fall to zero over the epochs as half a cosine; None for what the objective says.
        patience: stop after this many epochs without a better validation loss; None for never.
        ema: decay of an exponential moving average of the weights, in (0, 1), which is then what is validated and kept;
            None for what the objective says, 0 for no average.
        seed: of every random number drawn in training.
        device: ``"cpu"`` keeps off a GPU; None takes one where there is one.
        compile: `torch.compile` the objective.
        checkpoint_every: epochs between checkpoints, >= 1; one is also written on an interrupt, at the next step.
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
    checkpoint_every: int = 1

    def check(self) -> None:
        """Raise ValueError for a setting that no training can have; changes nothing."""
        for name in ("epochs", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; choose from {', '.join(PRECISIONS)}")
        _check_device(self.device, self.precision)
        if self.ema and not 0 < self.ema < 1:
            raise ValueError(f"ema is {self.ema}; a decay lies between 0 and 1, e.g. 0.999 (0 for no average)")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; a gradient norm is above 0")
        for rate in self.lr.values() if isinstance(self.lr, dict) else [1e-3 if self.lr is None else self.lr]:
            if not 0 < rate < math.inf:
                raise ValueError(f"lr is {rate}; a learning rate is a finite number above 0")
        if isinstance(self.optimizer, str) and self.optimizer not in OPTIMISERS:
            raise ValueError(
                f"optimizer is {self.optimizer!r}; choose from {', '.join(OPTIMISERS)}, or give a function"
            )
        if self.cosine and self.plateau:
            raise ValueError("the learning rate follows a plateau or a cosine, not both")

    def resolved(self, objective: Trainable, *, valid: bool, lr: float = 1e-3) -> Training:
        """These settings with every None that stands for a default replaced by it."""
        cosine = objective.cosine if self.cosine is None and not self.plateau else bool(self.cosine)
        plateau = self.plateau
        if plateau is None:
            plateau = PLATEAU if valid and not cosine and objective.comparable else False
        ema = (objective.ema or 0.0) if self.ema is None else self.ema
        return replace(self, lr=lr if self.lr is None else self.lr, cosine=cosine, plateau=plateau, ema=ema)


def _check_device(device: str | None, precision: str) -> None:
    import torch

    if precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision 'fp16' needs a GPU; use 'bf16' or 'fp32' on a CPU")
    if device is None:
        return
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"device is {device!r}; give cpu, or cuda for a GPU") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but torch finds no GPU; leave it out, or give cpu")
