"""Terms that are expectations of log densities: reconstruction and KL divergence."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import Autoencoder
from chartae.terms.base import Term, Trace

__all__ = ["KL", "Reconstruction"]


class Reconstruction(Term):
    """The reconstruction term -log p(x|z) at one draw z of q(z|x), in nats: the distortion.

    For a Gaussian decoder with fixed sigma it is ||x - x^||^2 / (2 sigma^2) + (D/2) log(2 pi sigma^2). The
    ||x - x^||^2 that papers print corresponds to sigma^2 = 1/2, up to a constant.

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Dirac(identity), ch.Gaussian(identity, sigma=1.0), ch.StandardNormal(2))
    >>> ch.Penalised(model, ch.Reconstruction())(torch.ones(4, 2))["reconstruction"]  # log(2 pi)
    tensor(1.8379)
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
    """The KL divergence KL(q(z|x) || p(z)), in nats: the rate.

    It is computed in closed form or by quadrature where the distributions allow it, else estimated from one draw z of
    q(z|x). Between a Gaussian encoder and the standard normal it is ½ (||mu||^2 + Σ (s^2 - 1 - 2 log s)), s the
    standard deviation. (Equation 7 of Ghosh et al., arXiv 1903.12436, prints the terms of s and d with the opposite
    signs; the formula here is the right one.)

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Gaussian(identity, sigma=1.0), ch.Gaussian(identity), ch.StandardNormal(2))
    >>> ch.Penalised(model, ch.KL())(torch.ones(4, 2))["kl"]  # half of 1 + 1
    tensor(1.)
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
                "leaves, so KL would be infinite. Use LogitNormal(net) as the encoder, or a prior over all of R^D."
            )
