"""Whether encoder and decoder invert each other, and how fast they come to as the decoder's noise goes to zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import Autoencoder, evaluating
from chartae.conditionals import Conditional
from chartae.diagnostics.geometry import Decoder, decoder_of
from chartae.diagnostics.posterior import elbo_gap, optimal_posterior, predicted_variance
from chartae.distributions import Distribution, Normal, OptimalNormal, Squashed

__all__ = ["Rates", "SelfConsistency", "active_units", "consistency_rates", "self_consistency"]


@dataclass(frozen=True)
class SelfConsistency:
    """How far an encoder is from the decoder's inverse, in the units of codes and data.

    Attributes:
        code: ||mu(f(z)) - z|| (N,) of codes z drawn from the prior.
        reconstruction: ||f(mu(x)) - x|| (B,).
        variance: the encoder's sigma^2 (B, D); under a bounded prior in units of logit z.
        predicted: what a near-deterministic decoder's posterior has (B, D); NaN where p(x|z) is no Gaussian of one
            sigma.
        kl: KL of each code dimension (D,), in nats, the mean over x.
        active: which dimensions are used (D,): KL above 0.05 nats.
    """

    code: Float[Tensor, " N"]
    reconstruction: Float[Tensor, " B"]
    variance: Float[Tensor, "B D"]
    predicted: Float[Tensor, "B D"]
    kl: Float[Tensor, " D"]
    active: Tensor

    @property
    def ratio(self) -> float:
        """The median of variance / predicted over points and active dimensions; 1 where the theory holds."""
        if not self.active.any():
            return math.nan
        return float((self.variance / self.predicted)[:, self.active].median())


def normal_of(q: Distribution) -> Normal:
    """The normal behind a posterior over codes; of a logit-normal, that of logit z."""
    base = _base(q)
    if not isinstance(base, Normal):
        raise TypeError(
            f"this asks for the posterior's variance, but the encoder gives a {type(base).__name__}. It is for VAEs: "
            "encoders Gaussian(net, sigma) or LogitNormal(net)"
        )
    return base


def has_variance(q: Distribution) -> bool:
    """Whether a posterior over codes is a normal or a logit-normal, which self-consistency is about."""
    return isinstance(_base(q), Normal)


def _base(q: Distribution) -> Distribution:
    return q.base if isinstance(q, Squashed) else q


def active_units(model: Autoencoder, x: Float[Tensor, B * S], least: float = 0.05) -> tuple[Tensor, Tensor]:
    """KL(q(z_k|x) || p(z_k)) of each dimension, in nats, the mean over x, and which exceed `least`: (D,), (D,).

    A dimension at 0 is collapsed: its posterior is the prior, whatever x, though its means may still vary.
    """
    with evaluating(model):
        normal = normal_of(model.encoder(x))
        law = model.prior()
        base = law.base if isinstance(law, Squashed) else law
        sigma = torch.as_tensor(normal.sigma).expand(normal.mean.shape)
        rows = []
        for k in range(normal.mean.shape[1]):
            one = Normal(normal.mean[:, k : k + 1], sigma[:, k : k + 1], 1)
            rows.append(one.kl(_coordinate(base, k), one.mean).mean())
    kl = torch.stack(rows)
    return kl, kl > least


def _coordinate(law: Distribution, k: int) -> Distribution:
    """The k-th marginal of a factorised density over vectors."""
    copy = object.__new__(type(law))
    for name, value in vars(law).items():
        vector = isinstance(value, Tensor) and value.ndim > 0
        copy.__dict__[name] = value[..., k : k + 1] if vector else value
    return copy


def self_consistency(
    model: Autoencoder, x: Float[Tensor, B * S], *, codes: int = 1000, seed: int = 0
) -> SelfConsistency:
    """Self-consistency of a trained VAE: does the encoder invert the decoder, with the variance that theory gives it?

    Reizinger et al., 2022 (arXiv 2206.02416): for gamma -> infinity mu(f(z)) -> z, and sigma_k^2 is that of
    `predicted_variance`. Collapsed dimensions obey neither; they are told by `kl`.

    Args:
        model: with a Gaussian or logit-normal encoder; its decoder smooth and without batch normalisation in training.
        x: points, those of a test set.
        codes: drawn from the prior.

    Raises:
        TypeError: an encoder that has no variance.
        ValueError: x of a shape the model does not take, or a decoder without a Jacobian.
    """
    function = decoder_of(model)
    if not len(x) or not x.isfinite().all():
        raise ValueError(f"x has shape {tuple(x.shape)}; give one finite point or more")
    home = next(model.parameters())
    with evaluating(model):
        q = model.encoder(x)
        normal = normal_of(q)
        if normal.mean.ndim != 2:
            raise ValueError(f"codes have shape {tuple(normal.mean.shape)}; self-consistency is for vectors (B, D)")
        z = model.prior.sample(codes, generator=torch.Generator(home.device).manual_seed(seed)).to(home.dtype)
        code = (model.encoder(function(z)).mean - z).norm(dim=1)
        out = model.decoder(q.mean)
        reconstruction = (out.mean - x).flatten(1).norm(dim=1)
        variance = torch.as_tensor(normal.sigma).expand(normal.mean.shape).square()
        sigma = float(out.sigma) if isinstance(out, OptimalNormal) else getattr(out, "sigma", math.nan)
        if isinstance(sigma, float) and math.isfinite(sigma):
            # the limits of (0, 1) are reached in single precision
            inside = q.mean.clamp(1e-6, 1 - 1e-6) if isinstance(q, Squashed) else q.mean
            parts = [predicted_variance(function, part, sigma**-2, model.prior) for part in inside.split(200)]
            predicted = torch.cat(parts)
        else:
            predicted = torch.full_like(variance, math.nan)
    kl, active = active_units(model, x)
    return SelfConsistency(code, reconstruction, variance, predicted, kl, active)


@dataclass(frozen=True)
class Rates:
    """Quantities as functions of gamma^2, and their slopes in log-log: the orders in which the limit is reached.

    Attributes:
        gamma2: the precisions.
        values: name -> the mean over points at each of them.
        slopes: name -> (slope, its standard error) of log10 value against log10 gamma^2.
    """

    gamma2: tuple[float, ...]
    values: dict[str, tuple[float, ...]]
    slopes: dict[str, tuple[float, float]]


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The least-squares slope of log10 y against log10 x, and its standard error."""
    a = torch.log10(torch.tensor(x, dtype=torch.float64))
    b = torch.log10(torch.tensor(y, dtype=torch.float64))
    a = a - a.mean()
    best = float((a * b).sum() / a.square().sum())
    left = b - b.mean() - best * a
    error = float((left.square().sum() / max(1, len(x) - 2) / a.square().sum()).sqrt())
    return best, error


def consistency_rates(
    decoder: Decoder,
    z: Float[Tensor, "B D"],
    gamma2: Sequence[float] = (1e3, 10**3.5, 1e4, 10**4.5, 1e5),
    *,
    prior: Conditional | None = None,
    nodes: int | None = None,
) -> Rates:
    """The limit's orders on a decoder, at each point's best posterior: the theory is tested, not a training.

    On x = f(z): `code` ||mu - z|| (of slope -1 in gamma^2, where f is smooth), `variance` (-1), `reconstruction`
    ||f(mu) - x||^2 (-2), `variance_error`, the relative error of `predicted_variance` (-1), `ima`
    abs(ELBO* - (log p - c_IMA)) (-1), and `likelihood` abs(log p_gamma - log p) (-1).

    Raises:
        ValueError: fewer than three different precisions, or one not above 0; shapes that do not fit.
    """
    if len(set(gamma2)) < 3 or min(gamma2) <= 0:
        raise ValueError(
            f"gamma2 is {tuple(gamma2)}; a slope and its error need at least three different values above 0"
        )
    function = decoder_of(decoder)
    with torch.no_grad():
        x = function(z)
    from_unit = prior is not None and isinstance(prior(), Squashed)
    values: dict[str, list[float]] = {}
    for g in gamma2:
        found = optimal_posterior(function, x, g, start=z, prior=prior, nodes=nodes)
        gap = elbo_gap(function, x, g, start=z, prior=prior, nodes=nodes)
        mean = found.mean.sigmoid() if from_unit else found.mean
        variance = found.sigma.square()
        row = {
            "code": (mean - z).norm(dim=1),
            "variance": variance,
            "reconstruction": (function(mean) - x).flatten(1).square().sum(1),
            "variance_error": (variance / predicted_variance(function, z, g, prior) - 1).abs(),
            "ima": (gap.elbo - gap.ima).abs(),
            "likelihood": (gap.log_likelihood - gap.limit).abs(),
        }
        for name, value in row.items():
            values.setdefault(name, []).append(float(value.mean()))
    return Rates(
        tuple(gamma2),
        {name: tuple(v) for name, v in values.items()},
        {name: slope(gamma2, v) for name, v in values.items()},
    )
