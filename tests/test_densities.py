from __future__ import annotations

import importlib
import math
import shutil
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Sklearn

from chartae import Autoencoder, Dirac, Gaussian, StandardNormal, densities
from chartae.densities import ByCondition, Density, GaussianMixture, Normal

MEMBERS = {
    "normal": Normal,
    "gmm": lambda: GaussianMixture(3),
    "gmm-diag": lambda: GaussianMixture(3, "diag"),
    "gmm-tied": lambda: GaussianMixture(3, "tied"),
    "gmm-chosen": lambda: GaussianMixture((1, 3)),
    "gmm-default": GaussianMixture,
}


def codes(n=600, d=3, clusters=3, seed=0, apart=6.0):
    """Clusters of different shapes."""
    g = torch.Generator().manual_seed(seed)
    which = torch.randint(clusters, (n,), generator=g)
    means = apart * torch.randn(clusters, d, generator=g)
    shapes = torch.randn(clusters, d, d, generator=g)
    return means[which] + torch.einsum("nd,nde->ne", torch.randn(n, d, generator=g), shapes[which])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MEMBERS)
def test_contract(name, dtype, tmp_path):
    z = codes().to(dtype)
    density = MEMBERS[name]()
    with pytest.raises(ValueError, match="has not been fitted"):
        density.sample(3)
    assert density.fit(z) is density
    log_p = density.log_prob(z)
    assert log_p.shape == (len(z),)
    assert log_p.dtype == dtype
    assert log_p.isfinite().all()
    draws = density.sample(7, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (7, 3)
    assert draws.dtype == dtype
    assert torch.equal(draws, density.sample(7, generator=torch.Generator().manual_seed(0)))
    assert density().mean.shape == (3,)
    again = MEMBERS[name]().fit(z)
    assert torch.equal(again.log_prob(z), log_p)
    densities.save(density, tmp_path / "d.safetensors")
    loaded = densities.load(tmp_path / "d.safetensors")
    assert type(loaded) is type(density)
    assert loaded.settings() == density.settings()
    assert loaded.fitted() == density.fitted()
    assert torch.equal(loaded.log_prob(z), log_p)
    # a product of matrices may round by where its tensors lie in memory
    assert torch.allclose(draws, loaded.sample(7, generator=torch.Generator().manual_seed(0)), atol=1e-5)
    # it takes a prior's place
    model = Autoencoder(Dirac(torch.nn.Identity()), Gaussian(torch.nn.Identity()), StandardNormal(3))
    assert model.sample(5, prior=density).shape == (5, 3)


@pytest.mark.parametrize("name", MEMBERS)
def test_moments_of_samples_are_the_moments_of_the_fit(name):
    z = codes()
    density = MEMBERS[name]().fit(z)
    draws = density.sample(200_000, generator=torch.Generator().manual_seed(0))
    scale = z.std(0).max()
    assert ((draws.mean(0) - density().mean).abs() < 0.02 * scale).all()
    # EM leaves the mixture with the data's own mean and, for full covariance, the data's own covariance
    assert ((density().mean - z.mean(0)).abs() < 0.02 * scale).all()
    if name in ("normal", "gmm"):
        assert torch.allclose(draws.T.cov(), z.T.cov(correction=0), atol=0.05 * scale.item() ** 2)


@pytest.mark.parametrize("name", [n for n in MEMBERS if n != "normal"])
def test_samples_are_in_no_order(name):
    """Components of successive draws are independent: consecutive labels agree as often as chance has it."""
    mixture = MEMBERS[name]().fit(codes(apart=30.0))
    draws = mixture.sample(4000, generator=torch.Generator().manual_seed(0))
    labels = (draws[:, None] - mixture.means).square().sum(-1).argmin(1)
    agree = (labels[1:] == labels[:-1]).double().mean().item()
    chance = mixture.weights.square().sum().item()
    assert abs(agree - chance) < 4 * math.sqrt(chance * (1 - chance) / 4000)


def test_the_normal_is_the_maximum_of_the_likelihood():
    z = codes()
    normal = Normal().fit(z)
    reference = multivariate_normal(z.mean(0).numpy(), z.T.cov(correction=0).numpy())
    np.testing.assert_allclose(normal.log_prob(z), reference.logpdf(z.numpy()), rtol=1e-6)
    flat = torch.cat([z, z[:, :1], torch.ones(len(z), 1)], 1)  # a repeated and a constant coordinate
    assert Normal().fit(flat).log_prob(flat).isfinite().all()


def test_the_mixture_integrates_to_one():
    mixture = GaussianMixture(3).fit(codes(d=2))
    grid = torch.linspace(-40, 40, 800)
    points = torch.cartesian_prod(grid, grid)
    total = mixture.log_prob(points).exp().sum() * (grid[1] - grid[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-4)


def start_of(z, k, covariance):
    means = z[torch.randperm(len(z), generator=torch.Generator().manual_seed(1))[:k]]
    d = z.shape[1]
    eye = torch.eye(d) * z.var(0).mean()
    shapes = {"full": eye.expand(k, d, d), "diag": eye.diagonal().expand(k, d), "tied": eye}
    return torch.full((k,), 1 / k), means, shapes[covariance]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("covariance", ["full", "diag", "tied"])
def test_from_the_same_start_it_is_scikit_learns(covariance, dtype):
    z = codes(1000, 4, 5, apart=1.5)
    z = (z - z.mean(0)) / z.std(0, correction=0)  # scikit-learn's regularisation is absolute
    weights, means, shapes = start_of(z, 4, covariance)
    precisions = 1 / shapes if covariance == "diag" else torch.linalg.inv(shapes)
    theirs = Sklearn(4, covariance_type=covariance, weights_init=weights.numpy(), means_init=means.numpy(),
                     precisions_init=precisions.numpy(), tol=1e-4, max_iter=500).fit(z.numpy())  # fmt: skip
    ours = GaussianMixture(4, covariance, start=(weights, means, shapes), tol=1e-4, max_iter=500).fit(z.to(dtype))
    assert abs(ours.n_iter_ - theirs.n_iter_) <= (0 if dtype == torch.float64 else 1)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-3
    assert abs(ours.log_prob(z.to(dtype)).double().mean().item() - theirs.score(z.numpy())) < tolerance
    if dtype == torch.float64:
        np.testing.assert_allclose(ours.covariances, theirs.covariances_, atol=1e-6)
        np.testing.assert_allclose(ours.log_prob(z), theirs.score_samples(z.numpy()), atol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diag", "tied"])
def test_from_its_own_start_it_is_not_worse(covariance):
    """In the mean over five sets: which local optimum EM finds on one is luck, for either."""
    differences = []
    for seed in range(5):
        z = codes(3000, 5, 12, seed=seed, apart=1.5) + 0.5 * torch.randn(3000, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs = Sklearn(8, covariance_type=covariance, random_state=seed, max_iter=300).fit(z.numpy())
        ours = GaussianMixture(8, covariance, max_iter=300).fit(z, seed=seed)
        differences.append(ours.log_prob(z).mean().item() - theirs.score(z.numpy()))
    assert np.mean(differences) > -0.05, differences


def test_chunks_change_nothing():
    z = codes()
    start = start_of(z, 3, "full")
    whole, parts = (GaussianMixture(3, start=start, chunk=c).fit(z) for c in (600, 7))
    assert torch.allclose(whole.log_prob(z), parts.log_prob(z))


def test_the_number_of_components_is_found():
    mixture = GaussianMixture((1, 2, 4, 8)).fit(codes(2000, 2, 4, seed=3, apart=12.0))
    assert set(mixture.scores_) == {1, 2, 4, 8}
    assert mixture.components_ in (4, 8)
    assert mixture.components_ == max(mixture.scores_, key=mixture.scores_.get)
    assert mixture.scores_[4] > mixture.scores_[2] + 0.1


def test_restarts_keep_the_likeliest():
    z = codes(800, 2, 9, seed=5, apart=3.0)
    one, five = (GaussianMixture(9, restarts=r).fit(z) for r in (1, 5))
    assert five.lower_bound_ >= one.lower_bound_


def test_a_component_that_dies_is_started_afresh():
    z = codes(300, 2, 2, apart=8.0)
    weights, means, shapes = start_of(z, 3, "full")
    means[2] = 1e4  # nothing is near it
    mixture = GaussianMixture(3, start=(weights, means, shapes)).fit(z)
    assert (mixture.weights > 1e-3).all()
    assert mixture.log_prob(z).isfinite().all()


def test_codes_in_few_places_are_no_trouble():
    z = torch.randn(4, 3).repeat(50, 1)
    mixture = GaussianMixture(4).fit(z)
    assert mixture.log_prob(z).isfinite().all()
    assert GaussianMixture().fit(torch.randn(2, 3)).sample(3).isfinite().all()
    with pytest.warns(UserWarning, match="components is 2 for 2 codes; expected at least 8"):
        assert GaussianMixture(2).fit(torch.randn(2, 3)).sample(3).isfinite().all()


def test_a_fit_that_does_not_converge_says_so():
    with pytest.warns(UserWarning, match="Increase max_iter"):
        mixture = GaussianMixture(5, max_iter=2, tol=0).fit(codes())
    assert mixture.n_iter_ == 2
    assert not mixture.converged_


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GaussianMixture(0), ValueError, "components is 0; expected an integer >= 1"),
        (lambda: GaussianMixture(()), ValueError, r"components is \(\); expected"),
        (lambda: GaussianMixture(3, "round"), ValueError, "expected one of full, diag, tied"),
        (lambda: GaussianMixture(3, max_iter=0), ValueError, "max_iter is 0"),
        (lambda: GaussianMixture(3, tol=-1.0), ValueError, "tol is"),
        (lambda: GaussianMixture(3, regularisation=0.0), ValueError, "regularisation is"),
        (lambda: GaussianMixture(10).fit(codes(5)), ValueError, "components is 10 for 5 codes; expected"),
        (lambda: GaussianMixture(2).fit(torch.zeros(9, 2)), ValueError, "all 9 codes are the same point"),
        (lambda: Normal().fit(torch.full((9, 2), math.nan)), ValueError, "9 of 9 codes are not finite"),
        (lambda: Normal().fit(torch.zeros(9)), ValueError, r"codes have shape \(9,\)"),
        (lambda: Normal().fit(torch.zeros(9, 2, dtype=torch.int64)), TypeError, "expected floating-point"),
        (lambda: Normal().fit(torch.zeros(1, 2)), ValueError, "codes have 1 rows; expected at least 2"),
        (lambda: Normal().fit(codes()).log_prob(torch.zeros(4, 5)), ValueError, "codes of dimension 3"),
        (lambda: densities.make("flow"), ValueError, "density is 'flow'; expected one of prior, normal, gmm, gmm-K"),
        (lambda: densities.make("normal-3"), ValueError, "density is 'normal-3'"),
        (lambda: densities.make("prior"), ValueError, "belongs to the model"),
        (lambda: densities.save(Normal(), "x"), ValueError, "has not been fitted"),
        (lambda: densities.save(ByCondition("normal"), "x"), ValueError, "has not been fitted"),
        (lambda: Normal().fit(codes()).sample(3, temperature=-1.0), ValueError, "temperature is -1.0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_files_that_are_no_densities(tmp_path):
    path = tmp_path / "d.safetensors"
    densities.save(GaussianMixture(3).fit(codes()), path)
    whole = path.read_bytes()
    with pytest.raises(FileNotFoundError, match="no density at"):
        densities.load(tmp_path / "no")
    for content in (b"", b"\x80\x04}q\x00.", whole[: len(whole) // 2], whole.replace(b"gmm", b"gmx"), whole[:-8]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="d.safetensors"):
            densities.load(path)
    torch.save({"weights": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="d.safetensors"):
        densities.load(path)
    shutil.rmtree(tmp_path)


# -- in other units ----------------------------------------------------------------------------------------------------

UNITS = {"small": (1e-4, 3.0), "large": (1e6, -1e7), "tiny": (1e-30, 0.0)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_density_of_codes_in_other_units_is_the_same(name, units, dtype):
    """log p is lower by D log scale, and draws are scaled; single precision rounds codes that are far from 0."""
    scale, shift = UNITS[units]
    z = codes().to(dtype)
    scaled = (z.double() * scale + shift).to(dtype)
    one, other = MEMBERS[name]().fit(z), MEMBERS[name]().fit(scaled)
    expected = one.log_prob(z).double() - 3 * math.log(scale)
    assert torch.allclose(other.log_prob(scaled).double(), expected, atol=1e-4 if dtype == torch.float64 else 0.05)
    draws = (other.sample(2000, generator=generator()).double() - shift) / scale
    reference = one.sample(2000, generator=generator()).double()
    assert torch.allclose(draws.std(0), reference.std(0), rtol=0.05)
    assert dtype == torch.float32 or torch.allclose(draws, reference, atol=0.02)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("width", [1e-6, 0.0])
def test_a_dimension_that_hardly_varies_stays_narrow(name, width):
    z = torch.cat([codes(), 5 + width * torch.randn(600, 1, generator=generator())], 1)
    density = MEMBERS[name]().fit(z)
    draws = density.sample(2000, generator=generator())
    assert draws[:, 3].std().item() == pytest.approx(width, rel=0.1) if width else draws[:, 3].std() < 1e-2
    assert torch.allclose(draws[:, :3].std(0), z[:, :3].std(0), rtol=0.1)
    assert density.log_prob(z).isfinite().all()


def test_covariates_in_other_units_give_the_same_density():
    r = torch.randn(400, 2, generator=generator())
    z = r @ torch.randn(2, 3, generator=generator()) + 0.1 * torch.randn(400, 3, generator=generator())
    one, other = (densities.fit("normal", z, condition=c) for c in (r, r * torch.tensor([1e7, 1e-7])))
    assert torch.allclose(other.log_prob(z, condition=r * torch.tensor([1e7, 1e-7])), one.log_prob(z, condition=r))


# -- few codes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "gmm"])
@pytest.mark.parametrize(("n", "d"), [(48, 16), (40, 64), (150, 8), (12, 3), (5, 3)])
def test_few_codes_do_not_spoil_the_density_of_new_ones(name, n, d, tmp_path):
    """A single normal with the right parameters gives new codes about the likelihood of the others."""
    mixing = torch.randn(d, d, generator=generator())
    z = torch.randn(n + 1000, d, generator=torch.Generator().manual_seed(2)) @ mixing
    density = densities.make(name).fit(z[:n])
    gap = density.log_prob(z[:n]).mean() - density.log_prob(z[n:]).mean()
    assert gap < (1.0 if n >= 10 else 5.0) * d
    assert f"{n:,} codes are" in density.note or (name == "normal" and not density.shrinkage_)
    densities.save(density, tmp_path / "d.safetensors")
    assert densities.load(tmp_path / "d.safetensors").note == density.note


def test_many_codes_have_ten_full_components():
    z = codes(50 * 4)
    few, many = GaussianMixture().fit(z[:-1]), GaussianMixture().fit(z)
    assert (many.components_, many.covariance_, many.note) == (10, "full", "")
    assert many.settings()["components"] is None
    assert torch.equal(many.log_prob(z), GaussianMixture(10).fit(z).log_prob(z))
    assert "199 codes are fewer than the 200" in few.note
    assert few.components_ == max(few.scores_, key=few.scores_.get)
    assert GaussianMixture(covariance="diag").fit(z[:50]).covariance_ == "diag"


def test_a_class_with_few_codes_has_a_mixture_of_its_own():
    hot = HOT[[0] * 250 + [3] * 7]
    density = densities.fit("gmm", codes(257), condition=hot, discrete=4, entries=["k=a", "k=b", "k=c", "k=d"])
    assert [member.components_ for member in density.members] == [1, 10]
    assert density.note.startswith("k=d: 1 component with diag covariance, because 7 codes are fewer than the 200")


# -- at a temperature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
def test_a_temperature_scales_the_spread_within_components(name):
    density = MEMBERS[name]().fit(codes())
    zero = density.sample(50, generator=torch.Generator().manual_seed(0), temperature=0)
    one, half = (density.sample(50, generator=torch.Generator().manual_seed(0), temperature=t) for t in (1.0, 0.5))
    assert torch.allclose(half - zero, 0.5 * (one - zero))
    assert ((zero[:, None] - density.means).abs().amax(-1).min(1).values < 1e-12).all()


# -- given a condition -------------------------------------------------------------------------------------------------


def conditioned(n=600, d=3, classes=4, seed=0):
    """Codes of classes, of different shapes, and the one-hot classes."""
    which = torch.arange(n) % classes
    z = torch.stack([codes(n, d, 3, seed=seed + k) for k in range(classes)])[which, torch.arange(n)]
    return z, torch.nn.functional.one_hot(which, classes).to(z.dtype), which


BY_CONDITION = {"normal": {}, "gmm-2": {}, "gmm": {"components": [1, 2], "covariance": "diag"}}


@pytest.mark.parametrize("name", BY_CONDITION)
def test_each_class_has_the_density_of_its_codes(name, tmp_path):
    """Bit for bit that of the class alone."""
    z, hot, which = conditioned()
    density = densities.fit(name, z, condition=hot, discrete=4, seed=3, settings=BY_CONDITION[name])
    densities.save(density, tmp_path / "d.safetensors")
    loaded = densities.load(tmp_path / "d.safetensors")
    assert loaded.settings() == density.settings()
    assert loaded.fitted() == density.fitted()
    for k in (2, 0):
        alone = densities.make(name, **BY_CONDITION[name]).fit(z[which == k], seed=3)
        for both in (density, loaded):
            assert torch.equal(both.log_prob(z[which == k], condition=hot[k]), alone.log_prob(z[which == k]))
            for temperature in (1.0, 0.7):
                draws = both.sample(7, condition=hot[k], generator=generator(), temperature=temperature)
                expected = alone.sample(7, generator=generator(), temperature=temperature)
                assert torch.allclose(draws, expected, rtol=0, atol=0 if both is density else 1e-9)
    each = density.log_prob(z, condition=hot)
    assert torch.allclose(each[which == 1], density.log_prob(z[which == 1], condition=hot[1]))
    assert density.sample(condition=hot[:9]).shape == (9, 3)
    assert density(condition=hot[:9]).sample(5).shape == (5, 9, 3)
    assert torch.allclose(density(condition=hot[:9]).mean[5], alone_mean(name, z[which == 1]))


def generator():
    return torch.Generator().manual_seed(1)


def alone_mean(name, z):
    return densities.make(name, **BY_CONDITION[name]).fit(z, seed=3)().mean


def test_draws_belong_to_the_condition_of_their_row():
    z, hot, _ = conditioned(d=2, classes=3)
    density = densities.fit("normal", z + 100 * hot[:, :2], condition=hot, discrete=3)
    draws = density.sample(30_000, condition=hot[:3].repeat(10_000, 1), generator=generator())
    for k in range(3):
        expected = density(condition=hot[k]).mean[0]
        assert (draws[k::3].mean(0) - expected).abs().max() < 0.2


def test_a_normal_is_the_exact_conditional_of_the_joint_normal():
    """In the linear-Gaussian world: mean and covariance of z given r, from those of (z, r)."""
    g = torch.Generator().manual_seed(0)
    r = torch.randn(400, 2, generator=g) @ torch.tensor([[1.0, 0.5], [0.0, 2.0]]) + 3
    z = r @ torch.randn(2, 3, generator=g) + torch.randn(400, 3, generator=g) @ torch.randn(3, 3, generator=g)
    joint = torch.cat([z, r], 1)
    mean, s = joint.mean(0), joint.T.cov(correction=0)
    gain = torch.linalg.solve(s[3:, 3:], s[3:, :3]).T
    covariance = s[:3, :3] - gain @ s[3:, :3]
    density = densities.fit("normal", z, condition=r)
    for i in (0, 17):
        exact = multivariate_normal((mean[:3] + gain @ (r[i] - mean[3:])).numpy(), covariance.numpy())
        np.testing.assert_allclose(density.log_prob(z[:20], condition=r[i]), exact.logpdf(z[:20].numpy()), rtol=1e-6)
    draws = density.sample(200_000, condition=r[0], generator=generator())
    assert torch.allclose(draws.mean(0), mean[:3] + gain @ (r[0] - mean[3:]), atol=0.02 * s.max().sqrt().item())
    assert torch.allclose(draws.T.cov(), covariance, atol=0.02 * covariance.max().item())


def test_classes_and_covariates_together(tmp_path):
    """Each class has a regression of its own; of a constant covariate, none."""
    g = torch.Generator().manual_seed(0)
    which = torch.arange(400) % 2
    r = torch.randn(400, 2, generator=g)
    r[:, 1] = which
    slopes = torch.tensor([[2.0, 0.0], [0.0, -3.0]])
    z = slopes[which] * r[:, :1] + 0.01 * torch.randn(400, 2, generator=g)
    c = torch.cat([torch.nn.functional.one_hot(which, 2), r], 1)
    density = densities.fit("gmm-2", z, condition=c, discrete=2)
    assert torch.allclose(density.slopes[density._group(torch.eye(2).bool()), 0], slopes, atol=0.01)
    assert torch.allclose(density(condition=c).mean, z, atol=0.1)
    densities.save(density, tmp_path / "d.safetensors")
    assert torch.equal(
        densities.load(tmp_path / "d.safetensors").log_prob(z, condition=c), density.log_prob(z, condition=c)
    )
    single = densities.fit("normal", z.float(), condition=c, discrete=2)
    assert single.sample(3, condition=c[0]).dtype == torch.float32


def by_classes(**options):
    z, hot, _ = conditioned()
    return densities.fit("normal", z, condition=hot, discrete=4, **options)


HOT = torch.eye(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_classes().sample(3), "condition is None; expected .* because this density is conditional"),
        (lambda: by_classes().log_prob(torch.zeros(3, 3)), "condition is None"),
        (lambda: by_classes()(), "condition is None"),
        (lambda: by_classes().sample(3, condition=HOT[:2]), "condition has 2 rows for 3 codes; expected 1 row or 3"),
        (lambda: by_classes().sample(3, condition=torch.zeros(3, 5)), "is all conditions|has 5 columns; expected 4"),
        (lambda: by_classes().sample(3, condition=HOT[:3, :2]), r"has shape \(3, 2\); expected \(N, K\) with K >= 4"),
        (lambda: by_classes().sample(3, condition=HOT[0] / 2), "values other than 0 and 1 in its first 4 columns"),
        (lambda: by_classes().sample(3, condition=HOT[0] * math.nan), "not finite"),
        (
            lambda: by_classes(entries=["k=a", "k=b", "k=c", "k=d"]).sample(3, condition=HOT[0] + HOT[1]),
            "condition is k=a, k=b; expected one that fit has seen: .*k=d",
        ),
        (lambda: by_classes().sample(3, condition=HOT[0], temperature=-1), "temperature is -1"),
        (lambda: by_classes().log_prob(torch.zeros(3, 5), condition=HOT[0]), r"codes have shape \(3, 5\)"),
        (lambda: Normal().fit(codes()).sample(3, condition=HOT[0]), "because this Normal was fitted without a"),
        (lambda: Normal().fit(codes()).log_prob(codes(), condition=HOT[0]), "was fitted without a condition"),
        (lambda: Normal().fit(codes())(condition=HOT[0]), "was fitted without a condition"),
        (lambda: ByCondition("normal").fit(codes()), "condition is None"),
        (lambda: densities.fit("normal", codes(5), condition=HOT), r"has shape \(4, 4\); expected \(5, K\)"),
        (
            lambda: densities.fit(
                "gmm-10",
                codes(40),
                condition=HOT[[0] * 31 + [3] * 9],
                discrete=4,
                entries=["k=a", "k=b", "k=c", "k=d"],
            ),
            r"too few codes in 1 of 2 groups \(k=d has 9\); expected at least 10 in each.*Use fewer components",
        ),
        (
            lambda: densities.fit("normal", torch.eye(4)[[0, 1, 0, 2]], condition=HOT[[0, 1, 0, 1]], discrete=4),
            "codes of column 0: all 2 codes are the same point",
        ),
        (lambda: ByCondition("by-condition"), "takes a condition itself"),
        (lambda: ByCondition("normal", discrete=-1), "discrete is -1"),
        (lambda: ByCondition("flow"), "density is 'flow'"),
    ],
)  # fmt: skip
def test_what_a_density_given_a_condition_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("components", [1, 10, (1, 9), (3, 10), (18,), (2, 19)])
def test_the_fewest_codes_of_a_mixture(components):
    mixture = GaussianMixture(components, max_iter=1, tol=1e9)
    z = codes(mixture.least)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture.fit(z)
    with pytest.raises(ValueError, match="expected at most one component|expected at least 2"):
        mixture.fit(z[:-1])


# -- a new density is one class in one file ----------------------------------------------------------------------------

TOY = """
import torch
from chartae.densities import Density, register
from chartae.distributions import Atoms

@register
class Resampled(Density):
    name = "resampled"
    has_density = False

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", None)

    def settings(self):
        return {}

    def fit(self, z, *, seed=0):
        self.codes = z
        return self

    def forward(self, c=None, condition=None):
        self.require_fit()
        return Atoms(self.codes)
"""


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(densities.NAMES, "registered", dict(densities.NAMES))
    return densities.NAMES


def is_known(path):
    z = codes()
    density = densities.make("resampled").fit(z)
    densities.save(density, path)
    draws = densities.load(path).sample(9, generator=generator())
    assert torch.equal(draws, density.sample(9, generator=generator()))
    assert (draws[:, None] == z).all(-1).any(1).all()
    assert "resampled" in densities.NAMES
    with pytest.raises(ValueError, match="expected one of prior, .*resampled"):
        densities.make("unknown")
    with pytest.raises(ValueError, match="a Resampled defines no temperature"):
        density.sample(3, temperature=0.5)
    hot = HOT[torch.arange(len(z)) % 4]
    by = densities.fit("resampled", z, condition=hot, discrete=4)
    assert (by.sample(9, condition=HOT[1])[:, None] == z[1::4]).all(-1).any(1).all()


def test_a_density_of_ones_own_is_registered(registry, tmp_path, monkeypatch):
    (tmp_path / "own_density.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("own_density")
    is_known(tmp_path / "d.safetensors")
    sys.modules.pop("own_density")
    importlib.import_module("own_density")  # as a notebook's cell runs again
    with pytest.raises(ValueError, match="it names own_density.Resampled"):
        densities.register(type("Other", (Density,), {"name": "resampled"}))


def test_a_file_in_the_folder_is_enough(registry, tmp_path, monkeypatch):
    """No other file is touched: modules of the folder are found."""
    (tmp_path / "resampled.py").write_text(TOY)
    monkeypatch.setattr(densities, "__path__", [*densities.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "complete", False)
    is_known(tmp_path / "d.safetensors")
    sys.modules.pop("chartae.densities.resampled")
    monkeypatch.delattr(densities, "resampled")


@pytest.mark.parametrize("name", ["prior", "normal", "gmm-3", "No", "a.b", "", None])
def test_names_that_no_density_may_have(registry, name):
    attributes = {} if name is None else {"name": name}
    with pytest.raises(ValueError, match="name of Toy is"):
        densities.register(type("Toy", (Density,), attributes))
