"""A weighted sum of terms of one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from chartae.autoencoder import Autoencoder
from chartae.conditionals import Conditional, Corruption
from chartae.data import Batches
from chartae.distributions import Normal
from chartae.maths import pulled
from chartae.objectives.base import Objective
from chartae.terms.base import Sum, Term, Trace

__all__ = ["Penalised"]


class Penalised(Objective):
    """E[ Σ_i w_i T_i ]: a weighted sum of terms of one forward pass.

    Args:
        model: the autoencoder.
        terms: a term, or a weighted sum: ``Reconstruction() + 0.1 * LatentNorm()``.
        corrupt: the corruption C(x~|x) through which the encoder sees the data, if any. Its noise level is noted on
            the model, unless that has one, for `chartae.diagnostics.Score`.
        walkback: up to so many steps x~ <- C(r(x~)) more, their number uniform for each example, from where the way
            back to x is learnt too; no gradient goes through the walk. Bengio et al., "Generalized Denoising
            Auto-Encoders as Generative Models", 2013 (arXiv 1305.6663).
        antithetic: every example is seen twice, under opposite noise x + e and x - e: where noise is small beside the
            data's structure, its part of the gradient's variance cancels.

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

    def __init__(
        self,
        model: Autoencoder,
        terms: Term,
        *,
        corrupt: Conditional | None = None,
        walkback: int = 0,
        antithetic: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, Autoencoder):
            raise TypeError(f"the model is a {type(model).__name__}; give an Autoencoder(encoder, decoder, prior)")
        if not isinstance(terms, Term):
            raise TypeError(f"the terms are a {type(terms).__name__}; give a Term, or a sum of weighted terms")
        self.model = model
        self.terms = terms if isinstance(terms, Sum) else Sum([(1.0, terms)])
        self.terms.check(model)
        if walkback < 0 or (walkback and (corrupt is None or _tells(corrupt))):
            raise ValueError(f"walkback is {walkback}; it takes 0 or more steps of a corruption of one level")
        if antithetic and not (isinstance(corrupt, Corruption) and corrupt.symmetric):
            raise ValueError(
                f"antithetic pairs need noise that is symmetric about x, not {corrupt!r}; use GaussianNoise"
            )
        self.corrupt, self.walkback, self.antithetic = corrupt, walkback, antithetic
        if isinstance(corrupt, Corruption) and model.noise is None:
            model.noise = corrupt.noise
        self.second_order = self.terms.second_order
        parts = {name: term for name, term in self.terms.terms.items() if isinstance(term, Term)}
        self.rates = {name: term.rate for name, term in parts.items() if term.rate != 1}
        self.betas = next((term.betas for term in parts.values() if term.betas is not None), self.betas)
        # a critic's loss measures the critic as much as the model
        self.comparable = len(self.players()) == 1
        self.cosine = not self.comparable

    def plan(self, steps: int, batches: Batches) -> None:
        self.model.decoder.plan(steps)

    @property
    def scheduled(self) -> bool:
        return self.model.decoder.scheduled

    def players(self) -> dict[str, list[Parameter]]:
        critics = {name: list(term.parameters()) for name, term in self.terms.terms.items()}
        return {"model": list(self.model.parameters())} | {name: own for name, own in critics.items() if own}

    def trace(self, x: Tensor, y: Tensor | None = None) -> Trace:
        """One forward pass."""
        x, seen, y, weight = self.see(x, y)
        if self.terms.through_input and not seen.requires_grad:
            seen = seen.detach().requires_grad_()
        q = self.model.encoder(seen, y)
        z = q.sample()
        if self.second_order and not z.requires_grad:
            z = z.detach().requires_grad_()
        judged, pull = (z, None) if self.comparable or not self.training else pulled(z)
        return Trace(self.model, x, y, seen, q, z, self.model.decoder(z, y), weight, judged, pull)

    def valued(self, trace: Trace) -> dict[str, Tensor]:
        """The loss of the autoencoder and every term by its name, of one forward pass."""
        values = self.terms.values(trace)
        told = {} if trace.pull is None else {"latent_pull": trace.pull}
        return {"loss": self.terms.weigh(values), **values, **told}

    def see(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The data, what the encoder sees of them, the condition (the noise level, where that is told), weights."""
        if self.corrupt is None:
            return x, x, y, None
        noise = self.corrupt(x, y)
        seen = noise.sample()
        weight = self.corrupt.weight(noise) if isinstance(self.corrupt, Corruption) else None
        if _tells(self.corrupt):
            assert isinstance(noise, Normal)
            y = torch.as_tensor(noise.sigma).flatten()
        if self.antithetic:
            weight = None if weight is None else torch.cat([weight, weight])
            x, seen, y = torch.cat([x, x]), torch.cat([seen, 2 * x - seen]), None if y is None else torch.cat([y, y])
        if self.walkback:
            steps = torch.randint(self.walkback + 1, (len(x), *[1] * (x.ndim - 1)), device=x.device)
            with torch.no_grad():
                # a map that is not yet a denoiser may throw a point far away
                low, high = x.amin(0), x.amax(0)
                margin = high - low
                for i in range(self.walkback):
                    back = self.model.reconstruct(seen, y).clamp(low - margin, high + margin)
                    seen = torch.where(i < steps, self.corrupt(back, y).sample(), seen)
        return x, seen, y, weight

    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        if player == "model":
            return self.valued(self.trace(x, y))
        term = self.terms.terms[player]
        assert isinstance(term, Term)
        with torch.no_grad():
            trace = self.trace(x, y)
        rival = term.rival(trace)
        if rival is None:
            raise TypeError(f"the term {player} has parameters of its own, but no rival() that says what they minimise")
        return rival if isinstance(rival, dict) else {"loss": rival.mean()}

    def __repr__(self) -> str:
        seen = "" if self.corrupt is None else f", the encoder seeing {self.corrupt!r}"
        walk = f", up to {self.walkback} steps walked back" if self.walkback else ""
        return f"Penalised: {self.terms!r}{seen}{walk}"


def _tells(corrupt: Conditional) -> bool:
    return isinstance(corrupt, Corruption) and corrupt.tells
