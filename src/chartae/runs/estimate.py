"""What a fit would do: its objective, its parameters, and how long it would take."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chartae.data import Batches
from chartae.objectives import Objective
from chartae.records.parsing import Value
from chartae.runs.fitting import Prepared, prepared
from chartae.runs.folder import target_of
from chartae.runs.request import Request
from chartae.training import fit

__all__ = ["Estimate", "estimate"]

#: how long steps are measured, in seconds, and the least number of them
MEASURED, LEAST = 2.0, 4


@dataclass(frozen=True)
class Estimate:
    """What a fit would do: the result of `estimate`.

    Attributes:
        recipe: name of the recipe.
        data: the data set, in words.
        latent_dim: size of the codes.
        densities: names of the densities that would be fitted.
        objective: the objective, with its weights.
        parameters: number of parameters of the model.
        parts: number of parameters of each part of the model, and of the critics and heads that are trained with it;
            shared parameters count once.
        epochs: number of epochs.
        steps: number of steps in an epoch.
        seconds: estimated duration of training in seconds, without the fit of densities.
        seconds_per_epoch: estimated duration of one epoch in seconds.
        measured: number of steps that were measured.
        device: where they were measured.

    >>> import torch
    >>> from chartae.runs import Request, estimate
    >>> plan = estimate("ae", torch.randn(200, 3), Request(latent_dim=2, net="smooth:4"))
    >>> plan.parts
    {'encoder': 26, 'decoder': 27}
    """

    recipe: str
    data: str
    latent_dim: int
    densities: tuple[str, ...]
    objective: str
    parameters: int
    parts: dict[str, int]
    epochs: int
    steps: int
    seconds: float
    seconds_per_epoch: float
    measured: int
    device: str

    def to_dict(self) -> dict[str, Value]:
        """The estimate as JSON holds it."""
        return asdict(self) | {"densities": list(self.densities)}


def estimate(recipe: str, data: object, request: Request) -> Estimate:
    """Check a fit as `fit` does, and measure some of its steps; nothing is written or kept.

    Args:
        recipe: name of the recipe.
        data: what `fit` would be given.
        request: everything else that `fit` would be given.

    Returns:
        The objective, the number of parameters and the estimated duration.

    Raises:
        ValueError, TypeError: whatever `fit` would refuse.
        ArithmeticError: the loss is not finite within the measured steps.

    >>> import torch
    >>> from chartae.runs import Request, estimate
    >>> plan = estimate("ae", torch.randn(200, 3), Request(latent_dim=2, net="smooth:4"))
    >>> plan.parameters, plan.parts["encoder"], plan.steps
    (53, 26, 2)
    """
    fitting = prepared(recipe, data, request)
    if request.out is not None:
        target_of(Path(request.out), fitting.settings, overwrite=request.overwrite, resume=request.resume)
    objective, batches = fitting.built.objective, fitting.batches
    parts = _counts(objective)
    parameters = sum(p.numel() for p in objective.model.parameters())
    seconds, measured = _step_seconds(fitting)
    steps = len(batches)
    epoch = steps * seconds + _validation_seconds(fitting, seconds)
    return Estimate(
        recipe, repr(fitting.data), fitting.settings.latent_dim, tuple(fitting.densities), repr(objective), parameters,
        {name: count for name, count in parts.items() if count}, fitting.training.epochs, steps,
        fitting.training.epochs * epoch, epoch, measured, str(next(objective.parameters()).device),
    )  # fmt: skip


def _counts(objective: Objective) -> dict[str, int]:
    """The number of parameters of each part of the model, and of what is trained beside it; shared ones count once."""
    counted: set[int] = set()
    counts: dict[str, int] = {}
    for name, part in (*objective.model.named_children(), ("critics and heads", objective)):
        new = {id(p): p.numel() for p in part.parameters() if id(p) not in counted}
        counts[name] = sum(new.values())
        counted |= set(new)
    return counts


def _step_seconds(fitting: Prepared) -> tuple[float, int]:
    """The duration of a step, and the number of steps that were measured: an epoch at most."""
    _trained(fitting, LEAST)  # the first steps are slower
    measured = min(LEAST, len(fitting.batches))
    seconds = _trained(fitting, measured) / measured
    wanted = min(math.ceil(MEASURED / max(seconds, 1e-6)), len(fitting.batches))
    if wanted <= measured:
        return seconds, measured
    return _trained(fitting, wanted) / wanted, wanted


def _validation_seconds(fitting: Prepared, step: float) -> float:
    """How much longer an epoch is by its validation."""
    if fitting.valid is None:
        return 0.0
    measured = min(LEAST, len(fitting.batches))
    return max(0.0, _trained(fitting, measured, fitting.valid) - measured * step)


def _trained(fitting: Prepared, steps: int, valid: Batches | None = None) -> float:
    """The seconds that some steps of training take."""
    training = replace(fitting.training, epochs=1, patience=None, plateau=False)
    batches = fitting.batches.first(min(steps, len(fitting.batches)) * fitting.batches.batch_size)
    return fit(fitting.built.objective, batches, valid=valid, training=training, progress=False).seconds
