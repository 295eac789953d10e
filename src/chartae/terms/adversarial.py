"""Terms with a critic of their own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from chartae.autoencoder import Autoencoder
from chartae.distributions import Normal
from chartae.maths import judged, loss_of
from chartae.maths.random import randn
from chartae.nn import Critic
from chartae.terms.base import Term, Trace

__all__ = ["AdversarialKL", "AdversarialLatent"]


def _code(t: Trace) -> Tensor:
    return t.z if t.judged is None else t.judged


def _logits(critic: Critic, t: Trace, *parts: Tensor) -> Tensor:
    logits: Tensor = critic(*parts) if t.condition is None else critic(*parts, condition=t.condition)
    return logits


class AdversarialLatent(Term):
    """KL(q(z) || p(z)) of the aggregated codes, by a critic that tells the prior from codes: adversarial autoencoders.

    At the critic's optimum T = log p(z)/q(z). Makhzani et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644);
    beside any likelihood, the WAE-GAN of 1711.01558.

    Args:
        critic: of z.
        penalty: of R1 + R2, in the inverse squared units of the logit's gradient in z.
        loss: what the model pays: ``"non-saturating"``, softplus(-T(z)); ``"logit"``, -T(z), whose gradient is the KL's
            where the critic is optimal; ``"relativistic"``, softplus(T(z') - T(z)) beside z' of the prior.

    Raises:
        ValueError: a negative penalty, an unknown loss.
    """

    def __init__(self, critic: Critic, penalty: float = 0.1, loss: str = "non-saturating") -> None:
        super().__init__()
        if penalty < 0:
            raise ValueError(f"penalty is {penalty}; a weight is 0 or above")
        self.critic, self.penalty, self.loss = critic, float(penalty), loss_of(loss)
        self.second_order = penalty > 0

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        made = _logits(self.critic, t, _code(t))
        if self.loss == "logit":
            return -made
        if self.loss == "relativistic":
            return softplus(_logits(self.critic, t, t.model.prior.sample(len(t.z))) - made)
        return softplus(-made)

    def rival(self, t: Trace) -> dict[str, Tensor]:
        prior, z = t.model.prior.sample(len(t.z)).detach(), t.z.detach()
        loss, right, real, made = judged(
            self.critic, (prior,), (z,), penalty=self.penalty, pairs=self.loss == "relativistic",
            batches=self.critic.statistics, condition=t.condition,
        )  # fmt: skip
        return {"loss": loss, "accuracy": right, "real": real.mean(), "made": made.mean()}

    def check(self, model: Autoencoder) -> None:
        if not model.prior.drawable:
            raise TypeError("AdversarialLatent needs a prior to draw from; use StandardNormal(D)")

    def extra_repr(self) -> str:
        told = [f"penalty={self.penalty:g}"] if self.penalty else []
        return ", ".join(told + ([self.loss] if self.loss != "non-saturating" else []))


class AdversarialKL(Term):
    """KL(q(z|x) || p(z)) of each posterior, of which draws are enough: adversarial variational Bayes.

    A critic tells (x, z), z ~ q(z|x), from (x, z), z ~ p(z); at its optimum T = log q(z|x) - log p(z), whose mean over
    q is the KL. With `contrast`, both are told apart relative to a normal r(z|x) with the mean and the variances of so
    many draws of q: the critic sees u = (z - mean) / sd against u ~ N(0, I), and

        KL(q || p) = E_q[ T(x, u) + log r(z|x) - log p(z) ],

    so it has only the posterior's shape to learn, not its place and size. Mescheder, Nowozin, Geiger, "Adversarial
    Variational Bayes", 2017 (arXiv 1701.04722). The model is told through z alone: E_q of the change of T with q is 0.
    The value is only as good as the critic: one that lags behind under-estimates the KL, so give it a learning rate
    of several times the model's (`Penalised(rates=...)`; the recipes use 4 and Adam's betas (0.5, 0.99)). The noise of
    the moments does so by about D / contrast nats.

    Args:
        critic: of (x, z).
        contrast: how many draws of q give the moments of r, from 2; 0 for the prior itself in its place.
        penalty: of R1 + R2; it makes the critic err, so it is small.

    Raises:
        ValueError: a negative penalty, or a contrast of 1 or below 0.
    """

    def __init__(self, critic: Critic, contrast: int = 32, penalty: float = 0.0) -> None:
        super().__init__()
        if penalty < 0:
            raise ValueError(f"penalty is {penalty}; a weight is 0 or above")
        if contrast < 0 or contrast == 1:
            raise ValueError(f"contrast is {contrast}; moments take 2 draws or more, and 0 stands for the prior")
        self.critic, self.contrast, self.penalty = critic, int(contrast), float(penalty)
        self.second_order = penalty > 0

    def _contrast(self, t: Trace) -> Normal:
        """r(z|x), with no gradient: the KL is the same for every r."""
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

    def rival(self, t: Trace) -> dict[str, Tensor]:
        z = t.z.detach()
        if self.contrast:
            r = self._contrast(t)
            own, other = (z - r.mean) / r.sigma, randn(z.shape, z)
        else:
            own, other = z, t.model.prior.sample(len(z)).detach()
        loss, right, posterior, contrast = judged(
            self.critic,
            (t.x, own),
            (t.x, other),
            penalty=self.penalty,
            batches=self.critic.statistics,
            condition=t.condition,
        )
        return {"loss": loss, "accuracy": right, "posterior": posterior.mean(), "contrast": contrast.mean()}

    def check(self, model: Autoencoder) -> None:
        if not model.prior.has_density:
            raise TypeError("AdversarialKL needs a prior with a density; use StandardNormal(D)")

    def extra_repr(self) -> str:
        told = [f"contrast={self.contrast}"] if self.contrast else []
        return ", ".join(told + ([f"penalty={self.penalty:g}"] if self.penalty else []))
