"""A property that the code is to tell: a small net beside the decoder, trained with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import Batch, Batches
from chartae.nn import MLP
from chartae.objectives.base import Player
from chartae.objectives.penalised import Penalised
from chartae.objectives.wrapped import Wrapped

__all__ = ["Predicting"]


class Predicting(Wrapped):
    """An objective, and a head h that reads a property y off the code:

        loss + weight ½ mean ((y - h(z)) / s)²,   z = E[q(z|x)]

    with s the standard deviation of y over the training set, so that codes of like property lie near each other, which
    a search over codes needs: Gómez-Bombarelli et al., "Automatic Chemical Design Using a Data-Driven Continuous
    Representation of Molecules", 2018 (arXiv 1610.02415). Properties that are nan are left out. The mean and s
    are those of the batches that training begins with (`plan`), and are kept with the weights.

    Args:
        inner: what the autoencoder minimises besides.
        latent_dim: D.
        weight: in nats for each example.
        hidden: units of the head's layers.

    Raises:
        ValueError: a weight below 0, or an encoder that sees corrupted data; in training, batches without a number
            for each example.
    """

    uses = frozenset({"target"})

    def __init__(
        self, inner: Penalised, latent_dim: int, weight: float = 1.0, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__(inner)
        if not weight >= 0:
            raise ValueError(f"weight is {weight}; a weight is 0 or above")
        if inner.corrupt is not None:
            raise ValueError(f"the encoder sees {inner.corrupt!r}; a property is read off the code of clean data")
        self.weight = float(weight)
        self.head = MLP(latent_dim, 1, tuple(hidden), norm=False, activation="silu")
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.centre: Tensor
        self.spread: Tensor

    def players(self) -> dict[str, Player]:
        players = super().players()
        model = players["model"]
        return players | {"model": replace(model, parameters=[*model.parameters, *self.head.parameters()])}

    def check(self, batches: Batches) -> None:
        super().check(batches)
        self._known(batches)

    def plan(self, steps: int, batches: Batches) -> None:
        super().plan(steps, batches)
        known = self._known(batches)
        self.centre.copy_(known.mean())
        self.spread.copy_(known.std())

    @staticmethod
    def _known(batches: Batches) -> Tensor:
        """The properties that are known."""
        target = batches.target
        if target is None or not target.is_floating_point() or target.ndim != 1:
            raise ValueError(
                "property weighs a head that learns a target, but there is none: one number for each example; give "
                "target (target=, --target)"
            )
        known = target[target.isfinite()]
        if len(known) < 2 or not known.std() > 0:
            raise ValueError(f"{len(known)} examples have a property, or all the same one; there is nothing to learn")
        return known

    def predict(self, z: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The property of codes, in its own units."""
        return self.centre + self.spread * self.head(z)[:, 0]

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        inner = self.inner
        if player != "model" or batch.target is None:
            return inner(batch, player)
        assert isinstance(inner, Penalised)
        trace = inner.trace(batch)
        values = inner.valued(trace)
        known = batch.target.isfinite()
        target = ((batch.target - self.centre) / self.spread)[known]
        predicted = self.head(trace.q.mean)[:, 0][known]
        error = 0.5 * (target - predicted).square().sum() / max(1, int(known.sum()))
        return values | {"loss": values["loss"] + self.weight * error, "property": error}

    def __repr__(self) -> str:
        return f"{self.inner!r} + {self.weight:g} ½ ((y - h(z)) / s)²"
