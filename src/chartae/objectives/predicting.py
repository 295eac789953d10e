"""Property prediction from codes: a small net that is trained together with the autoencoder."""

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
    """An objective with a head h that predicts a property y from the code, z = E[q(z|x)]:

        loss + weight ½ mean ((y - h(z)) / s)²

    Here s is the standard deviation of y over the training set. Examples with similar properties then have nearby
    codes, which a search over codes needs. Gómez-Bombarelli et al., "Automatic Chemical Design Using a Data-Driven
    Continuous Representation of Molecules", 2018 (arXiv 1610.02415). Examples whose property is NaN are left out. If
    the examples have weights, the mean is a weighted one. The mean of y and s are computed from the training data when
    training starts, without weights, and are saved with the parameters.

    Args:
        inner: the objective of the autoencoder.
        latent_dim: number of values in a code, D.
        weight: weight of the head's squared error, >= 0; default 1.
        hidden: widths of the head's hidden layers; (64, 64) by default.

    Raises:
        ValueError: `weight` is negative, or the encoder sees corrupted data; in training, batches without a number for
            each example as `target`.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.data import Batch
    >>> from chartae.objectives import Predicting
    >>> decoder = ch.Gaussian(torch.nn.Linear(2, 3), sigma=0.5)
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), decoder, ch.StandardNormal(2))
    >>> objective = Predicting(ch.Penalised(model, ch.Reconstruction()), latent_dim=2, weight=0.5)
    >>> x = torch.randn(8, 3)
    >>> sorted(objective(Batch(x, target=x.sum(1))))
    ['loss', 'property', 'reconstruction']
    >>> objective.predict(model.encode(x)).shape
    torch.Size([8])
    """

    uses = frozenset({"target"})

    def __init__(
        self, inner: Penalised, latent_dim: int, weight: float = 1.0, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__(inner)
        if not weight >= 0:
            raise ValueError(f"weight is {weight}; expected 0 or more")
        if inner.corrupt is not None:
            raise ValueError(
                f"corrupt is {inner.corrupt!r}; expected None, as a property is predicted from the codes of clean data"
            )
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
        """The finite properties of the training data."""
        target = batches.target
        if target is None or not target.is_floating_point() or target.ndim != 1:
            raise ValueError(
                "property is the weight of a head that predicts a target, but there is no target; expected one number "
                "for each example. Give target= (--target)."
            )
        known = target[target.isfinite()]
        if len(known) < 2 or not known.std() > 0:
            raise ValueError(
                f"target has {len(known)} finite values, which are too few or all equal; expected at least 2 different "
                "ones. Give another target, or property=0."
            )
        return known

    def predict(self, z: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The predicted property of codes, in the units of the target."""
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
        squares = (target - predicted).square()
        if batch.weight is None:
            error = 0.5 * squares.sum() / max(1, int(known.sum()))
        else:
            weight = batch.weight[known]
            error = 0.5 * (weight * squares).sum() / weight.sum().clamp_min(1e-12)
        return values | {"loss": values["loss"] + self.weight * error, "property": error}

    def __repr__(self) -> str:
        return f"{self.inner!r} + {self.weight:g} ½ ((y - h(z)) / s)²"
