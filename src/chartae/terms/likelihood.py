"""Terms that are expectations of log densities."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import Autoencoder
from chartae.terms.base import Term, Trace

__all__ = ["KL", "Reconstruction"]


class Reconstruction(Term):
    """-log p(x|z) at the trace's z, one draw of q(z|x): the distortion, in nats.

    With a Gaussian decoder of fixed sigma it is ||x - x^||^2 / (2 sigma^2) + (D/2) log(2 pi sigma^2); the papers'
    ||x - x^||^2 is sigma^2 = 1/2, up to the constant.
    """

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return -t.p.log_prob(t.x)

    def check(self, model: Autoencoder) -> None:
        if not model.decoder.has_density:
            raise TypeError(
                "Reconstruction needs a density p(x|z), but the decoder is "
                f"{type(model.decoder).__name__} (a point). Use Gaussian(net, sigma) or Bernoulli(net)."
            )


class KL(Term):
    """KL(q(z|x) || p(z)), in nats: closed between Gaussians, else its one-draw estimate at the trace's z.

    Between a Gaussian encoder and the standard normal: ½ (||mu||^2 + Σ (s^2 - 1 - 2 log s)), s the standard
    deviation. (Equation 7 of 1903.12436 prints the signs of s and d the other way; this is the right one.)
    """

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return t.q.kl(t.model.prior(None, t.condition), t.z)

    def check(self, model: Autoencoder) -> None:
        for role, part in (("q(z|x)", model.encoder), ("p(z)", model.prior)):
            if not part.has_density:
                raise TypeError(
                    f"KL needs a density {role}, but it is {type(part).__name__} (a point). "
                    "Use LatentNorm for a deterministic encoder, or a Gaussian encoder."
                )
        if model.prior.bounded and not model.encoder.bounded:
            raise TypeError(
                f"the prior {model.prior!r} lies in the unit cube, which the encoder's {type(model.encoder).__name__} "
                "leaves: KL would be infinite. Use LogitNormal(net), or a prior over all of R^D"
            )
