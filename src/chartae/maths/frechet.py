"""The Fréchet distance between two normal distributions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["covariance_factor", "frechet_distance", "frechet_from_factors", "frechet_from_features", "mean_and_factor"]


def _cholesky(s: Tensor) -> Tensor | None:
    """The upper Cholesky factor, or None unless the matrix is clearly positive definite.

    None if the smallest pivot could be the result of rounding.
    """
    factor, failed = torch.linalg.cholesky_ex(s, upper=True)
    pivots = factor.diagonal().square()
    floor = 1e4 * len(s) * torch.finfo(s.dtype).eps * s.diagonal().max()
    return None if failed or pivots.min() <= floor else factor


def covariance_factor(cov: Tensor) -> Float[Tensor, "K D"]:
    """Return a factor F of a covariance matrix, FᵀF = cov, in float64.

    Args:
        cov: covariance matrix (D, D), symmetric and positive semidefinite.

    Returns:
        F (K, D): the upper Cholesky factor (K = D), or K < D scaled eigenvectors if the matrix is singular.

    Raises:
        ValueError: `cov` is not square, has values that are not finite, or has an eigenvalue clearly below 0.

    >>> import torch
    >>> from chartae.maths import covariance_factor
    >>> covariance_factor(torch.ones(2, 2)).shape  # rank 1
    torch.Size([1, 2])
    """
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ValueError(f"cov has shape {tuple(cov.shape)}; expected a square matrix.")
    rounding = torch.finfo(cov.dtype).eps  # rounding in the caller's dtype may have turned a zero negative
    cov = cov.double()
    if not cov.isfinite().all():
        raise ValueError("cov is not finite; expected a covariance matrix without NaN and infinity.")
    factor = _cholesky(cov)
    if factor is not None:
        return factor
    values, vectors = torch.linalg.eigh(cov)
    size = len(cov) * values.abs().max()
    if values[0] < -10 * rounding * size:
        raise ValueError(f"cov has the eigenvalue {values[0]:.3g}; expected a positive semidefinite matrix.")
    kept = values > torch.finfo(cov.dtype).eps * size
    return values[kept].sqrt()[:, None] * vectors.T[kept]


def mean_and_factor(x: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " D"], Float[Tensor, "K D"]]:
    """Return the mean of N points and a factor F of their covariance FᵀF (divisor N - 1), in float64.

    If N <= D, the centred points are a factor themselves. Otherwise F is the Cholesky factor of the covariance or, if
    that is singular, the triangular factor of a QR decomposition of the centred points.

    Args:
        x: points (N, D), N >= 2.

    Returns:
        The mean (D,) and the factor (K, D), K = min(N, D).

    Raises:
        ValueError: `x` is not a matrix with at least 2 rows.

    >>> import torch
    >>> from chartae.maths import mean_and_factor
    >>> mean, factor = mean_and_factor(torch.tensor([[0.0], [2.0], [4.0]]))
    >>> mean.item(), (factor.T @ factor).item()
    (2.0, 4.0)
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected (N, D) with N >= 2.")
    mean = x.mean(0, dtype=torch.float64)
    factor = x - mean  # float64 by promotion
    if len(x) > x.shape[1]:
        triangle = _cholesky(factor.T @ factor)
        factor = torch.linalg.qr(factor, mode="r").R if triangle is None else triangle
    return mean, factor / (len(x) - 1) ** 0.5


def _nuclear_product(f: Tensor, g: Tensor) -> Tensor:
    """The sum of the singular values of f gᵀ."""
    m = f @ g.T
    if not m.numel():  # the factor of a point mass has no rows
        return m.sum()
    values = torch.linalg.eigvalsh(m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m).clamp_min(0)
    roots = values.sqrt()
    # The eigenvalues of the Gram matrix take a tenth of the time of the singular values, but the smallest lose half
    # their digits. An eigenvalue has an error of about `noise`. If that could change the sum, compute the singular
    # values instead.
    noise = torch.finfo(m.dtype).eps * values[-1]
    error = (noise / (roots + noise.sqrt() + torch.finfo(m.dtype).tiny)).square().sum().sqrt()
    if error > 1e-9 * f.norm() * g.norm():
        return torch.linalg.svdvals(m).sum()
    return roots.sum()


def frechet_from_factors(
    mean1: Float[Tensor, " D"],
    factor1: Float[Tensor, "K D"],
    mean2: Float[Tensor, " D"],
    factor2: Float[Tensor, "L D"],
) -> Float[Tensor, ""]:
    """Return the squared Fréchet distance between two normal distributions, from factors of their covariances.

        ||m1 - m2||^2 + tr S1 + tr S2 - 2 tr (S1 S2)^{1/2},  S1 = F1ᵀF1, S2 = F2ᵀF2

    Args:
        mean1: mean of the first distribution (D,).
        factor1: factor F1 of its covariance (K, D).
        mean2: mean of the second distribution (D,).
        factor2: factor F2 of its covariance (L, D).

    Returns:
        The squared distance, a 0-d tensor, >= 0.

    >>> import torch
    >>> from chartae.maths import frechet_from_factors
    >>> zero, eye = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    >>> round(frechet_from_factors(zero, eye, zero, 3 * eye).item(), 6)  # 3 (3 - 1)^2
    12.0
    """
    squares = (mean1 - mean2).square().sum() + factor1.square().sum() + factor2.square().sum()
    return (squares - 2 * _nuclear_product(factor1, factor2)).clamp_min(0)


def frechet_distance(
    mean1: Float[Tensor, " D"],
    cov1: Float[Tensor, "D D"],
    mean2: Float[Tensor, " D"],
    cov2: Float[Tensor, "D D"],
) -> Float[Tensor, ""]:
    """Return the squared Fréchet (2-Wasserstein) distance between two normal distributions, in float64.

        ||m1 - m2||^2 + tr S1 + tr S2 - 2 tr (S1 S2)^{1/2}

    With S1 = F1ᵀF1 and S2 = F2ᵀF2 the last trace is the sum of the singular values of F1 F2ᵀ. So no matrix square root
    is taken, nothing is added to a diagonal, and singular covariances need no special treatment. Dowson, Landau, "The
    Fréchet Distance between Multivariate Normal Distributions", 1982.

    Args:
        mean1: mean of the first distribution (D,).
        cov1: its covariance matrix (D, D).
        mean2: mean of the second distribution (D,).
        cov2: its covariance matrix (D, D).

    Returns:
        The squared distance, a 0-d float64 tensor, >= 0.

    Raises:
        ValueError: a covariance is not square, not finite, or not positive semidefinite.

    >>> import torch
    >>> from chartae.maths import frechet_distance
    >>> eye = torch.eye(3, dtype=torch.float64)
    >>> round(frechet_distance(eye[0], eye, eye[1], 4 * eye).item(), 12)
    5.0
    """
    factor1, factor2 = covariance_factor(cov1), covariance_factor(cov2)
    return frechet_from_factors(mean1.double(), factor1, mean2.double(), factor2)


def frechet_from_features(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    """Return the squared Fréchet distance between the normal distributions fitted to two sets of points.

    Each is a normal with the mean and covariance (divisor N - 1) of the points. On features of images this is the FID.

    Args:
        a: points or features (N, D), N >= 2.
        b: points or features (M, D), M >= 2.

    Returns:
        The squared distance, a 0-d float64 tensor, >= 0.

    Raises:
        ValueError: `a` or `b` is not a matrix with at least 2 rows.

    >>> import torch
    >>> from chartae.maths import frechet_from_features
    >>> a = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    >>> round(frechet_from_features(a, a + 1).item(), 4)  # only the means differ
    3.0
    """
    return frechet_from_factors(*mean_and_factor(a), *mean_and_factor(b))
