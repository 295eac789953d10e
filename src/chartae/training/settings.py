"""The settings of a training: one object from the command line to the loop."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from typing import Literal, ParamSpec, TypedDict, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from chartae.data import Batches
from chartae.nn import BATCH_NORMS
from chartae.objectives import Objective
from chartae.training.device import PRECISIONS

__all__ = ["Training", "TrainingFields", "check", "lists_fields"]

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
#: the plateau schedule where none is asked for
PLATEAU = (0.5, 5)

P = ParamSpec("P")
R = TypeVar("R")


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
        if self.precision == "fp16" and not torch.cuda.is_available():
            raise ValueError("precision 'fp16' needs a GPU; use 'bf16' or 'fp32' on a CPU")
        if self.device is not None:
            _check_device(self.device)
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

    def resolved(self, objective: Objective, *, valid: bool, lr: float = 1e-3) -> Training:
        """These settings with every None that stands for a default replaced by it."""
        cosine = objective.cosine if self.cosine is None and not self.plateau else bool(self.cosine)
        plateau = self.plateau
        if plateau is None:
            plateau = PLATEAU if valid and not cosine and objective.comparable else False
        ema = (objective.ema or 0.0) if self.ema is None else self.ema
        return replace(self, lr=lr if self.lr is None else self.lr, cosine=cosine, plateau=plateau, ema=ema)


class TrainingFields(TypedDict, total=False):
    """The fields of `Training` as keywords, but for `batch_size`, which the batches have."""

    epochs: int
    lr: float | dict[str, float] | None
    optimizer: str | Callable[[list[nn.Parameter]], Optimizer]
    precision: str
    clip: float | None
    plateau: tuple[float, int] | Literal[False] | None
    cosine: bool | None
    patience: int | None
    ema: float | None
    seed: int
    device: str | None
    compile: bool
    checkpoint_every: int


def lists_fields(cls: type, *leave_out: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the signature lists the fields of a dataclass in place of ``**fields``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        plain = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        listed = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, annotation=f.type,
                              default=f.default if f.default is not MISSING else inspect.Parameter.empty)
            for f in fields(cls) if f.name not in leave_out
        ]  # fmt: skip

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs)

        call.__signature__ = signature.replace(parameters=[*plain, *listed])  # type: ignore[attr-defined]
        return call

    return decorate


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"device is {device!r}; give cpu, or cuda for a GPU") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but torch finds no GPU; leave it out, or give cpu")


def check(objective: Objective, batches: Batches, training: Training, valid: Batches | None = None) -> None:
    """Raise for everything that can be wrong with a training, before any work starts; changes nothing.

    Args:
        objective: what is minimised.
        batches: the training data.
        training: the settings.
        valid: the validation data, if there are any.

    Raises:
        ValueError, TypeError: what was given, what is expected.
    """
    if not isinstance(objective, Objective):
        raise TypeError(
            f"the objective is a {type(objective).__name__}; give an Objective, e.g. Penalised(model, terms)"
        )
    if not isinstance(batches, Batches):
        raise TypeError(f"the batches are a {type(batches).__name__}; give chartae.data.Batches(x, batch_size=...)")
    training.check()
    if valid is None and (training.plateau or training.patience is not None):
        raise ValueError("plateau and patience look at the validation loss; give valid=Batches(...)")
    if training.compile and objective.second_order:
        raise ValueError(f"{objective!r} differentiates twice, which torch.compile does not support; use compile=False")
    players = objective.players()
    owners: dict[int, str] = {}
    for name, player in players.items():
        for p in player.parameters:
            if owners.setdefault(id(p), name) != name:
                raise ValueError(f"a parameter belongs to both players {owners[id(p)]!r} and {name!r}")
    if isinstance(training.lr, dict) and (missing := set(players) - set(training.lr)):
        raise ValueError(f"lr has no learning rate for {', '.join(sorted(missing))}")
    if batches.batch_size == 1 and any(isinstance(m, BATCH_NORMS) for m in objective.modules()):
        raise ValueError("batch_size is 1, but batch normalisation has no batch of one; give 2 or more")
    if valid is not None and valid.shape != batches.shape:
        raise ValueError(f"validation examples have shape {valid.shape}, training examples {batches.shape}")
    objective.check(batches)
