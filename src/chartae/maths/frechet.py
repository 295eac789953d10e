"""The Fréchet distance of two normals."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["covariance_factor", "frechet_distance", "frechet_from_factors", "frechet_from_features", "mean_and_factor"]


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
