"""Settings of a training as keywords, and everything that can be wrong with them and an objective together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Literal, ParamSpec, TypedDict, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from chartae.data import Batches
from chartae.nn import BATCH_NORMS
from chartae.objectives import Objective
from chartae.records.training import Training

__all__ = ["OPTIMISERS", "TrainingFields", "check", "lists_fields"]

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}

P = ParamSpec("P")
R = TypeVar("R")


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
