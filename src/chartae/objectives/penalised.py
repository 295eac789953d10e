"""A weighted sum of terms of one forward pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from chartae.autoencoder import Autoencoder
from chartae.conditionals import Conditional, Corruption
from chartae.data import Batch, Batches
from chartae.distributions import Normal
from chartae.maths.random import generator_for
from chartae.objectives.base import Objective, Player
from chartae.objectives.pull import PullMeter
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
        rates: learning rate of the critic of a term, by the term's name, as a multiple of the training's; 1 by default.
        betas: Adam's, of the model and the terms' critics.

    Raises:
        TypeError: a term that makes no sense for the model, here and not in the first step.

    >>> import torch
    >>> from torch import nn
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
        rates: Mapping[str, float] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
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
        self.rates, self.betas = dict(rates or {}), betas
        critics = [name for name, term in self.terms.parts().items() if any(True for _ in term.parameters())]
        if unknown := set(self.rates) - set(critics):
            raise ValueError(
                f"rates are given for {', '.join(sorted(unknown))}; the terms with a critic are "
                f"{', '.join(critics) or 'none'}"
            )
        # a critic's loss measures the critic as much as the model
        self.comparable = len(self.players()) == 1
        # the loss of what removes noise is too noisy to choose by
        self.cosine = not self.comparable or corrupt is not None or model.noise is not None

    def plan(self, steps: int, batches: Batches) -> None:
        self.model.decoder.plan(steps)

    @property
    def scheduled(self) -> bool:
        return self.model.decoder.scheduled

    def players(self) -> dict[str, Player]:
        critics = {
            name: Player(parameters, self.rates.get(name, 1.0), self.betas)
            for name, term in self.terms.parts().items()
            if (parameters := list(term.parameters()))
        }
        return {"model": Player(list(self.model.parameters()), betas=self.betas)} | critics

    def trace(self, batch: Batch) -> Trace:
        """One forward pass."""
        x, seen, condition, weight = self.see(batch)
        if self.terms.through_input and not seen.requires_grad:
            seen = seen.detach().requires_grad_()
        q = self.model.encoder(seen, condition)
        z = q.sample()
        if self.second_order and not z.requires_grad:
            z = z.detach().requires_grad_()
        meter = PullMeter()
        critic_z = z if self.comparable or not self.training else meter.watch(z)
        p = self.model.decoder(z, condition)
        return Trace(self.model, x, condition, seen, q, z, p, weight, critic_z, meter.ratio)

    def valued(self, trace: Trace) -> dict[str, Tensor]:
        """The loss of the autoencoder and every term by its name, of one forward pass."""
        values = self.terms.values(trace)
        pull = {} if trace.gradient_ratio is None else {"latent_pull": trace.gradient_ratio}
        return {"loss": self.terms.weigh(values), **values, **pull}

    def see(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The data, what the encoder sees of them, the condition (the noise level, where the model is conditioned on
        it), and the weights of the examples."""
        x, condition, weight = batch.x, batch.condition, batch.weight
        if self.corrupt is None:
            return x, x, condition, weight
        noise = self.corrupt(x, condition)
        seen = noise.sample()
        if isinstance(self.corrupt, Corruption) and (own := self.corrupt.weight(noise)) is not None:
            weight = own if weight is None else own * weight
        if _tells(self.corrupt):
            assert isinstance(noise, Normal)
            condition = torch.as_tensor(noise.sigma).flatten()
        if self.antithetic:
            twice = lambda t: None if t is None else torch.cat([t, t])  # noqa: E731
            x, seen, condition, weight = (
                torch.cat([x, x]),
                torch.cat([seen, 2 * x - seen]),
                twice(condition),
                twice(weight),
            )
        if self.walkback:
            shape = (len(x), *[1] * (x.ndim - 1))
            steps = torch.randint(self.walkback + 1, shape, device=x.device, generator=generator_for(x.device))
            with torch.no_grad():
                # a map that is not yet a denoiser may throw a point far away
                low, high = x.amin(0), x.amax(0)
                margin = high - low
                for i in range(self.walkback):
                    back = self.model.reconstruct(seen, condition).clamp(low - margin, high + margin)
                    seen = torch.where(i < steps, self.corrupt(back, condition).sample(), seen)
        return x, seen, condition, weight

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        if player == "model":
            return self.valued(self.trace(batch))
        term = self.terms.parts()[player]
        with torch.no_grad():
            trace = self.trace(batch)
        return term.critic_loss(trace)

    def __repr__(self) -> str:
        seen = "" if self.corrupt is None else f", the encoder seeing {self.corrupt!r}"
        walk = f", up to {self.walkback} steps walked back" if self.walkback else ""
        return f"Penalised: {self.terms!r}{seen}{walk}"


def _tells(corrupt: Conditional) -> bool:
    return isinstance(corrupt, Corruption) and corrupt.noise_conditional
