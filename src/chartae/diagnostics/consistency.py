"""Whether encoder and decoder invert each other, and at what rate as the decoder's noise goes to zero."""

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
    """How far the encoder mean mu is from the inverse of the decoder f; returned by `self_consistency`.

    Attributes:
        code: ||mu(f(z)) - z|| of codes z drawn from the prior (N,), in the units of the codes.
        reconstruction: ||f(mu(x)) - x|| of each point (B,), in the units of the data.
        variance: variance sigma^2 of the encoder (B, D); under a bounded prior, the variance of logit z.
        predicted: variance that theory predicts for a near-deterministic decoder (B, D); NaN if p(x|z) is not a
            Gaussian with a single sigma.
        kl: KL divergence of each code dimension from the prior (D,), in nats, averaged over x.
        active: which dimensions are active (D,), that is, have a KL above 0.05 nats.

    >>> import torch
    >>> from chartae.diagnostics import SelfConsistency
    >>> one = torch.ones(2, 2)
    >>> SelfConsistency(one[0], one[0], 0.5 * one, 0.25 * one, one[0], torch.tensor([True, False])).ratio
    2.0
    """

    code: Float[Tensor, " N"]
    reconstruction: Float[Tensor, " B"]
    variance: Float[Tensor, "B D"]
    predicted: Float[Tensor, "B D"]
    kl: Float[Tensor, " D"]
    active: Tensor

    @property
    def ratio(self) -> float:
        """Median of variance / predicted over points and active dimensions; near 1 if the theory holds."""
        if not self.active.any():
            return math.nan
        return float((self.variance / self.predicted)[:, self.active].median())


def normal_of(q: Distribution) -> Normal:
    """The posterior over codes as a normal distribution; for a logit-normal, the distribution of logit z."""
    base = _base(q)
    if not isinstance(base, Normal):
        raise TypeError(
            f"the encoder's distribution is a {type(base).__name__}; expected a normal or logit-normal, whose variance "
            "this diagnostic needs. It is defined for VAEs, with the encoders Gaussian(net, sigma) or LogitNormal(net)"
        )
    return base


def has_variance(q: Distribution) -> bool:
    """Whether a posterior over codes is a normal or a logit-normal, as self-consistency requires."""
    return isinstance(_base(q), Normal)


def _base(q: Distribution) -> Distribution:
    """The distribution over R^D: of logit z where q is squashed to (0, 1), else q itself."""
    return q.base if isinstance(q, Squashed) else q


def active_units(model: Autoencoder, x: Float[Tensor, B * S], least: float = 0.05) -> tuple[Tensor, Tensor]:
    """KL divergence of each code dimension from the prior, and which dimensions are active.

        KL_k = mean_x KL(q(z_k|x) || p(z_k)).

    A dimension with KL 0 has collapsed: its posterior equals the prior for every x.

    Args:
        model: an autoencoder with a Gaussian or logit-normal encoder and a factorised prior.
        x: points (B, ...).
        least: KL, in nats, above which a dimension is active; default 0.05.

    Returns:
        The divergences (D,), in nats, and booleans (D,).

    Raises:
        TypeError: the encoder has no variance (it is neither Gaussian nor logit-normal).

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Gaussian(identity, sigma=1.0), ch.Gaussian(identity, sigma=0.1), ch.StandardNormal(2))
    >>> kl, active = ch.diagnostics.active_units(model, torch.tensor([[2.0, 0.0], [-2.0, 0.0]]))
    >>> kl, active  # with sigma = 1, KL is the mean of mu^2 / 2
    (tensor([2., 0.]), tensor([ True, False]))
    """
    with evaluating(model):
        normal = normal_of(model.encoder(x))
        base = _base(model.prior())
        sigma = torch.as_tensor(normal.sigma).expand(normal.mean.shape)
        rows = []
        for k in range(normal.mean.shape[1]):
            one = Normal(normal.mean[:, k : k + 1], sigma[:, k : k + 1], 1)
            rows.append(one.kl(_marginal(base, k), one.mean).mean())
    kl = torch.stack(rows)
    return kl, kl > least


def _marginal(density: Distribution, k: int) -> Distribution:
    """The k-th marginal of a factorised density over vectors."""
    copy = object.__new__(type(density))
    for name, value in vars(density).items():
        vector = isinstance(value, Tensor) and value.ndim > 0
        copy.__dict__[name] = value[..., k : k + 1] if vector else value
    return copy


def self_consistency(
    model: Autoencoder, x: Float[Tensor, B * S], *, codes: int = 1000, seed: int = 0
) -> SelfConsistency:
    """Self-consistency of a VAE: whether the encoder inverts the decoder, with the variance that theory predicts.

    For a decoder N(f(z), I / gamma^2) with gamma -> infinity, the encoder's mean satisfies mu(f(z)) -> z, and its
    variance tends to

        sigma_k^2 = 1 / (-d^2 log p(z_k)/dz_k^2 + gamma^2 ||J_k||^2),     J_k the columns of df/dz

    (`predicted_variance`). Collapsed dimensions satisfy neither; their KL is near 0. Reizinger et al., 2022
    (arXiv 2206.02416).

    Args:
        model: an autoencoder with a Gaussian or logit-normal encoder over vectors, and a smooth decoder without batch
            normalisation in training mode.
        x: points (B, ...), B >= 1, preferably of a test set.
        codes: number of codes drawn from the prior; default 1000.
        seed: seed of these codes; default 0.

    Returns:
        Errors of codes (N,) and reconstructions (B,), the encoder's and the predicted variance (B, D), and the KL of
        each dimension (D,).

    Raises:
        TypeError: the encoder has no variance (it is neither Gaussian nor logit-normal).
        ValueError: `x` is empty or not finite; the codes are not vectors; the decoder has no Jacobian.

    >>> import torch
    >>> import chartae as ch
    >>> eye = torch.nn.Linear(2, 2, bias=False)
    >>> _ = torch.nn.init.eye_(eye.weight)
    >>> model = ch.Autoencoder(ch.Gaussian(eye, sigma=0.1), ch.Gaussian(eye, sigma=0.1), ch.StandardNormal(2))
    >>> result = ch.diagnostics.self_consistency(model, torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
    >>> result.code.max().item(), round(result.ratio, 2)  # the predicted variance is 1 / (1 + 100)
    (0.0, 1.01)
    """
    function = decoder_of(model)
    if not len(x) or not x.isfinite().all():
        raise ValueError(f"x has shape {tuple(x.shape)}; expected at least one point, all finite")
    home = next(model.parameters())
    with evaluating(model):
        q = model.encoder(x)
        normal = normal_of(q)
        if normal.mean.ndim != 2:
            raise ValueError(f"the codes have shape {tuple(normal.mean.shape)}; expected vectors (B, D)")
        z = model.prior.sample(codes, generator=torch.Generator(home.device).manual_seed(seed)).to(home.dtype)
        code = (model.encoder(function(z)).mean - z).norm(dim=1)
        out = model.decoder(q.mean)
        reconstruction = (out.mean - x).flatten(1).norm(dim=1)
        variance = torch.as_tensor(normal.sigma).expand(normal.mean.shape).square()
        sigma = float(out.sigma) if isinstance(out, OptimalNormal) else getattr(out, "sigma", math.nan)
        if isinstance(sigma, float) and math.isfinite(sigma):
            # in single precision a sigmoid reaches 0 and 1, where the logit is infinite
            inside = q.mean.clamp(1e-6, 1 - 1e-6) if isinstance(q, Squashed) else q.mean
            parts = [predicted_variance(function, part, sigma**-2, model.prior) for part in inside.split(200)]
            predicted = torch.cat(parts)
        else:
            predicted = torch.full_like(variance, math.nan)
    kl, active = active_units(model, x)
    return SelfConsistency(code, reconstruction, variance, predicted, kl, active)


@dataclass(frozen=True)
class Rates:
    """Quantities as functions of the precision gamma^2, with their slopes in log-log; returned by `consistency_rates`.

    Attributes:
        gamma2: precisions gamma^2 of the decoder.
        values: for each quantity, its mean over points at each precision.
        slopes: for each quantity, the slope of log10 value against log10 gamma^2, and its standard error.

    >>> from chartae.diagnostics import Rates
    >>> Rates((10.0, 100.0), {"code": (0.1, 0.01)}, {"code": (-1.0, 0.0)}).slopes["code"][0]
    -1.0
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
    residual = b - b.mean() - best * a
    error = float((residual.square().sum() / max(1, len(x) - 2) / a.square().sum()).sqrt())
    return best, error


def consistency_rates(
    decoder: Decoder,
    z: Float[Tensor, "B D"],
    gamma2: Sequence[float] = (1e3, 10**3.5, 1e4, 10**4.5, 1e5),
    *,
    prior: Conditional | None = None,
    nodes: int | None = None,
) -> Rates:
    """Convergence rates of a decoder's near-deterministic limit gamma -> infinity, at the optimal posteriors.

    For x = f(z) and p(x|z) = N(f(z), I / gamma^2), the posterior of each point is optimised directly, so the rates
    test the theory and not a training. The quantities, with the slope that theory predicts for a smooth f:

    - ``code``: ||mu - z||, slope -1 in gamma^2;
    - ``variance``: sigma^2 of the posterior, slope -1;
    - ``reconstruction``: ||f(mu) - x||^2, slope -2;
    - ``variance_error``: relative error of `predicted_variance`, slope -1;
    - ``ima``: abs(ELBO* - (log p - c_IMA)), slope -1;
    - ``likelihood``: abs(log p_gamma - log p), slope -1.

    Here log p is the limit of the log-likelihood log p_gamma, c_IMA the contrast of independent mechanism analysis, and
    ELBO* the evidence lower bound at the best factorised posterior. Reizinger et al., 2022 (arXiv 2206.02416).

    Args:
        decoder: smooth map f: an `Autoencoder`, or a function (B, D) -> (B, ...) that acts on each row separately.
        z: codes (B, D), preferably float64.
        gamma2: precisions gamma^2, at least three different ones above 0; by default from 1e3 to 1e5.
        prior: prior over codes, factorised; by default standard normal.
        nodes: nodes per dimension of the quadrature over the posterior; by default 40 up to two dimensions, fewer in
            more.

    Returns:
        Mean of each quantity at each precision, and its slope in log-log.

    Raises:
        ValueError: there are fewer than three different precisions, or one is not above 0; the shapes do not fit; a
            code lies outside the support of the prior.

    >>> import torch
    >>> from chartae.diagnostics import consistency_rates
    >>> f = lambda z: torch.stack([z[:, 0], z[:, 0] + z[:, 1]], 1)
    >>> rates = consistency_rates(f, torch.tensor([[0.5, 1.0]], dtype=torch.float64), (1e3, 1e4, 1e5), nodes=4)
    >>> round(rates.slopes["code"][0], 2), round(rates.slopes["reconstruction"][0], 2)
    (-1.0, -2.0)
    """
    if len(set(gamma2)) < 3 or min(gamma2) <= 0:
        raise ValueError(f"gamma2 is {tuple(gamma2)}; expected at least three different values above 0, for a slope")
    function = decoder_of(decoder)
    with torch.no_grad():
        x = function(z)
    from_unit = prior is not None and isinstance(prior(), Squashed)
    values: dict[str, list[float]] = {}
    for g in gamma2:
        posterior = optimal_posterior(function, x, g, start=z, prior=prior, nodes=nodes)
        gap = elbo_gap(function, x, g, start=z, prior=prior, nodes=nodes)
        mean = posterior.mean.sigmoid() if from_unit else posterior.mean
        variance = posterior.sigma.square()
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
