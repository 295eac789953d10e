"""The optimal factorised posterior of each point, and the gap that it leaves to log p: theory without training."""

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

#: largest number of quadrature nodes; beyond it, this many antithetic quasi-random points are used instead
NODES = 4096
#: how many numbers a step over points and nodes keeps in memory at a time
NUMBERS = 1 << 22


@dataclass(frozen=True)
class Posterior:
    """The normal posteriors N(mean, diag sigma^2) that maximise the ELBO of each point; from `optimal_posterior`.

    They are over u = z, or over u = logit z under a bounded prior.

    Attributes:
        mean: means (B, D).
        sigma: standard deviations (B, D).
        elbo: ELBO at the optimum (B,), in nats, with the normaliser of the likelihood.

    >>> import torch
    >>> from chartae.diagnostics import optimal_posterior
    >>> z = torch.zeros(1, 1, dtype=torch.float64)
    >>> optimal_posterior(lambda z: z, z, 3.0, start=z).sigma  # of N(0, 1) and precision 3: (1 + 3)^(-1/2)
    tensor([[0.5000]], dtype=torch.float64)
    """

    mean: Float[Tensor, "B D"]
    sigma: Float[Tensor, "B D"]
    elbo: Float[Tensor, " B"]


def _precision(gamma2: float) -> float:
    if not 0 < gamma2 < math.inf:
        raise ValueError(f"gamma2 is {gamma2}; expected a precision 1 / sigma^2, a finite number above 0")
    return float(gamma2)


def unbounded(
    decoder: Decoder, prior: Conditional | None, dim: int, like: Tensor
) -> tuple[Callable[[Tensor], Tensor], Distribution, bool]:
    """Decoder and prior density over all of R^D; under a bounded prior, as functions of u = logit z."""
    function = decoder_of(decoder)
    if prior is not None and not isinstance(prior, Conditional):
        raise TypeError(f"prior is a {type(prior).__name__}; expected a Conditional, such as Uniform({dim})")
    conditional: Conditional = StandardNormal(dim) if prior is None else copy.deepcopy(prior)
    density = conditional.to(like.device, like.dtype)()
    if tuple(density.mean.shape) != (dim,):
        raise ValueError(
            f"prior is over points of shape {tuple(density.mean.shape)}; expected ({dim},), the shape of a code"
        )
    if isinstance(density, Squashed):
        return (lambda u: function(u.sigmoid())), density.base, True
    return function, density, False


def _unbounded_codes(z: Tensor, bounded: bool) -> Tensor:
    """z, or logit z under a bounded prior; z must lie in the prior's support."""
    if not bounded:
        return z
    if n := int(((z <= 0) | (z >= 1)).any(1).sum()):
        raise ValueError(f"{n} of {len(z)} codes lie outside (0, 1); expected codes in the support of the prior")
    return z.logit()


def curvature(prior: Distribution, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """-d^2 log p(u_k) / du_k^2 of a factorised density, for each coordinate."""
    slope = torch.func.grad(lambda a: prior.log_prob(a).sum())
    return -cast(Tensor, torch.func.jvp(slope, (u,), (torch.ones_like(u),))[1])


def predicted_variance(
    decoder: Decoder, z: Float[Tensor, "B D"], gamma2: float, prior: Conditional | None = None
) -> Float[Tensor, "B D"]:
    """Posterior variance that theory predicts for a near-deterministic decoder p(x|z) = N(f(z), I / gamma^2).

        sigma_k^2 = 1 / (-d^2 log p(z_k)/dz_k^2 + gamma^2 ||J_k||^2),

    with J_k the columns of the Jacobian df/dz. Under a bounded prior (`Uniform`, `Beta`) the posterior is over
    u = logit z, and J and p are taken with respect to u; for Beta(a, b) the variance is
    1 / ((a + b) z (1 - z) + gamma^2 (z (1 - z))^2 ||df/dz_k||^2). Reizinger et al., 2022 (arXiv 2206.02416).

    Args:
        decoder: an `Autoencoder`, or a differentiable map (B, D) -> (B, ...) that acts on each row separately.
        z: codes (B, D), within the support of the prior.
        gamma2: precision gamma^2 of the decoder, > 0.
        prior: factorised prior over codes; by default standard normal.

    Returns:
        The variances (B, D), in the units of z squared; under a bounded prior, variances of logit z.

    Raises:
        ValueError: `gamma2` is not a finite number above 0; a code lies outside the prior's support; the prior has
            another shape than a code; the decoder has no Jacobian.
        TypeError: `prior` is not a `Conditional`, or the decoder is not callable.

    >>> import torch
    >>> from chartae.diagnostics import predicted_variance
    >>> predicted_variance(lambda z: z * torch.tensor([1.0, 3.0]), torch.zeros(1, 2), 1.0)  # 1 / (1 + 1), 1 / (1 + 9)
    tensor([[0.5000, 0.1000]])
    """
    function, density, bounded = unbounded(decoder, prior, z.shape[1], z)
    u = _unbounded_codes(z, bounded)
    lengths = column_gram(jacobian(function, u)).diagonal(dim1=1, dim2=2)
    return 1 / (curvature(density, u) + _precision(gamma2) * lengths.to(z.dtype))


def _nodes(dim: int, nodes: int | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (N, D) and weights (N,) for an expectation under N(0, I)."""
    if nodes is None:
        nodes = 40 if dim <= 2 else max(2, math.floor(NODES ** (1 / dim)))
    if nodes**dim <= NODES and nodes >= 4:
        position, weight = np.polynomial.hermite_e.hermegauss(nodes)
        e = torch.cartesian_prod(*[torch.as_tensor(position, dtype=like.dtype)] * dim).reshape(-1, dim)
        w = torch.cartesian_prod(*[torch.as_tensor(weight / weight.sum(), dtype=like.dtype)] * dim)
        w = w.reshape(-1, dim).prod(1)
    else:
        # Sobol points, each with its mirror image
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
    """The diagonal Gaussian posterior of each point that maximises the ELBO of a fixed decoder, without an encoder.

        ELBO*(x) = max_{mean, sigma} E_q[log p(x|z)] - KL(q || p(z)),     p(x|z) = N(f(z), I / gamma^2).

    Each point is optimised separately by Newton's method over the mean and log sigma, so there is no amortisation gap.
    Expectations use Gauss-Hermite quadrature, or 4,096 antithetic Sobol points in many dimensions. A RuntimeWarning
    says at how many points the optimisation has not converged.

    Args:
        decoder: smooth map f: an `Autoencoder`, or a function (B, D) -> (B, ...) that acts on each row separately.
        x: points (B, ...), B >= 1.
        gamma2: precision gamma^2 of the decoder, > 0.
        start: codes near the optimum (B, D): the true codes, or an encoder's; preferably float64.
        prior: factorised prior over codes; by default standard normal.
        nodes: quadrature nodes per dimension, >= 1; by default 40 up to two dimensions, fewer in more. If nodes^D
            exceeds 4,096, or `nodes` is below 4, Sobol points are used.
        iterations: largest number of Newton steps; default 60.

    Returns:
        Means and standard deviations (B, D), and the ELBO of each point (B,), in nats. Under a bounded prior the
        posterior is over logit z.

    Raises:
        ValueError: the shapes do not fit; `gamma2` is not a finite number above 0; `nodes` is below 1; a start lies
            outside the prior's support.
        TypeError: `prior` is not a `Conditional`, or the decoder is not callable.
        ArithmeticError: the ELBO or its derivatives are not finite at some point.

    >>> import torch
    >>> from chartae.diagnostics import optimal_posterior
    >>> A = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]], dtype=torch.float64)
    >>> z = torch.zeros(1, 2, dtype=torch.float64)
    >>> posterior = optimal_posterior(lambda z: z @ A.T, z @ A.T, 10.0, start=z)
    >>> torch.allclose(1 / posterior.sigma**2, 1 + 10 * A.square().sum(0))
    True
    """
    _precision(gamma2)
    if len(start) != len(x) or not len(x):
        raise ValueError(f"x holds {len(x)} points and start {len(start)} codes; expected equal numbers, at least 1")
    if nodes is not None and nodes < 1:
        raise ValueError(f"nodes is {nodes}; expected at least 1")
    function, density, bounded = unbounded(decoder, prior, start.shape[1], start)
    u0 = _unbounded_codes(start, bounded)
    image = tuple(function(u0[:1]).shape[1:])
    if x.shape[1:] != image:
        raise ValueError(f"each point of x has shape {tuple(x.shape[1:])}; expected {image}, as the decoder returns")
    lengths = column_gram(jacobian(function, u0)).diagonal(dim1=1, dim2=2).to(start.dtype)
    s0 = (1 / (curvature(density, u0).clamp_min(0) + gamma2 * lengths).clamp_min(1e-30)).sqrt()
    e, w = _nodes(start.shape[1], nodes, start)
    size, dim = x[0].numel(), start.shape[1]
    norm = 0.5 * size * math.log(2 * math.pi / gamma2)

    def negative_elbo(v: Tensor, mean: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        m, s = mean + scale * v[:dim], scale * v[dim:].exp()
        u = m + s * e
        error = (function(u) - target).flatten(1).square().sum(1) @ w
        expected = density.expected_log_prob(m, s)
        log_prior = density.log_prob(u) @ w if expected is None else expected.sum()
        entropy = s.log().sum() + 0.5 * dim * (1 + math.log(2 * math.pi))
        return 0.5 * gamma2 * error - log_prior - entropy + norm

    share = max(1, NUMBERS // (len(e) * max(size, dim) * 4 * dim**2))
    parts = [
        _newton(negative_elbo, m, s, t, iterations)
        for m, s, t in zip(u0.detach().split(share), s0.detach().split(share), x.split(share), strict=True)
    ]
    return Posterior(*(torch.cat(p) for p in zip(*parts, strict=True)))


def _newton(
    loss: Callable[..., Tensor], mean: Tensor, scale: Tensor, target: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton steps of length 1 at most, for each point separately; a step that does not descend is shortened to 1/4."""
    arguments = (mean, scale, target)
    value = torch.func.vmap(loss)
    slope, hessian = torch.func.vmap(torch.func.grad(loss)), torch.func.vmap(torch.func.hessian(loss))
    v = mean.new_zeros(len(mean), 2 * mean.shape[1])
    current = value(v, *arguments)
    for _ in range(iterations):
        g, h = slope(v, *arguments), hessian(v, *arguments)
        if not (h.isfinite().all() and g.isfinite().all()):
            bad = int((~(h.isfinite().flatten(1).all(1) & g.isfinite().all(1))).sum())
            raise ArithmeticError(
                f"at {bad} of {len(v)} points the derivatives of the ELBO are not finite; expected finite numbers. "
                "Pass a start nearer to the optimum, or a decoder without a pole"
            )
        values, axes = torch.linalg.eigh(h)
        step = -(axes @ ((axes.mT @ g[:, :, None]) / values.abs().clamp_min(1e-8)[:, :, None]))[:, :, 0]
        step = step / step.norm(dim=1, keepdim=True).clamp_min(1)
        for _ in range(12):
            trial = value(v + step, *arguments)
            worse = ~(trial <= current + 1e-12 * current.abs())
            if not worse.any():
                break
            step = torch.where(worse[:, None], step / 4, step)
        else:
            step = torch.where(worse[:, None], torch.zeros_like(step), step)
            trial = torch.where(worse, current, trial)
        v, current = v + step, trial
        if float(step.abs().max()) < 1e-10:
            break
    else:
        if n := int((step.abs().amax(1) > 1e-3).sum()):
            warnings.warn(
                f"at {n} of {len(v)} points the search for the best posterior has not converged in {iterations} "
                "iterations. Raise iterations, or pass a start nearer to the optimum",
                RuntimeWarning,
                stacklevel=3,
            )
    dim = mean.shape[1]
    return mean + scale * v[:, :dim], scale * v[:, dim:].exp(), -current


@dataclass(frozen=True)
class Gap:
    """ELBO and log-likelihoods of points on a decoder's image, in nats per point; returned by `elbo_gap`.

    Attributes:
        elbo: ELBO* (B,), at the best factorised posterior.
        log_likelihood: log p(x) of the noisy model (B,), by importance sampling around the posterior's mode.
        limit: limit of the log-likelihood for gamma -> infinity (B,), up to terms that vanish:
            log p(z) - ½ log det JᵀJ - (n - d)/2 log(2 pi / gamma^2), with x in R^n and z in R^d.
        ima: ``limit - contrast`` (B,), which ELBO* tends to.
        contrast: IMA contrast Σ_k log ||J_k|| - ½ log det JᵀJ at z (B,).
        z: codes with f(z) = x (B, D).

    >>> import torch
    >>> from chartae.diagnostics import elbo_gap
    >>> z = torch.zeros(1, 1, dtype=torch.float64)
    >>> gap = elbo_gap(lambda z: z, z, 1.0, start=z)
    >>> round(gap.means()["log_likelihood"], 4)  # log N(0; 0, 1 + 1)
    -1.2655
    """

    elbo: Float[Tensor, " B"]
    log_likelihood: Float[Tensor, " B"]
    limit: Float[Tensor, " B"]
    ima: Float[Tensor, " B"]
    contrast: Float[Tensor, " B"]
    z: Float[Tensor, "B D"]

    def means(self) -> dict[str, float]:
        """Mean over points of each quantity, in nats, by name."""
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
    """Gap between log-likelihood and ELBO of a known or learnt decoder, and its limit, the IMA contrast:

        log p(x) - ELBO*(x) -> c_IMA(f, z) = Σ_k log ||J_k|| - ½ log det JᵀJ     for gamma -> infinity.

    ELBO* is the evidence lower bound at the best factorised posterior, so the gap favours decoders whose Jacobian J has
    orthogonal columns. For a point off the decoder's image, `limit`, `ima`, `contrast` and `z` are those of a nearest
    point on the image (Gauss-Newton from `start`). Reizinger et al., 2022 (arXiv 2206.02416).

    Args:
        decoder: smooth map f: an `Autoencoder`, or a function (B, D) -> (B, ...) that acts on each row separately.
        x: points (B, ...), B >= 1.
        gamma2: precision gamma^2 of p(x|z) = N(f(z), I / gamma^2), > 0.
        start: codes near the optimum (B, D): the true codes, or an encoder's; preferably float64.
        prior: factorised prior over codes; by default standard normal.
        nodes: quadrature nodes per dimension, >= 1; by default 40 up to two dimensions, fewer in more. If nodes^D
            exceeds 4,096, or `nodes` is below 4, Sobol points are used.

    Returns:
        ELBO*, log-likelihood, its limit, the limit minus the contrast, the contrast (B,), and the codes (B, D).

    Raises:
        ValueError: the shapes do not fit; `gamma2` is not a finite number above 0; `nodes` is below 1; a start lies
            outside the prior's support.
        TypeError: `prior` is not a `Conditional`, or the decoder is not callable.
        ArithmeticError: the ELBO or its derivatives are not finite at some point.

    >>> import torch
    >>> from chartae.diagnostics import elbo_gap
    >>> A = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    >>> z = torch.zeros(1, 2, dtype=torch.float64)
    >>> gap = elbo_gap(lambda z: z @ A.T, z @ A.T, 1e4, start=z).means()
    >>> round(gap["log_likelihood"] - gap["elbo"], 3), round(gap["contrast"], 3)
    (0.346, 0.347)
    """
    posterior = optimal_posterior(decoder, x, gamma2, start=start, prior=prior, nodes=nodes)
    function, density, bounded = unbounded(decoder, prior, start.shape[1], start)
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
    limit = density.log_prob(u) - volume - 0.5 * (size - dim) * math.log(2 * math.pi / gamma2)
    # importance sampling from a Gaussian with the full covariance of the posterior, around the best mean
    centre = posterior.mean
    gram = column_gram(jacobian(function, centre)).to(u.dtype)
    precision = torch.diag_embed(curvature(density, centre)) + gamma2 * gram
    L = torch.linalg.cholesky(precision)
    e, w = _nodes(dim, nodes, u)
    log_norm = L.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * dim * math.log(2 * math.pi)
    share = max(1, NUMBERS // (len(e) * max(size, dim)))
    parts = []
    for m, l, t, c in zip(centre.split(share), L.split(share), x.split(share), log_norm.split(share), strict=True):
        points = m[:, None] + torch.linalg.solve_triangular(l.mT, e.T.expand(len(m), -1, -1), upper=True).mT
        flat = points.flatten(0, 1)
        error = (function(flat).unflatten(0, points.shape[:2]) - t[:, None]).flatten(2).square().sum(2)
        joint = density.log_prob(flat).unflatten(0, points.shape[:2]) - 0.5 * gamma2 * error
        proposal = c[:, None] - 0.5 * e.square().sum(1)
        parts.append((joint - proposal + w.log()).logsumexp(1) - 0.5 * size * math.log(2 * math.pi / gamma2))
    return Gap(posterior.elbo, torch.cat(parts), limit, limit - contrast, contrast, u.sigmoid() if bounded else u)


def linear_gap(A: Float[Tensor, "n d"], gamma2: float) -> Float[Tensor, ""]:
    """Gap between log-likelihood and ELBO in the linear Gaussian model x = A z + e, in closed form.

        log p(x) - ELBO*(x) = ½ (Σ_k log Λ_kk - log det Λ),     Λ = I + gamma^2 AᵀA,

    with z ~ N(0, I) and e ~ N(0, I / gamma^2). ELBO* is the ELBO at the best factorised posterior; with a full
    covariance the gap would be 0. It is the same for every x, and rises to the IMA contrast of A as gamma -> infinity.

    Args:
        A: mixing matrix (n, d), n >= d.
        gamma2: precision gamma^2 of the noise, > 0.

    Returns:
        The gap, a scalar in nats.

    Raises:
        ValueError: `A` is not a matrix with n >= d, or `gamma2` is not a finite number above 0.

    >>> import torch
    >>> from chartae.diagnostics import linear_gap
    >>> A = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> linear_gap(A, 1.0), linear_gap(A, 1e6)
    (tensor(0.0912), tensor(0.3466))
    """
    if A.ndim != 2 or A.shape[0] < A.shape[1]:
        raise ValueError(f"A has shape {tuple(A.shape)}; expected (n, d) with n >= d")
    precision = torch.eye(A.shape[1], dtype=A.dtype, device=A.device) + _precision(gamma2) * A.mT @ A
    return 0.5 * (precision.diagonal().log().sum() - torch.linalg.slogdet(precision).logabsdet)
