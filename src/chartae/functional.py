"""Pure tensor mathematics: no modules, no state, nothing of ours imported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "as_float",
    "covariance_factor",
    "frechet_distance",
    "frechet_from_factors",
    "frechet_from_features",
    "jacobian_norm",
    "jacobian_norm_hutchinson",
    "mean_and_factor",
    "mmd",
    "output_energy_gradient",
    "sliced_wasserstein",
    "squared_distances",
]


def as_float(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Data as a network reads them: uint8 (0..255) becomes [0, 1]; anything else only changes its dtype.

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


def _signs(like: Tensor) -> Tensor:
    return torch.empty_like(like).bernoulli_(0.5).mul_(2).sub_(1)


def jacobian_norm(out: Float[Tensor, B * S], z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """||J||_F^2 of each example, J = d out / d z, differentiable: one double backward for each of the D columns.

    J^T u is linear in u; its gradient with respect to u gives a column J e_j. The columns carry a random sign an
    example: without effect where examples are independent, and where batch normalisation couples them it keeps the
    cross terms at zero in the mean (moved all together, the shift would vanish in the normalisation).
    """
    u = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, z, u, create_graph=True)
    signs = _signs(z[:, 0].detach())
    total = z.new_zeros(len(z))
    for j in range(z.shape[1]):
        (column,) = torch.autograd.grad(pulled[:, j], u, signs, create_graph=True)
        total = total + column.flatten(1).square().sum(1)
    return total


def jacobian_norm_hutchinson(out: Float[Tensor, B * S], z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """An unbiased estimate of ||J||_F^2 of each example: ||J^T u||^2 with u of random signs; one backward.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990.
    """
    (pulled,) = torch.autograd.grad(out, z, _signs(out.detach()), create_graph=True)
    return pulled.square().sum(1)


def output_energy_gradient(out: Float[Tensor, B * S], z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """mean_j (d/dz_j Σ out^2)^2 = (4/D) ||J^T out||^2 of each example; one backward."""
    (gradient,) = torch.autograd.grad(out.square().sum(), z, create_graph=True)
    return gradient.square().mean(1)


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
