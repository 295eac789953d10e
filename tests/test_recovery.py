"""Recovery scores on factors and codes whose score is known."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, log, pi, sin, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from chartae.metrics import affine_r2, dci, factor_vae, mcc, mig, modularity, recovery, sap, udr


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def grid(*sizes: int, copies: int = 1) -> Tensor:
    """Every combination of values, so that factors are exactly independent."""
    return torch.from_numpy(np.indices(sizes).reshape(len(sizes), -1).T).repeat(copies, 1)


def turn(angle: float) -> Tensor:
    return torch.tensor([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]], dtype=torch.float64)


def white(n: int, d: int, seed: int = 0) -> Tensor:
    """Columns of mean 0 and variance 1, uncorrelated to rounding."""
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(x - x.mean(0)).Q * sqrt(n)


# -- MCC -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("protocol", ["full", "batches"])
def test_mcc_is_blind_to_order_sign_scale_and_shift(kind: str, protocol: str) -> None:
    z = uniform(512, 3)
    codes = torch.stack([-1e-6 * z[:, 2], 1e5 * z[:, 0] + 3, 7 - z[:, 1]], 1)
    got = mcc(z, codes, kind=kind, protocol=protocol)
    assert float(got) == got.value == pytest.approx(1, abs=1e-12)
    assert got.matching == (1, 2, 0)
    signs = torch.stack([got.correlations[j, i] for j, i in enumerate(got.matching)])
    torch.testing.assert_close(signs, torch.tensor([1.0, -1.0, -1.0]), rtol=0, atol=1e-9)


def test_mcc_takes_the_matching_of_the_largest_sum() -> None:
    # greedy matching gives factor 0 code 0 (0.8) and leaves factor 1 with nothing
    w = white(400, 3)
    codes = torch.stack([0.8 * w[:, 0] + 0.6 * w[:, 1], 0.7 * w[:, 0] + sqrt(0.51) * w[:, 2]], 1)
    got = mcc(w[:, :2], codes, baselines=False)
    assert got.matching == (1, 0)
    assert got.value == pytest.approx((0.7 + 0.6) / 2, abs=1e-12)
    assert np.isnan([got.chance, got.chance_sd, got.rotation, got.rotation_sd]).all()


def test_pearson_is_numpys_and_spearman_scipys() -> None:
    from scipy.stats import spearmanr

    z = uniform(60, 2, seed=1).numpy()
    codes = np.round(z @ [[1.0, 0.3], [0.5, -1.0]] + uniform(60, 2, seed=2).numpy(), 1)  # with ties
    want = np.corrcoef(z, codes, rowvar=False)[:2, 2:]
    np.testing.assert_allclose(mcc(z, codes).correlations.numpy(), want, atol=1e-12)
    want = spearmanr(z, codes).statistic[:2, 2:]
    np.testing.assert_allclose(mcc(z, codes, kind="spearman").correlations.numpy(), want, atol=1e-12)


def test_spearman_is_blind_to_monotone_maps_and_pearson_is_not() -> None:
    z = uniform(1000, 2)
    codes = torch.stack([-(z[:, 1].exp() ** 5), torch.logit(z[:, 0])], 1)
    assert mcc(z, codes, kind="spearman").value == pytest.approx(1, abs=1e-12)
    assert 0.8 < mcc(z, codes).value < 0.97


TABLE = [(2, 64, 0.130, 0.051), (3, 64, 0.152, 0.039), (5, 64, 0.177, 0.028), (3, 512, 0.053, 0.014)]


@pytest.mark.parametrize(("d", "n", "mean", "sd"), TABLE)
def test_independent_codes_reach_chance(d: int, n: int, mean: float, sd: float) -> None:
    values = [mcc(uniform(n, d, seed=2 * i), uniform(n, d, seed=2 * i + 1), baselines=False).value for i in range(60)]
    assert np.mean(values) == pytest.approx(mean, abs=3 * sd / sqrt(60) + 0.0005)
    got = mcc(uniform(n, d, seed=1), uniform(n, d, seed=2))
    assert got.chance == pytest.approx(mean, abs=3 * sd / 10 + 0.0005)
    assert got.chance_sd == pytest.approx(sd, rel=3 / sqrt(200) + 0.02)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_small_batches_bias_upwards(kind: str) -> None:
    z, codes = uniform(6000, 3, seed=1), uniform(6000, 3, seed=2)
    got = mcc(z, codes, kind=kind, protocol="batches", batch=64)
    assert got.value == pytest.approx(0.152, abs=3 * 0.039 / sqrt(6000 // 64))
    assert got.chance == pytest.approx(0.152, abs=0.003)
    assert got.chance_sd == pytest.approx(0.039 / sqrt(6000 // 64), rel=0.3)
    assert mcc(z, codes, kind=kind).value < 0.03


def test_batches_are_matched_apart_and_the_rest_is_left_out() -> None:
    z = uniform(150, 2)
    codes = z.clone()
    codes[64:128] = codes[64:128].flip(1)
    codes[128:] = 0
    assert mcc(z, codes, protocol="batches", baselines=False).value == pytest.approx(1, abs=1e-12)
    assert mcc(z, codes, baselines=False).value < 0.8


@pytest.mark.parametrize(
    ("d", "mean", "sd"), [(1, 1, 0), (2, 0.900, 0.089), (3, 0.828, 0.080), (4, 0.774, 0.069), (5, 0.730, 0.061)]
)
def test_the_rotation_baseline(d: int, mean: float, sd: float) -> None:
    got = mcc(uniform(9, d), uniform(9, d, seed=1))
    assert got.rotation == pytest.approx(mean, abs=3 * sd / sqrt(2000) + 0.0005)
    assert got.rotation_sd == pytest.approx(sd, abs=0.005)
    if d == 2:
        assert got.rotation == pytest.approx(2 * sqrt(2) / pi, abs=1e-15)


def test_the_rotation_baseline_is_that_of_rotated_factors() -> None:
    z = white(50, 2)
    values = [mcc(z, z @ turn(pi / 2 * (i + 0.5) / 100), baselines=False).value for i in range(100)]
    got = mcc(z, z)
    assert np.mean(values) == pytest.approx(got.rotation, abs=1e-4)
    assert np.std(values) == pytest.approx(got.rotation_sd, abs=1e-4)


def test_a_collapsed_code_correlates_nothing() -> None:
    z = uniform(300, 2)
    codes = z.clone()
    codes[:, 1] = 0.1  # whose mean is not exactly 0.1
    for kind in ("pearson", "spearman"):
        got = mcc(z, codes, kind=kind)
        assert got.value == pytest.approx(0.5, abs=1e-12)
        assert (got.correlations[:, 1] == 0).all()
        assert got.chance < 0.1
    assert mcc(z, torch.zeros(300, 2)).value == 0


def test_more_codes_than_factors() -> None:
    z = uniform(200, 2)
    codes = torch.cat([uniform(200, 3, seed=1), -z.flip(1)], 1)
    got = mcc(z, codes)
    assert got.value == pytest.approx(1, abs=1e-12)
    assert got.matching == (4, 3)
    assert got.correlations.shape == (2, 5)
    assert got.rotation == pytest.approx(0.9003, abs=1e-4)


def test_mcc_is_seeded_prints_and_reads_what_it_is_given() -> None:
    z, codes = uniform(100, 2), uniform(100, 2, seed=1)
    assert mcc(z, codes).chance == mcc(z.numpy(), codes.numpy()).chance != mcc(z, codes, seed=1).chance
    assert mcc(z.to(torch.bfloat16), z.float().requires_grad_()).value > 0.999
    assert mcc(grid(3, 4), grid(3, 4)).value == pytest.approx(1)
    assert str(mcc(z, z)).startswith("1.000 (chance 0.")
    assert mcc(1e200 * z, 1e-200 * z).value == pytest.approx(1, abs=1e-12)  # squares over- and underflow


# -- affine R^2 ----------------------------------------------------------------------------------------------


def test_affine_r2_is_blind_to_linear_maps() -> None:
    z = uniform(100, 3)
    got = affine_r2(z, z @ torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) * 1e3 + 50)
    torch.testing.assert_close(got, torch.ones(3), rtol=0, atol=1e-12)


def test_affine_r2_is_the_explained_share() -> None:
    w = white(200, 3)
    codes = torch.stack([0.6 * w[:, 0] + 0.8 * w[:, 2], torch.full((200,), 0.3)], 1) + 5
    torch.testing.assert_close(affine_r2(w[:, :2], codes), torch.tensor([0.36, 0.0]), rtol=0, atol=1e-12)


def test_affine_r2_of_independent_codes() -> None:
    values = [affine_r2(uniform(41, 1, seed=i), uniform(41, 4, seed=1000 + i)).item() for i in range(300)]
    assert np.mean(values) == pytest.approx(4 / 40, abs=3 * np.std(values) / sqrt(300))


# -- information ---------------------------------------------------------------------------------------------


def test_mig_of_identity_copies_and_a_constant() -> None:
    z = grid(4, 3, 20)
    assert mig(z, z) == pytest.approx(1, abs=1e-12)
    assert mig(z, -5.0 * z.flip(1) + 2) == pytest.approx(1, abs=1e-12)
    assert mig(z, torch.cat([z, z], 1)) == pytest.approx(0, abs=1e-12)
    assert mig(z, torch.cat([z, torch.full((240, 2), 0.1)], 1)) == pytest.approx(1, abs=1e-12)
    assert mig(z, torch.full((240, 2), 0.1)) == 0
    assert mig(z[:, :1], z[:, :1]) == pytest.approx(1, abs=1e-12)


def test_mig_of_a_code_that_tells_of_half() -> None:
    z = grid(4, 2)
    codes = torch.stack([z[:, 0] // 2, z[:, 1]], 1)  # one of two bits; the other factor whole
    assert mig(z, codes) == pytest.approx((0.5 + 1) / 2, abs=1e-12)


def test_information_equals_the_sum_over_a_table() -> None:
    y = torch.randint(0, 3, (200, 2), generator=torch.Generator().manual_seed(0)).numpy()
    c = y[:, :1] + 1.3 * uniform(200, 2).numpy()
    got, entropies = recovery._information(y, c, 7)
    for i in range(2):
        for j in range(2):
            edges = np.linspace(c[:, i].min(), c[:, i].max(), 8)
            p = np.histogram2d(c[:, i], y[:, j], [edges, [-0.5, 0.5, 1.5, 2.5]])[0] / 200
            q = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
            assert got[i, j] == pytest.approx((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum(), abs=1e-12)
    p = np.bincount(y[:, 1]) / 200
    assert entropies[1] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-12)


def test_continuous_factors_are_cut_into_equal_counts() -> None:
    z = torch.stack([(torch.arange(1000) + 0.5) / 1000, uniform(1000)], 1)
    assert np.bincount(recovery._binned(z[:, 0].numpy() ** 9, 20)).tolist() == [50] * 20
    information, entropies = recovery._information(z.numpy(), z.numpy(), 20)
    assert entropies[0] == pytest.approx(log(20), abs=1e-12)
    assert information[0, 0] == pytest.approx(log(20), abs=0.05)
    assert mig(z, z) > 0.85
    assert mig(z, z @ turn(pi / 4)) < 0.1


def test_what_counts_as_discrete() -> None:
    levels = recovery._levels
    assert levels(np.arange(100) % 7 / 7.0) is not None
    assert levels(np.arange(100)) is not None  # integers, whatever their number
    assert levels(np.arange(100) / 3.0) is None
    assert levels(np.arange(40) / 3.0) is None  # few rows do not make few values
    assert levels(np.arange(1000) % 65 / 3.0) is None
    got = levels(np.array([5.0, -1.0, 5.0, 2.0, -1.0, 2.0]))
    assert got is not None
    assert got.tolist() == [2, 0, 2, 1, 0, 1]


def test_modularity() -> None:
    z = grid(4, 3)
    assert modularity(z, z) == pytest.approx(1, abs=1e-12)
    assert modularity(z, torch.cat([z, z, z], 1)) == pytest.approx(1, abs=1e-12)
    assert modularity(z, torch.cat([z, torch.ones(12, 2)], 1)) == pytest.approx(0.5, abs=1e-12)
    assert modularity(z[:, :1], z) == pytest.approx(0.5, abs=1e-12)  # the code of no factor is dead
    both = grid(4, 4) @ torch.tensor([[4], [1]])  # 16 values, which tell of both alike
    assert modularity(grid(4, 4), both) == pytest.approx(0, abs=1e-12)
    one = torch.cat([both, grid(4, 4)[:, :1]], 1)
    assert modularity(grid(4, 4), one) == pytest.approx(0.5, abs=1e-12)


# -- prediction ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0, 0.3, 0.7])
def test_sap_of_rotated_continuous_factors(angle: float) -> None:
    z = white(500, 2)
    assert sap(z, z @ turn(angle)) == pytest.approx(cos(2 * angle), abs=1e-12)


def test_sap_of_discrete_factors() -> None:
    z = grid(2, 2, copies=300)
    codes = 4.0 * z - 2
    assert sap(z, codes[:, :1]) == pytest.approx((1 + 0.5) / 2, abs=0.03)  # no second code
    assert sap(z, codes) == pytest.approx(0.5, abs=0.03)
    assert sap(z, torch.cat([codes, codes], 1)) == 0
    assert sap(z, codes, seed=1) == sap(z, codes, seed=1)


def test_sap_of_constant_codes() -> None:
    z = white(100, 2)
    codes = torch.stack([z[:, 0], 1e-7 * z[:, 0], torch.full((100,), 0.1)], 1)
    assert sap(z[:, :1], codes) == pytest.approx(1, abs=1e-12)  # the copy varies too little to count


@pytest.mark.parametrize("discrete", [True, False])
def test_dci_of_identity_and_rotated_codes(discrete: bool) -> None:
    z = grid(3, 2, copies=120) if discrete else uniform(600, 2)
    good = dci(z, torch.cat([-z.flip(1).double(), torch.zeros(len(z), 1)], 1), n_train=400, n_test=200)
    assert good.disentanglement == pytest.approx(1, abs=0.01)
    assert good.completeness == pytest.approx(1, abs=0.01)
    assert good.informativeness == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(good.importance, torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), rtol=0, atol=0.01)
    turned = dci(z, (z.double() - z.double().mean(0)) @ turn(pi / 4), n_train=400, n_test=200)
    assert turned.disentanglement < 0.35
    assert turned.completeness < 0.35
    assert turned.informativeness > 0.85
    assert good.importance.sum(0).allclose(torch.ones(2))


def test_dci_of_one_factor_one_code_and_none_that_helps() -> None:
    z, noise = grid(2, copies=60), uniform(120, 1)
    both = dci(z, torch.cat([z, z], 1))
    assert both.disentanglement == 1
    assert both.completeness <= 1
    pair = grid(2, 2, copies=30)
    single = dci(pair, pair[:, :1])
    assert single.completeness == 1
    assert single.disentanglement < 1
    dead = dci(z, torch.zeros(120, 2))
    assert (dead.disentanglement, dead.completeness) == (0, 0)
    assert dead.importance.eq(0).all()
    assert dci(z, noise, seed=3).informativeness == dci(z, noise, seed=3).informativeness < 0.8
    assert dci(uniform(120, 1, seed=1), noise).informativeness < 0.2  # R^2 on test rows may fall below 0


def test_dci_scores_from_known_importances() -> None:
    r = np.array([[0.5, 0.5], [0.5, 0.0], [0.0, 0.5]])
    np.testing.assert_allclose(recovery._impurity(r), [1, 0, 0], atol=1e-8)
    np.testing.assert_allclose(recovery._impurity(r.T), [log(2) / log(3)] * 2, atol=1e-8)


# -- intervention --------------------------------------------------------------------------------------------


def test_factor_vae() -> None:
    z = grid(3, 4, 5)
    assert factor_vae(z, z, votes=400) == 1
    assert factor_vae(z, -2.0 * z.flip(1), votes=400) == 1
    assert factor_vae(z, torch.cat([z, torch.zeros(60, 3)], 1), votes=400) == 1  # collapsed codes do not vote
    assert factor_vae(z, torch.cat([z, 0.01 * uniform(60, 1)], 1), votes=400) == 1
    assert factor_vae(z, 1e-3 * z, votes=400) == 0
    assert factor_vae(z, 1e-3 * z, votes=400, min_std=0) == 1
    noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert factor_vae(grid(3, 4, 5, copies=20), noise.repeat(20, 1)[torch.randperm(1200)]) < 0.5


def test_factor_vae_of_two_factors_in_one_code() -> None:
    z = grid(4, 4, 4)
    # two factors hide behind one code: it can name one of them only
    codes = torch.stack([4 * z[:, 0] + z[:, 1], z[:, 2]], 1)
    got = factor_vae(z, codes, votes=3000)
    assert got == pytest.approx(2 / 3, abs=0.05)
    assert got == factor_vae(z, codes, votes=3000) != factor_vae(z, codes, votes=3000, seed=1)


def test_factor_vae_bins_continuous_factors() -> None:
    z = uniform(4000, 3)
    assert factor_vae(z, z, votes=400) == 1
    assert factor_vae(z, torch.stack([z.sum(1), z[:, 0] - z[:, 1]], 1), votes=400) < 0.8


# -- ranking -------------------------------------------------------------------------------------------------


def test_udr_of_permuted_and_of_rotated_codes() -> None:
    z = white(2000, 4)
    same = udr([z, -(z[:, [2, 0, 3, 1]] ** 3), z.flip(1).exp()])
    assert (same.scores > 0.9).all()
    assert same.pairs.diagonal().isnan().all()
    rotations = torch.linalg.qr(torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0))).Q
    turned = udr([z @ q for q in rotations])
    assert (turned.scores < 0.6).all()
    assert torch.equal(turned.pairs.nan_to_num(0), turned.pairs.T.nan_to_num(0))
    assert torch.equal(turned.scores, turned.pairs.nanquantile(0.5, dim=1))  # three others: no tie


def test_udr_equals_the_formula() -> None:
    from scipy.stats import spearmanr

    a, b = uniform(50, 2), uniform(50, 3, seed=1)
    b[:, 0] += a[:, 1]
    r = np.abs(spearmanr(a, b).statistic[:2, 2:])
    want = sum(r[:, j].max() ** 2 / r[:, j].sum() for j in range(3)) + sum(r[i].max() ** 2 / r[i].sum() for i in (0, 1))
    torch.testing.assert_close(udr([a, b]).scores, torch.full((2,), want / 5), rtol=0, atol=1e-12)


def test_udr_leaves_uninformative_codes_out() -> None:
    z = grid(3, 4)
    noisy = torch.cat([z, uniform(12, 2)], 1)
    masks = [torch.tensor([True, True, False, False]), np.array([0.02, 3.0])]
    torch.testing.assert_close(udr([noisy, z], masks).scores, torch.ones(2), rtol=0, atol=1e-12)
    assert udr([noisy, z]).scores[0] < 1
    dead = torch.cat([z, torch.full((12, 3), 0.1)], 1)
    torch.testing.assert_close(udr([dead, z]).scores, torch.ones(2), rtol=0, atol=1e-12)
    none = [np.zeros(2), np.ones(2)]
    assert udr([z, z], none).scores.eq(0).all()
    assert udr([z, z], [np.array([5.0, 5.0]), np.array([0.5, 5.0])], threshold=1).scores[0] == pytest.approx(2 / 3)


# -- errors --------------------------------------------------------------------------------------------------

SCORES: list[Callable[..., Any]] = [mcc, affine_r2, dci, mig, modularity, sap, factor_vae]


@pytest.mark.parametrize("score", SCORES)
def test_bad_inputs_are_refused(score: Callable[..., Any]) -> None:
    z = uniform(20, 2)
    with pytest.raises(ValueError, match=r"the codes have shape \(20,\).*x\[:, None\]"):
        score(z, z[:, 0])
    with pytest.raises(ValueError, match=r"the factors have shape \(20, 0\)"):
        score(z[:, :0], z)
    with pytest.raises(ValueError, match="the factors have 2 rows; expected at least 3"):
        score(z[:2], z[:2])
    with pytest.raises(ValueError, match="the factors have 20 rows and the codes 19"):
        score(z, z[1:])
    with pytest.raises(TypeError, match="the codes are complex128; expected real numbers"):
        score(z, z.to(torch.complex128))
    bad = z.clone()
    bad[7, 1] = torch.nan
    with pytest.raises(ValueError, match=r"1 of 20 rows of the codes are not finite .*row 7"):
        score(z, bad)
    constant = z.clone()
    constant[:, 1] = 0.1
    with pytest.raises(ValueError, match=r"factor 1 is 0\.1 in every row.*drop that column"):
        score(constant, z)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: mcc(z, z, kind="kendall"), "kind is 'kendall'; expected 'pearson' or 'spearman'"),
        (lambda z: mcc(z, z, protocol="paper"), "protocol is 'paper'; expected 'full' or 'batches'"),
        (lambda z: mcc(z, z[:, :1]), "there are 1 codes for 2 factors; expected at least 2"),
        (lambda z: mcc(z, z, protocol="batches"), "batch is 64; expected a number from 3 to 20"),
        (lambda z: mcc(z, z, protocol="batches", batch=2), "batch is 2; expected at least 3"),
        (lambda z: affine_r2(z[:3], z[:3]), "there are 3 rows for 2 codes; expected at least 4"),
        (lambda z: mig(z, z, bins=1), "bins is 1; expected at least 2"),
        (lambda z: modularity(z, z, bins=1), "bins is 1; expected at least 2"),
        (lambda z: dci(z, z, n_train=1), "n_train is 1; expected at least 2"),
        (lambda z: sap(z, z, n_test=0), "n_test is 0; expected at least 1"),
        (lambda z: factor_vae(z, z, votes=1), "votes is 1; expected at least 2"),
        (lambda z: factor_vae(z, z, batch=1), "batch is 1; expected at least 2"),
        (lambda z: factor_vae(z, z, bins=1), "bins is 1; expected at least 2"),
        (lambda z: factor_vae(torch.arange(20)[:, None], z), "factor 0 has 20 values that occur in a single row"),
        (lambda z: udr([z]), "codes holds 1 models; expected at least 2"),
        (lambda z: udr([z, z[1:]]), "model 1 has codes of 19 examples and model 0 of 20"),
        (lambda z: udr([z, z], [np.ones(2)]), "informative has 1 entries for 2 models"),
        (lambda z: udr([z, z], [np.ones(2), np.ones(3)]), r"informative\[1\] has shape \(3,\); expected \(2,\)"),
        (lambda z: udr([z, z], [np.ones(2), np.array([1, np.inf])]), r"informative\[1\] is not finite"),
        (lambda z: udr([z, z / 0]), "rows of the codes of model 1 are not finite"),
    ],
)
def test_impossible_settings_are_refused(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(uniform(20, 2))


@pytest.mark.parametrize("score", [dci, sap])
def test_training_rows_of_one_value_are_refused(score: Callable[..., Any]) -> None:
    z = torch.zeros(400, 1, dtype=torch.int64)
    z[0] = 1
    with pytest.raises(ValueError, match="factor 0 takes a single value in all 2 training rows"):
        score(z, uniform(400, 1), n_train=2)
