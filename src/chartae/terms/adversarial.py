"""Adversarial terms, which have a critic (discriminator) of their own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from chartae.autoencoder import Autoencoder
from chartae.distributions import Normal
from chartae.maths import critic_loss, loss_of
from chartae.maths.random import randn
from chartae.nn import Critic
from chartae.terms.base import Term, Trace

__all__ = ["AdversarialKL", "AdversarialLatent"]


def _code(t: Trace) -> Tensor:
    return t.z if t.critic_z is None else t.critic_z


def _logits(critic: Critic, t: Trace, *parts: Tensor) -> Tensor:
    logits: Tensor = critic(*parts) if t.condition is None else critic(*parts, condition=t.condition)
    return logits


class AdversarialLatent(Term):
    """KL(q(z) || p(z)) of the aggregated posterior, estimated by a critic: the term of adversarial autoencoders.

    The critic T(z) distinguishes draws of the prior from codes; at its optimum T = log p(z) / q(z). Makhzani et al.,
    "Adversarial Autoencoders", 2015 (arXiv 1511.05644); with any likelihood it gives the WAE-GAN (arXiv 1711.01558).

    Args:
        critic: network T from codes to logits.
        penalty: weight of the critic's gradient penalty R1 + R2, >= 0; default 0.1. R1 and R2 are ½ E ||dT/dz||^2 over
            draws of the prior and over codes, so the weight has the squared units of z.
        loss: loss of the model: ``"non-saturating"`` (default), softplus(-T(z)); ``"logit"``, -T(z), whose gradient is
            that of the KL if the critic is optimal; ``"relativistic"``, softplus(T(z') - T(z)) with z' from the prior.

    Raises:
        ValueError: `penalty` is negative, or unknown `loss`.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.nn import Critic
    >>> from chartae.terms import AdversarialLatent
    >>> model = ch.Autoencoder(
    ...     ch.Dirac(torch.nn.Linear(3, 2)), ch.Gaussian(torch.nn.Linear(2, 3)), ch.StandardNormal(2)
    ... )
    >>> objective = ch.Penalised(model, ch.Reconstruction() + AdversarialLatent(Critic(torch.nn.Linear(2, 1))))
    >>> list(objective.players())
    ['model', 'adversarial_latent']
    """

    def __init__(self, critic: Critic, penalty: float = 0.1, loss: str = "non-saturating") -> None:
        super().__init__()
        if penalty < 0:
            raise ValueError(f"penalty is {penalty}; expected 0 or above.")
        self.critic, self.penalty, self.loss = critic, float(penalty), loss_of(loss)
        self.second_order = penalty > 0

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        logits = _logits(self.critic, t, _code(t))
        if self.loss == "logit":
            return -logits
        if self.loss == "relativistic":
            return softplus(_logits(self.critic, t, t.model.prior.sample(len(t.z))) - logits)
        return softplus(-logits)

    def critic_loss(self, t: Trace) -> dict[str, Tensor]:
        prior, z = t.model.prior.sample(len(t.z)).detach(), t.z.detach()
        loss, accuracy, real, fake = critic_loss(
            self.critic, (prior,), (z,), penalty=self.penalty, pairs=self.loss == "relativistic",
            batches=self.critic.statistics, condition=t.condition,
        )  # fmt: skip
        return {"loss": loss, "accuracy": accuracy, "real": real.mean(), "fake": fake.mean()}

    def check(self, model: Autoencoder) -> None:
        if not model.prior.drawable:
            raise TypeError(
                f"the prior {model.prior!r} cannot be sampled, but AdversarialLatent draws from it. "
                "Use StandardNormal(D)."
            )

    def extra_repr(self) -> str:
        options = [f"penalty={self.penalty:g}"] if self.penalty else []
        return ", ".join(options + ([self.loss] if self.loss != "non-saturating" else []))


class AdversarialKL(Term):
    """KL(q(z|x) || p(z)) of each posterior, estimated by a critic from draws alone: adversarial variational Bayes.

    Mescheder, Nowozin, Geiger, "Adversarial Variational Bayes", 2017 (arXiv 1701.04722). With ``contrast=0`` the critic
    distinguishes (x, z), z ~ q(z|x), from (x, z), z ~ p(z); at its optimum T = log q(z|x) - log p(z), whose mean over q
    is the KL. With `contrast` > 0 both are compared with a normal r(z|x), which has the mean and the variances of that
    many draws of q (adaptive contrast). The critic distinguishes u = (z - mean) / sd from u ~ N(0, I), and

        KL(q || p) = E_q[ T(x, u) + log r(z|x) - log p(z) ],

    so it has to learn only the shape of the posterior, not its location and scale. Gradients reach the model only
    through z: the expectation over q of the gradient of T with respect to q is 0.

    The value is as good as the critic. A critic that lags behind under-estimates the KL, so give it a learning rate of
    several times the model's (`Penalised(rates=...)`; the recipes use 4, and Adam's betas (0.5, 0.99)). The noise of
    the moments also lowers the estimate, by about D / contrast nats.

    Args:
        critic: network T from (x, z) to logits.
        contrast: number of draws of q for the moments of r, at least 2; or 0: the prior takes the place of r. Default
            32.
        penalty: weight of the critic's gradient penalty R1 + R2, >= 0; default 0. It biases the critic, so keep it
            small.

    Raises:
        ValueError: `penalty` is negative, or `contrast` is 1 or negative.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.conditionals import Implicit
    >>> from chartae.nn import Critic
    >>> from chartae.terms import AdversarialKL
    >>> encoder = Implicit(torch.nn.Linear(4, 2), noise_dim=1)  # has no density, so KL cannot be used
    >>> model = ch.Autoencoder(encoder, ch.Gaussian(torch.nn.Linear(2, 3)), ch.StandardNormal(2))
    >>> objective = ch.Penalised(model, ch.Reconstruction() + AdversarialKL(Critic(torch.nn.Linear(5, 1))))
    >>> sorted(objective(torch.zeros(4, 3), player="adversarial_kl"))
    ['accuracy', 'contrast', 'loss', 'posterior']
    """

    def __init__(self, critic: Critic, contrast: int = 32, penalty: float = 0.0) -> None:
        super().__init__()
        if penalty < 0:
            raise ValueError(f"penalty is {penalty}; expected 0 or above.")
        if contrast < 0 or contrast == 1:
            raise ValueError(f"contrast is {contrast}; expected at least 2 draws, or 0 to use the prior instead.")
        self.critic, self.contrast, self.penalty = critic, int(contrast), float(penalty)
        self.second_order = penalty > 0

    def _contrast(self, t: Trace) -> Normal:
        """r(z|x), without gradient: the KL is the same for every r."""
        with torch.no_grad():
            z = t.q.sample(self.contrast)
        return Normal(z.mean(0), z.std(0).clamp_min(1e-3))

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        z = _code(t)
        if not self.contrast:
            return _logits(self.critic, t, t.x, z)
        r = self._contrast(t)
        moments = r.log_prob(z) - t.model.prior().log_prob(z)
        return _logits(self.critic, t, t.x, (z - r.mean) / r.sigma) + moments

    def critic_loss(self, t: Trace) -> dict[str, Tensor]:
        z = t.z.detach()
        if self.contrast:
            r = self._contrast(t)
            codes, reference = (z - r.mean) / r.sigma, randn(z.shape, z)
        else:
            codes, reference = z, t.model.prior.sample(len(z)).detach()
        loss, accuracy, posterior, contrast = critic_loss(
            self.critic,
            (t.x, codes),
            (t.x, reference),
            penalty=self.penalty,
            batches=self.critic.statistics,
            condition=t.condition,
        )
        return {"loss": loss, "accuracy": accuracy, "posterior": posterior.mean(), "contrast": contrast.mean()}

    def check(self, model: Autoencoder) -> None:
        if not model.prior.has_density:
            raise TypeError(
                f"the prior {model.prior!r} has no density, but AdversarialKL needs one. Use StandardNormal(D)."
            )

    def extra_repr(self) -> str:
        options = [f"contrast={self.contrast}"] if self.contrast else []
        return ", ".join(options + ([f"penalty={self.penalty:g}"] if self.penalty else []))
