"""The VAE whose squared error is taken in a critic's hidden layer, and whose decoder is that critic's generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from chartae.autoencoder import Autoencoder
from chartae.data import Batch, Batches
from chartae.maths import critic_loss, total_variance
from chartae.nn import Critic
from chartae.objectives.base import Objective, Player, needs_several

__all__ = ["VAEGAN"]


class VAEGAN(Objective):
    """Encoder: KL + feature error; decoder: gamma times the feature error + GAN; critic: GAN alone.

    The feature error is ||D(x) - D(x^)||^2 / (2 sigma^2 v), v the mean variance over the batch of the features D that
    the critic's trunk makes: a normal likelihood there. The critic tells data from both kinds of what the decoder
    draws, reconstructions x^ = g(z), z ~ q(z|x), and samples g(z), z ~ p(z), each half. No pixel is compared. Larsen,
    Sønderby, Larochelle, Winther, "Autoencoding beyond pixels using a learned similarity metric", 2016 (arXiv
    1512.09300). Departures: the penalty, under which features are small, so that their error is taken relative to v;
    the non-saturating loss; each kind of draw counts half, so that the best critic's logit is 0 where the laws agree.

    Args:
        model: its encoder with a density, its decoder drawn from as its mean.
        critic: of x, with a trunk.
        gamma: weight of the feature error for the decoder; the encoder's is 1.
        sigma: of the features' likelihood, in units of their own standard deviation.
        penalty: of R1 + R2, as a share of the total variance of x.

    Raises:
        TypeError: a critic without a trunk, an encoder without a density.
        ValueError: a gamma or sigma that is not above 0, a negative penalty.
    """

    ema = 0.995
    cosine = True
    comparable = False

    def __init__(
        self, model: Autoencoder, critic: Critic, *, gamma: float = 0.01, sigma: float = 1.0, penalty: float = 0.05
    ) -> None:
        super().__init__()
        if not isinstance(critic, Critic) or critic.trunk is None:
            raise TypeError("VAEGAN compares features of the critic's trunk; give a Critic(head, trunk)")
        if not model.encoder.has_density:
            raise TypeError("VAEGAN needs a density q(z|x), but the encoder has none. Use a Gaussian encoder")
        if not gamma > 0:
            raise ValueError(f"gamma is {gamma}; a weight that the decoder is to heed is above 0")
        if not sigma > 0:
            raise ValueError(f"sigma is {sigma}; a standard deviation is above 0")
        if not penalty >= 0:
            raise ValueError(f"penalty is {penalty}; a weight is 0 or above")
        self.model, self.critic = model, critic
        self.gamma, self.sigma, self.penalty = float(gamma), float(sigma), float(penalty)
        self.second_order = penalty > 0

    def check(self, batches: Batches) -> None:
        needs_several(batches)

    def players(self) -> dict[str, Player]:
        betas = (0.0, 0.99)
        return {
            "model": Player(list(self.model.parameters()), betas=betas),
            "critic": Player(list(self.critic.parameters()), 2.0, betas),
        }

    def _features(self, x: Tensor) -> Tensor:
        assert self.critic.trunk is not None
        return self.critic.trunk(x)

    def _fakes(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reconstructions of codes, and as many samples, by one pass; no gradient goes back to the codes."""
        codes = torch.cat([z.detach(), self.model.prior.sample(len(z))])
        drawn = self.model.decoder(codes, None if condition is None else torch.cat([condition, condition])).mean
        return drawn[: len(z)], drawn[len(z) :]

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        step = self._critic if player == "critic" else self._model
        return step(batch.x, batch.condition)

    def _model(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        q = self.model.encoder(x, condition)
        z = q.sample()
        # the decoder's weight of the feature error is gamma, the encoder's 1: what goes back to z is divided by gamma
        seen = z.detach() + (z - z.detach()) / self.gamma
        again = self.model.decoder(seen, condition).mean
        with torch.no_grad():
            wanted = self._features(x).flatten(1)
            unit = self.sigma**2 * wanted.var(0, correction=0).mean().clamp_min(1e-12)
        features = 0.5 * (self._features(again).flatten(1) - wanted).square().sum(1).mean() / unit
        kl = q.kl(self.model.prior(), z).mean()
        again, drawn = self._fakes(z, condition)
        gan = 0.5 * (softplus(-self.critic(again)).mean() + softplus(-self.critic(drawn)).mean())
        return {"loss": kl + self.gamma * features + gan, "kl": kl, "features": features, "gan": gan}

    def _critic(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        with torch.no_grad():
            again, drawn = self._fakes(self.model.encoder(x, condition).sample(), condition)
        made = torch.cat([again[::2], drawn[1::2]])  # each kind half
        verdict = critic_loss(
            self.critic, (x,), (made,), penalty=self.penalty, lengths=[total_variance(x)],
            batches=self.critic.statistics,
        )  # fmt: skip
        kinds = verdict.made.split([len(again[::2]), len(drawn[1::2])])
        return {
            "loss": verdict.loss, "accuracy": verdict.right, "real": verdict.real.mean(), "again": kinds[0].mean(),
            "drawn": kinds[1].mean(),
        }  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"encoder KL + features of sigma {self.sigma:g}, decoder {self.gamma:g} features + GAN, "
            f"by a critic of penalty {self.penalty:g}"
        )
