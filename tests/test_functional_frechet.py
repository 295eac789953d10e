"""The Fréchet distance against closed forms, scipy's matrix square root, and more digits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from chartae.maths import (
    covariance_factor,
    frechet_distance,
    frechet_from_factors,
    frechet_from_features,
    mean_and_factor,
)

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def spread(n: int, d: int, seed: int, power: float = 1.0) -> Tensor:
    """Correlated points whose spectrum decays as i^-power."""
    axes = torch.linalg.qr(normal(d, d, seed=99)).Q
    return normal(n, d, seed=seed) * torch.arange(1, d + 1, dtype=F64) ** (-power / 2) @ axes


def usual(a: Tensor, b: Tensor) -> float:
    """The way of the published code: numpy and scipy.linalg.sqrtm."""
    x, y = a.numpy(), b.numpy()
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real)


def test_agrees_with_the_matrix_square_root() -> None:
    a, b = spread(400, 50, 1), spread(300, 50, 2) * 1.1 + 0.05
    assert frechet_from_features(a, b).item() == pytest.approx(usual(a, b), rel=1e-10)
    by_moments = frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert by_moments.item() == pytest.approx(usual(a, b), rel=1e-10)


def test_float32_features_are_computed_in_float64() -> None:
    a, b = spread(400, 20, 1).float(), spread(300, 20, 2).float()
    assert frechet_from_features(a, b).dtype == F64
    assert frechet_from_features(a, b).item() == pytest.approx(usual(a.double(), b.double()), rel=1e-10)


def test_is_zero_for_equal_and_the_shift_for_moved_sets() -> None:
    for a in (spread(200, 30, 1), spread(20, 30, 1), spread(200, 30, 1, power=6)):
        assert 0 <= frechet_from_features(a, a).item() <= 1e-8
        assert frechet_from_features(a, a + 2).item() == pytest.approx(30 * 4, rel=1e-9)


def test_is_symmetric_and_ignores_rotations() -> None:
    a, b = spread(200, 10, 1), spread(100, 10, 2) + 1
    turn = torch.linalg.qr(normal(10, 10, seed=3)).Q
    there = frechet_from_features(a, b).item()
    assert frechet_from_features(b, a).item() == pytest.approx(there, rel=1e-12)
    assert frechet_from_features(a @ turn, b @ turn).item() == pytest.approx(there, rel=1e-10)


def test_commuting_covariances_compare_their_standard_deviations() -> None:
    s, t = torch.tensor([4.0, 1.0, 0.25, 0.0], dtype=F64), torch.tensor([1.0, 9.0, 0.0, 0.0], dtype=F64)
    zero = torch.zeros(4, dtype=F64)
    want = (s.sqrt() - t.sqrt()).square().sum().item()
    assert frechet_distance(zero, s.diag(), zero, t.diag()).item() == pytest.approx(want, rel=1e-12)
    assert frechet_distance(zero, s.diag(), zero, 0 * t.diag()).item() == pytest.approx(s.sum().item(), rel=1e-12)


def test_one_dimension() -> None:
    a, b = normal(50, 1, seed=1), 3 * normal(70, 1, seed=2) + 1
    want = (a.mean() - b.mean()).square() + (a.std() - b.std()).square()
    assert frechet_from_features(a, b).item() == pytest.approx(want.item(), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(8, 6), (8, 200), (200, 8)])
def test_fewer_points_than_dimensions(n: int, m: int) -> None:
    """With 40 digits: the nuclear norm is that of the small matrix A Bᵀ, which mpmath diagonalises."""
    mpmath = pytest.importorskip("mpmath")
    a, b = spread(n, 20, 1), spread(m, 20, 2) + 0.1
    with mpmath.workdps(40):
        centred = []
        for x in (a, b):
            rows = mpmath.matrix(x.tolist())
            mean = [mpmath.fsum(rows[:, j]) / rows.rows for j in range(rows.cols)]
            for i in range(rows.rows):
                for j in range(rows.cols):
                    rows[i, j] -= mean[j]
            centred.append((mean, rows / mpmath.sqrt(rows.rows - 1)))
        (m1, f1), (m2, f2) = centred
        small = f1 * f2.T if n <= m else f2 * f1.T
        values = mpmath.eigsy(small * small.T, eigvals_only=True)
        want = mpmath.fsum((p - q) ** 2 for p, q in zip(m1, m2, strict=True))
        want += mpmath.fsum(x * x for x in f1) + mpmath.fsum(x * x for x in f2)
        want -= 2 * mpmath.fsum(mpmath.sqrt(max(v, 0)) for v in values)
    assert frechet_from_features(a, b).item() == pytest.approx(float(want), rel=1e-9)
    by_moments = frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert by_moments.item() == pytest.approx(float(want), rel=1e-6)


def test_constant_and_repeated_columns_are_no_special_case() -> None:
    """A dead feature adds nothing, a copied one is sqrt(2) times itself and a dead one, rotated."""
    a, b = spread(300, 12, 1), spread(200, 12, 2) * 1.2 + 0.1
    want = frechet_from_features(a, b).item()
    dead = [torch.cat([x, torch.full((len(x), 3), 0.7, dtype=F64)], 1) for x in (a, b)]
    assert frechet_from_features(*dead).item() == pytest.approx(want, rel=1e-9)
    copied = [torch.cat([x, x], 1) for x in (a, b)]
    assert frechet_from_features(*copied).item() == pytest.approx(2 * want, rel=1e-9)


def test_ill_conditioned_covariances_keep_their_digits() -> None:
    """Spectra of i^-8 have 1e-16 at the end: singular values of QR factors are the reference."""
    a, b = spread(400, 60, 1, power=8), spread(400, 60, 2, power=8)
    factors = [torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5).R for x in (a, b)]
    want = (a.mean(0) - b.mean(0)).square().sum() + sum(f.square().sum() for f in factors)
    want = want - 2 * torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    assert frechet_from_features(a, b).item() == pytest.approx(want.item(), rel=1e-9)


def test_factors_multiply_to_the_covariance() -> None:
    for n in (5, 300):
        x = spread(n, 8, n)
        mean, factor = mean_and_factor(x)
        assert factor.shape == (min(n, 8), 8)
        torch.testing.assert_close(factor.T @ factor, x.T.cov())
        again = covariance_factor(x.T.cov())
        assert len(again) == min(n - 1, 8)
        torch.testing.assert_close(again.T @ again, x.T.cov())
        assert frechet_from_factors(mean, factor, mean, again).item() <= 1e-8


def test_errors() -> None:
    eye, zero = torch.eye(2), torch.zeros(2)
    with pytest.raises(ValueError, match="shape \\(2, 1\\); expected a square matrix"):
        covariance_factor(eye[:, :1])
    with pytest.raises(ValueError, match="eigenvalue -1"):
        frechet_distance(zero, eye, zero, -eye)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(zero, eye * torch.nan, zero, eye)
    with pytest.raises(ValueError, match=r"N >= 2"):
        frechet_from_features(torch.zeros(1, 3), torch.zeros(5, 3))
