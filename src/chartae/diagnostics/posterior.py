"""The best factorised posterior of one point, so that theory is tested and not training; what it leaves of log p."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.conditionals import Conditional, StandardNormal
from chartae.diagnostics.geometry import Decoder, contrast_of, decoder_of
from chartae.distributions import Distribution, Squashed
from chartae.maths import column_gram, jacobian

__all__ = ["Gap", "Posterior", "elbo_gap", "linear_gap", "optimal_posterior", "predicted_variance"]

#: nodes of a quadrature; above, so many antithetic quasi-random points
NODES = 4096
#: numbers that a pass over points and nodes holds at once
NUMBERS = 1 << 22


@dataclass(frozen=True)
class Posterior:
    """q(u) = N(mean, diag sigma^2) that maximises the ELBO of each point; u = z, or logit z under a bounded prior.

    Attributes:
        mean: (B, D).
        sigma: (B, D), standard deviations.
        elbo: the ELBO there (B,), in nats, the likelihood's normaliser included.
    """

    mean: Float[Tensor, "B D"]
    sigma: Float[Tensor, "B D"]
    elbo: Float[Tensor, " B"]


def _precision(gamma2: float) -> float:
    if not 0 < gamma2 < math.inf:
        raise ValueError(f"gamma2 is {gamma2}; a precision 1 / sigma^2 is a finite number above 0")
    return float(gamma2)


def unbounded(
    decoder: Decoder, prior: Conditional | None, dim: int, like: Tensor
) -> tuple[Callable[[Tensor], Tensor], Distribution, bool]:
    """Decoder and prior over the whole of R^D: where the prior is bounded, as functions of u = logit z."""
    function = decoder_of(decoder)
    if prior is not None and not isinstance(prior, Conditional):
        raise TypeError(f"the prior is a {type(prior).__name__}; give a Conditional, such as Uniform({dim})")
    own: Conditional = StandardNormal(dim) if prior is None else copy.deepcopy(prior)
    law = own.to(like.device, like.dtype)()
    if tuple(law.mean.shape) != (dim,):
        raise ValueError(
            f"the prior is over points of shape {tuple(law.mean.shape)}, but the codes have {dim} dimensions"
        )
    if isinstance(law, Squashed):
        return (lambda u: function(u.sigmoid())), law.base, True
    return function, law, False


def _unbounded_codes(z: Tensor, bounded: bool) -> Tensor:
    """z, or logit z under a bounded prior, whose support it must not leave."""
    if not bounded:
        return z
    if n := int(((z <= 0) | (z >= 1)).any(1).sum()):
        raise ValueError(f"{n} of {len(z)} codes leave (0, 1), the support of the prior; give codes within it")
    return z.logit()


def curvature(prior: Distribution, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """-d^2 log p(u_k) / du_k^2 of a factorised density."""
    slope = torch.func.grad(lambda a: prior.log_prob(a).sum())
    return -cast(Tensor, torch.func.jvp(slope, (u,), (torch.ones_like(u),))[1])


def predicted_variance(
    decoder: Decoder, z: Float[Tensor, "B D"], gamma2: float, prior: Conditional | None = None
) -> Float[Tensor, "B D"]:
    """sigma_k^2 = 1 / (-d^2 log p(u_k)/du_k^2 + gamma^2 ||J_k||^2): the posterior of a near-deterministic decoder.

    Reizinger et al., 2022 (arXiv 2206.02416). J_k are the columns of the decoder's Jacobian at z; under a bounded prior
    (`Uniform`, `Beta`) of the decoder after the sigmoid, with respect to u = logit z, in whose units the result is:
    for Beta(a, b) it is 1 / ((a + b) z (1 - z) + gamma^2 (z (1 - z))^2 ||df/dz_k||^2).
    """
    function, law, bounded = unbounded(decoder, prior, z.shape[1], z)
    u = _unbounded_codes(z, bounded)
    lengths = column_gram(jacobian(function, u)).diagonal(dim1=1, dim2=2)
    return 1 / (curvature(law, u) + _precision(gamma2) * lengths.to(z.dtype))


def _nodes(dim: int, nodes: int | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, D) and weights (N,) of an expectation over N(0, I)."""
    if nodes is None:
        nodes = 40 if dim <= 2 else max(2, math.floor(NODES ** (1 / dim)))
    if nodes**dim <= NODES and nodes >= 4:
        at, weight = np.polynomial.hermite_e.hermegauss(nodes)
        e = torch.cartesian_prod(*[torch.as_tensor(at, dtype=like.dtype)] * dim).reshape(-1, dim)
        w = torch.cartesian_prod(*[torch.as_tensor(weight / weight.sum(), dtype=like.dtype)] * dim)
        w = w.reshape(-1, dim).prod(1)
    else:
        # Sobol points, each beside its mirror image
        u = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0).draw(NODES // 2, dtype=torch.float64)
        half = torch.special.ndtri(u.clamp(1e-9, 1 - 1e-9)).to(like.dtype)
        e = torch.cat([half, -half])
        e = e / e.square().mean(0).sqrt()
        w = torch.full((len(e),), 1 / len(e), dtype=like.dtype)
    return e.to(like.device), w.to(like.device)


def optimal_posterior(
    decoder: Decoder,
    x: Float[Tensor, B * S],
    gamma2: float,
    *,
    start: Float[Tensor, "B D"],
    prior: Conditional | None = None,
    nodes: int | None = None,
    iterations: int = 60,
) -> Posterior:
    """ELBO*(x): for each point by itself, the diagonal Gaussian posterior that maximises the ELBO of a fixed decoder.

    Newton's method over the mean and log sigma, in units of the predicted sigma; E_q by Gauss-Hermite quadrature, above
    so many dimensions by 4,096 antithetic Sobol points. The gap that an encoder network would add does not arise.

    Args:
        decoder: z -> x, smooth.
        gamma2: precision of p(x|z) = N(f(z), I / gamma^2).
        start: codes near the optimum: the true ones, or an encoder's; float64 is wanted.
        prior: over codes; standard normal by default.
        nodes: of the quadrature, a dimension.

    Raises:
        ValueError: shapes that do not fit, gamma2 not above 0, a start outside the prior's support.
        ArithmeticError: the search left the numbers at some point; a start nearer to the optimum helps.

    >>> A = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]], dtype=torch.float64)
    >>> z = torch.zeros(1, 2, dtype=torch.float64)
    >>> found = optimal_posterior(lambda z: z @ A.T, z @ A.T, 10.0, start=z)
    >>> torch.allclose(1 / found.sigma**2, 1 + 10 * A.square().sum(0))
    True
    """
    _precision(gamma2)
    if len(start) != len(x) or not len(x):
        raise ValueError(
            f"there are {len(x)} points and {len(start)} codes to start from; give one for each, 1 or more"
        )
    if nodes is not None and nodes < 1:
        raise ValueError(f"nodes is {nodes}; give at least 1")
    function, law, bounded = unbounded(decoder, prior, start.shape[1], start)
    u0 = _unbounded_codes(start, bounded)
    image = tuple(function(u0[:1]).shape[1:])
    if x.shape[1:] != image:
        raise ValueError(f"points have shape {tuple(x.shape[1:])}, but the decoder's images {image}")
    lengths = column_gram(jacobian(function, u0)).diagonal(dim1=1, dim2=2).to(start.dtype)
    s0 = (1 / (curvature(law, u0).clamp_min(0) + gamma2 * lengths).clamp_min(1e-30)).sqrt()
    e, w = _nodes(start.shape[1], nodes, start)
    size, dim = x[0].numel(), start.shape[1]
    norm = 0.5 * size * math.log(2 * math.pi / gamma2)

    def negative_elbo(v: Tensor, mean: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        m, s = mean + scale * v[:dim], scale * v[dim:].exp()
        u = m + s * e
        error = (function(u) - target).flatten(1).square().sum(1) @ w
        expected = law.expected_log_prob(m, s)
        inside = law.log_prob(u) @ w if expected is None else expected.sum()
        entropy = s.log().sum() + 0.5 * dim * (1 + math.log(2 * math.pi))
        return 0.5 * gamma2 * error - inside - entropy + norm

    share = max(1, NUMBERS // (len(e) * max(size, dim) * 4 * dim**2))
    parts = [
        _newton(negative_elbo, m, s, t, iterations)
        for m, s, t in zip(u0.detach().split(share), s0.detach().split(share), x.split(share), strict=True)
    ]
    return Posterior(*(torch.cat(p) for p in zip(*parts, strict=True)))


def _newton(
    loss: Callable[..., Tensor], mean: Tensor, scale: Tensor, target: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton steps of at most 1, halved where they do not descend, every point by itself."""
    rest = (mean, scale, target)
    value = torch.func.vmap(loss)
    slope, hessian = torch.func.vmap(torch.func.grad(loss)), torch.func.vmap(torch.func.hessian(loss))
    v = mean.new_zeros(len(mean), 2 * mean.shape[1])
    now = value(v, *rest)
    for _ in range(iterations):
        g, h = slope(v, *rest), hessian(v, *rest)
        if not (h.isfinite().all() and g.isfinite().all()):
            raise ArithmeticError(
                "the search for the best posterior met a value that is no number; start nearer to the optimum, or "
                "take a decoder without a pole"
            )
        values, axes = torch.linalg.eigh(h)
        step = -(axes @ ((axes.mT @ g[:, :, None]) / values.abs().clamp_min(1e-8)[:, :, None]))[:, :, 0]
        step = step / step.norm(dim=1, keepdim=True).clamp_min(1)
        for _ in range(12):
            trial = value(v + step, *rest)
            worse = ~(trial <= now + 1e-12 * now.abs())
            if not worse.any():
                break
            step = torch.where(worse[:, None], step / 4, step)
        else:
            step = torch.where(worse[:, None], torch.zeros_like(step), step)
            trial = torch.where(worse, now, trial)
        v, now = v + step, trial
        if float(step.abs().max()) < 1e-10:
            break
    else:
        if n := int((step.abs().amax(1) > 1e-3).sum()):
            warnings.warn(
                f"at {n} of {len(v)} points the search for the best posterior has not come to an end; take more "
                "iterations, or start nearer to the optimum",
                RuntimeWarning,
                stacklevel=3,
            )
    dim = mean.shape[1]
    return mean + scale * v[:, :dim], scale * v[:, dim:].exp(), -now


@dataclass(frozen=True)
class Gap:
    """Three likelihoods of points on a decoder's image, in nats per point.

    Attributes:
        elbo: ELBO*, at the best factorised posterior.
        log_likelihood: log p(x) of the noisy model, by importance sampling about the posterior's mode.
        limit: its limit for gamma -> infinity, log p(z) - ½ log det JᵀJ - (n - d)/2 log(2 pi / gamma^2).
        ima: limit - contrast: what ELBO* tends to.
        contrast: c_IMA at z.
        z: the codes, f(z) = x, of R^D.
    """

    elbo: Float[Tensor, " B"]
    log_likelihood: Float[Tensor, " B"]
    limit: Float[Tensor, " B"]
    ima: Float[Tensor, " B"]
    contrast: Float[Tensor, " B"]
    z: Float[Tensor, "B D"]

    def means(self) -> dict[str, float]:
        """Of every part over the points."""
        parts = ("elbo", "log_likelihood", "limit", "ima", "contrast")
        return {name: float(getattr(self, name).mean()) for name in parts}


def elbo_gap(
    decoder: Decoder,
    x: Float[Tensor, B * S],
    gamma2: float,
    *,
    start: Float[Tensor, "B D"],
    prior: Conditional | None = None,
    nodes: int | None = None,
) -> Gap:
    """ELBO*, log-likelihood and IMA-regularised log-likelihood side by side, of a known or a learnt decoder.

    log p(x) - ELBO*(x) -> c_IMA(f, z) for gamma -> infinity: the gap is what prefers orthogonal columns. Reizinger et
    al., 2022 (arXiv 2206.02416).

    Args and errors are those of `optimal_posterior`; of points off the decoder's image `limit`, `ima`, `contrast` and
    `z` are those of the nearest one on it (Gauss-Newton from `start`).
    """
    found = optimal_posterior(decoder, x, gamma2, start=start, prior=prior, nodes=nodes)
    function, law, bounded = unbounded(decoder, prior, start.shape[1], start)
    u = _unbounded_codes(start, bounded)
    for _ in range(50):
        J = jacobian(function, u).flatten(1, -2)
        step = torch.linalg.lstsq(J, (x - function(u)).flatten(1)[:, :, None]).solution[:, :, 0]
        u = u + step / step.norm(dim=1, keepdim=True).clamp_min(1)
        if float(step.abs().max()) < 1e-12:
            break
    gram = column_gram(jacobian(function, u)).to(u.dtype)
    size, dim = x[0].numel(), u.shape[1]
    contrast = contrast_of(gram.double(), u.dtype).to(u.dtype)
    volume = 0.5 * torch.linalg.slogdet(gram).logabsdet
    limit = law.log_prob(u) - volume - 0.5 * (size - dim) * math.log(2 * math.pi / gamma2)
    # importance sampling: the posterior's own Gaussian, full covariance, about the best mean
    at = found.mean
    gram = column_gram(jacobian(function, at)).to(u.dtype)
    precision = torch.diag_embed(curvature(law, at)) + gamma2 * gram
    L = torch.linalg.cholesky(precision)
    e, w = _nodes(dim, nodes, u)
    log_norm = L.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * dim * math.log(2 * math.pi)
    share = max(1, NUMBERS // (len(e) * max(size, dim)))
    parts = []
    for a, l, t, c in zip(at.split(share), L.split(share), x.split(share), log_norm.split(share), strict=True):
        points = a[:, None] + torch.linalg.solve_triangular(l.mT, e.T.expand(len(a), -1, -1), upper=True).mT
        flat = points.flatten(0, 1)
        error = (function(flat).unflatten(0, points.shape[:2]) - t[:, None]).flatten(2).square().sum(2)
        joint = law.log_prob(flat).unflatten(0, points.shape[:2]) - 0.5 * gamma2 * error
        proposal = c[:, None] - 0.5 * e.square().sum(1)
        parts.append((joint - proposal + w.log()).logsumexp(1) - 0.5 * size * math.log(2 * math.pi / gamma2))
    return Gap(found.elbo, torch.cat(parts), limit, limit - contrast, contrast, u.sigmoid() if bounded else u)


def linear_gap(A: Float[Tensor, "n d"], gamma2: float) -> Float[Tensor, ""]:
    """log p(x) - ELBO*(x) of x = A z + e, z ~ N(0, I), e ~ N(0, I / gamma^2), in nats: the same for every x.

    ½ (Σ_k log Λ_kk - log det Λ) with Λ = I + gamma^2 AᵀA, exact at any gamma, rising to c_IMA(A); with a posterior of
    full covariance it would be 0.
    """
    if A.ndim != 2 or A.shape[0] < A.shape[1]:
        raise ValueError(f"A has shape {tuple(A.shape)}; give (n, d) with n >= d")
    precision = torch.eye(A.shape[1], dtype=A.dtype, device=A.device) + _precision(gamma2) * A.mT @ A
    return 0.5 * (precision.diagonal().log().sum() - torch.linalg.slogdet(precision).logabsdet)
