"""Pure tensor mathematics: no modules, no state, nothing of ours imported."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "LOSSES",
    "Judged",
    "ScoreFunction",
    "as_float",
    "column_gram",
    "covariance_factor",
    "denoising_score_matching",
    "energy_distance",
    "frechet_distance",
    "frechet_from_factors",
    "frechet_from_features",
    "gradient_penalty",
    "hadamard_gap",
    "implicit_score_matching",
    "info_nce",
    "jacobian",
    "jacobian_norm",
    "jacobian_norm_by_rows",
    "jacobian_norm_hutchinson",
    "jacobian_of",
    "judged",
    "log_ratio",
    "logits_of",
    "loss_of",
    "mean_and_factor",
    "mmd",
    "nearest",
    "one_hidden_jacobian_norm",
    "output_energy_gradient",
    "penalised_logits",
    "pulled",
    "random_signs",
    "sample_rows",
    "sliced_wasserstein",
    "squared_distances",
    "told_apart",
    "total_variance",
]


def as_float(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Data as a network reads them: uint8 (0..255) becomes [0, 1]; anything else only changes its dtype, such as
    indices, which are int8 or int16.

    >>> as_float(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    if x.dtype == torch.uint8:
        return x.to(dtype).mul_(1 / 255)
    return x.to(dtype)


# -- kernels and distances of two clouds ------------------------------------------------------------------------------


def squared_distances(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """||a_i - b_j||^2 for every pair, by one matrix product; never below zero."""
    aa, bb = a.square().sum(1), b.square().sum(1)
    return torch.addmm(aa[:, None] + bb, a, b.T, alpha=-2).clamp_min(0)


def mmd(
    a: Float[Tensor, "N D"],
    b: Float[Tensor, "M D"],
    *,
    kernel: str = "imq",
    scales: Sequence[float] = (1.0,),
) -> Float[Tensor, ""]:
    """The unbiased estimate of the squared maximum mean discrepancy; may be slightly negative.

    k(x, y) = Σ_s C_s / (C_s + ||x - y||^2) (``"imq"``) or Σ_s exp(-||x - y||^2 / C_s) (``"rbf"``), C_s = 2 D s.
    Gretton et al., "A Kernel Two-Sample Test", 2012.
    """
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"{len(a)} and {len(b)} points were given; an unbiased MMD needs at least 2 in each set")
    bandwidths = [2 * a.shape[1] * s for s in scales]

    def k(d: Tensor) -> Tensor:
        parts = [c / (c + d) if kernel == "imq" else (-d / c).exp() for c in bandwidths]
        return torch.stack(parts).sum(0)

    def within(x: Tensor) -> Tensor:
        # the diagonal of every kernel is 1
        n = len(x)
        gram = k(squared_distances(x, x))
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    return within(a) + within(b) - 2 * k(squared_distances(a, b)).mean()


def sliced_wasserstein(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], projections: int) -> Float[Tensor, ""]:
    """The mean over random unit directions of the squared 2-Wasserstein distance of the projected points."""
    directions = torch.randn(a.shape[1], projections, dtype=a.dtype, device=a.device)
    directions = directions / directions.norm(dim=0)
    return ((a @ directions).sort(0).values - (b @ directions).sort(0).values).square().mean()


# -- norms of the Jacobian of a map whose pass is already on the tape -------------------------------------------------


def random_signs(like: Tensor) -> Tensor:
    """Independent +1 and -1 in the shape of `like`."""
    return torch.empty_like(like).bernoulli_(0.5).mul_(2).sub_(1)


def jacobian_norm(out: Float[Tensor, B * S], z: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """||J||_F^2 of each example, J = d out / d z, differentiable: one double backward for each of the D columns.

    J^T u is linear in u; its gradient with respect to u gives a column J e_j. The columns carry a random sign an
    example: without effect where examples are independent, and where batch normalisation couples them it keeps the
    cross terms at zero in the mean (moved all together, the shift would vanish in the normalisation).
    """
    u = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, z, u, create_graph=True)
    pulled = pulled.flatten(1)
    signs = random_signs(pulled[:, 0].detach())
    total = z.new_zeros(len(z))
    for j in range(pulled.shape[1]):
        (column,) = torch.autograd.grad(pulled[:, j], u, signs, create_graph=True)
        total = total + column.flatten(1).square().sum(1)
    return total


def jacobian_norm_hutchinson(out: Float[Tensor, B * S], z: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """An unbiased estimate of ||J||_F^2 of each example: ||J^T u||^2 with u of random signs; one backward.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990.
    """
    (pulled,) = torch.autograd.grad(out, z, random_signs(out.detach()), create_graph=True)
    return pulled.flatten(1).square().sum(1)


def jacobian_norm_by_rows(out: Float[Tensor, B * S], x: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """||J||_F^2 of each example, differentiable: one backward for each output, for maps to few of them.

    Examples must not influence each other (no batch normalisation in training).
    """
    total = x.new_zeros(len(x))
    for row in out.flatten(1).unbind(1):
        (gradient,) = torch.autograd.grad(row.sum(), x, create_graph=True)
        total = total + gradient.flatten(1).square().sum(1)
    return total


def one_hidden_jacobian_norm(
    slope: Float[Tensor, "B K"],
    weight: Float[Tensor, "K D"],
    out: Float[Tensor, "D K"],
    scale: float = 1.0,
    skip: bool = False,
) -> Float[Tensor, " B"]:
    """||J||_F^2 of J = a V diag(φ') W, or of I + a V diag(φ') W (`skip`), V = `out`, W = `weight`, φ' = `slope`:

    a^2 φ'ᵀ [(VᵀV) ∘ (WWᵀ)] φ', and with `skip` D + 2 a Σ_j φ'_j (WV)_jj more.
    """
    gram = (out.t() @ out) * (weight @ weight.t())
    norm = scale**2 * ((slope @ gram) * slope).sum(1)
    if not skip:
        return norm
    return weight.shape[1] + 2 * scale * (slope @ (weight * out.t()).sum(1)) + norm


def output_energy_gradient(out: Float[Tensor, B * S], z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """mean_j (d/dz_j Σ out^2)^2 = (4/D) ||J^T out||^2 of each example; one backward."""
    (gradient,) = torch.autograd.grad(out.square().sum(), z, create_graph=True)
    return gradient.square().mean(1)


def jacobian(function: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]) -> Float[Tensor, "B *S D"]:
    """J[b, ..., k] = d function(z)[b, ...] / d z[b, k], differentiable, by D forward-mode products.

    `function` maps rows one by one; the values themselves are computed once, not D times.
    """
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

    def column(e: Tensor) -> Tensor:
        return cast(Tensor, torch.func.jvp(function, (z,), (e.expand_as(z),))[1])

    return torch.func.vmap(column, out_dims=-1, randomness="same")(basis)


def column_gram(jacobian: Float[Tensor, "B *S D"]) -> Float[Tensor, "B D D"]:
    """JᵀJ of each point, in float64: the scalar products of the columns."""
    flat = jacobian.flatten(1, -2).double()
    return flat.mT @ flat


def hadamard_gap(gram: Float[Tensor, "B D D"], tiny: float = 0.0) -> Float[Tensor, " B"]:
    """½ (Σ_k log G_kk - log det G), in nats: 0 iff G is diagonal, inf where it is singular (Hadamard's inequality).

    Computed from the matrix of the columns' cosines, whose determinant neither overflows nor underflows early.
    `tiny`: an eigenvalue of that matrix up to which it counts as singular.
    """
    size = gram.diagonal(dim1=1, dim2=2).sqrt()
    cosines = gram / (size[:, :, None] * size[:, None, :]).clamp_min(torch.finfo(gram.dtype).tiny)
    values = torch.linalg.eigvalsh(cosines)
    gap = -0.5 * values.clamp_min(torch.finfo(gram.dtype).tiny).log().sum(1)
    return torch.where((values[:, 0] <= tiny) | (size == 0).any(1), math.inf, gap)


def total_variance(x: Tensor) -> Tensor:
    """tr Cov(x) of a batch (B, *S), the square of its length scale; 0 of a single row."""
    return x.detach().flatten(1).var(0, correction=min(1, len(x) - 1)).sum()


def gradient_penalty(
    critic: Callable[..., Tensor], *parts: Tensor, lengths: Sequence[float | Tensor] | None = None
) -> Tensor:
    """½ E Σ_i l_i ||dT/d(part i)||^2, zero-centred: R1 on positives, R2 on negatives.

    `lengths` are the squared lengths l_i, in which each part is measured; 1 by default. Mescheder, Geiger, Nowozin,
    "Which Training Methods for GANs do actually Converge?", 2018 (arXiv 1801.04406).
    """
    leaves = [part.detach().requires_grad_() for part in parts]
    with torch.enable_grad():
        return 0.5 * _steepness(critic(*leaves), leaves, lengths)


def _steepness(logits: Tensor, leaves: Sequence[Tensor], lengths: Sequence[float | Tensor] | None) -> Tensor:
    """The mean of Σ_i l_i ||dT/d(leaf i)||^2, differentiable."""
    gradients = torch.autograd.grad(logits.sum(), leaves, create_graph=True)
    total = logits.new_zeros(())
    for gradient, length in zip(gradients, lengths or [1.0] * len(leaves), strict=True):
        total = total + length * gradient.flatten(1).square().sum(1).mean()
    return total


def logits_of(
    critic: Callable[..., Tensor], real: Sequence[Tensor], made: Sequence[Tensor], *, batches: bool = False
) -> tuple[Tensor, Tensor]:
    """A critic's logits (N,) of both sides, each a list of its inputs (N, ...), as many real as made ones: from one
    pass, or where it judges `batches`, each of one kind, from two."""
    if batches:
        return critic(*real), critic(*made)
    above, below = critic(*(torch.cat(sides) for sides in zip(real, made, strict=True))).chunk(2)
    return above, below


def penalised_logits(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    made: Sequence[Tensor],
    *,
    lengths: Sequence[float | Tensor] | None = None,
    share: float = 1.0,
    batches: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`logits_of` both sides, and R1 + R2 of `gradient_penalty` on a share of them: by one pass where it can be."""
    if share < 1 or batches:
        above, below = logits_of(critic, real, made, batches=batches)
        some = math.ceil(share * len(real[0]))
        one, other = (
            gradient_penalty(critic, *(part[:some] for part in side), lengths=lengths) for side in (real, made)
        )
        return above, below, one + other
    leaves = [torch.cat(sides).detach().requires_grad_() for sides in zip(real, made, strict=True)]
    with torch.enable_grad():
        logits = critic(*leaves)
        # half of the mean over the real and half of that over the made are one mean over both
        penalty = _steepness(logits, leaves, lengths)
    above, below = logits.chunk(2)
    return above, below, penalty


def told_apart(real: Tensor, made: Tensor, *, pairs: bool = False) -> tuple[Tensor, Tensor]:
    """What a critic pays for its logits (N,) and (M,) (of pairs M = N), in nats, and how often it is right, 0 to 1.

    softplus(-T) of the real and softplus(T) of the made, each averaged, and right where T has the sign; of `pairs`,
    softplus of the made one's less the real one's (Jolicoeur-Martineau, 2018, arXiv 1807.00734), and right where the
    real one's is the higher.
    """
    if pairs:
        return softplus(made - real).mean(), (real > made).to(real.dtype).mean()
    right = 0.5 * ((real > 0).to(real.dtype).mean() + (made < 0).to(real.dtype).mean())
    return (softplus(-real) + softplus(made)).mean(), right


#: what a model pays by a critic's logits
LOSSES = ("non-saturating", "relativistic", "logit")


def loss_of(name: str) -> str:
    """One of `LOSSES`; a ValueError says which there are."""
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}; choose from {', '.join(LOSSES)}")
    return name


class Judged(NamedTuple):
    """What a critic pays, penalty and all; how often it is right; and its logits of both sides."""

    loss: Tensor
    right: Tensor
    real: Tensor
    made: Tensor


def judged(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    made: Sequence[Tensor],
    *,
    penalty: float = 0.0,
    lengths: Sequence[float | Tensor] | None = None,
    share: float = 1.0,
    pairs: bool = False,
    batches: bool = False,
) -> Judged:
    """`told_apart` of both sides, plus `penalty` times R1 + R2 in units of `lengths`, on a `share` of them."""
    if not penalty:
        above, below = logits_of(critic, real, made, batches=batches)
        return Judged(*told_apart(above, below, pairs=pairs), above, below)
    above, below, steepness = penalised_logits(critic, real, made, lengths=lengths, share=share, batches=batches)
    loss, right = told_apart(above, below, pairs=pairs)
    return Judged(loss + penalty * steepness, right, above, below)


def pulled(code: Tensor) -> tuple[Tensor, Tensor | None]:
    """A tensor again, for one part of a loss, and a number that the backward pass sets: the norm of the gradient that
    comes back that way over the norm of all that comes back otherwise. None where there will be no backward pass."""
    if not (code.requires_grad and torch.is_grad_enabled()) or torch.compiler.is_compiling():
        return code, None
    view, ratio = code.view_as(code), code.new_zeros(())
    own: list[Tensor] = []

    def compare(whole: Tensor) -> None:
        if own:
            ratio.copy_(own[-1].norm() / (whole.detach() - own[-1]).norm().clamp_min(1e-12))

    view.register_hook(lambda gradient: own.append(gradient.detach()))
    code.register_hook(compare)
    return view, ratio


def nearest(x: Tensor, k: int, axes: int = 50) -> Int[Tensor, "N k"]:
    """The `k` nearest other rows of each row, the nearest first: N - 1 of them where k is larger.

    By the Euclidean distance in the first principal `axes` of the data, unscaled, so in the data's own units (uint8 as
    [0, 1]); in all of them where there are no more. On the CPU, as row numbers, each row against every other.

    Raises:
        ValueError: fewer than 2 rows, k or axes below 1.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(x) < 2 or k < 1 or axes < 1:
        raise ValueError(f"there are {len(x)} rows, k is {k} and axes {axes}; give 2 rows or more, and k, axes from 1")
    flat = as_float(x.cpu()).flatten(1)
    k = min(k, len(flat) - 1)
    flat = flat - flat.mean(0)
    if flat.shape[1] > axes:
        flat = flat @ torch.linalg.eigh(flat.T @ flat).eigenvectors[:, -axes:]
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(flat.numpy()).kneighbors(return_distance=False)
    return torch.from_numpy(found)


def sample_rows(total: int, n: int) -> Int[Tensor, " n"]:
    """Which `n` of `total` rows are looked at, or all: at random, as a set may be sorted, the same every time."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:n]


# -- the Fréchet distance of two normals ---------------------------------------------------------------------


def _cholesky(s: Tensor) -> Tensor | None:
    """The upper factor of a clearly positive definite matrix; None where rounding decides its last pivots."""
    factor, failed = torch.linalg.cholesky_ex(s, upper=True)
    pivots = factor.diagonal().square()
    floor = 1e4 * len(s) * torch.finfo(s.dtype).eps * s.diagonal().max()
    return None if failed or pivots.min() <= floor else factor


def covariance_factor(cov: Tensor) -> Float[Tensor, "K D"]:
    """F with FᵀF = `cov`, in float64: triangular, or K < D scaled eigenvectors where rank is deficient."""
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ValueError(f"a covariance is a square matrix, but this one has shape {tuple(cov.shape)}")
    rounding = torch.finfo(cov.dtype).eps  # in the caller's arithmetic a zero may have become negative
    cov = cov.double()
    if not cov.isfinite().all():
        raise ValueError("the covariance is not finite")
    factor = _cholesky(cov)
    if factor is not None:
        return factor
    values, vectors = torch.linalg.eigh(cov)
    size = len(cov) * values.abs().max()
    if values[0] < -10 * rounding * size:
        raise ValueError(f"a covariance has no negative eigenvalue, but this one has {values[0]:.3g}")
    kept = values > torch.finfo(cov.dtype).eps * size
    return values[kept].sqrt()[:, None] * vectors.T[kept]


def mean_and_factor(x: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " D"], Float[Tensor, "K D"]]:
    """The mean of N points and a factor F of their covariance FᵀF (divisor N - 1), float64, K = min(N, D).

    Few points are their own factor; of many the covariance is formed or, where that is singular, a QR
    decomposition.
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"points have shape {tuple(x.shape)}; it takes a matrix of 2 rows or more")
    mean = x.mean(0, dtype=torch.float64)
    factor = x - mean  # float64 by promotion
    if len(x) > x.shape[1]:
        triangle = _cholesky(factor.T @ factor)
        factor = torch.linalg.qr(factor, mode="r").R if triangle is None else triangle
    return mean, factor / (len(x) - 1) ** 0.5


def _nuclear_product(f: Tensor, g: Tensor) -> Tensor:
    """The sum of the singular values of f gᵀ."""
    m = f @ g.T
    if not m.numel():  # a point mass has a factor without rows
        return m.sum()
    values = torch.linalg.eigvalsh(m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m).clamp_min(0)
    roots = values.sqrt()
    # The Gram matrix costs a tenth of the singular values, and half their digits for the smallest of them. An
    # eigenvalue is known up to `noise`; where that may be seen in the sum, pay for the singular values.
    noise = torch.finfo(m.dtype).eps * values[-1]
    doubt = (noise / (roots + noise.sqrt() + torch.finfo(m.dtype).tiny)).square().sum().sqrt()
    if doubt > 1e-9 * f.norm() * g.norm():
        return torch.linalg.svdvals(m).sum()
    return roots.sum()


def frechet_from_factors(
    mean1: Float[Tensor, " D"],
    factor1: Float[Tensor, "K D"],
    mean2: Float[Tensor, " D"],
    factor2: Float[Tensor, "L D"],
) -> Float[Tensor, ""]:
    """`frechet_distance` of normals whose covariances are FᵀF, for any factors F."""
    squares = (mean1 - mean2).square().sum() + factor1.square().sum() + factor2.square().sum()
    return (squares - 2 * _nuclear_product(factor1, factor2)).clamp_min(0)


def frechet_distance(
    mean1: Float[Tensor, " D"],
    cov1: Float[Tensor, "D D"],
    mean2: Float[Tensor, " D"],
    cov2: Float[Tensor, "D D"],
) -> Float[Tensor, ""]:
    """The squared Fréchet (2-Wasserstein) distance of two normals, in float64:

        |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^{1/2}.

    With S1 = F1ᵀF1 and S2 = F2ᵀF2 the last trace is the sum of the singular values of F1 F2ᵀ, so no root of a
    matrix is taken, nothing is added to a diagonal, and singular covariances are no special case. Zero or
    above.

    Dowson, Landau, "The Fréchet Distance between Multivariate Normal Distributions", 1982.

    >>> eye = torch.eye(3, dtype=torch.float64)
    >>> round(frechet_distance(eye[0], eye, eye[1], 4 * eye).item(), 12)
    5.0
    """
    factor1, factor2 = covariance_factor(cov1), covariance_factor(cov2)
    return frechet_from_factors(mean1.double(), factor1, mean2.double(), factor2)


def frechet_from_features(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    """`frechet_distance` of the normals with the mean and covariance (divisor N - 1) of two point sets."""
    return frechet_from_factors(*mean_and_factor(a), *mean_and_factor(b))


# -- scores: gradients of log densities, as functions (B, *S) -> (B, *S) ----------------------------------------------

#: x -> grad log p(x)
ScoreFunction = Callable[[Tensor], Tensor]


def _quadrature(rule: str, nodes: int) -> tuple[list[float], list[float]]:
    """Points and weights on [0, 1]."""
    if rule == "first-order":
        return [0.0], [1.0]
    if rule == "trapezoid":
        if nodes < 2:
            raise ValueError(f"nodes is {nodes}; the trapezoid rule needs both ends, 2 or more")
        inner = 1 / (nodes - 1)
        return [i * inner for i in range(nodes)], [inner * (0.5 if i in (0, nodes - 1) else 1) for i in range(nodes)]
    if rule == "gauss-legendre":
        if nodes < 1:
            raise ValueError(f"nodes is {nodes}; give at least 1")
        at, weights = np.polynomial.legendre.leggauss(nodes)
        return (0.5 * (at + 1)).tolist(), (0.5 * weights).tolist()
    raise ValueError(f"rule is {rule!r}; choose 'gauss-legendre', 'trapezoid' or 'first-order'")


def log_ratio(
    score: ScoreFunction,
    x: Float[Tensor, B * S],
    y: Float[Tensor, B * S],
    *,
    rule: str = "gauss-legendre",
    nodes: int = 5,
) -> Float[Tensor, " B"]:
    """log p(y) - log p(x) from the score alone: ∫_0^1 s(x + t (y - x))·(y - x) dt along the straight line, in nats.

    - ``"gauss-legendre"`` with n nodes: exact where the integrand is a polynomial of degree 2n - 1;
    - ``"trapezoid"`` with n nodes, both ends at half weight;
    - ``"first-order"``: s(x)·(y - x), the simplest form of Alain and Bengio (1211.4246); it over-estimates.

    All but the first-order form change sign when x and y change places. All nodes go through the score in one batch.
    Where the score is no gradient, the value depends on the path.
    """
    at, weights = _quadrature(rule, nodes)
    step = y - x
    line = torch.stack([x + t * step for t in at])
    scores = score(line.flatten(0, 1)).unflatten(0, (len(at), len(x)))
    along = (scores * step).flatten(2).sum(2)
    return torch.tensor(weights, dtype=along.dtype, device=along.device) @ along


def denoising_score_matching(
    score: ScoreFunction, x: Float[Tensor, B * S], sigma: float, noise: Float[Tensor, B * S]
) -> Float[Tensor, " B"]:
    """½ ||s(x + sigma e) + e / sigma||^2: 1 / (2 sigma^4) of the denoising loss of r = x + sigma^2 s.

    Vincent, "A Connection Between Score Matching and Denoising Autoencoders", 2011.
    """
    return 0.5 * (score(x + sigma * noise) + noise / sigma).flatten(1).square().sum(1)


def implicit_score_matching(score: ScoreFunction, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
    """½ ||s(x)||^2 + tr ∇s(x), whose mean over the data differs from ½ E||s - grad log p||^2 by a constant.

    The trace is exact: a backward for each coordinate. Hyvärinen, "Estimation of Non-Normalized Statistical Models by
    Score Matching", 2005.
    """
    jacobian = jacobian_of(score, x)
    return 0.5 * score(x).flatten(1).square().sum(1) + jacobian.diagonal(dim1=1, dim2=2).sum(1)


def jacobian_of(function: ScoreFunction, x: Float[Tensor, B * S]) -> Float[Tensor, "B M N"]:
    """The Jacobian of a map that treats each example alone, flattened: M values out, N in."""

    def alone(a: Tensor) -> Tensor:
        return function(a.unflatten(0, x.shape[1:])[None]).flatten()

    return torch.func.vmap(torch.func.jacrev(alone), chunk_size=max(1, (1 << 22) // x[0].numel() ** 2))(x.flatten(1))


def energy_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    """2 E||x - y|| - E||x - x'|| - E||y - y'||, every pair counted (a V-statistic): zero for equal sets, never below.

    Two samples of one law score (1/N + 1/M) E||x - x'|| in the mean. Székely, Rizzo, 2013.
    """
    return 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    total = torch.stack([torch.cdist(part, b).sum(dtype=torch.float64) for part in a.split(1024)]).sum()
    return total / (len(a) * len(b))


def info_nce(x: Float[Tensor, B * S], y: Float[Tensor, B * S]) -> float:
    """A lower bound of I(x; y) in nats of pairs in one space, at most log B: how well y tells which x it belongs to.

        E log f(x_i, y_i) / mean_j f(x_i, y_j),    f(x, y) = exp(-||x - y||^2 / 2 s^2), the best of 17 widths s.

    For x = y + normal noise that f is the optimum, and the bound is tight while I is well below log B. Oord, Li,
    Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018 (arXiv 1807.03748); Poole et al., "On
    Variational Bounds of Mutual Information", 2019 (arXiv 1905.06922).

    >>> y = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> 0.9 * math.log(500) < info_nce(y, y) <= math.log(500) + 1e-9
    True
    """
    squares = squared_distances(x.flatten(1).double(), y.flatten(1).double())
    span = float(squares.mean().clamp_min(1e-300))

    def bound(power: float) -> float:
        logits = squares / (-2 * span * 10**power)
        return float((logits.diagonal() - logits.logsumexp(1)).mean())

    # from a width that sees single points to one that sees none; then between the neighbours of the best
    coarse = {float(power): bound(power) for power in range(-9, 2)}
    best = max(coarse, key=lambda power: coarse[power])
    fine = [bound(best + step) for step in (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75)]
    return max(0.0, max(*coarse.values(), *fine) + math.log(len(x)))
