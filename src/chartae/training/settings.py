"""The settings of a training run as keywords, and their check against the objective and the data."""

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
from chartae.records.training import Augment, Training

__all__ = ["OPTIMISERS", "TrainingFields", "check", "lists_fields"]

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}

P = ParamSpec("P")
R = TypeVar("R")


class TrainingFields(TypedDict, total=False):
    """The fields of `Training` as keywords, without `batch_size`, which the batches define."""

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
    checkpoint_every: int | None
    augment: Augment | None


def lists_fields(cls: type, *leave_out: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator whose function has the fields of a dataclass in its signature, in place of ``**fields``.

    Args:
        cls: the dataclass.
        leave_out: names of fields that are not listed.
    """

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
    """Check that settings, objective and data fit together, before any work starts; changes nothing.

    Args:
        objective: the objective.
        batches: the training data.
        training: the settings.
        valid: the validation data; None (default) without any.

    Raises:
        TypeError: `objective` is not an Objective, or `batches` are not Batches.
        ValueError: a setting is out of range or does not fit the objective or the data.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.training import Training, check
    >>> decoder = ch.Gaussian(torch.nn.Linear(2, 3))
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), decoder, ch.StandardNormal(2))
    >>> objective, batches = ch.Penalised(model, ch.Reconstruction()), ch.Batches(torch.zeros(8, 3), 4)
    >>> check(objective, batches, Training(epochs=5))
    >>> check(objective, batches, Training(patience=3))
    Traceback (most recent call last):
        ...
    ValueError: plateau and patience need a validation loss, but valid is None. Give valid=Batches(...).
    """
    if not isinstance(objective, Objective):
        raise TypeError(
            f"objective is a {type(objective).__name__}; expected an Objective, such as Penalised(model, terms)"
        )
    if not isinstance(batches, Batches):
        raise TypeError(f"batches is a {type(batches).__name__}; expected chartae.data.Batches(x, batch_size=...)")
    training.check()
    if valid is None and (training.plateau or training.patience is not None):
        raise ValueError("plateau and patience need a validation loss, but valid is None. Give valid=Batches(...).")
    if training.compile and objective.second_order:
        raise ValueError(
            f"compile is True, but {objective!r} differentiates twice, which torch.compile does not support; use "
            "compile=False"
        )
    if isinstance(training.augment, str) and len(batches.shape) != 3:
        raise ValueError(
            f"augment is {training.augment!r}, but one example has shape {batches.shape}; expected pictures (C, H, W). "
            "Leave augment out, or give a function of a batch."
        )
    if batches.weight is not None and not objective.weighs:
        raise ValueError(
            f"weight is given, but {objective!r} cannot weigh examples, as part of it is not a sum over them; leave "
            "weight out, or use an objective without critics and without distances between sets"
        )
    players = objective.players()
    owners: dict[int, str] = {}
    for name, player in players.items():
        for p in player.parameters:
            if owners.setdefault(id(p), name) != name:
                raise ValueError(
                    f"a parameter belongs to both players {owners[id(p)]!r} and {name!r}; expected each in one player"
                )
    if isinstance(training.lr, dict) and (missing := set(players) - set(training.lr)):
        raise ValueError(
            f"lr has no learning rate for {', '.join(sorted(missing))}; expected one for each of {', '.join(players)}"
        )
    _check_batch_norms(objective, batches)
    if valid is not None and valid.shape != batches.shape:
        raise ValueError(
            f"validation examples have shape {valid.shape}, but training examples have shape {batches.shape}; expected "
            "the same shape"
        )
    objective.check(batches)


def _check_batch_norms(objective: Objective, batches: Batches) -> None:
    """Raise ValueError if batch normalisation would always have one example."""
    if not any(isinstance(m, BATCH_NORMS) for m in objective.modules()):
        return
    if batches.n == 1:
        raise ValueError("x has 1 example, but batch normalisation needs several; give at least 2")
    if batches.batch_size == 1:
        raise ValueError("batch_size is 1, but batch normalisation needs several examples; expected at least 2")
