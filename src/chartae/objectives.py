"""What is minimised, and by whom."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import Parameter

from chartae.autoencoder import Autoencoder
from chartae.conditionals import Conditional
from chartae.terms.base import Sum, Term, Trace

__all__ = ["Objective", "Penalised"]


class Objective(nn.Module, ABC):
    """A loss for each of its players; a player is a set of parameters with an optimiser of its own."""

    model: Autoencoder
    #: whether the loss is itself made of gradients: then a pass needs gradients even in evaluation, and
    #: `torch.compile`, which has no double backward, is refused
    second_order: bool = False

    @abstractmethod
    def players(self) -> dict[str, list[Parameter]]:
        """Each player's parameters; no parameter belongs to two."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        """`{"loss": ..., every term by its name}` for one player, each averaged over the batch, in nats."""


class Penalised(Objective):
    """E[ Σ_i w_i T_i ]: a weighted sum of terms of one forward pass.

    Args:
        model: the autoencoder.
        terms: a term, or a weighted sum: ``Reconstruction() + 0.1 * LatentNorm()``.
        corrupt: the corruption C(x~|x) through which the encoder sees the data, if any.

    Raises:
        TypeError: a term that makes no sense for the model, here and not in the first step.

    >>> import torch
    >>> from chartae.conditionals import Dirac, Gaussian, StandardNormal
    >>> from chartae.terms import LatentNorm, Reconstruction
    >>> model = Autoencoder(Dirac(nn.Linear(3, 2)), Gaussian(nn.Linear(2, 3), sigma=0.5), StandardNormal(2))
    >>> objective = Penalised(model, Reconstruction() + 0.1 * LatentNorm())
    >>> objective
    Penalised: Reconstruction() + 0.1 LatentNorm()
    >>> sorted(objective(torch.zeros(4, 3)))
    ['latent_norm', 'loss', 'reconstruction']
    """

    def __init__(self, model: Autoencoder, terms: Term, *, corrupt: Conditional | None = None) -> None:
        super().__init__()
        if not isinstance(model, Autoencoder):
            raise TypeError(f"the model is a {type(model).__name__}; give an Autoencoder(encoder, decoder, prior)")
        if not isinstance(terms, Term):
            raise TypeError(f"the terms are a {type(terms).__name__}; give a Term, or a sum of weighted terms")
        self.model = model
        self.terms = terms if isinstance(terms, Sum) else Sum([(1.0, terms)])
        self.terms.check(model)
        self.corrupt = corrupt
        self.second_order = self.terms.second_order

    def players(self) -> dict[str, list[Parameter]]:
        critics = {name: list(term.parameters()) for name, term in self.terms.terms.items()}
        return {"model": list(self.model.parameters())} | {name: own for name, own in critics.items() if own}

    def trace(self, x: Tensor, y: Tensor | None = None) -> Trace:
        """One forward pass."""
        seen = x if self.corrupt is None else self.corrupt(x).sample()
        q = self.model.encoder(seen, y)
        z = q.sample()
        if self.second_order and not z.requires_grad:
            z = z.detach().requires_grad_()
        return Trace(self.model, x, y, seen, q, z, self.model.decoder(z, y))

    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        trace = self.trace(x, y)
        if player == "model":
            values = self.terms.values(trace)
            return {"loss": self.terms.weigh(values), **values}
        term = self.terms.terms[player]
        assert isinstance(term, Term)
        rival = term.rival(trace)
        if rival is None:
            raise TypeError(f"the term {player} has parameters of its own, but no rival() that says what they minimise")
        return {"loss": rival.mean()}

    def __repr__(self) -> str:
        seen = "" if self.corrupt is None else f", the encoder seeing {self.corrupt!r}"
        return f"Penalised: {self.terms!r}{seen}"
