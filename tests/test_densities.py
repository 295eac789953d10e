from __future__ import annotations

import math
import shutil
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Sklearn

from chartae import Autoencoder, Dirac, Gaussian, StandardNormal, densities
from chartae.densities import GaussianMixture, Normal

MEMBERS = {
    "normal": Normal,
    "gmm": lambda: GaussianMixture(3),
    "gmm-diag": lambda: GaussianMixture(3, "diag"),
    "gmm-tied": lambda: GaussianMixture(3, "tied"),
    "gmm-chosen": lambda: GaussianMixture((1, 3)),
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
    assert GaussianMixture(2).fit(torch.randn(2, 3)).sample(3).isfinite().all()


def test_a_fit_that_does_not_converge_says_so():
    with pytest.warns(UserWarning, match="raise max_iter"):
        mixture = GaussianMixture(5, max_iter=2, tol=0).fit(codes())
    assert mixture.n_iter_ == 2
    assert not mixture.converged_


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GaussianMixture(0), ValueError, "at least 1"),
        (lambda: GaussianMixture(()), ValueError, "at least 1"),
        (lambda: GaussianMixture(3, "round"), ValueError, "choose from full, diag, tied"),
        (lambda: GaussianMixture(3, max_iter=0), ValueError, "max_iter is 0"),
        (lambda: GaussianMixture(3, tol=-1.0), ValueError, "tol is"),
        (lambda: GaussianMixture(3, regularisation=0.0), ValueError, "regularisation is"),
        (lambda: GaussianMixture(10).fit(codes(5)), ValueError, "5 codes for 10 components"),
        (lambda: GaussianMixture(2).fit(torch.zeros(9, 2)), ValueError, "all 9 codes are the same point"),
        (lambda: Normal().fit(torch.full((9, 2), math.nan)), ValueError, "9 of 9 codes are not finite"),
        (lambda: Normal().fit(torch.zeros(9)), ValueError, r"codes have shape \(9,\)"),
        (lambda: Normal().fit(torch.zeros(9, 2, dtype=torch.int64)), TypeError, "floating-point"),
        (lambda: Normal().fit(torch.zeros(1, 2)), ValueError, "needs at least 2"),
        (lambda: Normal().fit(codes()).log_prob(torch.zeros(4, 5)), ValueError, "codes of dimension 3"),
        (lambda: densities.make("flow"), ValueError, "choose from prior, normal, gmm, gmm-K"),
        (lambda: densities.make("prior"), ValueError, "is a model's own"),
        (lambda: densities.save(Normal(), "x"), ValueError, "has not been fitted"),
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
