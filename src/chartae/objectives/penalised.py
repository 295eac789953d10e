"""The objective of most recipes: a weighted sum of terms of one forward pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from chartae.autoencoder import Autoencoder
from chartae.conditionals import Conditional, Corruption
from chartae.data import Batch, Batches
from chartae.distributions import Normal
from chartae.maths.random import randint
from chartae.objectives.base import Objective, Player
from chartae.objectives.gradient_ratio import GradientRatio
from chartae.terms.base import Sum, Term, Trace

__all__ = ["Penalised"]


class Penalised(Objective):
    """A weighted sum of terms, `E[Σ_i w_i T_i]`, each a function of one forward pass: the objective of most recipes.

    A term with parameters of its own, such as a critic, becomes a second player with its own loss.

    Args:
        model: the autoencoder.
        terms: a term, or a weighted sum of terms, such as ``Reconstruction() + 0.1 * LatentNorm()``.
        corrupt: corruption `C(x~|x)` of what the encoder sees, for denoising; None (default) for clean data. Its noise
            level is stored on the model, unless the model has one, for `chartae.diagnostics.Score`.
        walkback: largest number of further steps x~ <- C(r(x~)), from whose end the model learns to return to x too;
            0 (default) for none. The number of steps is uniform for each example, and gradients do not pass through
            them. Bengio et al., "Generalized Denoising Auto-Encoders as Generative Models", 2013 (arXiv 1305.6663).
        antithetic: whether each example is seen twice, with opposite noise x + e and x - e; False by default. It
            reduces the variance of the gradient where the noise is small compared with the structure of the data.
        rates: learning rates of the terms' critics, by the term's name, as multiples of the training's; 1 by default.
        betas: Adam's betas for the model and the terms' critics; (0.9, 0.999) by default.

    Raises:
        TypeError: `model` is not an Autoencoder, `terms` is not a Term, or a term does not suit the model.
        ValueError: `walkback` is negative or lacks a corruption of one noise level, `antithetic` lacks a symmetric
            corruption, or `rates` names a term without a critic.

    >>> import torch
    >>> import chartae as ch
    >>> decoder = ch.Gaussian(torch.nn.Linear(2, 3), sigma=0.5)
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), decoder, ch.StandardNormal(2))
    >>> objective = ch.Penalised(model, ch.Reconstruction() + 0.1 * ch.LatentNorm())
    >>> objective
    Penalised: Reconstruction() + 0.1 LatentNorm()
    >>> values = objective(torch.zeros(4, 3))
    >>> sorted(values)
    ['latent_norm', 'loss', 'reconstruction']
    >>> bool(values["loss"] == values["reconstruction"] + 0.1 * values["latent_norm"])
    True
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
            raise TypeError(f"model is a {type(model).__name__}; expected an Autoencoder(encoder, decoder, prior)")
        if not isinstance(terms, Term):
            raise TypeError(f"terms is a {type(terms).__name__}; expected a Term, or a weighted sum of terms")
        self.model = model
        self.terms = terms if isinstance(terms, Sum) else Sum([(1.0, terms)])
        self.terms.check(model)
        if walkback < 0 or (walkback and (corrupt is None or _has_levels(corrupt))):
            raise ValueError(
                f"walkback is {walkback} and corrupt is {corrupt!r}; expected 0 or more steps, and for more than 0 a "
                "corruption of one noise level, such as GaussianNoise"
            )
        if antithetic and not (isinstance(corrupt, Corruption) and corrupt.symmetric):
            raise ValueError(
                f"antithetic is True and corrupt is {corrupt!r}; expected noise that is symmetric about x, such as "
                "GaussianNoise"
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
        # a loss with a critic in it measures the critic as much as the model
        self.comparable = len(self.players()) == 1
        self.weighs = self.comparable and self.terms.weighs is not False
        # a denoising loss is too noisy to choose a learning rate or an epoch by
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
        """One forward pass, with the encoder's input, the codes and both distributions."""
        x, corrupted, condition, weight = self.see(batch)
        if self.terms.through_input and not corrupted.requires_grad:
            corrupted = corrupted.detach().requires_grad_()
        model = self.model
        q = model.encoder(corrupted, condition)
        z = q.sample()
        if self.second_order and not z.requires_grad:
            z = z.detach().requires_grad_()
        meter = GradientRatio()
        critic_z = z if self.comparable or not self.training else meter.watch(z)
        p = model.decoder(z, condition)
        if batch.weight is not None:
            p = p.weighted(weight)
        return Trace(model, x, condition, corrupted, q, z, p, weight, critic_z, meter.ratio)

    def valued(self, trace: Trace) -> dict[str, Tensor]:
        """The autoencoder's loss and each term by its name, from one forward pass."""
        values = self.terms.values(trace)
        ratio = {} if trace.gradient_ratio is None else {"latent_gradient_ratio": trace.gradient_ratio}
        return {"loss": self.terms.weigh(values), **values, **ratio}

    def see(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The data, the encoder's input, the condition and the weights of the examples.

        The condition is the noise level where the model is conditioned on it.
        """
        x, condition, weight = batch.x, batch.condition, batch.weight
        if self.corrupt is None:
            return x, x, condition, weight
        noise = self.corrupt(x, condition)
        corrupted = noise.sample()
        if isinstance(self.corrupt, Corruption) and (noise_weight := self.corrupt.weight(noise)) is not None:
            weight = noise_weight if weight is None else noise_weight * weight
        if _has_levels(self.corrupt):
            assert isinstance(noise, Normal)
            condition = torch.as_tensor(noise.sigma).flatten()
        if self.antithetic:
            twice = lambda t: None if t is None else torch.cat([t, t])  # noqa: E731
            x, corrupted, condition, weight = (
                torch.cat([x, x]),
                torch.cat([corrupted, 2 * x - corrupted]),
                twice(condition),
                twice(weight),
            )
        if self.walkback:
            shape = (len(x), *[1] * (x.ndim - 1))
            steps = randint(self.walkback + 1, shape, x.device)
            with torch.no_grad():
                # an untrained map may send a point far away
                low, high = x.amin(0), x.amax(0)
                margin = high - low
                for i in range(self.walkback):
                    back = self.model.reconstruct(corrupted, condition).clamp(low - margin, high + margin)
                    corrupted = torch.where(i < steps, self.corrupt(back, condition).sample(), corrupted)
        return x, corrupted, condition, weight

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        if player == "model":
            return self.valued(self.trace(batch))
        term = self.terms.parts()[player]
        with torch.no_grad():
            trace = self.trace(batch)
        return term.critic_loss(trace)

    def __repr__(self) -> str:
        corrupted = "" if self.corrupt is None else f", the encoder seeing {self.corrupt!r}"
        walk = f", up to {self.walkback} steps walked back" if self.walkback else ""
        return f"Penalised: {self.terms!r}{corrupted}{walk}"


def _has_levels(corrupt: Conditional) -> bool:
    """Whether the noise level varies and the model is conditioned on it."""
    return isinstance(corrupt, Corruption) and corrupt.noise_conditional
