"""A property that the code is to tell: a small net beside the decoder, trained with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from chartae.autoencoder import Autoencoder
from chartae.data import Batches
from chartae.nn import MLP
from chartae.objectives.base import Alarm, Objective
from chartae.objectives.penalised import Penalised

__all__ = ["Predicting"]


class Predicting(Objective):
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

    def __init__(
        self, inner: Penalised, latent_dim: int, weight: float = 1.0, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"weight is {weight}; a weight is 0 or above")
        if inner.corrupt is not None:
            raise ValueError(f"the encoder sees {inner.corrupt!r}; a property is read off the code of clean data")
        self.inner, self.weight = inner, float(weight)
        self.head = MLP(latent_dim, 1, tuple(hidden), norm=False, activation="silu")
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.centre: Tensor
        self.spread: Tensor
        self.rates, self.betas, self.ema, self.cosine = inner.rates, inner.betas, inner.ema, inner.cosine
        self.second_order, self.comparable = inner.second_order, inner.comparable

    @property
    def model(self) -> Autoencoder:  # type: ignore[override]
        return self.inner.model

    def players(self) -> dict[str, list[Parameter]]:
        players = self.inner.players()
        return players | {"model": players["model"] + list(self.head.parameters())}

    def plan(self, steps: int, batches: Batches) -> None:
        self.inner.plan(steps, batches)
        y = batches.labels
        if y is None or not y.is_floating_point() or y.ndim != 1:
            raise ValueError("a property is learnt from a number for each example; give them as labels of the batches")
        known = y[y.isfinite()]
        if len(known) < 2 or not known.std() > 0:
            raise ValueError(f"{len(known)} examples have a property, or all the same one; there is nothing to learn")
        self.centre.copy_(known.mean())
        self.spread.copy_(known.std())

    def rest(self) -> None:
        self.inner.rest()

    @property
    def scheduled(self) -> bool:
        return self.inner.scheduled

    def alarms(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Alarm]:
        yield from self.inner.alarms(rows)

    def predict(self, z: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The property of codes, in its own units."""
        return self.centre + self.spread * self.head(z)[:, 0]

    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        if player != "model" or y is None:
            return self.inner(x, None, player)
        trace = self.inner.trace(x)
        values = self.inner.valued(trace)
        there = y.isfinite()
        target = ((y - self.centre) / self.spread)[there]
        found = self.head(trace.q.mean)[:, 0][there]
        error = 0.5 * (target - found).square().sum() / max(1, int(there.sum()))
        return values | {"loss": values["loss"] + self.weight * error, "property": error}

    def __repr__(self) -> str:
        return f"{self.inner!r} + {self.weight:g} ½ ((y - h(z)) / s)²"
