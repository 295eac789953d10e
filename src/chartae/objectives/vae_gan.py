"""The VAE-GAN: a VAE whose squared error is taken in a hidden layer of a critic, and whose decoder is a GAN."""

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
    """The VAE-GAN objective: a VAE whose reconstruction error is measured in the features of a critic.

    - encoder: KL + feature error;
    - decoder: gamma times the feature error + GAN loss;
    - critic: GAN loss.

    The feature error is `||D(x) - D(x^)||^2 / (2 sigma^2 v)`, with D the features of the critic's trunk and v their
    mean variance over the batch: a normal likelihood of features. No pixels are compared. The critic separates data
    from reconstructions x^ = g(z), z ~ q(z|x), and from samples g(z), z ~ p(z), in equal numbers. Larsen, Sønderby,
    Larochelle, Winther, "Autoencoding beyond pixels using a learned similarity metric", 2016 (arXiv 1512.09300).

    It departs from the paper in three ways. The gradient penalty makes features small, so that their error is taken
    relative to v. The GAN loss is the non-saturating one. Reconstructions and samples count one half each, so that the
    logit of the optimal critic is 0 where the distributions agree.

    Args:
        model: an autoencoder whose encoder has a density, and whose decoder is used by its mean.
        critic: critic of x, with a trunk.
        gamma: weight of the feature error for the decoder, > 0; default 0.01. For the encoder it is 1.
        sigma: standard deviation of the likelihood of features, in units of their own, > 0; default 1.
        penalty: weight of the gradient penalty R1 + R2, as a share of the total variance of x, >= 0; default 0.05. The
            paper has none.

    Raises:
        TypeError: the critic has no trunk, or the encoder has no density.
        ValueError: `gamma` or `sigma` is not above 0, or `penalty` is negative; in training, batches of one example.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.nn import MLP, Critic
    >>> from chartae.objectives import VAEGAN
    >>> encoder = ch.Gaussian(torch.nn.Linear(3, 4), sigma="learnt")
    >>> model = ch.Autoencoder(encoder, ch.Gaussian(torch.nn.Linear(2, 3)), ch.StandardNormal(2))
    >>> objective = VAEGAN(model, Critic(torch.nn.Linear(8, 1), MLP(3, 8, (), norm=False)))
    >>> x = torch.randn(16, 3)
    >>> sorted(objective(x))
    ['features', 'gan', 'kl', 'loss']
    >>> sorted(objective(x, "critic"))
    ['accuracy', 'again', 'drawn', 'loss', 'real']
    """

    ema = 0.995
    cosine = True
    comparable = False

    def __init__(
        self, model: Autoencoder, critic: Critic, *, gamma: float = 0.01, sigma: float = 1.0, penalty: float = 0.05
    ) -> None:
        super().__init__()
        if not isinstance(critic, Critic) or critic.trunk is None:
            raise TypeError("the critic has no trunk, whose features VAEGAN compares; give a Critic(head, trunk)")
        if not model.encoder.has_density:
            raise TypeError(
                f"the encoder is {type(model.encoder).__name__}, which has no density; expected a density q(z|x). "
                "Use a Gaussian encoder."
            )
        if not gamma > 0:
            raise ValueError(f"gamma is {gamma}; expected a weight above 0")
        if not sigma > 0:
            raise ValueError(f"sigma is {sigma}; expected a standard deviation above 0")
        if not penalty >= 0:
            raise ValueError(f"penalty is {penalty}; expected a weight of 0 or more")
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

    def _generate(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reconstructions of codes, and as many samples, by one pass; no gradient goes back to the codes."""
        codes = torch.cat([z.detach(), self.model.prior.sample(len(z))])
        x = self.model.decoder(codes, None if condition is None else torch.cat([condition, condition])).mean
        return x[: len(z)], x[len(z) :]

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        step = self._critic if player == "critic" else self._model
        return step(batch.x, batch.condition)

    def _model(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        q = self.model.encoder(x, condition)
        z = q.sample()
        # the feature error has weight gamma for the decoder and 1 for the encoder: divide its gradient at z by gamma
        scaled = z.detach() + (z - z.detach()) / self.gamma
        reconstructions = self.model.decoder(scaled, condition).mean
        with torch.no_grad():
            target = self._features(x).flatten(1)
            unit = self.sigma**2 * target.var(0, correction=0).mean().clamp_min(1e-12)
        features = 0.5 * (self._features(reconstructions).flatten(1) - target).square().sum(1).mean() / unit
        kl = q.kl(self.model.prior(), z).mean()
        reconstructions, samples = self._generate(z, condition)
        gan = 0.5 * (softplus(-self.critic(reconstructions)).mean() + softplus(-self.critic(samples)).mean())
        return {"loss": kl + self.gamma * features + gan, "kl": kl, "features": features, "gan": gan}

    def _critic(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        with torch.no_grad():
            reconstructions, samples = self._generate(self.model.encoder(x, condition).sample(), condition)
        fake = torch.cat([reconstructions[::2], samples[1::2]])  # one half of each
        verdict = critic_loss(
            self.critic, (x,), (fake,), penalty=self.penalty, lengths=[total_variance(x)],
            batches=self.critic.statistics,
        )  # fmt: skip
        kinds = verdict.fake.split([len(reconstructions[::2]), len(samples[1::2])])
        return {
            "loss": verdict.loss, "accuracy": verdict.right, "real": verdict.real.mean(), "again": kinds[0].mean(),
            "drawn": kinds[1].mean(),
        }  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"encoder KL + features of sigma {self.sigma:g}, decoder {self.gamma:g} features + GAN, "
            f"by a critic of penalty {self.penalty:g}"
        )
