"""Terms with a critic of their own."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from chartae.autoencoder import Autoencoder
from chartae.functional import gradient_penalty
from chartae.nn import Critic
from chartae.terms.base import Term, Trace

__all__ = ["AdversarialLatent"]


class AdversarialLatent(Term):
    """KL(q(z) || p(z)) of the aggregated codes, by a critic that tells the prior from codes: adversarial autoencoders.

    The model pays softplus(-T(z)), the non-saturating form; at the critic's optimum T = log p(z)/q(z). Makhzani et al.,
    "Adversarial Autoencoders", 2015 (arXiv 1511.05644); beside any likelihood, the WAE-GAN of 1711.01558.

    Args:
        critic: of z.
        penalty: of R1 + R2, in the inverse squared units of the logit's gradient in z.
    """

    def __init__(self, critic: Critic, penalty: float = 0.1) -> None:
        super().__init__()
        if penalty < 0:
            raise ValueError(f"penalty is {penalty}; a weight is 0 or above")
        self.critic, self.penalty = critic, float(penalty)
        self.second_order = penalty > 0

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return softplus(-self.critic(t.z))

    def rival(self, t: Trace) -> dict[str, Tensor]:
        prior, z = t.model.prior.sample(len(t.z)).detach(), t.z.detach()
        above, below = self.critic(prior), self.critic(z)
        loss = softplus(-above).mean() + softplus(below).mean()
        if self.penalty:
            penalty = gradient_penalty(self.critic, prior) + gradient_penalty(self.critic, z)
            loss = loss + self.penalty * penalty
        right = 0.5 * ((above > 0).to(z.dtype).mean() + (below < 0).to(z.dtype).mean())
        return {"loss": loss, "accuracy": right, "real": above.mean(), "made": below.mean()}

    def check(self, model: Autoencoder) -> None:
        if not model.prior.has_density:
            raise TypeError("AdversarialLatent needs a prior to draw from; use StandardNormal(D)")

    def extra_repr(self) -> str:
        return f"penalty={self.penalty:g}" if self.penalty else ""
